# SPDX-License-Identifier: Apache-2.0
"""Of the workloads in which a neighbour behaves badly, what needs no instance: waits, bounds, and what is said of ends."""
import contextlib
import os
import pathlib
import subprocess
import tempfile
import time
import types
import unittest
from unittest import mock

import here  # noqa: F401
import fake
import method
import page
import results
import run
import table
from engines.base import Failure
from workloads import containment, neighbour
from workloads.base import Context, Sample


class Waits(unittest.TestCase):
    def test_each_tick_counts(self):
        # The third answer took five ticks: whoever asked at the others waited, too, though less.
        found = neighbour.ticks([(0, 1), (10, 3), (20, 50), (70, 10)], 10)
        self.assertEqual(found, [(0, 1), (10, 3), (20, 50), (30, 40), (40, 30), (50, 20), (60, 10), (70, 10)])
        self.assertEqual(neighbour.between(found, 10, 30), [(10, 3), (20, 50)])
        self.assertEqual(neighbour.ticks([], 10), [])
        self.assertEqual(neighbour.ticks([(0, 0.0)], 10), [(0, 0.0)])

    def test_longest_of_each_moment(self):
        waits = [(99.0, 5), (100.0, 1), (100.4, 7), (100.9, 2), (103.0, 4)]
        self.assertEqual(neighbour.longest(waits, 100, 1), [(-0.5, 5), (0.5, 7), (3.5, 4)])

    def test_percentiles_only_of_enough(self):
        def names(count):
            return {each.metric for each in neighbour.percentiles("", "fork", [1] * count)}

        self.assertEqual(names(99), {"p50_fork"})
        self.assertEqual(names(999), {"p50_fork", "p99_fork"})
        self.assertEqual(names(1000), {"p50_fork", "p99_fork", "p999_fork"})
        found = neighbour.percentiles("", "alone", [t / 1000 for t in range(1001)])
        self.assertEqual({each.metric: round(each.value, 9) for each in found},
                         {"p50_alone": 0.5, "p99_alone": 0.99, "p999_alone": 0.999})

    def test_each_phase_has_each_place(self):
        workload, lxc, runc = neighbour.Neighbour(), types.SimpleNamespace(name="lxc"), types.SimpleNamespace(name="runc")
        turns = [workload.phases(lxc) for _ in range(5)]
        self.assertEqual(turns[0], ["alone", "cpu", "disk", "memory", "fork"])
        self.assertEqual(workload.phases(runc), turns[0])
        for place in range(5):
            self.assertEqual({turn[place] for turn in turns}, set(turns[0]))

    def test_all_metrics_are_declared(self):
        declared = {each.name for each in neighbour.Neighbour.metrics}
        for phase, _ in neighbour.PHASES:
            database = types.SimpleNamespace(transactions=lambda: (100, [5] * 1000))
            made = [*neighbour.percentiles("", phase, [1] * 1000), *neighbour.Neighbour().transactions(phase, database)]
            self.assertEqual(len(made), 7)
            self.assertTrue(all(isinstance(each, Sample) for each in made))
            self.assertLessEqual({each.metric for each in made}, declared)


class Bounds(unittest.TestCase):
    def test_fork_bomb(self):
        self.assertEqual(neighbour.processes(True, 32768, 200), 2000)
        self.assertEqual(neighbour.processes(True, 3000, 200), 1400)  # half of what is left
        self.assertEqual(neighbour.processes(False, 32768, 200), 300)
        self.assertEqual(neighbour.processes(False, 500, 200), 150)
        self.assertEqual(neighbour.processes(True, 200, 300), 1)

    def test_memory_is_no_more_than_others_have(self):
        context = Context(pathlib.Path("/"), memory_bytes=512 << 20)
        limited, unlimited = types.SimpleNamespace(limited=True), types.SimpleNamespace(limited=False)
        self.assertEqual(neighbour.bound("memory", limited, context), 768 << 20)
        self.assertEqual(neighbour.bound("memory", unlimited, context), 512 << 20)
        self.assertLessEqual(neighbour.bound("fork", unlimited, context), neighbour.FEW)

    def test_process_table(self):
        much = 64 << 30
        self.assertEqual(containment.room(True, 100000, 1000, much), (94000, "table"))  # a twentieth is left
        self.assertEqual(containment.room(True, 4000, 100, much), (3400, "table"))  # but 500 at least
        self.assertEqual(containment.room(True, 100000, 1000, 1 << 30), (8192, "memory"))
        self.assertEqual(containment.room(False, 100000, 1000, much), (300, "few"))
        self.assertEqual(containment.room(True, 400, 100, much)[0], 1)


