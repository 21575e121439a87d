// SPDX-License-Identifier: Apache-2.0
#include "device/balloon.h"

#include <criterion/criterion.h>
#include <linux/virtio_balloon.h>
#include <sys/mman.h>

#include "guest_driver.h"

#define RING  128
#define ALL   UINT64_MAX
#define PAGE  4096u
#define MIB   (1u << 20)
#define PFNS  0x300000u  /* where lists of page numbers are */
#define PAGES 0x1000000u /* memory to be given up: from 16 MiB on */
#define UNSET 0xee

enum { INFLATE, DEFLATE, REPORTING };

/* There in a build with the address sanitizer; criterion ends tests without the check at exit. */
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static struct {
	struct loop *loop;
	struct guest_mem mem;
	struct virtio_device *dev;
	struct guest_transport transport;
	struct guest_clock clock;
	struct guest_queue gq[3];
} w;

static void device_start(uint64_t features)
{
	uint64_t at = MIB;

	for (unsigned int i = 0; i < w.dev->nqueues; i++) {
		at = guest_queue_init(&w.gq[i], &w.mem, at, RING);
		cr_assert_eq(guest_queue_enable(&w.gq[i], &w.dev->queues[i], false), 0);
	}
	w.dev->features = features & w.dev->features_offered;
	virtio_device_start(w.dev);
}

static void device_make(struct balloon_spec spec)
{
	cr_assert_eq(guest_mem_init(&w.mem, GUEST_RAM_MIN), 0);
	cr_assert_eq(loop_new(&w.loop, 64), 0);
	cr_assert_eq(balloon_new(w.loop, &w.mem, &spec, &w.dev), 0);
	guest_transport_attach(&w.transport, w.dev);
	guest_clock_init(&w.clock, w.loop);
}

static void setup(void)
{
	device_make((struct balloon_spec){ .deflate_on_oom = true, .reporting = true });
	device_start(ALL);
	/* Pages of their own, so that each shows what becomes of it. */
	madvise(w.mem.base, w.mem.size, MADV_NOHUGEPAGE);
	memset(guest_at(&w.mem, PAGES, 4 * MIB), UNSET, 4 * MIB);
}

static void teardown(void)
{
	guest_device_reset(w.dev);
	w.dev->ops->free(w.dev);
	loop_free(w.loop);
	guest_mem_deinit(&w.mem);
	if (__lsan_do_recoverable_leak_check)
		cr_assert_eq(__lsan_do_recoverable_leak_check(), 0);
}

TestSuite(balloon, .init = setup, .fini = teardown, .timeout = 60);
TestSuite(balloon_made, .fini = teardown, .timeout = 60);

static bool broken(void)
{
	return atomic_load(&w.dev->broken);
}

static void restart(void)
{
	guest_device_reset(w.dev);
	device_start(ALL);
}

/* How many pages of the @n at @gpa take memory of the host. */
static unsigned int resident(uint64_t addr, unsigned int n)
{
	unsigned char vec[1024];
	unsigned int sum = 0;

	cr_assert_leq(n, sizeof(vec));
	cr_assert_eq(mincore(guest_at(&w.mem, addr, (uint64_t)n * PAGE), (size_t)n * PAGE, vec), 0);
	for (unsigned int i = 0; i < n; i++)
		sum += vec[i] & 1;
	return sum;
}

static unsigned int used(unsigned int queue)
{
	return le16toh(w.gq[queue].vr.used->idx);
}

static void kick(unsigned int queue)
{
	guest_queue_publish(&w.gq[queue]);
	virtio_device_kick(w.dev, queue);
	guest_clock_turn(&w.clock, 1);
}

/* Name @n pages to @queue, in one chain. */
static void name_pages(unsigned int queue, const uint32_t *pfns, unsigned int n)
{
	struct guest_seg seg = { PFNS, n * 4, false };
	uint32_t *list = guest_at(&w.mem, PFNS, n * 4 + 1);

	for (unsigned int i = 0; i < n; i++)
		list[i] = htole32(pfns[i]);
	guest_queue_add(&w.gq[queue], &seg, 1);
	kick(queue);
}

