# SPDX-License-Identifier: Apache-2.0
"""How figures are put into words: values with their units, and what one engine is of another."""
import math

import stats

# Factors to the unit that is stored, the smallest first.
SECONDS = ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1, "s"))
BYTES = ((1, "B"), (2**10, "KiB"), (2**20, "MiB"), (2**30, "GiB"), (2**40, "TiB"))
NUMBERS = ((1, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"))
PERCENT = "\u00a0%"
TIMES = {"s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
# How an engine has more or less of a thing: verb, more, less, so many times as ...
WORDS = {
    "time": ("takes", "longer", "less time", "long"),
    "bytes": ("takes", "more", "less", "much"),
    "count": ("has", "more", "fewer", "many"),
    "rate": ("reaches", "more", "less", "much"),
    "ratio": ("is", "higher", "lower", "high"),
}


def kind(unit):
    if unit in TIMES:
        return "time"
    if unit.endswith("/s"):
        return "rate"
    return unit if unit in ("bytes", "count") else "ratio"


def round_to(value, digits=3):
    """As text, with so many significant digits and thousands apart."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    value = round(value, places)
    if value != 0:  # 9.999 is 10.0 now, not 10.00
        places = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:,.{max(0, places)}f}"


class Scale:
    """One unit for all of @values of a metric, in which the smallest is not below 1 if that can be."""

    def __init__(self, unit, values=()):
        steps, self.tail = {"time": (SECONDS, ""), "bytes": (BYTES, ""), "count": (NUMBERS, "")}.get(
            kind(unit), (NUMBERS, ""))
        self.stored = TIMES.get(unit, 1)
        if unit in ("bytes/s", "1/s"):
            steps, self.tail = (BYTES if unit == "bytes/s" else NUMBERS), "/s"
        elif kind(unit) == "ratio" or kind(unit) == "rate":
            steps, self.tail = ((1, "" if unit == "ratio" else unit),), ""
        sizes = [abs(value) * self.stored for value in values if value] or [self.stored]
        fitting = [step for step in steps if step[0] <= min(sizes) * 1.0000001] or [steps[0]]
        self.factor, self.name = fitting[-1]
        # A wide range is told by its upper end.
        while max(sizes) / self.factor >= 1e5 and (self.factor, self.name) != steps[-1]:
            self.factor, self.name = steps[steps.index((self.factor, self.name)) + 1]
        # What is counted is shown as it is, as long as it can be read.
        if steps is NUMBERS and max(sizes) < 1e5:
            self.factor, self.name = NUMBERS[0]
        self.whole = kind(unit) == "count" and self.factor == 1

    def number(self, value):
        scaled = value * self.stored / self.factor
        if self.whole and (abs(scaled) >= 100 or float(scaled).is_integer()):
            return f"{scaled:,.0f}"
        return round_to(scaled)

    def tick(self, value, with_unit=True):
        """For an axis, whose numbers are round."""
        gap = "" if self.unit.startswith("/") or not self.unit else "\u00a0"
        scaled = value * self.stored / self.factor
        shown = f"{scaled:.9f}".rstrip("0") if 0 < abs(scaled) < 1e-3 else f"{scaled:,.6g}"
        return shown + (f"{gap}{self.unit}" if with_unit else "")

    def interval(self, ends):
        return span(*map(self.number, ends))

    @property
    def unit(self):
        return f"{self.name}{self.tail}"

    def text(self, value):
        gap = "" if self.unit.startswith("/") or not self.unit else "\u00a0"
        return f"{self.number(value)}{gap}{self.unit}"


def mitigations(found):
    """In a few words, of {flaw: what the kernel does about it}."""
    if not found:
        return "mitigations: not known"
    bare = sorted(name for name, what in found.items() if what.startswith("Vulnerable"))
    return "mitigations: " + (f"none for {', '.join(bare)}" if bare else "all that are needed")


def show(value, unit):
    return Scale(unit, [value]).text(value)


def counted(number, what):
    """With an s where there is not one of them."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def breaking(text):
    """With spaces as a terminal has them."""
    return text.replace("\u00a0", " ")


def percent(share):
    share = abs(share) * 100
    return f"{share:.1f}" if share < 9.95 else f"{share:.0f}"


def plain(ratio):
    """A ratio: 2.13, 0.76, 21.4, 0.0123; and 1.003, which is not 1."""
    if 0 < abs(ratio - 1) < 0.005:
        return f"{ratio:.3f}"
    return f"{ratio:.2f}" if 0.095 < ratio < 9.995 else round_to(ratio)


def span(low, high, tail=""):
    """From two texts, which may be the same."""
    return f"{low}{tail}" if low == high else f"{low} to {high}{tail}"


def brief(found):
    """A Ratio or a Reason, for a column."""
    if isinstance(found, stats.Reason):
        if found.ratio:
            return f"not told ({plain(found.ratio.low)}–{plain(found.ratio.high)})"
        return stats.TOO_FEW if found.words.startswith(stats.TOO_FEW) else found.words
    low, high = plain(found.low), plain(found.high)
    return f"{plain(found.value)}×" + (f" ({low}–{high})" if low != high else "")


def difference(found, unit):
    """What a Ratio that excludes 1 means: ("takes 12 % longer", "8.1 to 15 %", "than"), ("takes 2.1 times as long", ...)."""
    verb, more, less, much = WORDS[kind(unit)]
    none = found.low == found.high
    if found.value >= 2 or found.value <= 0.5:
        interval = span(plain(found.low), plain(found.high))
        return f"{verb} {plain(found.value)} times as {much}", "no spread" if none else interval, "as"
    low, high = sorted((abs(found.low - 1), abs(found.high - 1)))
    return (f"{verb} {percent(found.value - 1)}{PERCENT} {more if found.value > 1 else less}",
            "no spread" if none else span(percent(low), percent(high), PERCENT), "than")


def sentence(a, b, found, unit):
    """What engine @a (a title) is of @b: a sentence without its full stop."""
    if isinstance(found, stats.Ratio):
        what, interval, than = difference(found, unit)
        return f"{a} {what} {than} {b} ({interval})"
    if found.ratio:
        value = span(plain(found.ratio.low), plain(found.ratio.high), " times")
        return f"no difference between {a} and {b} beyond the spread ({value})"
    return f"{a} and {b}: {found.words}"
