// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * The registers that a guest reaches by an exit to user space: memory (MMIO) and ports (PIO), a bus
 * each. Filled before the first vCPU runs and constant from then on, so it needs no lock.
 *
 * Handlers run on vCPU threads, several at a time. @len is 1, 2, 4 or 8 bytes, and the access lies
 * within the range it was registered with. @read is NULL where the guest reads memory instead.
 */
struct bus_ops {
	void (*read)(void *ctx, uint64_t off, void *data, uint32_t len);
	void (*write)(void *ctx, uint64_t off, const void *data, uint32_t len);
};

#define BUS_RANGES_MAX 32

struct bus {
	struct bus_range {
		uint64_t base;
		uint64_t size;
		const struct bus_ops *ops;
		void *ctx;
	} ranges[BUS_RANGES_MAX];
	unsigned int nranges;
};

/* Enter a range. Returns 0, or -ENOSPC when the table is full. */
int bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops, void *ctx);

/*
 * Dispatch an access. Where nothing answers, reads give all ones, as on real hardware, and writes
 * are lost. Returns whether something answered.
 */
bool bus_read(const struct bus *bus, uint64_t addr, void *data, uint32_t len);
bool bus_write(const struct bus *bus, uint64_t addr, const void *data, uint32_t len);
