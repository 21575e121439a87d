# SPDX-License-Identifier: Apache-2.0
"""Docker: containers started by "docker run", of a dockerd that is there for the run alone.

It is not the user's dockerd: what that has been configured to do is not what others measure, its data need not lie on the file
system under test, and its images and containers are no business of ours. But two of them cannot share a network: the one that
starts removes the chains of the other from the packet filter. So ours, with the containerd that it starts itself, has namespaces
of its own for network and mounts, and whatever it makes of these is gone with them. The host has a port of its bridge.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

from engines.base import (CGROUPS, Engine, Failure, Hold, Instance, command, descendants, end, everyone, has_swap, parent, quietly, read,
                          tail, unbroken)

NETWORK = "10.254.78"
GATEWAY, HOST = f"{NETWORK}.1", f"{NETWORK}.254"  # docker0, and the host's side of its port
IMAGE = "kvmbox-bench"
# What there is once dockerd has loaded the module that has bridges' packets pass the packet filter: everyone's.
BRIDGES, BRIDGE_MODULE = pathlib.Path("/proc/sys/net/bridge"), "br_netfilter"
# Directories that dockerd and containerd make wherever the rest of what they make is to lie.
ELSEWHERE = ("/run/docker", "/run/containerd", "/opt/containerd")


class DockerInstance(Instance):
    pid, detached = None, False

    def said(self):
        return tail(re.sub(r"^(See|Run) 'docker run --help'.*", "", self.complaints(), flags=re.MULTILINE))

    def inside(self, argv):
        return [*self.engine.client, "exec", self.name, *argv]

    def inspect(self, form):
        return self.engine.docker(["inspect", "--format", form, self.name], "the container cannot be inspected").strip()

    def ip(self):
        """The container's own address, past docker-proxy."""
        return self.inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}") or self.address

    def main(self):
        """The process that is the container's first."""
        if not self.pid:
            self.pid = int(self.inspect("{{.State.Pid}}"))
            if not self.pid:
                raise Failure("the container does not run")
        return self.pid

    def processes(self):
        """Those in the container, the shim above them, what forwards its port, and the client as long as it is there."""
        shim = parent(self.main())
        if not shim:
            raise Failure("the container has ended")
        proxies = [pid for pid in self.engine.daemons() if forwards(read(f"/proc/{pid}/cmdline"), self.spec.port)]
        return descendants(shim) + proxies + ([] if self.detached else [self.process.pid])

    def detach(self):
        """The container goes on without the client, as it does for who starts it with --detach."""
        self.process.kill()
        self.process.wait()
        self.detached = True

    def alive(self):
        try:
            return super().alive() or (self.detached and self.inspect("{{.State.Running}}") == "true")
        except Failure:
            return False

    def kill(self):
        try:
            self.engine.docker(["kill", self.name], "the container cannot be killed")
        except (Failure, OSError):  # it has not come to be, or there is no room for one more process
            self.process.kill()

    def release(self):
        try:
            self.engine.docker(["rm", "--force", "--volumes", self.name], "the container cannot be removed")
        except (Failure, OSError):
            pass  # as after any that ended by itself: --rm has removed it