static const uint32_t first = PAGES / PAGE;

static struct virtio_balloon_config config(void)
{
	struct virtio_balloon_config c = { 0 };

	cr_assert_eq(w.dev->config_size, 8);
	w.dev->ops->config_read(w.dev, 0, &c, 8);
	return c;
}

static struct balloon_stats stats(void)
{
	struct balloon_stats s;

	balloon_read_stats(w.dev, &s);
	return s;
}

/* ---- what the driver sees ---- */

Test(balloon, features_and_configuration)
{
	cr_assert_eq(w.dev->id, 5);
	cr_assert_eq(w.dev->nqueues, 3);
	cr_assert_eq(w.dev->features_offered & 0xff,
		     1u << VIRTIO_BALLOON_F_DEFLATE_ON_OOM | 1u << VIRTIO_BALLOON_F_REPORTING);
	cr_assert_eq(config().num_pages, 0);
	cr_assert_eq(config().actual, 0);
}

Test(balloon_made, nothing_but_the_balloon)
{
	device_make((struct balloon_spec){ .target_mib = 5 });
	cr_assert_eq(w.dev->nqueues, 2);
	cr_assert_eq(w.dev->features_offered & 0xff, 0);
	cr_assert_eq(le32toh(config().num_pages), 5 * 256);
	device_start(ALL);
}

/* A driver that knows no reporting leaves that queue alone. */
Test(balloon_made, reporting_not_negotiated)
{
	struct guest_seg seg = { PAGES, 4 * PAGE, true };

	device_make((struct balloon_spec){ .reporting = true });
	device_start(0);
	memset(guest_at(&w.mem, PAGES, 4 * PAGE), UNSET, 4 * PAGE);
	guest_queue_add(&w.gq[REPORTING], &seg, 1);
	kick(REPORTING);
	cr_assert_eq(used(REPORTING), 0);
	cr_assert_eq(resident(PAGES, 4), 4);
}

Test(balloon, target)
{
	balloon_set_target(w.dev, 7);
	cr_assert_eq(le32toh(config().num_pages), 7 * 256);
	cr_assert_eq(w.transport.config_signals, 1);
	cr_assert_eq(stats().target_bytes, 7 * MIB);
	/* Never more than there is. */
	balloon_set_target(w.dev, UINT32_MAX);
	cr_assert_eq(stats().target_bytes, w.mem.size);
	balloon_set_target(w.dev, 0);
	cr_assert_eq(config().num_pages, 0);
}

Test(balloon, what_the_driver_may_write)
{
	uint32_t value = htole32(768);
	uint64_t both = UINT64_MAX;

	w.dev->ops->config_write(w.dev, 4, &value, 4);
	cr_assert_eq(stats().actual_bytes, 3 * MIB);
	w.dev->ops->config_write(w.dev, 0, &value, 4);
	w.dev->ops->config_write(w.dev, 0, &both, 8);
	w.dev->ops->config_write(w.dev, 5, &both, 2);
	w.dev->ops->config_write(w.dev, 7, &both, 1);
	cr_assert_eq(config().num_pages, 0);
	cr_assert_eq(stats().actual_bytes, 3 * MIB);
	value = UINT32_MAX;
	w.dev->ops->config_write(w.dev, 4, &value, 4);
	cr_assert_eq(stats().actual_bytes, 0xffffffffull * PAGE, "what it says, no more");
	/* The next driver begins with an empty one. */
	restart();
	cr_assert_eq(config().actual, 0);
}

/* ---- inflation and deflation ---- */

