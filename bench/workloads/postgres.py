# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL as a database would be run: on /data, as its own user, every commit on the disk before it is told."""
import contextlib
import re

import stats
from engines.base import Failure, tail
from root import POSTGRES
from workloads import counts
from workloads.base import Metric, Sample, Workload

CLIENTS = 4
LOG, TIMES = "/tmp/postgres.log", "/tmp/pgbench"
PGBENCH = [f"{POSTGRES}/pgbench", "-h", "/tmp", "-U", "postgres"]
# Of a run longer than this only so many transactions are logged, by chance, as would be in this time.
LOGGED_SECONDS = 10


def as_postgres(*words):
    return ["su", "postgres", "-c", " ".join(words)]


def reason(log):
    """What the server says has gone wrong: why it panicked, or else the last of all; or an empty text."""
    found = re.findall(r"\bPANIC:\s+(.+)", log)[:1] or re.findall(r"\b(?:ERROR|FATAL):\s+(.+)", log)[-1:]
    return found[0].strip() if found else ""


def rate(output):
    """Transactions a second, from what pgbench prints."""
    found = re.search(r"^tps = ([\d.]+)", output, re.MULTILINE)
    failed = re.search(r"^number of failed transactions: ([1-9]\d*)", output, re.MULTILINE)
    if failed:
        raise Failure(f"pgbench: {failed[1]} transactions failed")
    if not found:
        raise Failure(f"pgbench: {tail(output)}")
    if float(found[1]) == 0:
        raise Failure("pgbench: no transaction came to its end")
    return float(found[1])


def processed(output):
    """How many transactions, from what pgbench prints."""
    found = re.search(r"^number of transactions actually processed: (\d+)", output, re.MULTILINE)
    if not found:
        raise Failure(f"pgbench: {tail(output)}")
    return int(found[1])


def latencies(output):
    """Microseconds of each transaction, from a column of pgbench's log."""
    try:
        values = [float(line) for line in output.split()]
    except ValueError:
        values = []
    if not values:
        raise Failure(f"pgbench's log is none: {tail(output)}")
    return values


class Database:
    """A server in an instance that has a /data, with pgbench's tables in it, for as long as one is in its context."""

    def __init__(self, instance, context):
        self.instance, self.context = instance, context
        self.patience = context.timeout * 3

    def check(self, words):
        """Runs a program in the instance; where it fails, the server may know better why."""
        status, output = self.instance.run(words, self.patience)
        if status != 0:
            found, log = self.instance.run(["cat", LOG]) if self.instance.alive() else (1, "")
            name = words[0] if words[0] != "su" else words[-1].split()[0]
            raise Failure(f"{name.rpartition('/')[2]} ended with status {status}: {found == 0 and reason(log) or tail(output)}")
        return output

    def __enter__(self):
        # The host's /tmp is the same in all its turns.
        self.check(["sh", "-c", f"rm -f {LOG} {TIMES}.*"])
        self.check(["mkdir", "/data/pg"])
        self.check(["chown", "postgres", "/data/pg"])
        self.check(as_postgres(f"{POSTGRES}/initdb", "-D /data/pg --no-sync --no-instructions --auth=trust --encoding=UTF8",
                               "--locale=C"))
        with contextlib.ExitStack() as stack:
            stack.callback(self.stop)
            # Defaults, but for what has to fit into the instance: the customary quarter of its memory, and a log that fits on
            # the smallest disk. Parallel queries, which are not measured, would need a /dev/shm, which not every engine has.
            options = {"listen_addresses": "", "unix_socket_directories": "/tmp", "dynamic_shared_memory_type": "mmap",
                       "shared_buffers": f"{self.context.memory_bytes >> 22}MB",
                       "max_wal_size": f"{self.context.data_bytes >> 22}MB"}
            given = " ".join(f"-c {name}={value}" for name, value in options.items())
            self.check(as_postgres(f"{POSTGRES}/pg_ctl -D /data/pg -l {LOG} -w -t {self.patience:.0f} -o '{given}' start"))
            self.check([*PGBENCH, "-q", "-i", "-s", self.context.scale, "postgres"])
            # So that nobody's turn begins with the writing of what was made before it.
            self.check([f"{POSTGRES}/psql", "-h", "/tmp", "-U", "postgres", "-q", "-c", "CHECKPOINT", "postgres"])
            self.check(["sync"])
            stack.pop_all()
        return self

    def stop(self):
        """Where an instance has no processes of its own, the server would outlive it."""
        if self.instance.alive():
            with contextlib.suppress(Failure):
                self.instance.run(as_postgres(f"{POSTGRES}/pg_ctl -D /data/pg -m immediate stop"))

    def __exit__(self, *_):
        self.stop()

    def pgbench(self, *words):
        """What it prints, after the time of the context; where all is slow, after as much more of it."""
        return self.check([*PGBENCH, "-c", CLIENTS, "-T", round(self.context.whole_seconds * self.context.patience), *words,
                           "postgres"])

    def transactions(self):
        """(how many a second, microseconds of each) of those that write."""
        self.check(["sh", "-c", f"rm -f {TIMES}.*"])
        share = min(1, LOGGED_SECONDS / self.context.whole_seconds)
        output = self.pgbench("-n", "-l", f"--log-prefix={TIMES}", f"--sampling-rate={share:.6f}")
        # The third column of each line is its time.
        return rate(output), latencies(self.check(["sh", "-c", f"busybox cut -d ' ' -f 3 {TIMES}.*"]))


class Postgres(Workload):
    name, title = "postgres", "PostgreSQL"
    question = ("What does a database reach? (The four clients of pgbench share the instance's CPUs with the server, and its "
                "network is not used.)")
    metrics = (Metric("transactions", "Transactions (TPC-B-like)", "1/s", "higher"),
               Metric("latency", "Their latency, median", "us"),
               Metric("latency_p99", "Their latency, p99", "us"),
               Metric("reads", "Transactions that only read", "1/s", "higher"),
               *counts.metrics("read", "one that reads"),
               *counts.metrics("write", "one that writes"))

    def measure(self, engine, context):
        with context.data() as data, engine.start(context.spec(["answer"], data_dir=data)) as instance:
            instance.first_instruction()
            with Database(instance, context) as database:
                # First, while all is in memory and nothing has been changed.
                yield Sample("reads", rate(database.pgbench("-n", "-S")))
                transactions, found = database.transactions()
                yield Sample("transactions", transactions)
                yield Sample("latency", stats.quantile(found, 0.5))
                yield Sample("latency_p99", stats.quantile(found, 0.99))
                for name, options in (("read", ("-n", "-S")), ("write", ("-n",))):
                    with counts.counted(instance) as count:
                        number = processed(database.pgbench(*options))
                    yield from count.per(name, number)
