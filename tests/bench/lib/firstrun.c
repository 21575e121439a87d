// SPDX-License-Identifier: Apache-2.0
//
// Tells what a monitor has spent when it first enters the guest: preloaded into it (LD_PRELOAD), it
// writes a line "PROCESS TIME" to the descriptor that FIRST_KVM_RUN gives, once for each process,
// before its first KVM_RUN. The time is in nanoseconds of CPU, user and kernel mode together.

#define _GNU_SOURCE
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long long to_ns(struct timespec t)
{
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void tell(int fd)
{
	struct timespec own;
	char line[128];

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
	int len = snprintf(line, sizeof(line), "%d %lld\n", getpid(), to_ns(own));
	if (write(fd, line, (size_t)len) != len)
		abort();
}

int ioctl(int fd, unsigned long request, ...)
{
	static atomic_bool told;
	const char *to = getenv("FIRST_KVM_RUN");
	va_list ap;

	va_start(ap, request);
	void *arg = va_arg(ap, void *);
	va_end(ap);
	if (request == KVM_RUN && to && !atomic_exchange(&told, true))
		tell(atoi(to));
	return (int)syscall(SYS_ioctl, fd, request, arg);
}
