# SPDX-License-Identifier: Apache-2.0
"""What idle instances take of the host's memory, by two measures that know nothing of each other."""
import contextlib
import time

import stats
from engines.base import field, read
from workloads import counts
from workloads.base import Metric, Sample, Workload


IDLE = ("system_calls", "exits")


def available():
    return field(read("/proc/meminfo"), "MemAvailable")


class Memory(Workload):
    name, title = "memory", "Memory"
    question = "What does an idle instance take, and how many fit?"
    metrics = (Metric("idle", "Memory of an idle instance: PSS and kernel", "bytes", "lower", True),
               Metric("fit", "Instances that would fit into the host's free memory", "count", "higher"),
               Metric("host", "Fall of the host's available memory, each", "bytes", "lower", True),
               *counts.metrics("idle", "idle, a second", IDLE))

    def measure(self, engine, context):
        # One first, so that what all share is there before and not counted for any.
        with engine.start(context.spec(["answer"])) as first:
            first.first_instruction()
            first.detach()
            time.sleep(min(2, context.seconds))
            before = available()
            with counts.counted(first) as alone:
                time.sleep(context.seconds)
            with contextlib.ExitStack() as stack:
                instances = [stack.enter_context(engine.start(context.spec(["answer"]))) for _ in range(context.instances)]
                for instance in instances:
                    instance.first_instruction()
                    instance.detach()
                time.sleep(min(2, context.seconds))
                after = available()
                taken = [instance.memory() for instance in instances]
                for each in taken:
                    yield Sample("idle", each)
                # Without what serves all of them, and what one takes beside which these are.
                with counts.counted(first, *instances) as count:
                    time.sleep(context.seconds)
                yield from count.per("idle", context.seconds * len(instances), IDLE, alone)
        if engine.kernel == "vm":  # What the host has less is the VM's, which has its memory already.
            return
        yield Sample("fit", before // stats.median(taken))
        yield Sample("host", (before - after) / len(instances))
