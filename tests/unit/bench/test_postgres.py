# SPDX-License-Identifier: Apache-2.0
"""pgbench's and PostgreSQL's words, as they have said them, and what is made of them."""
import unittest

import here  # noqa: F401
from engines.base import Failure
from inside import CALLS, Sh, printing
from workloads.postgres import LOG, Postgres, latencies, processed, rate, reason

# Of PostgreSQL 15.20.
DONE = """\
pgbench (15.20 (Debian 15.20-0+deb12u1))
transaction type: <builtin: TPC-B (sort of)>
scaling factor: 1
query mode: simple
number of clients: 4
number of threads: 1
maximum number of tries: 1
duration: 1 s
number of transactions actually processed: 496
number of failed transactions: 0 (0.000%)
latency average = 7.938 ms
initial connection time = 35.300 ms
tps = 503.932400 (without initial connection time)
"""
TIMES = "12681\n13784\n14339\n16642\n8984\n"
FULL = """\
2026-11-29 05:57:06.366 UTC [21630] LOG:  database system is ready to accept connections
2026-11-29 05:57:09.359 UTC [21666] PANIC:  could not write to file "pg_wal/xlogtemp.21666": No space left on device
2026-11-29 05:57:09.359 UTC [21666] CONTEXT:  COPY pgbench_accounts, line 175000
2026-11-29 05:57:09.359 UTC [21666] STATEMENT:  copy pgbench_accounts from stdin with (freeze on)
2026-11-29 05:57:09.369 UTC [21630] LOG:  server process (PID 21666) was terminated by signal 6: Aborted
2026-11-29 05:57:09.369 UTC [21630] LOG:  terminating any other active server processes
"""
NO_SPACE = 'could not write to file "pg_wal/xlogtemp.21666": No space left on device'
REFUSING = """\
2026-11-29 05:57:09.701 UTC [21675] LOG:  could not translate host name "localhost", service "5432" to address
2026-11-29 05:57:09.701 UTC [21675] WARNING:  could not create listen socket for "localhost"
2026-11-29 05:57:09.701 UTC [21675] FATAL:  could not create any TCP/IP sockets
2026-11-29 05:57:09.711 UTC [21675] LOG:  database system is shut down
"""


class Words(unittest.TestCase):
    def test_rate(self):
        self.assertEqual(rate(DONE), 503.9324)
        for text, why in ((DONE.replace("failed transactions: 0", "failed transactions: 12"), "12 transactions failed"),
                          (DONE.replace("503.932400", "0.000000"), "no transaction came to its end"),
                          ("pgbench: error: no\n", "pgbench: error: no"), ("", "it does not say why")):
            with self.assertRaises(Failure) as caught:
                rate(text)
            self.assertEqual(str(caught.exception), f"pgbench: {why}")

    def test_processed(self):
        self.assertEqual(processed(DONE), 496)
        self.assertRaisesRegex(Failure, "^pgbench: pgbench: error: no$", processed, "pgbench: error: no\n")

    def test_latencies(self):
        self.assertEqual(latencies(TIMES), [12681, 13784, 14339, 16642, 8984])
        for text in ("", "failed\n", "cut: /tmp/pgbench.*: No such file or directory\n"):
            self.assertRaises(Failure, latencies, text)

    def test_reason(self):
        self.assertEqual(reason(FULL), NO_SPACE)
        self.assertEqual(reason(FULL + "x FATAL:  the database system is in recovery mode\n"), NO_SPACE)
        self.assertEqual(reason(REFUSING), "could not create any TCP/IP sockets")
        self.assertEqual(reason("x LOG:  database system is ready to accept connections\n"), "")


class Turns(unittest.TestCase):
    """@special: from a word of a command to the argv that is run in its place."""

    def measure(self, special, log=""):
        self.commands = []

        def plan(*words):
            command = " ".join(words)
            self.commands.append(command)
            for word, argv in special.items():
                if word in command:
                    return argv
            if words == ("cat", LOG):
                return printing(log)
            return printing(TIMES if "cut" in command else DONE)

        engine = Sh(["sh", "-c", "echo first; exec sleep 60"], plan)
        for each in Postgres().measure(engine, engine.context):
            yield each.metric, each.value

    def failure(self, special, log=""):
        found = []
        with self.assertRaises(Failure) as caught:
            for each in self.measure(special, log):
                found.append(each[0])
        return found, str(caught.exception)

    def test_whole(self):
        found = dict(self.measure({}))
        self.assertEqual({key: round(value, 2) for key, value in found.items()},
                         {"reads": 503.93, "transactions": 503.93, "latency": 13784, "latency_p99": 16549.88,
                          "read_system_calls": round(CALLS / 496, 2), "write_system_calls": round(CALLS / 496, 2)})
        self.assertEqual(found.keys() - {each.name for each in Postgres.metrics}, set())
        self.assertEqual(len([each for each in self.commands if each.endswith("immediate stop")]), 1)

    def test_fits(self):
        list(self.measure({}))
        start = next(each for each in self.commands if each.endswith("start"))
        self.assertIn(" shared_buffers=128MB ", start)
        self.assertIn(" max_wal_size=512MB", start)
        self.assertNotIn("fsync", start)

    def test_full_disk(self):
        found, why = self.failure({" -i ": printing("creating tables...\npgbench: error: PQputline failed\n", 1)}, FULL)
        self.assertEqual((found, why), ([], f"pgbench ended with status 1: {NO_SPACE}"))
        self.assertTrue(self.commands[-1].endswith("immediate stop"))

    def test_does_not_start(self):
        said = "waiting for server to start.... stopped waiting\npg_ctl: could not start server\nExamine the log output.\n"
        found, why = self.failure({" start": printing(said, 1)}, REFUSING)
        self.assertEqual((found, why), ([], "pg_ctl ended with status 1: could not create any TCP/IP sockets"))

    def test_dies_at_work(self):
        found, why = self.failure({"--log-prefix": printing("pgbench: error: client 2 aborted in command 5\n", 2)})
        self.assertEqual(found, ["reads"])
        self.assertEqual(why, "pgbench ended with status 2: pgbench: error: client 2 aborted in command 5")
        self.assertTrue(self.commands[-1].endswith("immediate stop"))

    def test_interrupted(self):
        turns = self.measure({})
        next(turns)
        turns.close()
        self.assertTrue(self.commands[-1].endswith("immediate stop"))


if __name__ == "__main__":
    unittest.main()
