# SPDX-License-Identifier: Apache-2.0
"""The page as text: what it says, and that it needs nothing but itself."""
import html.parser
import re
import unittest

import here  # noqa: F401
import fake
import page
import results
import stats
import svg

VOID = {"meta", "br"}


class Parser(html.parser.HTMLParser):
    """Checks that what is opened is closed, and keeps what there is."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            raise AssertionError(f"</{tag}> closes something else")

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)


def parsed(data):
    parser = Parser()
    parser.feed(page.page(results.Results(data)))
    parser.close()
    assert not parser.open, parser.open
    return parser


def said(data):
    """The words of the page, as a reader sees them."""
    return re.sub(r"\s+", " ", "".join(parsed(data).words))


class Whole(unittest.TestCase):
    def test_needs_nothing_else(self):
        parser = parsed(fake.make(1))
        self.assertFalse({"script", "link", "img", "iframe", "object", "use", "image", "font"} & set(parser.tags))
        for name, value in parser.attributes:
            self.assertFalse(name.startswith("on"), name)
            if name in ("href", "src"):
                self.assertTrue(value.startswith("#"), value)
        self.assertNotRegex(page.page(results.Results(fake.make(1))), r"url\(|@import|https?:")

    def test_links_lead_somewhere(self):
        parser = parsed(fake.make(1))
        ids = [value for name, value in parser.attributes if name == "id"]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertLessEqual({value[1:] for name, value in parser.attributes if name == "href"}, set(ids))

    def test_foreign_text_stays_text(self):
        data = fake.make(1)
        bad = '"><script>alert(1)</script>&amp;'
        data["machine"]["cpu"] = data["engines"][1]["title"] = data["workloads"][0]["question"] = bad
        data["metrics"][0]["title"] = data["failures"][0]["why"] = data["outcomes"][0]["words"] = data["command"][0] = bad
        data["metrics"][0]["unit"] = bad
        parser = parsed(data)
        self.assertNotIn("script", parser.tags)
        self.assertIn(bad, "".join(parser.words))

    def test_every_plot_says_what_it_shows(self):
        text = page.page(results.Results(fake.make(1)))
        pictures = re.findall(r'<svg class="row[^>]*>(.{7})', text)
        self.assertGreater(len(pictures), 100)
        self.assertEqual(set(pictures), {"<title>"})
        self.assertEqual(len(re.findall(r'role="img" aria-label="[^"]{10,}"', text)), len(pictures))

    def test_strange_values(self):
        for value in (0, -3, 1e-300, 1e300, 5):
            data = fake.make(1, rounds=6)
            for each in data["samples"]:
                each["value"] = value
            for each in data["series"]:
                each["value"] = [value] * len(each["value"])
            self.assertNotRegex(page.page(results.Results(data)), r'"-?(nan|inf)|[ "]nan[ "%]')

    def test_little(self):
        for empty in (("samples",), ("samples", "series", "outcomes", "failures"), ("workloads", "metrics", "samples", "series",
                                                                                "outcomes", "failures"),):
            data = fake.make(1)
            for name in empty:
                data[name] = []
            self.assertIn("Answers", said(data))
        data = fake.make(1, rounds=1)
        self.assertIn("too few rounds to compare: 1, and at least 5 are needed", said(data))

    def test_measures_without_a_figure(self):
        data = fake.make(1)
        self.assertNotIn("Of no engine there is a figure", said(data))
        data["samples"] = [each for each in data["samples"] if each["metric"] not in ("read_32", "fsync")]
        self.assertIn("Not measured in any engine: 4 KiB random reads, depth 32; Latency of fsync.", said(data))

    def test_one_engine(self):
        data = fake.make(1)
        data["samples"] = [each for each in data["samples"] if each["engine"] == "kvmbox"]
        self.assertIn("Start to first instruction: only kvmbox was measured.", said(data))


class Answers(unittest.TestCase):
    def test_cost_is_told(self):
        words = said(fake.make(1))
        self.assertRegex(words, r"Start to first instruction: kvmbox takes [89]\d % longer than LXC \(\d\d to \d+ %\)\.")
        self.assertIn("Memory for each idle instance, kernel included: kvmbox takes 4.29 times as much as LXC (no spread).", words)
        self.assertRegex(words, r"A compute loop: kvmbox reaches \d\d % less than LXC")

    def test_no_difference_is_told(self):
        data = fake.make(1)
        for each in data["samples"]:  # kvmbox with the figures of another that is the same
            if each["workload"] == "net" and each["engine"] == "lxc-hardened":
                each["engine"] = "kvmbox"
            elif each["workload"] == "net" and each["engine"] == "kvmbox":
                each["engine"] = "lxc-hardened"
        self.assertRegex(said(data), r"One TCP stream out: no difference between kvmbox and LXC beyond the spread "
                         r"\(0\.\d\d to 1\.\d\d times\)\.")

    def test_containment(self):
        words = said(fake.make(1))
        self.assertIn("The next instance survived everything with kvmbox, Docker in kvmbox and QEMU microvm; with host (no "
                      "isolation), LXC, LXC (hardened) and Docker it did not survive: kernel panic, full process table and full "
                      "page cache.", words)
        self.assertIn("✗ did not survive", words)

    def test_missing_and_failed(self):
        words = said(fake.make(1))
        self.assertIn("runc (there is no runc: install the package runc).", words)
        self.assertIn("Disk, Docker, round 3fio ended with status 1: no space left on device", words)

    def test_without_kvmbox_others_are_compared(self):
        data = fake.make(1, missing=("kvmbox", "docker-in-kvmbox"))
        self.assertRegex(said(data), "Start to first instruction: QEMU microvm takes .* than|as LXC")


    def test_more_measures(self):
        def metric(better):
            return {"title": "Waits", "better": better, "unit": "s"}

        found = [(stats.Ratio(3, 2, 4, 0), metric("lower")), (stats.Ratio(4, 3, 5, 0), metric("higher")),
                 (stats.Ratio(0.7, 0.6, 0.8, 0), metric(None)), (stats.Reason(stats.EXACTLY), metric("lower")),
                 (stats.Reason(stats.TOO_FEW), metric("lower"))]
        self.assertEqual(page.summary("LXC", found), "Of 5 more measures, against LXC: worse in 1 (in “Waits”: takes 3.00 times as long, "
                         "2.00 to 4.00), better in 1, no difference beyond the spread in 1, different, but neither better nor worse, in 1 "
                         "and not told in 1.")


class Notices(unittest.TestCase):
    def test_real_machine_has_none(self):
        self.assertNotIn('class="notice"', page.page(results.Results(fake.make(1))))
        self.assertNotIn('class="tag"', page.page(results.Results(fake.make(1))))

    def test_emulation_is_the_first_line(self):
        words = said(fake.make(1, emulated=True))
        self.assertTrue(words.strip().startswith("Virtualisation is emulated on this machine (QEMU emulates AMD-V in software): "
                                         "what survives, sizes and those counts that are named here hold on real hardware, too (but there "),
                        words[:200])
        self.assertIn("Carry over: System calls of the host for one start; Memory for each idle instance, kernel included; what "
                      "survived.", words)
        self.assertIn("Do not carry over: the other 17 measures, each marked “emulated: does not carry over”.", words)
        # What carries over comes first, and each other figure is marked.
        self.assertIn("StartSystem calls of the host for one start: kvmbox has", words)
        self.assertRegex(words, r"Start to first instruction \(less is better\) emulated: does not carry over")

    def test_nested(self):
        data = fake.make(1)
        data["machine"]["virtualisation"] = "nested"
        self.assertTrue(said(data).strip().startswith("Virtualisation is nested on this machine"))

    def test_interruption_is_told(self):
        self.assertIn("Not complete. This run is not complete (interrupted by the user): of 10 rounds there are 6,",
                      said(fake.make(1, complete=False)))


class Axes(unittest.TestCase):
    def test_ticks_are_round_and_within(self):
        for low, high in ((0, 1), (0, 312.7), (-10, 19.75), (3, 3.4), (0, 1e-7), (0, 8.4e9)):
            axis = svg.Axis(low, high)
            ticks = axis.ticks()
            self.assertTrue(2 <= len(ticks) <= 6, (low, high, ticks))
            for tick in ticks:
                self.assertTrue(-1e-9 <= axis.share(tick) <= 1 + 1e-9)
                self.assertLess(len(f"{tick:.6g}"), 9)

    def test_stray_does_not_press_the_others(self):
        axis = svg.axis_for([[10 + i / 10 for i in range(20)], [11] * 19 + [500]], False)
        self.assertLess(axis.high, 20)

    def test_far_apart_is_logarithmic(self):
        self.assertTrue(svg.axis_for([[1, 1, 2], [900, 1000]], False).log)
        self.assertFalse(svg.axis_for([[1, 1, 2], [900, 1000]], True).log)
        self.assertFalse(svg.axis_for([[0, 1, 1, 2], [900, 1000]], False).log)
        self.assertFalse(svg.axis_for([[-3, 1, 1, 2], [900, 1000]], False).log)


if __name__ == "__main__":
    unittest.main()
