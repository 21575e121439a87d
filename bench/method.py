# SPDX-License-Identifier: Apache-2.0
"""How it is measured: rounds in which the engines take turns, warm-up first, and whatever ends it keeps what there is."""
import contextlib
import random
import time

import results
from engines.base import Failure
from workloads.base import Outcome, Sample, Series


def order(engines, seed, number, workload):
    """The turns of a round: at random, so that no engine always follows the same other."""
    turns = list(engines)
    random.Random(f"{seed} {number} {workload}").shuffle(turns)
    return turns


def plan(rounds, warm_up, workloads, engines, seed, once=()):
    """Every step of a run, as (number from 0, workload, engine); the first @warm_up rounds are not kept. Workloads that are
    named in @once are in the last round alone."""
    numbers = range(warm_up + rounds)
    return [(number, workload, engine) for number in numbers for workload in workloads
            if workload not in once or number == numbers[-1] for engine in order(engines, seed, number, workload)]


FAILURES = (Failure, OSError, MemoryError)


def why(failure):
    """One of FAILURES as a sentence."""
    match failure:
        case OSError():
            where = f" {failure.filename}" if failure.filename else ""
            return f"the host refused{where}: {failure.strerror or failure}"
        case MemoryError():
            return "the host has no memory left for it"
    return str(failure)


class Run:
    """@data grows while it runs; @save is called with it after each step. @live shows it."""

    def __init__(self, data, engines, workloads, context, live, save, time_limit=None, clock=time.monotonic):
        self.data, self.context, self.live, self.save = data, context, live, save
        self.engines = {each.name: each for each in engines}
        self.workloads = {each.name: each for each in workloads}
        self.time_limit, self.clock = time_limit, clock
        self.began = clock()

    def prepare(self, root):
        """Whoever fails in this is out, and said to be."""
        for name, engine in self.engines.items():
            self.live.preparing(name)
            try:
                engine.prepare(root)
            except FAILURES as failure:
                for workload in self.workloads:
                    self.fail(workload, name, 0, why(failure))
                # What there is of it is not to be beside the others; what cannot be cleaned up is told at the end.
                with contextlib.suppress(*FAILURES):
                    engine.clean()

    def fail(self, workload, engine, number, why):
        """Ends the engine's part in this workload."""
        self.data["failures"].append({"workload": workload, "engine": engine, "round": number, "why": why})
        begin = self.live.done + self.measuring
        self.live.plan[begin:] = [step for step in self.live.plan[begin:] if step[1:] != (workload, engine)]

    measuring = False

    def add(self, workload, engine, number, found):
        where = {"workload": workload, "engine": engine}
        match found:
            case Sample():
                self.data["samples"].append({**where, "metric": found.metric, "round": number, "value": found.value})
            case Series():
                self.data["series"].append({**where, "metric": found.metric, "round": number, "t": found.t,
                                            "value": found.value})
            case Outcome():
                self.data["outcomes"].append({**where, "what": found.what, "survived": found.survived, "words": found.words})

    def step(self, number, workload, engine):
        """One engine's turn; what it yields before it fails or is interrupted is kept."""
        kept = number - self.data["method"]["warm_up"]
        self.measuring = True
        try:
            with (self.engines[engine].turn(),
                  contextlib.closing(self.workloads[workload].measure(self.engines[engine], self.context)) as measured):
                for found in measured:
                    if kept >= 0:
                        self.add(workload, engine, kept, found)
        except FAILURES as failure:
            self.fail(workload, engine, max(0, kept), why(failure))
        finally:
            self.measuring = False

    def go(self, root):
        """All of the plan, or as much as can be. Returns why it is not complete, or None."""
        ended = results.BEGUN
        try:
            self.prepare(root)
            while self.live.done < len(self.live.plan):
                number, workload, engine = self.live.plan[self.live.done]
                if self.time_limit and self.clock() - self.began > self.time_limit:
                    ended = f"the time limit of {self.time_limit:g} s was reached"
                    break
                self.live.begin()
                self.step(number, workload, engine)
                self.live.end()
                self.save(self.data)
            else:
                ended = None
        except KeyboardInterrupt as interrupt:
            ended = str(interrupt) or results.INTERRUPTED
        finally:  # also after what nobody has thought of
            self.data["complete"], self.data["why_incomplete"] = ended is None, ended
            self.save(self.data)
        return ended

    def clean(self):
        left = []
        for engine in self.engines.values():
            # Instances: of which an interruption came in the midst of their start or end.
            for clean in (*(instance.stop for instance in engine.instances), engine.clean):
                try:
                    clean()
                except (Failure, OSError) as failure:
                    left.append(f"{engine.title} cannot be cleaned up: {failure}")
        if left:
            raise results.Problem("; ".join(left))
