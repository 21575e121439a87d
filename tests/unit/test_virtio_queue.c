// SPDX-License-Identifier: Apache-2.0
#include "virtio/queue.h"

#include <criterion/criterion.h>
#include <stdatomic.h>

#include "guest_driver.h"

#define GIB   (1ull << 30)
#define QUEUE 0x10000u /* where the queue under test lies */
#define TABLE 0x40000u /* room for indirect tables */
#define DATA  0x100000u

static struct guest_mem mem;
static struct guest_queue gq;
static struct virtq q;
static struct virtq_chain chain;

static void setup(uint64_t ram, uint16_t size, bool event_idx)
{
	guest_mem_deinit(&mem);
	cr_assert_eq(guest_mem_init(&mem, ram), 0);
	q = (struct virtq){ .mem = &mem, .size_max = VIRTQ_SIZE_MAX };
	virtq_reset(&q);
	guest_queue_init(&gq, &mem, QUEUE, size);
	cr_assert_eq(guest_queue_enable(&gq, &q, event_idx), 0);
}

static void setup_default(void)
{
	setup(GUEST_RAM_MIN, 8, false);
}

static void teardown(void)
{
	guest_mem_deinit(&mem);
}

TestSuite(queue, .init = setup_default, .fini = teardown, .timeout = 60);

/* Write descriptor @i of the queue itself; @more: it goes on at @next. */
static void desc(uint16_t i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	gq.vr.desc[i] =
		(struct vring_desc){ htole64(addr), htole32(len), htole16(flags), htole16(next) };
}

static void table_desc(uint16_t i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	struct vring_desc *t = guest_at(&mem, TABLE + i * sizeof(*t), sizeof(*t));

	*t = (struct vring_desc){ htole64(addr), htole32(len), htole16(flags), htole16(next) };
}

static int offer_and_pop(uint16_t head)
{
	guest_queue_offer(&gq, head);
	guest_queue_publish(&gq);
	return virtq_pop(&q, &chain);
}

/* A fault takes nothing: what follows it in the ring is not reached. */
static void expect_fault(uint16_t head)
{
	struct virtq before = q;

	cr_assert_eq(offer_and_pop(head), VIRTQ_FAULT);
	cr_assert_eq(q.next_avail, before.next_avail);
	cr_assert_eq(q.in_flight, before.in_flight);
	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_FAULT, "it stays a fault");
}

/* ---- set-up ---- */

static int enable(uint16_t size, uint64_t desc_gpa, uint64_t avail, uint64_t used)
{
	q = (struct virtq){ .mem = &mem, .size_max = 128 };
	virtq_reset(&q);
	q.size = size;
	q.desc_gpa = gpa(desc_gpa);
	q.driver_gpa = gpa(avail);
	q.device_gpa = gpa(used);
	int ret = virtq_enable(&q, false);

	cr_assert_eq(q.ready, !ret);
	return ret;
}

Test(queue, sizes)
{
	static const uint16_t bad[] = { 0, 3, 5, 127, 129, 256, 0x8000, 0xffff };

	for (uint16_t size = 1; size <= 128; size *= 2)
		cr_assert_eq(enable(size, 0x1000, 0x2000, 0x3000), 0, "size %u", size);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(enable(bad[i], 0x1000, 0x2000, 0x3000), VIRTQ_FAULT, "size %u",
			     bad[i]);
}

Test(queue, alignment)
{
	cr_assert_eq(enable(8, 0x1010, 0x2002, 0x3004), 0);
	for (uint64_t skew = 1; skew < 16; skew++)
		cr_assert_eq(enable(8, 0x1000 + skew, 0x2000, 0x3000), VIRTQ_FAULT);
	cr_assert_eq(enable(8, 0x1000, 0x2001, 0x3000), VIRTQ_FAULT);
	for (uint64_t skew = 1; skew < 4; skew++)
		cr_assert_eq(enable(8, 0x1000, 0x2000, 0x3000 + skew), VIRTQ_FAULT);
}

