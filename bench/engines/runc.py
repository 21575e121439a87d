# SPDX-License-Identifier: Apache-2.0
"""runc with what Docker gives a container: its namespaces, capabilities and masks; and a veth pair on a bridge."""
import contextlib
import json
import os
import subprocess
import time

from engines import layer
from engines.base import CGROUPS, PATH, STOP_SECONDS, Failure, Instance, has_swap, quietly, tail, unbroken

CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
                "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
                "CAP_AUDIT_WRITE"]
MASKED = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug",
          "/proc/scsi", "/sys/firmware"]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
TMP = ["nosuid", "nodev"]


class RuncInstance(Instance):
    layer = namespace = None

    def inside(self, argv):
        return ["runc", "exec", self.name, *argv]

    def release(self):
        # Of a container with thousands of processes, some may still be ending.
        deadline = time.monotonic() + STOP_SECONDS * self.engine.context.patience
        while not quietly("runc", "delete", "-f", self.name) and time.monotonic() < deadline:
            time.sleep(0.2)
        # One that was ended while it came to be is none that runc knows.
        for group in cgroups(self.name):
            layer.remove_cgroup(group)
        if self.layer:
            self.layer.remove()
        if self.namespace:
            quietly("ip", "netns", "delete", self.namespace)
            self.engine.bridge.give(self.address)


def cgroups(name=""):
    """Of the container, or what all of them are in; in each hierarchy."""
    return [*CGROUPS.glob(f"kvmbox-bench/{name}"), *CGROUPS.glob(f"*/kvmbox-bench/{name}")]


class Runc(layer.Bridged):
    name, title = "runc", "runc"
    program, packages = "runc", ("runc", "iproute2")
    confined = ("the namespaces, capabilities and masked paths of Docker; no seccomp filter, no AppArmor; by runc run, which stays in the "
                "foreground and counts as memory")

    def command(self):
        return ["runc", "run", "--bundle", "DIR", "NAME"]

    def bundle(self, spec, name, namespace, rootfs):
        mounts = [("/proc", "proc", "proc", []), ("/dev", "tmpfs", "tmpfs", ["nosuid", "mode=755", "size=65536k"]),
                  ("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666"]),
                  ("/dev/shm", "tmpfs", "tmpfs", ["nosuid", "nodev", "noexec", "mode=1777"]),
                  ("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"]), ("/tmp", "tmpfs", "tmpfs", TMP),
                  ("/run", "tmpfs", "tmpfs", TMP)]
        mounts = [{"destination": where, "type": kind, "source": source, "options": options}
                  for where, kind, source, options in mounts]
        if spec.data_dir:
            mounts.append({"destination": "/data", "type": "bind", "source": str(spec.data_dir), "options": ["bind", "rw"]})
        network = {"type": "network", **({"path": f"/run/netns/{namespace}"} if namespace else {})}
        resources = {"memory": {"limit": spec.memory_bytes, **({"swap": spec.memory_bytes} if has_swap() else {})},
                     "cpu": {"quota": spec.cpus * 100000, "period": 100000},
                     "devices": [{"allow": False, "access": "rwm"}]}
        return {
            "ociVersion": "1.0.2", "hostname": name, "root": {"path": str(rootfs), "readonly": False}, "mounts": mounts,
            "process": {"terminal": False, "user": {"uid": 0, "gid": 0}, "args": [str(word) for word in spec.argv],
                        "env": [f"PATH={PATH}", "HOME=/root"], "cwd": "/", "noNewPrivileges": True,
                        "capabilities": {kind: CAPABILITIES for kind in ("bounding", "effective", "permitted")}},
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")] + [network],
                      "cgroupsPath": f"/kvmbox-bench/{name}", "resources": resources, "maskedPaths": MASKED,
                      "readonlyPaths": READ_ONLY}}

    @unbroken
    def start(self, spec):
        name, begin = self.new_name(), time.monotonic()
        directory = self.directory / name
        made = layer.Layer(self.root.tree, directory)
        namespace = address = None
        try:
            if spec.port:
                namespace, address = name, self.bridge.take()
                connect(namespace, address, f"kb{os.getpid() % 10000}r{self.number}")
            (directory / "config.json").write_text(json.dumps(self.bundle(spec, name, namespace, made.path)))
            instance = RuncInstance(self, name, ["runc", "run", "--bundle", directory, name], spec, address or "127.0.0.1", begin)
        except BaseException:
            made.remove()
            if namespace:
                quietly("ip", "netns", "delete", namespace)
                self.bridge.give(address)
            raise
        instance.layer, instance.namespace = made, namespace
        return instance

    def clean(self):
        for group in cgroups():
            with contextlib.suppress(OSError):
                group.rmdir()
        super().clean()


def connect(namespace, address, veth):
    """A network namespace with one end of a veth pair in it, the other on the bridge: by two programs, as each takes its time."""
    batch([], f"netns add {namespace}", f"link add {veth} type veth peer name eth0 netns {namespace}",
          f"link set {veth} master {layer.BRIDGE} up")
    batch(["-n", namespace], "link set lo up", f"addr add {address}/24 dev eth0", "link set eth0 up")


def batch(options, *lines):
    done = subprocess.run(["ip", *options, "-batch", "-"], input="\n".join(lines) + "\n", text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise Failure(f"cannot make a network for the container: {tail(done.stderr.partition('Command failed')[0])}")
