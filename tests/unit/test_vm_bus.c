// SPDX-License-Identifier: Apache-2.0
#include "vm/bus.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

struct access {
	unsigned int reads, writes;
	uint64_t off;
	uint32_t len;
	uint8_t data[8];
};

static void note_read(void *ctx, uint64_t off, void *data, uint32_t len)
{
	struct access *a = ctx;

	a->reads++;
	a->off = off;
	a->len = len;
	memset(data, 0x42, len);
}

static void note_write(void *ctx, uint64_t off, const void *data, uint32_t len)
{
	struct access *a = ctx;

	a->writes++;
	a->off = off;
	a->len = len;
	memcpy(a->data, data, len);
}

static const struct bus_ops ops = { note_read, note_write };
static const struct bus_ops write_only = { .write = note_write };

static bool is_filled(const uint8_t *data, uint8_t with, size_t len)
{
	for (size_t i = 0; i < 8; i++)
		if (data[i] != (i < len ? with : 0))
			return false;
	return true;
}

Test(bus, dispatches)
{
	struct bus bus = { 0 };
	struct access a = { 0 }, b = { 0 };
	uint8_t data[8] = { 0 };

	cr_assert_eq(bus_add(&bus, 0x1000, 0x10, &ops, &a), 0);
	cr_assert_eq(bus_add(&bus, 0x1010, 0x10, &ops, &b), 0);
	cr_assert(bus_read(&bus, 0x1000, data, 4));
	cr_assert(is_filled(data, 0x42, 4));
	cr_assert(a.reads == 1 && a.off == 0 && a.len == 4);
	cr_assert(bus_write(&bus, 0x1018, "12345678", 8));
	cr_assert(b.writes == 1 && b.off == 8 && b.len == 8);
	cr_assert_eq(memcmp(b.data, "12345678", 8), 0);
	cr_assert(bus_read(&bus, 0x101f, data, 1));
	cr_assert(b.reads == 1 && b.off == 0xf);
	cr_assert(a.reads == 1 && a.writes == 0);
}

/* A handler sees only accesses that lie within its range. */
Test(bus, gaps_and_edges)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
	} nowhere[] = {
		{ 0, 1 },          { 0xfff, 1 },      { 0xfff, 2 },          { 0xffc, 8 },
		{ 0x100d, 4 },     { 0x100f, 2 },     { 0x1009, 8 },         { 0x1010, 1 },
		{ UINT64_MAX, 1 }, { UINT64_MAX, 8 }, { UINT64_MAX - 3, 4 }, { 0x100000000, 4 },
	};
	struct bus bus = { 0 };
	struct access a = { 0 };

	cr_assert_eq(bus_add(&bus, 0x1000, 0x10, &ops, &a), 0);
	for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
		uint8_t data[8] = { 0 };

		cr_assert_not(bus_read(&bus, nowhere[i].addr, data, nowhere[i].len));
		cr_assert(is_filled(data, 0xff, nowhere[i].len), "all ones, and no more");
		cr_assert_not(bus_write(&bus, nowhere[i].addr, data, nowhere[i].len));
	}
	cr_assert(a.reads == 0 && a.writes == 0);
}

Test(bus, range_at_the_top)
{
	struct bus bus = { 0 };
	struct access a = { 0 };
	uint8_t data[8];

	cr_assert_eq(bus_add(&bus, UINT64_MAX - 7, 8, &ops, &a), 0);
	cr_assert(bus_read(&bus, UINT64_MAX, data, 1));
	cr_assert_eq(a.off, 7);
	cr_assert(bus_read(&bus, UINT64_MAX - 7, data, 8));
	cr_assert(bus_read(&bus, UINT64_MAX - 7, data, 4));
	cr_assert_not(bus_read(&bus, UINT64_MAX, data, 2));
	cr_assert_not(bus_read(&bus, 0, data, 1));
}

Test(bus, nothing_to_read)
{
	struct bus bus = { 0 };
	struct access a = { 0 };
	uint8_t data[8] = { 0 };

	cr_assert_eq(bus_add(&bus, 0, 8, &write_only, &a), 0);
	cr_assert_not(bus_read(&bus, 0, data, 4));
	cr_assert(is_filled(data, 0xff, 4));
	cr_assert(bus_write(&bus, 0, data, 4));
	cr_assert_eq(a.writes, 1);
}

Test(bus, full)
{
	struct bus bus = { 0 };
	struct access a = { 0 };
	uint8_t data;

	for (unsigned int i = 0; i < BUS_RANGES_MAX; i++)
		cr_assert_eq(bus_add(&bus, i * 16ull, 16, &ops, &a), 0);
	cr_assert_eq(bus_add(&bus, BUS_RANGES_MAX * 16, 16, &ops, &a), -ENOSPC);
	cr_assert(bus_read(&bus, BUS_RANGES_MAX * 16 - 1, &data, 1));
	cr_assert_not(bus_read(&bus, BUS_RANGES_MAX * 16, &data, 1));
}
