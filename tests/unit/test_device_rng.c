// SPDX-License-Identifier: Apache-2.0
#include "device/rng.h"

#include <criterion/criterion.h>

#include "guest_driver.h"

#define DATA 0x200000u
#define RING 8

/* There in a build with the address sanitizer; criterion ends tests without the check at exit. */
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static struct loop *loop;
static struct guest_mem mem;
static struct virtio_device *dev;
static struct guest_transport transport;
static struct guest_clock clock_;
static struct guest_queue gq;

static void device_start(void)
{
	guest_queue_init(&gq, &mem, 0x100000, RING);
	cr_assert_eq(guest_queue_enable(&gq, &dev->queues[0], false), 0);
	virtio_device_start(dev);
}

static void setup(void)
{
	cr_assert_eq(guest_mem_init(&mem, GUEST_RAM_MIN), 0);
	cr_assert_eq(loop_new(&loop, 8), 0);
	cr_assert_eq(rng_new(loop, &mem, &dev), 0);
	guest_transport_attach(&transport, dev);
	guest_clock_init(&clock_, loop);
	device_start();
}

static void teardown(void)
{
	guest_device_reset(dev);
	dev->ops->free(dev);
	loop_free(loop);
	guest_mem_deinit(&mem);
	if (__lsan_do_recoverable_leak_check)
		cr_assert_eq(__lsan_do_recoverable_leak_check(), 0);
}

TestSuite(rng, .init = setup, .fini = teardown, .timeout = 60);

/* Ask with @segs; returns how many bytes the device says it wrote. */
static uint32_t ask(const struct guest_seg *segs, unsigned int n)
{
	uint16_t head = guest_queue_add(&gq, segs, n), used;
	uint32_t len;

	guest_queue_publish(&gq);
	virtio_device_kick(dev, 0);
	cr_assert(guest_queue_used(&gq, &used, &len));
	cr_assert_eq(used, head);
	return len;
}

static size_t count_zeroes(uint64_t at, size_t len)
{
	const uint8_t *p = guest_at(&mem, at, len);
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += !p[i];
	return n;
}

Test(rng, fills_what_it_is_given)
{
	for (uint32_t len = 1; len <= 256; len++) {
		struct guest_seg seg = { DATA, len, true };

		memset(guest_at(&mem, DATA, 512), 0, 512);
		cr_assert_eq(ask(&seg, 1), len);
		cr_assert_leq(count_zeroes(DATA, len), len / 8 + 4, "as good as random");
		cr_assert_eq(count_zeroes(DATA + len, 256), 256, "and nothing past it");
	}
	cr_assert_eq(transport.queue_signals[0], 256);
}

/* What is asked for at once is bounded; the guest asks again. */
Test(rng, large_requests)
{
	struct guest_seg seg = { DATA, 16 << 20, true };

	uint32_t len = ask(&seg, 1);

	cr_assert(len > 0 && len <= 4096);
	cr_assert_eq(count_zeroes(DATA + len, 65536), 65536);
}

Test(rng, scattered)
{
	struct guest_seg segs[] = { { DATA, 1, true },
				    { DATA + 0x1000, 0, true },
				    { DATA + 0x2000, 100, true },
				    { DATA + 0x3000, 1000, true } };

	memset(guest_at(&mem, DATA, 0x4000), 0, 0x4000);
	uint32_t len = ask(segs, 4);

	cr_assert_geq(len, 151);
	cr_assert_leq(count_zeroes(DATA + 0x2000, 100), 16);
	cr_assert_lt(count_zeroes(DATA + 0x3000, len - 101), 50);
}

Test(rng, two_answers_differ)
{
	struct guest_seg a = { DATA, 64, true }, b = { DATA + 64, 64, true };

	ask(&a, 1);
	ask(&b, 1);
	cr_assert_neq(memcmp(guest_at(&mem, DATA, 64), guest_at(&mem, DATA + 64, 64), 64), 0);
}

/* Nothing to write to: nothing is written, and the chain comes back all the same. */
Test(rng, requests_without_room)
{
	struct guest_seg readable = { DATA, 64, false }, empty = { DATA, 0, true };

	memset(guest_at(&mem, DATA, 64), 0, 64);
	cr_assert_eq(ask(&readable, 1), 0);
	cr_assert_eq(ask(&empty, 1), 0);
	cr_assert_eq(count_zeroes(DATA, 64), 64);
	cr_assert_not(atomic_load(&dev->broken));
}

Test(rng, faults)
{
	struct guest_seg bad = { mem.size - 8, 64, true }, good = { DATA, 8, true };

	guest_queue_add(&gq, &good, 1);
	guest_queue_add(&gq, &bad, 1);
	guest_queue_publish(&gq);
	virtio_device_kick(dev, 0);
	cr_assert(atomic_load(&dev->broken));
	cr_assert_eq(transport.config_signals, 1);
	cr_assert_eq(transport.queue_signals[0], 1, "for the good one");
	virtio_device_kick(dev, 0);
	cr_assert_eq(transport.config_signals, 1);
	guest_device_reset(dev);
	device_start();
	cr_assert_eq(ask(&good, 1), 8);
}

/* All of the ring at once: served in turns, with one kick. */
Test(rng, full_ring)
{
	struct guest_seg seg = { DATA, 8, true };
	uint16_t head;

	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < RING; i++)
			guest_queue_add(&gq, &seg, 1);
		guest_queue_publish(&gq);
		virtio_device_kick(dev, 0);
		guest_clock_turn(&clock_, 3);
		for (int i = 0; i < RING; i++)
			cr_assert(guest_queue_used(&gq, &head, NULL));
	}
}
