# SPDX-License-Identifier: Apache-2.0
"""What the host is: the processor, what slows it down, the kernel, the disk, and what runs VMs. Parsers of saved texts, and
a function that reads them here."""
import os
import pathlib
import re
import shutil

from engines import kvmbox
from engines.base import field, quietly, read, version_of
from workloads import counts

VULNERABILITIES = pathlib.Path("/sys/devices/system/cpu/vulnerabilities")
HYPERVISOR_LEAF = 0x40000000
EMULATORS = {"TCGTCGTCGTCG": "QEMU emulates the processor in software (TCG)"}
TOOLS = {"kvmbox": (kvmbox.PROGRAM, "--version"), "qemu": ("qemu-system-x86_64", "--version"), "lxc": ("lxc-start", "--version"),
         "runc": ("runc", "--version"), "docker client": ("docker", "--version"), "python": ("python3", "--version")}


def cpu_model(cpuinfo):
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else "unknown"


def flags(cpuinfo):
    found = re.search(r"^flags\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return set(found[1].split()) if found else set()


def frequencies(cpuinfo):
    """MHz of each CPU at the moment, or None where that is not told."""
    found = [float(each) for each in re.findall(r"^cpu MHz\s*:\s*([\d.]+)\s*$", cpuinfo, re.MULTILINE)]
    return found or None


def virtualisation(cpuinfo, has_kvm, hypervisor="", clocks=""):
    """(kind, note): what VMs run on. @hypervisor: its 12 letters of CPUID; @clocks: the clock sources there are."""
    if not has_kvm:
        return "none", "there is no /dev/kvm: no engine with VMs can run"
    have = flags(cpuinfo)
    kind = "VT-x" if "vmx" in have else "AMD-V" if "svm" in have else None
    if not kind:
        return "none", "there is a /dev/kvm, but neither VT-x nor AMD-V"
    if "hypervisor" not in have:
        return "hardware", kind
    if hypervisor in EMULATORS:
        return "emulated", f"{EMULATORS[hypervisor]}, {kind} included"
    if not hypervisor and "QEMU" in cpu_model(cpuinfo) and "kvm-clock" not in clocks:
        return "emulated", f"QEMU seems to emulate the processor in software, {kind} included"
    if not hypervisor and not any(word in clocks for word in ("kvm-clock", "hyperv", "xen")):
        return "emulated", ("this host is a VM of an unknown kind, without the clock of any that has hardware: "
                            f"{kind} is taken for emulated")
    return "nested", f"this host is itself a VM{f' ({hypervisor})' if hypervisor else ''}, to which {kind} is passed on"


def hypervisor_signature(device="/dev/cpu/0/cpuid"):
    """What the hypervisor calls itself; empty where that cannot be read."""
    quietly("modprobe", "-q", "cpuid")
    try:
        with open(device, "rb", buffering=0) as file:
            file.seek(HYPERVISOR_LEAF)
            return file.read(16)[4:16].rstrip(b"\0").decode("ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def mitigations(directory=VULNERABILITIES):
    try:
        return {each.name: read(each).strip() for each in sorted(directory.iterdir())}
    except OSError:
        return {}


def mount_of(path, mountinfo):
    """(source, file system) of where @path lies, from the text of /proc/self/mountinfo."""
    best, found = -1, ("unknown", "unknown")
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        words, behind = before.split(), after.split()
        if len(words) < 5 or len(behind) < 2:
            continue
        where = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), words[4])
        inside = path == where or path.startswith(where.rstrip("/") + "/")
        if inside and len(where) >= best:
            best, found = len(where), (behind[1], behind[0])
    return found


def disk_name(source):
    """The device, with its model where it has one."""
    device = os.path.basename(os.path.realpath(source))
    for name in (device, re.sub(r"p?\d+$", "", device)):
        model = read(f"/sys/block/{name}/device/model").strip()
        if model:
            return f"{source} ({model})"
    return source


def machine(directory, versions):
    """The "machine" of the results. @directory: on the file system under test; @versions: of programs of the root."""
    cpuinfo = read("/proc/cpuinfo")
    kind, note = virtualisation(cpuinfo, os.path.exists("/dev/kvm"), hypervisor_signature(),
                                read("/sys/devices/system/clocksource/clocksource0/available_clocksource"))
    source, file_system = mount_of(str(directory), read("/proc/self/mountinfo"))
    found = {name: version_of(*words) for name, words in TOOLS.items() if shutil.which(words[0])}
    return {
        "cpu": cpu_model(cpuinfo), "cpus": len(os.sched_getaffinity(0)), "memory_bytes": field(read("/proc/meminfo"), "MemTotal"),
        "kernel": f"{os.uname().release} {os.uname().version}",
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        "frequency_mhz": frequencies(cpuinfo), "mitigations": mitigations(), "virtualisation": kind, "virtualisation_note": note,
        "not_counted": counts.host().lacking,
        "versions": {name: value for name, value in {**found, **versions}.items() if value},
        "disk": disk_name(source), "file_system": file_system}
