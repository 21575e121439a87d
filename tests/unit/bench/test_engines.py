# SPDX-License-Identifier: Apache-2.0
"""What engines are given: LXC's configurations, QEMU's command line, what a guest is told and says; with nothing started."""
import io
import pathlib
import socket
import struct
import tempfile
import threading
import types
import unittest
from unittest import mock

import here  # noqa: F401
import method
from engines import agent, kvmbox, layer, lxc, qemu_microvm
from engines.base import Engine, Instance, Spec
from workloads.base import Context

SPEC = Spec(["answer", "80"], 2, 256 << 20)


class StopTest(unittest.TestCase):
    def test_an_instance_whose_end_was_interrupted_is_stopped_again(self):
        engine = Engine(Context(pathlib.Path("/none")))
        instance = Instance(engine, "name", ["sleep", "60"], SPEC)
        with mock.patch.object(instance, "release", side_effect=KeyboardInterrupt), self.assertRaises(KeyboardInterrupt):
            instance.stop()
        self.assertEqual(engine.instances, [instance])
        with mock.patch.object(instance, "release") as release:
            method.Run.clean(types.SimpleNamespace(engines={"name": engine}))
        release.assert_called_once()
        self.assertEqual(engine.instances, [])


class LxcTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        (self.directory / "default.conf").write_text("# a comment\nlxc.net.0.type = veth\nlxc.apparmor.profile = generated\n"
                                                    "lxc.apparmor.allow_nesting = 1\n")
        self.change("DEFAULT", self.directory / "default.conf")
        self.change("COMMON", self.directory / "default.conf")

    def change(self, name, value):
        patch = mock.patch.object(lxc, name, value)
        patch.start()
        self.addCleanup(patch.stop)

    def engine(self, kind, apparmor):
        self.change("APPARMOR", self.directory if apparmor else self.directory / "none")
        return kind(Context(self.directory))

    def test_default(self):
        engine = self.engine(lxc.Lxc, apparmor=True)
        lines = engine.confinement()
        self.assertIn("lxc.apparmor.profile = generated", lines)
        self.assertFalse([line for line in lines if line.startswith(("lxc.net", "#", "lxc.idmap"))])
        self.assertNotIn("AppArmor", engine.confined)
        self.assertFalse([line for line in engine.limits(SPEC) if "pids" in line])

    def test_a_host_without_apparmor_is_told(self):
        for kind in lxc.Lxc, lxc.LxcHardened:
            engine = self.engine(kind, apparmor=False)
            self.assertFalse([line for line in engine.confinement() if "apparmor" in line])
            self.assertIn("this host has no AppArmor", engine.confined)

    def test_hardened(self):
        lines = self.engine(lxc.LxcHardened, apparmor=True).confinement()
        self.assertNotIn("lxc.apparmor.allow_nesting = 1", lines)
        for line in ("lxc.apparmor.profile = generated", "lxc.no_new_privs = 1", f"lxc.idmap = u 0 {1 << 30} 65536",
                     f"lxc.idmap = g 0 {1 << 30} 65536"):
            self.assertIn(line, lines)
        # Those of the files included are cleared before what counts instead.
        mounts = [line for line in lines if line.startswith("lxc.mount.auto")]
        self.assertEqual(mounts, ["lxc.mount.auto =", "lxc.mount.auto = proc:mixed sys:mixed"])
        kept = next(line for line in lines if line.startswith("lxc.cap.keep")).partition("= ")[2].split()
        self.assertFalse({"sys_admin", "sys_module", "sys_ptrace", "net_admin", "net_raw", "mknod"} & set(kept))

    def test_limits_of_either_version_of_cgroups(self):
        engine = self.engine(lxc.LxcHardened, apparmor=True)
        self.change("CGROUPS_2", self.directory)
        self.assertEqual(engine.limits(SPEC), ["lxc.cgroup2.memory.max = 268435456", "lxc.cgroup2.cpu.max = 200000 100000",
                                               "lxc.cgroup2.pids.max = 1024"])
        self.change("CGROUPS_2", self.directory / "none")
        self.assertEqual(engine.limits(SPEC), ["lxc.cgroup.memory.limit_in_bytes = 268435456",
                                               "lxc.cgroup.cpu.cfs_quota_us = 200000", "lxc.cgroup.pids.max = 1024"])

    def test_the_cause_is_told_of_what_lxc_says(self):
        errors = ("lxc-start: kbench-1: ../src/lxc/conf.c: lxc_map_ids: 3708 newuidmap failed\n"
                  "lxc-start: kbench-1: ../src/lxc/tools/lxc_start.c: main: 306 The container failed to start\n")
        self.assertEqual(lxc.LxcInstance.said(types.SimpleNamespace(complaints=lambda: errors)), "newuidmap failed")

    def test_cgroups_go_with_those_in_them(self):
        (self.directory / "group/below/further").mkdir(parents=True)
        layer.remove_cgroup(self.directory / "group")
        self.assertFalse((self.directory / "group").exists())