Test(balloon, pages_given_up)
{
	const uint32_t pfns[] = { first + 3, first + 4, first + 5, first + 9, first + 1 };

	name_pages(INFLATE, pfns, 5);
	cr_assert_eq(used(INFLATE), 1);
	cr_assert_eq(w.transport.queue_signals[INFLATE], 1);
	cr_assert_eq(resident(PAGES, 16), 11);
	cr_assert_eq(*(uint8_t *)guest_at(&w.mem, PAGES + 4 * PAGE, 1), 0, "zeroes now");
	cr_assert_eq(*(uint8_t *)guest_at(&w.mem, PAGES + 2 * PAGE, 1), UNSET);
	cr_assert_eq(*(uint8_t *)guest_at(&w.mem, PAGES + 10 * PAGE, 1), UNSET);
	/* Taken back: there is nothing to be done for it. */
	name_pages(DEFLATE, pfns, 5);
	cr_assert_eq(used(DEFLATE), 1);
	cr_assert_not(broken());
}

/* In the order in which Linux happens to get them. */
Test(balloon, pages_downwards)
{
	uint32_t pfns[256];

	for (uint32_t i = 0; i < 256; i++)
		pfns[i] = first + 255 - i;
	name_pages(INFLATE, pfns, 256);
	cr_assert_eq(resident(PAGES, 256), 0);
	cr_assert_eq(resident(PAGES + 256 * PAGE, 1), 1);
	cr_assert_eq(resident(PAGES - PAGE, 1), 0, "it never was");
}

Test(balloon, duplicates)
{
	const uint32_t pfns[] = { first, first, first + 1, first, first + 1, first + 1 };

	for (int i = 0; i < 3; i++)
		name_pages(INFLATE, pfns, 6);
	cr_assert_eq(resident(PAGES, 4), 2);
	cr_assert_not(broken());
}

Test(balloon, pages_that_are_none)
{
	const uint32_t last = GUEST_RAM_MIN / PAGE;
	const uint32_t bad[] = { last,     last + 1,   0xd0000,    0xfee00,
				 0x100000, 0x80000000, 0xfffffffe, 0xffffffff };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const uint32_t pfns[] = { first, bad[i], first + 1 };

		memset(guest_at(&w.mem, PAGES, 2 * PAGE), UNSET, 2 * PAGE);
		name_pages(INFLATE, pfns, 3);
		cr_assert(broken(), "page %#x", bad[i]);
		cr_assert_eq(used(INFLATE), 0);
		cr_assert_eq(resident(PAGES + PAGE, 1), 1, "what comes after it");
		restart();
	}
	/* The last that there is, with one that is not, side by side. */
	const uint32_t pfns[] = { last - 1, last };

	name_pages(INFLATE, pfns, 1);
	cr_assert_not(broken());
	name_pages(INFLATE, pfns, 2);
	cr_assert(broken());
	restart();
	/* What is taken back is nobody's concern. */
	name_pages(DEFLATE, bad, 8);
	cr_assert_not(broken());
}

Test(balloon, lists_of_odd_shapes)
{
	uint32_t pfns[] = { first, first + 1, first + 2 };
	uint8_t *list = guest_at(&w.mem, PFNS, sizeof(pfns));
	struct guest_seg segs[] = { { PFNS, 1, false },
				    { PFNS + 1, 6, false },
				    { PFNS + 7, 5, false },
				    { PFNS, 8, true } };

	memcpy(list, pfns, sizeof(pfns));
	guest_queue_add(&w.gq[INFLATE], segs, 4);
	kick(INFLATE);
	cr_assert_eq(used(INFLATE), 1);
	cr_assert_eq(resident(PAGES, 4), 1, "numbers in pieces");
	/* Of none. */
	guest_queue_add(&w.gq[INFLATE], segs + 3, 1);
	kick(INFLATE);
	cr_assert_eq(used(INFLATE), 2);
	cr_assert_not(broken());
	for (uint32_t len = 1; len < 4; len++) {
		segs[0].len = len;
		guest_queue_add(&w.gq[INFLATE], segs, 1);
		kick(INFLATE);
		cr_assert(broken(), "%u bytes of a number", len);
		restart();
	}
}