class Words(unittest.TestCase):
    def test_held(self):
        self.assertEqual(containment.held("held 1362 killed"), (1362, "killed"))
        self.assertEqual(containment.held("held 7 Resource temporarily unavailable"), (7, "Resource temporarily unavailable"))
        with self.assertRaises(Failure):
            containment.held("held up")

    def test_table(self):
        self.assertEqual(
            containment.table_words(1362, "killed", "table", 169, 1570, 32768),
            "the first had 1,362 tasks when the kernel killed some for lack of memory; the host went from 169 to 1,570 of 32,768")
        self.assertIn("when it was refused more (No space)", containment.table_words(1, "No space", "table", 1, 2, 3))
        for bound in ("table", "memory", "few"):
            self.assertIn("and was stopped by us", containment.table_words(1, "bound", bound, 1, 2, 3))

    def test_cache(self):
        self.assertEqual(
            containment.cache_words(1 << 30, 500 << 20, 20 << 30, 0.01, 0.2),
            "the first wrote and read 1.00 GiB, and the host's caches grew by 500 MiB of 20.0 GiB that were free; the next "
            "read 32.0 MiB that it had cached in 200 ms, and in 10.0 ms before")
        self.assertIn("grew by 0 B", containment.cache_words(1, -5, 1, 1, 1))


class Asked:
    """A probe, and what it is answered."""

    def __init__(self, answers=()):
        self.answers, self.next = [], list(answers)

    def ask(self, question=b"x"):
        answer = self.next.pop(0) if self.next else question
        if isinstance(answer, Exception):
            raise answer
        return answer, 0.001


class Ends(unittest.TestCase):
    def next(self, *answers, status=0, third=None):
        def check(_):
            if status:
                raise Failure(f"true ended with status {status}")

        def start(_):
            raise third or Failure("never")

        context = Context(pathlib.Path("/"))
        made = containment.Next(types.SimpleNamespace(start=start), context, types.SimpleNamespace(check=check), Asked(answers))
        if not third:
            made.third = lambda: None
        return made

    def test_survival(self):
        made = self.next()
        made.look("meanwhile")
        made.probe.answers = [(made.begin - 9, 5), (made.begin + 1, 0.25)]  # the first was over before
        outcome = made.outcome("x", "it forked")
        self.assertEqual((outcome.what, outcome.survived), ("x", True))
        self.assertEqual(outcome.words.replace("\u00a0", " "), "it forked; the longest answer took 250 ms")

    def test_each_thing_that_it_cannot_do(self):
        for made, said in ((self.next(TimeoutError("timed out")), "meanwhile it did not answer (timed out)"),
                           (self.next(b"x", b"F"), "meanwhile it could not have a child (it was refused)"),
                           (self.next(status=1), "meanwhile no command could be run in it (true ended with status 1)"),
                           (self.next(third=BlockingIOError(11, "Resource temporarily unavailable")),
                            "meanwhile no third instance could be started (Resource temporarily unavailable)")):
            made.look("meanwhile")
            outcome = made.outcome("x", "told")
            self.assertFalse(outcome.survived)
            self.assertEqual(outcome.words, f"told; {said}")


