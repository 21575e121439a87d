// SPDX-License-Identifier: Apache-2.0
/* Attacks that only a disk is open to: shapes of requests, and memory changed while it works. */
#include "lib/target.h"

#define IN_FLIGHT 32
#define BATCH     4096

static struct target *blk = &targets[TARGET_BLK];
static uint8_t page[4096] __attribute__((aligned(4096)));

/* A request with its own header, status, descriptors 3 * slot to 3 * slot + 2. */
struct slot {
	struct virtio_blk_outhdr hdr;
	uint8_t status;
} __attribute__((aligned(16)));

static struct slot slots[64];
static uint8_t *data;    /* IN_FLIGHT blocks of BATCH bytes */
static struct vq second; /* queue 1, which may be on another thread than queue 0 */

static void slot_put(struct vq *q, uint16_t i, uint32_t type, uint64_t sector, void *at,
		     uint32_t len)
{
	uint16_t write = type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0;
	uint16_t d = (uint16_t)(3 * i);

	slots[i] =
		(struct slot){ .hdr = { .type = type, .sector = sector }, .status = BLK_NO_ANSWER };
	vq_desc(q, d, &slots[i].hdr, 16, VRING_DESC_F_NEXT, (uint16_t)(d + 1));
	vq_desc(q, (uint16_t)(d + 1), at, len, VRING_DESC_F_NEXT | write, (uint16_t)(d + 2));
	vq_desc(q, (uint16_t)(d + 2), &slots[i].status, 1, VRING_DESC_F_WRITE, 0);
	vq_put(q, d);
}

static void ring(struct vq *q)
{
	vq_publish(q);
	vq_kick(q);
}

/* ---- shapes ---- */

static void no_status(void)
{
	vq_post(blk->q, page, 16, 0);
}

static void nothing(void)
{
	vq_post(blk->q, page, 0, 0);
}

static void no_room_for_status(void)
{
	struct vq *q = blk->q;

	vq_desc(q, 0, page, 16, VRING_DESC_F_NEXT, 1);
	vq_desc(q, 1, page, 0, VRING_DESC_F_WRITE, 0);
	vq_submit(q, 0);
}

static void attack_shapes(void)
{
	static const struct attack attacks[] = {
		{ "no-status", no_status, BREAKS },
		{ "nothing", nothing, BREAKS },
		{ "no-room-for-status", no_room_for_status, BREAKS },
	};

	attack_all(blk, attacks, ARRAY_SIZE(attacks), 0);
}

/* As much as there is memory, into which the disk's end comes first. */
static void attack_size(void)
{
	if (!attack_begin(blk, "huge", 0))
		return;
	uint64_t at = 32u << 20;
	uint8_t status = blk_request(&target_blk, VIRTIO_BLK_T_IN, 0, (void *)at,
				     (uint32_t)(low_ram_end() - at));

	if (status != VIRTIO_BLK_S_IOERR)
		fail("huge", "status %u", status);
	/* The disk's own size is fine, at once. */
	status = blk_request(&target_blk, VIRTIO_BLK_T_IN, 0, (void *)at, 8u << 20);
	if (status != VIRTIO_BLK_S_OK)
		fail("whole", "status %u", status);
	attack_end(blk, "huge", HARMLESS);
}

/* One head, as often as the queue has entries, each time taken for a request of its own. */
static void attack_same_head(void)
{
	if (!vdev_begin(blk->dev, F_INDIRECT) || !vq_init(blk->q, blk->dev, 0, 256))
		return;
	vdev_go(blk->dev);
	vq_desc(blk->q, 0, &slots[0].hdr, 16, VRING_DESC_F_NEXT, 1);
	vq_desc(blk->q, 1, page, 4096, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2);
	vq_desc(blk->q, 2, &slots[0].status, 1, VRING_DESC_F_WRITE, 0);
	slots[0].hdr = (struct virtio_blk_outhdr){ .type = VIRTIO_BLK_T_IN };
	for (int i = 0; i < 256; i++)
		vq_put(blk->q, 0);
	ring(blk->q);
	/* And more of them while those are under way: more than the queue can hold is a lie. */
	for (int i = 0; i < 256; i++) {
		vq_put(blk->q, 0);
		if (i % 16 == 0)
			ring(blk->q);
	}
	attack_end(blk, "same-head", ANYTHING);
}

/* ---- memory that changes while the device works with it ---- */

/*
 * The header of a request, changed while the device may be reading it: it acts on one of the
 * versions or refuses, all of them within the disk, or without effect.
 */
static void attack_header(void)
{
	static const struct virtio_blk_outhdr versions[] = {
		{ .type = VIRTIO_BLK_T_IN, .sector = 0 },
		{ .type = VIRTIO_BLK_T_IN, .sector = ~0ull },
		{ .type = VIRTIO_BLK_T_GET_ID, .sector = 1ull << 55 },
		{ .type = VIRTIO_BLK_T_FLUSH, .sector = 0 },
		{ .type = 0xffffffff, .sector = 0 },
		{ .type = VIRTIO_BLK_T_IN, .sector = (8u << 20 >> 9) - 1 },
	};
	const char *wrong = NULL;

	if (!attack_begin(blk, "header-changes", 0))
		return;
	for (unsigned int i = 0; i < 200 && !wrong; i++) {
		volatile struct virtio_blk_outhdr *h = &slots[0].hdr;

		slot_put(blk->q, 0, VIRTIO_BLK_T_IN, 0, page, 4096);
		ring(blk->q);
		for (unsigned int k = 0; k < 30; k++) {
			h->type = versions[(i + k) % ARRAY_SIZE(versions)].type;
			h->sector = versions[(i + k) % ARRAY_SIZE(versions)].sector;
		}
		if (!vq_wait(blk->q, 1))
			wrong = "no answer";
		else if (vq_take(blk->q).len > 4097)
			wrong = "more bytes than there was room for";
		else if (slots[0].status > VIRTIO_BLK_S_UNSUPP)
			wrong = "no status";
	}
	if (wrong)
		fail("header-changes", "%s", wrong);
	attack_end(blk, "header-changes", HARMLESS);
}

