// SPDX-License-Identifier: Apache-2.0
//
// The benches' PID 1: says that it runs and waits to be killed with the VM; with "read" in its
// environment it reads its disk in between, and says so. As any other process it only executes the
// marker, which has the lab's counter of instructions write that a boot begins.

#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

enum { DEPTH = 32, REQUEST = 128 << 10, REQUESTS = 512 };

static int disk;
static atomic_int next;
static atomic_bool failed;

static int say(const char *line)
{
	return write(STDOUT_FILENO, line, strlen(line)) < 0;
}

static void *read_requests(void *buffer)
{
	int request;

	while ((request = atomic_fetch_add(&next, 1)) < REQUESTS)
		if (pread(disk, buffer, REQUEST, (off_t)request * REQUEST) != REQUEST)
			failed = true;
	return NULL;
}

// All of the first 64 MiB, with DEPTH requests under way.
static bool read_disk(void)
{
	pthread_t threads[DEPTH];

	if (mount("dev", "/dev", "devtmpfs", 0, NULL))
		return false;
	disk = open("/dev/vda", O_RDONLY | O_DIRECT);
	char *buffers = mmap(NULL, (size_t)DEPTH * REQUEST, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (disk < 0 || buffers == MAP_FAILED)
		return false;
	for (int i = 0; i < DEPTH; i++)
		if (pthread_create(&threads[i], NULL, read_requests, buffers + (size_t)i * REQUEST))
			return false;
	for (int i = 0; i < DEPTH; i++)
		pthread_join(threads[i], NULL);
	return !failed;
}

int main(void)
{
	// The marker of tests/lab/host/instructions.c.
	asm volatile(".byte 0x0f, 0x1f, 0x84, 0x00, 'k', 'v', 'm', 'b'");
	if (getpid() != 1)
		return EXIT_SUCCESS;
	if (say("PID1\n"))
		return EXIT_FAILURE;
	if (getenv("read") && say(read_disk() ? "READ\n" : "FAILED\n"))
		return EXIT_FAILURE;
	for (;;)
		pause();
}
