# SPDX-License-Identifier: Apache-2.0
"""What computing costs: where only the processor is asked, where the kernel is, and where both are."""
import time

from engines.base import Failure
from workloads import counts
from workloads.base import Metric, Sample, Workload

ENTERED = 3  # times, of which the shortest counts: what disturbs one is not what it takes
COUNTED_CALLS = 500000  # system calls of the loop of which it is counted what they take


class Cpu(Workload):
    name, title = "cpu", "CPU"
    question = "What does computing cost?"
    metrics = (Metric("compute", "A compute loop: steps", "1/s", "higher"),
               Metric("calls", "A loop of system calls: calls", "1/s", "higher"),
               Metric("compile", "A compile (gcc -O2)", "s"),
               *counts.metrics("compute", "compute, a second", ("exits",)),
               *counts.metrics("calls", "each call", carries=("system_calls",)))

    def measure(self, engine, context):
        with engine.start(context.spec(["answer"])) as instance:
            instance.first_instruction()
            for name in ("compute", "calls"):
                yield Sample(name, self.loop(instance, name, f"{context.seconds:g}"))
            # Once before, so that the compiler has been read from the disk in each.
            instance.check(["gcc", "-O2", "-DSHORT", "-o", "/tmp/compiled", "/usr/src/compiled.c"], context.timeout * 5)
            # From the host's side: what the command that enters the instance takes is taken off again.
            enter = min(self.seconds(instance, "true") for _ in range(ENTERED))
            compiled = self.seconds(instance, "gcc", "-O2", *["-DSHORT"] * context.short, "-o", "/tmp/compiled",
                                    "/usr/src/compiled.c", timeout=context.timeout * 5)
            yield Sample("compile", max(0.0, compiled - enter))
            # Once more, as what is counted is slower; without what it takes to enter.
            with counts.counted(instance) as nothing:
                instance.check(["true"])
            seconds = max(1, context.seconds / 5)
            with counts.counted(instance) as count:
                self.loop(instance, "compute", f"{seconds:g}")
            yield from count.per("compute", seconds, ("exits",), nothing)
            with counts.counted(instance) as count:
                self.loop(instance, "calls", "0", COUNTED_CALLS)
            yield from count.per("calls", COUNTED_CALLS, without=nothing)

    def seconds(self, instance, *words, timeout=None):
        """That a command takes, which is begun by the host."""
        begin = time.monotonic()
        instance.check(words, timeout)
        return time.monotonic() - begin

    def loop(self, instance, *words):
        """How often a second it did."""
        output = instance.check(["loop", *words])
        try:
            return float(output)
        except ValueError:
            raise Failure(f"loop {words[0]} printed no number: {output.strip()[:100]}") from None
