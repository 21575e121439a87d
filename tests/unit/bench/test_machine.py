# SPDX-License-Identifier: Apache-2.0
"""What is read from the texts of hosts: of real ones, virtual ones, and emulated ones."""
import pathlib
import tempfile
import unittest

import here  # noqa: F401
import machine


def cpuinfo(model, flags, mhz=("2800.000", "2799.5")):
    return "".join(f"processor\t: {number}\nmodel name\t: {model}\ncpu MHz\t\t: {each}\nflags\t\t: fpu {flags}\n\n"
                   for number, each in enumerate(mhz))


XEON = "Intel(R) Xeon(R) Gold 6226R CPU @ 2.90GHz"
MOUNTS = """\
22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw
30 22 0:26 / /run rw - tmpfs tmpfs rw
40 22 8:17 / /srv/a\\040b rw - xfs /dev/sdb1 rw
41 22 8:18 / /srv rw - btrfs /dev/sdb2 rw
"""


class Machine(unittest.TestCase):
    def kind(self, *words, **options):
        return machine.virtualisation(*words, **options)[0]

    def test_virtualisation(self):
        bare, guest = cpuinfo(XEON, "vmx ept"), cpuinfo(XEON, "vmx hypervisor")
        self.assertEqual(machine.virtualisation(bare, True, clocks="tsc hpet"), ("hardware", "VT-x"))
        self.assertEqual(self.kind(cpuinfo("AMD EPYC", "svm npt"), True), "hardware")
        self.assertEqual(self.kind(bare, False), "none")
        self.assertEqual(self.kind(guest, True, "KVMKVMKVM"), "nested")
        self.assertEqual(self.kind(guest, True, clocks="kvm-clock tsc"), "nested")
        self.assertEqual(self.kind(guest, True, "Microsoft Hv"), "nested")
        self.assertEqual(self.kind(guest, True, "TCGTCGTCGTCG", "tsc hpet"), "emulated")
        self.assertEqual(self.kind(cpuinfo("QEMU Virtual CPU version 2.5+", "svm hypervisor"), True, clocks="tsc"), "emulated")
        self.assertEqual(self.kind(guest, True, clocks="tsc hpet acpi_pm"), "emulated")
        self.assertEqual(self.kind(cpuinfo(XEON, "hypervisor"), True, clocks="kvm-clock"), "none")

    def test_cpu(self):
        text = cpuinfo(XEON, "vmx")
        self.assertEqual((machine.cpu_model(text), machine.frequencies(text)), (XEON, [2800.0, 2799.5]))
        self.assertEqual((machine.cpu_model(""), machine.frequencies(""), machine.flags("")), ("unknown", None, set()))

    def test_mount(self):
        self.assertEqual(machine.mount_of("/var/tmp", MOUNTS), ("/dev/sda2", "ext4"))
        self.assertEqual(machine.mount_of("/srv/a b/c", MOUNTS), ("/dev/sdb1", "xfs"))
        self.assertEqual(machine.mount_of("/srv/a", MOUNTS), ("/dev/sdb2", "btrfs"))
        self.assertEqual(machine.mount_of("/srvx", MOUNTS), ("/dev/sda2", "ext4"))
        self.assertEqual(machine.mount_of("/x", "nonsense\n"), ("unknown", "unknown"))

    def test_mitigations(self):
        with tempfile.TemporaryDirectory() as directory:
            (pathlib.Path(directory) / "meltdown").write_text("Mitigation: PTI\n")
            self.assertEqual(machine.mitigations(pathlib.Path(directory)), {"meltdown": "Mitigation: PTI"})
        self.assertEqual(machine.mitigations(pathlib.Path("/nonexistent")), {})


if __name__ == "__main__":
    unittest.main()
