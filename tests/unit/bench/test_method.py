# SPDX-License-Identifier: Apache-2.0
"""The order of a run, what ends it, and what is kept then: with engines that measure nothing and a clock that is told."""
import contextlib
import copy
import io
import pathlib
import types
import unittest

import here  # noqa: F401
import fake
import method
import results
from engines import base
import run
import table
import workloads
from engines.base import Failure, kernel_memory_of
from workloads.base import Context, Metric, Sample, Workload
from workloads.disk import parse


class Engine:
    def __init__(self, name, broken=None):
        self.name = self.title = name
        self.broken, self.cleaned = broken, False
        self.instances, self.at_turn = [], False

    @contextlib.contextmanager
    def turn(self):
        self.at_turn = True
        try:
            yield
        finally:
            self.at_turn = False

    def prepare(self, root):
        if self.broken:
            raise Failure(self.broken)

    def clean(self):
        self.cleaned = True


class Two(Workload):
    """Two samples of each turn; between them, what the test has planned for that turn."""
    name = title = "two"
    question = "?"
    metrics = (Metric("first", "First", "s"), Metric("second", "Second", "s"))

    def __init__(self, clock, events):
        self.clock, self.events, self.turns, self.closed, self.outside = clock, events, [], 0, 0

    def measure(self, engine, context):
        self.turns.append(engine.name)
        self.clock.now += 10
        try:
            yield Sample("first", 1.0)
            event = self.events.get(len(self.turns))
            if event:
                raise event
            yield Sample("second", 2.0)
        finally:
            self.closed += 1
            self.outside += not engine.at_turn


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Rounds(unittest.TestCase):
    def make(self, events=None, rounds=3, warm_up=1, engines=("a", "b", "c"), **options):
        clock = Clock()
        self.workload = Two(clock, events or {})
        # Whatever ends a turn, its instances end within.
        self.addCleanup(lambda workload: self.assertEqual(workload.outside, 0), self.workload)
        self.engines = [each if isinstance(each, Engine) else Engine(each) for each in engines]
        names = [each.name for each in self.engines]
        data = copy.deepcopy(fake.make())
        data.update(engines=[{"name": name, "title": name, "version": "", "confined": "", "kernel": "own", "command": None,
                                   "missing": None} for name in names],
                    workloads=[{"name": "two", "title": "two", "question": "?", "root": fake.ROOT}],
                    metrics=[{"workload": "two", "metric": each.name, "title": each.title, "unit": each.unit,
                              "better": each.better, "carries_over": False} for each in Two.metrics],
                    samples=[], series=[], outcomes=[], failures=[], complete=False, why_incomplete="begun")
        data["method"].update(rounds=rounds, warm_up=warm_up)
        live = table.Live(results.Results(data), method.plan(rounds, warm_up, ["two"], names, 1), io.StringIO(), clock)
        self.saved = []
        made = method.Run(data, self.engines, [self.workload], types.SimpleNamespace(), live,
                          lambda each: self.saved.append(copy.deepcopy(each)), clock=clock, **options)
        return made, data

    def check(self, data):
        results.check(data, "results")

    def test_order(self):
        made, data = self.make()
        self.assertIsNone(made.go(None))
        self.check(data)
        turns = self.workload.turns
        self.assertEqual([sorted(turns[at:at + 3]) for at in range(0, 12, 3)], [["a", "b", "c"]] * 4)
        self.assertEqual({each["round"] for each in data["samples"]}, {0, 1, 2})
        self.assertEqual((len(data["samples"]), data["complete"], data["why_incomplete"]), (18, True, None))
        self.assertEqual([len(each["samples"]) for each in self.saved], [0, 0, 0, *range(2, 19, 2), 18])
        self.assertEqual(self.workload.closed, 12)

    def test_seed(self):
        plans = [method.plan(20, 0, ["w"], ["a", "b", "c"], seed) for seed in (1, 1, 2)]
        self.assertEqual(plans[0], plans[1])
        self.assertNotEqual(plans[0], plans[2])
        firsts = {plans[0][at][2] for at in range(0, 60, 3)}
        self.assertEqual(firsts, {"a", "b", "c"})

    def test_interrupted_in_mid_round(self):
        made, data = self.make({8: KeyboardInterrupt()})
        self.assertEqual(made.go(None), "interrupted by the user")
        self.check(data)
        # The second round that is kept: one engine whole, and half of the next.
        self.assertEqual(len(data["samples"]), 6 + 2 + 1)
        self.assertEqual((data["complete"], data["why_incomplete"]), (False, "interrupted by the user"))
        self.assertEqual(self.saved[-1], data)
        self.assertEqual(self.workload.closed, 8)

    def test_interrupted_by_a_signal(self):
        made, data = self.make({2: KeyboardInterrupt("interrupted by SIGTERM")})
        self.assertEqual(made.go(None), "interrupted by SIGTERM")
        self.assertEqual((data["samples"], data["why_incomplete"]), ([], "interrupted by SIGTERM"))

    def test_interruption_waits(self):
        done = []

        @base.unbroken
        def start():
            base.Hold.interrupt(KeyboardInterrupt("now"))
            with base.Hold():
                pass
            done.append("started")

        with self.assertRaises(KeyboardInterrupt) as caught:
            start()
        self.assertEqual((done, str(caught.exception)), (["started"], "now"))
        with self.assertRaises(KeyboardInterrupt):
            base.Hold.interrupt(KeyboardInterrupt())
        with base.Hold():
            pass  # Nothing is left of it.

    def test_unexpected(self):
        made, data = self.make({8: ValueError("what?")})
        with self.assertRaises(ValueError):
            made.go(None)
        self.assertEqual(self.saved[-1]["samples"], data["samples"])
        self.assertEqual(len(data["samples"]), 6 + 2 + 1)

    def test_failing_engine(self):
        for event, why in ((Failure("fio: no space left"), "fio: no space left"),
                           (OSError(28, "No space left on device", "/x"), "the host refused /x: No space left on device"),
                           (MemoryError(), "the host has no memory left for it")):
            made, data = self.make({5: event})
            self.assertIsNone(made.go(None))
            self.check(data)
            bad = self.workload.turns[4]
            self.assertEqual(data["failures"], [{"workload": "two", "engine": bad, "round": 0, "why": why}])
            # That engine's part is over, with what it had; the others go on.
            self.assertEqual([each["metric"] for each in data["samples"] if each["engine"] == bad], ["first"])
            self.assertEqual(len(data["samples"]), 2 * 3 * 2 + 1)
            self.assertEqual(len(self.workload.turns), 12 - 2)

    def test_last_engine_fails(self):
        made, data = self.make({1: Failure("broken")}, engines=("a",))
        self.assertIsNone(made.go(None))
        self.assertEqual((len(data["failures"]), data["samples"], len(self.workload.turns)), (1, [], 1))

    def test_engine_that_cannot_be_prepared(self):
        made, data = self.make(engines=("a", Engine("b", "it has no bridge"), "c"))
        self.assertIsNone(made.go(None))
        self.check(data)
        self.assertEqual(data["failures"], [{"workload": "two", "engine": "b", "round": 0, "why": "it has no bridge"}])
        self.assertEqual(set(self.workload.turns), {"a", "c"})
        made.clean()
        self.assertTrue(all(each.cleaned for each in self.engines))

    def test_what_cannot_be_cleaned_up_does_not_keep_the_rest(self):
        def refuse():
            raise Failure("it goes on")

        made, _ = self.make()
        stopped = []
        self.engines[0].instances = [types.SimpleNamespace(stop=refuse), types.SimpleNamespace(stop=lambda: stopped.append(1))]
        with self.assertRaisesRegex(results.Problem, "^a cannot be cleaned up: it goes on$"):
            made.clean()
        self.assertEqual(stopped, [1])
        self.assertTrue(all(each.cleaned for each in self.engines))

    def test_time_limit(self):
        made, data = self.make(time_limit=65)
        self.assertEqual(made.go(None), "the time limit of 65 s was reached")
        self.check(data)
        self.assertEqual(len(self.workload.turns), 7)

    def test_cannot_save(self):
        made, data = self.make()

        def full(_):
            raise results.Problem("cannot write x: No space left on device")
        made.save = full
        with self.assertRaises(results.Problem):
            made.go(None)


