# SPDX-License-Identifier: Apache-2.0
"""QEMU's microvm with kvmbox's guest: the same kernel, PID 1, disks and devices, so that it is the monitors that differ."""
import contextlib
import fcntl
import os
import pathlib
import re
import select
import socket
import stat
import struct
import subprocess
import sys
import threading
import time

from engines import agent, layer
from engines.base import Failure, tail, unbroken
from engines.kvmbox import VmInstance, beside, disk_image, no_vms

# What QEMU's documentation of microvm names for the fastest boot (qboot is the firmware then).
MACHINE = "microvm,acpi=off,pit=off,pic=off,rtc=off,x-option-roms=off,isa-serial=on"
APPEND = "console=ttyS0 quiet panic=-1 reboot=t"
PORTS = (agent.CONTROL, agent.STDIN, agent.STDOUT, agent.STDERR)
TUNSETIFF, TAP, NO_INFORMATION, VNET_HEADER = 0x400454CA, 0x0002, 0x1000, 0x4000
SIOCSIFFLAGS, SIOCBRADDIF, UP = 0x8914, 0x89A2, 1


class QemuInstance(VmInstance):
    cid = initrd = None

    def enter(self, argv):
        return [sys.executable, "-ISB", agent.__file__, self.cid, *argv]

    def said(self):
        # The guest's last words are always of its end.
        return tail(re.sub(r"^\[.*\] reboot: .*", "", self.complaints(), flags=re.MULTILINE))

    def release(self):
        self.engine.host.forget(self.cid)
        if self.initrd:
            self.initrd.unlink(missing_ok=True)
        if self.spec.port:
            self.engine.bridge.give(self.address)


class Host:
    """Takes what the guests connect to, and passes on what they send: a thread for each connection."""

    def __init__(self):
        self.instances = {}
        self.listeners = {}
        self.wake, self.end = os.pipe()
        try:
            for port in PORTS:
                listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
                self.listeners[listener] = port
                listener.bind((socket.VMADDR_CID_ANY, port))
                listener.listen(128)
        except OSError as error:
            self.close()
            raise Failure(f"cannot listen for guests on vsock port {port}: {error.strerror}") from None
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            ready = select.select([self.wake, *self.listeners], [], [])[0]
            if self.wake in ready:
                return
            for listener in ready:
                with contextlib.suppress(OSError):
                    connection, (cid, _) = listener.accept()
                    threading.Thread(target=self.serve, args=(connection, self.listeners[listener], cid), daemon=True).start()

    def serve(self, connection, port, cid):
        """Until the connection ends; at once where nobody wants it, as with an input."""
        instance = self.instances.get(cid)
        with connection, contextlib.suppress(OSError, ValueError):
            if not instance or port == agent.STDIN:
                return
            # The pipe that QEMU has as its standard output, on which it says nothing, and the file of its errors.
            number = 1 if port == agent.STDOUT else 2
            output = os.open(f"/proc/{instance.process.pid}/fd/{number}", os.O_WRONLY | os.O_APPEND)
            with open(output, "wb", buffering=0) as stream:
                if port == agent.CONTROL:
                    self.control(connection, stream)
                else:
                    while data := connection.recv(65536):
                        agent.write(stream.fileno(), data)

    @staticmethod
    def control(connection, errors):
        """Ends the connection, upon which the guest ends, as soon as the workload has ended."""
        for kind, payload in agent.frames(connection):
            if kind == agent.ERROR:
                agent.write(errors.fileno(), payload + b"\n")
            elif kind == agent.EXIT:
                return

    def forget(self, cid):
        self.instances.pop(cid, None)

    def close(self):
        os.close(self.end)
        if hasattr(self, "thread"):
            self.thread.join()
        os.close(self.wake)
        for listener in self.listeners:
            listener.close()


