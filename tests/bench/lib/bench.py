# SPDX-License-Identifier: Apache-2.0
"""What the benches share: kvmbox and QEMU's microvm with the same guest, in turns, and a table.

A bench measures where it runs (`--native`), or runs itself in the lab, as root on a host with emulated
AMD-V: main() does either. What it boots lies in one directory: copies of kvmbox and its kernel, and a root
image whose /init is pid1.c, from which the kernel boots as from any disk.
"""
import argparse
import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

LIB = pathlib.Path(__file__).resolve().parent
REPO = LIB.parent.parent.parent
PROGRAM = pathlib.Path(sys.argv[0]).resolve()
LAB = REPO / "scripts/lab"
KVM_STATS = pathlib.Path("/sys/kernel/debug/kvm")
SYS_ENTER = pathlib.Path("/sys/kernel/tracing/events/raw_syscalls/sys_enter")
BOOT_SECONDS = 120
TAP = "kvmbox-bench"
APPEND = "console=ttyS0 quiet reboot=k panic=-1"
MONITORS = {"kvmbox": "kvmbox", "qemu": "QEMU microvm"}
# What QEMU's documentation of microvm names for the fastest boot (qboot is the firmware then). An i8259
# or an in-kernel I/O APIC costs it 400 exits more; with option ROMs it is no faster.
MICROVM = "microvm,acpi=off,pit=off,pic=off,rtc=off,x-option-roms=off,isa-serial=on"
HIDDEN = argparse.SUPPRESS
CFLAGS = ("-std=gnu17", "-Wall", "-Wextra", "-Werror")


def die(sentence):
    sys.exit(f"bench/{PROGRAM.name}: {sentence}")


def run(*command, **options):
    status = subprocess.run([str(word) for word in command], **options).returncode
    if status != 0:
        die(f"{command[0]} failed with status {status}")


def build_preload(out):
    """What tells a monitor's CPU time before its first KVM_RUN (firstrun.c)."""
    run("gcc", *CFLAGS, "-O2", "-fPIC", "-shared", "-o", out, LIB / "firstrun.c")


def build_pid1(out):
    run("musl-gcc", *CFLAGS, "-Os", "-static", "-s", "-o", out, LIB / "pid1.c")


@dataclasses.dataclass
class Guest:
    """What both monitors are asked for. Disk 0 is the root."""
    kernel: pathlib.Path
    disks: list
    tap: str = TAP
    cpus: int = 1
    mib: int = 128
    direct: bool = True  # the disks' file system can do O_DIRECT
    append: str = ""  # more of the kernel's command line

    def cmdline(self):
        return f"{APPEND} root=/dev/vda ro rootfstype=erofs init=/init {self.append}".rstrip()


def kvmbox_command(kvmbox, guest):
    """Writes the configuration beside @kvmbox and returns the command."""
    config = {
        "boot-source": {"kernel_image_path": str(guest.kernel), "boot_args": guest.cmdline()},
        "drives": [{"drive_id": f"disk{number}", "path_on_host": str(disk), "is_root_device": number == 0,
                    "is_read_only": number == 0} for number, disk in enumerate(guest.disks)],
        "machine-config": {"vcpu_count": guest.cpus, "mem_size_mib": guest.mib},
    }
    file = pathlib.Path(kvmbox).parent / "kvmbox.json"
    file.write_text(json.dumps(config) + "\n")
    return [str(kvmbox), "boot", "--config", str(file), "--net", f"tap={guest.tap}"]


def qemu_command(guest):
    qemu = shutil.which("qemu-system-x86_64") or die("there is no qemu-system-x86_64: install qemu-system-x86")
    command = [qemu, "-M", MICROVM, "-accel", "kvm", "-cpu", "host", "-m", f"{guest.mib}M", "-smp", f"{guest.cpus}",
               "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
               "-kernel", f"{guest.kernel}", "-append", guest.cmdline(),
               "-global", "virtio-mmio.force-legacy=off"]
    cache = "none" if guest.direct else "writeback"
    for number, disk in enumerate(guest.disks):
        read_only = ",readonly=on" if number == 0 else ""
        command += ["-drive", f"file={disk},format=raw,if=none,id=disk{number},aio=io_uring,cache={cache}{read_only}",
                    "-device", f"virtio-blk-device,drive=disk{number}"]
    command += ["-netdev", f"tap,id=net0,ifname={guest.tap},script=no,downscript=no,vhost=off",
                "-device", "virtio-net-device,netdev=net0", "-device", "virtio-rng-device"]
    return command


def commands(directory, guest):
    return {"kvmbox": kvmbox_command(directory / "kvmbox", guest), "qemu": qemu_command(guest)}


def machines():
    """The VMs that exist: directories of KVM's counters, named after process and descriptor."""
    return {entry.name for entry in KVM_STATS.iterdir() if entry.is_dir()}


