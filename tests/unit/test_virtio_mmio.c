// SPDX-License-Identifier: Apache-2.0
#include "virtio/mmio.h"

#include <criterion/criterion.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <semaphore.h>
#include <stdalign.h>
#include <sys/eventfd.h>

#include "loop_thread.h"

#define QUEUES      2
#define QUEUE_MAX   64
#define CONFIG_SIZE 13u
#define TOY_FEATURE 5
#define ALL_SET_UP \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)

/*
 * A device that gives every chain back at once. Its fields are the loop's, and are looked at once
 * that has settled.
 */
static struct toy {
	struct virtio_device dev;
	unsigned int starts;
	unsigned int stops;
	unsigned int queue_stops[QUEUES];
	unsigned int kicks[QUEUES];
	pthread_t kicked_on[QUEUES];
	uint64_t features_at_start;
	bool hold_stop;
	unsigned int hold_queue;
	struct loop_call *held;
	sem_t holding;
	uint8_t config[CONFIG_SIZE];
	bool freed;
} toy;

static struct loop_thread thread;
static struct loop_thread thread1; /* of queue 1, where it has its own */
static bool two_loops;
static struct virtio_mmio *t;
static alignas(4096) uint8_t page[VIRTIO_MMIO_BYTES]; /* what the guest reads */
static struct guest_mem mem;
static int kick_fds[QUEUES];
static int irq_fd;
static bool config_writable;

static void toy_start(struct virtio_device *dev)
{
	toy.starts++;
	toy.features_at_start = dev->features;
}

static void toy_stop(struct virtio_device *dev, struct loop_call *done)
{
	(void)dev;
	toy.stops++;
	if (!toy.hold_stop) {
		loop_call_done(done);
		return;
	}
	toy.held = done;
	sem_post(&toy.holding);
}

static void toy_stop_queue(struct virtio_device *dev, unsigned int queue, struct loop_call *done)
{
	(void)dev;
	guest_require(!atomic_load(&toy.dev.running));
	toy.queue_stops[queue]++;
	if (!toy.hold_stop || queue != toy.hold_queue) {
		loop_call_done(done);
		return;
	}
	toy.held = done;
	sem_post(&toy.holding);
}

static void toy_kick(struct virtio_device *dev, unsigned int queue)
{
	struct virtq_chain chain;
	int ret;

	toy.kicks[queue]++;
	toy.kicked_on[queue] = pthread_self();
	while ((ret = virtq_pop(&dev->queues[queue], &chain)) == VIRTQ_OK)
		virtq_push(&dev->queues[queue], chain.head, chain.in_len);
	virtio_signal(dev, queue);
	if (ret == VIRTQ_FAULT)
		virtio_fault(dev, "a test");
}

static void toy_config_read(struct virtio_device *dev, uint32_t off, void *buf, uint32_t len)
{
	(void)dev;
	guest_require(off < CONFIG_SIZE && len <= CONFIG_SIZE - off);
	memcpy(buf, toy.config + off, len);
}

static void toy_config_write(struct virtio_device *dev, uint32_t off, const void *buf, uint32_t len)
{
	(void)dev;
	guest_require(off < CONFIG_SIZE && len <= CONFIG_SIZE - off);
	memcpy(toy.config + off, buf, len);
}

static void toy_free(struct virtio_device *dev)
{
	(void)dev;
	toy.freed = true;
}

static struct virtio_ops toy_ops = {
	.start = toy_start,
	.stop = toy_stop,
	.kick = toy_kick,
	.config_read = toy_config_read,
	.free = toy_free,
};

static void make_device(struct loop *loop)
{
	toy.dev = (struct virtio_device){
		.ops = &toy_ops,
		.name = "toy",
		.id = 42,
		.features_offered = 1ull << TOY_FEATURE,
		.config_size = CONFIG_SIZE,
		.nqueues = QUEUES,
		.queue_size_max = QUEUE_MAX,
		.loop = loop,
		.queue_loops = { NULL, two_loops ? thread1.loop : NULL },
		.mem = &mem,
	};
	guest_require(virtio_device_init(&toy.dev) == 0);
	guest_require(virtio_mmio_new(&toy.dev, kick_fds, irq_fd, page, &t) == 0);
}

static void setup(void)
{
	cr_assert_eq(guest_mem_init(&mem, GUEST_RAM_MIN), 0);
	for (unsigned int i = 0; i < QUEUES; i++)
		kick_fds[i] = eventfd(0, EFD_CLOEXEC);
	irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	sem_init(&toy.holding, 0, 0);
	memset(page, 0, sizeof(page));
	for (unsigned int i = 0; i < CONFIG_SIZE; i++)
		toy.config[i] = (uint8_t)(0x80 + i);
	toy_ops.config_write = config_writable ? toy_config_write : NULL;
	toy_ops.stop = two_loops ? NULL : toy_stop;
	toy_ops.stop_queue = two_loops ? toy_stop_queue : NULL;
	loop_thread_start(&thread, make_device);
}

