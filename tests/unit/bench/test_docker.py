# SPDX-License-Identifier: Apache-2.0
"""Docker, here and in kvmbox, as far as no dockerd is needed: what is started, what is counted, and what is left."""
import os
import pathlib
import subprocess
import tempfile
import threading
import time
import unittest
from unittest import mock

import here
from engines import docker, docker_in_kvmbox, kvmbox
from engines.base import Failure, Spec, descendants
from workloads.base import Context

PROXY = "/usr/sbin/docker-proxy\0-proto\0tcp\0-host-ip\00010.254.78.1\0-host-port\00020001\0-container-ip\00010.254.78.2\0"
TOLD = """\
55d0-7ffe ---p 00000000 00:00 0 [rollup]
Rss:                 400 kB
Pss:                 100 kB
Pss_Dirty:            60 kB
55d0-7ffe ---p 00000000 00:00 0 [rollup]
Rss:                9000 kB
Pss:                5000 kB
---
Name:	containerd-shim
VmPTE:	      96 kB
Threads:	11
---
anon 700000
kernel 300000
kernel_stack 16384
"""


class Asked:
    """Stands for the docker command: what it has been told, and whether it fails."""

    def __init__(self, fails=False, answer=""):
        self.words, self.fails, self.answer = [], fails, answer

    def __call__(self, words, why):
        self.words.append(words)
        if self.fails:
            raise Failure(why)
        return self.answer


