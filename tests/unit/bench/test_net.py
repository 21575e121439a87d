# SPDX-License-Identifier: Apache-2.0
"""iperf3's words, as it has said them, and what is made of them."""
import unittest

import here  # noqa: F401
from engines.base import Failure
from inside import CALLS, Sh, printing
from workloads.base import Sample
from workloads.net import Net, parse, reason

# Of iperf 3.12, without the parts that nobody reads.
END = """\
{
	"start":	{
		"version":	"iperf 3.12"
	},
	"intervals":	[],
	"end":	{
		"sum_sent":	{
			"start":	0,
			"end":	1.008449,
			"seconds":	1.008449,
			"bytes":	1162608640,
			"bits_per_second":	9222944462.2385464,
			"retransmits":	7,
			"sender":	false
		},
		"sum_received":	{
			"start":	0,
			"end":	1.0001,
			"seconds":	1.0001,
			"bytes":	1161953280,
			"bits_per_second":	9294696770.32297,
			"sender":	false
		}
	}
}
"""
REFUSED = """\
{
	"start":	{
		"connected":	[],
		"version":	"iperf 3.12"
	},
	"intervals":	[],
	"end":	{
	},
	"error":	"unable to connect to server: Connection refused"
}
"""
TAKEN = """\
iperf3: error - unable to start listener for connections: Address already in use
iperf3: exiting
"""


def listening(times):
    def argv(spec):
        port = spec.argv[spec.argv.index("-p") + 1]
        lines = "\n".join(f"-----\nServer listening on {port} (test #{number})\n-----" for number in range(1, times + 1))
        return ["sh", "-c", 'echo "$1"; exec sleep 60', "sh", lines]
    return argv


class Words(unittest.TestCase):
    def test_parse(self):
        rate, size, again = parse(END)
        self.assertAlmostEqual(rate, 9294696770.32297 / 8)
        self.assertEqual((size, again), (1162608640, 7))

    def test_errors(self):
        for text, why in ((REFUSED, "unable to connect to server: Connection refused"), ("chroot: no iperf3\n", "chroot: no iperf3"),
                          ("", "it does not say why"), ("[]", "[]"), ('{"end": {}}', '{"end": {}}')):
            with self.assertRaises(Failure) as caught:
                parse(text)
            self.assertEqual(str(caught.exception), f"iperf3: {why}")

    def test_reason(self):
        self.assertEqual(reason(TAKEN), "unable to start listener for connections: Address already in use")
        self.assertEqual(reason("sh: iperf3: not found\n"), "sh: iperf3: not found")


class Turns(unittest.TestCase):
    def measure(self, *arguments):
        engine = Sh(*arguments)
        return list(Net().measure(engine, engine.context))

    def test_whole(self):
        asked = []

        def beside(*words):
            asked.append(words)
            return printing(END)

        found = {each.metric: each.value for each in self.measure(listening(6), None, beside)}
        self.assertEqual(list(found), ["into_1", "into_4", "out_1", "out_4", "into_system_calls", "out_system_calls", "again"])
        self.assertEqual(set(found) - {each.name for each in Net.metrics}, set())
        self.assertAlmostEqual(found["again"], 7 / (1162608640 / 2**30))
        self.assertAlmostEqual(found["out_system_calls"], CALLS / (1162608640 / 2**20))
        self.assertEqual([(words[words.index("-P") + 1], "-R" in words) for words in asked],
                         [("1", False), ("4", False), ("1", True), ("4", True), ("1", False), ("1", True)])

    def test_taken_port(self):
        for where in (2, 1):  # of an engine that keeps errors apart, and of one that does not
            with self.assertRaises(Failure) as caught:
                self.measure(["sh", "-c", f'printf "%s" "$1" >&{where}', "sh", TAKEN])
            self.assertEqual(str(caught.exception), "iperf3's server has ended: unable to start listener for connections: "
                                                    "Address already in use")

    def test_server_dies(self):
        def once(spec):
            return ["sh", "-c", 'echo "$1"', "sh", f"Server listening on {spec.port} (test #1)"]

        found = []
        engine = Sh(once, None, lambda *_: printing(END))
        with self.assertRaises(Failure) as caught:
            for each in Net().measure(engine, engine.context):
                found.append(each)
        self.assertIn("iperf3's server has ended: ", str(caught.exception))
        self.assertEqual([(type(each), each.metric) for each in found], [(Sample, "into_1")])

    def test_client_cannot(self):
        for answer, why in ((printing(REFUSED, 1), "iperf3: unable to connect to server: Connection refused"),
                            (["sh", "-c", "echo chroot: failed >&2; exit 1"], "iperf3: chroot: failed")):
            with self.assertRaises(Failure) as caught:
                self.measure(listening(4), None, lambda *_, answer=answer: answer)
            self.assertEqual(str(caught.exception), why)


if __name__ == "__main__":
    unittest.main()
