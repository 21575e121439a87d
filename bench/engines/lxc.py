# SPDX-License-Identifier: Apache-2.0
"""LXC: with Debian's default configuration, and hardened: a user namespace, no capability beyond those of need, and a filter."""
import os
import pathlib
import shutil
import subprocess
import time

from engines import layer
from engines.base import Engine, Instance

DEFAULT = pathlib.Path("/etc/lxc/default.conf")
COMMON = pathlib.Path("/usr/share/lxc/config/common.conf")
USERNS = pathlib.Path("/usr/share/lxc/config/userns.conf")
ATTACH = ["lxc-attach", "--clear-env", "--set-var", "PATH=/usr/sbin:/usr/bin"]


class LxcInstance(Instance):
    layer = None

    def inside(self, argv):
        return [*ATTACH, "-P", self.engine.directory, "-n", self.name, "--", *argv]

    def release(self):
        subprocess.run(["lxc-stop", "-k", "-P", self.engine.directory, "-n", self.name], stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        self.layer.remove()
        if self.spec.port:
            self.engine.bridge.give(self.address)


class Lxc(Engine):
    name, title = "lxc", "LXC"
    program, packages = "lxc-start", ("lxc", "iproute2", "apparmor")
    hardened = "Debian's /etc/lxc/default.conf and common.conf: root in the container is root on the host"

    def command(self):
        return ["lxc-start", "-F", "-n", "NAME"]

    def prepare(self, root):
        super().prepare(root)
        self.bridge = layer.Bridge()
        self.lower = root.tree

    def confinement(self):
        """Lines of the configuration: Debian's, but for the network, which is a bridge of ours."""
        lines = [f"lxc.include = {COMMON}"] if COMMON.exists() else []
        if DEFAULT.exists():
            lines += [line for line in DEFAULT.read_text().splitlines() if line and not line.startswith(("#", "lxc.net"))]
        if not os.path.exists("/sys/kernel/security/apparmor"):
            lines = [line for line in lines if not line.startswith("lxc.apparmor")]
        return lines

    def limits(self, spec):
        if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
            return [f"lxc.cgroup2.memory.max = {spec.memory_bytes}", f"lxc.cgroup2.cpu.max = {spec.cpus * 100000} 100000"]
        return [f"lxc.cgroup.memory.limit_in_bytes = {spec.memory_bytes}", f"lxc.cgroup.cpu.cfs_quota_us = {spec.cpus * 100000}"]

    def start(self, spec):
        name, begin = self.new_name(), time.monotonic()
        directory = self.directory / name
        made = layer.Layer(self.lower, directory)
        address = self.bridge.take() if spec.port else None
        try:
            lines = [*self.confinement(), *self.limits(spec), f"lxc.rootfs.path = dir:{made.path}", f"lxc.uts.name = {name}",
                     "lxc.console.path = none", "lxc.tty.max = 0",
                     "lxc.mount.entry = tmpfs tmp tmpfs nosuid,nodev 0 0", "lxc.mount.entry = tmpfs run tmpfs nosuid,nodev 0 0"]
            if spec.port:
                lines += ["lxc.net.0.type = veth", f"lxc.net.0.link = {layer.BRIDGE}", "lxc.net.0.flags = up",
                          f"lxc.net.0.ipv4.address = {address}/24"]
            else:
                lines += ["lxc.net.0.type = empty"]
            if spec.data_dir:
                lines += [f"lxc.mount.entry = {spec.data_dir} data none bind 0 0"]
            (directory / "config").write_text("\n".join(lines) + "\n")
            instance = LxcInstance(self, name, ["lxc-start", "-F", "-P", self.directory, "-n", name, "--", *spec.argv], spec,
                                   address or "127.0.0.1", begin)
        except BaseException:
            made.remove()
            if address:
                self.bridge.give(address)
            raise
        instance.layer = made
        return instance

    def clean(self):
        if hasattr(self, "bridge"):
            self.bridge.remove()
            del self.bridge
        shutil.rmtree(self.directory, ignore_errors=True)
