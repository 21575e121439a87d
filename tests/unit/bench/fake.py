# SPDX-License-Identifier: Apache-2.0
"""Results that nobody has measured, for tests: plausible in size and in noise, and the same for the same seed."""
import random

ROOT = "c0ffee" + 58 * "0"
# Name, title, and what it makes of times, memory and rates (1: the host).
ENGINES = (
    ("host", "host (no isolation)", 1, 1, 1),
    ("kvmbox", "kvmbox", 2.2, 9, 0.86),
    ("lxc", "LXC", 1.15, 2.1, 0.99),
    ("lxc-hardened", "LXC (hardened)", 1.2, 2.1, 0.985),
    ("runc", "runc", 1.1, 1.6, 0.99),
    ("docker", "Docker", 1.7, 2.9, 0.97),
    ("docker-in-kvmbox", "Docker in kvmbox", 2.9, 3.4, 0.82),
    ("qemu-microvm", "QEMU microvm", 4.1, 14, 0.84),
)
# Workload, title, question, and its metrics: name, title, unit, better, carries over, the host's value, values a round.
WORKLOADS = (
    ("start", "Start", "How long until the workload runs, and until it answers?", (
        ("first_instruction", "Start to first instruction", "s", "lower", False, 0.055, 5),
        ("first_answer", "Start to first answered TCP request", "s", "lower", False, 0.081, 5),
        ("first_answer_10", "Ten at once to their first answers", "s", "lower", False, 0.31, 10),
        ("system_calls", "System calls of the host for one start", "count", "lower", True, 812, 1))),
    ("memory", "Memory", "What does an idle instance take, and how many fit?", (
        ("idle", "Memory for each idle instance, kernel included", "bytes", "lower", True, 2.6e6, 1),)),
    ("cpu", "CPU", "What does computing cost?", (
        ("loop", "A compute loop", "1/s", "higher", False, 9.1e8, 1),
        ("calls", "A loop of system calls", "1/s", "higher", False, 4.3e6, 1),
        ("compile", "Compiling SQLite's shell", "s", "lower", False, 3.9, 1))),
    ("disk", "Disk", "What does fio reach on the same file system?", (
        ("read_1", "4 KiB random reads, depth 1", "1/s", "higher", False, 11200, 1),
        ("read_32", "4 KiB random reads, depth 32", "1/s", "higher", False, 148000, 1),
        ("write_1", "4 KiB random writes, depth 1", "1/s", "higher", False, 15100, 1),
        ("sequential", "Sequential reads", "bytes/s", "higher", False, 1.9e9, 1),
        ("fsync", "Latency of fsync", "us", "lower", False, 880, 1))),
    ("net", "Network", "What goes through, and how fast does it come back?", (
        ("out_1", "One TCP stream out", "bytes/s", "higher", False, 2.4e9, 1),
        ("in_4", "Four TCP streams in", "bytes/s", "higher", False, 3.6e9, 1),
        ("latency", "Latency of an HTTP request, p99", "us", "lower", False, 310, 1))),
    ("postgres", "PostgreSQL", "What does the database of the story do?", (
        ("tps", "pgbench, transactions", "1/s", "higher", False, 1900, 1),)),
    ("neighbour", "Noisy neighbour", "What does a neighbour do to the latency of a probe?", (
        ("p99_cpu", "Probe's p99 beside a CPU hog", "us", "lower", False, 240, 1),
        ("p99_fork", "Probe's p99 beside a fork bomb", "us", "lower", False, 260, 1))),
    ("containment", "Containment", "What is left of the next instance?", ()),
)
DEEDS = (("kernel panic", "the host went down with it"), ("full process table", "fork failed: no more processes"),
         ("full page cache", "reads took 40 times as long"))
KERNELS = {"host": "host", "kvmbox": "own", "docker-in-kvmbox": "vm", "qemu-microvm": "own"}
OWN_KERNEL = [name for name, kernel in KERNELS.items() if kernel != "host"]


def noisy(random_, value, spread=0.03):
    """As times are: some per cent to either side, and one in twelve a stray, longer by a third on average."""
    value *= random_.lognormvariate(0, spread)
    return value * (1 + random_.expovariate(3)) if random_.random() < 1 / 12 else value


