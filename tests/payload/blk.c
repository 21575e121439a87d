// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-blk (virtio 1.3, 5.2), as a driver that keeps to the rules sees it. What is written here,
 * test_blk.c looks for in the image afterwards.
 *
 * Disk 0 is 8 MiB and writable, with four queues; disk 1 is 1 MiB and read-only; disk 2 is not a
 * whole number of sectors; disk 3 is 1 MiB and has one queue.
 */
#include "lib/blk.h"

#define DISK_SECTORS (8u << 20 >> 9)
#define WRITE_FEATURES                                                 \
	(FEATURE(VIRTIO_BLK_F_FLUSH) | FEATURE(VIRTIO_BLK_F_DISCARD) | \
	 FEATURE(VIRTIO_BLK_F_WRITE_ZEROES))

#define IOAPIC_INDEX 0xfec00000ull
#define IOAPIC_DATA  0xfec00010ull
#define LAPIC_SVR    0xfee000f0ull
#define LAPIC_IRR    0xfee00200ull
#define DISK_PIN     16

static struct blk disk, ro, odd, one;
static struct vdev rng;
static struct vq rng_q;
static uint64_t features; /* of disk 0, to be agreed on */
static uint8_t *buf;      /* two pages and a bit */

/* All that the disk had to say is said: another device has been through the same loop since. */
static bool barrier(void)
{
	static uint8_t bytes[8];

	vq_post(&rng_q, bytes, sizeof(bytes), VRING_DESC_F_WRITE);
	return vq_wait(&rng_q, 1) && (vq_take(&rng_q), true);
}

static void check_config(void)
{
	uint64_t f = disk.dev.offered;

	expect_eq("config.capacity", blk_capacity(&disk), DISK_SECTORS);
	expect_eq("config.capacity64", read64(disk.dev.base + VIRTIO_MMIO_CONFIG), DISK_SECTORS);
	expect_eq("config.blk-size",
		  reg_read(&disk.dev,
			   VIRTIO_MMIO_CONFIG + offsetof(struct virtio_blk_config, blk_size)),
		  512);
	expect("config.seg-max",
	       reg_read(&disk.dev,
			VIRTIO_MMIO_CONFIG + offsetof(struct virtio_blk_config, seg_max)) >= 126,
	       "too few");
	expect("config.features",
	       (f & (F_VERSION_1 | F_INDIRECT | F_EVENT_IDX | FEATURE(VIRTIO_BLK_F_FLUSH))) ==
		       (F_VERSION_1 | F_INDIRECT | F_EVENT_IDX | FEATURE(VIRTIO_BLK_F_FLUSH)),
	       "one of those that all our disks have is missing");
	expect("config.mq", f & FEATURE(VIRTIO_BLK_F_MQ), "four queues and no feature for it");
	expect_eq("config.num-queues",
		  read16(disk.dev.base + VIRTIO_MMIO_CONFIG +
			 offsetof(struct virtio_blk_config, num_queues)),
		  4);
	expect("config.not-ro", !(f & FEATURE(VIRTIO_BLK_F_RO)), "a writable disk that says RO");
	expect("config.ro", ro.dev.offered & FEATURE(VIRTIO_BLK_F_RO), "RO is not offered");
	expect("config.ro-discards",
	       !(ro.dev.offered &
		 (FEATURE(VIRTIO_BLK_F_DISCARD) | FEATURE(VIRTIO_BLK_F_WRITE_ZEROES))),
	       "a read-only disk that discards");
	expect_eq("config.ro-capacity", blk_capacity(&ro), 2048);
	/* 1 MiB and 300 bytes: what is no whole sector is not there. */
	expect_eq("config.odd-capacity", blk_capacity(&odd), 2048);
}

static void check_read(struct blk *b, const char *name, uint64_t sector, uint8_t *at, uint32_t len)
{
	memset(at, 0, len);
	uint8_t status = blk_request(b, VIRTIO_BLK_T_IN, sector, at, len);

	if (status != VIRTIO_BLK_S_OK)
		fail(name, "status %u", status);
	else if (b->written != len + 1)
		fail(name, "%u bytes written", b->written);
	else
		expect(name, blk_is_pattern(at, sector, len), "not the disk's bytes");
}

