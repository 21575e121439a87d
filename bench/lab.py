# SPDX-License-Identifier: Apache-2.0
"""kvmbox bench --lab: the same run on an emulated host, for machines without VT-x and AMD-V.

The emulated host is made by scripts/lab of the source tree. It sees the files of this one, has the root file system as a
disk, and an empty disk for what is under test. The results are written to a directory of this host as they come,
so that they are kept whatever becomes of the emulated one.
"""
import os
import pathlib
import subprocess
import tempfile

import results
import root
from engines.base import Hold

SOURCE = pathlib.Path(__file__).resolve().parent.parent
CPUS, MEMORY, DISK = 2, "8G", "16G"
DAY = 24 * 60 * 60
ENDS = (0, 1)  # exit statuses of a run that came to its end, or was ended in order
# The second disk is the root file system: $1 is where it is kept on the host outside, and has its checksum. $2 is the file of
# results.
INSIDE = f"""
set -e
mkfs.ext4 -q "$LAB_DISKS"
mkdir -p /mnt/bench /run/bench-root
mount "$LAB_DISKS" /mnt/bench
cp "$1/{root.CHECKSUM}" /run/bench-root/
ln -s /dev/vdb /run/bench-root/{root.IMAGE}
cd "$LAB_OUT"
exec "$KVMBOX_PROGRAM" bench --root /run/bench-root --dir /mnt/bench -o "${{@:2}}"
"""


def find():
    """The program that makes the emulated host."""
    program = SOURCE / "scripts" / "lab"
    if not program.is_file():
        raise results.Problem("--lab: what makes an emulated host comes with kvmbox's source, and not with an installed kvmbox: "
                              "run build/kvmbox bench --lab there")
    return program


def run(words, output, argv, found):
    """kvmbox bench with these @words on an emulated host, and its results in @output.

    @argv: the words of this run, for the record. @found: the Root. Returns why it was left before its end, or None.
    """
    program = find()
    with tempfile.TemporaryDirectory(prefix="kvmbox-bench-lab.", dir="/var/tmp") as directory:
        disk = f"file={found.image},if=none,id=root,format=raw,readonly=on"
        extra = ["-drive", disk, "-device", "virtio-blk-pci,drive=root"]
        command = [program, "--instructions", "--cpus", CPUS, "--mem", MEMORY, "--disk", DISK, "--timeout", DAY,
                   *(word for each in extra for word in ("--qemu-arg", each)),
                   "--", "bash", "-c", INSIDE, "bench", found.image.parent, output.name, *words]
        try:
            with Hold():
                process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, start_new_session=True,
                                           env={**os.environ, "LAB_OUT": directory})
            status, why = process.wait(), None
            if status not in ENDS:
                why = f"the emulated host ended with status {status}"
        except KeyboardInterrupt as interrupt:
            process.terminate()
            process.wait()
            why = str(interrupt) or results.INTERRUPTED
        made = pathlib.Path(directory) / output.name
        if not made.exists():
            raise results.Problem(f"{why or 'the run on the emulated host failed'}, before anything was measured")
        keep(made, output, argv, why)
        return why


def keep(made, output, argv, why):
    """Saves the file of results @made as @output; where it was left before its end, with @why."""
    data = results.load(made).data
    data["command"] = ["kvmbox", "bench", *argv]
    if why and not data["complete"]:
        data["why_incomplete"] = why
    results.save(data, output)
