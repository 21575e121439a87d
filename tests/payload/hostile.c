// SPDX-License-Identifier: Apache-2.0
/* What a hostile driver can do to any device: through the rings, and through the registers. */
#include "lib/target.h"

static uint8_t page[4096] __attribute__((aligned(4096)));
static struct vring_desc table[512] __attribute__((aligned(16)));
static uint64_t ram_end;  /* of that below the hole */
static uint64_t high_end; /* past 4 GiB: of all, or where more would be */

#define SETUP (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)

/* ---- rings ---- */

static void at(struct vq *q, uint64_t addr, uint32_t len, uint16_t flags)
{
	vq_post(q, (void *)(uintptr_t)addr, len, flags);
}

static void jump(struct vq *q, uint16_t by)
{
	q->avail_idx = (uint16_t)(q->avail_idx + by);
	vq_publish(q);
	vq_kick(q);
}

static void head_is_size(struct vq *q)
{
	vq_submit(q, q->size);
}

static void head_huge(struct vq *q)
{
	vq_submit(q, 0xffff);
}

static void avail_one_too_many(struct vq *q)
{
	jump(q, (uint16_t)(q->size + 1));
}

static void avail_half_way(struct vq *q)
{
	jump(q, 0x8000);
}

static void avail_backwards(struct vq *q)
{
	jump(q, 0xffff);
}

static void loop_self(struct vq *q)
{
	vq_desc(q, 0, page, 16, VRING_DESC_F_NEXT, 0);
	vq_submit(q, 0);
}

static void loop_pair(struct vq *q)
{
	vq_desc(q, 0, page, 16, VRING_DESC_F_NEXT, 1);
	vq_desc(q, 1, page, 16, VRING_DESC_F_NEXT, 0);
	vq_submit(q, 0);
}

static void loop_writable(struct vq *q)
{
	vq_desc(q, 0, page, 16, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 0);
	vq_submit(q, 0);
}

static void loop_empty(struct vq *q)
{
	vq_desc(q, 0, page, 0, VRING_DESC_F_NEXT, 0);
	vq_submit(q, 0);
}

static void next_is_size(struct vq *q)
{
	vq_desc(q, 0, page, 16, VRING_DESC_F_NEXT, q->size);
	vq_submit(q, 0);
}

static void next_huge(struct vq *q)
{
	vq_desc(q, 0, page, 16, VRING_DESC_F_NEXT, 0xffff);
	vq_submit(q, 0);
}

static void past_ram(struct vq *q)
{
	at(q, ram_end, 1, VRING_DESC_F_WRITE);
}

static void past_ram_readable(struct vq *q)
{
	at(q, ram_end, 1, 0);
}

static void across_end(struct vq *q)
{
	at(q, ram_end - 8, 16, VRING_DESC_F_WRITE);
}

static void in_hole(struct vq *q)
{
	at(q, q->dev->base, 16, VRING_DESC_F_WRITE);
}

static void in_lapic(struct vq *q)
{
	at(q, 0xfee00000, 16, VRING_DESC_F_WRITE);
}

static void wraps(struct vq *q)
{
	at(q, ~7ull, 16, VRING_DESC_F_WRITE);
}

static void wraps_to_zero(struct vq *q)
{
	at(q, ~15ull, 16, VRING_DESC_F_WRITE);
}

static void sign_bit(struct vq *q)
{
	at(q, 1ull << 63, 16, 0);
}

static void above_4gib(struct vq *q)
{
	at(q, high_end, 16, VRING_DESC_F_WRITE);
}

static void longest(struct vq *q)
{
	at(q, (uintptr_t)page, 0xffffffff, VRING_DESC_F_WRITE);
}

static void longest_readable(struct vq *q)
{
	at(q, (uintptr_t)page, 0xffffffff, 0);
}

static void empty_past_ram_chained(struct vq *q)
{
	vq_desc(q, 0, page, 16, VRING_DESC_F_NEXT, 1);
	vq_desc(q, 1, (void *)(uintptr_t)(ram_end + 4096), 16, VRING_DESC_F_WRITE, 0);
	vq_submit(q, 0);
}