static void check_write(struct blk *b, const char *name, uint64_t sector, uint8_t *at,
			uint32_t seed, uint32_t len)
{
	blk_fill(at, seed, len);
	uint8_t status = blk_request(b, VIRTIO_BLK_T_OUT, sector, at, len);

	if (status != VIRTIO_BLK_S_OK) {
		fail(name, "status %u", status);
		return;
	}
	if (b->written != 1) {
		fail(name, "%u bytes written", b->written);
		return;
	}
	memset(at, 0, len);
	status = blk_request(b, VIRTIO_BLK_T_IN, sector, at, len);
	expect(name, status == VIRTIO_BLK_S_OK && blk_is_filled(at, seed, len),
	       "does not read back");
}

static void check_transfers(void)
{
	check_read(&disk, "read.512", 0, buf, 512);
	check_read(&disk, "read.4096", 8, buf, 4096);
	check_read(&disk, "read.sector-3", 3, buf, 1024);
	check_read(&disk, "read.odd-memory", 4, buf + 1, 512);
	check_read(&disk, "read.4096-odd-memory", 16, buf + 3, 4096);
	check_read(&disk, "read.last", DISK_SECTORS - 1, buf, 512);
	check_write(&disk, "write.512", 100, buf, 1, 512);
	check_write(&disk, "write.4096", 104, buf, 2, 4096);
	check_write(&disk, "write.odd-memory", 121, buf + 3, 3, 1024);
	check_write(&disk, "write.last", DISK_SECTORS - 1, buf, 4, 512);
	check_read(&disk, "read.beside-written", 99, buf, 512);
	check_read(&disk, "read.behind-written", 101, buf, 1536);
	expect_eq("flush", blk_request(&disk, VIRTIO_BLK_T_FLUSH, 0, NULL, 0), VIRTIO_BLK_S_OK);
	expect_eq("read.nothing", blk_request(&disk, VIRTIO_BLK_T_IN, 0, NULL, 0), VIRTIO_BLK_S_OK);
}

/* 2.7.4.1: a device makes no assumption on how a request is cut into descriptors. */
static void check_layouts(void)
{
	struct vq *q = &disk.q;
	uint8_t *h = (uint8_t *)disk.hdr;

	/* The header in three, the data in odd pieces, one of them empty, and across pages. */
	blk_header(&disk, VIRTIO_BLK_T_IN, 40);
	memset(buf, 0, 8192);
	vq_desc(q, 3, h, 1, VRING_DESC_F_NEXT, 1);
	vq_desc(q, 1, h + 1, 8, VRING_DESC_F_NEXT, 6);
	vq_desc(q, 6, h + 9, 7, VRING_DESC_F_NEXT, 2);
	vq_desc(q, 2, buf + 4000, 100, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 4);
	vq_desc(q, 4, buf, 0, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 5);
	vq_desc(q, 5, buf + 4100, 900, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 7);
	vq_desc(q, 7, buf + 5000, 24, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 0);
	vq_desc(q, 0, disk.status, 1, VRING_DESC_F_WRITE, 0);
	expect_eq("layout.pieces", blk_submit(&disk, 3), VIRTIO_BLK_S_OK);
	expect("layout.pieces-bytes", blk_is_pattern(buf + 4000, 40, 1024), "not the disk's bytes");
	expect("layout.pieces-bounds", !buf[3999] && !buf[5024], "bytes beside them were written");

	/* Data and status in one, header and data in one. */
	blk_header(&disk, VIRTIO_BLK_T_IN, 42);
	vq_desc(q, 0, disk.hdr, 16, VRING_DESC_F_NEXT, 1);
	vq_desc(q, 1, buf, 513, VRING_DESC_F_WRITE, 0);
	buf[512] = BLK_NO_ANSWER;
	blk_submit(&disk, 0);
	expect("layout.merged-in", buf[512] == VIRTIO_BLK_S_OK && blk_is_pattern(buf, 42, 512),
	       "not the bytes and a status behind them");
	struct virtio_blk_outhdr *hdr = (struct virtio_blk_outhdr *)(void *)buf;

	*hdr = (struct virtio_blk_outhdr){ .type = VIRTIO_BLK_T_OUT, .sector = 130 };
	blk_fill(buf + 16, 5, 512);
	*disk.status = BLK_NO_ANSWER;
	vq_desc(q, 0, buf, 16 + 512, VRING_DESC_F_NEXT, 1);
	vq_desc(q, 1, disk.status, 1, VRING_DESC_F_WRITE, 0);
	expect_eq("layout.merged-out", blk_submit(&disk, 0), VIRTIO_BLK_S_OK);
	memset(buf, 0, 512);
	blk_request(&disk, VIRTIO_BLK_T_IN, 130, buf, 512);
	expect("layout.merged-out-bytes", blk_is_filled(buf, 5, 512), "does not read back");
}

