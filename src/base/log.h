// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

/*
 * What kvmbox says to the person who runs it: whole lines on stderr, each starting with "kvmbox: ".
 * Standard output belongs to the workload and is never written here.
 */
void log_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * A budget for lines that a guest can provoke: at most @burst lines in any @interval_ms
 * milliseconds. Suppressed lines are counted, and the count is told with the next line let through.
 * A zero-initialised ratelimit allows 10 lines in 5 seconds. One thread at a time.
 */
struct ratelimit {
	uint64_t window_start_ns;
	uint32_t printed;
	uint32_t suppressed;
};

/* log_line() for lines that a guest can provoke. */
void log_limited(struct ratelimit *rl, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t clock_now_ns(void);

/* Nanoseconds of CPU time that this process has spent, in user and kernel mode. */
uint64_t clock_cpu_ns(void);
