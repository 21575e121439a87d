# SPDX-License-Identifier: Apache-2.0
"""Results as one page of HTML that needs nothing besides: the answers first, then what they rest on.

Every plot is a column of a table that says the same in figures, so whoever does not see it loses nothing.
"""
import html
import itertools
import pathlib

import stats
import svg
import words

CSS = pathlib.Path(__file__).with_name("page.css")
# Whose kernel a workload runs on, which is what the question is about.
KEY = {"own": "a kernel of its own, behind the wall", "vm": "one kernel for all containers of a VM, behind the wall",
       "shared": "the host's kernel, shared", "host": "no isolation"}
# What kvmbox is held against in sentences: the first of these that was measured.
SUBJECT = "kvmbox"
REFERENCES = ("lxc", "lxc-hardened", "runc", "docker", "host", "qemu-microvm")
NOT_CARRIED = "emulated: does not carry over"
BINS = 120
MANY = 20  # values of which the distribution is drawn, and not each
STEPS = " Each curve is as high as the share of values to its left."
BESIDE = (' data-before="alone "', ' data-before="beside it "')  # where there is no head of a column


def text(value):
    return html.escape(str(value), quote=True)


def capital(sentence):
    return sentence[:1].upper() + sentence[1:]


def share(number):
    return f"{100 * number:.0f}{words.PERCENT}"


def listed(things):
    return " and ".join(things) if len(things) < 3 else f"{', '.join(things[:-1])} and {things[-1]}"


def pair(engines):
    """Of these engines, which is held against which: (subject, reference), or None."""
    by_name = {each["name"]: each for each in engines}
    subject = by_name.get(SUBJECT) or next((each for each in engines if each["kernel"] == "own"), None)
    subject = subject or next(iter(engines), None)
    names = [*REFERENCES, *by_name]
    reference = next((by_name[name] for name in names if name in by_name and by_name[name] is not subject), None)
    return (subject, reference) if reference else None


# ---- answers ----

def finding(results, metric):
    """What the subject is of the reference: (found, sentence), or (None, why there is none)."""
    key = metric["workload"], metric["metric"]
    engines = results.engines_of(*key)
    both = pair(engines)
    if not both:
        only = f"only {engines[0]['title']} was measured" if engines else "not measured"
        return None, f"{metric['title']}: {only}"
    subject, reference = both
    values = [results.rounds(*key, each["name"]) for each in both]
    found = stats.ratio_or_reason(*values)
    if isinstance(found, stats.Reason) and not found.ratio and found.words != stats.EXACTLY:
        middles = [stats.median(each) for each in values]
        scale = words.Scale(metric["unit"], middles)
        return found, (f"{subject['title']} {scale.text(middles[0])}, {reference['title']} {scale.text(middles[1])} ({found.words})")
    return found, words.sentence(subject["title"], reference["title"], found, metric["unit"])


def full_finding(results, metric):
    """With what it is about."""
    found, sentence = finding(results, metric)
    return f"{metric['title']}: {sentence}." if found else f"{sentence}."


def is_worse(found, metric):
    return (found.value > 1) == (metric["better"] == "lower")


def answer(results, workload):
    """The answer of a workload: sentences, each with whether it carries over."""
    metrics = [each for each in results.metrics(workload["name"])
               if results.engines_of(each["workload"], each["metric"])]
    outcomes = containment_answer(results, workload)
    if not metrics:
        return [(outcomes or "Not measured.", True)]
    # Where times are of an emulated host, what holds on any other comes first.
    metrics.sort(key=lambda each: (not each["better"], results.emulated and not each["carries_over"]))
    first, others = metrics[0], metrics[1:]
    parts = [(full_finding(results, first), first["carries_over"])]
    groups = [others]
    if results.emulated:
        groups = [[each for each in others if each["carries_over"] == carried] for carried in (True, False)]
    for group in groups:
        parts += [(each, group[0]["carries_over"]) for each in summaries(results, group)]
    return parts + ([(outcomes, True)] if outcomes else [])


