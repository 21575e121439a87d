# SPDX-License-Identifier: Apache-2.0
"""What an engine is to the rest: it starts instances of the one root, in which programs of it run."""
import contextlib
import dataclasses
import functools
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STOP_SECONDS = 20
CGROUPS = pathlib.Path("/sys/fs/cgroup")


class Failure(Exception):
    """Why something could not be measured, in one sentence."""


class Hold:
    """While it is held, an interruption waits: what is being started or stopped is known as one or the other then."""
    depth, interruption = 0, None

    def __enter__(self):
        Hold.depth += 1

    def __exit__(self, *_):
        Hold.depth -= 1
        if not Hold.depth and Hold.interruption:
            interruption, Hold.interruption = Hold.interruption, None
            raise interruption

    @staticmethod
    def interrupt(interruption):
        """Raises it, now or as soon as nothing is held."""
        if not Hold.depth:
            raise interruption
        Hold.interruption = interruption


def unbroken(function):
    """Has a function be held as a whole."""
    @functools.wraps(function)
    def held(*arguments, **options):
        with Hold():
            return function(*arguments, **options)
    return held


@dataclasses.dataclass
class Spec:
    """What is asked of an instance. @argv is its workload, whose end is its end."""
    argv: list
    cpus: int = 1
    memory_bytes: int = 512 << 20
    data_dir: pathlib.Path = None  # on the file system under test; /data in the instance
    port: int = 0  # TCP: what is reached from outside, at the instance's address; no network where it is 0


def tail(text, most=200):
    """The last line of what a program has said."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:most] if lines else "it does not say why"


def command(words, why, timeout=120):
    """Runs it on the host and returns its standard output; a Failure beginning with @why."""
    try:
        done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout, errors="replace")
    except FileNotFoundError:
        raise Failure(f"{why}: there is no {words[0]}") from None
    except subprocess.TimeoutExpired:
        raise Failure(f"{why}: {words[0]} did not end within {timeout} s") from None
    if done.returncode != 0:
        raise Failure(f"{why}: {tail(done.stderr or done.stdout)}")
    return done.stdout


def quietly(*words, timeout=60):
    """Runs what cleans up, whatever comes of it: whether it has succeeded."""
    try:
        return subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, check=False, timeout=timeout).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def version_of(*words):
    """The first number with a dot that a program says of itself; empty where it cannot be had."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\d+\.\d+[^\s,)]*", done.stdout + done.stderr)
    return found[0] if found else ""


