# SPDX-License-Identifier: Apache-2.0
"""What a terminal shows of a run: where it is, how long it will take, and the medians so far."""
import shutil
import time

import stats
import words

LABEL, COLUMN = 32, 17  # characters
EMULATED = "Virtualisation is emulated here: times and rates say nothing of real hardware; sizes do, and some of the counts."
CLEAR = "\r\x1b[J"


def cell(values, scale):
    """The median, and half of its interval."""
    if not values:
        return "-"
    middle, interval = stats.median(values), stats.median_interval(values)
    shown = words.breaking(scale.text(middle))
    if not interval or interval[0] == interval[1] or middle <= 0:
        return shown
    half = 100 * (interval[1] - interval[0]) / 2 / middle
    return f"{shown} ±{half:.{0 if half >= 9.5 else 1}f}%"


def clip(line, width):
    return line if len(line) <= width else f"{line[:width - 1]}…"


def workload_table(results, name, width):
    """Lines: a row for each metric of the workload, and a column for each engine; more such where they are too many."""
    metrics = [each for each in results.metrics(name) if results.engines_of(name, each["metric"])]
    engines = [each for each in results["engines"] if not each["missing"]
               and any(results.values(name, metric["metric"], each["name"]) for metric in metrics)]
    if not metrics:
        return []
    lines = []
    columns = max(1, (width - LABEL) // COLUMN)
    for start in range(0, len(engines), columns):
        block = engines[start:start + columns]
        title = results.workload(name)["title"] if start == 0 else ""
        lines.append(f"{clip(title, LABEL - 1):{LABEL}}" + "".join(f"{clip(each['title'], COLUMN - 1):>{COLUMN}}"
                                                                  for each in block))
        for metric in metrics:
            rounds = [results.rounds(name, metric["metric"], each["name"]) for each in block]
            scale = words.Scale(metric["unit"], [stats.median(each) for each in rounds if each])
            lines.append(f"  {clip(metric['title'], LABEL - 3):{LABEL - 2}}"
                         + "".join(f"{clip(cell(each, scale), COLUMN - 1):>{COLUMN}}" for each in rounds))
    return [clip(line.rstrip(), width) for line in lines]


def whole_table(results, width):
    """Lines about all that there is."""
    lines = []
    for workload in results["workloads"]:
        table = workload_table(results, workload["name"], width)
        lines += ["", *table] if lines and table else table
    dead = [f"  {results.engine(each['engine'])['title']}, {each['what']}: the next instance did not survive: {each['words']}"
            for each in results["outcomes"] if each["survived"] is False]
    failed = [f"  {results.where(each)}: {each['why']}" for each in results["failures"]]
    missing = [f"  {each['title']}: {each['missing']}" for each in results["engines"] if each["missing"]]
    for heading, found in (("Containment", list(dict.fromkeys(dead))), ("Failed", failed), ("Not measured", missing)):
        if found:
            lines += ["", heading, *found]
    if results.interrupted:
        lines += ["", results.interrupted]
    if results.emulated:
        lines += ["", EMULATED]
    return lines


def heading(results):
    """What has to be known before any figure is read."""
    machine = results["machine"]
    line = ", ".join((machine["cpu"], f"{machine['cpus']} CPUs", f"Linux {machine['kernel'].split()[0]}",
                      f"virtualisation: {machine['virtualisation']}", words.mitigations(machine["mitigations"])))
    return ([EMULATED] if results.emulated else []) + [line]


def duration(seconds):
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class Live:
    """A run as it goes. @plan: every step, as (round, workload, engine); @results grows in between.

    On a terminal the table of the workload at hand is drawn anew after each step, above a line that says where it
    is; elsewhere there is a line for each round of a workload. finish() leaves the whole table behind, whatever
    ended the run.
    """

    def __init__(self, results, plan, out, clock=time.monotonic):
        self.results, self.plan, self.out, self.clock = results, list(plan), out, clock
        self.terminal = out.isatty()
        self.took = {}  # (workload, engine): seconds of each step so far
        self.done = 0
        self.drawn = 0  # lines above the cursor that are to be drawn over
        self.began = None

    def width(self):
        return shutil.get_terminal_size((100, 24)).columns if self.terminal else 100

    def remaining(self):
        """Seconds, or None before anything is known: of steps like those that were made, the mean of theirs."""
        every = [each for steps in self.took.values() for each in steps]
        if not every:
            return None
        usual = sum(every) / len(every)
        return sum(sum(steps) / len(steps) if (steps := self.took.get(step[1:])) else usual
                   for step in self.plan[self.done:])

    def preparing(self, engine):
        """Before the first step, which may take a while."""
        line = f"preparing {self.results.engine(engine)['title']}"
        print(self.erase() + line if self.terminal else line, end="" if self.terminal else "\n", file=self.out, flush=True)

    def begin(self):
        """The next step of the plan begins."""
        self.began = self.clock()
        self.draw()

    def end(self):
        """It is over, well or not."""
        number, workload, engine = self.plan[self.done]
        self.took.setdefault((workload, engine), []).append(self.clock() - self.began)
        self.done += 1
        last = self.done == len(self.plan) or self.plan[self.done][:2] != (number, workload)
        if not self.terminal and last:
            print(self.status(number, workload), file=self.out, flush=True)

    def status(self, number, workload, engine=None):
        left = self.remaining()
        rounds = len({step[0] for step in self.plan})
        title = self.results.workload(workload)["title"]
        parts = [f"round {number + 1} of {rounds}", title if not engine else
                 f"{title}, {self.results.engine(engine)['title']}", f"{self.done} of {len(self.plan)} steps",
                 f"about {duration(left)} left" if left is not None else "time left not known yet"]
        return " · ".join(parts)

    def draw(self):
        if not self.terminal:
            return
        number, workload, engine = self.plan[self.done]
        width = self.width()
        # What was measured last is left to be read until there is something of what is measured now.
        before = self.plan[max(0, self.done - 1)][1]
        lines = workload_table(self.results, workload, width) or workload_table(self.results, before, width)
        lines = lines[:shutil.get_terminal_size((100, 24)).lines - 2]
        lines.append(clip(self.status(number, workload, engine), width - 1))
        self.out.write(self.erase() + "\n".join(lines))
        self.out.flush()
        self.drawn = len(lines) - 1

    def erase(self):
        return (f"\x1b[{self.drawn}A" if self.drawn else "") + CLEAR

    def finish(self):
        if self.terminal:
            self.out.write(self.erase())
            self.drawn = 0
        print(*whole_table(self.results, self.width()), sep="\n", file=self.out, flush=True)
