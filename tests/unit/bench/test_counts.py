# SPDX-License-Identifier: Apache-2.0
"""What perf prints, what becomes of it, and what there is where something cannot be counted. perf is one of ours here."""
import os
import pathlib
import tempfile
import types
import unittest
from unittest import mock

import here  # noqa: F401
import run
import setup
import table
from workloads import counts
from workloads.base import Sample

LINE = ('{{"counter-value" : "{}", "unit" : "", "event" : "{}", "event-runtime" : 404351121, "pcnt-running" : 100.00, '
        '"metric-value" : 0.000000, "metric-unit" : "(null)"}}\n')
# Writes down what it is told, and prints its counts at its end.
PERF = """#!/usr/bin/python3
import os, re, signal, sys
control, answers = map(int, re.search(r"fd:(\\d+),(\\d+)", " ".join(sys.argv)).groups())
log = open({log!r}, "a", buffering=1)
print(*sys.argv[1:], file=log)
def end(*_):
    print(open({counts!r}).read(), end="", flush=True)
    os._exit(0)
signal.signal(signal.SIGINT, end)
while data := os.read(control, 100):
    log.write(data.decode())
    os.write(answers, b"ack\\n\\0")
"""


class Engine:
    def __init__(self, daemons=(), own_kernel=True):
        self.own_kernel = own_kernel
        self.context, self.daemons = types.SimpleNamespace(patience=1), lambda: list(daemons)


class Instance:
    def __init__(self, engine, *pids):
        self.engine, self.pids = engine, pids

    def processes(self):
        return list(self.pids)


class Parser(unittest.TestCase):
    def test_counts(self):
        text = (LINE.format("6456.000000", "raw_syscalls:sys_enter") + LINE.format("12000000.000000", "instructions:G")
                + LINE.format("7", "instructions:H") + LINE.format("9e3", "cycles:GH") + LINE.format("1", "other"))
        self.assertEqual(counts.parse(text), {"system_calls": 6456, "guest_instructions": 12000000, "host_instructions": 7,
                                              "cycles": 9000})

    def test_what_is_not_counted_is_none(self):
        text = (LINE.format("<not supported>", "instructions:G") + LINE.format("<not counted>", "instructions:H")
                + LINE.format("0.000000", "raw_syscalls:sys_enter"))
        self.assertEqual(counts.parse(text), {"system_calls": 0})

    def test_two_kinds_of_cores(self):
        text = (LINE.format("5", "cpu_core/instructions:G/") + LINE.format("6", "cpu_atom/instructions:G/")
                + LINE.format("<not counted>", "cpu_atom/cycles:GH/") + LINE.format("8", "cpu_core/cycles/GH"))
        self.assertEqual(counts.parse(text), {"guest_instructions": 11, "cycles": 8})

    def test_nonsense(self):
        for line in ("", "# started on Sun", "{}", "[1]", "3", '{"event": "cycles:GH"}', '{"event": 1, "counter-value": 2}'):
            self.assertEqual(counts.parse(f"\n{line}\n"), {}, line)


class Samples(unittest.TestCase):
    def test_division(self):
        count = counts.Count(values={"system_calls": 2100, "exits": 40})
        self.assertEqual(list(count.per("read", 20)), [Sample("read_system_calls", 105), Sample("read_exits", 2)])
        self.assertEqual(list(count.per("read", 20, ("exits", "cycles"))), [Sample("read_exits", 2)])

    def test_what_is_besides(self):
        count, nothing = counts.Count(values={"system_calls": 2100, "exits": 40}), counts.Count(values={"system_calls": 100})
        self.assertEqual(list(count.per("read", 20, without=nothing)), [Sample("read_system_calls", 100)])
        # What is below zero by chance counts as what is above it by chance does.
        less = counts.Count(values={"system_calls": 90})
        self.assertEqual(list(less.per("read", 20, without=nothing)), [Sample("read_system_calls", -0.5)])

    def test_nothing_was_done(self):
        self.assertEqual(list(counts.Count(values={"exits": 1}).per("read", 0)), [])
        self.assertEqual(list(counts.Count(values={"exits": 1}).per("read", -1)), [])
        self.assertEqual(list(counts.Count().per("read", 1)), [])

    def test_metrics(self):
        made = counts.metrics("read", "each read", carries=("exits",))
        count = counts.Count(values=dict.fromkeys(counts.KINDS, 1))
        self.assertEqual([each.name for each in made], [sample.metric for sample in count.per("read", 1)])
        self.assertEqual({(each.unit, each.better) for each in made}, {("count", "lower"), ("count", None)})
        self.assertEqual([each.name for each in made if each.carries_over], ["read_exits"])
        for workload in run.workloads.ALL:
            for each in workload.metrics:
                if each.name.endswith(tuple(f"_{kind}" for kind in counts.KINDS)):
                    self.assertLessEqual(len(each.title), table.LABEL - 3, each.title)