static void setup_writable(void)
{
	config_writable = true;
	setup();
}

static void setup_two_loops(void)
{
	two_loops = true;
	loop_thread_init(&thread1);
	setup();
	loop_thread_run(&thread1);
}

static void teardown(void)
{
	virtio_mmio_reset(t);
	loop_thread_stop(&thread);
	if (two_loops)
		loop_thread_stop(&thread1);
	virtio_mmio_free(t);
	cr_assert(toy.freed);
	for (unsigned int i = 0; i < QUEUES; i++)
		close(kick_fds[i]);
	close(irq_fd);
	guest_mem_deinit(&mem);
}

TestSuite(mmio, .init = setup, .fini = teardown, .timeout = 60);
TestSuite(mmio_loops, .init = setup_two_loops, .fini = teardown, .timeout = 60);
TestSuite(mmio_writable, .init = setup_writable, .fini = teardown, .timeout = 60);

/* ---- the driver's side ---- */

static uint32_t get(uint32_t off)
{
	return le32toh(
		__atomic_load_n((const uint32_t *)(const void *)(page + off), __ATOMIC_SEQ_CST));
}

static void set(uint32_t off, uint32_t value)
{
	value = htole32(value);
	virtio_mmio_write(t, off, &value, sizeof(value));
}

static uint64_t offered(void)
{
	set(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	uint64_t features = (uint64_t)get(VIRTIO_MMIO_DEVICE_FEATURES) << 32;

	set(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	return features | get(VIRTIO_MMIO_DEVICE_FEATURES);
}

static void set_features(uint64_t features)
{
	set(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	set(VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
	set(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	set(VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
}

/* As far as FEATURES_OK. */
static void negotiate(uint64_t features)
{
	set(VIRTIO_MMIO_STATUS, 0);
	set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	set_features(features);
	set(VIRTIO_MMIO_STATUS, ALL_SET_UP);
	cr_assert_eq(get(VIRTIO_MMIO_STATUS), ALL_SET_UP);
}

static void set_addresses(const struct guest_queue *gq)
{
	set(VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)gq->desc_gpa);
	set(VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(gq->desc_gpa >> 32));
	set(VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)gq->avail_gpa);
	set(VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(gq->avail_gpa >> 32));
	set(VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)gq->used_gpa);
	set(VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(gq->used_gpa >> 32));
}

static void queue_up(struct guest_queue *gq, uint32_t index, uint16_t size)
{
	guest_queue_init(gq, &mem, 0x100000 + 0x10000ull * index, size);
	set(VIRTIO_MMIO_QUEUE_SEL, index);
	cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 0);
	cr_assert_eq(get(VIRTIO_MMIO_QUEUE_NUM_MAX), QUEUE_MAX);
	set(VIRTIO_MMIO_QUEUE_NUM, size);
	set_addresses(gq);
	set(VIRTIO_MMIO_QUEUE_READY, 1);
	cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 1);
}

static struct guest_queue gq[QUEUES];

static void bring_up(void)
{
	negotiate(1ull << VIRTIO_F_VERSION_1);
	queue_up(&gq[0], 0, 16);
	queue_up(&gq[1], 1, 64);
	set(VIRTIO_MMIO_STATUS, ALL_SET_UP | VIRTIO_CONFIG_S_DRIVER_OK);
	cr_assert_eq(get(VIRTIO_MMIO_STATUS), ALL_SET_UP | VIRTIO_CONFIG_S_DRIVER_OK);
}

static uint16_t send_one(struct guest_queue *q, unsigned int index)
{
	struct guest_seg seg = { 0x200000, 8, true };
	uint16_t head = guest_queue_add(q, &seg, 1);

	guest_queue_publish(q);
	event_signal(kick_fds[index]);
	return head;
}

static void expect_served(unsigned int index)
{
	uint16_t head = send_one(&gq[index], index), used;
	uint32_t len;

	event_wait(irq_fd);
	cr_assert(get(VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_VRING);
	set(VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	cr_assert(guest_queue_used(&gq[index], &used, &len));
	cr_assert(used == head && len == 8);
}

/* ---- identity ---- */

Test(mmio, identity)
{
	cr_assert_eq(get(VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	cr_assert_eq(get(VIRTIO_MMIO_VERSION), 2);
	cr_assert_eq(get(VIRTIO_MMIO_DEVICE_ID), 42);
	cr_assert_neq(get(VIRTIO_MMIO_VENDOR_ID), 0);
	cr_assert_eq(get(VIRTIO_MMIO_STATUS), 0);
	cr_assert_eq(offered(), 1ull << TOY_FEATURE | 1ull << VIRTIO_F_VERSION_1 |
					1ull << VIRTIO_RING_F_EVENT_IDX |
					1ull << VIRTIO_RING_F_INDIRECT_DESC);
	for (uint32_t sel = 2; sel; sel *= 2) {
		set(VIRTIO_MMIO_DEVICE_FEATURES_SEL, sel);
		cr_assert_eq(get(VIRTIO_MMIO_DEVICE_FEATURES), 0, "word %u", sel);
	}
	cr_assert_eq(get(VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX, "no shared memory");
	cr_assert_eq(get(VIRTIO_MMIO_SHM_LEN_HIGH), UINT32_MAX);
}

/* What was set up with the numbers of 3.1.1 works, again and again. */
Test(mmio, life_cycle)
{
	for (unsigned int i = 1; i <= 20; i++) {
		bring_up();
		expect_served(0);
		expect_served(1);
		loop_thread_settle(&thread);
		cr_assert_eq(toy.starts, i);
		cr_assert_eq(toy.features_at_start, 1ull << VIRTIO_F_VERSION_1);
		set(VIRTIO_MMIO_STATUS, 0);
		cr_assert_eq(get(VIRTIO_MMIO_STATUS), 0);
		cr_assert_eq(toy.stops, i);
	}
}

/* ---- status and features ---- */

Test(mmio, features_that_were_not_offered)
{
	set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	for (unsigned int bit = 0; bit < 64; bit++) {
		uint64_t f = 1ull << VIRTIO_F_VERSION_1 | 1ull << bit;

		set_features(f);
		if (!(f & ~offered()))
			continue;
		set(VIRTIO_MMIO_STATUS, ALL_SET_UP);
		cr_assert_eq(get(VIRTIO_MMIO_STATUS),
			     VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER, "bit %u", bit);
	}
	/* A driver may think better of it. */
	set_features(1ull << VIRTIO_F_VERSION_1 | 1ull << TOY_FEATURE);
	set(VIRTIO_MMIO_STATUS, ALL_SET_UP);
	cr_assert_eq(get(VIRTIO_MMIO_STATUS), ALL_SET_UP);
	cr_assert_eq(toy.dev.features, 1ull << VIRTIO_F_VERSION_1 | 1ull << TOY_FEATURE);
}

Test(mmio, legacy_driver)
{
	set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	set_features(1ull << TOY_FEATURE);
	set(VIRTIO_MMIO_STATUS, ALL_SET_UP);
	cr_assert_not(get(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK);
	/* As legacy drivers do it, without FEATURES_OK. */
	set(VIRTIO_MMIO_STATUS,
	    VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK);
	cr_assert_not(get(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_DRIVER_OK);
	loop_thread_settle(&thread);
	cr_assert_eq(toy.starts, 0);
}

Test(mmio, features_past_bit_63)
{
	set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	set_features(1ull << VIRTIO_F_VERSION_1);
	set(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 2);
	set(VIRTIO_MMIO_DRIVER_FEATURES, UINT32_MAX);
	set(VIRTIO_MMIO_DRIVER_FEATURES_SEL, UINT32_MAX);
	set(VIRTIO_MMIO_DRIVER_FEATURES, UINT32_MAX);
	set(VIRTIO_MMIO_STATUS, ALL_SET_UP);
	cr_assert_eq(get(VIRTIO_MMIO_STATUS), ALL_SET_UP);
	cr_assert_eq(toy.dev.features, 1ull << VIRTIO_F_VERSION_1);
}

Test(mmio, features_after_features_ok)
{
	negotiate(1ull << VIRTIO_F_VERSION_1);
	set_features(offered());
	set(VIRTIO_MMIO_STATUS, ALL_SET_UP);
	set(VIRTIO_MMIO_STATUS, ALL_SET_UP | VIRTIO_CONFIG_S_DRIVER_OK);
	set_features(offered());
	loop_thread_settle(&thread);
	cr_assert_eq(toy.features_at_start, 1ull << VIRTIO_F_VERSION_1);
	cr_assert_eq(toy.dev.features, 1ull << VIRTIO_F_VERSION_1);
}

Test(mmio, status_out_of_order)
{
	set_features(1ull << VIRTIO_F_VERSION_1);
	set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER_OK);
	cr_assert_eq(get(VIRTIO_MMIO_STATUS), 0);
	set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_FEATURES_OK);
	cr_assert_eq(get(VIRTIO_MMIO_STATUS), 0);
	set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);
	cr_assert_eq(get(VIRTIO_MMIO_STATUS), VIRTIO_CONFIG_S_DRIVER);
	set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK);
	cr_assert_eq(get(VIRTIO_MMIO_STATUS), VIRTIO_CONFIG_S_DRIVER);
	loop_thread_settle(&thread);
	cr_assert_eq(toy.starts, 0);
}

Test(mmio, status_bits_stay)
{
	negotiate(1ull << VIRTIO_F_VERSION_1);
	set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER_OK);
	cr_assert_eq(get(VIRTIO_MMIO_STATUS), ALL_SET_UP, "a bad write has no effect at all");
	bring_up();
	set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	set(VIRTIO_MMIO_STATUS, ALL_SET_UP);
	set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER_OK);
	cr_assert_eq(get(VIRTIO_MMIO_STATUS), ALL_SET_UP | VIRTIO_CONFIG_S_DRIVER_OK);
	set(VIRTIO_MMIO_STATUS, ALL_SET_UP | VIRTIO_CONFIG_S_DRIVER_OK);
	loop_thread_settle(&thread);
	cr_assert(toy.starts == 1 && toy.stops == 0, "nothing was started or stopped again");
	expect_served(0);
}

/* Bits without a meaning, and the one that only the device may set. */
Test(mmio, status_bits_of_no_meaning)
{
	set(VIRTIO_MMIO_STATUS, 0xffffff00);
	cr_assert_eq(get(VIRTIO_MMIO_STATUS), 0);
	set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_NEEDS_RESET);
	cr_assert_eq(get(VIRTIO_MMIO_STATUS), 0);
	set(VIRTIO_MMIO_STATUS, 0xffffffff);
	cr_assert_eq(get(VIRTIO_MMIO_STATUS),
		     VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FAILED);
}

/* A device that was given up works again after a reset. */
Test(mmio, failed)
{
	bring_up();
	set(VIRTIO_MMIO_STATUS, ALL_SET_UP | VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED);
	cr_assert(get(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FAILED);
	bring_up();
	expect_served(1);
}

/* ---- queue registers ---- */

static void expect_deaf(uint32_t index)
{
	struct virtq before = toy.dev.queues[index];

	for (uint32_t off = VIRTIO_MMIO_QUEUE_NUM; off <= VIRTIO_MMIO_QUEUE_USED_HIGH; off += 4) {
		if (off == VIRTIO_MMIO_QUEUE_NOTIFY || off == VIRTIO_MMIO_STATUS)
			continue;
		set(VIRTIO_MMIO_QUEUE_SEL, index);
		set(off, 0);
		set(off, 0x1001);
		set(off, 0xffffffff);
	}
	cr_assert_eq(memcmp(&before, &toy.dev.queues[index], sizeof(before)), 0);
}

Test(mmio, queues_before_features_ok)
{
	expect_deaf(0);
	set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	expect_deaf(1);
}

Test(mmio, queues_after_driver_ok)
{
	bring_up();
	loop_thread_settle(&thread);
	expect_deaf(0);
	expect_deaf(1);
	expect_served(0);
	expect_served(1);
}

/* A queue that was left out is not ready later either. */
Test(mmio, queue_made_ready_too_late)
{
	negotiate(1ull << VIRTIO_F_VERSION_1);
	queue_up(&gq[0], 0, 16);
	guest_queue_init(&gq[1], &mem, 0x110000, 16);
	set(VIRTIO_MMIO_QUEUE_SEL, 1);
	set(VIRTIO_MMIO_QUEUE_NUM, 16);
	set_addresses(&gq[1]);
	set(VIRTIO_MMIO_STATUS, ALL_SET_UP | VIRTIO_CONFIG_S_DRIVER_OK);
	set(VIRTIO_MMIO_QUEUE_READY, 1);
	cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 0);
	send_one(&gq[1], 1);
	loop_thread_settle(&thread);
	cr_assert_eq(toy.kicks[1], 0);
	expect_served(0);
}

/* Once ready, only QueueReady itself speaks to the queue; 0 takes it back. */
Test(mmio, queue_after_ready)
{
	negotiate(1ull << VIRTIO_F_VERSION_1);
	queue_up(&gq[0], 0, 16);

	struct virtq before = toy.dev.queues[0];

	set(VIRTIO_MMIO_QUEUE_NUM, 32);
	set(VIRTIO_MMIO_QUEUE_DESC_LOW, 0x5000);
	set(VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 1);
	set(VIRTIO_MMIO_QUEUE_USED_LOW, 0xffffffff);
	cr_assert_eq(memcmp(&before, &toy.dev.queues[0], sizeof(before)), 0);
	set(VIRTIO_MMIO_QUEUE_READY, 0);
	cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 0);
	set(VIRTIO_MMIO_QUEUE_NUM, 32);
	set(VIRTIO_MMIO_QUEUE_READY, 1);
	cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 1);
	cr_assert_eq(toy.dev.queues[0].size, 32);
}

