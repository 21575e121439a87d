# SPDX-License-Identifier: Apache-2.0
"""What an instance that does its worst does to the next one of the same engine, which answered before and is asked on.

The next one survives what it can go on after, and during: it answers once it has written to the disk, has a child, a command
can be run in it, and a third instance can be started beside. That it takes longer is told, but is no death. None of this may
take the host down that it is tried on:

- Full process table: one instance forks until it cannot. On a shared kernel its tasks are the host's, of which it is left
  RESERVE at least, and half of its memory: then it is us who stop it. What stops it before, such as its own memory's limit,
  is what a user of the engine has, too. Without any isolation it gets no more than FEW. Where it was the end of the table
  that we kept it from, it could have had the rest as well, and that is told.
- Full page cache: one instance writes and reads a file of twice its memory, so that its limit is met; the next one reads a file
  that it had in memory.
- Kernel panic: really done, where the instance has a kernel that is not the host's by its boot_id. That of a shared kernel is
  the host's, and not tried unless --panic-host asks for it: see panic_host.
"""
import contextlib
import os
import shutil
import time

import stats
import words
from engines.base import Failure, field, read
from workloads.base import Outcome, Workload, ask, free_port
from workloads.neighbour import FEW, FILE, answering, idle, inside, most_tasks, tasks

PANIC, TABLE, CACHE = "kernel panic", "full process table", "full page cache"
RESERVE, SHARE = 500, 20  # tasks, or one in so many of all
TASK_BYTES = 64 << 10  # of kernel memory, about
CACHED = 32 << 20  # the next one's file
READS = 5
SPARE = 256 << 20  # of the disk, for the rest
BOOT_ID = "/proc/sys/kernel/random/boot_id"
SHARED = "shares the host's kernel: its panic is the host's, and was not tried"
WENT_DOWN = "the host went down with it"
STOPPED = {"table": "and was stopped by us, who left the host the rest that it could have had as well",
           "memory": "and was stopped by us, at half of the host's memory",
           "few": "and was stopped by us, as nothing else would have"}