class Engine:
    """One way to run something. @confined: how an instance is, for the record. @kernel: what it runs on, as schema.json has it.
    @limited: whether it has no more than what the Spec says of CPUs and memory."""
    name = title = confined = ""
    program, packages = None, ()
    kernel = "shared"
    limited = True

    def __init__(self, context):
        self.context = context
        self.number = 0
        self.instances = []  # those that are not stopped
        self.root = None
        self.directory = context.directory / self.name

    @property
    def own_kernel(self):
        """Whether it is another than the host's."""
        return self.kernel in ("own", "vm")

    def missing(self):
        """A sentence where it cannot be used, or None."""
        if self.program and not shutil.which(self.program):
            return f"there is no {self.program}: install the package {self.packages[0]}, or run kvmbox bench --setup"
        return None

    def version(self):
        return version_of(self.program, "--version")

    def command(self):
        """What starts an instance, for the record."""
        return None

    def prepare(self, root):
        """Once for a run, before anything is measured."""
        self.root = root
        self.directory.mkdir(parents=True, exist_ok=True)

    def daemons(self):
        """The processes on the host that serve all its instances, and all below them."""
        return []

    @contextlib.contextmanager
    def turn(self):
        """While it is measured; what serves all its instances is at rest before and after, as far as that can be had."""
        yield

    def start(self, spec):
        """An Instance, without waiting for anything but the start of its process."""
        raise NotImplementedError

    def clean(self):
        """After everything, also after a failure: leaves nothing behind."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def new_name(self):
        self.number += 1
        return f"kbench-{os.getpid()}-{self.name}-{self.number}"


class Instance:
    """A process on the host that is, or stands for, the instance; its standard output is the workload's."""

    def __init__(self, engine, name, argv, spec, address="127.0.0.1", begin=None, **options):
        self.engine, self.name, self.spec, self.address = engine, name, spec, address
        self.errors = tempfile.TemporaryFile()
        self.buffer = b""
        self.begin = begin or time.monotonic()
        try:
            # A session of its own: Ctrl-C is for us, who then end it in order.
            self.process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                            stderr=self.errors, start_new_session=True, bufsize=0, **options)
        except OSError as error:
            self.errors.close()
            raise Failure(f"cannot start {argv[0]}: {error.strerror}") from None
        engine.instances.append(self)

    def complaints(self):
        """All that has come of its errors."""
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def said(self):
        """The line of them that tells most."""
        return tail(self.complaints())

    def line(self, wanted, timeout=None):
        """Waits for this line of the workload; the seconds from the start to its arrival."""
        timeout = timeout or self.engine.context.timeout
        deadline, wanted = time.monotonic() + timeout, wanted.encode() + b"\n"
        while wanted not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Failure(f"there was no \"{wanted.decode().strip()}\" within {timeout:.0f} s of the start")
            data = os.read(self.process.stdout.fileno(), 4096)
            if not data:
                raise Failure(f"the instance ended before it said \"{wanted.decode().strip()}\": {self.said()}")
            self.buffer = (self.buffer + data.replace(b"\r", b""))[-65536:]
        return time.monotonic() - self.begin

    def first_instruction(self):
        """Seconds from the start to the first line of the workload, which is its first doing."""
        return self.line("first")

    def detach(self):
        """Ends what is only there to tell of its start, where it goes on without that."""

    def inside(self, argv):
        """The command on the host that runs @argv in the instance."""
        raise NotImplementedError

    def run(self, argv, timeout=None):
        """(status, what it wrote), its errors included."""
        timeout = timeout or self.engine.context.timeout
        with self.popen(argv) as process:
            try:
                output, _ = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                # What it has started in the instance may have its output open still, and go on until that ends.
                process.kill()
                raise Failure(f"{argv[0]} did not end within {timeout:.0f} s") from None
            except BaseException:
                process.kill()
                raise
        return process.returncode, output

    def check(self, argv, timeout=None):
        """What it wrote; a Failure if it failed."""
        status, output = self.run(argv, timeout)
        if status != 0:
            raise Failure(f"{argv[0]} ended with status {status}: {tail(output)}")
        return output

    def popen(self, argv, **options):
        return subprocess.Popen([str(word) for word in self.inside(argv)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True, **options)

    def ip(self):
        """The address at which the host reaches it without a program between, where .address is one for users."""
        return self.address

    def processes(self):
        """The processes on the host that are there for this instance alone."""
        return descendants(self.process.pid)

    def memory(self):
        """Bytes of the host: what its processes have in proportion, and what the kernel holds for them."""
        pids = self.processes()
        return sum(map(proportional, pids)) + kernel_memory(pids)

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        """Ends it at once, with all that it has."""
        end(reversed(self.processes()))

    def release(self):
        """What is left to do when its processes have ended."""

    @unbroken
    def stop(self):
        """Ends it in whatever state it is; nothing of it is left."""
        try:
            if self.alive():
                self.kill()
            try:
                self.process.wait(STOP_SECONDS * self.engine.context.patience)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        finally:
            self.process.stdout.close()
            self.errors.close()
            self.release()
            if self in self.engine.instances:
                self.engine.instances.remove(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def everyone():
    """All processes of the host."""
    return map(int, filter(str.isdigit, os.listdir("/proc")))


def end(pids):
    """Ends them at once; some may have ended by themselves."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def parent(pid):
    """That of a process; None where there is none any more."""
    words = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(words[1]) if len(words) > 1 else None


def descendants(pid):
    """The process and all below it, parents first."""
    children = {}
    for each in everyone():
        children.setdefault(parent(each), []).append(each)
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def field(text, name):
    """Bytes of a line "NAME: N kB"."""
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def has_swap():
    """Whether the host has any: without a limit of their own for it, engines differ in what they let an instance have."""
    return field(read("/proc/meminfo"), "SwapTotal") > 0


def read(path):
    try:
        return pathlib.Path(path).read_text(errors="replace")
    except OSError:
        return ""


def proportional(pid):
    """The proportional set size: pages that several processes map count in parts."""
    return field(read(f"/proc/{pid}/smaps_rollup"), "Pss")


def cgroup_of(pid):
    """The directory of the cgroup that a process's memory is charged to, or None for one that has none of its own."""
    own = {line.partition(":")[2] for line in read("/proc/self/cgroup").splitlines()}
    for line in read(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if line.partition(":")[2] in own or path == "/":
            continue
        if "memory" in controllers.split(","):
            return CGROUPS / "memory" / path.lstrip("/")
        if not controllers and (CGROUPS / "cgroup.controllers").exists():
            return CGROUPS / path.lstrip("/")
    return None


def kernel_memory_of(stat):
    """Bytes that the kernel holds for a cgroup, from the text of its memory.stat (version 2)."""
    values = dict(line.split() for line in stat.splitlines())
    if "kernel" in values:
        return int(values["kernel"])
    return sum(int(values.get(name, 0)) for name in ("kernel_stack", "pagetables", "sec_pagetables", "percpu", "slab"))


def kernel_memory(pids):
    """Bytes: as the cgroups tell; of processes outside of any, page tables and stacks."""
    groups, loose = set(), []
    for pid in pids:
        group = cgroup_of(pid)
        groups.add(group) if group else loose.append(pid)
    total = 0
    # A group within another is in its figures.
    for group in {each for each in groups if not any(above in groups for above in each.parents)}:
        usage = read(group / "memory.kmem.usage_in_bytes")
        total += int(usage) if usage else kernel_memory_of(read(group / "memory.stat"))
    for pid in loose:
        status = read(f"/proc/{pid}/status")
        threads = re.search(r"^Threads:\s+(\d+)", status, re.MULTILINE)
        total += field(status, "VmPTE") + (int(threads[1]) << 14 if threads else 0)
    return total