def summaries(results, metrics):
    """How it is in these others: a sentence for each engine that the subject is held against."""
    by_reference = {}
    for metric in metrics:
        both = pair(results.engines_of(metric["workload"], metric["metric"]))
        by_reference.setdefault(both[1]["title"] if both else None, []).append((finding(results, metric)[0], metric))
    sentences = [summary(reference, found) if len(found) > 1 else full_finding(results, found[0][1])
                 for reference, found in by_reference.items()]
    return [each for each in sentences if each]


def summary(reference, found):
    """@found: for each measure what finding() has found, and the measure; @reference: None where there is nobody."""
    ratios = [(each, metric) for each, metric in found if isinstance(each, stats.Ratio)]
    told = [(each, metric) for each, metric in ratios if metric["better"]]
    worse = [(each, metric) for each, metric in told if is_worse(each, metric)]
    same = sum(isinstance(each, stats.Reason) and (each.ratio is not None or each.words == stats.EXACTLY)
               for each, _ in found)
    better, different = len(told) - len(worse), len(ratios) - len(told)
    parts = []
    if worse:
        most, metric = max(worse, key=lambda row: max(row[0].value, 1 / row[0].value))
        what, interval, _ = words.difference(most, metric["unit"])
        parts.append(f"worse in {len(worse)} ({'the most ' if len(worse) > 1 else ''}in “{metric['title']}”: "
                     f"{what}, {interval})")
    if better:
        parts.append(f"better in {better}")
    if same:
        parts.append(f"no difference beyond the spread in {same}")
    if different:
        parts.append(f"different, but neither better nor worse, in {different}")
    rest = len(found) - len(ratios) - same
    if rest:
        parts.append(f"not told in {rest}")
    if not parts:
        return ""
    against = f", against {reference}" if reference else ""
    return f"Of {words.counted(len(found), 'more measure')}{against}: {listed(parts)}."


def survivals(results, workload):
    """{engine: {what: [outcomes]}}"""
    table = {}
    for each in results["outcomes"]:
        if each["workload"] == workload["name"]:
            table.setdefault(each["engine"], {}).setdefault(each["what"], []).append(each)
    return table


def containment_answer(results, workload):
    table = survivals(results, workload)
    lost = {}
    for engine in results["engines"]:
        if engine["name"] in table:
            whats = table[engine["name"]].items()
            lost.setdefault((tuple(what for what, each in whats if any(one["survived"] is False for one in each)),
                             tuple(what for what, each in whats if all(one["survived"] is None for one in each))),
                            []).append(engine["title"])
    sentences = []
    for (whats, untried), titles in sorted(lost.items(), key=lambda each: [len(part) for part in each[0]]):
        if whats:
            sentence = f"with {listed(titles)} it did not survive: {listed(list(whats))}"
        else:
            sentence = f"the next instance survived everything{' that was tried' if untried else ''} with {listed(titles)}"
        sentences.append(sentence + (f" (not tried: {listed(list(untried))})" if untried else ""))
    return f"{capital('; '.join(sentences))}." if sentences else ""


# ---- above everything ----

def notices(results):
    """What has to be known before anything is read."""
    found = []
    if results.emulated:
        measured = [each for each in results["metrics"] if results.engines_of(each["workload"], each["metric"])]
        carried = [each["title"] for each in measured if each["carries_over"]]
        carried += ["what survived"] if results["outcomes"] else []
        others = sum(not each["carries_over"] for each in measured)
        items = [f"Carry over: {'; '.join(carried) or 'nothing of this run'}."]
        if others:
            items.append(f"Do not carry over: the other {others} measures, each marked “{NOT_CARRIED}”.")
        found.append(
            "<strong>Virtualisation is emulated on this machine</strong>"
            f" ({text(results['machine']['virtualisation_note'].rstrip('.'))}): what survives, sizes and those counts that are named"
            " here hold on real hardware, too (but there are fewer exits, in all engines with VMs, where the processor delivers"
            " interrupts to guests by itself); times, rates and other counts do not, nor do ratios of them."
            f"<ul>{''.join(f'<li>{text(item)}</li>' for item in items)}</ul>")
    elif results["machine"]["virtualisation"] == "nested":
        found.append("<strong>Virtualisation is nested on this machine</strong>"
                     f" ({text(results['machine']['virtualisation_note'].rstrip('.'))}): what leaves a guest costs more than"
                     " on a machine of its own, and so VMs look worse here.")
    elif results["machine"]["virtualisation"] == "none":
        found.append("<strong>This machine has no virtualisation</strong>: engines that need it were not measured.")
    if results.interrupted:
        found.append(f"<strong>Not complete.</strong> {text(results.interrupted)}")
    return "".join(f'<div class="notice">{each}</div>' for each in found)


