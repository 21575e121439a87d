# SPDX-License-Identifier: Apache-2.0
"""wrk's and nginx's words, as they have said them, and what is made of them."""
import sys
import unittest

import here  # noqa: F401
from engines.base import Failure
from inside import CALLS, Sh, printing
from workloads import http
from workloads.http import Http, parse, reason

# Of wrk 4.1.0.
SIXTEEN = """\
Running 1s test @ http://127.0.0.1:23458/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     0.88ms    2.17ms  23.22ms   94.77%
    Req/Sec    35.91k    12.08k   44.75k    80.00%
  Latency Distribution
     50%  375.00us
     75%  445.00us
     90%    1.19ms
     99%   12.43ms
  35725 requests in 1.00s, 28.82MB read
Requests/sec:  35587.38
Transfer/sec:     28.71MB
"""
UNAVAILABLE = """\
Running 1s test @ http://127.0.0.1:23458/no
  1 threads and 1 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   677.47us    3.02ms  26.67ms   95.13%
    Req/Sec    53.18k    14.84k   59.27k    90.91%
  Latency Distribution
     50%   16.00us
     75%   17.00us
     90%   25.00us
     99%   17.70ms
  58041 requests in 1.10s, 20.70MB read
  Non-2xx or 3xx responses: 58041
Requests/sec:  52784.17
Transfer/sec:     18.83MB
"""
TAKEN = """\
2026/11/29 05:56:28 [emerg] 18501#18501: bind() to 0.0.0.0:23458 failed (98: Address already in use)
2026/11/29 05:56:28 [emerg] 18501#18501: bind() to 0.0.0.0:23458 failed (98: Address already in use)
2026/11/29 05:56:28 [emerg] 18501#18501: still could not bind()
"""
# Answers as nginx does, so often as is said.
SERVER = """
import http.server, sys
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)
server.timeout = 60
for _ in range(int(sys.argv[2])):
    server.handle_request()
"""


def serving(times):
    return lambda spec: [sys.executable, "-c", SERVER, spec.port, times]


class Words(unittest.TestCase):
    def test_parse(self):
        self.assertEqual(parse(SIXTEEN), (35587.38, {50: 375.0, 75: 445.0, 90: 1190.0, 99: 12430.0}, 35725))

    def test_units(self):
        for text, value in (("12.43ms", 12430), ("1.20s", 1.2e6), ("1.05m", 6.3e7), ("0.00us", 0)):
            self.assertAlmostEqual(parse(SIXTEEN.replace("12.43ms", text))[1][99], value)

    def test_refused(self):
        errors = SIXTEEN.replace("Requests/sec", "  Socket errors: connect 0, read 4, write 0, timeout 0\nRequests/sec")
        for text, why in ((UNAVAILABLE, "58041 requests were refused"),
                          (errors, "connect 0, read 4, write 0, timeout 0 went wrong with connections"),
                          (SIXTEEN.replace("35587.38", "0.00"), "no request was answered"),
                          ("Segmentation fault\n", "Segmentation fault"),
                          ("", "it does not say why"), (SIXTEEN.replace(" 50%", " 49%"), "Transfer/sec:     28.71MB")):
            with self.assertRaises(Failure) as caught:
                parse(text)
            self.assertEqual(str(caught.exception), f"wrk: {why}")

    def test_reason(self):
        self.assertEqual(reason(TAKEN), "bind() to 0.0.0.0:23458 failed (98: Address already in use)")
        self.assertEqual(reason("sh: nginx: not found\n"), "sh: nginx: not found")

    def test_server(self):
        words = http.server(20007, 3)[-1]
        self.assertIn(" worker_processes 3;", words)
        self.assertIn(" listen 20007;", words)
        self.assertEqual((words.count("{"), words.count("\n")), (words.count("}"), 0))


class Turns(unittest.TestCase):
    def failure(self, argv, beside):
        found, engine = [], Sh(argv, None, beside)
        with self.assertRaises(Failure) as caught:
            for each in Http().measure(engine, engine.context):
                found.append(each.metric)
        return found, str(caught.exception)

    def test_whole(self):
        engine = Sh(serving(9), None, lambda *_: printing(SIXTEEN))
        found = list(Http().measure(engine, engine.context))
        self.assertEqual([(each.metric, each.value) for each in found],
                         [("latency", 375.0), ("latency_p99", 12430.0), ("rate", 35587.38), ("request_system_calls", CALLS / 35725)])
        self.assertEqual({each.metric for each in found} - {each.name for each in Http.metrics}, set())

    def test_taken_port(self):
        for where in (1, 2):
            found, why = self.failure(["sh", "-c", f'printf "%s" "$1" >&{where}', "sh", TAKEN], None)
            self.assertEqual((found, why), ([], "nginx has ended: bind() to 0.0.0.0:23458 failed (98: Address already in use)"))

    def test_server_dies(self):
        found, why = self.failure(serving(1), lambda *_: ["sh", "-c", "sleep 1; echo nonsense"])
        self.assertEqual(found, [])
        self.assertIn("nginx has ended: ", why)

    def test_client_cannot(self):
        found, why = self.failure(serving(9), lambda *_: ["sh", "-c", "echo 'unable to connect' >&2; exit 1"])
        self.assertEqual((found, why), ([], "wrk ended with status 1: unable to connect"))


if __name__ == "__main__":
    unittest.main()
