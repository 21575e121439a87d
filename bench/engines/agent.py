# SPDX-License-Identifier: Apache-2.0
"""The host's side of what a guest's PID 1 (guest/init) speaks over vsock: include/kvmbox/agent.h has the protocol.

As a program, it runs a command in such a guest and ends with its status: agent.py CID ARGV...
"""
import os
import signal
import socket
import struct
import sys

CONTROL, STDIN, STDOUT, STDERR = 1024, 1025, 1026, 1027  # the host's ports
AGENT = 1024  # the guest's
EXIT, ERROR, SIGNAL, EXEC, DATA = 3, 4, 128, 160, 192
FAILED = 125


def frame(kind, payload):
    return struct.pack("<HHI", kind, 0, len(payload)) + payload


def strings(words):
    return b"".join(os.fsencode(str(word)) + b"\0" for word in words)


def exec_frame(argv):
    """Runs @argv in the workload's environment and directory, without a terminal or an input."""
    return frame(EXEC, struct.pack("<5I", 0, 0, 0, len(argv), 0) + strings([*argv, ""]))


def receive(connection, size):
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def frames(connection):
    """(kind, payload) of each frame, until the other side ends."""
    while True:
        try:
            kind, _, size = struct.unpack("<HHI", receive(connection, 8))
            payload = receive(connection, size)
        except (EOFError, ConnectionError):
            return
        yield kind, payload


def exit_status(payload):
    """As a shell has it: 128 and the signal where one has ended it."""
    kind, value = struct.unpack_from("<II", payload)
    return value if kind == 0 else 128 + value if kind == 1 else FAILED


def connect(cid):
    while True:
        connection = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        try:
            connection.connect((cid, AGENT))
            return connection
        except TimeoutError:  # after two seconds, in which a guest may have been busy otherwise
            connection.close()


def write(stream, data):
    while data:
        data = data[os.write(stream, data):]


def main(cid, argv):
    try:
        connection = connect(int(cid))
    except OSError as error:
        print(f"the guest does not answer: {error.strerror}", file=sys.stderr)
        return FAILED
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda number, _: connection.sendall(frame(SIGNAL, struct.pack("<I", number))))
    connection.sendall(exec_frame(argv))
    for kind, payload in frames(connection):
        if kind == DATA:
            write(struct.unpack_from("<I", payload)[0], payload[4:])
        elif kind == ERROR:
            print(payload.decode(errors="replace"), file=sys.stderr, flush=True)
        elif kind == EXIT:
            return exit_status(payload)
    print("the guest ended before the command did", file=sys.stderr)
    return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
