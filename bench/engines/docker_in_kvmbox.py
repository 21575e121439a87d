# SPDX-License-Identifier: Apache-2.0
"""Docker in kvmbox: one VM by "kvmbox docker up" for the run, and in it a container for each instance.

What starts a container is the same docker command with the same words, over the VM's socket. The wall is between the VM and the
host: containers share the VM's kernel, and what is measured of each is what one more takes of a VM that is there already.
"""
import contextlib
import json
import os
import pathlib
import re
import time

from engines.base import Failure, command, quietly, descendants, field, kernel_memory_of, read, version_of
from engines.docker import Docker, DockerInstance, finish, running
from engines.kvmbox import Kvmbox, beside

DISKS = pathlib.Path("/var/lib/kvmbox/docker")
IMAGE = "docker-host.erofs"
DISK_BYTES = 20 << 30  # as kvmbox docker up makes it; its file takes the room that is used of it
ENGINE_BYTES = 512 << 20  # for dockerd and what else the VM has of its own
# What the kernel of the VM tells of a container, whose first process is $1: of its processes and the shim above them, of the
# shim, which is in no cgroup of the container's, and of the cgroup.
TELL = """\
group=/sys/fs/cgroup$(sed -n s/^0:://p "/proc/$1/cgroup") && shim=$(awk '$1 == "PPid:" { print $2 }' "/proc/$1/status") || exit
for each in $(cat "$group/cgroup.procs") "$shim"; do cat "/proc/$each/smaps_rollup"; done
echo ---
cat "/proc/$shim/status"
echo ---
cat "$group/memory.stat"
"""


class DockerInKvmboxInstance(DockerInstance):
    def ip(self):
        """A published port is forwarded by the VM's kernel, and there is no way to the container but by such."""
        return self.address

    def processes(self):
        """Those of the VM: nothing on the host is there for one of its containers alone."""
        return self.engine.daemons()

    def memory(self):
        """What one more container takes of the VM's memory, by the measures of others; what the VM has itself is not in it."""
        return parse(self.engine.inside(["sh", "-c", TELL, "sh", self.main()]))


class DockerInKvmbox(Docker):
    name, title = "docker-in-kvmbox", "Docker in kvmbox"
    program, packages = "docker", ("docker.io",)
    confined = ("as kvmbox docker up has it: one VM for all containers, which share its kernel, and of which each is measured "
                "without it; the VM has the host's CPUs and the memory of all idle instances; in it user namespaces, seccomp, "
                "AppArmor and no new privileges; /data is a volume on the VM's disk")
    kernel = "vm"
    instance = DockerInKvmboxInstance

    def __init__(self, context):
        super().__init__(context)
        self.kvmbox = Kvmbox(context)
        self.vm = f"kbench-{os.getpid()}-docker-vm"
        self.disk = DISKS / f"{self.vm}.img"
        self.address = self.supervisor = None
        self.volumes = {}

    def missing(self):
        why = self.kvmbox.missing()
        if not why and not beside(IMAGE):
            why = f"kvmbox has no {IMAGE} with it: build it with meson configure -Ddocker_host=true BUILD && ninja -C BUILD"
        return why or super(Docker, self).missing()

    def version(self):
        return version_of(self.kvmbox.program, "--version")

    def size(self):
        """CPUs and bytes of the VM: together, its containers can use all CPUs, and of memory as much as all that idle at once."""
        total = field(read("/proc/meminfo"), "MemTotal")
        wanted = (self.context.instances + 1) * self.context.memory_bytes + ENGINE_BYTES
        return len(os.sched_getaffinity(0)), min(wanted, total * 3 // 4) >> 20 << 20

    def run(self, words, why, patience=1):
        return command([self.kvmbox.program, *words], why, self.context.timeout * patience)

    def inside(self, words):
        """What a program in the VM itself writes."""
        return self.run(["exec", self.vm, "--", *words], "the VM does not tell of itself")

    def prepare(self, root):
        super(Docker, self).prepare(root)
        # kvmbox has a place of its own for the disk: its data goes to the file system under test.
        image = self.directory / "disk.img"
        with open(image, "wb") as file:
            file.truncate(DISK_BYTES)
        DISKS.mkdir(parents=True, exist_ok=True)
        self.disk.symlink_to(image)
        cpus, memory = self.size()
        said = self.run(["docker", "up", "--name", self.vm, "--cpus", cpus, "--mem", memory], "kvmbox docker up failed", 3)
        socket = re.search(r"DOCKER_HOST=unix://(\S+)", said)
        if not socket:
            raise Failure(f"kvmbox docker up does not say where its dockerd is: {said.strip()}")
        self.connect(socket[1])
        found = re.search(r"\binet ([0-9.]+)", self.inside(["ip", "-4", "addr", "show", "dev", "eth0"]))
        if not found:
            raise Failure("the VM has no address on its network card")
        self.address = found[1]
        self.import_root()
        self.rest()

    def rest(self):
        self.run(["pause", self.vm], "the VM cannot be paused")

    @contextlib.contextmanager
    def turn(self):
        """Paused, the VM has no part in what is counted of others."""
        self.run(["resume", self.vm], "the VM cannot be resumed")
        try:
            yield
        finally:
            if not self.instances:  # else one that was interrupted is still to be ended
                with contextlib.suppress(Failure):  # which is told where it is to be resumed
                    self.rest()

    def daemons(self):
        """The VM's processes."""
        if not self.supervisor:
            told = self.run(["inspect", self.vm], "the VM does not tell of itself")
            self.supervisor = int(json.loads(told)[0]["pid"])
        return descendants(self.supervisor)

    def published(self, port):
        """A published port is one of the VM's, whose packet filter lets it in."""
        return self.address, ["-p", f"{port}:{port}"]

    def volume(self, directory):
        """A volume for each directory of the host, as long as that is there."""
        for name, known in list(self.volumes.items()):
            if not known.exists():
                # Later, where a container of many processes is still on its way to its end.
                with contextlib.suppress(Failure):
                    self.docker(["volume", "rm", "--force", name], "a volume cannot be removed")
                    del self.volumes[name]
        mark = pathlib.Path(directory) / "volume"
        if not mark.exists():
            name = f"data-{self.number}"
            mark.write_text(name)
            self.volumes[name] = mark
        return mark.read_text()

    def clean(self):
        if self.disk.is_symlink():
            quietly(self.kvmbox.program, "resume", self.vm)
            try:
                self.run(["docker", "down", "--name", self.vm, "--delete-data"], "kvmbox docker down failed")
            except Failure:
                pass  # it is not up, or has not ended in order
            # One that was interrupted on its way up may come to be only now.
            deadline = time.monotonic() + 10 * self.context.patience
            while running(self.vm) and time.monotonic() < deadline:
                quietly(self.kvmbox.program, "rm", "-f", self.vm)
                time.sleep(0.2)
            finish(self.vm)
            self.disk.unlink(missing_ok=True)
        super().clean()


def parse(text):
    """Bytes, of what TELL has written."""
    found = re.fullmatch(r"(.+)^---\n(.+^Threads:\s+(\d+)$.*)^---\n(.+)", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise Failure("the VM does not tell of the memory of a container")
    maps, shim, threads, stat = found.groups()
    resident = sum(int(each) << 10 for each in re.findall(r"^Pss:\s+(\d+) kB", maps, re.MULTILINE))
    return resident + field(shim, "VmPTE") + (int(threads) << 14) + kernel_memory_of(stat)
