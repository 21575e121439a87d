// SPDX-License-Identifier: Apache-2.0
/*
 * loop compute|calls SECONDS [TIMES]: does so for about that long, but not less often than TIMES,
 * and prints how often a second it did: steps of a 64-bit generator of random numbers, each of
 * which needs the last, or the shortest system call.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t compute(uint64_t state)
{
	for (int i = 0; i < 100000; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
	}
	return state;
}

static void call(void)
{
	for (int i = 0; i < 1000; i++)
		syscall(SYS_getppid);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	int calls = !strcmp(argv[1], "calls");
	volatile uint64_t state = 88172645463325252ULL;
	double seconds = atof(argv[2]), times = argc > 3 ? atof(argv[3]) : 0, begin = now(), end,
	       turns = 0;

	do {
		if (calls)
			call();
		else
			state = compute(state);
		turns += calls ? 1000 : 100000;
		end = now();
	} while (end - begin < seconds || turns < times);
	printf("%.0f\n", turns / (end - begin));
	return 0;
}