/* The event fields are part of the rings (2.7). */
Test(queue, rings_at_the_end_of_ram)
{
	uint64_t end = mem.size;

	cr_assert_eq(enable(16, end - 256, 0x2000, 0x3000), 0);
	cr_assert_eq(enable(16, end - 240, 0x2000, 0x3000), VIRTQ_FAULT);
	cr_assert_eq(enable(16, 0x1000, end - (6 + 32), 0x3000), 0);
	cr_assert_eq(enable(16, 0x1000, end - (6 + 32) + 2, 0x3000), VIRTQ_FAULT);
	cr_assert_eq(enable(16, 0x1000, 0x2000, end - (6 + 128 + 2)), 0);
	cr_assert_eq(enable(16, 0x1000, 0x2000, end - (6 + 128 - 2)), VIRTQ_FAULT);
	cr_assert_eq(enable(16, end, 0x2000, 0x3000), VIRTQ_FAULT);
	cr_assert_eq(enable(16, 0x1000, end, 0x3000), VIRTQ_FAULT);
	cr_assert_eq(enable(16, 0x1000, 0x2000, end), VIRTQ_FAULT);
}

Test(queue, rings_that_wrap)
{
	static const uint64_t at[] = { UINT64_MAX - 15, UINT64_MAX - 255, UINT64_MAX - 4095,
				       1ull << 63, 1ull << 32 };

	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		cr_assert_eq(enable(16, at[i], 0x2000, 0x3000), VIRTQ_FAULT);
		cr_assert_eq(enable(16, 0x1000, at[i], 0x3000), VIRTQ_FAULT);
		cr_assert_eq(enable(16, 0x1000, 0x2000, at[i]), VIRTQ_FAULT);
	}
}

Test(queue, rings_and_the_hole)
{
	setup(5 * GIB, 8, false);
	cr_assert_eq(enable(16, 3 * GIB - 256, 0x2000, 0x3000), 0);
	cr_assert_eq(enable(16, 3 * GIB - 16, 0x2000, 0x3000), VIRTQ_FAULT);
	cr_assert_eq(enable(16, 3 * GIB, 0x2000, 0x3000), VIRTQ_FAULT);
	cr_assert_eq(enable(16, 0x1000, 3 * GIB - 2, 0x3000), VIRTQ_FAULT);
	cr_assert_eq(enable(16, 0x1000, 0x2000, 4 * GIB - 4), VIRTQ_FAULT);
	cr_assert_eq(enable(16, 4 * GIB, 4 * GIB + 0x1000, 4 * GIB + 0x2000), 0);
	cr_assert_eq(enable(16, 6 * GIB - 16, 0x2000, 0x3000), VIRTQ_FAULT);
}

Test(queue, reset_forgets)
{
	virtq_reset(&q);
	cr_assert_not(q.ready);
	cr_assert_eq(q.size, VIRTQ_SIZE_MAX);
	cr_assert_eq(q.desc_gpa.v | q.driver_gpa.v | q.device_gpa.v, 0);
	cr_assert_null(q.desc);
	cr_assert_eq(q.mem, &mem);
}

/* ---- chains ---- */

Test(queue, empty)
{
	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_EMPTY);
	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_EMPTY);
}

Test(queue, put_back)
{
	for (uint16_t i = 0; i < 3; i++) {
		desc(i, DATA + i, 1, 0, 0);
		guest_queue_offer(&gq, i);
	}
	guest_queue_publish(&gq);
	/* More often than the queue has entries: what was put back is not in flight. */
	for (int i = 0; i < 20; i++) {
		for (uint16_t head = 0; head < 3; head++) {
			cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_OK);
			cr_assert_eq(chain.head, head);
		}
		cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_EMPTY);
		virtq_put_back(&q, 3);
	}
	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_OK);
	virtq_push(&q, 0, 0);
	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_OK);
	cr_assert_eq(chain.head, 1);
	virtq_put_back(&q, 1);
	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_OK);
	cr_assert_eq(chain.head, 1);
}

