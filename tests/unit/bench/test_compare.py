# SPDX-License-Identifier: Apache-2.0
"""Two results held against each other: planted faults are found, and none between a thing and itself."""
import io
import unittest

import here  # noqa: F401
import compare
import fake
import results

PLANTED = ("kvmbox", "first_answer")


def compared(a, b, **options):
    return compare.compare(results.Results(a), results.Results(b), **options)


def page(a, b, **options):
    out = io.StringIO()
    compare.print_comparison(compared(a, b, **options), results.Results(a), results.Results(b), out)
    return out.getvalue()


def change(data, **parts):
    """The same data with other values in objects of it."""
    return {**data, **{name: {**data[name], **values} for name, values in parts.items()}}


class Verdicts(unittest.TestCase):
    def test_lost(self):
        a, b = fake.make(1), fake.make(2)
        b["failures"].append({"workload": "start", "engine": "kvmbox", "round": 0, "why": "it did not start"})
        next(each for each in b["outcomes"] if each["engine"] == "kvmbox")["survived"] = False
        found = compare.compare(results.Results(a), results.Results(b))
        self.assertEqual(found.lost, ["Start, kvmbox: failed in B: it did not start",
                                      "Containment, kvmbox, kernel panic: survived in A, and not in B: did not notice"])
        self.assertEqual(found.status, 1)
        self.assertEqual(compare.compare(results.Results(a), results.Results(b), ["disk"]).status, 0)
        self.assertEqual(compare.compare(results.Results(b), results.Results(a)).lost, [])

    def test_file_and_itself(self):
        data = fake.make(1)
        found = compared(data, data)
        self.assertEqual(found.status, compare.SAME)
        self.assertEqual({row.verdict for row in found.rows}, {"same"})
        self.assertEqual(found.machine + found.method + found.refused, [])

    def test_engine_and_itself_in_two_runs(self):
        seeds, wrong = 60, 0
        for seed in range(seeds):
            found = compared(fake.make(seed), fake.make(1000 + seed))
            wrong += found.status != compare.SAME or bool(found.of("better", "different"))
        print(f"{wrong} of {seeds} pairs of runs of the same thing differ ({len(found.rows)} comparisons in each)")
        self.assertLessEqual(wrong, 8)  # 5 % are 3; more than 8 in one of 180 such tests

    def test_planted_tenth_is_found(self):
        seeds, hit = 40, 0
        for seed in range(seeds):
            found = compared(fake.make(seed), fake.make(1000 + seed, slow={PLANTED: 1.1}))
            hit += PLANTED in [(row.engine["name"], row.metric["metric"]) for row in found.of("worse")]
            self.assertFalse(PLANTED in [(row.engine["name"], row.metric["metric"]) for row in found.of("better", "same")])
        print(f"10 % slower is found in {hit} of {seeds} pairs of runs, among {len(found.rows)} comparisons")
        self.assertGreaterEqual(hit, 0.9 * seeds)

    def test_planted_is_told(self):
        a, b = fake.make(1), fake.make(2, slow={PLANTED: 1.3})
        self.assertEqual(compared(a, b).status, compare.WORSE)
        said = page(a, b)
        self.assertRegex(said, r"\nWorse in B:\n  Start, kvmbox: Start to first answered TCP request: 1\d\d ms in A, 2\d\d ms in B: "
                         r"takes [23]\d % longer \([\d.]+ to \d\d %\)\n")
        self.assertNotIn("the host itself", said)

    def test_better_and_worse_know_their_direction(self):
        for metric in ("loop", "first_answer"):
            a, b = fake.make(1), fake.make(2, slow={("lxc", metric): 1.4})
            self.assertEqual([row.metric["metric"] for row in compared(a, b).of("worse")], [metric])
            self.assertEqual([row.metric["metric"] for row in compared(b, a).of("better")], [metric])
            self.assertEqual(compared(b, a).status, compare.SAME)

    def test_count_without_spread(self):
        a, b = fake.make(1), fake.make(2, slow={("kvmbox", "system_calls"): 1.01})
        row, = compared(a, b).of("worse")
        self.assertEqual(row.found.low, row.found.high)
        self.assertIn("has 1.0 % more (no spread)", page(a, b))

    def test_neither_better_nor_worse(self):
        a, b = fake.make(1), fake.make(2, slow={PLANTED: 1.5})
        for data in (a, b):
            next(each for each in data["metrics"] if each["metric"] == PLANTED[1])["better"] = None
        found = compared(a, b)
        self.assertEqual((len(found.of("different")), found.status), (1, compare.SAME))

    def test_machine_that_is_slower_itself(self):
        slow = {(name, "first_answer"): 1.3 for name, *_ in fake.ENGINES}
        self.assertRegex(page(fake.make(1), fake.make(2, slow=slow)),
                         r"Start, kvmbox: .*; but the host itself takes [23]\d % longer \(")

    def test_too_few_rounds(self):
        a, b = fake.make(1, rounds=6), fake.make(2, rounds=6, slow={PLANTED: 2})
        found = compared(a, b)
        self.assertEqual(found.status, compare.OTHER)
        self.assertRegex(page(a, b), r"\nNot told: 6 rounds are too few to find anything in \d+ comparisons at once: make 8 or "
                         r"more, or compare less \(--workload, --engine\)\.\n$")
        self.assertEqual(compared(a, b, workloads=["start"], engines=["kvmbox"]).status, compare.WORSE)


