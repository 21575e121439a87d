#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""probe.py PORT: asks the neighbour (neighbour.c) behind that port of this host, one question after the other, until
its standard input ends. It says "asking" with the first answer, and at the end how many answers there were, and the
longest wait in milliseconds; it fails when there was none for a minute.
"""
import select
import socket
import sys
import time

PATIENCE = 60
PAUSE = 0.05


class Neighbour:
    """A connection to the neighbour."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self):
        """Returns the seconds that the answer took; raises OSError when there is none."""
        begin = time.monotonic()
        self.socket.sendall(b"?")
        if self.socket.recv(1) != b"?":
            raise ConnectionError("the neighbour has hung up")
        return time.monotonic() - begin


def main():
    neighbour = Neighbour(int(sys.argv[1]))
    waits = [neighbour.ask()]
    print("asking", flush=True)
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        waits.append(neighbour.ask())
    print(len(waits), round(max(waits) * 1000))


if __name__ == "__main__":
    main()