Test(queue, a_chain_of_all_sorts)
{
	struct guest_seg segs[] = { { DATA, 16, false },      { DATA + 100, 0, false },
				    { DATA + 100, 1, false }, { DATA + 0x1000, 512, true },
				    { mem.size, 0, true },    { DATA + 0x2000, 7, true } };
	uint16_t head = guest_queue_add(&gq, segs, 6);

	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_EMPTY, "not published yet");
	guest_queue_publish(&gq);
	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_OK);
	cr_assert_eq(chain.head, head);
	cr_assert_eq(chain.nout, 2, "segments of length 0 are left out");
	cr_assert_eq(chain.nin, 2);
	cr_assert_eq(chain.out_len, 17);
	cr_assert_eq(chain.in_len, 519);
	cr_assert(chain.iov[0].iov_base == mem.base + DATA && chain.iov[0].iov_len == 16);
	cr_assert(chain.iov[1].iov_base == mem.base + DATA + 100 && chain.iov[1].iov_len == 1);
	cr_assert(chain.iov[2].iov_base == mem.base + DATA + 0x1000);
	cr_assert(chain.iov[3].iov_base == mem.base + DATA + 0x2000);
	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_EMPTY);
	virtq_push(&q, head, 519);

	uint16_t used;
	uint32_t len;

	cr_assert(guest_queue_used(&gq, &used, &len));
	cr_assert(used == head && len == 519);
	cr_assert_not(guest_queue_used(&gq, &used, &len));
}

Test(queue, nothing_but_empty_segments)
{
	struct guest_seg segs[] = { { UINT64_MAX, 0, false }, { 0, 0, true } };

	guest_queue_add(&gq, segs, 2);
	guest_queue_publish(&gq);
	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_OK);
	cr_assert_eq(chain.nout + chain.nin, 0);
	cr_assert_eq(chain.out_len + chain.in_len, 0);
}

Test(queue, as_long_as_the_queue)
{
	for (uint16_t i = 0; i < 8; i++)
		desc(i, DATA + i, 1, i < 7 ? VRING_DESC_F_NEXT : 0, i + 1);
	cr_assert_eq(offer_and_pop(0), VIRTQ_OK);
	cr_assert_eq(chain.nout, 8);
}

Test(queue, loops)
{
	desc(0, DATA, 1, VRING_DESC_F_NEXT, 0);
	expect_fault(0);
	setup_default();
	desc(0, DATA, 1, VRING_DESC_F_NEXT, 1);
	desc(1, DATA, 1, VRING_DESC_F_NEXT, 0);
	expect_fault(1);
	/* Made of nothing: no segment is ever counted. */
	setup_default();
	desc(0, DATA, 0, VRING_DESC_F_NEXT, 1);
	desc(1, DATA, 0, VRING_DESC_F_NEXT, 0);
	expect_fault(0);
	/* All of the queue, and back to the middle. */
	setup_default();
	for (uint16_t i = 0; i < 8; i++)
		desc(i, DATA + i, 1, VRING_DESC_F_NEXT, i < 7 ? i + 1 : 4);
	expect_fault(0);
}

Test(queue, next_past_the_table)
{
	static const uint16_t next[] = { 8, 9, 255, 256, 0x7fff, 0xffff };

	for (size_t i = 0; i < sizeof(next) / sizeof(next[0]); i++) {
		setup_default();
		desc(0, DATA, 1, VRING_DESC_F_NEXT, next[i]);
		expect_fault(0);
	}
	/* Without the flag it means nothing. */
	setup_default();
	desc(0, DATA, 1, 0, 0xffff);
	cr_assert_eq(offer_and_pop(0), VIRTQ_OK);
}

Test(queue, head_past_the_table)
{
	static const uint16_t heads[] = { 8, 9, 0x100, 0x7fff, 0xffff };

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		setup_default();
		expect_fault(heads[i]);
	}
}

Test(queue, writable_before_readable)
{
	struct guest_seg segs[] = { { DATA, 16, true }, { DATA, 16, false } };

	guest_queue_add(&gq, segs, 2);
	guest_queue_publish(&gq);
	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_FAULT);
}

Test(queue, segments_at_the_end_of_ram)
{
	desc(0, mem.size - 16, 16, 0, 0);
	cr_assert_eq(offer_and_pop(0), VIRTQ_OK);
	setup_default();
	desc(0, mem.size - 16, 17, 0, 0);
	expect_fault(0);
	setup_default();
	desc(0, mem.size, 1, VRING_DESC_F_WRITE, 0);
	expect_fault(0);
	setup_default();
	desc(0, UINT64_MAX - 3, 16, VRING_DESC_F_WRITE, 0);
	expect_fault(0);
	setup_default();
	desc(0, 0, UINT32_MAX, VRING_DESC_F_WRITE, 0);
	expect_fault(0);
}