def facts(results):
    machine, method = results["machine"], results["method"]
    mhz = machine["frequency_mhz"]
    parts = [
        machine["cpu"], f"{machine['cpus']} CPUs", words.show(machine["memory_bytes"], "bytes"),
        f"Linux {machine['kernel']}", f"virtualisation: {machine['virtualisation']}",
        f"governor: {machine['governor'] or 'not known'}", words.mitigations(machine["mitigations"]),
        f"{min(mhz):.0f} to {max(mhz):.0f} MHz" if mhz and min(mhz) != max(mhz) else f"{mhz[0]:.0f} MHz" if mhz else "",
        ", ".join(f"{name} {version}" for name, version in machine["versions"].items()),
        words.counted(method["rounds"], "round"), results["made"].replace("T", " ").replace("Z", " UTC")]
    return f'<p class="facts">{" · ".join(text(part) for part in parts if part)}</p>'


def answers(results):
    rows = []
    for workload in results["workloads"]:
        first, *more = answer(results, workload)
        shown = [(text(first[0]), first[1]), *((f'<span class="more">{text(each)}</span>', held) for each, held in more)]
        # One mark for those that follow each other.
        marked = (" ".join(each for each, _ in group) + tag(results, held)
                  for held, group in itertools.groupby(shown, lambda each: each[1]))
        rows.append(f'<div><dt><a href="#{text(workload["name"])}">{text(workload["title"])}</a></dt><dd>{" ".join(marked)}</dd></div>')
    missing = [f"{each['title']} ({each['missing'].rstrip('.')})" for each in results["engines"] if each["missing"]]
    if missing:
        rows.append(f"<div><dt>Not measured</dt><dd>{text('; '.join(missing))}.</dd></div>")
    if results["failures"]:
        count = len(results["failures"])
        rows.append(f"<div><dt>Failed</dt><dd>{words.counted(count, 'measurement')}; what was measured is kept, and "
                    '<a href="#failures">why</a> is told below.</dd></div>')
    kinds = {each["kernel"] for each in results["engines"]}
    signs = "".join(f"<span>{svg.sign(kind)} {text(what)}</span>" for kind, what in KEY.items() if kind in kinds)
    return (f'<section id="answers"><h2>Answers</h2><dl class="answers">{"".join(rows)}</dl><p class="key">{signs}'
            "<span>Small dots: every value. Line with ends: where the median is, with a confidence of "
            f"{share(stats.CONFIDENCE)}.</span></p></section>")


# ---- plots ----

def against(results, metric, subject, engine):
    key = metric["workload"], metric["metric"]
    if not subject or subject["name"] == engine["name"]:
        return ""
    return words.brief(stats.ratio_or_reason(results.rounds(*key, subject["name"]), results.rounds(*key, engine["name"])))


def tag(results, carried):
    return "" if carried or not results.emulated else f' <span class="tag">{NOT_CARRIED}</span>'


def row_class(engine, subject):
    return ' class="subject"' if subject and subject["name"] == engine["name"] else ""


def name_cell(engine):
    return f'<th scope="row" role="rowheader" class="name">{svg.sign(engine["kernel"])}{text(engine["title"])}</th>'