class QemuMicrovm(layer.Bridged):
    name, title = "qemu-microvm", "QEMU microvm"
    confined = ("a kernel of its own; QEMU itself runs as root without a jail, and without the seccomp filter it could have; it has no "
                "cgroup, so that of the kernel's memory only its page tables and stacks are told")
    kernel = "own"
    program, packages = "qemu-system-x86_64", ("qemu-system-x86", "iproute2")

    def missing(self):
        why = no_vms()
        if why:
            return why
        for name in ("vmlinux-micro", "init.cpio"):
            if not beside(name):
                return f"there is no {name} beside kvmbox or installed with it, and QEMU is to boot what kvmbox boots"
        return super().missing()

    def command(self):
        return ["qemu-system-x86_64", *arguments("KERNEL", "INITRD", "CID", "CPUS", "MEMORY", ["ROOT", "DATA"], "TAP", True)]

    def prepare(self, root):
        super().prepare(root)
        subprocess.run(["modprobe", "-q", "-a", "vhost_vsock", "vhost_net", "tun"], check=False)  # unless they are built in
        if not os.path.exists("/dev/vhost-vsock"):
            raise Failure("there is no /dev/vhost-vsock, over which the host speaks to the guest")
        self.vhost = os.path.exists("/dev/vhost-net")
        self.host = Host()
        self.vmlinux, self.init = beside("vmlinux-micro"), beside("init.cpio").read_bytes()

    @unbroken
    def start(self, spec):
        name, begin = self.new_name(), time.monotonic()
        cid, tap, instance = (os.getpid() << 9) + self.number % 512, None, None
        initrd = self.directory / f"{name}.cpio"
        address = self.bridge.take() if spec.port else None
        try:
            disks = [self.root.image] + ([disk_image(spec.data_dir, self.context.disk_bytes)] if spec.data_dir else [])
            # Its device is gone with the last that has this open, which is QEMU.
            tap = make_tap(f"kb{os.getpid() % 10000}q{self.number}") if address else None
            mac = b"\x02\x6b\x62" + self.number.to_bytes(3)
            initrd.write_bytes(self.init + archive(description(spec.argv, name, mac, address)))
            words = arguments(self.vmlinux, initrd, cid, spec.cpus, spec.memory_bytes, disks, tap, self.vhost, mac)
            instance = QemuInstance(self, name, [self.program, *words], spec, address or "127.0.0.1", begin,
                                    pass_fds=[tap] if address else [])
            instance.cid, instance.initrd = cid, initrd
            self.host.instances[cid] = instance
        finally:
            if tap is not None:
                os.close(tap)
            if not instance:
                initrd.unlink(missing_ok=True)
                if address:
                    self.bridge.give(address)
        return instance

    def clean(self):
        if hasattr(self, "host"):
            self.host.close()
            del self.host
        super().clean()


def can_direct(file):
    try:
        os.close(os.open(file, os.O_RDONLY | os.O_DIRECT))
        return True
    except OSError:
        return False


def arguments(kernel, initrd, cid, cpus, memory_bytes, disks, tap, vhost, mac=b"\2\0\0\0\0\1"):
    """QEMU's: the devices that kvmbox gives a guest, as QEMU has them fastest. @disks: the root first, which is read-only."""
    words = ["-M", MACHINE, "-accel", "kvm", "-cpu", "host", "-smp", f"{cpus}",
             "-m", f"{memory_bytes >> 20}M" if isinstance(memory_bytes, int) else memory_bytes,
             "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-global", "virtio-mmio.force-legacy=off",
             "-kernel", f"{kernel}", "-initrd", f"{initrd}", "-append", APPEND,
             # The console is where QEMU's own errors are.
             "-chardev", "file,id=console,path=/dev/fd/2,append=on", "-serial", "chardev:console", "-object", "iothread,id=disks"]
    for number, disk in enumerate(disks):
        words += ["-drive", f"file={str(disk).replace(',', ',,')},format=raw,if=none,id=disk{number},aio=io_uring,"
                            f"cache={'none' if can_direct(disk) else 'writeback'},readonly={'off' if number else 'on'}",
                  "-device", f"virtio-blk-device,drive=disk{number},iothread=disks"]
    if tap is not None:
        words += ["-netdev", f"tap,id=net0,fd={tap},vhost={'on' if vhost else 'off'}",
                  "-device", f"virtio-net-device,netdev=net0,mac={mac.hex(':')}"]
    return [*words, "-device", "virtio-rng-device", "-device", f"vhost-vsock-device,guest-cid={cid}",
            "-device", "virtio-balloon-device,free-page-reporting=on"]


def description(argv, hostname, mac, address):
    """What PID 1 is to do, as the files in which kvmbox tells it a kernel without a device tree: {path: bytes}."""
    files = {"argv": agent.strings(argv), "hostname": agent.strings([hostname]), "root/device": b"/dev/vda\0",
             "root/fstype": b"erofs\0", "root/overlay": b""}
    if address:
        files |= {"net0/mac": mac, "net0/addresses": agent.strings([f"{address}/24"])}
    return {f".kvmbox/{path}": data for path, data in files.items()}


def archive(files):
    """A cpio archive (newc) of them and their directories."""
    directories = {str(above) for path in files for above in pathlib.PurePath(path).parents if above.name}
    entries = [(path, stat.S_IFDIR | 0o700, b"") for path in sorted(directories)]
    entries += [(path, stat.S_IFREG | 0o400, data) for path, data in files.items()]
    made = b""
    for number, (path, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        name = path.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        made += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        made += bytes(-len(made) % 4) + data
        made += bytes(-len(made) % 4)
    return made


def make_tap(name):
    """A tap device that is up and on the bridge; its descriptor."""
    tap = os.open("/dev/net/tun", os.O_RDWR)
    try:
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), TAP | NO_INFORMATION | VNET_HEADER))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, SIOCBRADDIF, struct.pack("16si20x", layer.BRIDGE.encode(), socket.if_nametoindex(name)))
            fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), UP))
    except OSError as error:
        os.close(tap)
        raise Failure(f"cannot make a network for the VM: {error.strerror}") from None
    return tap