class Machine:
    """One VM that has come to its PID 1; ends with the block."""

    def __init__(self, command, line=b"PID1"):
        self.others = machines()
        read_end, write_end = os.pipe()
        null = os.open(os.devnull, os.O_RDONLY)
        self.errors = tempfile.TemporaryFile()
        self.output = read_end
        self.stats = None
        start = time.monotonic_ns()
        self.child = os.posix_spawn(command[0], command, os.environ, file_actions=[
            (os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, write_end, 1),
            (os.POSIX_SPAWN_DUP2, self.errors.fileno(), 2)])
        os.close(write_end)
        os.close(null)
        try:
            self.milliseconds = (self.await_line(line) - start) / 1e6
            own = machines() - self.others
            if len(own) != 1:
                die(f"there should be one VM more than before, not {len(own)}: start none beside this bench")
            self.stats = KVM_STATS / own.pop()
        except BaseException:
            self.__exit__()
            raise

    @property
    def pid(self):
        """The process that holds the VM: of kvmbox, the monitor."""
        return int(self.stats.name.partition("-")[0])

    def await_line(self, line):
        """Reads the console until the line is in it; returns the time of that."""
        seen, deadline = b"", time.monotonic() + BOOT_SECONDS
        while line not in seen:
            if not select.select([self.output], [], [], max(0, deadline - time.monotonic()))[0]:
                die(f"no {line.decode()} within {BOOT_SECONDS} seconds; the console: {seen.decode(errors='replace')!r}")
            data = os.read(self.output, 4096)
            if not data:
                self.errors.seek(0)
                words = (seen + self.errors.read()).decode(errors="replace")
                die(f"the VM ended before {line.decode()}: {words.strip()}")
            seen += data
        return time.monotonic_ns()

    def counters(self, *names):
        """KVM's counters of these names, as they are now."""
        return {name: int((self.stats / name).read_text()) for name in names}

    def exits(self):
        names = {"exits": "exits", "io exits": "io_exits", "mmio exits": "mmio_exits"}
        counters = self.counters(*names.values())
        return {ours: counters[theirs] for ours, theirs in names.items()}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # The process that holds the VM, so that kvmbox's supervisor can clean up behind it.
        os.kill(self.pid if self.stats else self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)
        os.close(self.output)
        self.errors.close()
        while self.stats and self.stats.exists():
            time.sleep(0.01)
        await_free_tap()


@contextlib.contextmanager
def tap(name=TAP):
    """A tap interface for the block's time, up and with nobody behind it."""
    run("ip", "tuntap", "add", "dev", name, "mode", "tap")
    try:
        run("ip", "link", "set", name, "up")
        yield name
    finally:
        run("ip", "link", "delete", name)


@contextlib.contextmanager
def disk_directory(directory):
    """Where disk images lie: on the lab's scratch disk where there is one, else in @directory."""
    scratch = os.environ.get("LAB_DISKS", "").split()
    if not scratch:
        yield directory
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as mounted:
        run("mkfs.ext4", "-q", "-F", scratch[0])
        run("mount", scratch[0], mounted)
        try:
            yield pathlib.Path(mounted)
        finally:
            run("umount", mounted)


def await_free_tap(name=TAP):
    """A ring's files are let go some time after the process has ended."""
    carrier, deadline = pathlib.Path(f"/sys/class/net/{name}/carrier"), time.monotonic() + BOOT_SECONDS
    while carrier.exists() and carrier.read_text().strip() != "0":
        if time.monotonic() > deadline:
            die(f"interface {name} is still in use though its VM has ended")
        time.sleep(0.01)


def can_direct(file):
    try:
        os.close(os.open(file, os.O_RDWR | os.O_DIRECT))
        return True
    except OSError:
        return False


@contextlib.contextmanager
def prepared(directory, build, kernel="micro"):
    """Everything that the monitors are given: the directory of the copies, and a Guest to be changed at will."""
    kernel = f"vmlinux-{kernel}"
    with contextlib.ExitStack() as stack:
        fast = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        for name, source in (("kvmbox", build / "kvmbox"), (kernel, build / "guest" / kernel)):
            if not source.exists():
                die(f"{source} is not there: build it with scripts/quickstart")
            # With the holes that it has.
            run("cp", "--sparse=always", source, fast / name)
        root = stack.enter_context(disk_directory(directory)) / "root.img"
        shutil.copy(directory / "root.img", root.with_suffix(".new"))
        os.replace(root.with_suffix(".new"), root)
        stack.enter_context(tap())
        yield fast, Guest(kernel=fast / kernel, disks=[root], direct=can_direct(root))