def measures(heads, axis, rows):
    """The table of a plot: @heads are (class, words) before and after the plot, which is headed by its axis."""
    before, after = heads

    def cells(each):
        return "".join(f'<th scope="col" role="columnheader" class="{name}">{text(what)}</th>' for name, what in each)

    return ('<table class="measures" role="table"><thead role="rowgroup"><tr role="row">' + cells(before)
            + f'<th scope="col" role="columnheader" class="plot">{axis}</th>' + cells(after)
            + f'</tr></thead><tbody role="rowgroup">{"".join(rows)}</tbody></table>')


def ticks_for(axis, scale):
    """As many as have room for their numbers on a phone."""
    def scaled(value):
        return value * scale.stored / scale.factor

    ticks = axis.ticks(scaled)
    return ticks if sum(len(scale.tick(each, False)) for each in ticks) < 14 else axis.ticks(scaled, 3)


def metric_figure(results, metric):
    key = metric["workload"], metric["metric"]
    engines = results.engines_of(*key)
    if not engines:
        return ""
    both = pair(engines)
    subject = both[0] if both else None
    values = {each["name"]: [value for _, value in results.values(*key, each["name"])] for each in engines}
    rounds = {each["name"]: results.rounds(*key, each["name"]) for each in engines}
    bar = metric["better"] == "higher"
    many = not bar and all(len(values[name]) >= max(MANY, 2 * len(rounds[name])) for name in values)
    axis = svg.axis_for(list(values.values()), bar)
    scale = words.Scale(metric["unit"], [stats.median(each) for each in rounds.values()])
    ticks = ticks_for(axis, scale)
    heading = svg.axis_row(axis, ticks, scale.tick)
    rows = []
    for engine in engines:
        mine = rounds[engine["name"]]
        middle, interval = stats.median(mine), stats.median_interval(mine)
        shown = scale.interval(interval) if interval else stats.TOO_FEW
        all_of_it = values[engine["name"]]
        said = f"{engine['title']}: median {scale.text(middle)}, {shown}; {words.counted(len(all_of_it), 'value')}"
        if len(all_of_it) > 1:
            said += f", of which nine in ten are at most {scale.text(stats.quantile(all_of_it, 0.9))}"
        ratio = against(results, metric, subject, engine)
        rows.append(
            f"<tr role=\"row\"{row_class(engine, subject)}>{name_cell(engine)}"
            f'<td role="cell" class="value">{text(scale.text(middle))}</td>'
            f'<td role="cell" class="range">{text(shown)}</td><td role="cell" class="plot">'
            + (svg.shares_row(axis, ticks, all_of_it, middle, interval, engine["kernel"], said) if many else
               svg.values_row(axis, ticks, all_of_it, middle, interval, engine["kernel"], bar, said))
            + f'</td><td role="cell" class="against" data-before="{text(subject["title"] if subject else "")} against it: ">'
            f"{text(ratio)}</td></tr>")
    found, sentence = finding(results, metric)
    sentence = capital(sentence) if isinstance(found, stats.Reason) and found.ratio else sentence
    better = {"lower": "less is better", "higher": "more is better"}.get(metric["better"], "")
    notes = [better, "logarithmic" if axis.log else ""]
    note = ", ".join(filter(None, notes))
    table = measures(((("name", "Engine"), ("value", "Median"), ("range", f"{share(stats.CONFIDENCE)} interval")),
                      (("against", f"{subject['title']} against it" if subject and len(engines) > 1 else ""),)), heading, rows)
    small = f" <small>({text(note)})</small>" if note else ""
    lacking = [each["title"] for each in results["engines"] if each["name"] in results.measured(key[0]) - set(rounds)]
    return (f"<figure><figcaption><h3>{text(metric['title'])}{small}{tag(results, metric['carries_over'])}</h3>"
            f'<p class="finding">{text(sentence)}.{STEPS if many else ""}</p></figcaption>{table}'
            + (f'<p class="finding">There is no such figure of {text(listed(lacking))}.</p>' if lacking else "") + "</figure>")


