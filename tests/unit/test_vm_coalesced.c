// SPDX-License-Identifier: Apache-2.0
#include "vm/coalesced.h"

#include <criterion/criterion.h>
#include <string.h>

#define BASE 0xd0000080ull

static union {
	struct kvm_coalesced_mmio_ring ring;
	uint8_t page[4096];
} u;
static struct kvm_coalesced_mmio_ring *const ring = &u.ring;
static struct coalesced c = { .lock = PTHREAD_MUTEX_INITIALIZER };
static struct bus bus;

static uint32_t written[4 * COALESCED_ENTRIES];
static unsigned int nwritten;
static unsigned int to_come; /* from another vCPU, one with each that is dispatched */
static uint32_t next_value;

/* What KVM does. Returns whether there is room. */
static bool put(uint32_t value)
{
	struct kvm_coalesced_mmio *e = &ring->coalesced_mmio[ring->last];

	if ((ring->last + 1) % COALESCED_ENTRIES == ring->first)
		return false;
	e->phys_addr = BASE + 4;
	e->len = sizeof(value);
	memcpy(e->data, &value, sizeof(value));
	ring->last = (ring->last + 1) % COALESCED_ENTRIES;
	return true;
}

static void note_write(void *ctx, uint64_t off, const void *data, uint32_t len)
{
	(void)ctx;
	cr_assert_eq(off, 4);
	cr_assert_eq(len, 4);
	cr_assert_lt(nwritten, sizeof(written) / sizeof(written[0]));
	memcpy(&written[nwritten++], data, len);
	/* Whoever sees it taken out may rely on its having been dispatched. */
	cr_assert_eq(memcmp(ring->coalesced_mmio[ring->first].data, data, len), 0);
	if (to_come) {
		to_come--;
		cr_assert(put(next_value++));
	}
}

static const struct bus_ops ops = { .write = note_write };

static void setup(void)
{
	c.ring = ring;
	cr_assert_eq(bus_add(&bus, BASE, 0x28, &ops, NULL), 0);
}

TestSuite(coalesced, .init = setup);

Test(coalesced, none)
{
	coalesced_dispatch(&c, &bus);
	c.ring = NULL;
	coalesced_dispatch(&c, &bus);
	cr_expect_eq(nwritten, 0);
}

/* All of a full ring, in order, three times round. */
Test(coalesced, in_order)
{
	unsigned int n = 0;

	for (int round = 0; round < 3; round++) {
		while (put(n))
			n++;
		cr_assert_eq(n, (unsigned int)(round + 1) * (COALESCED_ENTRIES - 1));
		coalesced_dispatch(&c, &bus);
		cr_assert_eq(nwritten, n);
		cr_assert_eq(ring->first, ring->last);
	}
	for (unsigned int i = 0; i < n; i++)
		cr_expect_eq(written[i], i);
	coalesced_dispatch(&c, &bus);
	cr_expect_eq(nwritten, n);
}

/* Other vCPUs that go on and on hold nobody up. */
Test(coalesced, no_further_than_now)
{
	for (next_value = 0; next_value < 3; next_value++)
		cr_assert(put(next_value));
	to_come = 1000;
	coalesced_dispatch(&c, &bus);
	cr_assert_eq(nwritten, 3);
	to_come = 0;
	coalesced_dispatch(&c, &bus);
	cr_assert_eq(nwritten, 6);
	for (unsigned int i = 0; i < nwritten; i++)
		cr_expect_eq(written[i], i);
}
