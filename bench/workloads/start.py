# SPDX-License-Identifier: Apache-2.0
"""How long a start takes: until the workload's first line arrives, and until it answers over TCP."""
import concurrent.futures
import contextlib

from engines.base import Failure
from workloads import counts
from workloads.base import Metric, Sample, Workload, ask, free_port


class Start(Workload):
    name, title = "start", "Start"
    question = "How long until the workload runs, and until it answers?"
    metrics = (Metric("first_instruction", "Start to first instruction", "s"),
               Metric("first_answer", "Start to first answered TCP request", "s"),
               *counts.metrics("first_instruction", "one start", carries=("exits", "guest_instructions")))

    def metrics_of(self, context):
        return [*self.metrics, *(Metric(f"first_answer_{number}", f"{number} at once, each to its first answer", "s")
                                 for number in context.at_once)]

    def measure(self, engine, context):
        port = free_port()
        with engine.start(context.spec(["answer", port], port=port)) as instance:
            yield Sample("first_instruction", instance.first_instruction())
            instance.line("listening")
            yield Sample("first_answer", ask(instance, port, context.timeout) - instance.begin)
        for number in context.at_once:
            for seconds in self.at_once(engine, context, number):
                yield Sample(f"first_answer_{number}", seconds)
        yield from self.counts(engine, context)

    def counts(self, engine, context):
        """Of one start to its first instruction. It is idle afterwards, so that exits are none until they are read."""
        with contextlib.ExitStack() as stack:
            with counts.counted(engine=engine) as count:
                instance = stack.enter_context(engine.start(context.spec(["answer"], port=free_port())))
                instance.first_instruction()
                count.add(instance)
            yield from count.per("first_instruction", 1)

    def at_once(self, engine, context, number):
        """Each one's time to its first answer. Each is asked as soon as it listens."""
        def answered(instance, port):
            instance.line("listening", context.timeout * (1 + number / 5))
            return ask(instance, port, context.timeout) - instance.begin

        # The instances end first, and with them whoever waits for one.
        with concurrent.futures.ThreadPoolExecutor(number) as pool, contextlib.ExitStack() as stack:
            started, waiting = [], []
            for _ in range(number):
                port = free_port()
                started.append(stack.enter_context(engine.start(context.spec(["answer", port], port=port))))
                waiting.append(pool.submit(answered, started[-1], port))
            # All or none: those that answered before one failed had less beside them.
            found = [each.result() for each in waiting]
            if not all(instance.alive() for instance in started):
                raise Failure(f"of {number} instances at once, some ended by themselves")
        yield from found
