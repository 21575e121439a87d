# SPDX-License-Identifier: Apache-2.0
"""Two results held against each other: what is worse in the second than in the first.

Some hundred comparisons are made at once, and of twenty things that are the same, one looks different at 95 %.
So what counts as worse or better is told by Holm's method over all of them; what differs taken by itself alone
is shown as "perhaps" and decides nothing.
"""
import dataclasses

import stats
import words

SAME, WORSE, OTHER = 0, 1, 2  # exit statuses
MACHINE = {"cpu": "processor", "cpus": "CPUs", "memory_bytes": "memory", "kernel": "kernel",
           "governor": "frequency governor", "virtualisation": "virtualisation", "not_counted": "not counted", "disk": "disk",
           "file_system": "file system"}
METHOD = {"rounds": "rounds", "warm_up": "warm-up rounds", "dropped_caches": "caches dropped for", "short": "short",
          "seconds": "seconds of each measurement", "cpus": "CPUs of an instance", "memory_bytes": "memory of an instance"}


@dataclasses.dataclass
class Row:
    workload: dict
    metric: dict
    engine: dict
    a: list
    b: list
    found: stats.Ratio | stats.Reason  # what b is of a
    verdict: str = ""  # "worse", "better", "different", "perhaps", "same", "untold"


@dataclasses.dataclass
class Comparison:
    rows: list
    machine: list  # sentences: what differs in the machine, in the method and in engines
    method: list
    engines: list
    lost: list  # what failed in B alone, and what survived in A alone
    outcomes: int  # how many both have
    refused: list  # what is not compared, and why
    too_few: str | None  # why nothing could be found at all

    def of(self, *verdicts):
        return [row for row in self.rows if row.verdict in verdicts]

    @property
    def status(self):
        if self.lost or not self.too_few and self.of("worse"):
            return WORSE
        if not self.rows:
            return SAME if self.outcomes else OTHER
        return OTHER if self.too_few else SAME


def compare(a, b, workloads=(), engines=()):
    """The Comparison of two Results; of these names of workloads and engines only, where there are any."""
    refused, rows = [], []
    names = [each["name"] for each in a["workloads"] if not workloads or each["name"] in workloads]
    if a["method"]["short"] != b["method"]["short"]:
        refused.append(f"all that was measured: {'A' if a['method']['short'] else 'B'} alone is a short run, with less to do")
        names = []
    for name in names:
        rows += _workload_rows(a, b, name, engines, refused)
    _judge(rows)
    return Comparison(rows, _machine_differences(a, b), _method_differences(a, b), _engine_differences(a, b),
                      _lost(a, b, workloads, engines), len(_outcomes(a, names, engines) & _outcomes(b, names, engines)), refused,
                      _too_few(rows))


def _outcomes(results, workloads, engines):
    """(workload, engine, what) of all that was tried."""
    return {(each["workload"], each["engine"], each["what"]) for each in results["outcomes"] if each["survived"] is not None
            and each["workload"] in workloads and (not engines or each["engine"] in engines)}


def _lost(a, b, workloads, engines):
    """Sentences."""
    def chosen(each):
        return ((not workloads or each["workload"] in workloads) and (not engines or each["engine"] in engines)
                and a.workload(each["workload"]) and a.engine(each["engine"]))

    def where(each):
        return f"{a.workload(each['workload'])['title']}, {a.engine(each['engine'])['title']}"

    before = {(each["workload"], each["engine"]) for each in a["failures"]}
    found = [f"{where(each)}: failed in B: {each['why']}" for each in b["failures"]
             if chosen(each) and (each["workload"], each["engine"]) not in before]
    survived = {(each["workload"], each["engine"], each["what"]) for each in a["outcomes"] if each["survived"]}
    found += [f"{where(each)}, {each['what']}: survived in A, and not in B: {each['words']}" for each in b["outcomes"]
              if chosen(each) and each["survived"] is False and (each["workload"], each["engine"], each["what"]) in survived]
    return list(dict.fromkeys(found))