static void readable_after_writable(struct vq *q)
{
	vq_desc(q, 0, page, 16, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
	vq_desc(q, 1, page + 64, 16, 0, 0);
	vq_submit(q, 0);
}

static void indirect(struct vq *q, uint64_t addr, uint32_t len, uint16_t flags)
{
	at(q, addr, len, VRING_DESC_F_INDIRECT | flags);
}

static void indirect_nested(struct vq *q)
{
	table[0] = (struct vring_desc){ (uintptr_t)(table + 1), 16, VRING_DESC_F_INDIRECT, 0 };
	table[1] = (struct vring_desc){ (uintptr_t)page, 16, VRING_DESC_F_WRITE, 0 };
	indirect(q, (uintptr_t)table, 16, 0);
}

static void indirect_itself(struct vq *q)
{
	table[0] = (struct vring_desc){ (uintptr_t)table, 16, VRING_DESC_F_INDIRECT, 0 };
	indirect(q, (uintptr_t)table, 16, 0);
}

static void indirect_empty(struct vq *q)
{
	indirect(q, (uintptr_t)table, 0, 0);
}

static void indirect_part(struct vq *q)
{
	indirect(q, (uintptr_t)table, 24, 0);
}

static void indirect_past_ram(struct vq *q)
{
	indirect(q, ram_end, 16, 0);
}

static void indirect_across_end(struct vq *q)
{
	indirect(q, ram_end - 16, 32, 0);
}

static void indirect_wraps(struct vq *q)
{
	indirect(q, ~15ull, 32, 0);
}

static void indirect_huge(struct vq *q)
{
	indirect(q, (uintptr_t)table, 0xfffffff0, 0);
}

static void indirect_and_next(struct vq *q)
{
	table[0] = (struct vring_desc){ (uintptr_t)page, 16, VRING_DESC_F_WRITE, 0 };
	vq_desc(q, 1, page, 16, VRING_DESC_F_WRITE, 0);
	vq_desc(q, 0, table, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1);
	vq_submit(q, 0);
}

static void indirect_loop(struct vq *q)
{
	table[0] = (struct vring_desc){ (uintptr_t)page, 0, VRING_DESC_F_NEXT, 1 };
	table[1] = (struct vring_desc){ (uintptr_t)page, 1, VRING_DESC_F_NEXT, 0 };
	indirect(q, (uintptr_t)table, 32, 0);
}

static void indirect_next_out(struct vq *q)
{
	table[0] = (struct vring_desc){ (uintptr_t)page, 16, VRING_DESC_F_NEXT, 1 };
	indirect(q, (uintptr_t)table, 16, 0);
}

/* Longer than any chain may be. */
static void indirect_long(struct vq *q)
{
	for (uint16_t i = 0; i < 512; i++)
		table[i] = (struct vring_desc){ (uintptr_t)page, 1,
						VRING_DESC_F_WRITE | VRING_DESC_F_NEXT,
						(uint16_t)(i + 1) };
	table[511].flags = VRING_DESC_F_WRITE;
	indirect(q, (uintptr_t)table, sizeof(table), 0);
}

/* Direct ones first, so that both bounds on their own are kept. */
static void indirect_long_after_direct(struct vq *q)
{
	for (uint16_t i = 0; i < 256; i++)
		table[i] = (struct vring_desc){ (uintptr_t)page, 1,
						VRING_DESC_F_WRITE | VRING_DESC_F_NEXT,
						(uint16_t)(i + 1) };
	table[255].flags = VRING_DESC_F_WRITE;
	for (uint16_t i = 0; i < q->size - 1; i++)
		vq_desc(q, i, page, 1, VRING_DESC_F_NEXT, (uint16_t)(i + 1));
	vq_desc(q, (uint16_t)(q->size - 1), table, 256 * 16, VRING_DESC_F_INDIRECT, 0);
	vq_submit(q, 0);
}

static const struct {
	const char *name;
	void (*attack)(struct vq *q);
} ring_attacks[] = {
	{ "head-is-size", head_is_size },
	{ "head-huge", head_huge },
	{ "avail-one-too-many", avail_one_too_many },
	{ "avail-half-way", avail_half_way },
	{ "avail-backwards", avail_backwards },
	{ "loop-self", loop_self },
	{ "loop-pair", loop_pair },
	{ "loop-writable", loop_writable },
	{ "loop-empty", loop_empty },
	{ "next-is-size", next_is_size },
	{ "next-huge", next_huge },
	{ "past-ram", past_ram },
	{ "past-ram-readable", past_ram_readable },
	{ "across-end", across_end },
	{ "in-hole", in_hole },
	{ "in-lapic", in_lapic },
	{ "wraps", wraps },
	{ "wraps-to-zero", wraps_to_zero },
	{ "sign-bit", sign_bit },
	{ "above-4gib", above_4gib },
	{ "longest", longest },
	{ "longest-readable", longest_readable },
	{ "second-past-ram", empty_past_ram_chained },
	{ "readable-after-writable", readable_after_writable },
	{ "indirect-nested", indirect_nested },
	{ "indirect-itself", indirect_itself },
	{ "indirect-empty", indirect_empty },
	{ "indirect-part", indirect_part },
	{ "indirect-past-ram", indirect_past_ram },
	{ "indirect-across-end", indirect_across_end },
	{ "indirect-wraps", indirect_wraps },
	{ "indirect-huge", indirect_huge },
	{ "indirect-and-next", indirect_and_next },
	{ "indirect-loop", indirect_loop },
	{ "indirect-next-out", indirect_next_out },
	{ "indirect-long", indirect_long },
	{ "indirect-long-after-direct", indirect_long_after_direct },
};

static void attack_rings(struct target *t)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(ring_attacks); i++) {
		if (!attack_begin(t, ring_attacks[i].name, F_INDIRECT))
			continue;
		ring_attacks[i].attack(t->q);
		attack_end(t, ring_attacks[i].name, BREAKS);
	}
}

