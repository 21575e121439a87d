# SPDX-License-Identifier: Apache-2.0
"""What an HTTP server in an instance reaches, asked from the host: nginx, for a file of 615 bytes, and wrk beside."""
import http.client
import re
import time

from engines.base import Failure, tail
from workloads import counts
from workloads.base import Metric, Sample, Workload, beside, free_port, written

CONNECTIONS = 16
UNITS = {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7, "h": 3.6e9}
# As Debian has it, in what matters: but all that is written goes to /tmp, and requests are not logged, for that is the disk's
# speed. As many workers as the instance has CPUs; of itself nginx would count the host's, where it sees them.
CONFIGURATION = """\
daemon off; user nobody nogroup; worker_processes {cpus}; pid /tmp/nginx.pid; error_log stderr;
events {{ worker_connections 768; }}
http {{ sendfile on; tcp_nopush on; include /etc/nginx/mime.types; access_log off; client_body_temp_path /tmp/body;
proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi; uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
server {{ listen {port}; root /usr/share/nginx/html; }} }}"""


def server(port, cpus):
    """The argv of the instance."""
    words = CONFIGURATION.format(port=port, cpus=cpus).replace("\n", " ")
    return ["sh", "-c", 'echo "$1" >/tmp/nginx.conf && exec /usr/sbin/nginx -e stderr -c /tmp/nginx.conf', "sh", words]


def parse(output):
    """(requests a second, {percentile: microseconds}, requests) from what wrk prints with --latency."""
    rate = re.search(r"^Requests/sec:\s+([\d.]+)$", output, re.MULTILINE)
    number = re.search(r"^\s+(\d+) requests in ", output, re.MULTILINE)
    latencies = {int(percent): float(value) * UNITS[unit] for percent, value, unit in
                 re.findall(r"^\s+(\d+)%\s+([\d.]+)(us|ms|s|m|h)$", output, re.MULTILINE)}
    if not rate or not number or not {50, 99} <= latencies.keys():
        raise Failure(f"wrk: {tail(output)}")
    for pattern, what in ((r"Non-2xx or 3xx responses: (\d+)", "requests were refused"),
                          (r"Socket errors: (.*[1-9].*)", "went wrong with connections")):
        found = re.search(pattern, output)
        if found:
            raise Failure(f"wrk: {found[1]} {what}")
    if float(rate[1]) == 0:
        raise Failure("wrk: no request was answered")
    return float(rate[1]), latencies, int(number[1])


def reason(said):
    """Why nginx has ended: it tries some times, and its last line is only that it gives up."""
    found = re.findall(r"\[emerg\] [\d#]+: (?!still could not bind)(.+)", said)
    return found[-1] if found else tail(said)


def wait(instance, port, timeout):
    """Until the server answers."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if not instance.alive():
            raise Failure(f"nginx has ended: {reason(written(instance))}")
        connection = http.client.HTTPConnection(instance.ip(), port, timeout=max(1, deadline - time.monotonic()))
        try:
            connection.request("GET", "/")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.02)
    raise Failure(f"nginx did not answer at {instance.ip()} port {port} within {timeout:.0f} s")


class Http(Workload):
    name, title = "http", "HTTP"
    question = "How soon and how often does a web server answer? (The host itself is asked over its loopback.)"
    metrics = (Metric("latency", "Latency, 1 connection, median", "us"),
               Metric("latency_p99", "Latency, 1 connection, p99", "us"),
               Metric("rate", f"Requests, {CONNECTIONS} connections", "1/s", "higher"),
               *counts.metrics("request", "a request"))

    def measure(self, engine, context):
        port = free_port()
        with engine.start(context.spec(server(port, context.cpus), port=port)) as instance:
            wait(instance, port, context.timeout)
            _, latencies, _ = self.wrk(engine, context, instance, port, 1)
            yield Sample("latency", latencies[50])
            yield Sample("latency_p99", latencies[99])
            rate, _, _ = self.wrk(engine, context, instance, port, CONNECTIONS)
            yield Sample("rate", rate)
            with counts.counted(instance) as count:
                _, _, number = self.wrk(engine, context, instance, port, 1)
            yield from count.per("request", number)

    def wrk(self, engine, context, instance, port, connections):
        # wrk takes 8 MB of addresses for each second of its timeout, which is 2 of itself.
        status, output, errors = beside(
            engine, ["wrk", "--latency", "-t", "1", "-c", connections, "-d", f"{context.whole_seconds}s",
                     "--timeout", f"{2 * context.patience:.0f}s", f"http://{instance.ip()}:{port}/"], context.timeout)
        if not instance.alive():
            raise Failure(f"nginx has ended: {reason(written(instance))}")
        if status != 0:
            raise Failure(f"wrk ended with status {status}: {tail(errors or output)}")
        return parse(output)
