# SPDX-License-Identifier: Apache-2.0
"""No isolation: programs of the root on the host, in a chroot so that they are the same programs."""
import os
import pathlib
import shutil
import signal

import root
from engines import layer
from engines.base import Engine, Instance

BIND, RECURSIVE, PRIVATE = 4096, 16384, 1 << 18


def end_all(belongs):
    """Ends the processes on the host of which that is so: what has lost its parents is found in no other way."""
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            if belongs(pid):
                os.kill(pid, signal.SIGKILL)
        except OSError:
            pass  # It has ended by itself.


class HostInstance(Instance):
    def inside(self, argv):
        return [*root.CHROOT, self.engine.place(self.spec), *argv]

    def release(self):
        # Such as what a server has started anew while it was ended from below.
        end_all(lambda pid: os.getsid(pid) == self.process.pid)


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

    def place(self, spec):
        """The chroot; one for each directory of data, and made before it is measured where it is without."""
        key = str(spec.data_dir or "")
        if key not in self.layers:
            made = layer.Layer(self.root.tree, self.directory / f"layer-{len(self.layers)}")
            self.layers[key] = made
            layer.mount("proc", made.path / "proc", "proc")
            layer.mount("/dev", made.path / "dev", "", BIND | RECURSIVE)
            layer.mount("none", made.path / "dev", "", PRIVATE | RECURSIVE)
            layer.mount("tmpfs", made.path / "tmp", "tmpfs")
        place = self.layers[key].path
        if spec.data_dir and not os.path.samefile(spec.data_dir, place / "data"):  # not yet, or it is another than last time
            layer.unmount(place / "data")
            layer.mount(spec.data_dir, place / "data", "", BIND)
        return place

    def start(self, spec):
        return HostInstance(self, self.new_name(), [*root.CHROOT, self.place(spec), *spec.argv], spec)

    def clean(self):
        for each in getattr(self, "layers", {}).values():
            end_all(lambda pid, path=each.path: os.path.samefile(f"/proc/{pid}/root", path))
            # A lazy unmount takes what is mounted below along.
            each.remove()
        self.layers = {}
        shutil.rmtree(pathlib.Path(self.directory), ignore_errors=True)