def fill_directory(directory):
    """Builds what is run in guests and beside them, where there is a compiler: before the lab."""
    build_pid1(directory / "pid1")
    tree = directory / "root"
    tree.mkdir()
    shutil.copy(directory / "pid1", tree / "init")
    for name in ("dev", "proc", "sys"):
        (tree / name).mkdir()
    run("mkfs.erofs", "--quiet", "-T0", "-U", "00000000-0000-0000-0000-000000000000", "--all-root",
        directory / "root.img", tree)
    os.truncate(directory / "root.img", 64 << 20)


def in_lab(directory, arguments, lab_options=()):
    """Runs this very program in the lab, with --measure DIRECTORY and @arguments, and returns what it measured."""
    out = directory / "out"
    out.mkdir(exist_ok=True)
    run(LAB, "--spread", "--disk", "1G", *lab_options, "--", sys.executable, PROGRAM, "--measure", directory,
        "--json", out / "result.json", *arguments, env={**os.environ, "LAB_OUT": str(out)})
    return json.loads((out / "result.json").read_text())


def options_parser(description, rounds=5):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"of each monitor (default: {rounds})")
    parser.add_argument("--native", action="store_true", help="measure here, not in the lab")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all figures to FILE")
    parser.add_argument("--build", type=pathlib.Path, metavar="DIR", default=REPO / "build",
                        help="what to boot: DIR/kvmbox, DIR/guest/vmlinux-micro (default: build)")
    # How this program tells itself in the lab to measure, with what fill_directory() has built.
    parser.add_argument("--measure", type=pathlib.Path, help=HIDDEN)
    return parser


def parse(parser):
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds takes a number above zero")
    options.build = options.build.resolve()
    return options


@contextlib.contextmanager
def work_directory():
    with tempfile.TemporaryDirectory(prefix="kvmbox-bench.", dir="/var/tmp") as directory:
        directory = pathlib.Path(directory)
        fill_directory(directory)
        yield directory


def write_json(options, result):
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def summarize(rows):
    """Rows (what, {monitor: values}) with the values summed up as median, least and most."""
    return [(what, {name: spread(each) for name, each in values.items()}) for what, values in rows]


def show_table(title, summary, digits=0, monitors=None):
    """A column for each of @monitors ({name: title}), and what kvmbox's median is of each other's."""
    monitors = monitors or MONITORS
    others = [name for name in monitors if name != "kvmbox"]
    row = "{:28}" + "{:>34}" * len(monitors) + "{:>8}" * len(others)
    print(row.format(title, *monitors.values(), *["ratio"] * len(others)))
    for what, values in summary:
        cells = [f"{value['median']:,.{digits}f} ({value['least']:,.{digits}f}..{value['most']:,.{digits}f})"
                 for value in (values[name] for name in monitors)]
        ratios = [values["kvmbox"]["median"] / values[name]["median"] if values[name]["median"] else 0
                  for name in others]
        print(row.format(what, *cells, *(f"{ratio:.2f}" for ratio in ratios)))


def show_commands(commands):
    for name, command in commands.items():
        print(f"{name}: {' '.join(command)}")


def show_bars(bars):
    """Lines (what, value, limit, unit): what kvmbox is held to. Returns whether all are kept."""
    for what, value, limit, unit in bars:
        verdict = "kept" if value <= limit else "MISSED"
        print(f"  {what}: {value:,.{0 if float(value).is_integer() else 2}f} of at most {limit:,}{unit}: {verdict}")
    return all(value <= limit for _, value, limit, _ in bars)


class SystemCalls:
    """Counts the system calls of process @pid within the block: {name: calls}."""

    def __init__(self, pid):
        self.pid = pid
        self.calls = collections.Counter()

    def tasks(self):
        return {int(task) for task in os.listdir(f"/proc/{self.pid}/task")}

    def __enter__(self):
        self.threads = self.tasks()
        (SYS_ENTER / "trigger").write_text("hist:keys=id.syscall,common_pid:size=4096")
        return self

    def __exit__(self, *_):
        text = (SYS_ENTER / "hist").read_text()
        (SYS_ENTER / "trigger").write_text("!hist:keys=id.syscall,common_pid")
        self.threads |= self.tasks()
        for name, thread, hits in re.findall(r"id:\s+(\S+)\s.*common_pid:\s+(\d+) .*hitcount:\s+(\d+)", text):
            if int(thread) in self.threads:
                self.calls[name.removeprefix("sys_")] += int(hits)

    def total(self):
        return sum(self.calls.values())


@dataclasses.dataclass
class Mapping:
    """One of a process's mappings, as /proc/PID/smaps tells of it; sizes in bytes."""
    start: int
    end: int
    name: str
    fields: dict


def mappings(pid):
    found = []
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+\s*(.*)", line)
        if head:
            found.append(Mapping(int(head[1], 16), int(head[2], 16), head[3], {}))
            continue
        field = re.match(r"(\w+):\s+(\d+) kB", line)
        if field:
            found[-1].fields[field[1]] = int(field[2]) << 10
    return found