class Parsers(unittest.TestCase):
    def test_fio(self):
        job = '{"jobs": [{"error": 0, "read": {"iops": 7}}]}'
        self.assertEqual(parse(job)["read"]["iops"], 7)
        self.assertEqual(parse(f"fio: a note {{}}\n{job}")["read"]["iops"], 7)
        for text in ("", "fio: no such file", '{"jobs": []}', "{", "[]"):
            with self.assertRaises(Failure):
                parse(text)
        with self.assertRaisesRegex(Failure, "error 28"):
            parse('fio: io_u error\n{"jobs": [{"error": 28}]}')

    def test_kernel_memory(self):
        self.assertEqual(kernel_memory_of("anon 5\nkernel 4096\nslab 1\n"), 4096)
        self.assertEqual(kernel_memory_of("anon 5\nkernel_stack 10\npagetables 20\nslab 3\n"), 33)
        self.assertEqual(kernel_memory_of(""), 0)

    def test_metrics_are_named_once(self):
        for workload in (each() for each in workloads.ALL):
            names = [each.name for each in workload.metrics_of(Context(pathlib.Path("/")))]
            self.assertEqual(len(names), len(set(names)))


class Parameters(unittest.TestCase):
    def refused(self, *given):
        with self.assertRaises(run.Usage) as caught:
            run.Options(given)
        return str(caught.exception)

    def test_nonsense(self):
        for name, word, said in (
                ("--rounds", "0", '--rounds takes a whole number from 1 to 10000, not "0"'),
                ("--rounds", "-3", '--rounds takes a whole number from 1 to 10000, not "-3"'),
                ("--rounds", "9" * 400, "--rounds takes a whole number from 1 to 10000, not \"" + "9" * 400 + '"'),
                ("--warm-up", "x", '--warm-up takes a whole number from 0 to 1000, not "x"'),
                ("--seconds", "nan", '--seconds takes seconds from 0.1 to 3600, not "nan"'),
                ("--seconds", "inf", '--seconds takes seconds from 0.1 to 3600, not "inf"'),
                ("--mem", "1", '--mem takes a size of at least 128M, such as 512M or 1G, not "1"'),
                ("--mem", "", '--mem takes a size of at least 128M, such as 512M or 1G, not ""'),
                ("--dir", "/nonexistent", "--dir: /nonexistent is not a directory"),
                ("--output", "/nonexistent/x", "--output: there is no directory /nonexistent for /nonexistent/x")):
            self.assertEqual(self.refused((name, word)), said)
        self.assertRegex(self.refused(("--engine", "vmware")), '^there is no engine "vmware"; there are host, kvmbox, ')
        self.assertRegex(self.refused(("--workload", "x")), '^there is no workload "x"; there are start, memory, ')
        self.assertRegex(self.refused(("--mem", "900T")), "^--mem: the host has ")

    def test_defaults(self):
        options = run.Options([])
        self.assertEqual((options.rounds, options.warm_up, options.seconds, options.memory), (10, 1, 5, 512 << 20))
        self.assertEqual(run.Options([("--short", ""), ("--seconds", "3")]).seconds, 3)


if __name__ == "__main__":
    unittest.main()