/* ---- registers of a device that runs ---- */

/* In the order in which a driver could take a queue back, had it not promised to leave it. */
static void rewrite_queue(struct target *t)
{
	const struct vdev *d = t->dev;

	t->works();
	for (uint32_t queue = 0; queue < t->nqueues; queue++) {
		reg_write(d, VIRTIO_MMIO_QUEUE_SEL, queue);
		reg_write(d, VIRTIO_MMIO_QUEUE_READY, 0);
		reg_write(d, VIRTIO_MMIO_QUEUE_NUM, 0xffff);
		for (uint32_t reg = VIRTIO_MMIO_QUEUE_DESC_LOW; reg <= VIRTIO_MMIO_QUEUE_USED_HIGH;
		     reg += 4)
			reg_write(d, reg, 0xdeadbeef);
		reg_write(d, VIRTIO_MMIO_QUEUE_READY, 1);
	}
}

static void select_out_of_range(struct target *t)
{
	static const uint32_t wrong[] = { 32,      33,         64,         0xff,      0xffff,
					  0x10000, 0x7fffffff, 0x80000000, 0xffffffff };
	const struct vdev *d = t->dev;

	for (unsigned int i = 0; i <= ARRAY_SIZE(wrong); i++) {
		reg_write(d, VIRTIO_MMIO_QUEUE_SEL, i ? wrong[i - 1] : t->nqueues);
		if (reg_read(d, VIRTIO_MMIO_QUEUE_NUM_MAX) || reg_read(d, VIRTIO_MMIO_QUEUE_READY))
			fail("select", "queue %x of %s is there", i ? wrong[i - 1] : t->nqueues,
			     t->name);
		reg_write(d, VIRTIO_MMIO_QUEUE_NUM, 8);
		reg_write(d, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)(uintptr_t)page);
		reg_write(d, VIRTIO_MMIO_QUEUE_READY, 1);
		reg_read(d, VIRTIO_MMIO_QUEUE_READY);
	}
}

static void notify_out_of_range(struct target *t)
{
	static const uint32_t wrong[] = { 32,      64,      0xff,       0xffff,
					  0x10000, 0x10001, 0x80000000, 0xffffffff };

	reg_write(t->dev, VIRTIO_MMIO_QUEUE_NOTIFY, t->nqueues);
	for (unsigned int i = 0; i < ARRAY_SIZE(wrong); i++)
		reg_write(t->dev, VIRTIO_MMIO_QUEUE_NOTIFY, wrong[i]);
}

