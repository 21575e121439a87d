# SPDX-License-Identifier: Apache-2.0
"""Prints the CPU time in ms that reading a kernel's image into fresh huge pages takes, and nothing else: what a
monitor that copies the image and gives its guest huge pages cannot go below on this machine.

usage: imageload.py VMLINUX
"""
import ctypes
import mmap
import os
import struct
import sys
import time

HUGE_PAGE = 2 << 20
PT_LOAD = 1


def load_segments(head):
    """(offset, address, bytes in the file, bytes in memory) of each."""
    table, count = struct.unpack_from("<Q", head, 32)[0], struct.unpack_from("<H", head, 56)[0]
    headers = [struct.unpack_from("<II6Q", head, table + 56 * number) for number in range(count)]
    return [(offset, address, filled, size) for kind, _, offset, _, address, filled, size, _ in headers if kind == PT_LOAD]


def main():
    with open(sys.argv[1], "rb") as kernel:
        segments = load_segments(kernel.read(4096))
        begin = min(address for _, address, _, _ in segments) & -HUGE_PAGE
        end = max(address + size for _, address, _, size in segments)
        memory = mmap.mmap(-1, end - begin + 2 * HUGE_PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(mmap.MADV_HUGEPAGE)
        aligned = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % HUGE_PAGE
        view = memoryview(memory)
        started = time.thread_time_ns()
        for offset, address, filled, _ in segments:
            at = aligned + address - begin
            os.preadv(kernel.fileno(), [view[at:at + filled]], offset)
        print((time.thread_time_ns() - started) / 1e6)


main()
