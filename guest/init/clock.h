/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KVMBOX_INIT_CLOCK_H
#define KVMBOX_INIT_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Nanoseconds since the machine began, CLOCK_BOOTTIME. */
static inline uint64_t clock_boot_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

#endif