def bins(series):
    """Of several rounds of one curve, [(t, least, median, most)] for steps of time that all of them share."""
    low = min(each["t"][0] for each in series)
    high = max(each["t"][-1] for each in series)
    count = max(1, min(BINS, max(len(each["t"]) for each in series)))
    width = (high - low) / count or 1
    slots = {}
    for each in series:
        for t, value in zip(each["t"], each["value"]):
            slots.setdefault(min(count - 1, int((t - low) / width)), []).append(value)
    return [(low + (slot + 0.5) * width, min(values), stats.median(values), max(values))
            for slot, values in sorted(slots.items())]


def series_figure(results, metric):
    by_engine = {}
    for each in results["series"]:
        if (each["workload"], each["metric"]) == (metric["workload"], metric["metric"]) and each["t"]:
            by_engine.setdefault(each["engine"], []).append(each)
    if not by_engine:
        return ""
    engines = [each for each in results["engines"] if each["name"] in by_engine]
    both = pair(engines)
    subject = both[0] if both else engines[0]
    points = {name: bins(each) for name, each in by_engine.items()}
    every = [point for each in points.values() for point in each]
    times = [t for each in by_engine.values() for one in each for t in one["t"]]
    across = svg.Axis(min(times), max(times) if max(times) > min(times) else min(times) + 1)
    least, most = min(point[1] for point in every), max(point[3] for point in every)
    log = least > 0 and most > 20 * least
    up = svg.Axis(least / 1.1, most * 1.1, log) if log else svg.from_zero(least, most)
    scale = words.Scale(metric["unit"], [point[2] for point in every])
    levels = up.ticks(lambda value: value * scale.stored / scale.factor)
    ticks = across.ticks()
    begin, rows = min(times) < 0 < max(times), []
    for engine in engines:
        alone = [point[2] for point in points[engine["name"]] if point[0] < 0]
        beside = [point[2] for point in points[engine["name"]] if point[0] >= 0]
        cells = [scale.text(stats.median(each)) if each else "" for each in (alone, beside)]
        said = f"{engine['title']}, {metric['title']}, over time: median {cells[1]}" + (f", and {cells[0]} before" if alone else "")
        rows.append(f"<tr role=\"row\"{row_class(engine, subject)}>{name_cell(engine)}"
                    + "".join(f'<td role="cell" class="{name}"{before if begin else ""}>{text(cell)}</td>'
                              for name, before, cell in zip(("range", "value"), BESIDE, cells))
                    + '<td role="cell" class="plot">' + svg.curve_row(
                        across, up, ticks, levels, points[engine["name"]], engine["kernel"], said, scale.tick)
                    + "</td></tr>")
    table = measures(((("name", "Engine"), ("range", "Alone" if begin else ""), ("value", "Beside it" if begin else "Median")),
                      ()), svg.axis_row(across, ticks, lambda t, last: f"{t:g}" + ("\u00a0s" if last else "")), rows)
    note = "Line: the median of the rounds; band: from their least to their most."
    if begin:
        note += " The neighbour begins at the broken line, at 0 s."
    return (f"<figure class=\"series\"><figcaption><h3>{text(metric['title'])}, over time"
            f"{' <small>(logarithmic)</small>' if log else ''}{tag(results, metric['carries_over'])}</h3>"
            f'<p class="finding">{text(note)}</p></figcaption>{table}</figure>')


