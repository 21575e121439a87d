# SPDX-License-Identifier: Apache-2.0
"""kvmbox bench without a command: measures, and what its options are."""
import datetime
import fcntl
import math
import os
import pathlib
import shutil
import signal
import sys
import tempfile

import engines
import lab
import machine
import method
import page
import results
import root
import setup
import stats
import table
import workloads
from engines import layer
from engines.base import Hold, field, read, version_of
from results import say
from workloads import containment
from workloads.base import Context

HELP = """\
Usage: kvmbox bench [OPTION]...
       kvmbox bench compare [OPTION]... A.json B.json
       kvmbox bench report RESULTS.json -o PAGE.html

Measure what isolation costs: the same workloads in several engines, in turns. Needs
root, and Debian 12 for the root file system of all engines.

      --engine NAME     measure this engine only; repeatable
      --workload NAME   measure this workload only; repeatable
  -o, --output FILE     where to write the results (default: kvmbox-bench-TIME.json)
      --page FILE       write a page about them, too
      --rounds N        rounds to measure (default: 10)
      --warm-up N       rounds before those, whose figures are thrown away (default: 1)
      --seconds S       how long to measure what goes on for as long as one likes
                        (default: 5)
      --short           one second instead, small files, and few instances at once
      --time-limit S    begin nothing after so many seconds
      --cpus N          CPUs of each instance (default: 1)
      --mem SIZE        memory of each instance (default: 512M)
      --dir DIR         a directory on the file system under test (default: /var/tmp)
      --seed N          seed of the order in which engines take their turns (default: 1)
      --lab             on an emulated host, where there is neither VT-x nor AMD-V; a
                        disk of that is under test, whatever --dir says
      --list            show engines and workloads, and what is missing
      --setup           install what is missing, by apt, and make the root file system
      --panic-host      at the very end have instances crash the kernel that they share
                        with this host, WHICH GOES DOWN, with all that runs on it: only
                        for a machine that may; the results are on its disk before
  -h, --help            show this help

Exit status: 0 if all that can be measured here was, 1 if something failed or the run
was ended before, 125 if it could not be made.

kvmbox bench COMMAND --help tells more of a command, man kvmbox-bench of all.
"""

LONGS = ("engine=", "workload=", "output=", "page=", "rounds=", "warm-up=", "seconds=", "short", "time-limit=", "cpus=", "mem=",
         "dir=", "seed=", "lab", "list", "setup", "panic-host", "root=")
SUFFIXES = {"K": 10, "M": 20, "G": 30, "T": 40}
OUTER = ("--lab", "--output", "-o", "--page", "--dir")
EMULATED = 6  # patience: how much longer what is waited for may take on an emulated host
LOCK = "/run/kvmbox-bench.lock"
PARTLY = 1  # exit status of a run that has not measured all that it should
LEAST_MEMORY = 128 << 20


class Usage(results.Problem):
    """Something is wrong with the command line."""


def whole(name, word, least, most):
    if not word.isascii() or not word.isdigit() or not least <= int(word[:12]) <= most:
        raise Usage(f"{name} takes a whole number from {least} to {most}, not \"{word}\"")
    return int(word)


def seconds(name, word, least, most):
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise Usage(f"{name} takes seconds from {least:g} to {most:g}, not \"{word}\"")
    return value


def size(name, word, least):
    number, shift = (word[:-1], SUFFIXES[word[-1:].upper()]) if word[-1:].upper() in SUFFIXES else (word, 0)
    if not number.isascii() or not number.isdigit() or not least <= int(number[:15]) << shift < 1 << 50:
        raise Usage(f"{name} takes a size of at least {least >> 20}M, such as 512M or 1G, not \"{word}\"")
    return int(number) << shift


def choose(kind, known, names):
    for name in names:
        if name not in [each.name for each in known]:
            raise Usage(f"there is no {kind} \"{name}\"; there are {', '.join(each.name for each in known)}")
    return [each for each in known if not names or each.name in names]


