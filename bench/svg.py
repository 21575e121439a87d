# SPDX-License-Identifier: Apache-2.0
"""Plots as inline SVG that is as wide as the page lets it be.

There is no view box, so nothing is scaled but what is meant to be: places along the axis are percentages,
heights, marks and letters are pixels. Colours are the page's (page.css), by class. A curve lies in an inner
<svg> that is stretched, with strokes that are not.
"""
import html
import math

ROW = 30  # height of a row of values, in pixels
SHARES = 46  # of a row with a distribution
CURVE = 72  # and of a row with a curve over time
AXIS = 22
KINDS = {  # a mark's outline around 0,0
    "own": '<circle r="5.5"/>',
    "vm": '<circle r="5.5"/>',
    "shared": '<path d="M0-6.5 6.5 0 0 6.5-6.5 0Z"/>',
    "host": '<path d="M-5-5H5V5H-5Z"/>',
}


def number(value):
    return f"{value:.2f}".rstrip("0").rstrip(".")


class Axis:
    """From numbers to percent of the width; logarithmic where @log."""

    def __init__(self, low, high, log=False):
        self.low, self.high, self.log = low, high, log

    def share(self, value):
        """0 to 1, and beyond for what is beyond."""
        if self.log:
            return math.log(max(value, self.low / 1e9) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def percent(self, value):
        return f"{number(100 * self.share(value))}%"

    def ticks(self, scaled=lambda value: value, most=5):
        """Round numbers within, with @most steps at most. @scaled: what a value is in the unit in which it is to be round."""
        unit = scaled(1)
        low, high = self.low * unit, self.high * unit
        if self.log:
            powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
            return [10**power / unit for power in list(powers)[::math.ceil(len(powers) / most) or 1]]
        step = 10 ** math.floor(math.log10((high - low) / most))
        step = next(step * factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= most)
        first = math.ceil(low / step - 1e-9)
        return [index * step / unit for index in range(first, math.floor(high / step + 1e-9) + 1)]


def axis_for(groups, bars):
    """An axis for these lists of values: from 0, or logarithmic where they are far apart and no bar needs the 0.

    A stray that would press all others together is beyond the end.
    """
    values = sorted(value for group in groups for value in group)
    middles = sorted(group[len(group) // 2] for group in map(sorted, groups))
    if values[0] > 0 and middles[-1] > 40 * middles[0] and not bars:
        return Axis(values[0] / 1.3, values[-1] * 1.3, log=True)
    usual = max(sorted(group)[math.ceil(0.9 * len(group)) - 1] for group in groups)
    high = values[-1] if values[-1] <= 1.6 * usual else 1.3 * usual
    return from_zero(values[0], high)


def from_zero(least, most):
    """An axis that has 0 and these two on it, and some room."""
    low, high = min(0, least), max(0, most)
    return Axis(low, high + 0.04 * (high - low) if high > low else 1)


def picture(words, height, inside, name="row"):
    """An <svg> that says @words to those who cannot see it."""
    title = html.escape(words)
    return (f'<svg class="{name}" role="img" aria-label="{title}" width="100%" height="{height}">'
            f"<title>{title}</title>{inside}</svg>")


def mark(kind, x="0", y=0, name="mark"):
    return f'<svg x="{x}" y="{number(y)}" class="{name} {kind}" aria-hidden="true">{KINDS[kind]}</svg>'


def sign(kind):
    """A mark to stand in text."""
    return f'<svg class="sign {kind}" width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true">{KINDS[kind]}</svg>'


def grid(axis, ticks, height):
    return "".join(f'<line class="grid" x1="{axis.percent(tick)}" x2="{axis.percent(tick)}" y1="0" y2="{height}"/>'
                   for tick in ticks)


def axis_row(axis, ticks, text):
    """The numbers along the axis, for above the rows. @text: of a number and whether it is the last."""
    parts = []
    for tick in ticks:
        share = axis.share(tick)
        anchor = "start" if share < 0.06 else "end" if share > 0.94 else "middle"
        parts.append(f'<text x="{axis.percent(tick)}" y="{AXIS - 7}" text-anchor="{anchor}">'
                     f"{html.escape(text(tick, tick == ticks[-1]))}</text>")
    return (f'<svg class="axis" aria-hidden="true" width="100%" height="{AXIS}">{"".join(parts)}</svg>')


def median_marks(axis, middle, interval, kind, y):
    """The median, and its interval as a line with ends."""
    parts = []
    if interval:
        low, high = (axis.percent(max(axis.low, min(axis.high, end))) for end in interval)
        parts.append(f'<line class="interval {kind}" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>')
        parts += [f'<line class="interval {kind}" x1="{end}" x2="{end}" y1="{y - 6}" y2="{y + 6}"/>' for end in (low, high)]
    return "".join(parts) + mark(kind, axis.percent(middle), y)


def beyond_mark(axis, values, y):
    """How many are beyond the end of the axis."""
    count = sum(axis.share(value) > 1 for value in values)
    return f'<text class="beyond" x="100%" y="{y}" text-anchor="end">{count} beyond ▸</text>' if count else ""


def values_row(axis, ticks, values, middle, interval, kind, bar, words):
    """Every value as a dot, the median as a mark, its interval as a line with ends; a bar from 0 where @bar."""
    centre = ROW / 2
    parts = [grid(axis, ticks, ROW)]
    if bar:
        parts.append(f'<rect class="bar {kind}" x="{axis.percent(0)}" width="{number(100 * axis.share(middle))}%" '
                     f'y="{centre - 7}" height="14"/>')
    for index, value in enumerate(values):
        if axis.share(value) > 1:
            continue
        # Up and down in turns, so that what is equal can be told from what is one.
        offset = (index * 7 % 11 - 5) * 1.6
        parts.append(f'<circle class="dot {kind}" cx="{axis.percent(value)}" cy="{number(centre + offset)}" r="2"/>')
    parts += [beyond_mark(axis, values, centre + 4), median_marks(axis, middle, interval, kind, centre)]
    return picture(words, ROW, "".join(parts))


def shares_row(axis, ticks, values, middle, interval, kind, words):
    """The distribution: a curve of steps, as high as the share of values that lie to its left."""
    top, bottom = 5, SHARES - 5
    line, share = [f"0 {bottom}"], 0.0
    for count, value in enumerate(sorted(values), 1):
        x = 1000 * axis.share(value)
        if x > 1000:
            break
        line += [f"{number(x)} {number(bottom - share * (bottom - top))}"]
        share = count / len(values)
        line += [f"{number(x)} {number(bottom - share * (bottom - top))}"]
    line.append(f"1000 {number(bottom - share * (bottom - top))}")
    return picture(words, SHARES, (
        f'{grid(axis, ticks, SHARES)}<svg x="0" y="0" width="100%" height="{SHARES}" viewBox="0 0 1000 {SHARES}" '
        f'preserveAspectRatio="none"><path class="band {kind}" d="M{"L".join(line)}L1000 {bottom}Z"/>'
        f'<path class="curve {kind}" d="M{"L".join(line)}"/></svg>'
        + beyond_mark(axis, values, bottom - 6) + median_marks(axis, middle, interval, kind, (top + bottom) / 2)))


def curve_row(across, up, ticks, levels, points, kind, words, text):
    """A curve over time: @points are (t, low, middle, high), of which low and high make a band."""
    def place(t, value):
        return f"{number(1000 * across.share(t))} {number(CURVE - 4 - (CURVE - 8) * up.share(value))}"

    parts = [grid(across, ticks, CURVE)]
    for level in levels:
        y = number(CURVE - 4 - (CURVE - 8) * up.share(level))
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
        # In the margin that the page leaves to the left.
        parts.append(f'<text x="-6" y="{number(float(y) + 4)}" text-anchor="end">{html.escape(text(level))}</text>')
    band = [place(t, high) for t, _, _, high in points] + [place(t, low) for t, low, _, _ in reversed(points)]
    line = [place(t, middle) for t, _, middle, _ in points]
    parts.append(f'<svg x="0" y="0" width="100%" height="{CURVE}" viewBox="0 0 1000 {CURVE}" preserveAspectRatio="none">'
                 f'<path class="band {kind}" d="M{"L".join(band)}Z"/>'
                 f'<path class="curve {kind}" d="M{"L".join(line)}"/></svg>')
    if across.low < 0 < across.high:
        x = across.percent(0)
        parts.append(f'<line class="begin" x1="{x}" x2="{x}" y1="0" y2="{CURVE}"/>')
    return picture(words, CURVE, "".join(parts), "row tall")
