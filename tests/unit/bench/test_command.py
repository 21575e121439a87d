# SPDX-License-Identifier: Apache-2.0
"""test_command.py KVMBOX: kvmbox bench as it is used: its sentences, its exit statuses, and what it leaves."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import here
import fake
import results

KVMBOX = pathlib.Path(sys.argv.pop(1)).resolve()
PAGE = ("<!doctype html>", "</html>\n")


class Commands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        results.save(fake.make(1), cls.directory / "a.json")
        results.save(fake.make(2, slow={("kvmbox", "first_answer"): 1.3}), cls.directory / "slow.json")
        results.save(fake.make(3, rounds=20, complete=False), cls.directory / "short.json")
        results.save(fake.make(4, rounds=4), cls.directory / "few.json")
        (cls.directory / "broken.json").write_text("{")

    def run_bench(self, *words, program=KVMBOX, **options):
        return subprocess.run([program, "bench", *words], cwd=self.directory, capture_output=True, text=True, **options)

    def refused(self, *words, **options):
        """The sentence with which it refuses."""
        done = self.run_bench(*words, **options)
        self.assertEqual((done.returncode, done.stdout), (125, ""), done)
        self.assertRegex(done.stderr, r"^kvmbox: bench: [^\n]+\n$")
        return done.stderr.removeprefix("kvmbox: bench: ").rstrip("\n")

    def test_compare(self):
        for a, b, status in (("a", "a", 0), ("a", "slow", 1), ("slow", "a", 0), ("a", "few", 2), ("a", "short", 0)):
            done = self.run_bench("compare", f"{a}.json", f"{b}.json")
            self.assertEqual((done.returncode, done.stderr), (status, ""), (a, b))
        self.assertIn("This run is not complete (interrupted by the user)", done.stdout)

    def test_compare_some(self):
        done = self.run_bench("compare", "a.json", "slow.json", "--workload", "disk", "--engine=kvmbox", "--engine=lxc")
        self.assertEqual(done.returncode, 0)
        self.assertIn("\n10 comparisons: 0 worse in B", done.stdout)

    def test_report(self):
        for name in ("a", "short"):
            done = self.run_bench("report", f"{name}.json", "-o", f"{name}.html")
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
            text = (self.directory / f"{name}.html").read_text()
            self.assertTrue(text.startswith(PAGE[0]) and text.endswith(PAGE[1]))
        self.assertIn("This run is not complete", text)
        self.assertEqual(self.run_bench("report", "short.json", "--output=-").stdout, text)

    def test_bad_usage(self):
        for words, said in (
                (["compare"], "compare takes two files of results; see kvmbox bench compare --help"),
                (["compare", "a.json", "a.json", "a.json"], "compare takes two files of results; see kvmbox bench compare --help"),
                (["compare", "a.json", "a.json", "--workload", "dish"], 'compare: there is no workload "dish" in these results, '
                 "which have containment, cpu, disk, memory, neighbour, net, postgres, start"),
                (["compare", "a.json", "a.json", "--engine", "x\ny"], 'compare: there is no engine "x?y" in these results, which '
                 "have docker, docker-in-kvmbox, host, kvmbox, lxc, lxc-hardened, qemu-microvm, runc"),
                (["compare", "--nonsense"], "compare: option --nonsense not recognized; see kvmbox bench compare --help"),
                (["report"], "report takes one file of results; see kvmbox bench report --help"),
                (["report", "a.json"], "report: -o is missing: where to write the page"),
                (["report", "a.json", "-o", "./a.json"], "report: ./a.json holds the results themselves: name another file with -o"),
                (["-o", "b.json", "--page", "./b.json"], "--page: ./b.json is where the results go: name another file"),
                (["report", "a.json", "-o"], "report: option -o requires argument; see kvmbox bench report --help"),
                (["nonsense"], 'unknown command "nonsense"; see kvmbox bench --help')):
            self.assertEqual(self.refused(*words), said)

    def test_bad_files(self):
        self.assertEqual(self.refused("compare", "a.json", "none.json"), "cannot read none.json: No such file or directory")
        self.assertRegex(self.refused("report", "broken.json", "-o", "x.html"), "^broken.json is not JSON, or not all of it: ")
        self.assertEqual(self.refused("report", "a.json", "-o", "no/x.html"), "cannot write no/x.html: No such file or directory")
        self.assertFalse((self.directory / "x.html").exists())

    def test_full_disk(self):
        self.assertEqual(self.refused("report", "a.json", "-o", "/dev/full"), "cannot write /dev/full: No space left on device")
        with open("/dev/full", "w", encoding="utf-8") as full:
            for words in (["compare", "a.json", "a.json"], ["report", "a.json", "-o", "-"]):
                done = subprocess.run([KVMBOX, "bench", *words], cwd=self.directory, stdout=full, stderr=subprocess.PIPE, text=True)
                self.assertEqual((done.returncode, done.stderr),
                                 (125, "kvmbox: bench: cannot write to standard output: No space left on device\n"))

    def test_help(self):
        for words in (["--help"], ["-h"], ["compare", "--help"], ["report", "-h"]):
            done = self.run_bench(*words)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertTrue(done.stdout.startswith("Usage: kvmbox bench "))
            self.assertLessEqual(max(map(len, done.stdout.splitlines())), 90)

    def test_without_python(self):
        self.assertEqual(self.refused("--help", env={"PATH": "/nonexistent"}), "there is no python3: install the package python3")

    def test_environment_of_others_is_not_ours(self):
        (self.directory / "page.py").write_text("raise SystemExit('not this one')\n")
        (self.directory / "json.py").write_text("raise SystemExit('nor this')\n")
        done = self.run_bench("compare", "a.json", "a.json", env={**os.environ, "PYTHONPATH": str(self.directory)})
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_installed(self):
        """As meson install leaves it, and with nothing beside the program."""
        with tempfile.TemporaryDirectory() as directory:
            prefix = pathlib.Path(directory)
            (prefix / "bin").mkdir()
            program = shutil.copy(KVMBOX, prefix / "bin" / "kvmbox")
            self.assertRegex(self.refused("--help", program=program),
                             "^bench/__main__.py is not there, beside the program or installed with it")
            shutil.copytree(here.BENCH, prefix / "lib" / "kvmbox" / "bench")
            done = self.run_bench("report", "a.json", "-o", "-", program=program)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertTrue(done.stdout.startswith(PAGE[0]))
            self.assertEqual(list(prefix.rglob("__pycache__")), [])


if __name__ == "__main__":
    unittest.main()