def _workload_rows(a, b, name, engines, refused):
    one, other = a.workload(name), b.workload(name)
    if not other:
        refused.append(f"{one['title']}: only A has it")
        return []
    if one["root"] != other["root"]:
        refused.append(f"{one['title']}: A and B ran programs from different root file systems "
                       f"({one['root'][:12]} and {other['root'][:12]})")
        return []
    rows, times = [], False
    for metric in a.metrics(name):
        match = next((each for each in b.metrics(name) if each["metric"] == metric["metric"]), None)
        if not match:
            refused.append(f"{one['title']}, {metric['title']}: only A has it")
        elif (match["unit"], match["better"]) != (metric["unit"], metric["better"]):
            refused.append(f"{one['title']}, {metric['title']}: A has it in {metric['unit']}, B in {match['unit']}")
        elif a.emulated != b.emulated and not metric["carries_over"]:
            times = True
        else:
            rows += _metric_rows(a, b, one, metric, engines, refused)
    if times:
        refused.append(f"{one['title']}, what does not carry over: virtualisation is emulated in "
                       f"{'A' if a.emulated else 'B'} alone")
    return rows


def _metric_rows(a, b, workload, metric, engines, refused):
    key = (workload["name"], metric["metric"])
    chosen = [each for each in a.engines_of(*key) if not engines or each["name"] in engines]
    names = {each["name"] for each in b.engines_of(*key)}
    # Of those that have others of the workload: what B has nothing at all of is told elsewhere.
    lacking = [each["title"] for each in chosen if each["name"] in b.measured(workload["name"]) - names]
    if lacking:
        refused.append(f"{workload['title']}, {metric['title']}: only A has it of {', '.join(lacking)}")
    rows = []
    for engine in chosen:
        if engine["name"] in names:
            before, after = a.rounds(*key, engine["name"]), b.rounds(*key, engine["name"])
            rows.append(Row(workload, metric, engine, before, after, stats.ratio_or_reason(after, before)))
    return rows


def _judge(rows):
    """Give each row its verdict."""
    told = [row for row in rows if _ratio(row)]
    counts = stats.holm([_ratio(row).chance for row in told])
    for row in rows:
        row.verdict = "same" if _ratio(row) or row.found.words == stats.EXACTLY else "untold"
    for row, certain in zip(told, counts):
        if isinstance(row.found, stats.Ratio):
            row.verdict = _direction(row) if certain else "perhaps"


def _ratio(row):
    return row.found if isinstance(row.found, stats.Ratio) else row.found.ratio


def _direction(row):
    if not row.metric["better"]:
        return "different"
    return "worse" if (row.found.value > 1) == (row.metric["better"] == "lower") else "better"


def _too_few(rows):
    """Why none of @rows could have been found to differ, however much it does; or None."""
    told = [row for row in rows if _ratio(row)]
    if not rows:
        return None
    most = max(min(len(row.a), len(row.b)) for row in rows)
    needed = max(stats.LEAST, stats.least_values(1 - (1 - stats.CONFIDENCE) / max(1, len(told))))
    if most >= needed:
        return None
    return (f"{words.counted(most, 'round')} {'is' if most == 1 else 'are'} too few to find anything in {len(rows)} comparisons at "
            f"once: make {needed} or more, or compare less (--workload, --engine)")


# ---- what differs around them ----

def _show(key, value):
    if key == "memory_bytes":
        return words.breaking(words.show(value, "bytes"))
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) or "none" if isinstance(value, list) else str(value)


def _differences(one, other, titles):
    return [f"{title}: {_show(key, one[key])} in A, {_show(key, other[key])} in B" for key, title in titles.items()
            if one[key] != other[key]]


def _machine_differences(a, b):
    one, other = dict(a["machine"]), dict(b["machine"])
    # What the firmware keeps for itself changes from boot to boot.
    if abs(one["memory_bytes"] - other["memory_bytes"]) < 0.02 * one["memory_bytes"]:
        other["memory_bytes"] = one["memory_bytes"]
    found = _differences(one, other, MACHINE)
    for kind, title in (("mitigations", "mitigation of {}"), ("versions", "{}")):
        names = sorted({*one[kind], *other[kind]})
        found += _differences({name: one[kind].get(name, "none") for name in names},
                              {name: other[kind].get(name, "none") for name in names},
                              {name: title.format(name) for name in names})
    return found