class Options:
    def __init__(self, given):
        """@given: the options as (name, value), as getopt has them."""
        values = dict(given)

        def several(name):
            return [value for each, value in given if each == name]

        self.engines = choose("engine", engines.ALL, several("--engine"))
        self.workloads = choose("workload", [each() for each in workloads.ALL], several("--workload"))
        self.short = "--short" in values
        self.rounds = whole("--rounds", values.get("--rounds", "10"), 1, 10000)
        self.warm_up = whole("--warm-up", values.get("--warm-up", "1"), 0, 1000)
        self.seconds = seconds("--seconds", values.get("--seconds", "1" if self.short else "5"), 0.1, 3600)
        self.time_limit = seconds("--time-limit", values["--time-limit"], 1, 1e7) if "--time-limit" in values else None
        self.cpus = whole("--cpus", values.get("--cpus", "1"), 1, len(os.sched_getaffinity(0)))
        self.memory = size("--mem", values.get("--mem", "512M"), LEAST_MEMORY)
        if self.memory > (total := field(read("/proc/meminfo"), "MemTotal")):
            raise Usage(f"--mem: the host has {total >> 20}M of memory, which is less than {self.memory >> 20}M")
        self.seed = whole("--seed", values.get("--seed", "1"), 0, 2**31 - 1)
        directory = pathlib.Path(values.get("--dir", "/var/tmp"))
        if not directory.is_dir():
            raise Usage(f"--dir: {directory} is not a directory")
        self.directory = directory.resolve()
        made = datetime.datetime.now(datetime.timezone.utc)
        self.output = pathlib.Path(values.get("--output") or values.get("-o") or f"kvmbox-bench-{made:%Y%m%dT%H%M%SZ}.json")
        self.page = values.get("--page")
        for name, file in (("--output", self.output), ("--page", self.page)):
            if file and pathlib.Path(file).exists() and not pathlib.Path(file).is_file():
                raise Usage(f"{name}: {file} is not a file")
            if file and not pathlib.Path(file).absolute().parent.is_dir():
                raise Usage(f"{name}: there is no directory {pathlib.Path(file).parent} for {file}")
        if self.page and os.path.realpath(self.page) == os.path.realpath(self.output):
            raise Usage(f"--page: {self.page} is where the results go: name another file")
        self.made, self.root = made, values.get("--root")
        self.panic_host = "--panic-host" in values
        if self.panic_host and "containment" not in [each.name for each in self.workloads]:
            raise Usage("--panic-host belongs to the workload containment, which is not to be measured")
        self.lab, self.list, self.setup = "--lab" in values, "--list" in values, "--setup" in values
        # Those that are the same on an emulated host.
        self.inner = [word for name, value in given if name not in OUTER for word in (name, value) if word]

    def context(self, directory):
        context = Context(directory, self.short, self.seconds, self.cpus, self.memory)
        if self.short:
            context.instances, context.at_once = 2, (2,)
            context.data_bytes, context.file_bytes, context.scale = 256 << 20, 16 << 20, 1
        return context


def show_list(options):
    context = options.context(options.directory)
    print("Engines")
    for kind in options.engines:
        engine = kind(context)
        print(f"  {engine.name:18}{engine.title:22}{engine.missing() or engine.version()}")
    print("\nWorkloads")
    for workload in options.workloads:
        print(f"  {workload.name:18}{workload.question}")


def describe(options, context, chosen, found, argv):
    """The results before anything is measured."""
    metrics = [{"workload": workload.name, "metric": each.name, "title": each.title, "unit": each.unit, "better": each.better,
                "carries_over": each.carries_over} for workload in options.workloads for each in workload.metrics_of(context)]
    versions = {name: version_of(*found.command(*words)) for name, words in (
        ("fio", ["fio", "--version"]), ("iperf3", ["iperf3", "--version"]), ("gcc", ["gcc", "--version"]),
        ("nginx", ["nginx", "-v"]), ("wrk", ["wrk", "-v"]), ("postgresql", [f"{root.POSTGRES}/postgres", "--version"]))}
    return {
        "schema": results.ID, "made": f"{options.made:%Y-%m-%dT%H:%M:%SZ}", "command": ["kvmbox", "bench", *argv],
        "complete": False, "why_incomplete": results.BEGUN, "machine": machine.machine(context.directory, versions),
        "method": {"rounds": options.rounds, "warm_up": options.warm_up, "confidence": stats.CONFIDENCE,
                   "dropped_caches": [each.name for each in options.workloads if each.drops_caches], "seed": options.seed,
                   "short": context.short, "seconds": context.seconds, "cpus": context.cpus, "memory_bytes": context.memory_bytes},
        "engines": [{"name": each.name, "title": each.title, "version": "" if why else each.version(),
                     "confined": each.confined, "kernel": each.kernel, "command": each.command(), "missing": why} for each, why in chosen],
        "workloads": [{"name": each.name, "title": each.title, "question": each.question, "root": found.sha256}
                      for each in options.workloads],
        "metrics": metrics, "samples": [], "series": [], "outcomes": [], "failures": []}


