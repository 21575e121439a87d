# SPDX-License-Identifier: Apache-2.0
"""LXC: with Debian's default configuration, and hardened: a user namespace, no capability beyond those of need, and a filter."""
import os
import pathlib
import re
import time

from engines import layer
from engines.base import CGROUPS, PATH, Instance, end, has_swap, quietly, tail, unbroken

DEFAULT = pathlib.Path("/etc/lxc/default.conf")
COMMON = pathlib.Path("/usr/share/lxc/config/common.conf")
USERNS = pathlib.Path("/usr/share/lxc/config/userns.conf")
CGROUPS_2 = pathlib.Path("/sys/fs/cgroup/cgroup.controllers")
APPARMOR = pathlib.Path("/sys/kernel/security/apparmor")
# Far beyond what /etc/subuid gives to users.
FIRST_ID, IDS = 1 << 30, 65536
# What a server needs that starts as root: to own files, to become another user, to end what it has started.
CAPABILITIES = ("chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "net_bind_service")
PROCESSES = 1024
ATTACH = ["lxc-attach", "--clear-env", "--set-var", "PATH=/usr/sbin:/usr/bin"]


class LxcInstance(Instance):
    layer = None

    def said(self):
        # The first line has the cause, those that follow what became of it.
        lines = self.complaints().splitlines()
        return tail(re.sub(r"^lxc-start: \S+: (\S+: \w+: \d+ )?", "", lines[0]) if lines else "")

    def inside(self, argv):
        return [*ATTACH, "-P", self.engine.directory, "-n", self.name, "--", *argv]

    def kill(self):
        """The container; lxc-start sees that and takes back what it has made, such as a profile of AppArmor's for each."""
        monitor, *below = self.processes()
        end(reversed(below or [monitor]))

    def release(self):
        quietly("lxc-stop", "-k", "-P", self.engine.directory, "-n", self.name, timeout=self.engine.context.timeout)
        # Whose monitor was killed has left them, one or two in each hierarchy.
        for group in CGROUPS.rglob(f"lxc.*.{self.name}"):
            layer.remove_cgroup(group)
        if self.layer:
            self.layer.remove()
        if self.spec.port:
            self.engine.bridge.give(self.address)


class Lxc(layer.Bridged):
    name, title = "lxc", "LXC"
    program, packages = "lxc-start", ("lxc", "iproute2", "apparmor")
    includes = (COMMON,)
    environment = None
    confinement_words = "Debian's /etc/lxc/default.conf and common.conf: root in the container is root on the host"

    @property
    def confined(self):
        return self.confinement_words + ("" if APPARMOR.exists() else "; without the AppArmor profile, as this host has no AppArmor")

    def command(self):
        return ["lxc-start", "-F", "-n", "NAME"]

    def prepare(self, root):
        super().prepare(root)
        self.lower = root.tree

    def confinement(self):
        """Lines of the configuration: Debian's, but for the network, which is a bridge of ours."""
        lines = [f"lxc.include = {each}" for each in self.includes if each.exists()]
        if DEFAULT.exists():
            lines += [line for line in DEFAULT.read_text().splitlines() if line and not line.startswith(("#", "lxc.net"))]
        if not APPARMOR.exists():
            lines = [line for line in lines if not line.startswith("lxc.apparmor")]
        return lines

    def limits(self, spec):
        if CGROUPS_2.exists():
            return [*["lxc.cgroup2.memory.swap.max = 0"] * has_swap(), f"lxc.cgroup2.memory.max = {spec.memory_bytes}",
                    f"lxc.cgroup2.cpu.max = {spec.cpus * 100000} 100000"]
        return [f"lxc.cgroup.memory.limit_in_bytes = {spec.memory_bytes}", f"lxc.cgroup.cpu.cfs_quota_us = {spec.cpus * 100000}"]

    def layer(self, spec, directory):
        return layer.Layer(self.lower, directory)

    @unbroken
    def start(self, spec):
        name, begin = self.new_name(), time.monotonic()
        directory = self.directory / name
        made = self.layer(spec, directory)
        address = self.bridge.take() if spec.port else None
        try:
            lines = [*self.confinement(), *self.limits(spec), f"lxc.rootfs.path = dir:{made.path}", f"lxc.uts.name = {name}",
                     "lxc.console.path = none", "lxc.tty.max = 0",
                     "lxc.mount.entry = tmpfs tmp tmpfs nosuid,nodev 0 0", "lxc.mount.entry = tmpfs run tmpfs nosuid,nodev 0 0",
                     "lxc.mount.entry = tmpfs dev/shm tmpfs nosuid,nodev,create=dir 0 0"]
            if spec.port:
                lines += ["lxc.net.0.type = veth", f"lxc.net.0.link = {layer.BRIDGE}", "lxc.net.0.flags = up",
                          f"lxc.net.0.ipv4.address = {address}/24"]
            else:
                lines += ["lxc.net.0.type = empty"]
            if spec.data_dir:
                lines += [f"lxc.mount.entry = {spec.data_dir} data none bind 0 0"]
            (directory / "config").write_text("\n".join(lines) + "\n")
            instance = LxcInstance(self, name, ["lxc-start", "-F", "-P", self.directory, "-n", name, "--", *spec.argv], spec,
                                   address or "127.0.0.1", begin, env=self.environment)
        except BaseException:
            made.remove()
            if address:
                self.bridge.give(address)
            raise
        instance.layer = made
        return instance


class LxcHardened(Lxc):
    name, title = "lxc-hardened", "LXC (hardened)"
    includes = (COMMON, USERNS)
    confinement_words = ("root in the container is nobody on the host (user namespace), 8 capabilities, no new privileges, LXC's seccomp "
                "filter and AppArmor profile, /proc and /sys read-only in part, limits for memory, CPU and processes")

    def prepare(self, root):
        super().prepare(root)
        # On the way to its root the container is nobody in particular.
        self.context.directory.chmod(0o711)
        # The image stays as it is, and the containers see it with their ids.
        self.lower = self.directory / "lower"
        self.lower.mkdir()
        layer.mount_mapped(root.tree, self.lower, FIRST_ID, IDS)
        # Root may use any ids, but where LXC finds newuidmap it has that ask /etc/subuid for leave; not if it has no privilege.
        tools = self.directory / "tools"
        tools.mkdir()
        for name in ("newuidmap", "newgidmap"):
            (tools / name).symlink_to("/bin/false")
        self.environment = {**os.environ, "PATH": f"{tools}:{PATH}"}

    def confinement(self):
        # Debian's allows what containers in containers need.
        apparmor = ["lxc.apparmor.profile = generated", "lxc.apparmor.allow_nesting = 0"] if APPARMOR.exists() else []
        lines = [line for line in super().confinement() if not line.startswith("lxc.apparmor")]
        return [*lines, *apparmor, f"lxc.idmap = u 0 {FIRST_ID} {IDS}", f"lxc.idmap = g 0 {FIRST_ID} {IDS}",
                f"lxc.cap.keep = {' '.join(CAPABILITIES)}", "lxc.no_new_privs = 1",
                # In place of those of the files included: /sys is writable there, and there are cgroups.
                "lxc.mount.auto =", "lxc.mount.auto = proc:mixed sys:mixed"]

    def limits(self, spec):
        kind = "lxc.cgroup2" if CGROUPS_2.exists() else "lxc.cgroup"
        return [*super().limits(spec), f"{kind}.pids.max = {PROCESSES}"]

    def layer(self, spec, directory):
        made = super().layer(spec, directory)
        os.chown(made.path, FIRST_ID, FIRST_ID)
        if spec.data_dir:
            os.chown(spec.data_dir, FIRST_ID, FIRST_ID)
        return made

    def clean(self):
        if (self.directory / "lower").exists():
            layer.unmount(self.directory / "lower")
        super().clean()
