# SPDX-License-Identifier: Apache-2.0
"""What fio reaches in /data, which lies on the same file system of the host for all engines."""
import json

from engines.base import Failure, tail
from workloads import counts
from workloads.base import Metric, Sample, Workload

DEPTHS = (1, 4, 32)
JOBS = (*((f"{kind}_{depth}", kind, f"rand{kind}", "4k", depth) for kind in ("read", "write") for depth in DEPTHS),
        ("sequential_read", "read", "read", "1M", 4), ("sequential_write", "write", "write", "1M", 4))

# Of which it is counted what a request takes: name, rw of fio, depth.
COUNTED = tuple((f"{kind}_{depth}", kind, depth) for kind in ("read", "write") for depth in (1, 32))
# Of a read, that is: writes wait for what the file system does besides.
CARRIES = ("system_calls", "exits")
DIRECT = ("--ioengine=libaio", "--direct=1")


def parse(output):
    """The first job of fio's JSON; a Failure in its own words where there is none."""
    try:
        # What it has to say otherwise comes before.
        job = json.loads(output[output.index("\n{") + 1 if "\n{" in output else output.index("{"):])["jobs"][0]
    except (ValueError, KeyError, IndexError, TypeError):
        raise Failure(f"fio: {tail(output)}") from None
    if job.get("error"):
        raise Failure(f"fio ended with error {job['error']}: {tail(output[:output.index('{')]) if '{' in output else ''}")
    return job


class Disk(Workload):
    name, title = "disk", "Disk"
    question = "What does fio reach on the same file system?"
    drops_caches = True
    metrics = (*(Metric(f"{kind}_{depth}", f"4 KiB random {kind}s, depth {depth}", "1/s", "higher")
                 for kind in ("read", "write") for depth in DEPTHS),
               Metric("sequential_read", "Sequential reads", "bytes/s", "higher"),
               Metric("sequential_write", "Sequential writes", "bytes/s", "higher"),
               Metric("fsync", "Latency of fsync, median", "us"),
               Metric("fsync_p99", "Latency of fsync, p99", "us"),
               *(metric for name, kind, depth in COUNTED for metric in
                 counts.metrics(name, f"{kind}, depth {depth}", carries=CARRIES if name == "read_1" else ())))

    def fio(self, instance, context, *words):
        common = ["--name=bench", "--filename=/data/fio", f"--size={context.file_bytes}", "--output-format=json"]
        status, output = instance.run(["fio", *common, *words], context.timeout * 3)
        if status != 0:
            raise Failure(f"fio ended with status {status}: {tail(output.split('{')[0])}")
        return parse(output)

    def measure(self, engine, context):
        timed = ["--time_based", f"--runtime={context.whole_seconds}"]
        with context.data() as data, engine.start(context.spec(["answer"], data_dir=data)) as instance:
            instance.first_instruction()
            self.fio(instance, context, "--rw=write", "--bs=1M", "--end_fsync=1")
            for name, way, pattern, block, depth in JOBS:
                context.drop_caches()
                job = self.fio(instance, context, *timed, f"--rw={pattern}", f"--bs={block}", f"--iodepth={depth}",
                               *DIRECT)
                yield Sample(name, job[way]["bw_bytes" if name.startswith("sequential") else "iops"])
            context.drop_caches()
            job = self.fio(instance, context, *timed, "--rw=randwrite", "--bs=4k", "--ioengine=psync", "--fsync=1")
            percentiles = job["sync"]["lat_ns"].get("percentile") or {}
            if "50.000000" in percentiles:
                yield Sample("fsync", percentiles["50.000000"] / 1000)
                yield Sample("fsync_p99", percentiles["99.000000"] / 1000)
            yield from self.counts(instance, context)

    def counts(self, instance, context):
        """Once more, as what is counted is slower, and for as long as there are enough requests; without what fio takes for as
        long with hardly one."""
        words = ["--time_based", f"--runtime={max(1, round(context.seconds / 5 * context.patience))}", "--bs=4k", *DIRECT]
        with counts.counted(instance) as idle:
            few = self.fio(instance, context, *words, "--rw=randread", "--rate_iops=1")["read"]["total_ios"]
        for name, kind, depth in COUNTED:
            context.drop_caches()
            with counts.counted(instance) as count:
                job = self.fio(instance, context, *words, f"--rw=rand{kind}", f"--iodepth={depth}")
            yield from count.per(name, job[kind]["total_ios"] - few, without=idle)
