# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: that it is to be seen, on a wide screen and a phone, light and dark, and on paper.

--keep DIR leaves the screenshots there, to be looked at.
"""
import pathlib
import re
import sys
import tempfile
import unittest

import here  # noqa: F401
import browser
import fake
import page
import results

KEEP = None
# Text that is cut off or lies over its neighbour: a box with words that is narrower than they are, or a word of a
# plot that is outside of the page.
OVERFLOW = """(() => {
    const bad = [], wide = document.documentElement.clientWidth;
    for (const each of document.querySelectorAll('h1,h2,h3,p,li,dt,dd,th,td,summary,span,code,footer')) {
        if (getComputedStyle(each).position === 'absolute' || !each.getClientRects().length)
            continue;
        const box = each.getBoundingClientRect();
        if (each.scrollWidth > each.clientWidth + 1 && each.clientWidth > 0 || box.right > wide + 1 || box.left < -1)
            bad.push(each.tagName + '.' + each.className + ': ' + each.textContent.slice(0, 60));
    }
    for (const each of document.querySelectorAll('svg text')) {
        const box = each.getBoundingClientRect();
        if (box.width && (box.right > wide + 1 || box.left < -1))
            bad.push('text: ' + each.textContent);
    }
    return bad;
})()"""
# Cells of a row that lie over each other.
OVERLAP = """(() => {
    const bad = [];
    for (const row of document.querySelectorAll('tbody tr')) {
        const cells = [...row.children].filter(each => each.getClientRects().length).map(each => {
            const range = document.createRange();
            range.selectNodeContents(each);
            return range.getBoundingClientRect();
        }).filter(box => box.width && box.height);
        for (let i = 0; i < cells.length; i++)
            for (let j = i + 1; j < cells.length; j++)
                if (Math.min(cells[i].right, cells[j].right) - Math.max(cells[i].left, cells[j].left) > 2 &&
                    Math.min(cells[i].bottom, cells[j].bottom) - Math.max(cells[i].top, cells[j].top) > 6)
                    bad.push(row.textContent.slice(0, 60));
    }
    return bad;
})()"""
# Words of an axis that touch.
CROWDED = """(() => {
    const bad = [];
    for (const axis of document.querySelectorAll('svg.axis')) {
        const boxes = [...axis.querySelectorAll('text')].map(each => each.getBoundingClientRect());
        for (let i = 1; i < boxes.length; i++)
            if (boxes[i].left < boxes[i - 1].right + 2 && boxes[i].width)
                bad.push(axis.textContent);
    }
    return bad;
})()"""
# The least contrast of words against what is behind them, as WCAG reckons it.
CONTRAST = """(() => {
    const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    let least = 99;
    for (const each of document.querySelectorAll('h1,h2,h3,p,li,dt,dd,th,td,a,span,small,svg text')) {
        let behind = each, paper;
        do {
            paper = numbers(getComputedStyle(behind).backgroundColor);
            behind = behind.parentElement;
        } while (paper.length === 4 && paper[3] === 0 && behind);
        const style = getComputedStyle(each);
        const [a, b] = [light(numbers(each.tagName === 'text' ? style.fill : style.color)), light(paper)];
        least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
    }
    return least;
})()"""
WIDTHS = (1280, 820, 390, 320)
LONG = "an-engine-whose-name-nobody-thought-would-be-this-long with more words"


def brightness(row, channels):
    return sum(row[i] for i in range(0, len(row), channels)) / (len(row) / channels)


class Pages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.browser = cls.enterClassContext(browser.Browser())
        cls.directory = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))

    def open(self, name, data):
        path = self.directory / f"{name}.html"
        path.write_text(page.page(results.Results(data)))
        self.browser.open(path)
        return path

    def keep(self, name, bytes_):
        if KEEP:
            (KEEP / name).write_bytes(bytes_)

    def look(self, name):
        """At every width, and light and dark."""
        for width in WIDTHS:
            with self.subTest(page=name, width=width):
                self.browser.show(width)
                self.assertLessEqual(self.browser.evaluate("document.documentElement.scrollWidth"), width)
                self.assertEqual(self.browser.evaluate(OVERFLOW), [])
                self.assertEqual(self.browser.evaluate(OVERLAP), [])
                self.assertEqual(self.browser.evaluate(CROWDED), [])
                if KEEP:
                    self.keep(f"{name}-{width}.png", self.browser.screenshot(whole=True))
        for scheme in ("light", "dark"):
            with self.subTest(page=name, scheme=scheme):
                self.browser.show(WIDTHS[0], scheme=scheme)
                self.assertGreaterEqual(self.browser.evaluate(CONTRAST), 4.5)

    def test_usual(self):
        self.open("usual", fake.make(1))
        self.look("usual")

    def test_emulated_and_interrupted(self):
        self.open("emulated", fake.make(3, rounds=4, emulated=True, complete=False))
        self.look("emulated")

    def test_long_names(self):
        data = fake.make(1, rounds=6)
        data["engines"][2]["title"] = data["metrics"][0]["title"] = data["workloads"][0]["title"] = LONG
        data["machine"]["cpu"] = data["failures"][0]["why"] = 12 * LONG.replace(" ", "")
        data["outcomes"][0]["words"] = data["command"][0] = 5 * LONG.replace(" ", "")
        self.open("long", data)
        self.look("long")
        self.browser.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        self.look("long-unfolded")

    def test_is_not_blank(self):
        self.open("seen", fake.make(1))
        for width, scheme in ((1280, "light"), (390, "dark")):
            self.browser.show(width, 500, scheme)
            rows, channels = browser.pixels(self.browser.screenshot())
            self.assertEqual(len(rows[0]) // channels, width)
            colours = {row[i:i + 3] for row in rows for i in range(0, len(row), channels)}
            self.assertGreater(len(colours), 30)
            written = sum(len({row[i:i + 3] for i in range(0, len(row), channels)}) > 3 for row in rows)
            self.assertGreater(written, len(rows) / 4, "rows of pixels with something on them")
            corner = brightness(rows[-1][:channels * 4], channels)
            self.assertTrue(corner > 200 if scheme == "light" else corner < 60, (scheme, corner))

    def test_plots_are_drawn(self):
        self.open("plots", fake.make(1))
        for width in (1280, 390):
            self.browser.show(width)
            least = self.browser.evaluate("Math.min(...[...document.querySelectorAll('svg.row')].map("
                                          "each => each.getBoundingClientRect().width))")
            self.assertGreater(least, 150)
            # A mark stands where the axis has its value: halfway between its neighbours among the numbers.
            where = self.browser.evaluate("""(() => {
                const figure = document.querySelector('figure'), axis = figure.querySelector('svg.axis').getBoundingClientRect();
                const marks = [...figure.querySelectorAll('svg.row .mark')].map(each => each.getBoundingClientRect());
                return marks.map(box => ((box.left + box.right) / 2 - axis.left) / axis.width);
            })()""")
            self.assertEqual(len(where), 7)
            self.assertEqual(where[0], min(where))  # the host
            self.assertTrue(all(0 < each < 1 for each in where), where)

    def test_asks_nobody_for_anything(self):
        path = self.open("alone", fake.make(1))
        self.browser.show(1280)
        self.browser.screenshot(whole=True)
        self.assertEqual(self.browser.requests(), [path.resolve().as_uri()])

    def test_does_without_scripts(self):
        self.browser.ask("Emulation.setScriptExecutionDisabled", value=True)
        try:
            self.open("still", fake.make(1))
            self.browser.show(1280)
            tree = self.browser.ask("Accessibility.getFullAXTree")["nodes"]
        finally:
            self.browser.ask("Emulation.setScriptExecutionDisabled", value=False)
        names = [(each.get("role", {}).get("value"), each.get("name", {}).get("value", "")) for each in tree]
        self.assertTrue(any("kvmbox takes" in name for _, name in names))
        # What those hear who do not see it: tables, and pictures that have names.
        self.assertGreaterEqual(sum(role == "table" for role, _ in names), 15)
        pictures = [name for role, name in names if role in ("image", "img")]
        self.assertGreater(len(pictures), 100)
        self.assertTrue(all(pictures))
        self.assertIn("rowheader", {role for role, _ in names})

    def test_phone_keeps_tables_for_readers(self):
        self.open("phone", fake.make(1))
        self.browser.show(390)
        roles = [each.get("role", {}).get("value") for each in self.browser.ask("Accessibility.getFullAXTree")["nodes"]]
        self.assertGreaterEqual(roles.count("table"), 15)
        self.assertIn("rowheader", roles)

    def test_paper(self):
        self.open("paper", fake.make(1))
        self.browser.show(1280, scheme="dark", media="print")
        self.assertEqual(self.browser.evaluate("getComputedStyle(document.body).backgroundColor"), "rgb(255, 255, 255)")
        self.assertEqual(self.browser.evaluate("[...document.querySelectorAll('details')].map("
                                               "each => getComputedStyle(each).display !== 'none')"),
                         [True, True, True, False])
        pdf = self.browser.pdf()
        self.keep("paper.pdf", pdf)
        pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
        self.assertTrue(5 <= pages <= 25, pages)


if __name__ == "__main__":
    if not browser.program():
        print("skipped: there is no chromium to look at the page with: install the package chromium", file=sys.stderr)
        sys.exit(77)
    if "--keep" in sys.argv:
        at = sys.argv.index("--keep")
        KEEP = pathlib.Path(sys.argv.pop(at + 1))
        sys.argv.pop(at)
        KEEP.mkdir(parents=True, exist_ok=True)
    unittest.main()
