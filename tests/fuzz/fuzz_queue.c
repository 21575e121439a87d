// SPDX-License-Identifier: Apache-2.0
/*
 * A split queue whose rings and descriptors say anything. The input is a program of the steps
 * below. What must hold: a chain that was taken lies in guest memory, is as long as it says and no
 * longer than a chain may be; what is in flight is bounded; a fault takes nothing.
 */
#include "virtio/queue.h"

#include "../unit/guest_driver.h"
#include "input.h"

#define RAM       (4ull << 30) /* so that there is a hole below 4 GiB, and a second region */
#define RINGS     0x10000u
#define TABLES    0x20000u
#define STEPS_MAX 2000

enum step {
	STEP_DESC,
	STEP_TABLE_DESC,
	STEP_OFFER,
	STEP_JUMP,
	STEP_POP,
	STEP_PUSH,
	STEP_SIGNAL,
	STEP_KICKS,
	STEP_EVENT,
	STEP_SCRIBBLE,
	STEP_ENABLE,
	STEP_COUNT,
};

static struct guest_mem mem;
static struct guest_queue gq;
static struct virtq q;
static unsigned int held;

static void begin(uint8_t shape)
{
	uint16_t size = (uint16_t)(1u << shape % 9);

	virtq_reset(&q);
	guest_queue_init(&gq, &mem, RINGS, size);
	memset(guest_at(&mem, TABLES, 0x2000), 0, 0x2000);
	guest_require(guest_queue_enable(&gq, &q, shape & 0x80) == 0);
	held = 0;
}

/* Places that are worth a try, and now and then any. */
static uint64_t pick_addr(struct input *in)
{
	static const uint64_t places[] = {
		0,
		RINGS,
		TABLES,
		TABLES + 16,
		GUEST_LOW_RAM_MAX,
		GUEST_HIGH_RAM,
		GUEST_HIGH_RAM + (1ull << 30),
		UINT64_MAX,
	};
	uint8_t kind = input_u8(in);

	if (kind & 0x80)
		return input_u64(in);
	return places[kind % 8] + (uint64_t)(int8_t)input_u8(in);
}

static struct vring_desc pick_desc(struct input *in)
{
	uint8_t flags = input_u8(in);
	uint64_t addr = pick_addr(in);
	uint32_t len = flags & 0x80 ? input_u32(in) : input_u8(in) * (flags & 0x40 ? 16u : 1u);

	return (struct vring_desc){ addr, len, flags & 7, input_u8(in) };
}

static void pop(void)
{
	struct virtq before = q;
	struct virtq_chain c;
	int ret = virtq_pop(&q, &c);

	if (ret != VIRTQ_OK) {
		guest_require(ret == VIRTQ_EMPTY || ret == VIRTQ_FAULT);
		guest_require(!memcmp(&before, &q, sizeof(q)));
		return;
	}
	held++;
	guest_require(c.nout + c.nin <= VIRTQ_CHAIN_MAX && c.head < q.size);

	uint64_t out = 0, in = 0;

	for (int i = 0; i < c.nout + c.nin; i++) {
		uint64_t off = (uint64_t)((uint8_t *)c.iov[i].iov_base - mem.base);

		guest_require(c.iov[i].iov_len && off < mem.size &&
			      c.iov[i].iov_len <= mem.size - off);
		/* In one region: host addresses go on where guest addresses do not. */
		guest_require(off >= GUEST_LOW_RAM_MAX ||
			      c.iov[i].iov_len <= GUEST_LOW_RAM_MAX - off);
		if (i < c.nout)
			out += c.iov[i].iov_len;
		else
			in += c.iov[i].iov_len;
	}
	guest_require(out == c.out_len && in == c.in_len);
}

static void enable_any(struct input *in)
{
	struct virtq other = { .mem = &mem, .size_max = VIRTQ_SIZE_MAX };
	uint8_t size = input_u8(in);

	other.size = size & 0x80 ? input_u16(in) : (uint16_t)(1u << size % 16);
	other.desc_gpa = gpa(pick_addr(in));
	other.driver_gpa = gpa(pick_addr(in));
	other.device_gpa = gpa(pick_addr(in));
	if (virtq_enable(&other, false)) {
		guest_require(!other.ready);
		return;
	}
	guest_require(other.ready && other.size && other.size <= VIRTQ_SIZE_MAX);
	/* All of it can be reached. */
	volatile const uint8_t *first = (const uint8_t *)other.desc;
	volatile const uint8_t *last = (const uint8_t *)&other.used->ring[other.size] + 1;

	(void)*first;
	(void)*last;
}

static void run_step(struct input *in)
{
	enum step step = input_u8(in) % STEP_COUNT;
	struct vring_desc *table = guest_at(&mem, TABLES, 0x2000);

	switch (step) {
	case STEP_DESC:
		gq.vr.desc[input_u8(in) % gq.vr.num] = pick_desc(in);
		break;
	case STEP_TABLE_DESC:
		table[input_u16(in) % 512] = pick_desc(in);
		break;
	case STEP_OFFER:
		guest_queue_offer(&gq, input_u8(in));
		guest_queue_publish(&gq);
		break;
	case STEP_JUMP:
		gq.avail_idx = (uint16_t)(gq.avail_idx + (int8_t)input_u8(in));
		guest_queue_publish(&gq);
		break;
	case STEP_POP:
		pop();
		break;
	case STEP_PUSH:
		if (!held)
			break;
		virtq_push(&q, input_u8(in), input_u32(in));
		held--;
		break;
	case STEP_SIGNAL:
		virtq_needs_signal(&q);
		guest_require(!virtq_needs_signal(&q));
		break;
	case STEP_KICKS:
		virtq_suppress_kicks(&q);
		guest_require(virtq_want_kicks(&q) == (gq.vr.avail->idx != q.next_avail));
		break;
	case STEP_EVENT:
		gq.vr.avail->ring[gq.vr.num] = input_u16(in);
		gq.vr.avail->flags = input_u16(in);
		break;
	case STEP_SCRIBBLE:
		input_take(in, guest_at(&mem, RINGS + input_u16(in) % 0x2000, 32), 32);
		gq.avail_idx = gq.vr.avail->idx;
		break;
	default:
		enable_any(in);
	}
	guest_require(q.in_flight == held && held <= q.size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	if (!mem.base) {
		guest_require(guest_mem_init(&mem, RAM) == 0);
		q = (struct virtq){ .mem = &mem, .size_max = VIRTQ_SIZE_MAX };
	}
	begin(input_u8(&in));
	for (int i = 0; i < STEPS_MAX && in.left; i++)
		run_step(&in);
	return 0;
}
