#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""pack.py OUT INIT: the initrd that kvmbox boots with, INIT as /init in a raw
newc archive beside the directories and the node that it needs. Needs no
privilege and gives the same bytes for the same INIT."""
import stat
import sys


def entry(inode, name, mode, data=b"", rdev=(0, 0)):
    fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, *rdev, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields)
    head += name.encode() + b"\0"
    head += b"\0" * (-len(head) % 4)
    return head + data + b"\0" * (-len(data) % 4)


def main(out, init):
    with open(init, "rb") as file:
        program = file.read()
    directory = stat.S_IFDIR | 0o755
    names = ["dev", "proc", "sys", "mnt", "mnt/root", "mnt/image", "mnt/scratch"]
    parts = [entry(i + 1, name, directory) for i, name in enumerate(names)]
    # The kernel opens it as init's standard streams.
    parts.append(entry(100, "dev/console", stat.S_IFCHR | 0o600, rdev=(5, 1)))
    parts.append(entry(101, "init", stat.S_IFREG | 0o755, program))
    parts.append(entry(0, "TRAILER!!!", 0))
    archive = b"".join(parts)
    with open(out, "wb") as file:
        file.write(archive + b"\0" * (-len(archive) % 512))


main(*sys.argv[1:])
