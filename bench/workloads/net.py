# SPDX-License-Identifier: Apache-2.0
"""What a TCP connection carries between the host and an instance, by iperf3: its server in the instance, its client beside."""
import contextlib
import itertools
import json
import re
import subprocess

import words
from engines.base import Failure, tail
from workloads import counts
from workloads.base import Metric, Sample, Workload, beside, free_port, written

STREAMS = (1, 4)
# Name, in words, what the client is told.
WAYS = (("into", "TCP in", ()), ("out", "TCP out", ("-R",)))


def parse(output):
    """(bytes a second that arrived, bytes sent, segments sent again) from the client's JSON."""
    try:
        found = json.loads(output)
        if "error" in found:
            raise Failure(f"iperf3: {found['error']}")
        sent, received = found["end"]["sum_sent"], found["end"]["sum_received"]
        return received["bits_per_second"] / 8, sent["bytes"], sent["retransmits"]
    except (ValueError, KeyError, TypeError):
        raise Failure(f"iperf3: {tail(output)}") from None


def reason(said):
    """Why the server has ended: its last line is only that it does."""
    found = re.search(r"^iperf3: error - (.+)$", said, re.MULTILINE)
    return found[1] if found else tail(said)


def wait(instance, port, number, timeout=None):
    """Until the server is ready for its test @number; a client that came while one ends would be sent away."""
    try:
        instance.line(f"Server listening on {port} (test #{number})", timeout)
    except Failure:
        with contextlib.suppress(subprocess.TimeoutExpired):
            instance.process.wait(1)  # What ends closes its output first.
        if instance.alive():
            raise
        raise Failure(f"iperf3's server has ended: {reason(written(instance))}") from None


class Net(Workload):
    name, title = "net", "Network"
    question = ("What does TCP carry between the host and an instance? (To the host itself that is its loopback: no network is "
                "crossed.)")
    metrics = (*(Metric(f"{name}_{number}", f"{way}, {words.counted(number, 'stream')}", "bytes/s", "higher")
                 for name, way, _ in WAYS for number in STREAMS),
               Metric("again", "Segments sent again, per GiB", "count"),
               *(metric for name, way, _ in WAYS for metric in counts.metrics(name, f"{way}, a MiB")))

    def measure(self, engine, context):
        port, sent, again = free_port(), 0, 0
        # Without a line for each interval, which nobody would read.
        server = ["iperf3", "-s", "-p", port, "-i", "0", "--forceflush"]
        with engine.start(context.spec(server, port=port)) as instance:
            def test(number, streams, options):
                """What the client says of the server's test of this number."""
                wait(instance, port, number)
                _, output, errors = beside(engine, ["iperf3", "-J", "-c", instance.ip(), "-p", port, "-P", streams,
                                                    "-t", context.whole_seconds, "-i", "0", *options], context.timeout)
                return parse(output or errors)

            numbers = itertools.count(1)
            for name, _, options in WAYS:
                for streams in STREAMS:
                    rate, size, segments = test(next(numbers), streams, options)
                    sent, again = sent + size, again + segments
                    yield Sample(f"{name}_{streams}", rate)
            for name, _, options in WAYS:
                with counts.counted(instance) as count:
                    _, size, _ = test(next(numbers), 1, options)
                yield from count.per(name, size / 2**20)
        # Of all together, since there are few.
        yield Sample("again", again / max(1, sent) * 2**30)