class DockerTest(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.context = Context(self.directory, memory_bytes=512 << 20, instances=4)
        self.engine = docker.Docker(self.context)
        self.engine.client = ["docker"]
        self.vm = docker_in_kvmbox.DockerInKvmbox(self.context)
        self.vm.client, self.vm.address = ["docker"], "10.0.0.2"
        self.vm.docker = Asked()

    def test_bridges_are_left_alone(self):
        switches = [self.directory / f"bridge-nf-call-{each}" for each in ("iptables", "ip6tables")]
        for filtered, wanted in ((True, "1\n"), (False, "0\n")):
            for each in switches:
                each.write_text("1\n")
            self.engine.filtered = filtered
            with mock.patch.object(docker, "BRIDGES", self.directory):
                self.engine.leave_bridges()
            self.assertEqual([each.read_text() for each in switches], [wanted, wanted])

    def test_words(self):
        words, address = self.engine.words(Spec(["answer", "20001"], 2, 1 << 29, self.directory, 20001), "one")
        text = " ".join(map(str, words))
        self.assertTrue(text.startswith("docker run --rm --name one --cpus 2 --memory 536870912 "), text)
        self.assertIn(f" -p {docker.GATEWAY}:20001:20001 ", text)
        self.assertIn(f" -v {self.directory}:/data ", text)
        self.assertTrue(text.endswith(" kvmbox-bench answer 20001"), text)
        self.assertEqual(address, docker.GATEWAY)
        words, address = self.engine.words(Spec(["answer"]), "two")
        self.assertEqual(words[words.index("--network") + 1], "none")
        self.assertNotIn("-p", words)
        self.assertNotIn("-v", words)

    def test_the_vm_rests_between_its_turns(self):
        asked = []
        self.vm.run = lambda words, why: asked.append(words[0])
        with self.vm.turn():
            self.assertEqual(asked, ["resume"])
        self.assertEqual(asked, ["resume", "pause"])
        with self.assertRaises(KeyboardInterrupt), self.vm.turn():
            self.vm.instances.append("one that was interrupted")
            raise KeyboardInterrupt
        self.assertEqual(asked, ["resume", "pause", "resume"])

    def test_words_in_kvmbox(self):
        words, address = self.vm.words(Spec(["answer"], data_dir=self.directory, port=20001), "one")
        self.assertEqual(words[words.index("-p") + 1], "20001:20001")
        self.assertEqual(words[words.index("-v") + 1], "data-0:/data")
        self.assertEqual(address, "10.0.0.2")

    def test_volume_is_that_of_the_directory(self):
        data = self.directory / "data"
        data.mkdir()
        self.assertEqual(self.vm.volume(data), "data-0")
        self.vm.number = 1
        self.assertEqual(self.vm.volume(data), "data-0")
        self.assertEqual(self.vm.docker.words, [])
        (data / "volume").unlink()
        self.assertEqual(self.vm.volume(data), "data-1")
        self.assertEqual(self.vm.docker.words, [["volume", "rm", "--force", "data-0"]])

    def test_volume_that_is_in_use_still(self):
        data = self.directory / "data"
        data.mkdir()
        self.vm.volume(data)
        (data / "volume").unlink()
        self.vm.number, self.vm.docker.fails = 1, True
        self.assertEqual(self.vm.volume(data), "data-1")
        self.assertEqual(list(self.vm.volumes), ["data-0", "data-1"])
        (data / "volume").unlink()
        self.vm.number, self.vm.docker.fails = 2, False
        self.vm.volume(data)
        self.assertEqual(list(self.vm.volumes), ["data-2"])

    def test_settings_touch_nothing_of_the_user(self):
        self.engine.state = self.directory / "state"
        for name, value in self.engine.settings().items():
            with self.subTest(name):
                if name not in ("bip", "fixed-cidr"):
                    self.assertIn(str(self.directory), value[0] if isinstance(value, list) else value)

    def test_forwards(self):
        self.assertTrue(docker.forwards(PROXY, 20001))
        self.assertFalse(docker.forwards(PROXY, 2000))
        self.assertFalse(docker.forwards("dockerd\0-host-port\00020001\0", 20001))
        self.assertFalse(docker.forwards("docker-proxy\0", 20001))
        self.assertFalse(docker.forwards("", 20001))

    def test_memory_in_kvmbox(self):
        self.assertEqual(docker_in_kvmbox.parse(TOLD), (5100 << 10) + (96 << 10) + (11 << 14) + 300000)
        for text in ("", "---\n---\n", TOLD.replace("Threads", "threads")):
            with self.assertRaisesRegex(Failure, "^the VM does not tell"):
                docker_in_kvmbox.parse(text)

    def test_size_of_vm(self):
        with mock.patch.object(docker_in_kvmbox, "read", return_value="MemTotal:       33554432 kB\n"):
            self.assertEqual(self.vm.size(), (len(os.sched_getaffinity(0)), (5 * 512 + 512) << 20))
        with mock.patch.object(docker_in_kvmbox, "read", return_value="MemTotal:        2097152 kB\n"):
            self.assertEqual(self.vm.size()[1], 1536 << 20)

    def test_missing(self):
        with mock.patch.dict(os.environ, {"PATH": str(self.directory)}):
            self.assertRegex(self.engine.missing(), "^there is no dockerd: install the package docker.io")
            (self.directory / "dockerd").touch(0o755)
            self.assertRegex(self.engine.missing(), "^there is no docker command: install the package docker.io")
            (self.directory / "docker").touch(0o755)
            self.assertIsNone(self.engine.missing())

    def test_missing_in_kvmbox(self):
        program = self.directory / "bin/kvmbox"
        program.parent.mkdir()
        program.touch(0o755)
        self.enterContext(mock.patch.object(kvmbox, "PROGRAM", str(program)))
        self.vm.kvmbox = mock.Mock(program=str(program))
        self.vm.kvmbox.missing.return_value = "there is no /dev/kvm"
        self.assertEqual(self.vm.missing(), "there is no /dev/kvm")
        self.vm.kvmbox.missing.return_value = None
        self.assertRegex(self.vm.missing(), "^kvmbox has no docker-host.erofs with it: build it with meson")
        image = self.directory / "lib/kvmbox/docker-host.erofs"
        image.parent.mkdir(parents=True)
        image.touch()
        with mock.patch.dict(os.environ, {"PATH": str(self.directory)}):
            self.assertRegex(self.vm.missing(), "^there is no docker: install the package docker.io")

    def test_what_others_use_is_left(self):
        (self.directory / "docker/plugins/of/one").mkdir(parents=True)
        (self.directory / "docker/used").mkdir()
        (self.directory / "docker/used/file").touch()
        docker.remove_empty(self.directory / "docker")
        self.assertEqual([each.name for each in (self.directory / "docker").iterdir()], ["used"])
        docker.remove_empty(self.directory / "nonesuch")

    def instance(self):
        return docker.DockerInstance(self.engine, "one", ["sh", "-c", "echo first; exec sleep 100"], Spec(["answer"]))

    def test_detached(self):
        self.engine.docker = Asked(answer="true\n")
        with self.instance() as instance:
            instance.first_instruction()
            instance.detach()
            self.assertTrue(instance.alive())
            self.engine.docker.answer = "false\n"
            self.assertFalse(instance.alive())
        self.assertEqual(self.engine.docker.words[-1], ["rm", "--force", "--volumes", "one"])

    def test_stopped_before_there_is_a_container(self):
        self.engine.docker = Asked(fails=True)
        instance = self.instance()
        self.assertTrue(instance.alive())
        instance.kill()
        instance.process.wait(10)
        instance.stop()
        self.assertEqual([words[0] for words in self.engine.docker.words], ["kill", "rm"])

    def test_finish(self):
        mark = str(self.directory / "state")
        with subprocess.Popen(["sh", "-c", "sleep 100 & wait", mark], start_new_session=True) as process:
            deadline = time.monotonic() + 10
            while (len(descendants(process.pid)) < 2 or docker.running(mark) != [process.pid]) and time.monotonic() < deadline:
                time.sleep(0.01)  # its child has its command line until it is sleep
            children = descendants(process.pid)
            reaper = threading.Thread(target=process.wait)  # as PID 1 does for what dockerd has left
            reaper.start()
            docker.finish(mark)
            reaper.join()
        self.assertEqual(docker.running(mark), [])
        self.assertEqual(len(children), 2)
        self.assertFalse([pid for pid in children if "sleep" in docker.read(f"/proc/{pid}/cmdline")])

    def test_clean_without_anything(self):
        self.engine.clean()
        self.vm.clean()
        docker.finish(str(self.directory / "nobody"))


if __name__ == "__main__":
    unittest.main()