class QemuTest(unittest.TestCase):
    def words(self, disks=("/a,b/root",), tap=None, vhost=True):
        return qemu_microvm.arguments("vmlinux", "initrd", 77, 2, 256 << 20, disks, tap, vhost, b"\2\0\0\0\0\7")

    def after(self, words, option):
        return [value for name, value in zip(words, words[1:]) if name == option]

    def test_machine(self):
        words = self.words()
        self.assertEqual([self.after(words, option) for option in ("-smp", "-m", "-kernel", "-initrd")],
                         [["2"], ["256M"], ["vmlinux"], ["initrd"]])
        self.assertIn("vhost-vsock-device,guest-cid=77", words)
        self.assertIn("-no-reboot", words)

    def test_disks(self):
        drives = self.after(self.words(["/a,b/root", "/data"]), "-drive")
        self.assertEqual([drive.split("file=")[1].split(",format")[0] for drive in drives], ["/a,,b/root", "/data"])
        self.assertTrue(drives[0].endswith("readonly=on") and drives[1].endswith("readonly=off"))

    def test_direct_where_the_file_system_can(self):
        for can, cache in (True, "cache=none"), (False, "cache=writeback"):
            with mock.patch.object(qemu_microvm, "can_direct", lambda _, can=can: can):
                self.assertIn(cache, self.after(self.words(), "-drive")[0])

    def test_network(self):
        self.assertEqual(self.after(self.words(), "-netdev"), [])
        self.assertEqual(self.after(self.words(tap=9), "-netdev"), ["tap,id=net0,fd=9,vhost=on"])
        self.assertEqual(self.after(self.words(tap=9, vhost=False), "-netdev"), ["tap,id=net0,fd=9,vhost=off"])
        self.assertIn("virtio-net-device,netdev=net0,mac=02:00:00:00:00:07", self.words(tap=9))

    def test_what_a_guest_complains_of_before_its_end(self):
        text = "nosuch is not there\r\n[    2.067092] reboot: Restarting system\r\n"
        self.assertEqual(qemu_microvm.QemuInstance.said(types.SimpleNamespace(complaints=lambda: text)), "nosuch is not there")

    def test_description(self):
        files = qemu_microvm.description(["answer", 80], "name", b"\2\0\0\0\0\7", "10.0.0.2")
        self.assertEqual(files[".kvmbox/argv"], b"answer\x0080\0")
        self.assertEqual(files[".kvmbox/net0/addresses"], b"10.0.0.2/24\0")
        self.assertEqual(files[".kvmbox/root/overlay"], b"")
        self.assertFalse([path for path in qemu_microvm.description(["a"], "name", b"", None) if "net" in path])

    def test_archive(self):
        """Read again as the format has it: headers and data at multiples of four, each directory before what is in it."""
        files = {"a/b/longer name": b"12345", "a/c": b""}
        data, found, position = qemu_microvm.archive(files), {}, 0
        while True:
            self.assertEqual(data[position:position + 6], b"070701")
            fields = [int(data[position + 6 + 8 * n:position + 14 + 8 * n], 16) for n in range(13)]
            name = data[position + 110:position + 110 + fields[11] - 1].decode()
            position = (position + 110 + fields[11] + 3) & ~3
            if name == "TRAILER!!!":
                break
            self.assertTrue("/" not in name or name.rpartition("/")[0] in found)
            found[name] = None if fields[1] & 0o040000 else data[position:position + fields[6]]
            position = (position + fields[6] + 3) & ~3
        self.assertEqual(found, {"a": None, "a/b": None, **files})
        self.assertEqual(position, len(data))

    def test_what_comes_with_kvmbox(self):
        with tempfile.TemporaryDirectory() as directory:
            directory = pathlib.Path(directory).resolve()
            for place in "bin", "lib/kvmbox", "source/build/guest":
                (directory / place).mkdir(parents=True)
            for program in "bin/kvmbox", "source/build/kvmbox":
                (directory / program).touch(0o755)
            for program, file in ("bin/kvmbox", "lib/kvmbox/init.cpio"), ("source/build/kvmbox", "source/build/guest/init.cpio"):
                with mock.patch.object(kvmbox, "PROGRAM", str(directory / program)):
                    self.assertIsNone(kvmbox.beside("init.cpio"))
                    (directory / file).touch()
                    self.assertEqual(kvmbox.beside("init.cpio"), directory / file)


