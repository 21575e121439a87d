// SPDX-License-Identifier: Apache-2.0
#include "vm/bus.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

int bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops, void *ctx)
{
	if (bus->nranges == BUS_RANGES_MAX)
		return -ENOSPC;
	bus->ranges[bus->nranges++] = (struct bus_range){ base, size, ops, ctx };
	return 0;
}

static const struct bus_range *find(const struct bus *bus, uint64_t addr, uint32_t len)
{
	for (unsigned int i = 0; i < bus->nranges; i++) {
		const struct bus_range *r = &bus->ranges[i];

		if (addr >= r->base && addr - r->base < r->size &&
		    len <= r->size - (addr - r->base))
			return r;
	}
	return NULL;
}

bool bus_read(const struct bus *bus, uint64_t addr, void *data, uint32_t len)
{
	const struct bus_range *r = find(bus, addr, len);

	if (!r || !r->ops->read) {
		memset(data, 0xff, len);
		return false;
	}
	r->ops->read(r->ctx, addr - r->base, data, len);
	return true;
}

bool bus_write(const struct bus *bus, uint64_t addr, const void *data, uint32_t len)
{
	const struct bus_range *r = find(bus, addr, len);

	if (!r)
		return false;
	r->ops->write(r->ctx, addr - r->base, data, len);
	return true;
}
