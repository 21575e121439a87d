// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>

#include "mem/gpa.h"

/*
 * The sole road to guest bytes. Guest RAM is one host mapping, seen by the guest as one or two
 * regions: [0, 3 GiB) and, past the hole in which the devices live, from 4 GiB up.
 */
#define GUEST_RAM_MIN     (32ull << 20)
#define GUEST_LOW_RAM_MAX (3ull << 30) /* where the hole below 4 GiB begins */
#define GUEST_HIGH_RAM    (4ull << 30) /* where RAM goes on */
#define GUEST_RAM_SLOTS   2

struct guest_region {
	uint64_t gpa;
	uint64_t size;
	uint8_t *host;
};

struct guest_mem {
	uint8_t *base; /* whole mapping */
	uint64_t size; /* bytes of RAM */
	struct guest_region regions[GUEST_RAM_SLOTS];
	unsigned int nregions;
};

/*
 * Map @size bytes of zeroed guest RAM (a multiple of 4 KiB, at least GUEST_RAM_MIN), aligned and
 * advised for huge pages and left out of core dumps. Returns 0, or negative errno (-EINVAL for a
 * bad size, -ENOMEM).
 */
int guest_mem_init(struct guest_mem *mem, uint64_t size);
void guest_mem_deinit(struct guest_mem *mem);

/*
 * Host address of the @len guest bytes at @addr, or NULL unless all of them lie in one region of
 * RAM. The bytes stay shared with the guest and may change at any time: copy before checking.
 * @len 0 needs @addr to lie inside RAM all the same.
 */
void *guest_mem_ptr(const struct guest_mem *mem, gpa_t addr, uint64_t len);

/*
 * Give the whole pages among the @len bytes at @host, which are guest RAM, back to the host. They
 * read as zeroes then, and take memory again when they are touched. Returns 0 or negative errno.
 */
int guest_mem_discard(void *host, uint64_t len);

/* Copy @len bytes from or to the guest. Returns 0, or -EFAULT with nothing copied. */
int guest_mem_read(const struct guest_mem *mem, gpa_t addr, void *dst, size_t len);
int guest_mem_write(const struct guest_mem *mem, gpa_t addr, const void *src, size_t len);