class Differences(unittest.TestCase):
    def test_machines_and_methods(self):
        a = fake.make(1)
        b = change(fake.make(2), machine={
            "cpu": "Intel", "governor": None, "memory_bytes": 33_400_000_000,
            "versions": {**a["machine"]["versions"], "kvmbox": "0.2.0"},
            "mitigations": {"spectre_v2": "Vulnerable"}}, method={"rounds": 12, "dropped_caches": [], "seconds": 1,
                                                                  "cpus": 2, "memory_bytes": 1 << 30})
        b["engines"][1] = {**b["engines"][1], "version": "2.0"}
        said = page(a, b)
        self.assertIn("""
The machines differ:
  processor: AMD EPYC 7402P (made up) in A, Intel in B
  frequency governor: performance in A, not known in B
  mitigation of retbleed: Mitigation: untrained return thunk; SMT enabled in A, none in B
  mitigation of spectre_v2: Mitigation: Retpolines, IBPB: conditional in A, Vulnerable in B
  kvmbox: 0.1.0 in A, 0.2.0 in B

The methods differ:
  rounds: 10 in A, 12 in B
  caches dropped for: disk in A, none in B
  seconds of each measurement: 5 in A, 1 in B
  CPUs of an instance: 1 in A, 2 in B
  memory of an instance: 512 MiB in A, 1.00 GiB in B

The engines differ:
  kvmbox: 1.0 in A, 2.0 in B
  runc: missing in A and B
""", said)

    def test_short_and_long(self):
        said = page(fake.make(1), change(fake.make(2), method={"short": True}))
        self.assertIn("\nNot compared:\n  all that was measured: B alone is a short run, with less to do\n", said)
        self.assertIn("cannot be compared", said)

    def test_emulated_and_real(self):
        a, b = fake.make(1), fake.make(2, emulated=True)
        found = compared(a, b)
        self.assertEqual({row.metric["carries_over"] for row in found.rows}, {True})
        self.assertIn("Start, what does not carry over: virtualisation is emulated in B alone", found.refused)
        self.assertIn("Virtualisation is emulated: its times say nothing of real hardware.", page(a, b))

    def test_other_programs(self):
        a, b = fake.make(1), fake.make(2)
        b["workloads"][0] = {**b["workloads"][0], "root": "0" * 64}
        found = compared(a, b)
        self.assertNotIn("start", {row.workload["name"] for row in found.rows})
        self.assertEqual(found.refused, ["Start: A and B ran programs from different root file systems (c0ffee000000 and "
                                         "000000000000)"])

    def test_other_unit(self):
        a, b = fake.make(1), fake.make(2)
        b["metrics"][0] = {**b["metrics"][0], "unit": "ms"}
        self.assertEqual(compared(a, b).refused, ["Start, Start to first instruction: A has it in s, B in ms"])

    def test_measures_of_one_alone(self):
        a, b = fake.make(1), fake.make(2)
        b["samples"] = [each for each in b["samples"] if each["engine"] not in ("kvmbox", "lxc") or each["metric"] != "read_1"]
        said = ["Disk, 4 KiB random reads, depth 1: only A has it of kvmbox, LXC"]
        self.assertEqual(compared(a, b).refused, said)
        self.assertEqual(compared(a, b, engines=["lxc"]).refused, [said[0].replace("kvmbox, ", "")])
        self.assertEqual(compared(a, b, engines=["host"]).refused, [])

    def test_nothing_in_common(self):
        a, b = fake.make(1), fake.make(2)
        b["workloads"], b["metrics"], b["samples"], b["outcomes"] = [], [], [], []
        found = compared(a, b)
        self.assertEqual(found.status, compare.OTHER)
        self.assertIn("A and B cannot be compared: they have nothing measured in common.", page(a, b))
        self.assertIn("Start: only A has it", found.refused)

    def test_outcomes_alone(self):
        a, b = fake.make(1), fake.make(2)
        for each in (a, b):
            each["samples"] = []
        self.assertEqual(compared(a, b).status, compare.SAME)
        self.assertRegex(page(a, b), r"\nOf \d+ things that instances did to the next one, none is worse in B.\n$")
        next(each for each in b["outcomes"] if each["survived"])["survived"] = False
        self.assertEqual(compared(a, b).status, compare.WORSE)
        self.assertIn("some are worse in B", page(a, b))

    def test_interrupted(self):
        a, b = fake.make(1), fake.make(2, rounds=24, complete=False)
        self.assertEqual(compared(a, b).status, compare.SAME)
        self.assertIn("   This run is not complete (interrupted by the user): of 24 rounds there are 13,", page(a, b))


if __name__ == "__main__":
    unittest.main()