/* The same with the descriptors, between good ones and all manner of bad ones. */
static void attack_descriptors(void)
{
	static const struct vring_desc versions[] = {
		{ 0, 4096, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2 },
		{ ~0ull, 4096, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2 },
		{ 0xd0000000, 0xffffffff, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2 },
		{ 0, 16, VRING_DESC_F_INDIRECT, 0 },
		{ 0, 512, VRING_DESC_F_NEXT, 1 },
		{ 0, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 0xffff },
	};

	if (!attack_begin(blk, "descriptor-changes", F_INDIRECT))
		return;
	for (unsigned int i = 0; i < 100; i++) {
		volatile struct vring_desc *d = &blk->q->desc[1];

		slot_put(blk->q, 0, VIRTIO_BLK_T_IN, 0, page, 4096);
		ring(blk->q);
		for (unsigned int k = 0; k < 30; k++) {
			const struct vring_desc *v = &versions[(i + k) % ARRAY_SIZE(versions)];

			d->addr = v->addr ? v->addr : (uintptr_t)page;
			d->len = v->len;
			d->flags = v->flags;
			d->next = v->next;
		}
		if (vdev_status(blk->dev) & VIRTIO_CONFIG_S_NEEDS_RESET && !blk->start(F_INDIRECT))
			break;
	}
	attack_end(blk, "descriptor-changes", ANYTHING);
}

/* ---- the end comes while requests are in flight ---- */

static bool start_large(void)
{
	if (!vdev_begin(blk->dev, 0) || !vq_init(blk->q, blk->dev, 0, 128) ||
	    !vq_init(&second, blk->dev, 1, 128))
		return false;
	vdev_go(blk->dev);
	return true;
}

static void submit_many(uint32_t type)
{
	for (uint16_t i = 0; i < IN_FLIGHT; i++)
		slot_put(i % 2 ? &second : blk->q, i, type, 8u * i, data + i * BATCH, BATCH);
	ring(blk->q);
	ring(&second);
}

/* Two queues, which may be on two threads, whose requests are all to be answered in one byte. */
static void attack_one_answer(void)
{
	for (int round = 0; round < 20; round++) {
		if (!start_large())
			return;
		submit_many(round % 2 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_GET_ID);
		for (uint16_t i = 0; i < IN_FLIGHT; i++) {
			struct vq *q = i % 2 ? &second : blk->q;

			q->desc[3 * i + 2].addr = (uintptr_t)&slots[0].status;
			vq_put(q, (uint16_t)(3 * i));
		}
		ring(blk->q);
		ring(&second);
		for (int i = 0; i < 20; i++)
			relax();
	}
	attack_end(blk, "one-answer", ANYTHING);
}

/* Once a reset has returned, memory is the driver's alone: what it puts there stays. */
static void attack_reset(void)
{
	static const uint8_t marks[] = { 0x5a, 0xa5 };
	const char *wrong = NULL;

	for (unsigned int round = 0; round < 20 && !wrong; round++) {
		if (!start_large()) {
			wrong = "the device cannot be started";
			break;
		}
		submit_many(VIRTIO_BLK_T_IN);
		for (unsigned int i = 0; i < round % 5; i++)
			relax();
		vdev_reset(blk->dev);
		if (vdev_status(blk->dev))
			wrong = "the status is not 0 after a reset";
		uint8_t mark = marks[round % 2];
		uint16_t used = blk->q->used->idx, used2 = second.used->idx;

		/* The first and last bytes of each will do. */
		for (uint32_t i = 0; i < IN_FLIGHT; i++) {
			data[i * BATCH] = data[i * BATCH + BATCH - 1] = mark;
			slots[i].status = mark;
		}
		/* Give a late completion time to come. */
		if (!targets[TARGET_RNG].works())
			wrong = "another device does not work any more";
		for (int i = 0; i < 20; i++)
			relax();
		for (uint32_t i = 0; i < IN_FLIGHT; i++)
			if (data[i * BATCH] != mark || data[i * BATCH + BATCH - 1] != mark ||
			    slots[i].status != mark)
				wrong = "memory was written after the reset had returned";
		if (blk->q->used->idx != used || second.used->idx != used2)
			wrong = "the used ring went on after the reset had returned";
	}
	if (wrong)
		fail("reset-in-flight", "%s", wrong);
	if (attack_begin(blk, "reset-in-flight", 0))
		attack_end(blk, "reset-in-flight", HARMLESS);
}

/* A lie among good requests in flight. */
static void attack_fault_in_flight(void)
{
	for (int round = 0; round < 10; round++) {
		if (!start_large())
			return;
		submit_many(VIRTIO_BLK_T_IN);
		vq_submit(round % 2 ? &second : blk->q, 0xfff0);
	}
	attack_end(blk, "fault-in-flight", BREAKS);
}

void payload_main(void)
{
	if (!targets_init())
		return;
	data = alloc(IN_FLIGHT * BATCH, 4096);
	attack_shapes();
	attack_size();
	attack_same_head();
	attack_header();
	attack_descriptors();
	attack_one_answer();
	attack_reset();
	attack_fault_in_flight();
	/* The machine ends with requests in flight, too. */
	if (start_large())
		submit_many(VIRTIO_BLK_T_IN);
}
