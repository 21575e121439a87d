# SPDX-License-Identifier: Apache-2.0
"""What a workload is to the rest: it is measured in one engine at a time, once a round."""
import contextlib
import dataclasses
import itertools
import os
import pathlib
import select
import shutil
import socket
import subprocess
import time

from engines.base import Failure, Spec

_ports = itertools.cycle(range(20000, 32768))  # below those that the kernel gives to clients


@dataclasses.dataclass
class Metric:
    name: str
    title: str
    unit: str
    better: str = "lower"
    carries_over: bool = False


@dataclasses.dataclass
class Sample:
    metric: str
    value: float


@dataclasses.dataclass
class Series:
    metric: str
    t: list
    value: list


@dataclasses.dataclass
class Outcome:
    what: str
    survived: bool  # or None: not tried
    words: str


@dataclasses.dataclass
class Context:
    """What all of a run share. @directory is on the file system under test."""
    directory: pathlib.Path
    short: bool = False
    seconds: float = 5  # of each thing that is measured for some time
    cpus: int = 1
    memory_bytes: int = 512 << 20
    instances: int = 4  # idle ones
    at_once: tuple = (10, 50)
    data_bytes: int = 2 << 30
    file_bytes: int = 256 << 20
    scale: int = 10  # of pgbench's tables, in 16 MB each
    patience: float = 1  # how much longer than on a real host things may take
    sample_seconds: float = 0.004  # from one question of a probe of latency to the next

    @property
    def disk_bytes(self):
        """Of a VM's disk for data: files of twice its memory fit on it, too."""
        return max(self.data_bytes, 3 * self.memory_bytes)

    @property
    def whole_seconds(self):
        """For programs that take no parts of seconds."""
        return max(1, round(self.seconds))

    @property
    def timeout(self):
        """Seconds after which what should come soon will not come any more."""
        return 60 * self.patience + 4 * self.seconds

    def spec(self, argv, **more):
        return Spec([str(word) for word in argv], self.cpus, self.memory_bytes, **more)

    @contextlib.contextmanager
    def data(self):
        """A directory that is gone afterwards."""
        directory = self.directory / "data"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def drop_caches(self):
        try:
            pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")
        except OSError as error:
            raise Failure(f"the host's caches cannot be dropped: {error.strerror}") from None


class Workload:
    name = title = question = ""
    metrics = ()
    drops_caches = False
    once = False  # whether it is measured in the last round alone

    def metrics_of(self, context):
        """Those that it measures in a run."""
        return self.metrics

    def measure(self, engine, context):
        """Yields Samples, Series and Outcomes; what it has yielded before a Failure counts."""
        raise NotImplementedError


def beside(engine, words, timeout):
    """Runs a program of the root on the host, beside an instance: (status, its standard output, its errors)."""
    try:
        done = subprocess.run([str(word) for word in engine.root.command(*words)], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout, errors="replace")
    except subprocess.TimeoutExpired:
        raise Failure(f"{words[0]} did not end within {timeout:.0f} s") from None
    return done.returncode, done.stdout, done.stderr


def written(instance):
    """All that an instance, which has ended, has written; some engines make one stream of two."""
    data, stdout = instance.buffer, instance.process.stdout
    while select.select([stdout], [], [], 0)[0] and (more := os.read(stdout.fileno(), 65536)):
        data += more
    return (data.decode(errors="replace") + instance.complaints()).replace("\r", "")


def free_port():
    """A port that nobody on the host listens at."""
    while True:
        port = next(_ports)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def ask(instance, port, timeout, pause=0.0005):
    """Waits until a byte sent to it is answered; the time of that."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((instance.address, port), 1) as connection:
                connection.settimeout(max(0.1, deadline - time.monotonic()))
                connection.sendall(b"x")
                if connection.recv(1) == b"x":
                    return time.monotonic()
        except OSError:
            if not instance.alive():
                raise Failure("the instance ended before it answered") from None
        time.sleep(pause)
    raise Failure(f"nobody answered at {instance.address} port {port} within {timeout:.0f} s")