def outcomes_figure(results, workload):
    table = survivals(results, workload)
    if not table:
        return ""
    whats = list(dict.fromkeys(what for each in table.values() for what in each))
    engines = [each for each in results["engines"] if each["name"] in table]
    both = pair(engines)
    rows = []
    for engine in engines:
        cells = []
        for what in whats:
            each = table[engine["name"]].get(what, [])
            tried = [one["survived"] for one in each if one["survived"] is not None]
            alive = sum(tried)
            said = "– not tried" if not tried else "✓ survived" if alive == len(tried) else "✗ did not survive"
            if 0 < alive < len(tried):
                said += f" in {len(tried) - alive} of {len(tried)}"
            why = "; ".join(dict.fromkeys(one["words"] for one in each if one["words"]))
            cells.append(f'<td role="cell" data-what="{text(what)}"><span class="'
                         f'{"untried" if not tried else "survived" if alive == len(tried) else "died"}">{said}</span>'
                         f'<span class="words">{text(why)}</span></td>')
        rows.append(f"<tr role=\"row\"{row_class(engine, both and both[0])}>{name_cell(engine)}{''.join(cells)}</tr>")
    head = "".join(f'<th scope="col" role="columnheader">{text(capital(what))}</th>' for what in whats)
    return ('<figure><figcaption><h3>What becomes of the next instance</h3></figcaption><table class="outcomes" role="table">'
            f'<thead role="rowgroup"><tr role="row"><th scope="col" role="columnheader">Engine</th>{head}</tr></thead>'
            f'<tbody role="rowgroup">{"".join(rows)}</tbody></table></figure>')


def workload_section(results, workload):
    parts = []
    for metric in results.metrics(workload["name"]):
        parts += [metric_figure(results, metric), series_figure(results, metric)]
    parts.append(outcomes_figure(results, workload))
    if any(parts):
        told = {each["metric"] for kind in ("samples", "series") for each in results[kind] if each["workload"] == workload["name"]}
        untold = [each["title"] for each in results.metrics(workload["name"]) if each["metric"] not in told]
        parts.append(f"<p>Not measured in any engine: {text('; '.join(untold))}.</p>" if untold else "")
    body = "".join(parts) or "<p>Not measured.</p>"
    return (f'<section id="{text(workload["name"])}"><h2>{text(workload["title"])}</h2>'
            f'<p class="question">{text(workload["question"])}</p>{body}</section>')


# ---- folded ----

def folded(name, title, body, printed=True):
    return (f'<details id="{name}"{" class=printed" if printed else ""}><summary>{title}</summary>{body}</details>')


def facts_table(rows):
    return ('<table class="facts-table">' + "".join(f'<tr><th scope="row">{text(name)}</th><td>{value}</td></tr>'
                                                    for name, value in rows) + "</table>")


def method(results):
    said = results["method"]
    caches = [each["title"] for each in results["workloads"] if each["name"] in said["dropped_caches"]]
    paragraphs = [
        words.counted(said["rounds"], "round")
        + (f" after {said['warm_up']} that {'was' if said['warm_up'] == 1 else 'were'} not kept" if said["warm_up"] else "")
        + "; in each, the engines take turns, so that what changes with time changes for all of them."
        + (f" The host's caches were dropped before each measurement of {listed(caches)}." if caches else ""),
        "Every engine runs the same programs from the same root file system. Its checksum is below. Instances have "
        f"{words.counted(said['cpus'], 'CPU')} and {words.show(said['memory_bytes'], 'bytes')} of memory each, but on the host "
        "itself, which sets no limits: for containers the CPUs are a quota, for VMs they are virtual "
        "ones, beside which the monitor works.",
        f"What goes on for as long as one likes was measured for {said['seconds']:g} s."
        + (" The run was a short one: files are small, and few instances are there at once." if said["short"] else ""),
        "Of several at once, each is started as soon as what it needs is made, which is done for one after another where it is "
        "not the engine's own business (networks and layers of LXC, runc and QEMU); its time is from its own start. What serves "
        "all instances of an engine is there from first to last: dockerd, idle when others have their turn, and the VM of Docker in "
        "kvmbox, paused then; what others send over the network passes the packet filter of that VM as well.",
        "The host's calls are the system calls that its kernel serves: a container's are among them, what a guest asks of its own "
        "kernel is not. They, exits and instructions are counted apart from what is timed. Of many operations, what the same takes "
        "with next to none of them is taken off; where that leaves less than nothing, it is by chance.",
        "What is compared is one value for each round: the median, where a round has several. The middle is the median, "
        "with the interval that its order statistics give (exact, by the binomial distribution; it takes 6 rounds).",
        "One engine is compared with another by the Wilcoxon-Mann-Whitney test. The ratio is the median of all quotients "
        "of their rounds (the Hodges-Lehmann estimate), and its interval are the ratios that the test does not "
        "reject. Where 1 is among them, no ratio is given. It takes 5 rounds of each. Of a hundred things that are the "
        "same, five or less look different in this way on average, by chance.",
        "The interval is about the spread within this run. What changes from one run to the next, such as the layout of "
        "memory or other guests of the same machine, is not in it: run it again to see.",
    ]
    roots = {}
    for each in results["workloads"]:
        roots.setdefault(each["root"], []).append(each["title"])
    rows = [("command", f"<code>{text(' '.join(results['command']))}</code>"), ("made", text(results["made"])),
            *(("root file system" if len(roots) == 1 else f"root of {listed(titles)}", f"<code>{root}</code>")
              for root, titles in roots.items())]
    return folded("method", "How it was measured", "".join(f"<p>{text(each)}</p>" for each in paragraphs) + facts_table(rows))