Test(queue, segments_and_the_hole)
{
	const struct {
		uint64_t addr;
		uint32_t len;
		int ret;
	} cases[] = {
		{ 3 * GIB - 16, 16, VIRTQ_OK },
		{ 3 * GIB - 16, 17, VIRTQ_FAULT },
		{ 3 * GIB, 1, VIRTQ_FAULT },
		{ 4 * GIB - 1, 1, VIRTQ_FAULT },
		{ 4 * GIB - 1, 2, VIRTQ_FAULT },
		{ 4 * GIB, 16, VIRTQ_OK },
		{ 3 * GIB - 16, 0xc0000000, VIRTQ_FAULT }, /* low RAM, all of the hole, high RAM */
		{ 0, 0xc0000000, VIRTQ_OK },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		setup(5 * GIB, 8, false);
		desc(0, cases[i].addr, cases[i].len, 0, 0);
		cr_assert_eq(offer_and_pop(0), cases[i].ret, "case %zu", i);
	}
}

/* 2.7.5: a chain is at most 2^32 bytes; a length that wraps would be a small one. */
Test(queue, total_length)
{
	setup(5 * GIB, 8, false);
	desc(0, 0, 3u << 30, VRING_DESC_F_NEXT, 1);
	desc(1, 0, (1u << 30) - 1, 0, 0);
	cr_assert_eq(offer_and_pop(0), VIRTQ_OK);
	cr_assert_eq(chain.out_len, UINT32_MAX);
	desc(1, 0, 1u << 30, 0, 0);
	expect_fault(0);

	/* Readable and writable parts are counted apart. */
	setup(5 * GIB, 8, false);
	desc(0, 0, 3u << 30, VRING_DESC_F_NEXT, 1);
	desc(1, 0, 3u << 30, VRING_DESC_F_WRITE, 0);
	cr_assert_eq(offer_and_pop(0), VIRTQ_OK);
	desc(1, 0, 3u << 30, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 2);
	desc(2, 0, 3u << 30, VRING_DESC_F_WRITE, 0);
	expect_fault(0);
}

/* ---- indirect ---- */

Test(queue, indirect)
{
	struct guest_seg segs[] = { { DATA, 16, false }, { DATA + 16, 32, true } };
	uint16_t head = guest_queue_add_indirect(&gq, TABLE, segs, 2);

	guest_queue_publish(&gq);
	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_OK);
	cr_assert_eq(chain.head, head);
	cr_assert(chain.nout == 1 && chain.nin == 1);
	cr_assert(chain.out_len == 16 && chain.in_len == 32);
}

/* 2.7.5.3.2: the write flag of what refers to a table means nothing, and chains may lead to one. */
Test(queue, indirect_after_direct)
{
	table_desc(0, DATA + 32, 8, VRING_DESC_F_WRITE, 0);
	desc(0, DATA, 16, VRING_DESC_F_NEXT, 3);
	desc(3, TABLE, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE, 0);
	cr_assert_eq(offer_and_pop(0), VIRTQ_OK);
	cr_assert(chain.nout == 1 && chain.nin == 1);
	cr_assert(chain.out_len == 16 && chain.in_len == 8);
}

/* Nothing asks for an alignment of tables. */
Test(queue, indirect_anywhere)
{
	for (uint64_t skew = 1; skew < 16; skew++) {
		struct vring_desc d[2] = { { DATA, 16, VRING_DESC_F_NEXT, 1 },
					   { DATA + 16, 8, VRING_DESC_F_WRITE, 0 } };

		memcpy(guest_at(&mem, TABLE + skew, sizeof(d)), d, sizeof(d));
		desc(0, TABLE + skew, sizeof(d), VRING_DESC_F_INDIRECT, 0);
		cr_assert_eq(offer_and_pop(0), VIRTQ_OK);
		cr_assert(chain.out_len == 16 && chain.in_len == 8);
		virtq_push(&q, 0, 0);
	}
}