/* A list as long as memory allows is worked through, with turns for others in between. */
Test(balloon, endless_list)
{
	const unsigned int n = 10000;
	struct guest_seg seg = { PFNS, n * 4, false };
	uint32_t *list = guest_at(&w.mem, PFNS, n * 4);
	unsigned int turns = 0;

	for (unsigned int i = 0; i < n; i++)
		list[i] = first + i % 1024;
	guest_queue_add(&w.gq[INFLATE], &seg, 1);
	guest_queue_publish(&w.gq[INFLATE]);
	virtio_device_kick(w.dev, INFLATE);
	cr_assert_eq(resident(PAGES, 1024), 512, "not all at once");
	for (; !used(INFLATE); turns++) {
		const uint32_t other[] = { first + 2000 };

		if (turns == 3)
			name_pages(DEFLATE, other, 1);
		guest_clock_turn(&w.clock, 1);
	}
	cr_assert_eq(used(DEFLATE), 1);
	cr_assert_geq(turns, 10);
	cr_assert_eq(resident(PAGES, 1024), 0);
}

static void publish_many(unsigned int queue)
{
	struct guest_seg seg = { PFNS, 0, false };
	uint16_t head = guest_queue_add(&w.gq[queue], &seg, 1);

	for (unsigned int i = 1; i < RING; i++)
		guest_queue_offer(&w.gq[queue], head);
	guest_queue_publish(&w.gq[queue]);
}

/* Nor does a ring full of nothing keep the loop from others. */
Test(balloon, full_rings)
{
	for (unsigned int queue = 0; queue < 3; queue++) {
		publish_many(queue);
		virtio_device_kick(w.dev, queue);
		cr_assert_eq(used(queue), 64);
		guest_clock_turn(&w.clock, 5);
		cr_assert_eq(used(queue), RING);
	}
	cr_assert_not(broken());
}

/* ---- free ranges ---- */

static void report(const struct guest_seg *segs, unsigned int n)
{
	guest_queue_add(&w.gq[REPORTING], segs, n);
	kick(REPORTING);
}

Test(balloon, ranges_reported)
{
	const struct guest_seg segs[] = { { PAGES, 16 * PAGE, true },
					  { PAGES + 32 * PAGE, PAGE, true },
					  { PAGES + MIB, MIB, true } };

	report(segs, 3);
	cr_assert_eq(used(REPORTING), 1);
	cr_assert_eq(resident(PAGES, 33), 16);
	cr_assert_eq(resident(PAGES + 32 * PAGE, 1), 0);
	cr_assert_eq(resident(PAGES + MIB, 256), 0);
	cr_assert_eq(resident(PAGES + 2 * MIB, 1), 1);
	cr_assert_eq(stats().reported_bytes, 17 * PAGE + MIB);
	/* Once more, used again, and once more. */
	report(segs, 3);
	memset(guest_at(&w.mem, PAGES, PAGE), UNSET, PAGE);
	cr_assert_eq(resident(PAGES, 16), 1);
	report(segs, 1);
	cr_assert_eq(resident(PAGES, 16), 0);
	cr_assert_not(broken());
}

/* Only whole pages go: what shares a page with the edge of a range may be in use. */
Test(balloon, ranges_askew)
{
	const struct guest_seg segs[] = { { PAGES + 1, 2 * PAGE, true },
					  { PAGES + 4 * PAGE + 100, 200, true },
					  { PAGES + 6 * PAGE, PAGE - 1, true },
					  { PAGES + 8 * PAGE - 1, PAGE + 2, true } };

	report(segs, 4);
	cr_assert_eq(used(REPORTING), 1);
	cr_assert_eq(resident(PAGES, 16), 14);
	cr_assert_eq(resident(PAGES + PAGE, 1), 0);
	cr_assert_eq(resident(PAGES + 8 * PAGE, 1), 0);
}