def machine(results):
    said = results["machine"]
    rows = [("processor", text(said["cpu"])), ("CPUs", said["cpus"]),
            ("memory", text(words.show(said["memory_bytes"], "bytes"))), ("kernel", text(said["kernel"])),
            ("virtualisation", text(f"{said['virtualisation']}: {said['virtualisation_note']}")),
            ("not counted", text("; ".join(said["not_counted"]) or "nothing")),
            ("frequency governor", text(said["governor"] or "not known")),
            ("disk", text(f"{said['disk']}, {said['file_system']}")),
            *((f"mitigation of {name}", text(value)) for name, value in sorted(said["mitigations"].items())),
            *((name, text(value)) for name, value in sorted(said["versions"].items()))]
    return folded("machine", "The machine", facts_table(rows))


def engines(results):
    rows = []
    for each in results["engines"]:
        parts = [text(each["missing"])] if each["missing"] else [text(each["version"])]
        parts.append(text(each["confined"]))
        if each["command"]:
            parts.append(f"<code>{text(' '.join(each['command']))}</code>")
        rows.append((each["title"], "<br>".join(filter(None, parts))))
    return folded("engines", "The engines", facts_table(rows))


def failures(results):
    if not results["failures"]:
        return ""
    rows = [(results.where(each), text(each["why"])) for each in results["failures"]]
    return f'<section id="failures"><h2>What failed</h2>{facts_table(rows)}</section>'


def figures(results):
    """All samples, by round."""
    parts = []
    for metric in results["metrics"]:
        key = metric["workload"], metric["metric"]
        rows = []
        for engine in results.engines_of(*key):
            by_round = {}
            for number, value in results.values(*key, engine["name"]):
                by_round.setdefault(number, []).append(f"{value:.6g}")
            rows.append((engine["title"], text("; ".join(f"{number}: {' '.join(each)}" for number, each in by_round.items()))))
        if rows:
            title = f"{results.workload(key[0])['title']}: {metric['title']}, {metric['unit']}"
            parts.append(f"<h3>{text(title)}</h3>{facts_table(rows)}")
    return folded("figures", "All figures, by round", f'<div class="figures">{"".join(parts)}</div>', printed=False)


def page(results):
    """The page about @results, as text."""
    title = f"{listed([each['title'] for each in results['workloads']])}: kvmbox bench, {results['made'][:10]}"
    return ('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark">'
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
            f"<title>{text(title)}</title><style>\n{CSS.read_text()}</style></head>\n<body><main>"
            + notices(results)
            + "<header><h1>What does the wall of a VM cost, and what does a shared kernel cost?</h1>" + facts(results)
            + "</header>\n" + answers(results) + "\n"
            + "\n".join(workload_section(results, each) for each in results["workloads"]) + "\n" + failures(results)
            + f'<section id="behind"><h2>Behind it</h2>{method(results)}{machine(results)}{engines(results)}'
            f"{figures(results)}</section>"
            + "\n<footer>Made by <code>kvmbox bench report</code> from the JSON of the run, which has all figures in full.</footer>"
            "</main></body></html>\n")
