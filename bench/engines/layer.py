# SPDX-License-Identifier: Apache-2.0
"""What containers and the host need around the root: a layer to write to, and a network of their own."""
import ctypes
import errno
import os
import pathlib
import shutil
import struct
import subprocess
import time

from engines.base import Engine, Failure, command, end, quietly, read

LIBC = ctypes.CDLL(None, use_errno=True)
DETACH, NEW_MOUNTS, BIND, RECURSIVE, SLAVE = 2, 0x20000, 4096, 16384, 1 << 19
# System calls without a function in Debian 12's C library that ctypes could take (x86_64), and their flags.
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442
AT_FDCWD, AT_EMPTY_PATH, TREE_CLONE, FROM_EMPTY_PATH, ATTR_IDMAP = -100, 0x1000, 1, 4, 1 << 20
BRIDGE = "kbench0"
NETWORK = "10.254.77"


def own_mounts():
    """Mounts of this process and its children are seen by nobody else from now on, and go with them, whatever ends them."""
    if LIBC.unshare(NEW_MOUNTS) != 0:
        raise Failure(f"cannot make a mount namespace: {os.strerror(ctypes.get_errno())}")
    mount("none", "/", "", RECURSIVE | SLAVE)


def mount(source, target, kind, flags=0, data=""):
    if LIBC.mount(os.fsencode(source), os.fsencode(target), os.fsencode(kind), flags, os.fsencode(data)) != 0:
        number = ctypes.get_errno()
        raise Failure(f"cannot mount {kind or source} at {target}: {os.strerror(number)}")


def unmount(target):
    if LIBC.umount2(os.fsencode(target), DETACH) != 0 and ctypes.get_errno() not in (errno.EINVAL, errno.ENOENT):
        raise Failure(f"cannot unmount {target}: {os.strerror(ctypes.get_errno())}")


def mount_mapped(source, target, first, count):
    """Mounts what is mounted at @source at @target as well, there with its user and group n as @first + n."""
    def call(*words):
        result = LIBC.syscall(*(ctypes.c_char_p(word) if isinstance(word, bytes) else ctypes.c_long(word) for word in words))
        if result < 0:
            raise Failure(f"cannot mount {source} with other ids at {target}: {os.strerror(ctypes.get_errno())}")
        return result

    tree = call(OPEN_TREE, AT_FDCWD, os.fsencode(source), TREE_CLONE)
    # A user namespace, of which only the map is wanted, lives as long as a process in it.
    with subprocess.Popen(["unshare", "--user", "--", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, bufsize=0) as holder:
        namespace = None
        try:
            if not holder.stdout.read(1):
                raise Failure("cannot make a user namespace: user.max_user_namespaces may forbid it")
            for kind in ("uid_map", "gid_map"):
                pathlib.Path(f"/proc/{holder.pid}/{kind}").write_text(f"0 {first} {count}\n")
            namespace = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY)
            attributes = struct.pack("=4Q", ATTR_IDMAP, 0, 0, namespace)
            call(MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, attributes, len(attributes))
            call(MOVE_MOUNT, tree, b"", AT_FDCWD, os.fsencode(target), FROM_EMPTY_PATH)
        finally:
            holder.stdin.close()
            os.close(tree)
            if namespace is not None:
                os.close(namespace)


def remove_cgroup(group, seconds=5):
    """It and those in it, with whatever processes are left there, as soon as these are gone."""
    deadline = time.monotonic() + seconds
    for directory, _, _ in os.walk(group, topdown=False):
        while os.path.exists(directory):
            end(map(int, read(f"{directory}/cgroup.procs").split()))
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                pass
            except OSError as error:
                if time.monotonic() > deadline:
                    raise Failure(f"cannot remove the cgroup {directory}: {error.strerror}") from None
                time.sleep(0.01)


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
    _users = 0
    _addresses = [f"{NETWORK}.{number}" for number in range(254, 1, -1)]

    def __init__(self):
        if Bridge._users == 0:
            quietly("ip", "link", "delete", BRIDGE)
            command(["ip", "link", "add", BRIDGE, "type", "bridge"], "cannot make a bridge for containers")
            command(["ip", "addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE], "cannot give the bridge an address")
            command(["ip", "link", "set", BRIDGE, "up"], "cannot set the bridge up")
        Bridge._users += 1

    def take(self):
        if not Bridge._addresses:
            raise Failure("there are no more addresses for containers on their bridge")
        return Bridge._addresses.pop()

    def give(self, address):
        Bridge._addresses.insert(0, address)

    def remove(self):
        Bridge._users -= 1
        if Bridge._users == 0:
            quietly("ip", "link", "delete", BRIDGE)


class Bridged(Engine):
    """An engine whose instances are on the bridge."""
    bridge = None

    def prepare(self, root):
        super().prepare(root)
        self.bridge = Bridge()

    def clean(self):
        if self.bridge:
            self.bridge.remove()
            self.bridge = None
        super().clean()