Test(mmio, queue_sizes)
{
	static const uint32_t bad[] = { 0,      3,       63,      QUEUE_MAX + 1, 128,
					0x8000, 0x10000, 0x10010, 0x80000010,    UINT32_MAX };

	negotiate(1ull << VIRTIO_F_VERSION_1);
	guest_queue_init(&gq[0], &mem, 0x100000, 16);
	set_addresses(&gq[0]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		set(VIRTIO_MMIO_QUEUE_NUM, bad[i]);
		set(VIRTIO_MMIO_QUEUE_READY, 1);
		cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 0, "size %#x", bad[i]);
	}
	set(VIRTIO_MMIO_QUEUE_NUM, 16);
	set(VIRTIO_MMIO_QUEUE_READY, 1);
	cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 1);
}

Test(mmio, queue_addresses)
{
	static const uint32_t high[] = { VIRTIO_MMIO_QUEUE_DESC_HIGH, VIRTIO_MMIO_QUEUE_AVAIL_HIGH,
					 VIRTIO_MMIO_QUEUE_USED_HIGH };

	negotiate(1ull << VIRTIO_F_VERSION_1);
	guest_queue_init(&gq[0], &mem, 0x100000, 16);
	set(VIRTIO_MMIO_QUEUE_NUM, 16);
	for (size_t i = 0; i < 3; i++) {
		/* All 64 bits count. */
		set_addresses(&gq[0]);
		set(high[i], 1);
		set(VIRTIO_MMIO_QUEUE_READY, 1);
		cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 0);
		set(high[i] - 4, 0xffffffff - 15);
		set(high[i], 0xffffffff);
		set(VIRTIO_MMIO_QUEUE_READY, 1);
		cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 0, "wraps 2^64");
	}
	set_addresses(&gq[0]);
	set(VIRTIO_MMIO_QUEUE_READY, 1);
	cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 1);
}

