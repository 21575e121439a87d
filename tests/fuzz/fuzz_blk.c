// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-blk against a guest that does anything: the input is a program of the steps below, run
 * against the real device over a disk that completes when it is told to. What must hold: the disk
 * is only asked for what it promised (fake_disk.h checks), what is in flight is bounded, a request
 * of ours gets an answer of legal form, a fault is the guest's only where the program made one, and
 * a reset always completes and writes nothing into the guest.
 */
#include "device/blk.h"

#include <linux/virtio_blk.h>

#include "../unit/fake_disk.h"
#include "input.h"

#define RING      64
#define QUEUES    2
#define SLOT      0x1000u /* of guest memory for each descriptor that can begin a request */
#define HDR       ((uint32_t)sizeof(struct virtio_blk_outhdr))
#define STEPS_MAX 1000

enum step {
	STEP_REQUEST,
	STEP_ODD_REQUEST,
	STEP_RANGE,
	STEP_KICK,
	STEP_TURN,
	STEP_HOLD,
	STEP_RELEASE,
	STEP_RESET,
	STEP_OFFER,
	STEP_NO_STATUS,
	STEP_COUNT,
};

static struct {
	struct loop *loop;
	struct guest_mem mem;
	struct fake_disk disk;
	struct virtio_device *dev;
	struct guest_transport transport;
	struct guest_clock clock;
	struct guest_queue gq[QUEUES];
	uint64_t slots[QUEUES];
	uint64_t tables;
	uint64_t data;
	bool may_break;
} w;

static void device_start(uint8_t shape)
{
	uint64_t at = 1 << 20;

	for (unsigned int i = 0; i < QUEUES; i++) {
		at = guest_queue_init(&w.gq[i], &w.mem, at, RING);
		guest_require(guest_queue_enable(&w.gq[i], &w.dev->queues[i], shape & 1) == 0);
		w.slots[i] = at;
		at += RING * SLOT;
	}
	w.tables = at;
	w.data = at + (64 << 10);
	w.dev->features = shape & 2 ? 0 : w.dev->features_offered;
	w.may_break = false;
	virtio_device_start(w.dev);
}

static void world_init(void)
{
	fake_disk_init(&w.disk, FAKE_BYTES + 100);
	guest_require(guest_mem_init(&w.mem, GUEST_RAM_MIN) == 0);
	guest_require(loop_new(&w.loop, 64) == 0);
	const struct blk_spec spec = {
		.disk = &w.disk.disk, .nqueues = QUEUES, .serial = "fuzz", .name = "blk0"
	};

	guest_require(blk_new(w.loop, &w.mem, &spec, &w.dev) == 0);
	guest_transport_attach(&w.transport, w.dev);
	guest_clock_init(&w.clock, w.loop);
}

/* Take what was used. Once a head was offered that is not ours, that says nothing to check. */
static void guest_drain(void)
{
	uint16_t head;
	uint32_t len;

	if (w.may_break)
		return;
	guest_require(!atomic_load(&w.dev->broken));
	for (unsigned int i = 0; i < QUEUES; i++) {
		while (guest_queue_used(&w.gq[i], &head, &len)) {
			const uint8_t *status = guest_at(&w.mem, w.slots[i] + head * SLOT, 1);

			guest_require(*status <= VIRTIO_BLK_S_UNSUPP);
			guest_require(len >= 1 && (*status == VIRTIO_BLK_S_OK || len == 1));
		}
	}
}

/* Header, data in a few segments, status: whole and cut as the program says. */
static void request(struct input *in, uint32_t type, uint64_t sector, uint32_t len)
{
	unsigned int i = input_u8(in) % QUEUES;
	uint8_t cuts = input_u8(in);
	struct guest_queue *gq = &w.gq[i];
	uint32_t cut = cuts % (HDR + 1), part = len / (cuts % 5 + 1);
	bool to_guest = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;

	if (gq->nfree < 6)
		return;
	uint64_t at = w.slots[i] + gq->free[gq->nfree - 1] * (uint64_t)SLOT;
	struct virtio_blk_outhdr hdr = { .type = type, .sector = sector };
	struct guest_seg segs[] = {
		{ at + 1, cut, false },
		{ at + 1 + cut, HDR - cut, false },
		{ w.data, part, to_guest },
		{ w.data + part, len - part, to_guest },
		{ at, 1, true },
	};

	memset(guest_at(&w.mem, at, 1), 0xee, 1);
	memcpy(guest_at(&w.mem, at + 1, HDR), &hdr, HDR);
	if (cuts & 0x80)
		guest_queue_add_indirect(gq, w.tables + (i * RING + gq->free[gq->nfree - 1]) * 128,
					 segs, 5);
	else
		guest_queue_add(gq, segs, 5);
	guest_queue_publish(gq);
}

