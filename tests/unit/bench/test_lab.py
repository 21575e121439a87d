# SPDX-License-Identifier: Apache-2.0
"""kvmbox bench --lab, on an emulated host that is only said to be one: what is asked of it, and what is kept."""
import os
import pathlib
import signal
import tempfile
import threading
import unittest
import unittest.mock

import here
import fake
import lab
import results
from engines.base import Hold

# What scripts/lab is to it: the results come to $LAB_OUT as they are measured, and its status is the run's.
PROGRAM = """#!/bin/sh
printf '%s\\n' "$@" >"$0.words"
[ ! -e "$0.results" ] || cp "$0.results" "$LAB_OUT/run.json"
[ ! -e "$0.wait" ] || exec sleep 60
exit $(cat "$0.status")
"""
ARGV = ["--lab", "--short", "-o", "run.json"]


class Root:
    image = pathlib.Path("/cache/bench-root/HASH/root.erofs")


class Lab(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(unittest.mock.patch.object(lab, "SOURCE", self.directory))
        (self.directory / "scripts").mkdir()
        self.program, self.output = self.directory / "scripts" / "lab", self.directory / "run.json"
        self.program.write_text(PROGRAM)
        self.program.chmod(0o755)

    def beside(self, name):
        return self.program.with_name(f"lab.{name}")

    def run_lab(self, status=0, **made):
        self.beside("status").write_text(str(status))
        if made:
            results.save(fake.make(**made), self.beside("results"))
        return lab.run(["--short"], self.output, ARGV, Root)

    def test_results_are_this_command_s(self):
        self.assertIsNone(self.run_lab(complete=True))
        kept = results.load(self.output).data
        self.assertEqual(kept["command"], ["kvmbox", "bench", *ARGV])
        self.assertEqual(kept["samples"], fake.make()["samples"])

    def test_what_is_asked_of_it(self):
        self.run_lab(complete=True)
        said = self.beside("words").read_text().split("\n")
        self.assertIn(f"file={Root.image},if=none,id=root,format=raw,readonly=on", said)
        self.assertEqual(said[-4:], [str(Root.image.parent), "run.json", "--short", ""])

    def test_failures_of_the_run_are_the_run_s(self):
        self.assertIsNone(self.run_lab(1, complete=False))
        self.assertEqual(results.load(self.output)["why_incomplete"], "interrupted by the user")

    def test_an_emulated_host_that_went_down(self):
        self.assertEqual(self.run_lab(125, complete=False), "the emulated host ended with status 125")
        kept = results.load(self.output)
        self.assertEqual(kept["why_incomplete"], "the emulated host ended with status 125")
        self.assertEqual(kept["samples"], fake.make(complete=False)["samples"])

    def test_one_that_went_down_when_all_was_measured(self):
        self.assertEqual(self.run_lab(125, complete=True), "the emulated host ended with status 125")
        self.assertIsNone(results.load(self.output)["why_incomplete"])

    def test_nothing_measured(self):
        self.output.write_text("what was there before")
        for status, why in ((0, "the run on the emulated host failed"), (124, "the emulated host ended with status 124")):
            with self.assertRaisesRegex(results.Problem, f"^{why}, before anything was measured$"):
                self.run_lab(status)
        self.assertEqual(self.output.read_text(), "what was there before")

    def test_interrupted(self):
        def interrupt():
            while not self.beside("words").exists():
                threading.Event().wait(0.01)
            os.kill(os.getpid(), signal.SIGINT)

        # As kvmbox bench has it.
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, lambda *_: Hold.interrupt(KeyboardInterrupt())))
        self.beside("wait").touch()
        threading.Thread(target=interrupt).start()
        self.assertEqual(self.run_lab(complete=False), results.INTERRUPTED)
        self.assertEqual(results.load(self.output)["why_incomplete"], results.INTERRUPTED)

    def test_installed(self):
        self.program.unlink()
        with self.assertRaisesRegex(results.Problem, "^--lab: .*run build/kvmbox bench --lab there$"):
            self.run_lab()


if __name__ == "__main__":
    unittest.main()