static void notify_storm(struct target *t)
{
	for (int i = 0; i < 5000; i++)
		for (uint32_t queue = 0; queue < t->nqueues; queue++)
			reg_write(t->dev, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

static void notify_odd_widths(struct target *t)
{
	uint64_t notify = t->dev->base + VIRTIO_MMIO_QUEUE_NOTIFY;

	write8(notify, 0);
	write16(notify, 0);
	write64(notify, 0);
	write32(notify + 1, 0);
	write16(notify + 2, 0);
}

/* Wrong in width or alignment, at every register; none of it may act, least of all a reset. */
static void odd_accesses(struct target *t)
{
	uint64_t base = t->dev->base;

	for (uint64_t off = 0; off < 0x120; off += 4) {
		write8(base + off, 0);
		write16(base + off, 0);
		write16(base + off + 2, 0xffff);
		write32(base + off + 1, 0);
		write32(base + off + 2, 0xffffffff);
		write8(base + off + 3, 0xff);
		read8(base + off + 1);
		read16(base + off);
		read32(base + off + 3);
		read64(base + off);
		read64(base + off + 5);
	}
	write64(base + VIRTIO_MMIO_STATUS, 0);
	write64(base + VIRTIO_MMIO_STATUS - 4, 0);
}

/*
 * Past the end of the configuration, to and over the edge of the device; what crosses it is zeroes,
 * as the next one may be pvpanic.
 */
static void config_overrun(struct target *t)
{
	uint64_t base = t->dev->base;

	for (uint64_t off = 0x100; off < 0x180; off++) {
		read8(base + off);
		read64(base + off);
		write8(base + off, 0xff);
		write64(base + off, ~0ull);
	}
	for (uint64_t off = 0xff0; off < 0x1000; off++) {
		read64(base + off);
		write16(base + off, 0x00ff);
		write64(base + off, 0);
	}
}

static void read_only_registers(struct target *t)
{
	static const uint32_t regs[] = {
		VIRTIO_MMIO_MAGIC_VALUE,
		VIRTIO_MMIO_VERSION,
		VIRTIO_MMIO_DEVICE_ID,
		VIRTIO_MMIO_VENDOR_ID,
		VIRTIO_MMIO_DEVICE_FEATURES,
		VIRTIO_MMIO_QUEUE_NUM_MAX,
		VIRTIO_MMIO_INTERRUPT_STATUS,
		VIRTIO_MMIO_CONFIG_GENERATION,
		VIRTIO_MMIO_SHM_LEN_LOW,
		0x008 + 0x020, /* version 1's GuestPageSize */
		0x0c0 /* QueueReset, which is not offered */,
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(regs); i++) {
		uint32_t before = reg_read(t->dev, regs[i]);

		reg_write(t->dev, regs[i], 0xffffffff);
		reg_write(t->dev, regs[i], 0);
		if (reg_read(t->dev, regs[i]) != before)
			fail("read-only", "register %x of %s changed", regs[i], t->name);
	}
}

static void features_late(struct target *t)
{
	vdev_write_features(t->dev, ~0ull);
	vdev_write_features(t->dev, 0);
	reg_write(t->dev, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0xffffffff);
	reg_write(t->dev, VIRTIO_MMIO_DRIVER_FEATURES, 0xffffffff);
	reg_write(t->dev, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0xffffffff);
	if (reg_read(t->dev, VIRTIO_MMIO_DEVICE_FEATURES))
		fail("features", "%s offers some past bit 63", t->name);
}

static void status_backwards(struct target *t)
{
	uint32_t running = vdev_status(t->dev);

	vdev_set_status(t->dev, SETUP);
	vdev_set_status(t->dev, VIRTIO_CONFIG_S_DRIVER_OK);
	vdev_set_status(t->dev, VIRTIO_CONFIG_S_NEEDS_RESET);
	vdev_set_status(t->dev, running | VIRTIO_CONFIG_S_NEEDS_RESET);
	vdev_set_status(t->dev, running);
	vdev_set_status(t->dev, running | 0xffffff30);
	if (vdev_status(t->dev) != running)
		fail("status", "%s shows %x instead of %x", t->name, vdev_status(t->dev), running);
}

static void acknowledge_all(struct target *t)
{
	reg_write(t->dev, VIRTIO_MMIO_INTERRUPT_ACK, 0xffffffff);
	reg_write(t->dev, VIRTIO_MMIO_INTERRUPT_ACK, 0);
}

/* Each of these would make a line in the log. */
static void misuse_storm(struct target *t)
{
	for (int i = 0; i < 2000; i++)
		reg_write(t->dev, VIRTIO_MMIO_MAGIC_VALUE, (uint32_t)i);
}

static const struct {
	const char *name;
	void (*attack)(struct target *t);
} register_attacks[] = {
	{ "rewrite-queue", rewrite_queue },
	{ "select-out-of-range", select_out_of_range },
	{ "notify-out-of-range", notify_out_of_range },
	{ "notify-storm", notify_storm },
	{ "notify-odd-widths", notify_odd_widths },
	{ "odd-accesses", odd_accesses },
	{ "config-overrun", config_overrun },
	{ "read-only-registers", read_only_registers },
	{ "features-late", features_late },
	{ "status-backwards", status_backwards },
	{ "acknowledge-all", acknowledge_all },
	{ "misuse-storm", misuse_storm },
};

static void attack_registers(struct target *t)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(register_attacks); i++) {
		if (!attack_begin(t, register_attacks[i].name, 0))
			continue;
		register_attacks[i].attack(t);
		attack_end(t, register_attacks[i].name, HARMLESS);
	}
}