def _method_differences(a, b):
    return _differences(a["method"], b["method"], METHOD)


def _engine_differences(a, b):
    found = []
    for engine in a["engines"]:
        other = b.engine(engine["name"])
        if not other:
            found.append(f"{engine['title']}: only A has it")
            continue
        missing = [name for name, each in (("A", engine), ("B", other)) if each["missing"]]
        if missing:
            found.append(f"{engine['title']}: missing in {' and '.join(missing)}")
        elif engine["version"] != other["version"]:
            found.append(f"{engine['title']}: {engine['version']} in A, {other['version']} in B")
    found += [f"{engine['title']}: only B has it" for engine in b["engines"] if not a.engine(engine["name"])]
    return found


# ---- the page ----

def _row_line(comparison, row):
    scale = words.Scale(row.metric["unit"], [stats.median(row.a), stats.median(row.b)])
    what, interval, _ = words.difference(row.found, row.metric["unit"])
    line = (f"{row.workload['title']}, {row.engine['title']}: {row.metric['title']}: "
            f"{scale.text(stats.median(row.a))} in A, {scale.text(stats.median(row.b))} in B: "
            f"{what} ({interval})")
    # The bare host in both tells whether it is the machine that has changed.
    host = next((each for each in comparison.rows if each.engine["name"] == "host" != row.engine["name"]
                 and each.metric is row.metric), None)
    if host and isinstance(host.found, stats.Ratio):
        what, interval, _ = words.difference(host.found, host.metric["unit"])
        line += f"; but the host itself {what} ({interval})"
    return words.breaking(line)


def print_comparison(comparison, a, b, out):
    """What a user reads, with @a and @b the Results."""
    for name, each in (("A", a), ("B", b)):
        machine = each["machine"]
        print(f"{name}: {each['made']}, {machine['cpu']}, virtualisation: {machine['virtualisation']}, "
              f"{words.counted(each['method']['rounds'], 'round')}", file=out)
        if each.interrupted:
            print(f"   {each.interrupted}", file=out)
        if each.emulated:
            print("   Virtualisation is emulated: its times say nothing of real hardware.", file=out)
    for heading, lines in (("The machines differ", comparison.machine), ("The methods differ", comparison.method),
                           ("The engines differ", comparison.engines), ("Lost in B", comparison.lost),
                           ("Not compared", comparison.refused)):
        if lines:
            print(f"\n{heading}:", *(f"  {line}" for line in lines), sep="\n", file=out)
    for heading, verdict in (("Worse in B", "worse"), ("Better in B", "better"), ("Different in B", "different"),
                             ("Perhaps different, if one looked at nothing else", "perhaps")):
        rows = comparison.of(verdict)
        if rows:
            print(f"\n{heading}:", *(f"  {_row_line(comparison, row)}" for row in rows), sep="\n", file=out)
    print(f"\n{_summary(comparison)}", file=out)


def _summary(comparison):
    if not comparison.rows:
        if not comparison.outcomes:
            return "A and B cannot be compared: they have nothing measured in common."
        return f"Of {words.counted(comparison.outcomes, 'thing')} that instances did to the next one, " + (
            "some are worse in B." if comparison.lost else "none is worse in B.")
    if comparison.too_few:
        return f"Not told: {comparison.too_few}."
    counts = [(len(comparison.of(verdict)), text) for verdict, text in
              (("worse", "worse in B"), ("better", "better"), ("different", "different"),
               ("perhaps", "perhaps different"), ("same", "with no difference beyond the spread"),
               ("untold", "that cannot be told"))]
    return (f"{len(comparison.rows)} comparisons: "
            + ", ".join(f"{count} {text}" for count, text in counts if count or text.startswith("worse")) + ".")