/* A table may be larger than the queue, up to our bound. */
Test(queue, indirect_bound)
{
	for (uint16_t i = 0; i < 300; i++)
		table_desc(i, DATA + i, 1, VRING_DESC_F_NEXT, i + 1);
	table_desc(255, DATA, 1, 0, 0);
	desc(0, TABLE, 300 * 16, VRING_DESC_F_INDIRECT, 0);
	cr_assert_eq(offer_and_pop(0), VIRTQ_OK);
	cr_assert_eq(chain.nout, 256);

	setup_default();
	for (uint16_t i = 0; i < 257; i++)
		table_desc(i, DATA + i, 1, i < 256 ? VRING_DESC_F_NEXT : 0, i + 1);
	desc(0, TABLE, 257 * 16, VRING_DESC_F_INDIRECT, 0);
	expect_fault(0);
	/* Likewise with one of them outside of the table. */
	setup_default();
	for (uint16_t i = 0; i < 256; i++)
		table_desc(i, DATA + i, 1, i < 255 ? VRING_DESC_F_NEXT : 0, i + 1);
	desc(0, DATA, 1, VRING_DESC_F_NEXT, 1);
	desc(1, TABLE, 256 * 16, VRING_DESC_F_INDIRECT, 0);
	expect_fault(0);
}

Test(queue, indirect_tables_of_bad_shape)
{
	static const uint32_t lens[] = { 0, 1, 15, 17, 24, 0xffffffff, 0xfffffff0 };

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		setup_default();
		table_desc(0, DATA, 1, 0, 0);
		desc(0, TABLE, lens[i], VRING_DESC_F_INDIRECT, 0);
		expect_fault(0);
	}
	/* One must be the last of its chain. */
	setup_default();
	table_desc(0, DATA, 1, 0, 0);
	desc(0, TABLE, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1);
	desc(1, DATA, 1, 0, 0);
	expect_fault(0);
}

Test(queue, indirect_tables_outside_of_ram)
{
	const uint64_t at[] = { mem.size, mem.size - 16, UINT64_MAX - 15, 1ull << 40 };

	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		setup_default();
		desc(0, at[i], 32, VRING_DESC_F_INDIRECT, 0);
		expect_fault(0);
	}
	setup(5 * GIB, 8, false);
	desc(0, 3 * GIB - 16, 32, VRING_DESC_F_INDIRECT, 0);
	expect_fault(0);
}

Test(queue, indirect_nested)
{
	table_desc(0, TABLE + 16, 16, VRING_DESC_F_INDIRECT, 0);
	table_desc(1, DATA, 1, 0, 0);
	desc(0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	expect_fault(0);
	/* In itself, for ever. */
	setup_default();
	table_desc(0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	desc(0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	expect_fault(0);
}

Test(queue, indirect_loops_and_strays)
{
	table_desc(0, DATA, 1, VRING_DESC_F_NEXT, 1);
	table_desc(1, DATA, 1, VRING_DESC_F_NEXT, 0);
	desc(0, TABLE, 32, VRING_DESC_F_INDIRECT, 0);
	expect_fault(0);
	/* Made of nothing. */
	setup_default();
	table_desc(0, DATA, 0, VRING_DESC_F_NEXT, 0);
	desc(0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	expect_fault(0);
	/* next is an index into this table, not into the queue's. */
	setup_default();
	table_desc(0, DATA, 1, VRING_DESC_F_NEXT, 2);
	table_desc(2, DATA, 1, 0, 0);
	desc(0, TABLE, 32, VRING_DESC_F_INDIRECT, 0);
	expect_fault(0);
}

/* ---- the available ring ---- */

Test(queue, index_jumps)
{
	static const uint16_t jumps[] = { 9, 10, 255, 0x7fff, 0x8000, 0xffff };

	desc(0, DATA, 1, 0, 0);
	for (size_t i = 0; i < sizeof(jumps) / sizeof(jumps[0]); i++) {
		gq.vr.avail->idx = htole16(jumps[i]);
		cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_FAULT, "by %u", jumps[i]);
	}
	gq.vr.avail->idx = htole16(8);
	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_OK);
	/* Backwards is a jump as well. */
	gq.vr.avail->idx = htole16(0);
	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_FAULT);
}

/* The same head again and again, none given back: what we hold is bounded by the queue's size. */
Test(queue, in_flight_bound)
{
	desc(0, DATA, 1, 0, 0);
	for (int i = 0; i < 8; i++)
		cr_assert_eq(offer_and_pop(0), VIRTQ_OK);
	cr_assert_eq(q.in_flight, 8);
	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_EMPTY, "full is no fault by itself");
	expect_fault(0);
	virtq_push(&q, 0, 0);
	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_OK);
}

