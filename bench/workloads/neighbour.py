# SPDX-License-Identifier: Apache-2.0
"""What a neighbour that behaves badly, in another instance of the same engine, does to the latency of a probe
and to pgbench.

The hogs (programs/hog.c) do their worst within their instance, whose limits are those of all instances. What would be a
danger to the host itself is bounded besides, as engines differ in whether they bound it, and one (the host) bounds nothing:

- Processes of the fork bomb: PROCESSES, the same for all engines, and never more than half of what the host has left.
  LXC's default has no limit of its own. Without any isolation, where they have neither a CPU nor memory of their own, FEW.
- Memory: half as much again as the instance may have, so that its limit is met. Without a limit, no more than others have.
- Disk: a file of the size that the disk's workload has, too.
- Time: every process of a hog has an alarm and dies with its parent, and that with whoever reads its output, so that none
  stays behind whatever ends this program.
"""
import contextlib
import os
import select
import socket
import subprocess
import threading
import time

import stats
from engines.base import Failure, field, read, tail
from workloads.base import Metric, Sample, Series, Workload, free_port
from workloads.postgres import Database

HOGS = (("cpu", "a CPU hog"), ("disk", "a disk hog"), ("memory", "a memory hog"), ("fork", "a fork bomb"))
PHASES = (*((kind, f"beside {title}") for kind, title in HOGS), ("alone", "alone"))
# Name, title, share, and of how many answers at least.
PERCENTILES = (("p99", "p99", 0.99, 100), ("p50", "p50", 0.5, 1), ("p999", "p99.9", 0.999, 1000))
PROCESSES, FEW = 2000, 300
MOMENTS = 100  # of which a series tells the longest wait each
FILE = "/data/answer"


def tasks():
    """How many the host has."""
    return int(read("/proc/loadavg").split()[3].split("/")[1])


def most_tasks():
    """How many it can have."""
    return min(int(read(f"/proc/sys/kernel/{name}")) for name in ("threads-max", "pid_max"))


