// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-balloon against a guest that does anything: the input is a program of the steps below.
 * What must hold: pages that the guest did not name keep what is in them, those that it did are
 * zeroes once it has the answer, a turn does a bounded part of the work, a fault is the guest's
 * only where the program made one, and a reset always leaves a device that works.
 */
#include "device/balloon.h"

#include <linux/virtio_balloon.h>

#include "../unit/guest_driver.h"
#include "input.h"

#define RING      64
#define QUEUES    3
#define PAGE      4096u
#define PAGES     256u        /* that are looked at */
#define PAGES_AT  (16u << 20) /* where they are */
#define STEPS_MAX 1000
#define MARK      0xa5

enum { INFLATE, DEFLATE, REPORTING };

enum step {
	STEP_PAGES,
	STEP_WILD_PAGES,
	STEP_RANGES,
	STEP_WILD_RANGE,
	STEP_KICK,
	STEP_TURN,
	STEP_TARGET,
	STEP_WRITE_CONFIG,
	STEP_RESET,
	STEP_OFFER,
	STEP_COUNT,
};

static struct {
	struct loop *loop;
	struct guest_mem mem;
	struct virtio_device *dev;
	struct guest_transport transport;
	struct guest_clock clock;
	struct guest_queue gq[QUEUES];
	uint64_t lists;
	bool named[PAGES]; /* may be zeroes */
	bool may_break;    /* and all of memory may be anything */
} w;

static uint8_t *page_at(unsigned int i)
{
	return guest_at(&w.mem, PAGES_AT + i * (uint64_t)PAGE, PAGE);
}

static void device_start(uint8_t shape)
{
	uint64_t at = 1 << 20;

	for (unsigned int i = 0; i < QUEUES; i++) {
		at = guest_queue_init(&w.gq[i], &w.mem, at, RING);
		guest_require(guest_queue_enable(&w.gq[i], &w.dev->queues[i], shape & 1) == 0);
	}
	w.lists = at;
	w.dev->features = shape & 2 ? 0 : w.dev->features_offered;
	w.may_break = false;
	for (unsigned int i = 0; i < PAGES; i++) {
		page_at(i)[i] = MARK;
		w.named[i] = false;
	}
	virtio_device_start(w.dev);
}

static void world_init(void)
{
	const struct balloon_spec spec = { .deflate_on_oom = true, .reporting = true };

	guest_require(guest_mem_init(&w.mem, GUEST_RAM_MIN) == 0);
	guest_require(loop_new(&w.loop, 64) == 0);
	guest_require(balloon_new(w.loop, &w.mem, &spec, &w.dev) == 0);
	guest_transport_attach(&w.transport, w.dev);
	guest_clock_init(&w.clock, w.loop);
}

static void check(void)
{
	uint16_t head;
	uint32_t len;

	if (w.may_break)
		return;
	guest_require(!atomic_load(&w.dev->broken));
	for (unsigned int i = 0; i < PAGES; i++)
		guest_require(page_at(i)[i] == MARK || (w.named[i] && !page_at(i)[i]));
	for (unsigned int i = 0; i < QUEUES; i++)
		while (guest_queue_used(&w.gq[i], &head, &len))
			guest_require(len == 0);
}

/* A list of pages of ours, in pieces, to be given up or taken back. */
static void name_pages(struct input *in)
{
	unsigned int queue = input_u8(in) % 2;
	struct guest_queue *gq = &w.gq[queue];
	uint32_t n = input_u8(in) % 64, cut = input_u8(in) % (4 * n + 1);
	uint64_t at = w.lists + (queue * RING + gq->free[gq->nfree ? gq->nfree - 1 : 0]) * 512ull;
	struct guest_seg segs[] = { { at, cut, false }, { at + cut, 4 * n - cut, false } };

	if (gq->nfree < 2)
		return;
	for (uint32_t i = 0; i < n; i++) {
		unsigned int page = input_u8(in) % PAGES;

		*(uint32_t *)guest_at(&w.mem, at + 4 * i, 4) = htole32(PAGES_AT / PAGE + page);
		w.named[page] |= queue == INFLATE;
	}
	guest_queue_add(gq, segs, 2);
}

