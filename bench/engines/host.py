# SPDX-License-Identifier: Apache-2.0
"""No isolation: programs of the root on the host, in a chroot so that they are the same programs."""
import contextlib
import os
import stat

import root
from engines import layer
from engines.base import Engine, Instance, descendants, end, everyone, unbroken

# Name, major and minor number.
DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9))


def make_devices(directory):
    """What programs expect of /dev, and not the host's own, for that is not to be below anything that is removed."""
    layer.mount("tmpfs", directory, "tmpfs")
    for name, major, minor in DEVICES:
        os.mknod(directory / name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        (directory / name).chmod(0o666)
    (directory / "fd").symlink_to("/proc/self/fd")
    (directory / "shm").mkdir(mode=0o1777)


def such(belongs):
    """The processes on the host of which that is so: what has lost its parents is found in no other way."""
    found = []
    for pid in everyone():
        with contextlib.suppress(OSError):  # It has ended by itself.
            if belongs(pid):
                found.append(pid)
    return found


def lives_in(pid, path):
    """Whether the process has this as its root."""
    return os.path.samefile(f"/proc/{pid}/root", path)


def inhabitants(path):
    return such(lambda pid: lives_in(pid, path))


class HostInstance(Instance):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.sessions = {self.process.pid}

    def inside(self, argv):
        return [*root.CHROOT, self.engine.place(self.spec), *argv]

    def popen(self, argv, **options):
        process = super().popen(argv, **options)
        self.sessions.add(process.pid)
        return process

    def processes(self):
        """Those in its chroot, too, that are not below us any more, as a server which goes on by itself."""
        ours = descendants(os.getpid())
        return [*super().processes(), *(pid for pid in inhabitants(self.engine.place(self.spec)) if pid not in ours)]

    def release(self):
        # Such as what a server has started anew while it was ended from below, and commands that did not end in time. The
        # number of a session may be somebody else's again, whose root is not ours.
        place = self.engine.layer(self.spec).path
        end(such(lambda pid: os.getsid(pid) in self.sessions and lives_in(pid, place)))


class Host(Engine):
    name, title = "host", "host (no isolation)"
    confined = "nothing, and no limits: a chroot, in which the programs are those of the root"
    kernel = "host"
    limited = False

    def version(self):
        return os.uname().release

    def command(self):
        return ["chroot", "ROOT", "ARGV"]

    def prepare(self, found):
        super().prepare(found)
        self.layers = {}

    def layer(self, spec):
        """That of its directory of data, if it has been made."""
        return self.layers.get(str(spec.data_dir))

    def place(self, spec):
        """The chroot; one for each directory of data, and made before it is measured where it is without."""
        if not self.layer(spec):
            made = layer.Layer(self.root.tree, self.directory / f"layer-{len(self.layers)}")
            self.layers[str(spec.data_dir)] = made
            layer.mount("proc", made.path / "proc", "proc")
            make_devices(made.path / "dev")
            layer.mount("tmpfs", made.path / "tmp", "tmpfs")
        place = self.layer(spec).path
        if spec.data_dir and not os.path.samefile(spec.data_dir, place / "data"):  # not yet, or it is another than last time
            layer.unmount(place / "data")
            layer.mount(spec.data_dir, place / "data", "", layer.BIND)
        return place

    @unbroken
    def start(self, spec):
        return HostInstance(self, self.new_name(), [*root.CHROOT, self.place(spec), *spec.argv], spec)

    def clean(self):
        for each in getattr(self, "layers", {}).values():
            end(inhabitants(each.path))
            # A lazy unmount takes what is mounted below along.
            each.remove()
        self.layers = {}
        super().clean()