/* The 16-bit positions run on past 65535, and the ring's slots with them. */
Test(queue, positions_wrap)
{
	setup(GUEST_RAM_MIN, 4, true);
	for (uint32_t i = 0; i < 140000; i++) {
		struct guest_seg seg = { DATA, 1 + i % 1000, true };
		uint16_t head = guest_queue_add(&gq, &seg, 1), used;
		uint32_t len;

		guest_queue_publish(&gq);
		cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_OK, "round %u", i);
		cr_assert(chain.head == head && chain.in_len == 1 + i % 1000);
		virtq_push(&q, head, i);
		cr_assert(guest_queue_used(&gq, &used, &len), "round %u", i);
		cr_assert(used == head && len == i);
	}
	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_EMPTY);
	cr_assert_eq(le16toh(gq.vr.used->idx), (uint16_t)140000);
}

/* A full queue, half of it on either side of the wrap. */
Test(queue, full_across_the_wrap)
{
	desc(0, DATA, 1, 0, 0);
	for (uint32_t i = 0; i < 0xfffc; i++) {
		cr_assert_eq(offer_and_pop(0), VIRTQ_OK);
		virtq_push(&q, 0, 0);
	}
	for (int i = 0; i < 8; i++)
		guest_queue_offer(&gq, 0);
	guest_queue_publish(&gq);
	cr_assert_eq(gq.avail_idx, 4);
	for (int i = 0; i < 8; i++)
		cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_OK);
	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_EMPTY);
	gq.avail_idx = 13; /* nine past where we are */
	guest_queue_publish(&gq);
	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_FAULT);
}

/* ---- who wants to hear of what ---- */

static void use_one(void)
{
	struct guest_seg seg = { DATA, 1, true };
	uint16_t head = guest_queue_add(&gq, &seg, 1);

	guest_queue_publish(&gq);
	cr_assert_eq(virtq_pop(&q, &chain), VIRTQ_OK);
	virtq_push(&q, head, 0);
	cr_assert(guest_queue_used(&gq, &head, NULL));
}

Test(queue, signals_without_event_index)
{
	cr_assert_not(virtq_needs_signal(&q), "nothing was pushed");
	use_one();
	cr_assert(virtq_needs_signal(&q));
	cr_assert_not(virtq_needs_signal(&q), "once");
	gq.vr.avail->flags = htole16(VRING_AVAIL_F_NO_INTERRUPT);
	use_one();
	cr_assert_not(virtq_needs_signal(&q));
	gq.vr.avail->flags = 0;
	cr_assert_not(virtq_needs_signal(&q), "what was pushed in silence stays silent");
	use_one();
	use_one();
	cr_assert(virtq_needs_signal(&q));
}

static void set_used_event(uint16_t idx)
{
	gq.vr.avail->ring[gq.vr.num] = htole16(idx);
}

Test(queue, signals_with_event_index)
{
	setup(GUEST_RAM_MIN, 8, true);
	set_used_event(0);
	cr_assert_not(virtq_needs_signal(&q), "nothing was pushed");
	use_one();
	cr_assert(virtq_needs_signal(&q), "the first was asked for");
	cr_assert_not(virtq_needs_signal(&q));
	use_one();
	cr_assert_not(virtq_needs_signal(&q), "an index of the past");
	set_used_event(4);
	use_one();
	use_one();
	cr_assert_not(virtq_needs_signal(&q), "4 is the fifth");
	use_one();
	cr_assert(virtq_needs_signal(&q));
	/* Asked for in the middle of a batch. */
	set_used_event(6);
	use_one();
	use_one();
	use_one();
	cr_assert(virtq_needs_signal(&q));
	/* The flag means nothing here (2.7.7.2). */
	gq.vr.avail->flags = htole16(VRING_AVAIL_F_NO_INTERRUPT);
	set_used_event(8);
	use_one();
	cr_assert(virtq_needs_signal(&q));
}