def room(limited, limit, present, memory):
    """(how many tasks may be taken, what bounds them) on a host that has @present of @limit, and @memory bytes left."""
    bounds = [(limit - present - max(RESERVE, limit // SHARE), "table"), (memory // 2 // TASK_BYTES, "memory")]
    if not limited:
        bounds.append((FEW, "few"))
    most, why = min(bounds)
    return max(1, most), why


def held(line):
    """(number, why no more) of what the hog says."""
    try:
        _, number, why = line.split(None, 2)
        return int(number), why
    except ValueError:
        raise Failure(f"the hog does not say what it holds: {line[:100]}") from None


def table_words(number, why, bound, before, during, limit):
    """What became of the process table."""
    end = {"bound": STOPPED[bound], "killed": "when the kernel killed some for lack of memory"}.get(
        why, f"when it was refused more ({why})")
    return f"the first had {number:,} tasks {end}; the host went from {before:,} to {during:,} of {limit:,}"


def cache_words(size, grown, free, before, after):
    """What became of the page cache, and of the file that was in it."""
    return (f"the first wrote and read {plain(size, 'bytes')}, and the host's caches grew by {plain(max(0, grown), 'bytes')} of "
            f"{plain(free, 'bytes')} that were free; the next read {plain(CACHED, 'bytes')} that it had cached in "
            f"{plain(after, 's')}, and in {plain(before, 's')} before")


def plain(value, unit):
    return words.breaking(words.show(value, unit))


class Next:
    """The next instance."""

    def __init__(self, engine, context, instance, probe):
        self.engine, self.context, self.instance, self.probe = engine, context, instance, probe
        self.begin, self.complaints = time.monotonic(), []

    def answer(self):
        self.probe.ask()

    def child(self):
        if self.probe.ask(b"f")[0] != b"f":
            raise Failure("it was refused")

    def command(self):
        self.instance.check(["true"])

    def third(self):
        port = free_port()
        with self.engine.start(self.context.spec(["answer", port], port=port)) as third:
            third.line("listening")
            ask(third, port, self.context.timeout)

    def look(self, when):
        """What it cannot do any more is complained of."""
        for attempt, what in ((self.answer, "it did not answer"), (self.child, "it could not have a child"),
                              (self.command, "no command could be run in it"),
                              (self.third, "no third instance could be started")):
            self.attempt(attempt, f"{when} {what}")

    def attempt(self, function, what):
        try:
            function()
        except (Failure, OSError) as error:
            self.complaints.append(f"{what} ({getattr(error, 'strerror', None) or error})")

    def outcome(self, what, told):
        longest = max((wait for begin, wait in self.probe.answers if begin + wait > self.begin), default=None)
        told = [told, *self.complaints] + ([f"the longest answer took {plain(longest, 's')}"] if longest else [])
        return Outcome(what, not self.complaints, "; ".join(told))


@contextlib.contextmanager
def next_one(engine, context):
    """(Next, directory for the first one's data)."""
    with context.data() as data, answering(engine, context, data / "next") as (instance, probe):
        yield Next(engine, context, instance, probe), data / "first"


def fill_table(engine, context):
    with next_one(engine, context) as (following, data):
        limit, before = most_tasks(), tasks()
        most, bound = room(engine.limited, limit, before, field(read("/proc/meminfo"), "MemAvailable"))
        with idle(engine, context, data) as first, hog(context, first, "table", most) as output:
            number, why = held(output.line("held", 3 * context.timeout))
            during = tasks()
            following.look("meanwhile")
        following.look("afterwards")
        return following.outcome(TABLE, table_words(number, why, bound, before, during, limit))


def fill_cache(engine, context):
    def cached():
        return field(read("/proc/meminfo"), "Cached")

    most, left = 2 * context.memory_bytes, shutil.disk_usage(context.directory).free
    if left < most + SPARE:
        return Outcome(CACHE, None, f"the disk has {plain(left, 'bytes')} left, and a file of {plain(most, 'bytes')} is needed")
    with next_one(engine, context) as (following, data):
        following.instance.check(["dd", "if=/dev/zero", f"of={FILE}", "bs=1048576", f"count={CACHED >> 20}", "conv=notrunc"])
        following.probe.ask(b"r")
        reads = [following.probe.ask(b"r")[1] for _ in range(READS)]
        free, before, after = field(read("/proc/meminfo"), "MemFree"), cached(), None
        with idle(engine, context, data) as first, hog(context, first, "cache", most) as output:
            size, _ = held(output.line("held", 3 * context.timeout))
            grown = cached() - before
            with contextlib.suppress(OSError):  # which is looked for below
                after = following.probe.ask(b"r")[1]
            following.look("meanwhile")
        following.look("afterwards")
        return following.outcome(CACHE, cache_words(size, grown, free, stats.median(reads), after if after else float("inf")))


def hog(context, instance, kind, most):
    """It is ended with its instance, long before the time that it has."""
    return inside(instance, "hog", kind, f"{20 * context.timeout:g}", most, "/data")


def own_kernel(instance):
    """Whether it is not the host's, whatever is said of the engine."""
    return instance.check(["cat", BOOT_ID]).strip() != read(BOOT_ID).strip()


def panic(engine, context):
    if not engine.own_kernel:
        return Outcome(PANIC, None, SHARED)
    with next_one(engine, context) as (following, data), idle(engine, context, data) as first:
        if not own_kernel(first):
            return Outcome(PANIC, None, SHARED)
        begin = time.monotonic()
        refused = crash(first, context)
        told = f"the first ended after {plain(time.monotonic() - begin, 's')} ({last_words(first)})"
        if first.alive():
            told = f"the first brought about none: {refused}"
        following.look("afterwards")
        return following.outcome(PANIC, told)


def last_words(instance):
    """What is said of its panic, which is not the last line of what a kernel says then."""
    found = [line.strip() for line in instance.complaints().splitlines() if "panic" in line.lower()]
    return found[0][:200] if found else instance.said()


def crash(instance, context):
    """Waits for the end of the instance, by a panic; what it was refused otherwise."""
    deadline, said = time.monotonic() + context.timeout, ""
    with hog(context, instance, "panic", 0) as output:
        while instance.alive() and time.monotonic() < deadline:
            try:
                said = output.line("refused", 1)
            except Failure:
                if output.process.poll() is not None:
                    # Whoever runs the command in the instance may be the first to know of its end.
                    deadline = min(deadline, time.monotonic() + 2 * context.patience)
                    time.sleep(0.1)
    return said or "nothing came of it"


def panic_host(engines, context, outcomes, record):
    """The end of the host, if instances of engines that share its kernel can bring it about: those with less isolation last.

    That the host went down is recorded before: whoever reads it knows that nobody came back to change it.
    """
    for engine in sorted((each for each in engines if not each.own_kernel), key=lambda each: each.limited, reverse=True):
        entry = next((each for each in outcomes if (each["engine"], each["what"]) == (engine.name, PANIC)), None)
        if not entry:
            continue
        before = dict(entry)
        try:
            with next_one(engine, context) as (following, data), idle(engine, context, data) as first:
                entry.update(survived=False, words=WENT_DOWN)
                record()
                os.sync()
                refused = crash(first, context)
                following.look("afterwards")
                seen = following.outcome(PANIC, f"the first brought about none: {refused}")
                entry.update(survived=seen.survived, words=seen.words)
        except (Failure, OSError) as failure:
            entry.update(before, words=f"{before['words']}: {failure}")
        except BaseException:
            entry.update(before)
            record()
            raise
        record()


class Containment(Workload):
    name, title = "containment", "Containment"
    question = "What does an instance that does its worst do to the next one?"
    once = True

    def measure(self, engine, context):
        for deed in (panic, fill_table, fill_cache):
            yield deed(engine, context)
