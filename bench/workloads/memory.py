# SPDX-License-Identifier: Apache-2.0
"""What idle instances take of the host's memory, by two measures that know nothing of each other."""
import contextlib
import time

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
               Metric("host", "What the host has less for each of them", "bytes", "lower", True),
               Metric("fit", "So many would fit into the memory the host has free", "count", "higher"),
               *counts.metrics("idle", "idle, a second", IDLE, carries=False))

    def measure(self, engine, context):
        # One first, so that what all share is there before and not counted for any.
        with engine.start(context.spec(["answer"])) as first:
            first.first_instruction()
            first.detach()
            time.sleep(min(2, context.seconds))
            before = available()
            with contextlib.ExitStack() as stack:
                instances = [stack.enter_context(engine.start(context.spec(["answer"]))) for _ in range(context.instances)]
                for instance in instances:
                    instance.first_instruction()
                    instance.detach()
                time.sleep(min(2, context.seconds))
                after = available()
                for instance in instances:
                    yield Sample("idle", instance.memory())
                with counts.counted(*instances) as nothing:
                    pass
                with counts.counted(*instances) as count:
                    time.sleep(context.seconds)
                yield from count.per("idle", context.seconds * len(instances), IDLE, nothing)
        if engine.kernel == "vm":  # What the host has less is the VM's, which has its memory already.
            return
        each = (before - after) / len(instances)
        yield Sample("host", each)
        if each >= 4096:
            yield Sample("fit", before // each)