/* ---- set-up ---- */

static void set_up_expect(struct target *t, const char *what, bool good)
{
	if (!good)
		fail("set-up", "%s: %s", t->name, what);
}

static void features_without_version_1(struct target *t)
{
	vdev_reset(t->dev);
	vdev_set_status(t->dev, SETUP);
	vdev_write_features(t->dev, 0);
	vdev_set_status(t->dev, SETUP | VIRTIO_CONFIG_S_FEATURES_OK);
	set_up_expect(t, "FEATURES_OK without VERSION_1", vdev_status(t->dev) == SETUP);
}

static void features_not_offered(struct target *t)
{
	for (unsigned int bit = 0; bit < 64; bit++) {
		if (t->dev->offered >> bit & 1)
			continue;
		/* A few of each half will do. */
		if (bit % 8 > 1)
			continue;
		set_up_expect(t, "a feature that was not offered",
			      !vdev_begin(t->dev, 1ull << bit));
	}
	/* The device does not start on that. */
	vdev_go(t->dev);
	set_up_expect(t, "DRIVER_OK without FEATURES_OK",
		      !(vdev_status(t->dev) & VIRTIO_CONFIG_S_DRIVER_OK));
}

static void out_of_order(struct target *t)
{
	vdev_reset(t->dev);
	vdev_set_status(t->dev, VIRTIO_CONFIG_S_DRIVER_OK);
	set_up_expect(t, "DRIVER_OK first", !(vdev_status(t->dev) & VIRTIO_CONFIG_S_DRIVER_OK));
	vdev_reset(t->dev);
	vdev_write_features(t->dev, F_VERSION_1);
	vdev_set_status(t->dev, VIRTIO_CONFIG_S_FEATURES_OK);
	set_up_expect(t, "FEATURES_OK first", !(vdev_status(t->dev) & VIRTIO_CONFIG_S_FEATURES_OK));
	vdev_reset(t->dev);
	set_up_expect(t, "status after reset", vdev_status(t->dev) == 0);
}

static void queue_too_early(struct target *t)
{
	struct vq q;

	vq_make(&q, t->dev, 0, 8);
	vdev_reset(t->dev);
	vq_write_addresses(&q);
	set_up_expect(t, "a queue before FEATURES_OK", !vq_ready(&q));
}

static void queue_sizes(struct target *t)
{
	static const uint32_t wrong[] = {
		0, 3, 7, 12, 0x8000, 0xffff, 0x10000, 0x10008, 0xffffffff
	};
	struct vq q;

	vdev_begin(t->dev, 0);
	vq_make(&q, t->dev, 0, 8);
	reg_write(t->dev, VIRTIO_MMIO_QUEUE_SEL, 0);
	uint32_t twice = 2 * reg_read(t->dev, VIRTIO_MMIO_QUEUE_NUM_MAX);

	for (unsigned int i = 0; i <= ARRAY_SIZE(wrong); i++) {
		vq_write_addresses(&q);
		reg_write(t->dev, VIRTIO_MMIO_QUEUE_NUM, i ? wrong[i - 1] : twice);
		set_up_expect(t, "a queue of an impossible size", !vq_ready(&q));
	}
}

static void queue_addresses(struct target *t)
{
	static const uint32_t regs[] = { VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_AVAIL_LOW,
					 VIRTIO_MMIO_QUEUE_USED_LOW };
	const uint64_t wrong[] = {
		ram_end,    ram_end - 16,           ~0ull << 4, 1ull << 63, high_end,
		0xd0000000, (1ull << 63) + ram_end, 0xfee00000, 0xfffffff0
	};
	struct vq q;

	vdev_begin(t->dev, 0);
	vq_make(&q, t->dev, 0, 8);
	for (unsigned int r = 0; r < ARRAY_SIZE(regs); r++) {
		for (unsigned int i = 0; i < ARRAY_SIZE(wrong); i++) {
			vq_write_addresses(&q);
			reg_write(t->dev, regs[r], (uint32_t)wrong[i]);
			reg_write(t->dev, regs[r] + 4, (uint32_t)(wrong[i] >> 32));
			set_up_expect(t, "a ring outside of memory", !vq_ready(&q));
		}
		vq_write_addresses(&q);
		reg_write(t->dev, regs[r], (uint32_t)(uintptr_t)page + 1);
		set_up_expect(t, "a ring askew", !vq_ready(&q));
	}
}