class Crashes(unittest.TestCase):
    """What is done about a panic, by whose kernel it would be."""

    def setUp(self):
        self.crashed, self.own = [], True

        @contextlib.contextmanager
        def next_one(engine, context):
            made = containment.Next(engine, context, types.SimpleNamespace(check=lambda _: None), Asked())
            made.third = lambda: None
            yield made, None

        @contextlib.contextmanager
        def idle(engine, context, data):
            yield types.SimpleNamespace(alive=lambda: engine.immune, said=lambda: "---", engine=engine,
                                        complaints=lambda: "[1] ok\n  Kernel panic\n Kernel panic again\n---\n",
                                        check=lambda _: "another\n" if self.own else containment.read(containment.BOOT_ID))

        def crash(first, context):
            self.crashed.append(first.engine.name)
            if first.engine.fatal:
                raise SystemExit  # nobody comes back
            return "refused /proc/sysrq-trigger: Read-only file system"

        for name, what in (("next_one", next_one), ("idle", idle), ("crash", crash)):
            patch = mock.patch.object(containment, name, what)
            patch.start()
            self.addCleanup(patch.stop)

    def engine(self, name, own_kernel=False, limited=True, immune=True, fatal=False):
        return types.SimpleNamespace(name=name, own_kernel=own_kernel, limited=limited, immune=immune, fatal=fatal)

    def test_shared_kernel_is_left_alone(self):
        outcome = containment.panic(self.engine("lxc"), None)
        self.assertEqual((outcome.survived, outcome.words, self.crashed), (None, containment.SHARED, []))

    def test_own_kernel_that_is_the_hosts_after_all(self):
        self.own = False
        self.assertIsNone(containment.panic(self.engine("vm", own_kernel=True), None).survived)
        self.assertEqual(self.crashed, [])

    def test_own_kernel(self):
        outcome = containment.panic(self.engine("vm", own_kernel=True, immune=False), None)
        self.assertTrue(outcome.survived)
        self.assertRegex(outcome.words, r"^the first ended after .* \(Kernel panic\)$")
        outcome = containment.panic(self.engine("vm", own_kernel=True), None)
        self.assertEqual((outcome.survived, outcome.words),
                         (True, "the first brought about none: refused /proc/sysrq-trigger: Read-only file system"))

    def host(self, *engines):
        outcomes = [{"workload": "containment", "engine": each.name, "what": containment.PANIC, "survived": None, "words": "-"}
                    for each in engines]
        saved = []
        with contextlib.suppress(SystemExit), mock.patch.object(os, "sync"):
            containment.panic_host(engines, None, outcomes, lambda: saved.append([each["survived"] for each in outcomes]))
        return outcomes, saved

    def test_host_is_last_and_recorded_before(self):
        outcomes, saved = self.host(self.engine("host", limited=False), self.engine("vm", own_kernel=True), self.engine("lxc"))
        self.assertEqual(self.crashed, ["lxc", "host"])
        self.assertEqual(saved, [[None, None, False], [None, None, True], [False, None, True], [True, None, True]])
        self.assertEqual(outcomes[2]["words"],
                         "the first brought about none: refused /proc/sysrq-trigger: Read-only file system")

    def test_interrupted_before_the_crash(self):
        outcomes, saved = self.host(self.engine("lxc", fatal=True))
        self.assertEqual(saved, [[False], [None]])
        self.assertEqual(outcomes[0]["words"], "-")

    def test_option(self):
        with self.assertRaises(run.Usage):
            run.Options([("--panic-host", ""), ("--workload", "start")])
        self.assertTrue(run.Options([("--panic-host", ""), ("--workload", "containment")]).panic_host)
        self.assertFalse(run.Options([]).panic_host)


class Tables(unittest.TestCase):
    def test_in_the_last_round_alone(self):
        plan = method.plan(3, 1, ["a", "b"], ["x", "y"], 1, once=["b"])
        self.assertEqual({number for number, workload, _ in plan if workload == "b"}, {3})
        self.assertEqual(sum(workload == "b" for _, workload, _ in plan), 2)
        self.assertEqual(sum(workload == "a" for _, workload, _ in plan), 8)


