# SPDX-License-Identifier: Apache-2.0
"""What computing costs: where only the processor is asked, where the kernel is, and where both are."""
import time

from engines.base import Failure
from workloads.base import Metric, Sample, Workload


class Cpu(Workload):
    name, title = "cpu", "CPU"
    question = "What does computing cost?"
    metrics = (Metric("compute", "A compute loop: steps", "1/s", "higher"),
               Metric("calls", "A loop of system calls: calls", "1/s", "higher"),
               Metric("compile", "A compile (gcc -O2)", "s"))

    def measure(self, engine, context):
        with engine.start(context.spec(["answer"])) as instance:
            instance.first_instruction()
            for name in ("compute", "calls"):
                output = instance.check(["loop", name, f"{context.seconds:g}"])
                try:
                    yield Sample(name, float(output))
                except ValueError:
                    raise Failure(f"loop {name} printed no number: {output.strip()[:100]}") from None
            # From the host's side: what the command that enters the instance takes is taken off again.
            begin = time.monotonic()
            instance.check(["true"])
            enter = time.monotonic() - begin
            begin = time.monotonic()
            instance.check(["gcc", "-O2", *["-DSHORT"] * context.short, "-o", "/tmp/compiled", "/usr/src/compiled.c"], context.timeout * 5)
            yield Sample("compile", max(0.0, time.monotonic() - begin - enter))
