// SPDX-License-Identifier: Apache-2.0
/*
 * The registers of virtio-mmio, written by a driver that does anything, with virtio-rng behind them
 * on a loop of its own. What must hold: status bits come in their order, queues that are ready are
 * sound, what identifies the device never changes, and a reset takes everything back.
 */
#include "virtio/mmio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdalign.h>
#include <sys/eventfd.h>

#include "../unit/loop_thread.h"
#include "device/rng.h"
#include "input.h"

#define RINGS     0x10000u
#define STEPS_MAX 500

enum step {
	STEP_REGISTER,
	STEP_NEXT, /* what a driver that behaves would do next */
	STEP_ODD,
	STEP_MEMORY,
	STEP_KICK,
	STEP_COUNT,
};

static struct {
	struct loop_thread thread;
	struct guest_mem mem;
	struct virtio_device *dev;
	struct virtio_mmio *t;
	int kick_fd, irq_fd;
	uint8_t at_rest[VIRTIO_MMIO_BYTES];
	unsigned int next;
} w;

static alignas(4096) uint8_t page[VIRTIO_MMIO_BYTES];

static void make_device(struct loop *loop)
{
	guest_require(rng_new(loop, &w.mem, &w.dev) == 0);
	guest_require(virtio_mmio_new(w.dev, &w.kick_fd, w.irq_fd, page, &w.t) == 0);
}

static void world_init(void)
{
	guest_require(guest_mem_init(&w.mem, GUEST_RAM_MIN) == 0);
	w.kick_fd = eventfd(0, EFD_CLOEXEC);
	w.irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	loop_thread_start(&w.thread, make_device);
	memcpy(w.at_rest, page, sizeof(page));
}

static uint32_t get(uint32_t off)
{
	return __atomic_load_n((const uint32_t *)(const void *)(page + off), __ATOMIC_SEQ_CST);
}

static void set(uint32_t off, uint32_t value)
{
	virtio_mmio_write(w.t, off, &value, sizeof(value));
}

/* The order of 3.1.1, over and over. */
static void next_step(void)
{
	static const struct {
		uint32_t off, value;
	} steps[] = {
		{ VIRTIO_MMIO_STATUS, 1 },
		{ VIRTIO_MMIO_STATUS, 3 },
		{ VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1 },
		{ VIRTIO_MMIO_DRIVER_FEATURES, 1 },
		{ VIRTIO_MMIO_STATUS, 11 },
		{ VIRTIO_MMIO_QUEUE_SEL, 0 },
		{ VIRTIO_MMIO_QUEUE_NUM, 8 },
		{ VIRTIO_MMIO_QUEUE_DESC_LOW, RINGS },
		{ VIRTIO_MMIO_QUEUE_AVAIL_LOW, RINGS + 0x80 },
		{ VIRTIO_MMIO_QUEUE_USED_LOW, RINGS + 0x100 },
		{ VIRTIO_MMIO_QUEUE_READY, 1 },
		{ VIRTIO_MMIO_STATUS, 15 },
		{ VIRTIO_MMIO_INTERRUPT_ACK, 3 },
		{ VIRTIO_MMIO_STATUS, 0 },
	};
	const unsigned int n = sizeof(steps) / sizeof(steps[0]);

	set(steps[w.next % n].off, steps[w.next % n].value);
	w.next++;
}

static void check(void)
{
	uint32_t status = get(VIRTIO_MMIO_STATUS);
	const struct virtq *q = &w.dev->queues[0];

	guest_require(!(status & ~0xcfu));
	if (status & VIRTIO_CONFIG_S_DRIVER_OK)
		guest_require(status & VIRTIO_CONFIG_S_FEATURES_OK);
	if (status & VIRTIO_CONFIG_S_FEATURES_OK)
		guest_require((status & 3) == 3 && w.dev->features & 1ull << VIRTIO_F_VERSION_1);
	guest_require(!(w.dev->features & ~w.dev->features_offered));
	if (q->ready) {
		guest_require(q->size && q->size <= q->size_max && !(q->size & (q->size - 1)));
		guest_require(guest_mem_ptr(&w.mem, q->desc_gpa, 16ull * q->size));
		guest_require(guest_mem_ptr(&w.mem, q->driver_gpa, 6 + 2ull * q->size));
		guest_require(guest_mem_ptr(&w.mem, q->device_gpa, 6 + 8ull * q->size));
	}
	guest_require(!memcmp(page, w.at_rest, VIRTIO_MMIO_DEVICE_FEATURES));
	guest_require(!memcmp(page + VIRTIO_MMIO_CONFIG, w.at_rest + VIRTIO_MMIO_CONFIG,
			      sizeof(page) - VIRTIO_MMIO_CONFIG));
}

/* All as it was at rest, but for the number of changes so far. */
static void check_rest(void)
{
	uint32_t generation = get(VIRTIO_MMIO_CONFIG_GENERATION);

	memcpy(w.at_rest + VIRTIO_MMIO_CONFIG_GENERATION, &generation, sizeof(generation));
	guest_require(!memcmp(page, w.at_rest, sizeof(page)));
	guest_require(!w.dev->queues[0].ready && !w.dev->features && !w.dev->running);
}

static void run_step(struct input *in)
{
	enum step step = input_u8(in) % STEP_COUNT;
	uint32_t off = input_u8(in), len = 1u << off % 4;
	uint8_t data[8];

	switch (step) {
	case STEP_REGISTER:
		set(off * 4 % 0x200, off & 0x80 ? input_u32(in) : input_u8(in));
		break;
	case STEP_NEXT:
		next_step();
		break;
	case STEP_ODD:
		input_take(in, data, sizeof(data));
		virtio_mmio_write(w.t, input_u16(in) % (VIRTIO_MMIO_BYTES - 8), data, len);
		break;
	case STEP_MEMORY:
		input_take(in, guest_at(&w.mem, RINGS + off * 2, 16), 16);
		break;
	default:
		event_signal(w.kick_fd);
		loop_thread_settle(&w.thread);
	}
	check();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	if (!w.t)
		world_init();
	memset(guest_at(&w.mem, RINGS, 0x1000), 0, 0x1000);
	w.next = 0;
	for (int i = 0; i < STEPS_MAX && in.left; i++)
		run_step(&in);
	virtio_mmio_reset(w.t);
	loop_thread_settle(&w.thread);
	check_rest();
	event_take(w.irq_fd);
	return 0;
}
