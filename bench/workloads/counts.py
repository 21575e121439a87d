# SPDX-License-Identifier: Apache-2.0
"""What a stretch of work takes in figures that hold on any machine: system calls, exits of guests, instructions; and cycles.

What is counted is the same for every engine, and all that the host does for it:

- System calls: of the instance's processes, of the daemons that serve the engine's instances, of this harness, and of
  whatever any of them starts meanwhile: the commands that enter an instance, and what runs in a container, but not in a VM.
  So the harness's own few dozen around a command are in the figures of all engines alike; where there are many operations,
  what one that does nothing takes is counted, too, and taken off. Other processes of the host are not in it.
- Exits: how often the guests were left for the host, as KVM tells.
- Instructions and cycles: of all CPUs, for threads of the kernel and interrupts work for an instance, too. Whatever else the
  host does meanwhile is in them, so it should be idle. Where an emulated host counts instructions itself (scripts/lab
  --instructions), they are its.

To count makes what is counted slower: none of it is done while something is timed.
"""
import contextlib
import ctypes
import dataclasses
import functools
import json
import mmap
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess

from engines.base import read, tail
from workloads.base import Metric, Sample

KVM = pathlib.Path("/sys/kernel/debug/kvm")
PACKAGE = "linux-perf"
CALLS = {"raw_syscalls:sys_enter": "system_calls"}
PROCESSOR = {"instructions:H": "host_instructions", "instructions:G": "guest_instructions", "cycles:GH": "cycles"}
# What a metric of each is called. Those that all engines have come first.
KINDS = {"system_calls": "Host's calls", "exits": "Exits", "host_instructions": "Host instr.",
         "guest_instructions": "Guest instr.", "cycles": "Cycles"}
# The file to which an emulated host writes how many instructions it and its guests have executed, whenever this one is.
COUNTER, MARKER = "LAB_INSTRUCTIONS", b"\x0f\x1f\x84\x00kvmb"
RETURN = b"\xc3"
SECONDS = 20  # that perf may take to begin and to end
TRIES = 3


def metrics(prefix, operation, kinds=KINDS, carries=()):
    """The Metrics of which Count.per() yields samples. @operation: what they are told for, such as "one start". @carries: which of
    these kinds are the same on a slower host. Those of a second are not, nor those of what comes in larger parts when it waits, nor
    of what has to wait itself, as timers go on meanwhile: those of a guest, those of the host, and of programs in Go.

    Fewer system calls are not said to be better: a guest's own are its kernel's and are not counted, and a container's are.
    """
    return [Metric(f"{prefix}_{kind}", f"{KINDS[kind]}: {operation}", "count", None if kind == "system_calls" else "lower",
                   kind in carries) for kind in kinds]


def parse(text):
    """{kind: count} of the JSON that perf stat prints, without what it could not count."""
    found = {}
    for line in text.splitlines():
        try:
            each = json.loads(line)
            event, value = str(each["event"]), float(each["counter-value"])
        except (ValueError, KeyError, TypeError):
            continue
        # A processor with two kinds of cores has a line for each: cpu_core/instructions:G/.
        event = re.sub(r"^cpu\w*/(\w+)[:/](\w+)/?$", r"\1:\2", event)
        kind = {**CALLS, **PROCESSOR}.get(event)
        if kind:
            found[kind] = found.get(kind, 0) + value
    return found


@dataclasses.dataclass
class Count:
    """@values: {kind: count}, without those that cannot be had here."""
    engine: object = None
    instances: list = dataclasses.field(default_factory=list)
    values: dict = dataclasses.field(default_factory=dict)

    def add(self, instance):
        """It was started meanwhile: all of its exits count."""
        self.instances.append(instance)

    def processes(self):
        """Of the instances, and what serves them."""
        return list(dict.fromkeys([*self.engine.daemons(), *(pid for each in self.instances for pid in each.processes())]))

    def per(self, prefix, operations, kinds=KINDS, without=None):
        """Samples for each of so many operations. @without: the Count of what there is besides them, which is taken off; where
        that is more by chance, they are below zero, as leaving out what is too little would have the rest be too much."""
        if operations <= 0:
            return
        for kind in kinds:
            if kind in self.values and (not without or kind in without.values):
                yield Sample(f"{prefix}_{kind}", (self.values[kind] - (without.values[kind] if without else 0)) / operations)


