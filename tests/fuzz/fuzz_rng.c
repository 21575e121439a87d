// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-rng against a guest that does anything: the input is a program of the steps below. What
 * must hold: a request of ours is answered with as much as it has room for, up to a bound, and not
 * a byte beside its buffers is written; a fault is the guest's only where the program made one;
 * and after a reset the device works.
 */
#include "device/rng.h"

#include "../unit/guest_driver.h"
#include "input.h"

#define RING      8
#define SEGS      4
#define CHUNK     256u   /* as much as the device gives at once */
#define SLOT      0x800u /* of guest memory for each descriptor that can begin a request */
#define PART      (SLOT / SEGS)
#define MARK      0xa5
#define STEPS_MAX 1000

enum step {
	STEP_REQUEST,
	STEP_INDIRECT,
	STEP_PUBLISH,
	STEP_KICK,
	STEP_TURN,
	STEP_RESET,
	STEP_OFFER,
	STEP_DESC,
	STEP_COUNT,
};

static struct {
	struct loop *loop;
	struct guest_mem mem;
	struct virtio_device *dev;
	struct guest_transport transport;
	struct guest_clock clock;
	struct guest_queue gq;
	uint64_t slots;
	uint64_t tables;
	struct guest_seg segs[RING][SEGS]; /* by head */
	bool may_break;
} w;

static void device_start(uint8_t shape)
{
	w.slots = guest_queue_init(&w.gq, &w.mem, 1 << 20, RING);
	w.tables = w.slots + (uint64_t)RING * SLOT;
	guest_require(guest_queue_enable(&w.gq, &w.dev->queues[0], shape & 1) == 0);
	w.dev->features = w.dev->features_offered;
	w.may_break = false;
	virtio_device_start(w.dev);
}

static void world_init(void)
{
	guest_require(guest_mem_init(&w.mem, GUEST_RAM_MIN) == 0);
	guest_require(loop_new(&w.loop, 8) == 0);
	guest_require(rng_new(w.loop, &w.mem, &w.dev) == 0);
	guest_transport_attach(&w.transport, w.dev);
	guest_clock_init(&w.clock, w.loop);
}

static uint64_t slot(uint16_t head)
{
	return w.slots + (uint64_t)head * SLOT;
}

/* @len bytes were written into the segments of @head, in order: all else of its slot is as it was.
 */
static void check_slot(uint16_t head, uint32_t len)
{
	const uint8_t *p = guest_at(&w.mem, slot(head), SLOT);

	for (unsigned int i = 0; i < SEGS; i++) {
		const struct guest_seg *s = &w.segs[head][i];
		uint32_t room = s->write ? s->len : 0, n = len < room ? len : room;

		len -= n;
		for (uint32_t k = n; k < PART; k++)
			guest_require(p[i * PART + k] == MARK);
	}
	guest_require(!len);
}

static void guest_drain(void)
{
	uint16_t head;
	uint32_t len;

	/* Once anything else was offered, that says nothing to check. */
	if (w.may_break)
		return;
	guest_require(!atomic_load(&w.dev->broken));
	while (guest_queue_used(&w.gq, &head, &len)) {
		uint32_t room = 0;

		for (unsigned int i = 0; i < SEGS; i++)
			room += w.segs[head][i].write ? w.segs[head][i].len : 0;
		guest_require(len == (room < CHUNK ? room : CHUNK));
		check_slot(head, len);
	}
}

/* Readable segments first, as the standard has it. */
static void request(struct input *in, bool indirect)
{
	unsigned int readable = input_u8(in) % (SEGS + 1);
	uint16_t head;

	if (w.gq.nfree < SEGS)
		return;
	head = w.gq.free[w.gq.nfree - 1];
	memset(guest_at(&w.mem, slot(head), SLOT), MARK, SLOT);
	for (unsigned int i = 0; i < SEGS; i++)
		w.segs[head][i] = (struct guest_seg){ slot(head) + i * PART, input_u16(in) % PART,
						      i >= readable };
	if (indirect)
		guest_queue_add_indirect(&w.gq, w.tables + head * 128ull, w.segs[head], SEGS);
	else
		guest_queue_add(&w.gq, w.segs[head], SEGS);
}

static void device_reset(void)
{
	guest_device_reset(w.dev);
	guest_require(!w.dev->running && !w.dev->queues[0].ready);
}

static void run_step(struct input *in)
{
	enum step step = input_u8(in) % STEP_COUNT;
	uint8_t arg = input_u8(in);

	switch (step) {
	case STEP_REQUEST:
	case STEP_INDIRECT:
		request(in, step == STEP_INDIRECT);
		break;
	case STEP_PUBLISH:
		guest_queue_publish(&w.gq);
		break;
	case STEP_KICK:
		guest_queue_publish(&w.gq);
		virtio_device_kick(w.dev, arg % 4);
		break;
	case STEP_TURN:
		guest_clock_turn(&w.clock, 1);
		break;
	case STEP_RESET:
		device_reset();
		device_start(arg);
		break;
	case STEP_OFFER:
		w.may_break = true;
		guest_queue_offer(&w.gq, input_u16(in));
		break;
	default:
		w.may_break = true;
		input_take(in, &w.gq.vr.desc[arg % RING], sizeof(struct vring_desc));
		/* Not into the rings, which nobody then could tell from an answer. */
		if (arg & 0x80)
			w.gq.vr.desc[arg % RING].addr = htole64(slot(arg % RING));
	}
	guest_drain();
	guest_require(w.dev->queues[0].in_flight == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	static const uint8_t whole[] = { 0, 100, 0, 100, 0, 100, 0, 100, 0 };
	struct input good = { whole, sizeof(whole) };
	uint16_t used;

	if (!w.dev)
		world_init();
	device_start(input_u8(&in));
	for (int i = 0; i < STEPS_MAX && in.left; i++)
		run_step(&in);
	guest_clock_turn(&w.clock, 2);
	device_reset();
	device_start(0);
	request(&good, false);
	used = w.gq.used_idx;
	guest_queue_publish(&w.gq);
	virtio_device_kick(w.dev, 0);
	guest_drain();
	guest_require(w.gq.used_idx == (uint16_t)(used + 1));
	device_reset();
	return 0;
}
