# SPDX-License-Identifier: Apache-2.0
"""The statistics of a benchmark: pure functions over lists of numbers.

All of it is free of assumptions about how the numbers are distributed, as times are not normal: they have
a floor, a tail, and now and then a stray that took thrice as long. Intervals come from ranks, and are exact
for small samples: nothing is drawn at random here, so the same data gives the same words.

- The middle of a sample is its median, with the interval that its order statistics give (the sign test
  turned round): the k-th smallest to the k-th largest value, k from the binomial distribution.
- Two samples are compared by the Wilcoxon-Mann-Whitney test on their values, and by what belongs to it:
  the ratio is the median of all quotients of a value here and a value there (the Hodges-Lehmann estimate,
  taken of logarithms), and its interval are those ratios which the test would not reject. So an interval
  that excludes 1 and a test that finds a difference are the same thing.
- Where many comparisons are made at once, some differ by chance. Holm's method tells which still count.

What is compared has to be independent: one number for each round, not each of a round's fifty.
"""
import dataclasses
import functools
import math

CONFIDENCE = 0.95
LEAST = 5  # values that a comparison needs on each side
# Up to this product of sizes the test's distribution is counted out; beyond, it is as good as normal.
EXACT = 2500
TOO_FEW = "too few rounds"
NO_DIFFERENCE = "no difference beyond the spread"
EXACTLY = "exactly the same"


def median(values):
    return quantile(values, 0.5)


def quantile(values, share):
    """What @share of the values lie below: linear between neighbours (type 7 of Hyndman and Fan, 1996)."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    if ordered[below] == ordered[above]:
        return ordered[below]
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def median_interval(values, confidence=CONFIDENCE):
    """(low, high) that has the median in it with at least @confidence; None where there are too few values.

    The median lies below the k-th smallest of n values as often as fewer than k of n fair coins fall heads.
    """
    ordered, n = sorted(values), len(values)
    outside, rank = 0.0, 0
    while rank < n:
        outside += 2 * math.comb(n, rank) / 2**n
        if outside > 1 - confidence:
            break
        rank += 1
    return (ordered[rank - 1], ordered[n - rank]) if rank else None


@functools.lru_cache(maxsize=None)
def _rank_shares(n, m):
    """How likely each count 0..n*m of pairs is in which the one sample's value is the smaller.

    The counts of orders are the coefficients of a Gaussian binomial: the product of (1 - x^(m+i)) / (1 - x^i).
    """
    counts = [1]
    for i in range(1, n + 1):
        longer = counts + [0] * (m + i)
        for j in range(len(counts) - 1, -1, -1):
            longer[j + m + i] -= counts[j]
        for j in range(i, len(longer)):
            longer[j] += longer[j - i]
        counts = longer[:i * m + 1]
    orders = math.comb(n + m, n)
    return [count / orders for count in counts]


def _tail(n, m, count):
    """How likely it is that so few pairs, or fewer, are the one way round, if nothing differs."""
    if count < 0:
        return 0.0
    if n * m <= EXACT:
        return math.fsum(_rank_shares(min(n, m), max(n, m))[:count + 1])
    deviation = math.sqrt(n * m * (n + m + 1) / 12)
    return 0.5 * math.erfc(-(count + 0.5 - n * m / 2) / deviation / math.sqrt(2))


def _rank_limit(n, m, confidence):
    """The greatest k for which k or fewer pairs the one way round are too unlikely, or -1."""
    low, high = -1, n * m // 2
    while low < high:
        middle = (low + high + 1) // 2
        if 2 * _tail(n, m, middle) <= 1 - confidence:
            low = middle
        else:
            high = middle - 1
    return low


@dataclasses.dataclass(frozen=True)
class Ratio:
    """How much a is of b: @value with the interval @low to @high. @chance is how often two samples of the
    same thing differ as much (two-sided)."""
    value: float
    low: float
    high: float
    chance: float

    @property
    def differs(self):
        return self.low > 1 or self.high < 1


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why there is no ratio. @ratio is what the data allow, where they allow something: with its interval."""
    words: str
    ratio: Ratio | None = None


def least_values(confidence=CONFIDENCE):
    """How many values on each side it takes for the test to find anything at this confidence."""
    n = 1
    while 2 / math.comb(2 * n, n) > 1 - confidence:
        n += 1
    return n


def ratio(a, b, confidence=CONFIDENCE):
    """The Ratio of a to b, both above zero, or None where @confidence cannot be had of so few values."""
    n, m = len(a), len(b)
    rank = _rank_limit(n, m, confidence)
    if rank < 0:
        return None
    quotients = sorted(x / y for x in a for y in b)
    # Pairs that are equal speak for neither side.
    fewer = n * m - max(sum(q < 1 for q in quotients), sum(q > 1 for q in quotients))
    return Ratio(median(quotients), quotients[rank], quotients[n * m - 1 - rank], min(1.0, 2 * _tail(n, m, fewer)))


def ratio_or_reason(a, b, confidence=CONFIDENCE):
    """A Ratio whose interval excludes 1, or the Reason why none is given."""
    if min(len(a), len(b)) < LEAST:
        return Reason(f"{TOO_FEW} to compare: {min(len(a), len(b))}, and at least {LEAST} are needed")
    if sorted(a) == sorted(b) and len(set(a)) == 1:
        return Reason(EXACTLY)
    if min(*a, *b) <= 0:
        return Reason("no ratio, as some values are zero" if min(*a, *b) == 0 else "no ratio of values below zero")
    found = ratio(a, b, confidence)
    if found is None:
        return Reason(f"{TOO_FEW} to compare with a confidence of {confidence:.4%}")
    return found if found.differs else Reason(NO_DIFFERENCE, found)


def holm(chances, error=1 - CONFIDENCE):
    """Which of these comparisons differ, so that with a chance of at most @error even one of them is wrong.

    Holm's method (1979): the smallest of n chances is held against error/n, the next against error/(n-1), and
    so on, up to the first that is too large.
    """
    differ, left = [False] * len(chances), len(chances)
    for index in sorted(range(len(chances)), key=chances.__getitem__):
        if chances[index] > error / left:
            break
        differ[index] = True
        left -= 1
    return differ
