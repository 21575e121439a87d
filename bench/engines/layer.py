# SPDX-License-Identifier: Apache-2.0
"""What containers and the host need around the root: a layer to write to, and a network of their own."""
import ctypes
import errno
import os
import pathlib
import shutil
import subprocess
import threading

from engines.base import Failure, command

LIBC = ctypes.CDLL(None, use_errno=True)
DETACH = 2
BRIDGE = "kbench0"
NETWORK = "10.254.77"


def mount(source, target, kind, flags=0, data=""):
    if LIBC.mount(os.fsencode(source), os.fsencode(target), os.fsencode(kind), flags, os.fsencode(data)) != 0:
        number = ctypes.get_errno()
        raise Failure(f"cannot mount {kind or source} at {target}: {os.strerror(number)}")


def unmount(target):
    if LIBC.umount2(os.fsencode(target), DETACH) != 0 and ctypes.get_errno() not in (errno.EINVAL, errno.ENOENT):
        raise Failure(f"cannot unmount {target}: {os.strerror(ctypes.get_errno())}")


class Layer:
    """The root with a layer over it, mounted at @path."""

    def __init__(self, lower, directory):
        self.directory = pathlib.Path(directory)
        self.path = self.directory / "merged"
        for name in ("upper", "work", "merged"):
            (self.directory / name).mkdir(parents=True)
        mount("overlay", self.path, "overlay", data=f"lowerdir={lower},upperdir={self.directory}/upper,workdir={self.directory}/work")

    def remove(self):
        unmount(self.path)
        shutil.rmtree(self.directory, ignore_errors=True)


class Bridge:
    """A bridge on which instances have addresses, and the host the first. One for all engines of a run."""
    _lock = threading.Lock()
    _users = 0
    _addresses = [f"{NETWORK}.{number}" for number in range(254, 1, -1)]

    def __init__(self):
        with Bridge._lock:
            if Bridge._users == 0:
                subprocess.run(["ip", "link", "delete", BRIDGE], stderr=subprocess.DEVNULL, check=False)
                command(["ip", "link", "add", BRIDGE, "type", "bridge"], "cannot make a bridge for containers")
                command(["ip", "addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE], "cannot give the bridge an address")
                command(["ip", "link", "set", BRIDGE, "up"], "cannot set the bridge up")
            Bridge._users += 1

    def take(self):
        with Bridge._lock:
            if not Bridge._addresses:
                raise Failure("there are no more addresses for containers on their bridge")
            return Bridge._addresses.pop()

    def give(self, address):
        with Bridge._lock:
            Bridge._addresses.insert(0, address)

    def remove(self):
        with Bridge._lock:
            Bridge._users -= 1
            if Bridge._users == 0:
                subprocess.run(["ip", "link", "delete", BRIDGE], stderr=subprocess.DEVNULL, check=False)