static void check_get_id(void)
{
	memset(buf, 0xff, 64);
	expect_eq("id", blk_request(&disk, VIRTIO_BLK_T_GET_ID, 0, buf, 20), VIRTIO_BLK_S_OK);
	expect("id.text", !memcmp(buf, "payload-0\0\0\0\0\0\0\0\0\0\0", 20) && buf[20] == 0xff,
	       "not its serial number");
	memset(buf, 0xff, 64);
	expect_eq("id.short", blk_request(&disk, VIRTIO_BLK_T_GET_ID, 0, buf, 4), VIRTIO_BLK_S_OK);
	expect("id.short-text", !memcmp(buf, "payl\xff", 5), "not its first bytes");
	memset(buf, 0xff, 64);
	blk_request(&disk, VIRTIO_BLK_T_GET_ID, 0, buf, 40);
	expect("id.long", !memcmp(buf, "payload-0", 10) && buf[20] == 0xff, "more than 20 bytes");
}

static uint8_t do_range(struct blk *b, uint32_t type, uint64_t sector, uint32_t n, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes r = { .sector = sector,
						     .num_sectors = n,
						     .flags = flags };

	memcpy(buf, &r, sizeof(r));
	return blk_request(b, type, 0, buf, sizeof(r));
}

static bool reads_zero(uint64_t sector, uint32_t n)
{
	memset(buf, 0xff, n * SECTOR);
	if (blk_request(&disk, VIRTIO_BLK_T_IN, sector, buf, n * SECTOR))
		return false;
	for (uint32_t i = 0; i < n * SECTOR; i++)
		if (buf[i])
			return false;
	return true;
}

static void check_ranges(void)
{
	const uint32_t zeroes = VIRTIO_BLK_T_WRITE_ZEROES, discard = VIRTIO_BLK_T_DISCARD;
	const uint32_t unmap = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;

	if (!(disk.dev.offered & FEATURE(VIRTIO_BLK_F_DISCARD)) ||
	    !(disk.dev.offered & FEATURE(VIRTIO_BLK_F_WRITE_ZEROES))) {
		skip("ranges", "the host's file system does not punch holes");
		return;
	}
	expect_eq("zeroes", do_range(&disk, zeroes, 1000, 8, 0), VIRTIO_BLK_S_OK);
	expect("zeroes.read", reads_zero(1000, 8), "not zeroes");
	expect_eq("zeroes.unmap", do_range(&disk, zeroes, 1016, 3, unmap), VIRTIO_BLK_S_OK);
	expect("zeroes.unmap-read", reads_zero(1016, 3), "not zeroes");
	expect_eq("discard", do_range(&disk, discard, 1024, 8, 0), VIRTIO_BLK_S_OK);
	expect("discard.read", reads_zero(1024, 8), "not zeroes");
	check_read(&disk, "ranges.before", 999, buf, 512);
	check_read(&disk, "ranges.between", 1019, buf, 5 * 512);
	check_read(&disk, "ranges.behind", 1032, buf, 512);

	expect_eq("discard.unmap-flag", do_range(&disk, discard, 1040, 8, unmap),
		  VIRTIO_BLK_S_UNSUPP);
	expect_eq("zeroes.unknown-flag", do_range(&disk, zeroes, 1040, 8, 0x80),
		  VIRTIO_BLK_S_UNSUPP);
	expect_eq("zeroes.nothing", do_range(&disk, zeroes, 1040, 0, 0), VIRTIO_BLK_S_IOERR);
	expect_eq("zeroes.beyond", do_range(&disk, zeroes, DISK_SECTORS - 1, 2, 0),
		  VIRTIO_BLK_S_IOERR);
	expect_eq("discard.beyond", do_range(&disk, discard, DISK_SECTORS, 1, 0),
		  VIRTIO_BLK_S_IOERR);
	expect_eq("discard.wrap", do_range(&disk, discard, ~0ull, 1, 0), VIRTIO_BLK_S_IOERR);
	expect_eq("discard.wrap-bytes", do_range(&disk, discard, 1ull << 55, 1, 0),
		  VIRTIO_BLK_S_IOERR);
	expect_eq("discard.huge", do_range(&disk, discard, 0, 0xffffffff, 0), VIRTIO_BLK_S_IOERR);
	expect_eq("discard.short", blk_request(&disk, discard, 0, buf, 15), VIRTIO_BLK_S_IOERR);
	expect_eq("discard.two", blk_request(&disk, discard, 0, buf, 32), VIRTIO_BLK_S_IOERR);
	check_read(&disk, "ranges.refused", 1040, buf, 4096);
}