static void wild_pages(struct input *in)
{
	struct guest_queue *gq = &w.gq[INFLATE];
	uint32_t len = input_u8(in);
	struct guest_seg seg = { w.lists + 2 * RING * 512ull, len, false };

	if (!gq->nfree)
		return;
	w.may_break = true;
	input_take(in, guest_at(&w.mem, seg.gpa, 256), len);
	guest_queue_add(gq, &seg, 1);
}

/* Parts of our pages, whole ones of which may go. */
static void report_ranges(struct input *in)
{
	struct guest_queue *gq = &w.gq[REPORTING];
	unsigned int n = input_u8(in) % 4 + 1;
	struct guest_seg segs[4];

	if (gq->nfree < n)
		return;
	for (unsigned int i = 0; i < n; i++) {
		uint32_t off = input_u16(in) % (PAGES * PAGE / 16) * 16;
		uint32_t len = input_u16(in) * 16u;

		if (len > PAGES * PAGE - off)
			len = PAGES * PAGE - off;
		segs[i] = (struct guest_seg){ PAGES_AT + off, len, true };
		for (uint32_t page = (off + PAGE - 1) / PAGE; page < (off + len) / PAGE; page++)
			w.named[page] = true;
	}
	guest_queue_add(gq, segs, n);
}

static void wild_range(struct input *in)
{
	struct guest_queue *gq = &w.gq[input_u8(in) % QUEUES];
	uint8_t how = input_u8(in);
	struct guest_seg seg = { input_u64(in), input_u32(in), how & 1 };

	if (how & 2)
		seg.gpa %= 2 * GUEST_RAM_MIN;
	if (!gq->nfree)
		return;
	w.may_break = true;
	guest_queue_add(gq, &seg, 1);
}

static void write_config(struct input *in)
{
	uint64_t value = input_u64(in);
	uint32_t off = input_u8(in) % 8, len = input_u8(in) % 8 + 1;
	struct balloon_stats before, after;

	if (off + len > w.dev->config_size)
		return;
	balloon_read_stats(w.dev, &before);
	w.dev->ops->config_write(w.dev, off, &value, len);
	balloon_read_stats(w.dev, &after);
	guest_require(before.target_bytes == after.target_bytes);
}

static void run_step(struct input *in)
{
	switch ((enum step)(input_u8(in) % STEP_COUNT)) {
	case STEP_PAGES:
		name_pages(in);
		break;
	case STEP_WILD_PAGES:
		wild_pages(in);
		break;
	case STEP_RANGES:
		report_ranges(in);
		break;
	case STEP_WILD_RANGE:
		wild_range(in);
		break;
	case STEP_KICK:
		for (unsigned int i = 0; i < QUEUES; i++)
			guest_queue_publish(&w.gq[i]);
		virtio_device_kick(w.dev, input_u8(in) % 4);
		break;
	case STEP_TURN:
		guest_clock_turn(&w.clock, 1);
		check();
		break;
	case STEP_TARGET:
		balloon_set_target(w.dev, input_u32(in));
		break;
	case STEP_WRITE_CONFIG:
		write_config(in);
		break;
	case STEP_RESET:
		guest_device_reset(w.dev);
		device_start(input_u8(in));
		break;
	default:
		w.may_break = true;
		guest_queue_offer(&w.gq[input_u8(in) % QUEUES], input_u16(in));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct guest_seg seg = { PAGES_AT, PAGE, true };

	if (!w.dev)
		world_init();
	device_start(input_u8(&in));
	for (int i = 0; i < STEPS_MAX && in.left; i++)
		run_step(&in);
	guest_clock_turn(&w.clock, 2);
	check();
	guest_device_reset(w.dev);
	/* It works as if nothing had been. */
	device_start(0);
	guest_queue_add(&w.gq[REPORTING], &seg, 1);
	guest_queue_publish(&w.gq[REPORTING]);
	virtio_device_kick(w.dev, REPORTING);
	guest_clock_turn(&w.clock, 2);
	w.named[0] = true;
	check();
	guest_require(!page_at(0)[0]);
	guest_device_reset(w.dev);
	return 0;
}