class Perf:
    """perf stat, ready to count."""

    def __init__(self, words, seconds):
        self.seconds = seconds
        theirs, self.ours = os.pipe()
        self.answers, answer = os.pipe()
        try:
            self.process = subprocess.Popen(
                ["perf", "stat", "-j", "--log-fd", "1", "-D", "-1", "--control", f"fd:{theirs},{answer}", *words],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=(theirs, answer),
                text=True, start_new_session=True, env={**os.environ, "LC_ALL": "C"})
        except BaseException:
            os.close(self.ours)
            os.close(self.answers)
            raise
        finally:
            os.close(theirs)
            os.close(answer)

    def tell(self, word):
        """Whether it has done so."""
        try:
            os.write(self.ours, f"{word}\n".encode())
        except BrokenPipeError:
            return False
        return bool(select.select([self.answers], [], [], self.seconds)[0] and os.read(self.answers, 64))

    def result(self):
        """{kind: count} at its end."""
        self.process.send_signal(signal.SIGINT)
        try:
            return parse(self.process.communicate(timeout=self.seconds)[0])
        except subprocess.TimeoutExpired:
            return {}

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        os.close(self.ours)
        os.close(self.answers)


class Emulator:
    """An emulated host that counts instructions all the while, told to count as Perf is."""

    def __init__(self, file):
        self.file = file

    def tell(self, _):
        marker()()
        return True

    def result(self):
        before, after = ([int(each) for each in line.split()[1:]] for line in read(self.file).splitlines()[-2:])
        return {"guest_instructions": after[0] - before[0], "host_instructions": after[1] - before[1]}


@functools.cache
def marker():
    """A function that executes it."""
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(MARKER + RETURN)
    code = ctypes.c_char.from_buffer(memory)
    function = ctypes.CFUNCTYPE(None)(ctypes.addressof(code))
    return lambda: function() or code  # which is needed for as long


def start(stack, words, seconds):
    """A Perf that is attached, or None. It fails where a thread ends just when it is attached to."""
    for _ in range(TRIES):
        perf = Perf(words(), seconds)
        stack.callback(perf.close)
        if perf.tell("disable"):
            return perf
    return None


def exits(pids):
    """{counter of KVM: how often guests of these processes were left for the host so far}"""
    return {each: int(read(each) or 0) for pid in pids for each in KVM.glob(f"{pid}-*/exits")}


@contextlib.contextmanager
def counted(*instances, engine=None):
    """A Count of what happens within, in these running instances; with @engine alone, of the start of one (Count.add)."""
    count = Count(engine or instances[0].engine, list(instances))
    seconds = SECONDS * count.engine.context.patience

    def attach():
        return ["-e", ",".join(CALLS), "-p", ",".join(map(str, [os.getpid(), *count.processes()]))]

    with contextlib.ExitStack() as stack:
        perfs = [start(stack, lambda: ["-e", ",".join(PROCESSOR), "-a"], seconds) if host().processor else None,
                 start(stack, attach, seconds) if host().calls else None,
                 Emulator(host().counter) if host().counter else None]
        # Nearest to what is counted are the exits, which go on by themselves, and within them the events.
        before = exits(count.processes())
        perfs = [perf for perf in perfs if perf and perf.tell("enable")]
        yield count
        perfs = [perf for perf in reversed(perfs) if perf.tell("disable")]
        after = exits(count.processes())
        for perf in perfs:
            count.values.update(perf.result())
    if after:
        count.values["exits"] = sum(after.values()) - sum(before.get(each, 0) for each in after)
    if not count.engine.own_kernel:  # those are of somebody else's guests
        count.values.pop("guest_instructions", None)


@dataclasses.dataclass
class Host:
    """What perf can count here, @lacking: sentences about what cannot be, and @counter: the emulated host's file, or None."""
    calls: bool
    processor: bool
    lacking: list
    counter: str | None = None


@functools.cache
def host():
    """Tried once."""
    lacking, counter = [], os.environ.get(COUNTER)
    if os.path.exists("/dev/kvm") and not KVM.exists():
        lacking.append(f"KVM does not tell of exits: is debugfs mounted at {KVM.parent}?")
    if not shutil.which("perf"):
        lacking.append(f"there is no perf, which counts system calls, instructions and cycles: install the package {PACKAGE}")
        return Host(False, False, lacking, counter)
    calls, why = attempt(CALLS)
    if not calls:
        lacking.append(f"perf counts no system calls: {why}")
    processor, _ = attempt(PROCESSOR)
    if not processor:
        lacking.append("an emulated processor has no cycles" if counter else
                       "the processor lets perf count neither instructions nor cycles, as in most VMs")
    return Host(calls, processor, lacking, counter)


def attempt(events):
    """(whether perf counts any of them, what it says)"""
    try:
        done = subprocess.run(["perf", "stat", "-j", "--log-fd", "1", "-a", "-e", ",".join(events), "sleep", "0.1"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS * 20,
                              env={**os.environ, "LC_ALL": "C"})
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    return not parse(done.stdout).keys().isdisjoint(events.values()), tail(done.stderr)