Test(balloon, ranges_out_of_memory)
{
	static const struct guest_seg bad[] = {
		{ GUEST_RAM_MIN, PAGE, true }, { GUEST_RAM_MIN - PAGE, 2 * PAGE, true },
		{ 0xd0000000, PAGE, true },    { 0, 0xffffffff, true },
		{ 4ull << 30, PAGE, true },    { UINT64_MAX - PAGE + 1, PAGE, true },
		{ UINT64_MAX, 2, true },       { 1ull << 63, PAGE, true },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const struct guest_seg segs[] = { { PAGES, PAGE, true }, bad[i] };

		memset(guest_at(&w.mem, PAGES, PAGE), UNSET, PAGE);
		report(segs, 2);
		cr_assert(broken(), "%#llx", (unsigned long long)bad[i].gpa);
		cr_assert_eq(resident(PAGES, 1), 1, "all or nothing");
		restart();
	}
	report(&(struct guest_seg){ GUEST_RAM_MIN - PAGE, PAGE, true }, 1);
	cr_assert_not(broken());
}

/* What is not writable by the device is no range. */
Test(balloon, readable_ranges)
{
	const struct guest_seg segs[] = { { PAGES, PAGE, false }, { PAGES + PAGE, PAGE, true } };

	report(segs, 2);
	cr_assert_eq(resident(PAGES, 2), 1);
	cr_assert_eq(resident(PAGES, 1), 1);
}

/* The whole of memory, the rings among it: what is left of them makes no sense. */
Test(balloon, everything_reported)
{
	const struct guest_seg all = { 0, GUEST_RAM_MIN, true };

	report(&all, 1);
	cr_assert_eq(resident(PAGES, 1024), 0);
	cr_assert(broken());
	restart();
	report(&(struct guest_seg){ PAGES, PAGE, true }, 1);
	cr_assert_eq(used(REPORTING), 1);
}

/* The same range, many times in one chain: more than is done in a turn. */
Test(balloon, ranges_in_pieces)
{
	struct guest_seg segs[RING];

	for (unsigned int i = 0; i < RING; i++)
		segs[i] = (struct guest_seg){ PAGES, 2 * MIB, true };
	guest_queue_add(&w.gq[REPORTING], segs, RING);
	guest_queue_publish(&w.gq[REPORTING]);
	virtio_device_kick(w.dev, REPORTING);
	cr_assert_eq(used(REPORTING), 0);
	cr_assert_eq(stats().reported_bytes, 64 * MIB);
	guest_clock_turn(&w.clock, 5);
	cr_assert_eq(used(REPORTING), 1);
	cr_assert_eq(stats().reported_bytes, 256ull * MIB);
}

/* A reset drops what is half done. */
Test(balloon, reset_in_between)
{
	struct guest_seg segs[RING];

	for (int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < RING; i++)
			segs[i] = (struct guest_seg){ PAGES, 2 * MIB, true };
		guest_queue_add(&w.gq[REPORTING], segs, RING);
		guest_queue_publish(&w.gq[REPORTING]);
		virtio_device_kick(w.dev, REPORTING);
		restart();
		memset(guest_at(&w.mem, PAGES, PAGE), UNSET, PAGE);
		guest_clock_turn(&w.clock, 5);
		cr_assert_eq(used(REPORTING), 0);
		cr_assert_eq(resident(PAGES, 1), 1);
		report(&(struct guest_seg){ PAGES, PAGE, true }, 1);
		cr_assert_eq(used(REPORTING), 1);
		restart();
	}
}

Test(balloon, ring_faults)
{
	for (unsigned int queue = 0; queue < 3; queue++) {
		guest_queue_offer(&w.gq[queue], RING);
		kick(queue);
		cr_assert(broken());
		restart();
	}
}
