#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench_planted.py BENCH ROOT DIRECTORY CGROUPS: measures the host, the same host once more, and the host with seven
tenths of a CPU, in turns as kvmbox bench does; fails unless exactly the third is told from the first."""
import pathlib
import signal
import sys

sys.path.insert(0, sys.argv[1])
import method
import results
import root
import stats
import table
from engines.host import Host
from workloads.base import Context, Metric, Sample, Workload

# So that chance finds no difference in the same thing more often than once in a thousand runs of this.
CONFIDENCE = 0.999
ROUNDS = 10


class Again(Host):
    name, title = "again", "the same"


class Slow(Host):
    name, title = "slow", "a slower one"
    group = pathlib.Path(sys.argv[4]) / "kbench-planted"

    def start(self, spec):
        instance = super().start(spec)
        (self.group / "cgroup.procs").write_text(str(instance.process.pid))
        return instance


class Compute(Workload):
    name, title, metrics = "compute", "Compute", (Metric("steps", "Steps", "1/s", "higher"),)

    def measure(self, engine, context):
        with engine.start(context.spec(["loop", "compute", "0.5"])) as instance:
            output, _ = instance.process.communicate(timeout=context.timeout)
            yield Sample("steps", float(output))


def measure(directory):
    found = root.get(print, sys.argv[2])
    context = Context(directory / "planted", patience=6)
    context.directory.mkdir()
    engines, workload = [kind(context) for kind in (Host, Again, Slow)], Compute()
    names = [each.name for each in engines]
    data = {"method": {"rounds": ROUNDS, "warm_up": 1}, "complete": False, "samples": [], "failures": [], "outcomes": [],
            "machine": {"virtualisation": "emulated"}, "why_incomplete": results.BEGUN,
            "engines": [{"name": each.name, "title": each.title, "missing": None} for each in engines],
            "workloads": [{"name": workload.name, "title": workload.title}],
            "metrics": [{"workload": workload.name, "metric": "steps", "title": "Steps", "unit": "1/s", "better": "higher"}]}
    live = table.Live(results.Results(data), method.plan(ROUNDS, 1, [workload.name], names, 1), sys.stdout)
    run = method.Run(data, engines, [workload], context, live, lambda _: None)
    with found.mounted(context.directory / "root"):
        try:
            run.go(found)
        finally:
            run.clean()
    live.finish()
    assert not data["failures"], data["failures"]
    return [results.Results(data).rounds(workload.name, "steps", name) for name in names]


def main():
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    Slow.group.mkdir()
    try:
        (Slow.group / "cpu.max").write_text("70000 100000\n")
        host, again, slow = measure(pathlib.Path(sys.argv[3]))
    finally:
        Slow.group.rmdir()
    same, slower = (stats.ratio_or_reason(each, host, CONFIDENCE) for each in (again, slow))
    print(f"again: {same}\nslow: {slower}")
    assert isinstance(same, stats.Reason) and same.words == stats.NO_DIFFERENCE, "a difference is found between the host and itself"
    assert isinstance(slower, stats.Ratio) and slower.value < 1, "the slowdown is not found"


main()
