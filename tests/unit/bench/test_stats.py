# SPDX-License-Identifier: Apache-2.0
"""The statistics, against values that are published or can be worked out by hand, and against made-up noise."""
import math
import random
import statistics
import unittest

import here  # noqa: F401
import fake
import stats

# Hollander and Wolfe, Nonparametric Statistical Methods: permeability constants of the chorioamnion at term and at
# 12 to 26 weeks. Their W is 35, and R's wilcox.test() has p = 0.1272 one-sided.
TERM = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
EARLY = [1.15, 0.88, 0.90, 0.74, 1.21]


class Medians(unittest.TestCase):
    def test_median_is_the_one_of_the_library(self):
        for values in ([3], [1, 2], [5, 1, 3], [4, 1, 3, 2], TERM):
            self.assertAlmostEqual(stats.median(values), statistics.median(values))

    def test_quantiles_are_linear_between_neighbours(self):
        # R: quantile(c(1, 2, 4, 8), type = 7)
        self.assertEqual([stats.quantile([8, 1, 4, 2], share) for share in (0, 0.25, 0.5, 0.75, 1)], [1, 1.75, 3, 5, 8])
        self.assertEqual(stats.quantile([7], 0.99), 7)

    def test_intervals_have_the_ranks_of_the_tables(self):
        # The usual table of the sign test at 95 %: below 6 values there is none.
        for n, rank in ((6, 1), (7, 1), (8, 1), (9, 2), (10, 2), (15, 4), (20, 6), (30, 10), (50, 18), (100, 40)):
            self.assertEqual(stats.median_interval(range(1, n + 1)), (rank, n + 1 - rank), n)
        for n in range(1, 6):
            self.assertIsNone(stats.median_interval(range(n)), n)

    def test_intervals_of_another_confidence(self):
        self.assertEqual(stats.median_interval(range(1, 11), 0.99), (1, 10))
        self.assertIsNone(stats.median_interval(range(7), 0.99))

    def test_intervals_hold_the_median_as_often_as_they_say(self):
        random_, held = random.Random(7), 0
        for _ in range(2000):
            low, high = stats.median_interval([random_.expovariate(1) for _ in range(10)])
            held += low <= math.log(2) <= high
        self.assertGreaterEqual(held / 2000, 0.965)  # exactly 0.9785


class Ranks(unittest.TestCase):
    def test_distribution_is_counted_out(self):
        # All six orders of two and two.
        self.assertEqual([round(share * 6) for share in stats._rank_shares(2, 2)], [1, 1, 2, 1, 1])
        for n, m in ((3, 5), (7, 7), (1, 9)):
            shares = stats._rank_shares(n, m)
            self.assertAlmostEqual(sum(shares), 1)
            self.assertEqual(len(shares), n * m + 1)
            self.assertEqual([round(each, 12) for each in shares], [round(each, 12) for each in shares[::-1]])

    def test_critical_values_are_those_of_the_tables(self):
        # Mann-Whitney U, two-sided, 0.05.
        for n, m, limit in ((4, 4, 0), (5, 5, 2), (6, 6, 5), (7, 7, 8), (8, 8, 13), (9, 9, 17), (10, 10, 23), (8, 9, 15),
                            (5, 10, 8), (15, 15, 64), (20, 20, 127), (3, 3, -1)):
            self.assertEqual(stats._rank_limit(n, m, 0.95), limit, (n, m))
            self.assertEqual(stats._rank_limit(m, n, 0.95), limit, (m, n))

    def test_published_example(self):
        found = stats.ratio(TERM, EARLY)
        self.assertAlmostEqual(found.chance, 2 * 0.1272, places=3)
        self.assertFalse(found.differs)

    def test_ratio_by_hand(self):
        # Complete separation of five and five: 2 of 252 orders are as extreme.
        found = stats.ratio([20, 22, 24, 26, 28], [10, 11, 12, 13, 14])
        self.assertAlmostEqual(found.chance, 2 / 252)
        self.assertEqual(found.value, 2.0)
        quotients = sorted(a / b for a in (20, 22, 24, 26, 28) for b in (10, 11, 12, 13, 14))
        self.assertEqual((found.low, found.high), (quotients[2], quotients[22]))

    def test_normal_approximation_meets_the_exact_one(self):
        exact = stats._tail(50, 50, 965)
        self.addCleanup(setattr, stats, "EXACT", stats.EXACT)
        stats.EXACT = 0
        self.assertAlmostEqual(stats._tail(50, 50, 965), exact, places=3)

    def test_interval_and_chance_agree(self):
        random_ = random.Random(3)
        for _ in range(500):
            a, b = ([random_.lognormvariate(shift, 0.05) for _ in range(random_.randint(5, 12))] for shift in (0, 0.05))
            found = stats.ratio(a, b)
            self.assertEqual(found.differs, found.chance <= 0.05, found)
            self.assertLessEqual(found.low, found.value)
            self.assertLessEqual(found.value, found.high)

    def test_what_is_equal_speaks_for_neither(self):
        self.assertEqual(stats.ratio([5] * 10, [5] * 10).chance, 1)
        self.assertFalse(stats.ratio([5] * 9 + [6], [5] * 10).differs)