class Counted(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.log, self.counts = self.directory / "log", self.directory / "counts"
        self.counts.write_text(LINE.format("24", "raw_syscalls:sys_enter") + LINE.format("9", "instructions:H"))
        self.kvm = self.directory / "kvm"
        self.patch(mock.patch.object(counts, "KVM", self.kvm))
        self.be(PERF.format(log=str(self.log), counts=str(self.counts)))
        self.patch(mock.patch.dict(os.environ, {"PATH": f"{directory.name}:{os.environ['PATH']}"}))

    def patch(self, patcher):
        patcher.start()
        self.addCleanup(patcher.stop)

    def be(self, script):
        perf = self.directory / "perf"
        perf.write_text(script)
        perf.chmod(0o755)

    def guests(self, **counters):
        """Has KVM tell of these: pid_12=exits."""
        for name, value in counters.items():
            place = self.kvm / f"{name.removeprefix('pid_')}-10"
            place.mkdir(parents=True, exist_ok=True)
            (place / "exits").write_text(f"{value}\n")

    def count(self, *instances, calls=True, processor=False, counter=None, during=lambda count: None, **options):
        with mock.patch.object(counts, "host", lambda: counts.Host(calls, processor, [], counter)):
            with counts.counted(*instances, **options) as count:
                self.during = self.log.read_text() if self.log.exists() else ""
                during(count)
        return count.values

    def test_an_instance(self):
        self.guests(pid_12=100, pid_99=5)
        found = self.count(Instance(Engine([7]), 12, 13), during=lambda _: self.guests(pid_12=140, pid_99=500))
        self.assertEqual(found, {"system_calls": 24, "host_instructions": 9, "exits": 40})
        words, *told = self.during.splitlines()
        self.assertIn(f"-e raw_syscalls:sys_enter -p {os.getpid()},7,12,13", words)
        self.assertEqual(told, ["disable", "enable"])
        self.assertEqual(self.log.read_text().splitlines()[1:], ["disable", "enable", "disable"])

    def test_the_processor(self):
        self.count(Instance(Engine()), calls=False, processor=True)
        self.assertIn("-e instructions:H,instructions:G,cycles:GH -a", self.during)
        self.assertEqual(len(self.log.read_text().splitlines()), 4)

    def start(self, engine, **guests):
        def during(count):
            self.guests(**guests)
            count.add(Instance(engine, *(int(name.removeprefix("pid_")) for name in guests)))

        return self.count(engine=engine, calls=False, during=during)

    def test_an_emulated_host_counts_instructions(self):
        file = self.directory / "instructions"
        file.write_text("host 1 2\n")
        lines = iter(["host 100 2000\n", "host 130 2400\n"] * 2)

        def execute():
            with open(file, "a", encoding="ascii") as appended:
                appended.write(next(lines))

        self.patch(mock.patch.object(counts, "marker", lambda: execute))
        self.guests(pid_12=100)
        self.assertEqual(self.count(Instance(Engine(), 12), calls=False, counter=str(file)),
                         {"guest_instructions": 30, "host_instructions": 400, "exits": 0})
        # Of what has no guests, those are other guests'.
        self.assertEqual(self.count(Instance(Engine(own_kernel=False), 13), calls=False, counter=str(file)), {"host_instructions": 400})

    def test_the_marker_can_be_executed(self):
        counts.marker()()

    def test_a_start(self):
        self.assertEqual(self.start(Engine(), pid_12=33), {"exits": 33})
        self.assertEqual(self.start(Engine()), {})

    def test_a_start_in_a_guest_that_all_share(self):
        self.guests(pid_12=1000)
        self.assertEqual(self.start(Engine([12]), pid_12=1033), {"exits": 33})

    def test_guests_that_share_a_process(self):
        engine = Engine()
        self.guests(pid_12=100, pid_13=0)
        self.assertEqual(self.count(Instance(engine, 12), Instance(engine, 12, 13), calls=False,
                                    during=lambda _: self.guests(pid_12=110, pid_13=1)), {"exits": 11})

    def test_no_guest(self):
        self.assertEqual(self.count(Instance(Engine([7]), 12), calls=False), {})

    def test_perf_fails(self):
        self.be(f"#!/bin/sh\necho tried >>{self.log}\nexit 1\n")
        self.assertEqual(self.count(Instance(Engine())), {})
        self.assertEqual(self.log.read_text(), "tried\n" * counts.TRIES)

    def test_nothing_is_left_after_an_interruption(self):
        with mock.patch.object(counts, "host", lambda: counts.Host(True, False, [])):
            before, begun = set(os.listdir("/proc/self/fd")), []
            start = counts.Perf.__init__

            def note(perf, *words):
                begun.append(perf)
                start(perf, *words)

            with mock.patch.object(counts.Perf, "__init__", note), self.assertRaises(KeyboardInterrupt):
                with counts.counted(Instance(Engine())):
                    raise KeyboardInterrupt
        self.assertEqual([each.process.poll() is None for each in begun], [False])
        self.assertEqual(set(os.listdir("/proc/self/fd")), before)


class Host(unittest.TestCase):
    def host(self, perf):
        """As it is told where this is what perf does; None: there is none."""
        with tempfile.TemporaryDirectory() as directory:
            if perf:
                (pathlib.Path(directory) / "perf").write_text(f"#!/bin/sh\n{perf}\n")
                (pathlib.Path(directory) / "perf").chmod(0o755)
            with mock.patch.dict(os.environ, {"PATH": directory}), mock.patch.object(counts, "KVM", pathlib.Path("/")):
                return counts.host.__wrapped__(), setup.packages([])

    def test_no_perf(self):
        found, packages = self.host(None)
        self.assertEqual((found.calls, found.processor, len(found.lacking)), (False, False, 1))
        self.assertIn("install the package linux-perf", found.lacking[0])
        self.assertIn("linux-perf", packages)

    def test_all(self):
        found, packages = self.host(f"echo '{LINE.format(1, 'raw_syscalls:sys_enter')}{LINE.format(0, 'instructions:G')}'")
        self.assertEqual(found, counts.Host(True, True, []))
        self.assertNotIn("linux-perf", packages)

    def test_a_virtual_machine(self):
        found, _ = self.host(f"echo '{LINE.format(1, 'raw_syscalls:sys_enter')}{LINE.format('<not supported>', 'cycles:GH')}'")
        self.assertEqual((found.calls, found.processor, len(found.lacking)), (True, False, 1))

    def test_an_emulated_host(self):
        with mock.patch.dict(os.environ, {counts.COUNTER: "/instructions"}):
            found, _ = self.host(f"echo '{LINE.format(1, 'raw_syscalls:sys_enter')}'")
        self.assertEqual(found, counts.Host(True, False, ["an emulated processor has no cycles"], "/instructions"))

    def test_perf_fails(self):
        found, _ = self.host("echo 'perf is not for this kernel' >&2; exit 1")
        self.assertEqual((found.calls, found.processor), (False, False))
        self.assertIn("perf counts no system calls: perf is not for this kernel", found.lacking)


if __name__ == "__main__":
    unittest.main()
