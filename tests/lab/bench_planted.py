#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench_planted.py BENCH ROOT DIRECTORY: measures the host, the same host once more, and one that is held up for two
thirds of the time, in turns as kvmbox bench does; fails unless exactly the third is told from the first."""
import contextlib
import pathlib
import signal
import sys
import threading
import time

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
ROUNDS = 12


class Again(Host):
    name, title = "again", "the same"


class Slow(Host):
    name, title = "slow", "a slower one"

    def start(self, spec):
        instance = super().start(spec)
        threading.Thread(target=hold_up, args=(instance.process,), daemon=True).start()
        return instance


def hold_up(process):
    with contextlib.suppress(ProcessLookupError):
        while process.returncode is None:
            for number, seconds in ((signal.SIGSTOP, 0.04), (signal.SIGCONT, 0.02)):
                process.send_signal(number)
                time.sleep(seconds)


class Compute(Workload):
    name, title, metrics = "compute", "Compute", (Metric("steps", "Steps", "1/s", "higher"),)

    def measure(self, engine, context):
        with engine.start(context.spec(["loop", "compute", "0.5"])) as instance:
            output, _ = instance.process.communicate(timeout=context.timeout)
            yield Sample("steps", float(output))


def measure(directory):
    found = root.get(print, sys.argv[2])
    context = Context(directory / "planted")
    context.directory.mkdir()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    engines, workload = [kind(context) for kind in (Host, Again, Slow)], Compute()
    names = [each.name for each in engines]
    data = {"method": {"rounds": ROUNDS, "warm_up": 1}, "complete": False, "samples": [], "failures": [], "outcomes": [],
            "machine": {"virtualisation": "none"}, "why_incomplete": results.BEGUN,
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
    host, again, slow = measure(pathlib.Path(sys.argv[3]))
    same, slower = (stats.ratio_or_reason(each, host, CONFIDENCE) for each in (again, slow))
    print(f"again: {same}\nslow: {slower}")
    assert isinstance(same, stats.Reason) and same.words == stats.NO_DIFFERENCE, "a difference is found between the host and itself"
    assert isinstance(slower, stats.Ratio) and slower.value < 1, "the slowdown is not found"


main()
