// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_WINDOW_NS (5ull * 1000 * 1000 * 1000)
#define LIMIT_LINES     10

static uint64_t read_clock(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t clock_now_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_cpu_ns(void)
{
	return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

/* One write() per line, so that lines of several threads never mix. */
__attribute__((format(printf, 1, 0))) static void write_line(const char *fmt, va_list ap)
{
	char buf[2048];
	int n = snprintf(buf, sizeof(buf), "kvmbox: ");
	int m = vsnprintf(buf + n, sizeof(buf) - (size_t)n - 1, fmt, ap);

	if (m < 0)
		return;
	size_t len = strlen(buf);
	buf[len++] = '\n';
	ssize_t ret = write(STDERR_FILENO, buf, len);
	(void)ret;
}

void log_line(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	write_line(fmt, ap);
	va_end(ap);
}

void log_limited(struct ratelimit *rl, const char *fmt, ...)
{
	uint64_t now = clock_now_ns();
	va_list ap;

	if (now - rl->window_start_ns >= LIMIT_WINDOW_NS || rl->window_start_ns == 0) {
		if (rl->suppressed)
			log_line("(%u similar lines left out)", rl->suppressed);
		rl->window_start_ns = now;
		rl->printed = 0;
		rl->suppressed = 0;
	}
	if (rl->printed >= LIMIT_LINES) {
		rl->suppressed++;
		return;
	}
	rl->printed++;
	va_start(ap, fmt);
	write_line(fmt, ap);
	va_end(ap);
}
