// SPDX-License-Identifier: Apache-2.0
//
// The disk bench's PID 1: reads and writes the second disk with a number of requests under way,
// by Linux's own asynchronous I/O, and says before and after each load that it is there. What has
// completed by the time it looks is asked for anew in one go.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { DEPTH_MAX = 32 };

static const struct load {
	const char *name;
	bool write, random;
	unsigned int depth, size, requests;
} loads[] = {
	{ "read1", false, true, 1, 4096, 1000 },
	{ "write1", true, true, 1, 4096, 1000 },
	{ "read32", false, true, 32, 4096, 4000 },
	{ "write32", true, true, 32, 4096, 4000 },
	{ "seqread", false, false, 4, 128 << 10, 300 },
	{ "seqwrite", true, false, 4, 128 << 10, 300 },
};

static int disk;
static uint64_t disk_size;
static uint64_t state = 88172645463325252ull;
static uint8_t *buffers;

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void fill(struct iocb *cb, const struct load *l, unsigned int slot, unsigned int number)
{
	uint64_t blocks = disk_size / l->size;
	uint64_t block = (l->random ? next_random() : number) % blocks;

	*cb = (struct iocb){
		.aio_data = slot,
		.aio_lio_opcode = l->write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)disk,
		.aio_buf = (uintptr_t)(buffers + (size_t)slot * l->size),
		.aio_nbytes = l->size,
		.aio_offset = (int64_t)(block * l->size),
	};
}

// Nanoseconds that it took, or 0.
static uint64_t run(const struct load *l)
{
	static struct iocb cbs[DEPTH_MAX];
	struct io_event events[DEPTH_MAX];
	struct iocb *batch[DEPTH_MAX];
	unsigned int submitted = 0, finished = 0, n = 0;
	aio_context_t ctx = 0;

	if (syscall(SYS_io_setup, DEPTH_MAX, &ctx))
		return 0;
	uint64_t begin = now_ns();
	for (; n < l->depth; n++) {
		fill(&cbs[n], l, n, submitted++);
		batch[n] = &cbs[n];
	}
	while (finished < l->requests) {
		if (n && syscall(SYS_io_submit, ctx, (long)n, batch) != (long)n)
			return 0;
		long got = syscall(SYS_io_getevents, ctx, 1L, (long)DEPTH_MAX, events, NULL);

		if (got < 1)
			return 0;
		n = 0;
		for (long i = 0; i < got; i++) {
			struct iocb *cb = &cbs[events[i].data];

			if (events[i].res != (int64_t)l->size)
				return 0;
			finished++;
			if (submitted == l->requests)
				continue;
			fill(cb, l, (unsigned int)events[i].data, submitted++);
			batch[n++] = cb;
		}
	}
	uint64_t took = now_ns() - begin;

	syscall(SYS_io_destroy, ctx);
	return took;
}

int main(void)
{
	const size_t room = DEPTH_MAX * (128 << 10);

	if (mount("dev", "/dev", "devtmpfs", 0, NULL))
		return EXIT_FAILURE;
	disk = open("/dev/vdb", O_RDWR | O_DIRECT);
	buffers = mmap(NULL, room, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (disk < 0 || buffers == MAP_FAILED || ioctl(disk, BLKGETSIZE64, &disk_size))
		return EXIT_FAILURE;
	dprintf(STDOUT_FILENO, "PID1\n");
	for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
		// Time for whoever counts to look at the counters.
		usleep(500 * 1000);
		dprintf(STDOUT_FILENO, "<%s\n", loads[i].name);
		usleep(500 * 1000);
		uint64_t took = run(&loads[i]);

		// One byte, since each costs exits and system calls; then the words.
		dprintf(STDOUT_FILENO, ">");
		usleep(500 * 1000);
		dprintf(STDOUT_FILENO, "%u %llu.\n", loads[i].requests, (unsigned long long)took);
	}
	for (;;)
		pause();
}