static void expect_refused(const char *name, uint32_t type, uint64_t sector, uint32_t len)
{
	memset(buf, 0x5a, 4096);
	uint8_t status = blk_request(&disk, type, sector, buf, len);

	if (status != VIRTIO_BLK_S_IOERR)
		fail(name, "status %u", status);
	else
		expect(name, buf[0] == 0x5a && buf[511] == 0x5a, "the buffer was written");
}

static void check_refusals(void)
{
	expect_eq("unknown-type", blk_request(&disk, 77, 0, buf, 512), VIRTIO_BLK_S_UNSUPP);
	expect_refused("beyond.read", VIRTIO_BLK_T_IN, DISK_SECTORS, 512);
	expect_refused("beyond.read-partly", VIRTIO_BLK_T_IN, DISK_SECTORS - 1, 1024);
	expect_refused("beyond.read-last-number", VIRTIO_BLK_T_IN, ~0ull, 512);
	expect_refused("beyond.read-wrap", VIRTIO_BLK_T_IN, 1ull << 55, 512);
	expect_refused("beyond.read-sign", VIRTIO_BLK_T_IN, 1ull << 54, 512);
	expect_refused("beyond.write", VIRTIO_BLK_T_OUT, DISK_SECTORS, 512);
	expect_refused("beyond.write-partly", VIRTIO_BLK_T_OUT, DISK_SECTORS - 1, 1024);
	expect_refused("beyond.write-last-number", VIRTIO_BLK_T_OUT, ~0ull, 512);
	expect_refused("beyond.write-wrap", VIRTIO_BLK_T_OUT, (1ull << 55) + 8, 512);
	expect_refused("part-of-a-sector.read", VIRTIO_BLK_T_IN, 0, 511);
	expect_refused("part-of-a-sector.write", VIRTIO_BLK_T_OUT, 0, 513);

	/* A header that is too short for one. */
	blk_header(&disk, VIRTIO_BLK_T_IN, 0);
	vq_desc(&disk.q, 0, disk.hdr, 15, VRING_DESC_F_NEXT, 1);
	vq_desc(&disk.q, 1, disk.status, 1, VRING_DESC_F_WRITE, 0);
	expect_eq("short-header", blk_submit(&disk, 0), VIRTIO_BLK_S_IOERR);
	/* Status alone. */
	*disk.status = BLK_NO_ANSWER;
	vq_desc(&disk.q, 0, disk.status, 1, VRING_DESC_F_WRITE, 0);
	expect_eq("no-header", blk_submit(&disk, 0), VIRTIO_BLK_S_IOERR);
	check_read(&disk, "after-refusals", 0, buf, 512);
}