class Docker(Engine):
    name, title = "docker", "Docker"
    program, packages = "dockerd", ("docker.io", "iproute2")
    confined = ("as docker run has it: its seccomp filter, capabilities and masked paths; the root is an image, imported into a "
                "dockerd of its own, whose network the host reaches through one veth pair more than usual")
    instance = DockerInstance

    def __init__(self, context):
        super().__init__(context)
        self.daemon = None
        self.absent = []
        self.filtered = True  # the host's bridges are, by somebody else's wish
        self.space = self.state = None
        self.client = []

    def missing(self):
        why = super().missing()
        if not why and not shutil.which("docker"):
            why = "there is no docker command: install the package docker.io, or docker-cli where that exists"
        return why

    def command(self):
        return ["docker", "run", "--rm", "--name", "NAME", "--cpus", "CPUS", "--memory", "MEMORY", "-p", "ADDRESS:PORT:PORT",
                "IMAGE", "ARGV"]

    def docker(self, words, why):
        return command([*self.client, *words], why, self.context.timeout)

    def connect(self, socket):
        """Has the docker command use this dockerd, whatever the user's configuration says of others."""
        settings = self.directory / "client"
        settings.mkdir(exist_ok=True)
        self.client = ["docker", "--config", settings, "--host", f"unix://{socket}"]

    def prepare(self, root):
        super().prepare(root)
        self.space = f"kbench-{os.getpid()}-docker"
        # A short path, on a tmpfs as Docker's own: that of a socket has to fit into 100 bytes.
        self.state = pathlib.Path("/run") / self.space
        self.absent = [path for path in places() if not path.exists()]
        self.connect(self.state / "docker.sock")
        self.filtered = BRIDGES.exists()
        self.start_daemon()
        self.leave_bridges()
        self.join_bridge()
        driver = self.docker(["info", "--format", "{{.Driver}}"], "dockerd does not tell of itself").strip()
        if driver == "vfs":
            raise Failure(f"on {self.context.directory} Docker can only copy the whole root for each container: "
                          "choose another --dir")
        self.import_root()

    def settings(self):
        return {"data-root": str(self.directory / "data"), "exec-root": str(self.state),
                "pidfile": str(self.state / "docker.pid"), "deprecated-key-path": str(self.state / "key.json"),
                "hosts": [f"unix://{self.state}/docker.sock"], "bip": f"{GATEWAY}/24", "fixed-cidr": f"{NETWORK}.0/25"}

    def start_daemon(self):
        self.state.mkdir()
        file, log = self.directory / "daemon.json", self.directory / "dockerd.log"
        file.write_text(json.dumps(self.settings()))
        command(["ip", "netns", "add", self.space], "cannot make a network for dockerd")
        command(["ip", "-n", self.space, "link", "set", "lo", "up"], "cannot make a network for dockerd")
        # With the host's containerd out of sight, which it would use otherwise.
        apart = ["nsenter", f"--net=/run/netns/{self.space}", "--", "unshare", "--mount", "--propagation", "slave", "--", "sh", "-c",
                 'mkdir -p /run/containerd && mount -t tmpfs -o mode=711 kvmbox-bench /run/containerd && exec "$@"', "sh"]
        with open(log, "wb") as output, Hold():
            self.daemon = subprocess.Popen([*apart, "dockerd", "--config-file", file], stdin=subprocess.DEVNULL, stdout=output,
                                           stderr=output, start_new_session=True)
        deadline = time.monotonic() + self.context.timeout
        while True:
            try:
                self.docker(["version"], "dockerd does not answer")
                return
            except Failure as failure:
                if self.daemon.poll() is not None:
                    raise Failure(f"dockerd ended by itself: {tail(read(log))}") from None
                if time.monotonic() > deadline:
                    raise failure
            time.sleep(0.1)

    def leave_bridges(self):
        """The host's bridges are other engines', which are not to pay for what only dockerd's needs."""
        if not self.filtered:
            for each in BRIDGES.glob("bridge-nf-call-*"):
                each.write_text("0\n")

    def join_bridge(self):
        """The host is on the bridge as it is where dockerd is at home, but through a veth pair."""
        why, end = "cannot join the bridge of dockerd", f"kbd{os.getpid()}"
        command(["ip", "link", "add", end, "type", "veth", "peer", "name", "host", "netns", self.space], why)
        command(["ip", "-n", self.space, "link", "set", "host", "master", "docker0", "up"], why)
        command(["ip", "addr", "add", f"{HOST}/24", "dev", end], why)
        command(["ip", "link", "set", end, "up"], why)

    def import_root(self):
        """What others mount is an image of Docker's own here, in whose layers it then finds the root."""
        words = ["tar", "-C", self.root.tree, "-c", "."]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as archive:
            try:
                done = subprocess.run([*self.client, "import", "-", IMAGE], stdin=archive.stdout, capture_output=True, text=True,
                                      errors="replace", check=False, timeout=self.context.timeout * 3)
            except subprocess.TimeoutExpired:
                raise Failure("the root could not be imported into Docker in time") from None
            finally:
                archive.kill()
        if done.returncode != 0:
            raise Failure(f"the root cannot be imported into Docker: {tail(done.stderr)}")

    def published(self, port):
        """The address at which a container's port is published, and docker run's words for it.

        docker0's stands for the 127.0.0.1 of a dockerd at home: at either it is docker-proxy that answers."""
        return GATEWAY, ["-p", f"{GATEWAY}:{port}:{port}"]

    def volume(self, directory):
        """What docker run is told of @directory."""
        return directory

    def words(self, spec, name):
        """What starts it, and the address at which it is reached."""
        address, network = self.published(spec.port) if spec.port else ("127.0.0.1", ["--network", "none"])
        words = [*self.client, "run", "--rm", "--name", name, "--cpus", spec.cpus, "--memory", spec.memory_bytes,
                 *["--memory-swap", spec.memory_bytes] * has_swap(),
                 "--tmpfs", "/tmp:exec", "--tmpfs", "/run", *network]
        if spec.data_dir:
            words += ["-v", f"{self.volume(spec.data_dir)}:/data"]
        return [*words, IMAGE, *spec.argv], address

    @unbroken
    def start(self, spec):
        name = self.new_name()
        words, address = self.words(spec, name)
        return self.instance(self, name, words, spec, address)

    def daemons(self):
        """dockerd and all below it: containerd, the shims with their containers, and what forwards ports."""
        return descendants(self.daemon.pid)

    def clean(self):
        if self.daemon:
            self.daemon.terminate()
            try:
                self.daemon.wait(30 * self.context.patience)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
            self.daemon = None
        if self.space:
            finish(str(self.state))
            if os.path.exists(f"/run/netns/{self.space}"):
                command(["ip", "netns", "delete", self.space], "cannot delete the network of dockerd")
            shutil.rmtree(self.state, ignore_errors=True)
            for path in self.absent:
                remove_empty(path)
            if not self.filtered:
                quietly("modprobe", "-q", "-r", BRIDGE_MODULE)
        super().clean()


def places():
    """Directories that a dockerd leaves behind, its cgroups among them. AppArmor's profile docker-default stays: all share it."""
    return [*map(pathlib.Path, ELSEWHERE), CGROUPS / "docker", *(each / "docker" for each in CGROUPS.iterdir() if each.is_dir())]


def remove_empty(path):
    for directory, _, _ in os.walk(path, topdown=False):
        try:
            os.rmdir(directory)
        except OSError:
            pass  # somebody uses it


def forwards(cmdline, port):
    """Whether this is a docker-proxy of @port."""
    return cmdline.partition("\0")[0].endswith("docker-proxy") and f"\0-host-port\0{port}\0" in cmdline


def running(mark):
    """The processes in whose command line @mark is."""
    return [pid for pid in everyone() if pid != os.getpid() and mark in read(f"/proc/{pid}/cmdline")]


def finish(mark):
    """Ends what is left of those, and all below: of a dockerd that was killed, its shims and their containers."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = running(mark)
        if not found:
            return
        end({each for above in found for each in descendants(above)})
        time.sleep(0.1)
    raise Failure("what Docker started does not end")