def processes(limited, limit, present):
    """How many the fork bomb may be, on a host that has @present of @limit."""
    return max(1, min(PROCESSES if limited else FEW, (limit - present) // 2))


def bound(kind, engine, context):
    """The hog's."""
    return {"cpu": os.cpu_count(), "disk": context.file_bytes,
            "memory": context.memory_bytes * 3 // 2 if engine.limited else
            min(context.memory_bytes, field(read("/proc/meminfo"), "MemAvailable") // 2),
            "fork": processes(engine.limited, most_tasks(), tasks())}[kind]


def ticks(answers, interval):
    """(time, wait) for each tick of a clock that asks every @interval, of @answers (time, wait) to one question at a time.

    Whoever would have asked while an answer was out would have waited for the rest of it: else one wait of a second
    would count as little as one of a millisecond, though a thousand of these had their place.
    """
    found = []
    for begin, wait in answers:
        for late in range(max(1, -int(-wait // interval))):
            found.append((begin + late * interval, wait - late * interval))
    return sorted(found)


def between(waits, begin, end):
    return [(t, wait) for t, wait in waits if begin <= t < end]


def longest(waits, begin, width):
    """(t, wait): the longest wait of each @width of time, which is told from @begin."""
    found = {}
    for t, wait in waits:
        moment = int((t - begin) // width)
        found[moment] = max(found.get(moment, 0), wait)
    return [((moment + 0.5) * width, wait) for moment, wait in sorted(found.items())]


def percentiles(prefix, phase, waits):
    for name, _, share, least in PERCENTILES:
        if len(waits) >= least:
            yield Sample(f"{prefix}{name}_{phase}", stats.quantile(waits, share))


class Probe(threading.Thread):
    """Asks all the while, one question at a time. What was answered is in @answers as (when asked, seconds)."""

    def __init__(self, address, port, interval, timeout):
        super().__init__(daemon=True)
        self.interval, self.timeout, self.answers = interval, timeout, []
        self.error, self.ended, self.lock = None, threading.Event(), threading.Lock()
        self.connection = socket.create_connection((address, port), timeout)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, question=b"x"):
        """(answer, seconds); an OSError where there is none."""
        with self.lock:
            begin = time.monotonic()
            self.connection.sendall(question)
            answer = self.connection.recv(1)
            if not answer:
                raise ConnectionResetError("the connection was closed")
            return answer, time.monotonic() - begin

    def run(self):
        # It is the instance's wait that is looked for, and not how long the one who asks has to wait for a processor.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -20)
        due = time.monotonic()
        while not self.ended.wait(max(0, due - time.monotonic())):
            begin = time.monotonic()
            try:
                self.answers.append((begin, self.ask()[1]))
            except OSError as error:
                self.error = f"it did not answer within {self.timeout:.0f} s" if isinstance(error, TimeoutError) else \
                    f"it does not answer any more: {error.strerror or error}"
                return
            due += self.interval * max(1, (time.monotonic() - due) // self.interval + 1)

    def until(self, end):
        """Waits until every question that was asked before has its answer; a Failure if it has none."""
        while not self.error and not (self.answers and self.answers[-1][0] >= end):
            time.sleep(min(0.05, max(self.interval, end - time.monotonic())))
        if self.error:
            raise Failure(f"the neighbour was asked, and {self.error}")

    def waits(self, begin, end):
        """(when, seconds) of every tick between, when all are answered."""
        self.until(end)
        return between(ticks(self.answers, self.interval), begin, end)

    def close(self):
        self.ended.set()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.join()
        self.connection.close()


class Output:
    """Lines of a program in an instance, as they come."""

    def __init__(self, process):
        self.process, self.buffer = process, b""

    def line(self, beginning, timeout):
        """Waits for a line that begins so; a Failure with what came instead."""
        deadline, said = time.monotonic() + timeout, []
        while True:
            while b"\n" in self.buffer:
                first, _, self.buffer = self.buffer.partition(b"\n")
                said.append(first.decode(errors="replace").strip())
                if said[-1].startswith(beginning):
                    return said[-1]
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Failure(f"there was no \"{beginning}\" of a program within {timeout:.0f} s")
            data = os.read(self.process.stdout.fileno(), 4096)
            if not data:
                raise Failure(f"a program ended before it said \"{beginning}\": {said[-1] if said else 'it does not say why'}")
            self.buffer += data

    def end(self, timeout):
        """Waits for the program's end; a Failure unless it is a good one."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0 and select.select([self.process.stdout], [], [], left)[0]:
            data = os.read(self.process.stdout.fileno(), 4096)
            if not data:
                break
            self.buffer += data
        try:
            status = self.process.wait(max(1, left))
        except subprocess.TimeoutExpired:
            raise Failure(f"a program that should have ended did not within {timeout:.0f} s") from None
        if status != 0:
            raise Failure(f"a program ended with status {status}: {tail(self.buffer.decode(errors='replace'))}")


    def must_run(self):
        """A Failure if it does not any more."""
        if self.process.poll() is not None:
            raise Failure(f"a program ended too soon, with status {self.process.returncode}")


@contextlib.contextmanager
def inside(instance, *argv):
    """The Output of a program in an instance, that is ended afterwards."""
    process = instance.popen(argv)
    try:
        yield Output(process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def answering(engine, context, data):
    """(instance, Probe) of one that answers when it has written to the disk, and is asked all the while."""
    data.mkdir()
    port = free_port()
    with engine.start(context.spec(["answer"], data_dir=data, port=port)) as instance:
        instance.first_instruction()
        with inside(instance, "answer", port, FILE) as output:
            output.line("listening", context.timeout)
            # On a slow host more questions would be a hog of their own.
            probe = Probe(instance.address, port, context.sample_seconds * context.patience, context.timeout)
            try:
                probe.ask()
                probe.start()
                yield instance, probe
            finally:
                probe.close()


@contextlib.contextmanager
def idle(engine, context, data):
    """Another instance, which does nothing yet."""
    data.mkdir(exist_ok=True)
    with engine.start(context.spec(["answer"], data_dir=data)) as instance:
        instance.first_instruction()
        instance.check(["true"])  # whatever has to be done before its first command
        yield instance


class Neighbour(Workload):
    name, title = "neighbour", "Noisy neighbour"
    question = ("How long does an instance take to answer, when it has written 4 KiB to the disk for it, beside another that behaves "
                "badly?")
    metrics = (*(Metric(f"{name}_{phase}", f"{percentile} {title}", "s")
                 for name, percentile, *_ in PERCENTILES for phase, title in PHASES),
               # Only as series: what is compared are the percentiles.
               *(Metric(f"longest_{kind}", f"Longest waits beside {title}", "s") for kind, title in HOGS),
               *(Metric(f"pgbench_{phase}", f"pgbench {title}", "1/s", "higher") for phase, title in PHASES),
               *(Metric(f"pgbench_{name}_{phase}", f"pgbench {percentile} {title}", "s")
                 for name, percentile, *_ in PERCENTILES for phase, title in PHASES))

    def __init__(self):
        self.turns = {}  # of each engine so far

    def phases(self, engine):
        """Each turn begins with the next, as what comes first finds other caches, and a smaller database, than what comes last."""
        turn = self.turns[engine.name] = self.turns.get(engine.name, -1) + 1
        names = ["alone", *(kind for kind, _ in HOGS)]
        return names[turn % len(names):] + names[:turn % len(names)]

    def measure(self, engine, context):
        phases = self.phases(engine)
        with context.data() as data, answering(engine, context, data / "probe") as (_, probe):
            for phase in phases:
                yield from self.answers(phase, engine, context, data / "hog", probe)
        with context.data() as data, idle(engine, context, data / "probe") as instance, Database(instance, context) as database:
            database.transactions()  # the first after a checkpoint are others
            for phase in phases:
                yield from self.database(phase, engine, context, data / "hog", database)

    def answers(self, phase, engine, context, data, probe):
        if phase == "alone":
            begin = time.monotonic()
            yield from percentiles("", phase, [wait for _, wait in probe.waits(begin, begin + context.seconds)])
        else:
            yield from self.beside(phase, engine, context, data, probe)

    def database(self, phase, engine, context, data, database):
        if phase == "alone":
            yield from self.transactions(phase, database)
            return
        # The hog is ended with its instance; its time is only to be long enough.
        with (idle(engine, context, data) as other,
              inside(other, "hog", phase, f"{4 * context.timeout:g}", bound(phase, engine, context), "/data") as hog):
            hog.line("hogging", context.timeout)
            yield from self.transactions(phase, database)
            hog.must_run()

    def beside(self, kind, engine, context, data, probe):
        """The hog has its time between two that are without it, which are there to be looked at."""
        quiet = min(2, context.seconds)
        with idle(engine, context, data) as instance:
            time.sleep(quiet)
            with inside(instance, "hog", kind, f"{context.seconds:g}", bound(kind, engine, context), "/data") as hog:
                hog.line("hogging", context.timeout)
                begin = time.monotonic()
                end = begin + context.seconds
                yield from percentiles("", kind, [wait for _, wait in probe.waits(begin, end)])
                hog.end(context.timeout)
            waits = probe.waits(begin - quiet, end + quiet)
        points = longest(waits, begin, (context.seconds + 2 * quiet) / MOMENTS)
        yield Series(f"longest_{kind}", [t for t, _ in points], [wait for _, wait in points])

    def transactions(self, phase, database):
        rate, microseconds = database.transactions()
        yield Sample(f"pgbench_{phase}", rate)
        yield from percentiles("pgbench_", phase, [value / 1e6 for value in microseconds])
