// SPDX-License-Identifier: Apache-2.0
/*
 * Runs native_blk_guest.c over an image, and prints what came of it as a line of JSON. The guest's
 * time is its time-stamp counter's, whose frequency is measured here.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <x86intrin.h>

#include "../payload/harness.h"

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static double ticks_per_second(void)
{
	const struct timespec nap = { .tv_nsec = 100 * 1000 * 1000 };
	uint64_t ns = now_ns(), ticks = __rdtsc();

	nanosleep(&nap, NULL);
	ticks = __rdtsc() - ticks;
	return (double)ticks * 1e9 / (double)(now_ns() - ns);
}

static int usage(void)
{
	fprintf(stderr, "usage: native_blk_run GUEST IMAGE CMDLINE [fixed-buffers|sqpoll]...\n");
	return 2;
}

int main(int argc, char **argv)
{
	unsigned int requests, kicks, failures;
	unsigned long long ticks;
	struct payload p;
	struct stat st;

	if (argc < 4)
		return usage();
	int fd = open(argv[2], O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st)) {
		perror(argv[2]);
		return 1;
	}
	payload_init(&p, argv[1]);
	p.cmdline = argv[3];
	p.disks[p.ndisks++] =
		(struct payload_disk){ .fd = fd, .size = (uint64_t)st.st_size, .queues = 1 };
	for (int i = 4; i < argc; i++) {
		p.disks[0].fixed_buffers |= !strcmp(argv[i], "fixed-buffers");
		p.disks[0].sqpoll |= !strcmp(argv[i], "sqpoll");
	}
	payload_run(&p);
	const char *line = strstr(p.console, "bench ");
	if (!line ||
	    sscanf(line, "bench requests %u kicks %u failures %u ticks %llx", &requests, &kicks,
		   &failures, &ticks) != 4 ||
	    failures) {
		fprintf(stderr, "the guest did not do its work: %s%s%s\n", p.console, p.log,
			p.message.text);
		return 1;
	}
	double seconds = (double)ticks / ticks_per_second();

	printf("{\"requests\": %u, \"kicks\": %u, \"seconds\": %.6f, \"iops\": %.0f}\n", requests,
	       kicks, seconds, requests / seconds);
	return 0;
}