static void range(struct input *in)
{
	struct virtio_blk_discard_write_zeroes r;
	uint8_t how = input_u8(in);

	input_take(in, &r, sizeof(r));
	if (how & 1)
		r.sector %= 2 * FAKE_BYTES / 512;
	if (how & 2)
		r.num_sectors %= 4096;
	if (how & 4)
		r.flags &= 1;
	memcpy(guest_at(&w.mem, w.data, sizeof(r)), &r, sizeof(r));
	request(in, how & 8 ? VIRTIO_BLK_T_DISCARD : VIRTIO_BLK_T_WRITE_ZEROES, 0,
		how & 0x80 ? how : sizeof(r));
}

/* A reset with whatever is in flight, which completes while the reset waits. */
static void device_reset(uint8_t result)
{
	struct guest_reset reset = { .dev = w.dev };
	pthread_t thread;

	guest_require(pthread_create(&thread, NULL, guest_reset_thread, &reset) == 0);
	while (w.dev->running)
		guest_require(loop_run_once(w.loop) == 0);
	uint16_t used = w.gq[0].vr.used->idx;

	while (w.disk.nheld) {
		guest_require(!reset.finished);
		fake_disk_release(&w.disk, 1, result & 1 ? -EIO : 0);
	}
	while (!reset.finished)
		guest_require(loop_run_once(w.loop) == 0);
	pthread_join(thread, NULL);
	guest_require(w.gq[0].vr.used->idx == used);
	for (unsigned int i = 0; i < QUEUES; i++)
		virtq_reset(&w.dev->queues[i]);
	w.dev->features = 0;
	atomic_store(&w.dev->broken, false);
	w.disk.hold = false;
	w.disk.result = 0;
}

static void run_step(struct input *in)
{
	static const int results[] = { 0, 0, -EIO, -EOPNOTSUPP, -ENOSPC };
	enum step step = input_u8(in) % STEP_COUNT;
	struct guest_seg seg = { w.data, input_u8(in), step != STEP_NO_STATUS };
	struct guest_queue *gq = &w.gq[0];

	switch (step) {
	case STEP_REQUEST:
		request(in, (uint32_t)(seg.len % 16), input_u16(in), input_u8(in) * 512u);
		break;
	case STEP_ODD_REQUEST:
		request(in, input_u32(in), input_u64(in), input_u32(in) % (2u << 20));
		break;
	case STEP_RANGE:
		range(in);
		break;
	case STEP_KICK:
		virtio_device_kick(w.dev, seg.len % 4);
		break;
	case STEP_TURN:
		guest_clock_turn(&w.clock, 1);
		guest_drain();
		break;
	case STEP_HOLD:
		w.disk.hold = seg.len & 1;
		w.disk.result = results[(seg.len >> 1) % 5];
		break;
	case STEP_RELEASE:
		fake_disk_release(&w.disk, seg.len, results[input_u8(in) % 5]);
		break;
	case STEP_RESET:
		device_reset((uint8_t)seg.len);
		device_start((uint8_t)seg.len);
		break;
	case STEP_OFFER:
		w.may_break = true;
		guest_queue_offer(gq, input_u16(in));
		guest_queue_publish(gq);
		break;
	default:
		w.may_break = true;
		if (gq->nfree)
			guest_queue_add(gq, &seg, 1);
		guest_queue_publish(gq);
	}
	guest_require(w.disk.nheld <= QUEUES * RING);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	if (!w.dev)
		world_init();
	device_start(input_u8(&in));
	for (int i = 0; i < STEPS_MAX && in.left; i++)
		run_step(&in);
	guest_clock_turn(&w.clock, 2);
	guest_drain();
	device_reset(0);
	return 0;
}
