// SPDX-License-Identifier: Apache-2.0
/*
 * Runs a driver gone mad (storm.c), OPERATIONS for each SEED: the monitor survives all of it, with
 * the other devices' data right, says little, and writes to no disk that is read-only and not past
 * the end of the other. With "loops" for a seed, the disks' queues have threads of their own from
 * then on; with "pause", the machine is paused all the time, whatever is in flight.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "harness.h"

#define MEM_BYTES  (256u << 20) /* as storm.c has it */
#define DISK_BYTES (8u << 20)
#define TAIL_BYTES 400
#define PAUSE_MS   25

/* What a guest may make the monitor say: the device's limits come to less. */
#define LINES_MAX        400
#define LINES_PER_SECOND 40

/* A small part of what is done on an idle machine, even under a sanitizer. */
#define OPERATIONS_PER_SECOND 300u

static uint8_t input[1 << 16]; /* for the serial port */

/* The last word of how far it got; there is much between such lines. */
static unsigned int last_news(const struct payload *p)
{
	static const char mark[] = "\nat operation ";
	const char *news = NULL, *at = p->console;
	size_t left = p->console_len;

	while ((at = memmem(at, left, mark, strlen(mark)))) {
		news = at += strlen(mark);
		left = p->console_len - (size_t)(at - p->console);
	}
	return news ? (unsigned int)strtoul(news, NULL, 10) : 0;
}

static bool run(const char *path, const char *operations, const char *seed, bool loops, bool pause)
{
	struct payload p;
	char cmdline[64];
	struct stat st;

	snprintf(cmdline, sizeof(cmdline), "ops=%s seed=%s", operations, seed);
	payload_init(&p, path);
	p.cmdline = cmdline;
	p.cpus = 2;
	p.mem_bytes = MEM_BYTES;
	p.workload = true;
	p.partial = true;
	p.timeout_ms =
		60000 + (unsigned int)strtoul(operations, NULL, 10) / OPERATIONS_PER_SECOND * 1000;
	p.pause_every_ms = pause ? PAUSE_MS : 0;
	p.input = input;
	p.input_len = sizeof(input);
	for (unsigned int i = 0; i < 2; i++) {
		struct payload_disk *d = payload_add_disk(&p, DISK_BYTES);

		d->queues = 2;
		d->own_loops = loops;
		d->read_only = i == 0;
	}
	payload_add_echo_net(&p);

	uint64_t begin = clock_now_ns();

	payload_run(&p);
	unsigned int seconds = (unsigned int)((clock_now_ns() - begin) / 1000000000u);
	unsigned int lines = payload_count_log(&p, "\n");
	char *tail = payload_console_tail(&p, TAIL_BYTES);
	const char *verdict = strstr(tail, "\nok storm ");

	payload_expect_end(&p, VM_END_RESET);
	payload_expect(&p, verdict && strstr(verdict, "\ndone\n"),
		       "the payload with %s did not come to its end after operation %u: ...%s",
		       cmdline, last_news(&p), tail);
	payload_expect(&p, lines < LINES_MAX + LINES_PER_SECOND * seconds,
		       "the log is flooded: %u lines in %u s", lines, seconds);
	payload_expect(&p, !pause || p.pauses, "the machine was never paused");
	payload_expect_disk(&p, 0, 0, NULL, DISK_BYTES);
	payload_expect(&p, !fstat(p.disks[1].fd, &st) && st.st_size == DISK_BYTES,
		       "the disk's size changed");
	if (verdict)
		printf("%.*s, %u pauses, in %u s\n", (int)strcspn(verdict + 1, "\n"), verdict + 1,
		       p.pauses, seconds);
	fflush(stdout);
	free(tail);
	return payload_verdict(&p);
}

int main(int argc, char **argv)
{
	bool good = true, loops = false, pause = false;

	if (argc < 4) {
		fprintf(stderr, "usage: %s PAYLOAD OPERATIONS SEED|loops|pause...\n", argv[0]);
		return 2;
	}
	for (size_t i = 0; i < sizeof(input); i++)
		input[i] = pattern_stream((uint32_t)i);
	for (int i = 3; i < argc; i++) {
		if (!strcmp(argv[i], "loops"))
			loops = true;
		else if (!strcmp(argv[i], "pause"))
			pause = true;
		else
			good &= run(argv[1], argv[2], argv[i], loops, pause);
	}
	return !good;
}