Test(mmio, queues_that_are_not_there)
{
	static const uint32_t sel[] = { 2, 31, 32, 33, 0xffff, 0x10000, 0x80000000, 0xffffffff };

	struct virtq before[VIRTIO_QUEUES_MAX];

	negotiate(1ull << VIRTIO_F_VERSION_1);
	memcpy(before, toy.dev.queues, sizeof(before));
	for (size_t i = 0; i < sizeof(sel) / sizeof(sel[0]); i++) {
		set(VIRTIO_MMIO_QUEUE_SEL, sel[i]);
		cr_assert_eq(get(VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
		for (uint32_t off = VIRTIO_MMIO_QUEUE_NUM; off <= VIRTIO_MMIO_QUEUE_USED_HIGH;
		     off += 4)
			if (off != VIRTIO_MMIO_STATUS)
				set(off, 1);
		cr_assert_eq(get(VIRTIO_MMIO_QUEUE_READY), 0);
	}
	cr_assert_eq(memcmp(before, toy.dev.queues, sizeof(before)), 0);
	queue_up(&gq[0], 0, 16);
}

/* KVM hands real kicks to eventfds; what comes here is for no queue, and does nothing. */
Test(mmio, notify)
{
	static const uint32_t queues[] = { 0, 1, 2, 31, 32, 0x10000, 0xffffffff };

	for (size_t i = 0; i < sizeof(queues) / sizeof(queues[0]); i++)
		set(VIRTIO_MMIO_QUEUE_NOTIFY, queues[i]);
	bring_up();
	for (size_t i = 0; i < sizeof(queues) / sizeof(queues[0]); i++)
		set(VIRTIO_MMIO_QUEUE_NOTIFY, queues[i]);
	loop_thread_settle(&thread);
	cr_assert(toy.kicks[0] == 0 && toy.kicks[1] == 0);
	cr_assert_not(get(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	expect_served(1);
}

/* Kicks that come while there is nothing to kick. */
Test(mmio, kicks_out_of_season)
{
	event_signal(kick_fds[0]);
	loop_thread_settle(&thread);
	negotiate(1ull << VIRTIO_F_VERSION_1);
	queue_up(&gq[0], 0, 16);
	event_signal(kick_fds[0]);
	loop_thread_settle(&thread);
	cr_assert_eq(toy.kicks[0], 0, "not before DRIVER_OK");
	set(VIRTIO_MMIO_STATUS, ALL_SET_UP | VIRTIO_CONFIG_S_DRIVER_OK);
	expect_served(0);
	event_signal(kick_fds[1]);
	loop_thread_settle(&thread);
	cr_assert_eq(toy.kicks[1], 0, "this one is not ready");
	set(VIRTIO_MMIO_STATUS, 0);
	unsigned int kicks = toy.kicks[0];

	event_signal(kick_fds[0]);
	loop_thread_settle(&thread);
	cr_assert_eq(toy.kicks[0], kicks, "not after a reset");
}

/* ---- interrupts ---- */

Test(mmio, interrupt_status)
{
	bring_up();
	send_one(&gq[0], 0);
	event_wait(irq_fd);
	cr_assert_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	set(VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
	cr_assert_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING, "not that one");
	set(VIRTIO_MMIO_INTERRUPT_ACK, 0);
	set(VIRTIO_MMIO_INTERRUPT_STATUS, 0);
	cr_assert_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	set(VIRTIO_MMIO_INTERRUPT_ACK, 0xffffffff);
	cr_assert_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	set(VIRTIO_MMIO_INTERRUPT_ACK, 0xffffffff);
	cr_assert_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	send_one(&gq[0], 0);
	event_wait(irq_fd);
	set(VIRTIO_MMIO_STATUS, 0);
	cr_assert_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), 0, "a reset takes it back");
}

/* With the event index the driver is not interrupted for what it did not ask for. */
Test(mmio, interrupts_by_event_index)
{
	negotiate(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX);
	queue_up(&gq[0], 0, 16);
	set(VIRTIO_MMIO_STATUS, ALL_SET_UP | VIRTIO_CONFIG_S_DRIVER_OK);
	gq[0].vr.avail->ring[16] = htole16(2);
	send_one(&gq[0], 0);
	loop_thread_settle(&thread);
	send_one(&gq[0], 0);
	loop_thread_settle(&thread);
	cr_assert_eq(event_take(irq_fd), 0);
	cr_assert_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	send_one(&gq[0], 0);
	event_wait(irq_fd);
	cr_assert_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
}

/* ---- faults and resets ---- */

Test(mmio, fault)
{
	bring_up();
	guest_queue_offer(&gq[0], 0xffff);
	guest_queue_publish(&gq[0]);
	event_signal(kick_fds[0]);
	event_wait(irq_fd);
	cr_assert_eq(get(VIRTIO_MMIO_STATUS),
		     ALL_SET_UP | VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET);
	cr_assert_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	/* It takes no requests, and cannot be talked out of it. */
	send_one(&gq[1], 1);
	loop_thread_settle(&thread);
	cr_assert_eq(toy.kicks[1], 0);
	set(VIRTIO_MMIO_STATUS, ALL_SET_UP | VIRTIO_CONFIG_S_DRIVER_OK);
	cr_assert(get(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	cr_assert_eq(event_take(irq_fd), 0, "told once");

	set(VIRTIO_MMIO_STATUS, 0);
	cr_assert_eq(get(VIRTIO_MMIO_STATUS), 0);
	bring_up();
	expect_served(0);
	expect_served(1);
}

Test(mmio, reset_forgets)
{
	negotiate(offered());
	queue_up(&gq[1], 1, 16);
	set(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	set(VIRTIO_MMIO_STATUS, ALL_SET_UP | VIRTIO_CONFIG_S_DRIVER_OK);
	set(VIRTIO_MMIO_STATUS, 0);
	cr_assert_eq(toy.dev.features, 0);
	cr_assert_eq(get(VIRTIO_MMIO_DEVICE_FEATURES), (uint32_t)offered(), "word 0 is selected");
	/* No address and no feature of the last life is left for the next. */
	set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	set(VIRTIO_MMIO_STATUS, ALL_SET_UP);
	cr_assert_not(get(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned int i = 0; i < QUEUES; i++) {
		cr_assert_not(toy.dev.queues[i].ready);
		cr_assert_eq(toy.dev.queues[i].desc_gpa.v, 0);
		cr_assert_eq(toy.dev.queues[i].driver_gpa.v, 0);
		cr_assert_eq(toy.dev.queues[i].device_gpa.v, 0);
	}
}

static void *write_reset(void *arg)
{
	(void)arg;
	set(VIRTIO_MMIO_STATUS, 0);
	return NULL;
}

static void finish_stop(void *ctx, struct loop_call *call)
{
	(void)ctx;
	/* The device has its queues until it has stopped. */
	guest_require(toy.dev.queues[0].ready);
	loop_call_done(toy.held);
	loop_call_done(call);
}

/* The write to Status returns when the device has let go of memory, and handlers go on meanwhile.
 */
Test(mmio, reset_waits_for_the_device)
{
	pthread_t vcpu;

	bring_up();
	send_one(&gq[0], 0);
	event_wait(irq_fd);
	toy.hold_stop = true;
	cr_assert_eq(pthread_create(&vcpu, NULL, write_reset, NULL), 0);
	sem_wait(&toy.holding);
	cr_assert_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	set(VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	cr_assert_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	send_one(&gq[0], 0);
	loop_thread_settle(&thread);
	cr_assert_eq(toy.kicks[0], 1, "a device that stops takes no kicks");
	cr_assert_eq(loop_call(thread.loop, finish_stop, NULL), 0);
	pthread_join(vcpu, NULL);
	cr_assert_eq(get(VIRTIO_MMIO_STATUS), 0);
	cr_assert_not(toy.dev.queues[0].ready);
	toy.hold_stop = false;
	bring_up();
	expect_served(0);
}

static void *bring_up_and_down(void *arg)
{
	(void)arg;
	for (int i = 0; i < 200; i++) {
		set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
		set_features(1ull << VIRTIO_F_VERSION_1);
		set(VIRTIO_MMIO_STATUS, ALL_SET_UP);
		set(VIRTIO_MMIO_QUEUE_SEL, 0);
		set(VIRTIO_MMIO_QUEUE_NUM, 16);
		set_addresses(&gq[0]);
		set(VIRTIO_MMIO_QUEUE_READY, 1);
		set(VIRTIO_MMIO_STATUS, ALL_SET_UP | VIRTIO_CONFIG_S_DRIVER_OK);
		event_signal(kick_fds[0]);
		set(VIRTIO_MMIO_STATUS, 0);
	}
	return NULL;
}

/* vCPUs that fight over a device harm only its driver. */
Test(mmio, two_drivers)
{
	pthread_t vcpus[3];

	guest_queue_init(&gq[0], &mem, 0x100000, 16);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(pthread_create(&vcpus[i], NULL, bring_up_and_down, NULL), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(vcpus[i], NULL);
	loop_thread_settle(&thread);
	set(VIRTIO_MMIO_STATUS, 0);
	cr_assert_eq(toy.starts, toy.stops);
	event_take(irq_fd);
	bring_up();
	expect_served(0);
}

/* ---- queues on loops of their own ---- */

Test(mmio_loops, life_cycle)
{
	for (unsigned int i = 1; i <= 20; i++) {
		bring_up();
		expect_served(0);
		expect_served(1);
		loop_thread_settle(&thread);
		loop_thread_settle(&thread1);
		cr_assert(pthread_equal(toy.kicked_on[0], thread.thread));
		cr_assert(pthread_equal(toy.kicked_on[1], thread1.thread));
		set(VIRTIO_MMIO_STATUS, 0);
		cr_assert(toy.queue_stops[0] == i && toy.queue_stops[1] == i);
	}
}

/* Whichever queue it is that is at fault, the device is, and all of it comes back by a reset. */
Test(mmio_loops, fault)
{
	for (unsigned int bad = 0; bad < QUEUES; bad++) {
		unsigned int good = !bad;

		bring_up();
		expect_served(good);
		guest_queue_offer(&gq[bad], 0xffff);
		guest_queue_publish(&gq[bad]);
		event_signal(kick_fds[bad]);
		event_wait(irq_fd);
		cr_assert(get(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
		cr_assert_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
		loop_thread_settle(&thread);
		loop_thread_settle(&thread1);
		unsigned int before = toy.kicks[good];

		send_one(&gq[good], good);
		loop_thread_settle(&thread);
		loop_thread_settle(&thread1);
		cr_assert_eq(toy.kicks[good], before);
		set(VIRTIO_MMIO_STATUS, 0);
		bring_up();
		expect_served(0);
		expect_served(1);
		set(VIRTIO_MMIO_STATUS, 0);
	}
}

/* A reset waits for each queue, and meanwhile none takes a kick. */
Test(mmio_loops, reset_waits_for_every_queue)
{
	for (toy.hold_queue = 0; toy.hold_queue < QUEUES; toy.hold_queue++) {
		pthread_t vcpu;

		bring_up();
		expect_served(0);
		expect_served(1);
		toy.hold_stop = true;
		cr_assert_eq(pthread_create(&vcpu, NULL, write_reset, NULL), 0);
		sem_wait(&toy.holding);
		cr_assert_neq(get(VIRTIO_MMIO_STATUS), 0);
		loop_thread_settle(&thread);
		loop_thread_settle(&thread1);
		unsigned int before[QUEUES] = { toy.kicks[0], toy.kicks[1] };

		send_one(&gq[0], 0);
		send_one(&gq[1], 1);
		loop_thread_settle(&thread);
		loop_thread_settle(&thread1);
		cr_assert_eq(memcmp(before, toy.kicks, sizeof(before)), 0);
		cr_assert(toy.dev.queues[0].ready && toy.dev.queues[1].ready);
		loop_call_done(toy.held);
		pthread_join(vcpu, NULL);
		cr_assert_eq(get(VIRTIO_MMIO_STATUS), 0);
		toy.hold_stop = false;
	}
}

/* The machine ends: who waits for a loop that is no more is let go. */
Test(mmio_loops, reset_after_a_loop_has_ended)
{
	bring_up();
	expect_served(1);
	loop_stop(thread1.loop);
	set(VIRTIO_MMIO_STATUS, 0);
	cr_assert_eq(get(VIRTIO_MMIO_STATUS), 0);
	cr_assert_eq(toy.queue_stops[0], 1);
}

Test(mmio_loops, two_drivers)
{
	pthread_t vcpus[2];

	guest_queue_init(&gq[0], &mem, 0x100000, 16);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&vcpus[i], NULL, bring_up_and_down, NULL), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(vcpus[i], NULL);
	set(VIRTIO_MMIO_STATUS, 0);
	event_take(irq_fd);
	bring_up();
	expect_served(0);
	expect_served(1);
}

/* ---- widths and bounds ---- */

static void expect_untouched(const uint8_t *before)
{
	loop_thread_settle(&thread);
	cr_assert_eq(memcmp(before, page, sizeof(page)), 0);
}

Test(mmio, odd_writes)
{
	uint8_t before[sizeof(page)], ones[8];

	bring_up();
	memcpy(before, page, sizeof(page));
	memset(ones, 0xff, sizeof(ones));
	for (uint32_t off = 0; off < VIRTIO_MMIO_CONFIG; off++) {
		for (uint32_t len = 1; len <= 8; len *= 2)
			if (len != 4 || off % 4)
				virtio_mmio_write(t, off, ones, len);
	}
	memset(ones, 0, sizeof(ones));
	for (uint32_t len = 1; len <= 8; len *= 2)
		if (len != 4)
			virtio_mmio_write(t, VIRTIO_MMIO_STATUS, ones, len);
	expect_untouched(before);
	cr_assert_eq(toy.stops, 0);
	expect_served(0);
}

/* Registers that only speak, and numbers that are no register's. */
Test(mmio, read_only_registers)
{
	uint8_t before[sizeof(page)];

	memcpy(before, page, sizeof(page));
	for (uint32_t off = 0; off < VIRTIO_MMIO_CONFIG; off += 4) {
		switch (off) {
		case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		case VIRTIO_MMIO_QUEUE_SEL:
		case VIRTIO_MMIO_STATUS:
			continue;
		}
		set(off, 0xffffffff);
		set(off, 0);
		set(off, 1);
	}
	expect_untouched(before);
}

Test(mmio, config_space)
{
	uint8_t before[sizeof(page)];

	for (uint32_t i = 0; i < sizeof(page) - VIRTIO_MMIO_CONFIG; i++)
		cr_assert_eq(page[VIRTIO_MMIO_CONFIG + i], i < CONFIG_SIZE ? 0x80 + i : 0);
	memcpy(before, page, sizeof(page));
	for (uint32_t len = 1; len <= 8; len *= 2)
		for (uint32_t off = VIRTIO_MMIO_CONFIG - 7; off + len <= sizeof(page); off++)
			virtio_mmio_write(t, off, "evilevil", len);
	expect_untouched(before);
	cr_assert_eq(toy.config[0], 0x80, "nothing is writable here");
}

static void change_config(void *ctx, struct loop_call *call)
{
	(void)ctx;
	toy.config[3] = 0x11;
	virtio_config_changed(&toy.dev);
	loop_call_done(call);
}

Test(mmio, config_changes)
{
	uint32_t generation = get(VIRTIO_MMIO_CONFIG_GENERATION);

	bring_up();
	cr_assert_eq(loop_call(thread.loop, change_config, NULL), 0);
	event_wait(irq_fd);
	cr_assert_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	cr_assert_eq(page[VIRTIO_MMIO_CONFIG + 3], 0x11);
	cr_assert_neq(get(VIRTIO_MMIO_CONFIG_GENERATION), generation);
	cr_assert_not(get(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

Test(mmio_writable, config_space)
{
	virtio_mmio_write(t, VIRTIO_MMIO_CONFIG + 12, "x", 1);
	virtio_mmio_write(t, VIRTIO_MMIO_CONFIG + 4, "abcdefgh", 8);
	cr_assert_eq(memcmp(toy.config + 4, "abcdefghx", 9), 0);
	cr_assert_eq(toy.config[3], 0x83);
	for (uint32_t off = CONFIG_SIZE - 7; off < 100; off++)
		virtio_mmio_write(t, VIRTIO_MMIO_CONFIG + off, "evilevil", 8);
	loop_thread_settle(&thread);
	cr_assert_eq(memcmp(toy.config + 4, "abcdefghx", 9), 0, "all of it or nothing");
	cr_assert_eq(memcmp(page + VIRTIO_MMIO_CONFIG, toy.config, CONFIG_SIZE), 0);
}