/* FLUSH is not negotiated, DISCARD is not: writes go through, discards are not understood. */
static void check_few_features(void)
{
	expect("few.start", blk_start(&disk, 0, 8), "the device refuses its driver");
	check_write(&disk, "few.write", 140, buf, 6, 512);
	expect_eq("few.discard", do_range(&disk, VIRTIO_BLK_T_DISCARD, 0, 8, 0),
		  VIRTIO_BLK_S_UNSUPP);
	expect_eq("few.zeroes", do_range(&disk, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0),
		  VIRTIO_BLK_S_UNSUPP);
	check_read(&disk, "few.read", 0, buf, 4096);
}

static void check_read_only(void)
{
	expect("ro.start", blk_start(&ro, FEATURE(VIRTIO_BLK_F_FLUSH), 8),
	       "the device refuses its driver");
	check_read(&ro, "ro.read", 8, buf, 4096);
	blk_fill(buf, 9, 512);
	expect_eq("ro.write", blk_request(&ro, VIRTIO_BLK_T_OUT, 0, buf, 512), VIRTIO_BLK_S_IOERR);
	expect_eq("ro.discard", do_range(&ro, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	expect_eq("ro.zeroes", do_range(&ro, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0),
		  VIRTIO_BLK_S_UNSUPP);
	expect_eq("ro.flush", blk_request(&ro, VIRTIO_BLK_T_FLUSH, 0, NULL, 0), VIRTIO_BLK_S_OK);
	check_read(&ro, "ro.unchanged", 0, buf, 512);
	/* A driver that insists on features that only a writable disk has. */
	expect("ro.features", !vdev_begin(&ro.dev, FEATURE(VIRTIO_BLK_F_DISCARD)),
	       "the device agreed to what it had not offered");
}

static void check_odd_size(void)
{
	expect("odd.start", blk_start(&odd, FEATURE(VIRTIO_BLK_F_FLUSH), 8),
	       "the device refuses its driver");
	check_read(&odd, "odd.read-last", 2047, buf, 512);
	expect_eq("odd.read-beyond", blk_request(&odd, VIRTIO_BLK_T_IN, 2048, buf, 512),
		  VIRTIO_BLK_S_IOERR);
	check_write(&odd, "odd.write-last", 2047, buf, 10, 512);
}

static bool irr(uint8_t vector)
{
	return read32(LAPIC_IRR + vector / 32 * 0x10) >> vector % 32 & 1;
}

/* KVM delivers from a work queue, so it may take a moment after the status shows it. */
static bool wait_irr(uint8_t vector)
{
	for (unsigned int i = 0; i < PATIENCE; i++) {
		if (irr(vector))
			return true;
		relax();
	}
	return false;
}

/* Route the disk's pin to @vector. Interrupts are off, so it stays where the LAPIC requests it. */
static void route(uint8_t vector)
{
	write32(LAPIC_SVR, 0x1ff);
	write32(IOAPIC_INDEX, 0x10 + 2 * DISK_PIN + 1);
	write32(IOAPIC_DATA, 0);
	write32(IOAPIC_INDEX, 0x10 + 2 * DISK_PIN);
	write32(IOAPIC_DATA, vector);
}

static uint32_t interrupt_status(void)
{
	return reg_read(&disk.dev, VIRTIO_MMIO_INTERRUPT_STATUS);
}

/* Together with another bit: alone, it ends in the kernel, which leaves it shown (vm.c). */
static void acknowledge(void)
{
	reg_write(&disk.dev, VIRTIO_MMIO_INTERRUPT_ACK,
		  interrupt_status() | VIRTIO_MMIO_INT_CONFIG);
}

static void check_interrupts(void)
{
	expect("irq.start", blk_start(&disk, features, 8), "the device refuses its driver");
	expect_eq("irq.none", interrupt_status(), 0);
	route(0x41);
	blk_request(&disk, VIRTIO_BLK_T_IN, 0, buf, 512);
	expect("irq.barrier", barrier(), "the loop is stuck");
	expect_eq("irq.status", interrupt_status(), VIRTIO_MMIO_INT_VRING);
	expect("irq.delivered", wait_irr(0x41), "the local APIC did not see it");
	/* An acknowledgement of what is not pending takes nothing back. */
	reg_write(&disk.dev, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG | 0xfffffff0);
	expect_eq("irq.other-acknowledged", interrupt_status(), VIRTIO_MMIO_INT_VRING);
	acknowledge();
	expect_eq("irq.acknowledged", interrupt_status(), 0);

	disk.q.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	route(0x42);
	blk_request(&disk, VIRTIO_BLK_T_IN, 0, buf, 512);
	barrier();
	expect_eq("irq.unwanted", interrupt_status(), 0);
	expect("irq.unwanted-quiet", !irr(0x42), "an interrupt came that was not wanted");
	disk.q.avail->flags = 0;
}

static void check_event_idx(void)
{
	expect("event.start", blk_start(&disk, features | F_EVENT_IDX, 8),
	       "the device refuses its driver");
	route(0x43);
	*vq_used_event(&disk.q) = 2;
	for (int i = 0; i < 2; i++)
		blk_request(&disk, VIRTIO_BLK_T_IN, 0, buf, 512);
	barrier();
	expect_eq("event.quiet", interrupt_status(), 0);
	expect_eq("event.avail", *vq_avail_event(&disk.q), 2);
	blk_request(&disk, VIRTIO_BLK_T_IN, 0, buf, 512);
	barrier();
	expect_eq("event.passed", interrupt_status(), VIRTIO_MMIO_INT_VRING);
	expect("event.delivered", wait_irr(0x43), "the local APIC did not see it");
	acknowledge();
	blk_request(&disk, VIRTIO_BLK_T_IN, 0, buf, 512);
	barrier();
	expect_eq("event.over", interrupt_status(), 0);
	/* Flags are not looked at when event indices are in use (2.7.7.1). */
	disk.q.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	*vq_used_event(&disk.q) = 4;
	blk_request(&disk, VIRTIO_BLK_T_IN, 0, buf, 512);
	barrier();
	expect_eq("event.not-flags", interrupt_status(), VIRTIO_MMIO_INT_VRING);
	disk.q.avail->flags = 0;
	expect_eq("event.avail-again", *vq_avail_event(&disk.q), 5);
}

/* A request with its own header, status and indirect table. */
struct slot {
	struct vring_desc table[3];
	struct virtio_blk_outhdr hdr;
	uint8_t status;
} __attribute__((aligned(16)));

static void slot_fill(struct slot *s, const struct vq *q, uint16_t head, uint32_t type,
		      uint64_t sector, void *data, uint32_t len)
{
	uint16_t write = type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0;

	s->hdr = (struct virtio_blk_outhdr){ .type = type, .sector = sector };
	s->status = BLK_NO_ANSWER;
	s->table[0] = (struct vring_desc){ (uintptr_t)&s->hdr, 16, VRING_DESC_F_NEXT, 1 };
	s->table[1] = (struct vring_desc){ (uintptr_t)data, len, VRING_DESC_F_NEXT | write, 2 };
	s->table[2] = (struct vring_desc){ (uintptr_t)&s->status, 1, VRING_DESC_F_WRITE, 0 };
	vq_desc(q, head, s->table, sizeof(s->table), VRING_DESC_F_INDIRECT, 0);
}

static void check_indirect(void)
{
	struct slot *s = alloc(sizeof(*s), 16);
	struct vring_desc *table = alloc(256 * sizeof(*table), 16);

	expect("indirect.start", blk_start(&disk, features | F_INDIRECT, 16),
	       "the device refuses its driver");
	memset(buf, 0, 4096);
	slot_fill(s, &disk.q, 7, VIRTIO_BLK_T_IN, 24, buf, 4096);
	vq_submit(&disk.q, 7);
	expect("indirect.read",
	       vq_wait(&disk.q, 1) && vq_take(&disk.q).len == 4097 &&
		       s->status == VIRTIO_BLK_S_OK && blk_is_pattern(buf, 24, 4096),
	       "not the disk's bytes");

	/* As many segments as are offered: header, 254 of 16 bytes, status. */
	blk_header(&disk, VIRTIO_BLK_T_IN, 60);
	memset(buf, 0, 4096);
	table[0] = (struct vring_desc){ (uintptr_t)disk.hdr, 16, VRING_DESC_F_NEXT, 1 };
	for (uint16_t i = 1; i < 255; i++)
		table[i] = (struct vring_desc){ (uintptr_t)buf + 16u * (i - 1u), 16,
						VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
						(uint16_t)(i + 1) };
	table[254].len = 7 * 512 + 512 - 253 * 16;
	table[255] = (struct vring_desc){ (uintptr_t)disk.status, 1, VRING_DESC_F_WRITE, 0 };
	vq_desc(&disk.q, 3, table, 256 * sizeof(*table), VRING_DESC_F_INDIRECT, 0);
	expect_eq("indirect.many", blk_submit(&disk, 3), VIRTIO_BLK_S_OK);
	expect("indirect.many-bytes", blk_is_pattern(buf, 60, 4096), "not the disk's bytes");

	/* Direct descriptors, and an indirect table as the last one. */
	blk_header(&disk, VIRTIO_BLK_T_IN, 70);
	table[0] = (struct vring_desc){ (uintptr_t)buf, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
					1 };
	table[1] = (struct vring_desc){ (uintptr_t)disk.status, 1, VRING_DESC_F_WRITE, 0 };
	vq_desc(&disk.q, 4, disk.hdr, 16, VRING_DESC_F_NEXT, 5);
	vq_desc(&disk.q, 5, table, 32, VRING_DESC_F_INDIRECT, 0);
	expect("indirect.last",
	       blk_submit(&disk, 4) == VIRTIO_BLK_S_OK && blk_is_pattern(buf, 70, 512),
	       "not the disk's bytes");
}

/*
 * @n requests of @len bytes at once in queue @q, into or out of @data, each to be answered once and
 * well. Returns false with a line printed where not.
 */
static bool run_batch(const char *name, struct vq *q, struct slot *slots, uint16_t n)
{
	static uint8_t seen[256];

	memset(seen, 0, sizeof(seen));
	for (uint16_t i = 0; i < n; i++)
		vq_put(q, i);
	vq_publish(q);
	vq_kick(q);
	if (!vq_wait(q, n)) {
		fail(name, "only %u of %u came back", (uint16_t)(q->used->idx - q->used_idx), n);
		return false;
	}
	for (uint16_t i = 0; i < n; i++) {
		struct vring_used_elem e = vq_take(q);

		if (e.id >= n || seen[e.id]++ || slots[e.id].status != VIRTIO_BLK_S_OK) {
			fail(name, "request %u came back twice or with status %u", e.id,
			     e.id < n ? slots[e.id].status : 0);
			return false;
		}
	}
	return true;
}

static void check_many(struct blk *b, const char *name, uint16_t n, uint32_t len, uint64_t sector,
		       uint32_t seed)
{
	struct slot *slots = alloc(n * sizeof(*slots), 16);
	uint8_t *data = alloc((size_t)n * len, 4096);
	struct vq *q = &b->q;

	for (uint16_t i = 0; i < n; i++) {
		blk_fill(data + (size_t)i * len, seed + i, len);
		slot_fill(&slots[i], q, i, VIRTIO_BLK_T_OUT, sector + i * (len / SECTOR),
			  data + (size_t)i * len, len);
	}
	if (!run_batch(name, q, slots, n))
		return;
	/* Read back in another order than written. */
	memset(data, 0, (size_t)n * len);
	for (uint16_t i = 0; i < n; i++) {
		uint16_t k = (uint16_t)(i * 5u % n);

		slot_fill(&slots[i], q, i, VIRTIO_BLK_T_IN, sector + k * (len / SECTOR),
			  data + (size_t)k * len, len);
	}
	if (!run_batch(name, q, slots, n))
		return;
	for (uint16_t i = 0; i < n; i++) {
		if (!blk_is_filled(data + (size_t)i * len, seed + i, len)) {
			fail(name, "block %u does not read back", i);
			return;
		}
	}
	ok(name);
}

/* Slow and fast ones together: whatever comes first, each answer belongs to its request. */
static void check_order(void)
{
	struct slot *slots = alloc(8 * sizeof(*slots), 16);
	uint8_t *data = alloc(8 * 4096, 4096);

	for (uint16_t i = 0; i < 8; i++) {
		slot_fill(&slots[i], &disk.q, i, i % 2 ? VIRTIO_BLK_T_GET_ID : VIRTIO_BLK_T_IN,
			  8u * i, data + 4096u * i, i % 2 ? 20 : 4096);
		if (i % 2)
			slots[i].table[1].flags |= VRING_DESC_F_WRITE;
	}
	if (!run_batch("order", &disk.q, slots, 8))
		return;
	for (uint16_t i = 0; i < 8; i++) {
		bool good = i % 2 ? !memcmp(data + 4096u * i, "payload-0", 10)
				  : blk_is_pattern(data + 4096u * i, 8u * i, 4096);

		if (!good) {
			fail("order", "request %u has another's bytes", i);
			return;
		}
	}
	ok("order");
}

static void check_queues(void)
{
	struct vq queues[4];
	struct slot *slots = alloc(4 * 8 * sizeof(*slots), 16);
	uint8_t *data = alloc(4 * 8 * 4096, 4096);
	bool good = vdev_begin(&disk.dev, features | F_INDIRECT | FEATURE(VIRTIO_BLK_F_MQ));

	for (uint16_t i = 0; i < 4; i++)
		good &= vq_init(&queues[i], &disk.dev, i, (uint16_t)(8u << i));
	expect("queues.ready", good, "not all four");
	vdev_go(&disk.dev);
	for (uint16_t k = 0; k < 32; k++) {
		slot_fill(&slots[k], &queues[k % 4], k / 4, VIRTIO_BLK_T_IN, 200 + 8u * k,
			  data + 4096u * k, 4096);
		vq_put(&queues[k % 4], k / 4);
	}
	for (int i = 0; i < 4; i++)
		vq_publish(&queues[i]);
	for (int i = 3; i >= 0; i--)
		vq_kick(&queues[i]);
	for (int i = 0; i < 4; i++)
		good &= vq_wait(&queues[i], 8);
	expect("queues.answered", good, "a queue is silent");
	for (uint16_t k = 0; k < 32 && good; k++)
		good = slots[k].status == VIRTIO_BLK_S_OK &&
		       blk_is_pattern(data + 4096u * k, 200 + 8u * k, 4096);
	expect("queues.bytes", good, "not the disk's bytes");
}

void payload_main(void)
{
	if (!blk_find(&disk, 0) || !blk_find(&ro, 1) || !blk_find(&odd, 2) || !blk_find(&one, 3) ||
	    !vdev_find(&rng, VIRTIO_ID_RNG, 0) || !vdev_begin(&rng, 0) ||
	    !vq_init(&rng_q, &rng, 0, 8)) {
		fail("devices", "not all there");
		return;
	}
	vdev_go(&rng);
	buf = alloc(3 * 4096, 4096);
	features = disk.dev.offered & WRITE_FEATURES;
	check_config();
	expect("start", blk_start(&disk, features, 8), "the device refuses its driver");
	check_transfers();
	check_layouts();
	check_get_id();
	check_ranges();
	check_refusals();
	check_few_features();
	check_read_only();
	check_odd_size();
	check_interrupts();
	check_event_idx();
	check_indirect();
	expect("many.start", blk_start(&disk, features | F_INDIRECT, 256),
	       "the device refuses its driver");
	check_many(&disk, "many.32", 32, 4096, 2048, 32);
	check_order();
	/* As many as the queue has room for; and as many as the whole device has. */
	check_many(&disk, "many.256", 256, 512, 4096, 256);
	expect("one.start", blk_start(&one, FEATURE(VIRTIO_BLK_F_FLUSH) | F_INDIRECT, 256),
	       "the device refuses its driver");
	check_many(&one, "many.all", 256, 512, 0, 512);
	check_queues();
}