class AgentTest(unittest.TestCase):
    def setUp(self):
        self.ours, self.guest = socket.socketpair()
        self.addCleanup(self.ours.close)
        self.addCleanup(self.guest.close)

    def run_command(self, *frames):
        """(status, what was asked of the guest, outputs by stream) of a command to which the guest says @frames."""
        self.guest.sendall(b"".join(frames))
        self.guest.shutdown(socket.SHUT_WR)
        outputs = {}

        def write(stream, data):
            outputs[stream] = outputs.get(stream, b"") + data

        with mock.patch.object(agent, "connect", lambda cid: self.ours), mock.patch.object(agent.signal, "signal"), \
                mock.patch.object(agent, "write", write), mock.patch("sys.stderr", io.StringIO()) as errors:
            status = agent.main("77", ["echo", "two words"])
        outputs["errors"] = errors.getvalue()
        return status, next(agent.frames(self.guest)), outputs

    def data(self, stream, data):
        return agent.frame(agent.DATA, struct.pack("<I", stream) + data)

    def test_a_command(self):
        end = agent.frame(agent.EXIT, struct.pack("<II", 0, 3))
        status, asked, outputs = self.run_command(self.data(1, b"out"), self.data(2, b"err"), self.data(1, b"put"), end)
        self.assertEqual((status, outputs[1], outputs[2]), (3, b"output", b"err"))
        self.assertEqual(asked, (agent.EXEC, struct.pack("<5I", 0, 0, 0, 2, 0) + b"echo\0two words\0\0"))

    def test_ends(self):
        self.assertEqual(agent.exit_status(struct.pack("<II", 1, 9)), 137)
        self.assertEqual(agent.exit_status(struct.pack("<II", 2, 1)), 125)

    def test_a_guest_that_ends_first(self):
        status, _, outputs = self.run_command(self.data(1, b"half"))
        self.assertEqual((status, outputs["errors"]), (125, "the guest ended before the command did\n"))

    def test_why_a_command_cannot_be_run(self):
        status, _, outputs = self.run_command(agent.frame(agent.ERROR, b"there is no such"),
                                              agent.frame(agent.EXIT, struct.pack("<II", 0, 127)))
        self.assertEqual((status, outputs["errors"]), (127, "there is no such\n"))

    def test_the_control_stream_is_closed_at_the_workloads_end(self):
        with tempfile.TemporaryFile() as errors:
            served = threading.Thread(target=qemu_microvm.Host.control, args=(self.ours, errors))
            served.start()
            self.guest.sendall(agent.frame(1, bytes(16)) + agent.frame(agent.ERROR, b"a sentence"))
            served.join(0.1)
            self.assertTrue(served.is_alive())
            self.guest.sendall(agent.frame(agent.EXIT, bytes(8)))
            served.join(10)
            self.assertFalse(served.is_alive())
            errors.seek(0)
            self.assertEqual(errors.read(), b"a sentence\n")


if __name__ == "__main__":
    unittest.main()
