# SPDX-License-Identifier: Apache-2.0
"""Values with their units, and what a terminal shows of a run."""
import io
import unittest

import here  # noqa: F401
import fake
import results
import stats
import table
import words


class Values(unittest.TestCase):
    def test_units(self):
        for value, unit, said in (
                (0.0612, "s", "61.2\u00a0ms"), (2.6, "s", "2.60\u00a0s"), (0.5, "ms", "500\u00a0µs"), (880, "us", "880\u00a0µs"),
                (35, "ns", "35.0\u00a0ns"), (3_145_728, "bytes", "3.00\u00a0MiB"), (900, "bytes", "900\u00a0B"),
                (1.2e9, "bytes/s", "1.12\u00a0GiB/s"), (23451, "1/s", "23,500/s"), (148_000, "1/s", "148\u00a0k/s"),
                (812, "count", "812"), (26_123_456, "count", "26.1\u00a0M"), (1.234, "ratio", "1.23"), (0, "s", "0\u00a0s"),
                (0, "count", "0"), (9.996, "s", "10.0\u00a0s"), (-0.0612, "s", "-61.2\u00a0ms"), (41, "°C", "41.0\u00a0°C")):
            self.assertEqual(words.show(value, unit), said)

    def test_one_unit_for_all_of_a_metric(self):
        scale = words.Scale("s", [0.061, 2.6])
        self.assertEqual([scale.text(value) for value in (0.061, 2.6)], ["61.0\u00a0ms", "2,600\u00a0ms"])
        scale = words.Scale("us", [900, 1_200_000])
        self.assertEqual([scale.text(value) for value in (900, 1_200_000)], ["0.900\u00a0ms", "1,200\u00a0ms"])

    def test_sentences(self):
        def said(unit, value, low, high):
            return words.sentence("kvmbox", "LXC", stats.Ratio(value, low, high, 0.001), unit).replace("\u00a0", " ")

        self.assertEqual(said("s", 2.134, 1.94, 2.31), "kvmbox takes 2.13 times as long as LXC (1.94 to 2.31)")
        self.assertEqual(said("s", 1.12, 1.081, 1.153), "kvmbox takes 12 % longer than LXC (8.1 to 15 %)")
        self.assertEqual(said("ms", 0.88, 0.86, 0.92), "kvmbox takes 12 % less time than LXC (8.0 to 14 %)")
        self.assertEqual(said("bytes", 4.3, 4.3, 4.3), "kvmbox takes 4.30 times as much as LXC (no spread)")
        self.assertEqual(said("1/s", 0.87, 0.83, 0.9), "kvmbox reaches 13 % less than LXC (10 to 17 %)")
        self.assertEqual(said("count", 0.3, 0.28, 0.32), "kvmbox has 0.30 times as many as LXC (0.28 to 0.32)")
        self.assertEqual(words.sentence("kvmbox", "LXC", stats.Reason(stats.NO_DIFFERENCE, stats.Ratio(1, 0.97, 1.04, 0.5)), "s"),
                         "no difference between kvmbox and LXC beyond the spread (0.97 to 1.04 times)")
        self.assertEqual(words.sentence("kvmbox", "LXC", stats.ratio_or_reason([1], [2]), "s"),
                         "kvmbox and LXC: too few rounds to compare: 1, and at least 5 are needed")
        self.assertEqual(words.brief(stats.Reason(stats.NO_DIFFERENCE, stats.Ratio(1.6, 0.84, 3.22, 0.2))), "not told (0.84–3.22)")


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Tables(unittest.TestCase):
    def test_no_line_is_wider(self):
        asked = results.Results(fake.make(1))
        for width in (50, 80, 100, 200):
            lines = table.workload_table(asked, "disk", width)
            self.assertLessEqual(max(map(len, lines)), width)
            self.assertIn("kvmbox", "\n".join(lines))

    def test_whole(self):
        said = "\n".join(table.whole_table(results.Results(fake.make(1, emulated=True, complete=False)), 100))
        for text in ("Start to first instruction", "runc: there is no runc: install the package runc", "This run is not complete",
                     "Virtualisation is emulated here", "Disk, Docker, round 3: fio ended"):
            self.assertIn(text, said)
        self.assertIn("did not survive: the host went down", "\n".join(table.whole_table(results.Results(fake.make(1)), 100)))

    def test_nothing_yet(self):
        data = fake.make(1)
        data["samples"] = []
        self.assertEqual(table.workload_table(results.Results(data), "disk", 80), [])


class Lives(unittest.TestCase):
    def live(self, out):
        self.now = 0
        data = fake.make(1, rounds=2)
        self.samples, data["samples"] = data["samples"], []
        self.data = data
        plan = [(number, workload, engine) for number in range(2) for workload in ("start", "disk")
                for engine in ("kvmbox", "lxc")]
        return table.Live(results.Results(data), plan, out, lambda: self.now)

    def step(self, live, seconds):
        number, workload, engine = live.plan[live.done]
        live.begin()
        self.now += seconds
        self.data["samples"] += [each for each in self.samples
                                 if (each["round"], each["workload"], each["engine"]) == (number, workload, engine)]
        live.end()

    def test_remaining_time(self):
        live = self.live(io.StringIO())
        self.assertIsNone(live.remaining())
        self.step(live, 10)  # start, kvmbox: as is not known better, so are all
        self.assertEqual(live.remaining(), 70)
        self.step(live, 2)
        self.step(live, 30)
        self.step(live, 30)
        self.assertEqual(live.remaining(), 72)
        for _ in range(4):
            self.step(live, 5)
        self.assertEqual(live.remaining(), 0)

    def test_no_terminal_gets_lines(self):
        out = io.StringIO()
        live = self.live(out)
        for _ in range(8):
            self.step(live, 60)
        live.finish()
        said = out.getvalue()
        self.assertNotIn("\x1b", said)
        self.assertEqual(said.splitlines()[:2], ["round 1 of 2 · Start · 2 of 8 steps · about 6 min left",
                                                 "round 1 of 2 · Disk · 4 of 8 steps · about 4 min left"])
        self.assertIn("Sequential reads", said)

    def test_terminal_is_drawn_over(self):
        out = Terminal()
        live = self.live(out)
        live.begin()
        self.assertIn("round 1 of 2 · Start, kvmbox · 0 of 8 steps · time left not known yet", out.getvalue())
        live.end()
        for _ in range(3):
            self.step(live, 1)
        self.assertRegex(out.getvalue(), r"\x1b\[\d+A\r\x1b\[J")
        live.finish()  # as an interruption does
        left = out.getvalue().rpartition("\x1b[J")[2]
        self.assertTrue(left.startswith("Start "), left)
        self.assertIn("Sequential reads", left)


if __name__ == "__main__":
    unittest.main()