Test(queue, signals_across_the_wrap)
{
	setup(GUEST_RAM_MIN, 8, true);
	set_used_event(0x8000);
	for (uint32_t i = 0; i < 0xfffe; i++) {
		use_one();
		cr_assert_eq(virtq_needs_signal(&q), i == 0x8000, "at %u", i);
	}
	set_used_event(0xffff);
	use_one();
	cr_assert_not(virtq_needs_signal(&q));
	use_one();
	use_one();
	cr_assert(virtq_needs_signal(&q));
	set_used_event(1);
	use_one();
	cr_assert(virtq_needs_signal(&q));
}

Test(queue, kicks_without_event_index)
{
	virtq_suppress_kicks(&q);
	cr_assert_eq(le16toh(gq.vr.used->flags), VRING_USED_F_NO_NOTIFY);
	cr_assert_not(virtq_want_kicks(&q));
	cr_assert_eq(gq.vr.used->flags, 0);
	gq.avail_idx++;
	guest_queue_publish(&gq);
	cr_assert(virtq_want_kicks(&q), "the guest had no reason to kick for this one");
}

Test(queue, kicks_with_event_index)
{
	setup(GUEST_RAM_MIN, 8, true);

	const uint16_t *avail_event = (const uint16_t *)(const void *)&gq.vr.used->ring[8];

	virtq_suppress_kicks(&q);
	cr_assert_eq(gq.vr.used->flags, 0, "the flag means nothing here");
	for (int i = 0; i < 3; i++)
		use_one();
	cr_assert_eq(le16toh(*avail_event), 0xffff, "passed, while the queue is emptied");
	cr_assert_not(virtq_want_kicks(&q));
	cr_assert_eq(le16toh(*avail_event), 3);
	gq.avail_idx++;
	guest_queue_publish(&gq);
	cr_assert(virtq_want_kicks(&q));
	cr_assert_eq(le16toh(*avail_event), 3);
}

/* ---- a guest that changes its mind ---- */

struct flipper {
	pthread_t thread;
	atomic_bool stop;
	volatile struct vring_desc *desc;
};

static void *flip(void *arg)
{
	struct flipper *f = arg;
	uint64_t end = mem.size;

	while (!atomic_load(&f->stop)) {
		f->desc->len = 64;
		f->desc->addr = DATA;
		f->desc->flags = 0;
		f->desc->addr = end - 4;
		f->desc->len = 4;
		f->desc->next = 0xffff;
		f->desc->flags = VRING_DESC_F_NEXT;
		f->desc->flags = VRING_DESC_F_INDIRECT;
		f->desc->len = 0xffffffff;
		f->desc->flags = VRING_DESC_F_WRITE;
	}
	return NULL;
}

/* Whatever is taken is what was checked, however the descriptor changes meanwhile. */
Test(queue, descriptors_changed_while_they_are_read)
{
	struct flipper f = { .desc = &gq.vr.desc[0] };
	int taken = 0;

	guest_queue_offer(&gq, 0);
	guest_queue_publish(&gq);
	cr_assert_eq(pthread_create(&f.thread, NULL, flip, &f), 0);
	for (int i = 0; i < 300000; i++) {
		if (virtq_pop(&q, &chain) != VIRTQ_OK)
			continue;
		uint64_t sum = 0;

		for (int s = 0; s < chain.nout + chain.nin; s++) {
			uint64_t off = (uint64_t)((uint8_t *)chain.iov[s].iov_base - mem.base);

			cr_assert(off < mem.size && chain.iov[s].iov_len <= mem.size - off);
			sum += chain.iov[s].iov_len;
		}
		cr_assert_eq(sum, (uint64_t)chain.out_len + chain.in_len);
		/* Back to where it was, for the next round. */
		q.next_avail--;
		q.in_flight--;
		taken++;
	}
	atomic_store(&f.stop, true);
	pthread_join(f.thread, NULL);
	cr_log_info("%d taken", taken);
}