/* DRIVER_OK with no queue at all, bells and all. */
static void no_queues(struct target *t)
{
	vdev_begin(t->dev, 0);
	vdev_go(t->dev);
	vdev_go(t->dev);
	for (uint32_t i = 0; i < t->nqueues; i++)
		reg_write(t->dev, VIRTIO_MMIO_QUEUE_NOTIFY, i);
}

/* Made ready, taken back, and no more. */
static void unready(struct target *t)
{
	struct vq q;

	vdev_begin(t->dev, 0);
	vq_init(&q, t->dev, 0, 8);
	reg_write(t->dev, VIRTIO_MMIO_QUEUE_READY, 0);
	set_up_expect(t, "a queue that was taken back", !reg_read(t->dev, VIRTIO_MMIO_QUEUE_READY));
	vq_put(&q, 99);
	vq_publish(&q);
	vdev_go(t->dev);
	vq_kick(&q);
}

/* All three rings, and the buffers too, in the same bytes. */
static void rings_overlap(struct target *t)
{
	struct vq q = { .dev = t->dev, .size = 8 };

	memset(page, 0, sizeof(page));
	q.desc = (struct vring_desc *)(void *)page;
	q.avail = (struct vring_avail *)(void *)page;
	q.used = (struct vring_used *)(void *)page;
	vdev_begin(t->dev, 0);
	for (uint16_t i = 0; i < t->nqueues; i++) {
		q.index = i;
		vq_write_addresses(&q);
		vq_ready(&q);
	}
	vdev_go(t->dev);
	for (uint16_t k = 0; k < 32; k++) {
		page[2] = (uint8_t)k;
		vq_desc(&q, k % 8, page, 64, k % 3 ? VRING_DESC_F_WRITE : 0, 0);
		for (uint16_t i = 0; i < t->nqueues; i++) {
			q.index = i;
			vq_kick(&q);
		}
		relax();
	}
}

/* Buffers that are the rings, so that the device itself rewrites what it is about to read. */
static void buffers_are_rings(struct target *t)
{
	struct vq *q = t->q;
	uint8_t *rings[] = { (uint8_t *)q->avail, (uint8_t *)q->used, (uint8_t *)q->desc };

	for (uint16_t i = 0; i < 8; i++) {
		vq_desc(q, i, rings[i % 3], 64, VRING_DESC_F_WRITE, 0);
		vq_put(q, i);
	}
	vq_publish(q);
	vq_kick(q);
	for (int i = 0; i < 50; i++)
		relax();
}

static void failed_bit(struct target *t)
{
	vdev_set_status(t->dev, vdev_status(t->dev) | VIRTIO_CONFIG_S_FAILED);
	vdev_set_status(t->dev, 0xffffffff);
}

/* A good request at once with DRIVER_OK and reset, over and over. */
static void restart_storm(struct target *t)
{
	for (int i = 0; i < 50; i++) {
		t->start(0);
		vq_post(t->q, page, 512, i % 2 ? VRING_DESC_F_WRITE : 0);
	}
}

static const struct {
	const char *name;
	void (*attack)(struct target *t);
} set_up_attacks[] = {
	{ "features-without-version-1", features_without_version_1 },
	{ "features-not-offered", features_not_offered },
	{ "out-of-order", out_of_order },
	{ "queue-too-early", queue_too_early },
	{ "queue-sizes", queue_sizes },
	{ "queue-addresses", queue_addresses },
	{ "no-queues", no_queues },
	{ "unready", unready },
	{ "rings-overlap", rings_overlap },
	{ "buffers-are-rings", buffers_are_rings },
	{ "failed-bit", failed_bit },
	{ "restart-storm", restart_storm },
};

static void attack_set_up(struct target *t)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(set_up_attacks); i++) {
		if (!attack_begin(t, set_up_attacks[i].name, 0))
			continue;
		set_up_attacks[i].attack(t);
		attack_end(t, set_up_attacks[i].name, ANYTHING);
	}
}

void payload_main(void)
{
	ram_end = low_ram_end();
	high_end = high_ram_end();
	if (!targets_init())
		return;
	for (int i = 0; i < TARGETS; i++) {
		attack_rings(&targets[i]);
		attack_registers(&targets[i]);
		attack_set_up(&targets[i]);
	}
}
