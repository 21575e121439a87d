# SPDX-License-Identifier: Apache-2.0
"""kvmbox as a user gets it: jailed, its own kernel, --net nat."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

from engines.base import Engine, Failure, Instance, command, end, quietly, read, tail, unbroken, version_of

PROGRAM = os.environ.get("KVMBOX_PROGRAM") or "kvmbox"
MONITOR = "kvmbox-vmm"  # what its process is called


class VmInstance(Instance):
    """A VM, whose second disk is /data."""
    mounted = False

    def inside(self, argv):
        if self.spec.data_dir and not self.mounted:
            self.mounted = True
            self.check(["mount", "-t", "ext4", "/dev/vdb", "/data"])
        return self.enter(argv)

    def enter(self, argv):
        """As inside(), to which it has no /data."""
        raise NotImplementedError


class KvmboxInstance(VmInstance):
    guest = None  # its address

    def enter(self, argv):
        return [self.engine.program, "exec", self.name, "--", *argv]

    def ip(self):
        """As the guest tells it, as soon as it can be asked."""
        deadline = time.monotonic() + self.engine.context.timeout
        while not self.guest:
            status, said = self.run(["ip", "-4", "-o", "addr", "show", "eth0"])
            found = re.search(r"inet ([\d.]+)", said)
            if status == 0 and found:
                self.guest = found[1]
            elif not self.alive() or time.monotonic() > deadline:
                raise Failure(f"the guest does not tell its address: {tail(said)}")
            else:
                time.sleep(0.05)
        return self.guest

    def kill(self):
        """The monitor, and with it the guest. What is around it sees that, and leaves nothing behind when it ends."""
        monitors = [pid for pid in self.processes() if read(f"/proc/{pid}/comm").strip() == MONITOR]
        end(monitors)
        if not monitors:
            self.process.terminate()

    def release(self):
        quietly(self.engine.program, "rm", "-f", self.name, timeout=self.engine.context.timeout)


class Kvmbox(Engine):
    name, title = "kvmbox", "kvmbox"
    confined = "as it is without options: a kernel of its own, and the monitor in its jail"
    kernel = "own"

    def __init__(self, context):
        super().__init__(context)
        self.program = PROGRAM

    def missing(self):
        return no_vms()

    def version(self):
        return version_of(self.program, "--version")

    def command(self):
        return ["kvmbox", "boot", "--cpus", "CPUS", "--mem", "MEMORY", "--rootfs", "ROOT", "--net", "nat", "--", "ARGV"]

    @unbroken
    def start(self, spec):
        name = self.new_name()
        words = [self.program, "boot", "--name", name, "--cpus", spec.cpus, "--mem", spec.memory_bytes, "--rootfs",
                 self.root.image]
        if spec.port:
            words += ["--net", "nat", "-p", f"127.0.0.1:{spec.port}:{spec.port}"]
        if spec.data_dir:
            words += ["--disk", f"{disk_image(spec.data_dir, self.context.disk_bytes)}".replace(",", ",,")]
        return KvmboxInstance(self, name, [*words, "--", *spec.argv], spec)


def no_vms():
    """Why this host can run none, by what kvmbox check says; or None."""
    try:
        done = subprocess.run([PROGRAM, "check", "--json"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                              timeout=120)
        if done.returncode == 0:
            return None
        faults = [each["found"] for each in json.loads(done.stdout)["checks"] if each["state"] == "fail"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
        return f"kvmbox check cannot be run ({PROGRAM}): {error}"
    return f"this host cannot run VMs: {'; '.join(faults)}; there is kvmbox bench --lab"


def beside(name):
    """What comes with kvmbox, as that looks for it: beside the program in a build tree, or installed with it."""
    program = shutil.which(PROGRAM)
    if not program:
        return None
    directory = pathlib.Path(program).resolve().parent
    places = (directory / "guest" / name, directory.parent / "lib/kvmbox" / name)
    return next((place for place in places if place.exists()), None)


def disk_image(directory, size):
    """An ext4 file system in a file in @directory, made where there is none yet: what is /data in a VM."""
    image = pathlib.Path(directory) / "data.img"
    if not image.exists():
        with open(image, "wb") as file:
            file.truncate(size)
        # All at once, for a guest would write the rest of it while it is measured.
        command(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image], "cannot make a file system for the VM")
    return image