def interrupt(number, _):
    # Once is enough: what is cleaned up now is not to be left half done.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    Hold.interrupt(KeyboardInterrupt(*([] if number == signal.SIGINT else [f"interrupted by {signal.Signals(number).name}"])))


def run(options, argv):
    if options.list:
        show_list(options)
        return 0
    if options.setup:
        setup.install(setup.packages([kind(options.context(options.directory)) for kind in options.engines]), say)
        root.get(say)
        return 0
    if os.geteuid() != 0:
        raise results.Problem("it makes networks, mounts and cgroups, and needs root for that")
    lacking = setup.missing_here()
    if lacking:
        raise results.Problem(f"this host lacks packages that every run needs: {' '.join(lacking)}; kvmbox bench --setup installs them")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # As nohup has it.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    if options.lab:
        # Who comes to an end there has said so.
        told = lab.run(options.inner, options.output, argv, root.get(say)) is None
    else:
        run_here(options, argv)
        told = False
    made = results.load(options.output)
    if options.page:
        results.write(options.page, page.page(made))
    if not told:
        say(f"{made['why_incomplete']}: what was measured until then is in {options.output}" if not made["complete"]
            else f"the results are in {options.output}")
    return 0 if made["complete"] and not made["failures"] else PARTLY


def run_here(options, argv):
    """Measures on this host. Raises a Problem if nothing can be; else the results are in the file of the options."""
    context = options.context(options.directory)
    free, needed = shutil.disk_usage(options.directory).free, context.data_bytes + (256 << 20)
    if free < needed:
        raise results.Problem(f"{options.directory} has {free >> 20} MiB left, and {needed >> 20} MiB are needed: choose another --dir")
    # What engines make has names of its own in each run, but not all, and two at once would measure each other.
    with open(LOCK, "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise results.Problem("another kvmbox bench is measuring on this host: wait for its end") from None
        found = root.get(say, options.root)
        layer.own_mounts()
        leftovers = sorted(map(str, options.directory.glob("kvmbox-bench.*")))
        if leftovers:
            say(f"a run that was killed has left {' '.join(leftovers)}, and perhaps machines and containers (kvmbox ps, ps ax | grep "
                "kbench-): end those, and remove it")
        with tempfile.TemporaryDirectory(prefix="kvmbox-bench.", dir=options.directory, ignore_cleanup_errors=True) as directory:
            context = options.context(pathlib.Path(directory))
            with found.mounted(context.directory / "root"):
                measure(options, context, found, argv)


def measure(options, context, found, argv):
    chosen = [(engine := kind(context), engine.missing()) for kind in options.engines]
    usable = [engine for engine, why in chosen if not why]
    data = describe(options, context, chosen, found, argv)
    if data["machine"]["virtualisation"] == "emulated":
        context.patience = EMULATED
    if not usable:
        raise results.Problem("no engine can be measured: " + "; ".join(f"{each.title}: {why}" for each, why in chosen))
    steps = method.plan(options.rounds, options.warm_up, [each.name for each in options.workloads],
                        [each.name for each in usable], options.seed,
                        [each.name for each in options.workloads if each.once])
    for sentence in data["machine"]["not_counted"]:
        say(sentence)
    print(*table.heading(results.Results(data)), sep="\n", flush=True)
    live = table.Live(results.Results(data), steps, sys.stdout)

    def save(what):
        results.save(what, options.output)

    save(data)  # So that a place that cannot be written to is known before hours have passed.
    made = method.Run(data, usable, options.workloads, context, live, save, options.time_limit)
    try:
        why = made.go(found)
        if options.panic_host and not why:
            say("everything is measured; now this host is crashed by instances that share its kernel")
            containment.panic_host(usable, context, data["outcomes"], lambda: save(data))
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        try:
            live.finish()
        finally:  # also where whoever read it is gone
            made.clean()