class NotTried(unittest.TestCase):
    def make(self):
        data = fake.make()
        for each in data["outcomes"]:
            if each["engine"] == "lxc" and each["what"] == "kernel panic":
                each.update(survived=None, words="not tried on your machine")
            elif each["engine"] == "lxc":
                each["survived"] = True
        results.check(data, "results")
        return results.Results(data)

    def test_is_neither_alive_nor_dead(self):
        made = self.make()
        shown = page.outcomes_figure(made, made.workload("containment"))
        self.assertIn('<span class="untried">– not tried</span><span class="words">not tried on your machine</span>', shown)
        self.assertIn("the next instance survived everything that was tried with LXC (not tried: kernel panic)",
                      page.containment_answer(made, made.workload("containment")))
        self.assertNotIn("LXC, kernel panic", "\n".join(table.whole_table(made, 100)))


class Outputs(unittest.TestCase):
    def run_(self, script):
        process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        return neighbour.Output(process)

    def test_lines(self):
        output = self.run_("echo a; echo held 7; echo rest; exit 3")
        self.assertEqual(output.line("held", 10), "held 7")
        with self.assertRaisesRegex(Failure, "^a program ended with status 3: rest$"):
            output.end(10)
        with self.assertRaisesRegex(Failure, '^a program ended before it said "held": no such thing$'):
            self.run_("echo no such thing").line("held", 10)
        with self.assertRaisesRegex(Failure, '^there was no "held" of a program within 0 s$'):
            self.run_("sleep 5").line("held", 0.1)


@unittest.skipUnless(os.path.exists("/usr/bin/gcc"), "there is no gcc")
class Hogs(unittest.TestCase):
    """They are what could do harm: no process of theirs is left after their time, nor when they are killed."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)
        cls.program = f"{cls.directory.name}/hog"
        os.mkdir(f"{cls.directory.name}/data")
        subprocess.run(["gcc", "-O2", "-o", cls.program, here.BENCH / "programs/hog.c"], check=True)

    def processes(self):
        found = 0
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and os.readlink(entry / "exe") == self.program:
                    found += 1
        return found

    def gone(self):
        deadline = time.monotonic() + 10
        while self.processes():
            self.assertLess(time.monotonic(), deadline, "a hog is left")
            time.sleep(0.05)

    def hog(self, kind, seconds, bound):
        return subprocess.Popen([self.program, kind, str(seconds), str(bound), f"{self.directory.name}/data"], stdout=subprocess.PIPE)

    KINDS = (("cpu", 2), ("disk", 4 << 20), ("memory", 8 << 20), ("fork", 40), ("table", 40), ("cache", 4 << 20))

    def test_each_ends_in_time(self):
        for kind, bound in self.KINDS:
            with self.hog(kind, 0.3, bound) as process:
                begin = time.monotonic()
                said = process.stdout.read()
                self.assertEqual(process.wait(), 0, kind)
                self.assertIn(b"hogging", said.splitlines())
                self.assertLess(time.monotonic() - begin, 10)
            self.gone()

    def test_killed(self):
        for kind, bound in self.KINDS:
            with self.hog(kind, 60, bound) as process:
                process.stdout.readline()
                time.sleep(0.2)
                self.assertLessEqual(self.processes(), 42)
                process.kill()
            self.gone()

    def test_nobody_listens(self):
        for kind, bound in self.KINDS:
            with self.hog(kind, 60, bound) as process:
                process.stdout.readline()
                process.stdout.close()
                process.wait(10)
            self.gone()

    def test_table(self):
        with self.hog("table", 0.3, 40) as process:
            self.assertEqual(process.stdout.read().split(), [b"hogging", b"held", b"40", b"bound"])

    def test_unknown(self):
        with self.hog("nothing", 1, 1) as process:
            process.stdout.read()
            self.assertEqual(process.wait(), 2)


if __name__ == "__main__":
    unittest.main()
