// SPDX-License-Identifier: Apache-2.0
/*
 * A guest that reads or writes random blocks of a disk as fast as that goes, with so many requests
 * in flight, and prints how long it took by the time-stamp counter.
 *
 * It sets the device up as any payload does, and then goes to user mode. It polls the used ring,
 * wants no interrupts, and kicks when the device asks for it.
 */
#include "../payload/lib/blk.h"
#include "native_guest.h"

#define BLOCK      4096u
#define DEPTH_MAX  64u
#define QUEUE_SIZE 256u

struct slot {
	struct virtio_blk_outhdr hdr;
	volatile uint8_t status;
	uint8_t *data;
};

static struct blk disk;
static struct slot slots[DEPTH_MAX];
static uint32_t depth, count;
static uint32_t type;
static uint64_t blocks;
static uint64_t state = 88172645463325252ull;
static uint32_t failures;

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static uint64_t tsc(void)
{
	uint32_t low, high;

	asm volatile("lfence\n\trdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static void submit(uint32_t i)
{
	slots[i].hdr.sector = next_random() % blocks * (BLOCK / SECTOR);
	slots[i].status = BLK_NO_ANSWER;
	vq_put(&disk.q, (uint16_t)(3 * i));
}

static void run(void)
{
	uint32_t submitted = 0, finished = 0;
	uint64_t begin = tsc();

	while (finished < count) {
		uint16_t old = disk.q.avail_idx;

		while (submitted < depth && submitted < count)
			submit(submitted++);
		uint16_t used = __atomic_load_n(&disk.q.used->idx, __ATOMIC_ACQUIRE);

		/* No interrupt: the event index is further away than one turn's answers reach. */
		if (used != disk.q.used_idx)
			*vq_used_event(&disk.q) = (uint16_t)(used - QUEUE_SIZE - 1);
		while (disk.q.used_idx != used) {
			uint32_t i = vq_take(&disk.q).id / 3;

			failures += slots[i].status != VIRTIO_BLK_S_OK;
			finished++;
			if (submitted < count) {
				submit(i);
				submitted++;
			}
		}
		if (disk.q.avail_idx != old)
			publish(&disk.q, old);
		else
			asm volatile("pause");
	}
	uint64_t ticks = tsc() - begin;

	print("bench requests %u kicks %u failures %u ticks 0x%p\n", count, kicks, failures, ticks);
	payload_done();
}

void payload_main(void)
{
	depth = cmdline_number("depth", 32);
	count = cmdline_number("count", 1000);
	type = cmdline_number("write", 0) ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
	state += cmdline_number("seed", 0);
	if (depth > DEPTH_MAX || !blk_find(&disk, 0) ||
	    /* With flushes to come: without, each write would have to be durable by itself. */
	    !blk_start(&disk, F_EVENT_IDX | FEATURE(VIRTIO_BLK_F_FLUSH), QUEUE_SIZE)) {
		fail("bench", "no disk, or more than %u in flight", DEPTH_MAX);
		return;
	}
	blocks = blk_capacity(&disk) / (BLOCK / SECTOR);
	for (uint32_t i = 0; i < depth; i++) {
		struct slot *s = &slots[i];
		uint16_t d = (uint16_t)(3 * i);

		s->data = alloc(BLOCK, BLOCK);
		s->hdr.type = type;
		vq_desc(&disk.q, d, &s->hdr, sizeof(s->hdr), VRING_DESC_F_NEXT, (uint16_t)(d + 1));
		vq_desc(&disk.q, d + 1, s->data, BLOCK,
			VRING_DESC_F_NEXT | (type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0),
			(uint16_t)(d + 2));
		vq_desc(&disk.q, d + 2, &s->status, 1, VRING_DESC_F_WRITE, 0);
	}
	run_in_user_mode(run);
}