class Refusals(unittest.TestCase):
    def test_too_few(self):
        found = stats.ratio_or_reason([1, 2, 3, 4], [1, 2, 3, 4, 5])
        self.assertEqual(found.words, "too few rounds to compare: 4, and at least 5 are needed")
        self.assertIsNone(found.ratio)

    def test_spread_swallows_it(self):
        found = stats.ratio_or_reason([10, 14, 11, 13, 12], [11, 13, 10, 14, 15])
        self.assertEqual(found.words, stats.NO_DIFFERENCE)
        self.assertLess(found.ratio.low, 1)
        self.assertGreater(found.ratio.high, 1)

    def test_zeros_and_sameness(self):
        self.assertEqual(stats.ratio_or_reason([0] * 5, [0, 0, 0, 1, 2]).words, "no ratio, as some values are zero")
        self.assertEqual(stats.ratio_or_reason([3] * 5, [3] * 5).words, stats.EXACTLY)
        self.assertEqual(stats.ratio_or_reason([-3] * 5, [3] * 5).words, "no ratio of values below zero")


class Holm(unittest.TestCase):
    def test_published_steps(self):
        # 0.01 <= 0.05/4; 0.015 <= 0.05/3; 0.03 > 0.05/2, and so the last does not count, whatever it is.
        self.assertEqual(stats.holm([0.03, 0.01, 0.04, 0.015]), [False, True, False, True])
        self.assertEqual(stats.holm([]), [])

    def test_rounds_that_many_comparisons_take(self):
        self.assertEqual(stats.least_values(), 4)  # 2/70
        self.assertEqual(stats.least_values(1 - 0.05 / 480), 9)  # 2/48620 after 2/12870


class Noise(unittest.TestCase):
    """Samples that are noisy as times are; see fake.noisy()."""

    def rate(self, n, slower, seeds=3000):
        found = 0
        for seed in range(seeds):
            random_ = random.Random(f"{n} {seed}")
            a = [fake.noisy(random_, 1) for _ in range(n)]
            b = [fake.noisy(random_, slower) for _ in range(n)]
            verdict = stats.ratio_or_reason(b, a)
            found += isinstance(verdict, stats.Ratio) and (slower == 1 or verdict.value > 1)
        return found / seeds

    def test_a_thing_and_itself_do_not_differ(self):
        for n in (5, 7, 10, 20):
            rate = self.rate(n, 1)
            print(f"{n} rounds of each: {rate:.2%} of 3000 comparisons of a thing with itself find a difference")
            # 5 %, and three deviations of that over so many seeds.
            self.assertLessEqual(rate, 0.05 + 3 * math.sqrt(0.05 * 0.95 / 3000), n)

    def test_a_tenth_slower_is_found(self):
        for n, least in ((5, 0.65), (10, 0.95), (20, 0.995)):
            rate = self.rate(n, 1.1)
            print(f"{n} rounds of each: 10 % slower is found in {rate:.2%} of 3000 comparisons")
            self.assertGreaterEqual(rate, least, n)


if __name__ == "__main__":
    unittest.main()