def machine(emulated=False):
    return {
        "cpu": "AMD EPYC 7402P (made up)", "cpus": 8, "memory_bytes": 33_500_000_000, "kernel": "6.1.0-31-amd64",
        "governor": None if emulated else "performance", "frequency_mhz": None if emulated else [2800.0] * 8,
        "mitigations": {"retbleed": "Mitigation: untrained return thunk; SMT enabled",
                        "spectre_v2": "Mitigation: Retpolines, IBPB: conditional"},
        "virtualisation": "emulated" if emulated else "hardware",
        "virtualisation_note": "QEMU emulates AMD-V in software" if emulated else "AMD-V",
        "not_counted": ["the processor lets perf count neither instructions nor cycles"] if emulated else [],
        "versions": {"kvmbox": "0.1.0", "fio": "3.33", "lxc": "5.0.2", "postgresql": "15.8"},
        "disk": "Samsung SSD 970 (made up)", "file_system": "ext4",
    }


def series(random_, engine, factor):
    """Latency for thirty seconds, of which a neighbour makes noise from the tenth on."""
    loud = 1.4 if engine in OWN_KERNEL else 9
    times = [step / 4 - 10 for step in range(120)]
    return times, [noisy(random_, 110 * factor * (loud if 0 <= t < 14 else 1), 0.12) for t in times]


def make(seed=1, rounds=10, slow=None, emulated=False, complete=True, missing=("runc",)):
    """The data of a run. @slow: {(engine, metric): factor} of time, for planted faults."""
    random_, slow = random.Random(seed), slow or {}
    made_rounds = rounds if complete else rounds // 2 + 1
    data = {
        "schema": "kvmbox-bench-1", "made": "2026-11-29T01:02:03Z", "command": ["kvmbox", "bench", "--rounds", str(rounds)],
        "complete": complete, "why_incomplete": None if complete else "interrupted by the user",
        "machine": machine(emulated),
        "method": {"rounds": rounds, "warm_up": 1, "confidence": 0.95, "dropped_caches": ["disk"],
                   "seed": 1, "short": False, "seconds": 5, "cpus": 1, "memory_bytes": 512 << 20},
        "engines": [{"name": name, "title": title, "version": "1.0", "confined": "somehow", "kernel": KERNELS.get(name, "shared"),
                     "command": None if name in missing else [name, "run", "--cpus", "2", "--memory", "512M"],
                     "missing": f"there is no {name}: install the package {name}" if name in missing else None}
                    for name, title, *_ in ENGINES],
        "workloads": [{"name": name, "title": title, "question": question, "root": ROOT}
                      for name, title, question, _ in WORKLOADS],
        "metrics": [{"workload": workload, "metric": name, "title": title, "unit": unit, "better": better,
                     "carries_over": carries}
                    for workload, _, _, metrics in WORKLOADS for name, title, unit, better, carries, *_ in metrics],
        "samples": [], "series": [], "outcomes": [], "failures": [],
    }
    engines = [each for each in ENGINES if each[0] not in missing]
    for number in range(made_rounds):
        for workload, _, _, metrics in WORKLOADS:
            for engine, _, time, memory, rate in engines:
                for metric, _, unit, better, carries, value, each in metrics:
                    base = value * (memory if unit == "bytes" else 1 / time**0.3 if better == "higher" and
                                    metric in ("calls", "read_1", "write_1") else rate if better == "higher" else time)
                    factor = slow.get((engine, metric), 1) ** (-1 if better == "higher" else 1)
                    for _ in range(each):
                        seen = base * factor if carries else noisy(random_, base if better == "lower" else 1 / base)
                        if not carries:
                            seen = seen * factor if better == "lower" else factor / seen
                        data["samples"].append({"workload": workload, "metric": metric, "engine": engine, "round": number,
                                                "value": round(seen) if unit in ("count", "bytes") else seen})
                if workload == "neighbour" and number < 3:
                    times, values = series(random_, engine, time**0.5)
                    data["series"].append({"workload": workload, "metric": "p99_cpu", "engine": engine,
                                           "round": number, "t": times, "value": values})
    for engine, *_ in engines if complete else ():
        for what, words in DEEDS:
            survived = engine in OWN_KERNEL
            data["outcomes"].append({"workload": "containment", "engine": engine, "what": what, "survived": survived,
                                     "words": "did not notice" if survived else words})
    data["failures"].append({"workload": "disk", "engine": "docker", "round": 2,
                             "why": "fio ended with status 1: no space left on device"})
    return data
