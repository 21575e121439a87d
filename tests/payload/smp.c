// SPDX-License-Identifier: Apache-2.0
/* Two CPUs at once: on the same device's registers, and on the memory it works with. */
#include "lib/target.h"

#define ROUNDS 200

static struct target *blk = &targets[TARGET_BLK];
static struct target *net = &targets[TARGET_NET];
static uint8_t page[4096] __attribute__((aligned(4096)));

/* What the second CPU is to do; written by the first. */
enum job {
	IDLE,
	WRITE_REGISTERS,
	RESET_DEVICE,
	CHANGE_REQUEST,
	PORTS,
	FLOOD_ADDRESSES,
	WRITE_ADDRESSES
};

static volatile uint32_t job;
static volatile uint32_t ap_alive;
static volatile uint32_t ap_rounds;
static volatile uint32_t ap_apic_id = 0xffffffff;
static const struct vq *volatile to_address; /* a queue for WRITE_ADDRESSES; NULL: done */

static void write_registers(uint32_t i)
{
	const struct vdev *d = blk->dev;

	reg_write(d, VIRTIO_MMIO_QUEUE_SEL, i % 5);
	reg_write(d, VIRTIO_MMIO_QUEUE_NUM, i);
	reg_write(d, VIRTIO_MMIO_QUEUE_DESC_LOW, i << 4);
	reg_write(d, VIRTIO_MMIO_QUEUE_READY, i & 1);
	reg_write(d, VIRTIO_MMIO_INTERRUPT_ACK, ~0u);
	reg_write(d, VIRTIO_MMIO_QUEUE_NOTIFY, i % 3);
	reg_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, i % 2);
	reg_write(d, VIRTIO_MMIO_DRIVER_FEATURES, i);
}

/* More than KVM keeps before it gives them to the monitor. */
static void flood_addresses(uint32_t value)
{
	for (int i = 0; i < 20; i++)
		for (uint32_t reg = VIRTIO_MMIO_QUEUE_DESC_LOW; reg <= VIRTIO_MMIO_QUEUE_USED_HIGH;
		     reg += 4)
			reg_write(net->dev, reg, value);
}

/* KVM has kept the addresses by then, and the monitor has not seen them. */
static void write_addresses(void)
{
	const struct vq *q = to_address;

	if (!q)
		return;
	vq_write_addresses(q);
	to_address = NULL;
}

/* Bytes of the header and of the descriptors of the request that the first CPU submits. */
static void change_request(uint32_t i)
{
	target_blk.hdr->type = i % 3 ? VIRTIO_BLK_T_IN : i;
	target_blk.hdr->sector = i % 5 ? 0 : ~0ull;
	blk->q->desc[1].len = i % 7 ? 512 : 0xffffffff;
	blk->q->desc[1].addr = i % 11 ? (uintptr_t)page : ~0ull;
	blk->q->desc[1].next = i % 13 ? 2 : 1;
}

static void ap_main(void)
{
	ap_apic_id = cpuid(1, 0).ebx >> 24;
	ap_alive = 1;
	for (uint32_t i = 0;; i++) {
		switch (job) {
		case WRITE_REGISTERS:
			write_registers(i);
			break;
		case RESET_DEVICE:
			vdev_reset(blk->dev);
			break;
		case CHANGE_REQUEST:
			change_request(i);
			break;
		case PORTS:
			outb(SERIAL_PORT + 7, (uint8_t)i);
			inb(SERIAL_PORT + 5);
			inb(0x64);
			break;
		case FLOOD_ADDRESSES:
			flood_addresses(i);
			break;
		case WRITE_ADDRESSES:
			write_addresses();
			break;
		default:
			relax();
		}
		ap_rounds++;
	}
}

static void ap_do(enum job what)
{
	uint32_t before = ap_rounds;

	job = what;
	/* Until what it did before is over for sure. */
	for (unsigned int i = 0; i < PATIENCE && ap_rounds - before < 2; i++)
		relax();
}

static void submit(void)
{
	blk_header(&target_blk, VIRTIO_BLK_T_IN, 0);
	vq_desc(blk->q, 0, target_blk.hdr, 16, VRING_DESC_F_NEXT, 1);
	vq_desc(blk->q, 1, page, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2);
	vq_desc(blk->q, 2, target_blk.status, 1, VRING_DESC_F_WRITE, 0);
	vq_submit(blk->q, 0);
}

/* Drive the disk while the other CPU is at @what; it may break, but nothing else may. */
static void race(const char *name, enum job what)
{
	if (!attack_begin(blk, name, 0))
		return;
	ap_do(what);
	for (int i = 0; i < ROUNDS; i++) {
		submit();
		if (i % 8 == 0)
			blk->start(0);
		relax();
	}
	ap_do(IDLE);
	attack_end(blk, name, ANYTHING);
}

/* While both CPUs write addresses that a running card does not want, a disk can be set up. */
static void flood(void)
{
	const char *name = "flood-addresses";
	bool good = true;

	if (!attack_begin(net, name, 0))
		return;
	ap_do(FLOOD_ADDRESSES);
	for (uint32_t i = 0; i < ROUNDS && good; i++) {
		flood_addresses(i);
		good = blk->start(0) && blk->works();
	}
	ap_do(IDLE);
	if (!good)
		fail(name, "the disk cannot be set up");
	attack_end(net, name, HARMLESS);
}

/* Of one set-up, the second CPU writes where a queue is, and the first one all the rest. */
static void set_up_by_two(void)
{
	const char *name = "set-up-by-two";
	struct vq *q = blk->q;
	bool good = true;

	ap_do(WRITE_ADDRESSES);
	for (int i = 0; i < ROUNDS && good; i++) {
		good = vdev_begin(blk->dev, 0);
		vq_make(q, blk->dev, 0, 8);
		to_address = q;
		for (unsigned int k = 0; k < PATIENCE && to_address; k++)
			relax();
		good = good && vq_ready(q);
		vdev_go(blk->dev);
		good = good && blk->works();
	}
	ap_do(IDLE);
	if (good)
		ok(name);
	else
		fail(name, "the disk cannot be set up");
}

static bool start_ap(void)
{
	ap_start(ap_main);
	for (unsigned int i = 0; i < PATIENCE && !ap_alive; i++)
		relax();
	return ap_alive;
}

void payload_main(void)
{
	if (!targets_init())
		return;
	if (!start_ap()) {
		skip("smp", "this KVM does not start a second CPU by INIT and SIPI");
		ok("smp.one-cpu");
		return;
	}
	ok("smp.started");
	expect_eq("smp.apic-id", ap_apic_id, 1);
	race("race-registers", WRITE_REGISTERS);
	race("race-reset", RESET_DEVICE);
	race("race-memory", CHANGE_REQUEST);
	race("race-ports", PORTS);
	flood();
	set_up_by_two();
	/* The machine ends while the second CPU runs. */
	ap_do(RESET_DEVICE);
}
