// SPDX-License-Identifier: Apache-2.0
#include "device/blk.h"

#include <criterion/criterion.h>
#include <linux/virtio_blk.h>

#include "fake_disk.h"

#define SECTOR  512u
#define SECTORS (FAKE_BYTES / SECTOR)
#define RING    256
#define SLOT    64u /* bytes of guest memory for a request's header and status */
#define UNSET   0xee
#define ALL     UINT64_MAX
#define HDR     ((uint32_t)sizeof(struct virtio_blk_outhdr))
#define BIT(n)  (1ull << (n))

/* There in a build with the address sanitizer; criterion ends tests without the check at exit. */
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static struct {
	struct loop *loop;
	struct guest_mem mem;
	struct fake_disk disk;
	struct virtio_device *dev;
	struct guest_transport transport;
	struct guest_clock clock;
	struct guest_queue gq[4];
	uint64_t headers; /* RING slots of SLOT bytes for each queue */
	uint64_t tables;
	uint64_t data;
	bool event_idx;
	struct limits limits;
	struct limiter *limiter;
} w;

/* Time as the limiter sees it. */
static uint64_t now = 1000000000;

static uint64_t fake_clock(void)
{
	return now;
}

static void device_start(uint64_t features)
{
	uint64_t at = 1 << 20;

	for (unsigned int i = 0; i < w.dev->nqueues; i++) {
		at = guest_queue_init(&w.gq[i], &w.mem, at, RING);
		cr_assert_eq(guest_queue_enable(&w.gq[i], &w.dev->queues[i], w.event_idx), 0);
	}
	w.headers = at;
	w.tables = w.headers + 4 * RING * SLOT;
	w.data = w.tables + (1 << 20);
	w.dev->features = features & w.dev->features_offered;
	virtio_device_start(w.dev);
}

/* Make the device over w.disk as the test has it by now. */
static void device_make(unsigned int nqueues, const char *serial)
{
	cr_assert_eq(guest_mem_init(&w.mem, GUEST_RAM_MIN), 0);
	cr_assert_eq(loop_new(&w.loop, 64), 0);
	cr_assert_eq(limiter_new(&w.limits, fake_clock, &w.limiter), 0);
	cr_assert_eq(blk_new(w.loop, &w.mem,
			     &(struct blk_spec){ .disk = &w.disk.disk,
						 .nqueues = nqueues,
						 .serial = serial,
						 .name = "blk0",
						 .limiter = w.limiter },
			     &w.dev),
		     0);
	guest_transport_attach(&w.transport, w.dev);
	guest_clock_init(&w.clock, w.loop);
}

static void setup_disk(void)
{
	fake_disk_init(&w.disk, FAKE_BYTES);
	for (uint32_t i = 0; i < FAKE_BYTES; i++)
		w.disk.data[i] = (uint8_t)(i / SECTOR * 7 + i);
}

static void setup(void)
{
	setup_disk();
	device_make(1, "serial");
	device_start(ALL);
}

static void teardown(void)
{
	guest_device_reset(w.dev);
	w.dev->ops->free(w.dev);
	cr_assert(w.disk.freed);
	loop_free(w.loop);
	guest_mem_deinit(&w.mem);
	if (__lsan_do_recoverable_leak_check)
		cr_assert_eq(__lsan_do_recoverable_leak_check(), 0);
}

/* The suite blk has a device; blk_made makes its own, of a disk of its own. */
TestSuite(blk, .init = setup, .fini = teardown, .timeout = 60);
TestSuite(blk_made, .init = setup_disk, .fini = teardown, .timeout = 60);

/* ---- requests ---- */

struct request {
	uint16_t head;
	uint64_t hdr;
	uint64_t status;
};

/* Where the next request of queue @i has its header; its status is at the slot's end. */
static struct request request_at(unsigned int i, uint32_t type, uint64_t sector)
{
	const struct guest_queue *gq = &w.gq[i];
	uint16_t head = gq->free[gq->nfree - 1];
	uint64_t slot = w.headers + (i * RING + head) * (uint64_t)SLOT;
	struct virtio_blk_outhdr hdr = { .type = htole32(type), .sector = htole64(sector) };

	memcpy(guest_at(&w.mem, slot, HDR), &hdr, HDR);
	*(uint8_t *)guest_at(&w.mem, slot + SLOT - 1, 1) = UNSET;
	return (struct request){ head, slot, slot + SLOT - 1 };
}

static uint8_t status_of(const struct request *r)
{
	return *(uint8_t *)guest_at(&w.mem, r->status, 1);
}

/* Header, @len bytes at w.data + @off, status; not published. */
static struct request add(unsigned int i, uint32_t type, uint64_t sector, uint64_t off,
			  uint32_t len)
{
	struct request r = request_at(i, type, sector);
	bool to_guest = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
	struct guest_seg segs[3] = { { r.hdr, HDR, false },
				     { w.data + off, len, to_guest },
				     { r.status, 1, true } };

	guest_queue_add(&w.gq[i], segs, 3);
	return r;
}

/* Kick and see the loop's turn to its end, where the interrupts are. */
static void kick(unsigned int i)
{
	guest_queue_publish(&w.gq[i]);
	virtio_device_kick(w.dev, i);
	guest_clock_turn(&w.clock, 1);
}

static void release(unsigned int n, int result)
{
	fake_disk_release(&w.disk, n, result);
	guest_clock_turn(&w.clock, 1);
}

static void expect_used(const struct request *r, uint32_t written)
{
	uint16_t head;
	uint32_t len;

	cr_assert(guest_queue_used(&w.gq[0], &head, &len));
	cr_assert_eq(head, r->head);
	cr_assert_eq(len, written);
}

/* Send one and return its status. */
static uint8_t ask(uint32_t type, uint64_t sector, uint32_t len)
{
	struct request r = add(0, type, sector, 0, len);
	uint32_t written = 1;

	kick(0);
	if (status_of(&r) == VIRTIO_BLK_S_OK && type == VIRTIO_BLK_T_IN)
		written += len;
	expect_used(&r, written);
	return status_of(&r);
}

static void expect_refused(uint32_t type, uint64_t sector, uint32_t len, uint8_t status)
{
	unsigned int before = w.disk.submitted;

	cr_assert_eq(ask(type, sector, len), status, "type %u, sector %#llx, %u bytes", type,
		     (unsigned long long)sector, len);
	cr_assert_eq(w.disk.submitted, before, "the disk has heard of it");
}

static uint8_t *data_at(uint64_t off)
{
	return guest_at(&w.mem, w.data + off, 1);
}

/* ---- what the driver sees ---- */

static struct virtio_blk_config config(void)
{
	struct virtio_blk_config c;

	cr_assert_eq(w.dev->config_size, sizeof(c));
	w.dev->ops->config_read(w.dev, 0, &c, sizeof(c));
	return c;
}

Test(blk, config)
{
	struct virtio_blk_config c = config();
	uint16_t blk_size;

	cr_assert_eq(w.dev->id, 2);
	cr_assert_eq(le64toh(c.capacity), SECTORS);
	cr_assert_eq(le32toh(c.seg_max), VIRTQ_CHAIN_MAX - 2);
	cr_assert_eq(le32toh(c.blk_size), 512);
	cr_assert_eq(c.physical_block_exp, 3);
	cr_assert_eq(le32toh(c.max_discard_seg), 1);
	cr_assert_eq(le32toh(c.max_write_zeroes_seg), 1);
	cr_assert_eq(c.write_zeroes_may_unmap, 1);
	cr_assert_eq(w.dev->features_offered,
		     BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_BLK_SIZE) |
			     BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_TOPOLOGY) |
			     BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES) |
			     BIT(32) /* VERSION_1 */ | BIT(VIRTIO_RING_F_INDIRECT_DESC) |
			     BIT(VIRTIO_RING_F_EVENT_IDX));
	w.dev->ops->config_read(w.dev, offsetof(struct virtio_blk_config, blk_size), &blk_size, 2);
	cr_assert_eq(le16toh(blk_size), 512);
}

Test(blk_made, config_of_a_read_only_disk)
{
	w.disk.disk.read_only = true;
	device_make(1, "");
	cr_assert(w.dev->features_offered & BIT(VIRTIO_BLK_F_RO));
	cr_assert_not(w.dev->features_offered & BIT(VIRTIO_BLK_F_DISCARD));
	cr_assert_not(w.dev->features_offered & BIT(VIRTIO_BLK_F_WRITE_ZEROES));
	device_start(ALL);
}

Test(blk_made, config_of_an_odd_disk)
{
	w.disk.disk.capacity = FAKE_BYTES - 1;
	w.disk.disk.block_size = 4096;
	w.disk.disk.can_discard = false;
	w.disk.disk.can_write_zeroes = false;
	device_make(4, "");

	struct virtio_blk_config c = config();

	cr_assert_eq(le64toh(c.capacity), SECTORS - 1, "whole sectors only");
	cr_assert_eq(le32toh(c.blk_size), 4096);
	cr_assert_eq(c.physical_block_exp, 0);
	cr_assert(w.dev->features_offered & BIT(VIRTIO_BLK_F_MQ));
	cr_assert_eq(le16toh(c.num_queues), 4);
	cr_assert_eq(w.dev->nqueues, 4);
	cr_assert_not(w.dev->features_offered & BIT(VIRTIO_BLK_F_DISCARD));
	cr_assert_not(w.dev->features_offered & BIT(VIRTIO_BLK_F_WRITE_ZEROES));
	device_start(ALL);
}

/* ---- reads and writes ---- */

Test(blk, reads)
{
	memset(data_at(0), 0, 4096);
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 5, 4096), VIRTIO_BLK_S_OK);
	cr_assert_eq(memcmp(data_at(0), w.disk.data + 5 * SECTOR, 4096), 0);
	cr_assert(w.disk.last.op == DISK_READ && w.disk.last.offset == 5 * SECTOR);
}

Test(blk, writes)
{
	for (int i = 0; i < 1024; i++)
		data_at(0)[i] = (uint8_t)(i * 3);
	cr_assert_eq(ask(VIRTIO_BLK_T_OUT, 9, 1024), VIRTIO_BLK_S_OK);
	cr_assert_eq(memcmp(data_at(0), w.disk.data + 9 * SECTOR, 1024), 0);
	cr_assert_eq(w.disk.data[9 * SECTOR - 1], (uint8_t)(8 * 7 + 9 * SECTOR - 1));
}

/* Send @segs and hold the outcome against the disk. */
static void expect_layout(uint32_t type, const struct request *r, const struct guest_seg *segs,
			  unsigned int n, bool indirect)
{
	uint16_t head = indirect ? guest_queue_add_indirect(&w.gq[0], w.tables, segs, n)
				 : guest_queue_add(&w.gq[0], segs, n);

	cr_assert_eq(head, r->head);
	memset(w.disk.data + 3 * SECTOR, type == VIRTIO_BLK_T_IN ? 0x77 : 0, 1024);
	kick(0);
	expect_used(r, type == VIRTIO_BLK_T_IN ? 1025 : 1);
	cr_assert_eq(status_of(r), VIRTIO_BLK_S_OK);
	cr_assert_eq(w.disk.data[3 * SECTOR], 0x77);
	cr_assert_eq(w.disk.data[3 * SECTOR + 1023], 0x77);
	cr_assert_eq(*(uint8_t *)guest_at(&w.mem, r->hdr + HDR, 1), 0x77);
	cr_assert_eq(*(uint8_t *)guest_at(&w.mem, r->hdr + HDR + 1023, 1), 0x77);
}

/* 2.7.4.1: the framing of a request means nothing. It lies in one piece here, cut anywhere. */
static struct request lay_out(uint32_t type)
{
	struct request r = request_at(0, type, 3);
	uint64_t at = w.data + 0x10000;

	memcpy(guest_at(&w.mem, at, HDR), guest_at(&w.mem, r.hdr, HDR), HDR);
	memset(guest_at(&w.mem, at + HDR, 1024), type == VIRTIO_BLK_T_IN ? 0 : 0x77, 1024);
	r.hdr = at;
	r.status = at + HDR + 1024;
	*(uint8_t *)guest_at(&w.mem, r.status, 1) = UNSET;
	return r;
}

Test(blk, layouts_of_a_read)
{
	for (int indirect = 0; indirect < 2; indirect++) {
		for (uint32_t cut = 0; cut <= HDR; cut++) {
			for (uint32_t end = 0; end <= 1025; end += 205) {
				struct request r = lay_out(VIRTIO_BLK_T_IN);
				struct guest_seg segs[] = {
					{ r.hdr, cut, false },
					{ r.hdr + cut, HDR - cut, false },
					/* the last of them holds the status byte */
					{ r.hdr + HDR, end, true },
					{ r.hdr + HDR + end, 1025 - end, true },
				};

				expect_layout(VIRTIO_BLK_T_IN, &r, segs, 4, indirect);
			}
		}
	}
}

Test(blk, layouts_of_a_write)
{
	for (int indirect = 0; indirect < 2; indirect++) {
		for (uint32_t cut = 0; cut <= HDR + 1024; cut += 8) {
			struct request r = lay_out(VIRTIO_BLK_T_OUT);
			struct guest_seg segs[] = {
				{ r.hdr, cut, false },
				{ r.hdr + cut, HDR + 1024 - cut, false },
				{ r.status, 1, true },
			};

			expect_layout(VIRTIO_BLK_T_OUT, &r, segs, 3, indirect);
		}
	}
}

/* One byte a descriptor, as many as a chain may have. */
Test(blk, layout_of_crumbs)
{
	struct guest_seg segs[VIRTQ_CHAIN_MAX];
	struct request r = request_at(0, VIRTIO_BLK_T_OUT, 0);
	unsigned int n = 0;

	for (uint32_t i = 0; i < HDR; i++)
		segs[n++] = (struct guest_seg){ r.hdr + i, 1, false };
	while (n < VIRTQ_CHAIN_MAX - 2)
		segs[n++] = (struct guest_seg){ w.data, 1, false };
	segs[n] = (struct guest_seg){ w.data, 512 - (n - HDR), false };
	n++;
	segs[n++] = (struct guest_seg){ r.status, 1, true };
	guest_queue_add_indirect(&w.gq[0], w.tables, segs, n);
	kick(0);
	expect_used(&r, 1);
	cr_assert_eq(status_of(&r), VIRTIO_BLK_S_OK);
	cr_assert_eq(w.disk.last.len, 512);
	cr_assert_eq(w.disk.last.niov, VIRTQ_CHAIN_MAX - 1 - HDR);
}

/* What is writable in a write, or readable in a read, is nobody's data. */
Test(blk, data_of_the_wrong_direction)
{
	struct request r = request_at(0, VIRTIO_BLK_T_OUT, 0);
	struct guest_seg segs[] = { { r.hdr, HDR, false },
				    { w.data, 512, true },
				    { r.status, 1, true } };

	guest_queue_add(&w.gq[0], segs, 3);
	kick(0);
	expect_used(&r, 1);
	cr_assert_eq(w.disk.submitted, 0, "a write of nothing");

	r = request_at(0, VIRTIO_BLK_T_IN, 0);
	segs[0] = (struct guest_seg){ r.hdr, HDR, false };
	segs[1] = (struct guest_seg){ w.data, 512, false };
	segs[2] = (struct guest_seg){ r.status, 1, true };
	guest_queue_add(&w.gq[0], segs, 3);
	kick(0);
	expect_used(&r, 1);
	cr_assert_eq(w.disk.submitted, 0, "a read of nothing");
}

/* ---- bounds ---- */

Test(blk, bounds)
{
	static const uint64_t far[] = { SECTORS,        SECTORS + 1,      1ull << 32,
					1ull << 54,     1ull << 55,       (1ull << 55) - 1,
					1ull << 63,     UINT64_MAX / 512, UINT64_MAX / 512 + 1,
					UINT64_MAX - 1, UINT64_MAX,       UINT64_MAX / 2 };

	cr_assert_eq(ask(VIRTIO_BLK_T_IN, SECTORS - 1, 512), VIRTIO_BLK_S_OK);
	cr_assert_eq(ask(VIRTIO_BLK_T_OUT, SECTORS - 8, 4096), VIRTIO_BLK_S_OK);
	for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
		expect_refused(VIRTIO_BLK_T_IN, far[i], 512, VIRTIO_BLK_S_IOERR);
		expect_refused(VIRTIO_BLK_T_OUT, far[i], 4096, VIRTIO_BLK_S_IOERR);
	}
	expect_refused(VIRTIO_BLK_T_IN, SECTORS - 1, 1024, VIRTIO_BLK_S_IOERR);
	expect_refused(VIRTIO_BLK_T_OUT, SECTORS - 7, 4096, VIRTIO_BLK_S_IOERR);
	expect_refused(VIRTIO_BLK_T_OUT, 1, FAKE_BYTES, VIRTIO_BLK_S_IOERR);
}

Test(blk, part_sectors)
{
	static const uint32_t lens[] = { 1, 256, 511, 513, 1023, 4095 };

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		expect_refused(VIRTIO_BLK_T_IN, 0, lens[i], VIRTIO_BLK_S_IOERR);
		expect_refused(VIRTIO_BLK_T_OUT, 0, lens[i], VIRTIO_BLK_S_IOERR);
	}
	expect_refused(VIRTIO_BLK_T_IN, 0, 0, VIRTIO_BLK_S_OK);
	expect_refused(VIRTIO_BLK_T_OUT, SECTORS, 0, VIRTIO_BLK_S_OK);
	expect_refused(VIRTIO_BLK_T_OUT, SECTORS + 1, 0, VIRTIO_BLK_S_IOERR);
}

Test(blk_made, blocks_of_4096)
{
	w.disk.disk.block_size = 4096;
	device_make(1, "");
	device_start(ALL);
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 8, 4096), VIRTIO_BLK_S_OK);
	expect_refused(VIRTIO_BLK_T_IN, 1, 4096, VIRTIO_BLK_S_IOERR);
	expect_refused(VIRTIO_BLK_T_OUT, 8, 512, VIRTIO_BLK_S_IOERR);
}

/* The rest of a file that is no whole sector is not on the disk. */
Test(blk_made, capacity_of_part_sectors)
{
	w.disk.disk.capacity = 1024 + 511;
	device_make(1, "");
	device_start(ALL);
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 1, 512), VIRTIO_BLK_S_OK);
	expect_refused(VIRTIO_BLK_T_IN, 2, 512, VIRTIO_BLK_S_IOERR);
}

Test(blk_made, read_only)
{
	w.disk.disk.read_only = true;
	device_make(1, "");
	device_start(ALL);
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	expect_refused(VIRTIO_BLK_T_OUT, 0, 512, VIRTIO_BLK_S_IOERR);
	expect_refused(VIRTIO_BLK_T_DISCARD, 0, 16, VIRTIO_BLK_S_UNSUPP);
	expect_refused(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, VIRTIO_BLK_S_UNSUPP);
	cr_assert_eq(ask(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
}

/* ---- other types ---- */

Test(blk, unknown_types)
{
	static const uint32_t types[] = { 2,  3,  5,  7,  9,          10,         12,
					  14, 15, 16, 99, 0x80000000, 0x80000001, UINT32_MAX };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		expect_refused(types[i], 0, 512, VIRTIO_BLK_S_UNSUPP);
}

Test(blk, flush)
{
	w.disk.hold = true;
	struct request r = add(0, VIRTIO_BLK_T_FLUSH, 77, 0, 0);

	kick(0);
	cr_assert_eq(w.disk.last.op, DISK_FLUSH);
	cr_assert_eq(status_of(&r), UNSET, "not before the disk has flushed");
	fake_disk_release(&w.disk, 1, 0);
	expect_used(&r, 1);
	cr_assert_eq(status_of(&r), VIRTIO_BLK_S_OK);
}

static void expect_id(const char *serial, uint32_t room)
{
	struct request r = request_at(0, VIRTIO_BLK_T_GET_ID, 0);
	struct guest_seg segs[] = { { r.hdr, HDR, false },
				    { w.data, room, true },
				    { r.status, 1, true } };
	char padded[VIRTIO_BLK_ID_BYTES + 1] = "";
	uint32_t len = room < VIRTIO_BLK_ID_BYTES ? room : VIRTIO_BLK_ID_BYTES;

	strncpy(padded, serial, VIRTIO_BLK_ID_BYTES);
	memset(data_at(0), UNSET, 64);
	guest_queue_add(&w.gq[0], segs, 3);
	kick(0);
	expect_used(&r, len + 1);
	cr_assert_eq(status_of(&r), VIRTIO_BLK_S_OK);
	cr_assert_eq(memcmp(data_at(0), padded, len), 0);
	cr_assert_eq(*data_at(len), UNSET, "no more than the identity");
}

Test(blk, identity)
{
	expect_id("serial", 20);
	expect_id("serial", 64);
	expect_id("serial", 3);
	expect_id("serial", 0);
}

Test(blk_made, identity_of_full_length)
{
	device_make(1, "a serial that is longer than it may be");
	device_start(ALL);
	expect_id("a serial that is longer", 20);
	expect_id("a serial that is longer", 64);
}

/* ---- discard and write-zeroes ---- */

static void put_range(uint64_t sector, uint32_t sectors, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes r = { htole64(sector), htole32(sectors),
						     htole32(flags) };

	memcpy(data_at(0), &r, sizeof(r));
}

Test(blk, discard)
{
	put_range(8, 16, 0);
	cr_assert_eq(ask(VIRTIO_BLK_T_DISCARD, 0, 16), VIRTIO_BLK_S_OK);
	cr_assert_eq(w.disk.last.op, DISK_DISCARD);
	cr_assert(w.disk.last.offset == 8 * SECTOR && w.disk.last.len == 16 * SECTOR);
	put_range(0, SECTORS, 0);
	cr_assert_eq(ask(VIRTIO_BLK_T_DISCARD, 0, 16), VIRTIO_BLK_S_OK);
	put_range(8, 16, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
	expect_refused(VIRTIO_BLK_T_DISCARD, 0, 16, VIRTIO_BLK_S_UNSUPP);
}

Test(blk, write_zeroes)
{
	put_range(8, 16, 0);
	cr_assert_eq(ask(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16), VIRTIO_BLK_S_OK);
	cr_assert_eq(w.disk.last.op, DISK_WRITE_ZEROES);
	put_range(8, 16, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
	cr_assert_eq(ask(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16), VIRTIO_BLK_S_OK);
	cr_assert_eq(w.disk.last.op, DISK_UNMAP_ZEROES);
	cr_assert(w.disk.last.offset == 8 * SECTOR && w.disk.last.len == 16 * SECTOR);
}

Test(blk, bad_ranges)
{
	static const struct {
		uint64_t sector;
		uint32_t sectors;
		uint32_t flags;
		uint8_t status;
	} cases[] = {
		{ 0, 0, 0, VIRTIO_BLK_S_IOERR },
		{ 0, SECTORS + 1, 0, VIRTIO_BLK_S_IOERR },
		{ SECTORS, 1, 0, VIRTIO_BLK_S_IOERR },
		{ SECTORS - 1, 2, 0, VIRTIO_BLK_S_IOERR },
		{ UINT64_MAX, 1, 0, VIRTIO_BLK_S_IOERR },
		{ UINT64_MAX, 2, 0, VIRTIO_BLK_S_IOERR },
		{ 1ull << 55, 1, 0, VIRTIO_BLK_S_IOERR },
		{ UINT64_MAX / 512, UINT32_MAX, 0, VIRTIO_BLK_S_IOERR },
		{ 0, UINT32_MAX, 0, VIRTIO_BLK_S_IOERR },
		{ 0, 1, 2, VIRTIO_BLK_S_UNSUPP },
		{ 0, 1, 3, VIRTIO_BLK_S_UNSUPP },
		{ 0, 1, 0x80000000, VIRTIO_BLK_S_UNSUPP },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put_range(cases[i].sector, cases[i].sectors, cases[i].flags);
		expect_refused(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, cases[i].status);
		expect_refused(VIRTIO_BLK_T_DISCARD, 0, 16, cases[i].status);
	}
}

/* One range was offered. */
Test(blk, not_one_range)
{
	static const uint32_t lens[] = { 0, 1, 15, 17, 32, 4096 };

	put_range(0, 1, 0);
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		expect_refused(VIRTIO_BLK_T_DISCARD, 0, lens[i], VIRTIO_BLK_S_IOERR);
		expect_refused(VIRTIO_BLK_T_WRITE_ZEROES, 0, lens[i], VIRTIO_BLK_S_IOERR);
	}
}

/* The limit of a range that is offered holds on a disk that is larger. */
Test(blk_made, ranges_of_a_large_disk)
{
	w.disk.disk.capacity = 1ull << 40;
	device_make(1, "");
	device_start(ALL);
	uint32_t max = le32toh(config().max_discard_sectors);

	cr_assert_eq(max, le32toh(config().max_write_zeroes_sectors));
	put_range(1ull << 30, max, 0);
	cr_assert_eq(ask(VIRTIO_BLK_T_DISCARD, 0, 16), VIRTIO_BLK_S_OK);
	cr_assert_eq(w.disk.last.offset, 1ull << 39);
	cr_assert_eq(w.disk.last.len, max * 512ull);
	put_range(1ull << 30, max + 1, 0);
	expect_refused(VIRTIO_BLK_T_DISCARD, 0, 16, VIRTIO_BLK_S_IOERR);
	expect_refused(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, VIRTIO_BLK_S_IOERR);
}

/* 5.2.6.2: what a driver cannot flush is as good as flushed when it is done. */
Test(blk, changes_are_volatile_where_they_can_be_flushed)
{
	for (int flush = 1; flush >= 0; flush--) {
		guest_device_reset(w.dev);
		device_start(flush ? ALL : ALL & ~BIT(VIRTIO_BLK_F_FLUSH));
		ask(VIRTIO_BLK_T_OUT, 0, 512);
		cr_assert_eq(w.disk.last.durable, !flush);
		put_range(0, 1, 0);
		ask(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16);
		cr_assert_eq(w.disk.last.durable, !flush);
		ask(VIRTIO_BLK_T_DISCARD, 0, 16);
		cr_assert_eq(w.disk.last.durable, !flush);
	}
}

/* What was not negotiated is not there. */
Test(blk, ranges_not_negotiated)
{
	guest_device_reset(w.dev);
	device_start(0);
	put_range(0, 1, 0);
	expect_refused(VIRTIO_BLK_T_DISCARD, 0, 16, VIRTIO_BLK_S_UNSUPP);
	expect_refused(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, VIRTIO_BLK_S_UNSUPP);
}

/* ---- malformed requests ---- */

static void restart(void)
{
	guest_device_reset(w.dev);
	device_start(ALL);
}

/* With no place for a status there is no answer. */
Test(blk, no_status)
{
	struct request r = request_at(0, VIRTIO_BLK_T_OUT, 0);
	struct guest_seg segs[] = { { r.hdr, HDR, false }, { w.data, 512, false } };

	guest_queue_add(&w.gq[0], segs, 2);
	kick(0);
	cr_assert(atomic_load(&w.dev->broken));
	cr_assert_eq(w.transport.config_signals, 1);
	cr_assert_eq(w.disk.submitted, 0);
	restart();
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);

	/* Nothing but empty segments. */
	segs[0] = (struct guest_seg){ w.data, 0, false };
	segs[1] = (struct guest_seg){ w.data, 0, true };
	guest_queue_add(&w.gq[0], segs, 2);
	kick(0);
	cr_assert(atomic_load(&w.dev->broken));
}

Test(blk, short_headers)
{
	for (uint32_t len = 0; len < HDR; len++) {
		struct request r = request_at(0, VIRTIO_BLK_T_IN, 0);
		struct guest_seg segs[] = { { r.hdr, len, false },
					    { w.data, 512, true },
					    { r.status, 1, true } };

		guest_queue_add(&w.gq[0], segs, 3);
		kick(0);
		expect_used(&r, 1);
		cr_assert_eq(status_of(&r), VIRTIO_BLK_S_IOERR);
	}
	cr_assert_eq(w.disk.submitted, 0);
}

Test(blk, ring_faults)
{
	/* What came before the fault is answered, and told of. */
	struct request r = add(0, VIRTIO_BLK_T_IN, 0, 0, 512);

	guest_queue_offer(&w.gq[0], RING);
	kick(0);
	cr_assert(atomic_load(&w.dev->broken));
	expect_used(&r, 513);
	cr_assert_eq(w.transport.queue_signals[0], 1);
	/* It is not served any more. */
	kick(0);
	cr_assert_eq(w.disk.submitted, 1);
	restart();
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
}

/* A fault while requests are in flight; they complete, or the reset waits for them. */
Test(blk, fault_with_requests_in_flight)
{
	w.disk.hold = true;
	struct request r = add(0, VIRTIO_BLK_T_IN, 0, 0, 512);

	add(0, VIRTIO_BLK_T_IN, 1, 512, 512);
	kick(0);
	guest_queue_offer(&w.gq[0], RING);
	kick(0);
	cr_assert(atomic_load(&w.dev->broken));
	fake_disk_complete(w.disk.held_at[0], w.disk.held[0], 0);
	expect_used(&r, 513);
	w.disk.held[0] = w.disk.held[1];
	w.disk.nheld = 1;
	fake_disk_release(&w.disk, 1, -EIO);
	w.disk.hold = false;
	restart();
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
}

/* ---- many at once ---- */

/* All of the ring in flight, and kicks all the same. */
Test(blk, full_ring)
{
	struct request r[RING];
	uint16_t head;
	uint32_t len;

	w.disk.hold = true;
	for (int round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < RING; i++) {
			struct request q = request_at(0, VIRTIO_BLK_T_IN, i);
			struct guest_seg segs[] = { { q.hdr, HDR, false },
						    { w.data + i * 512, 512, true },
						    { q.status, 1, true } };

			guest_queue_add_indirect(&w.gq[0], w.tables + i * 64, segs, 3);
			r[i] = q;
		}
		for (int i = 0; i < 3; i++)
			kick(0);
		guest_clock_turn(&w.clock, 5);
		cr_assert_eq(w.disk.nheld, RING);
		cr_assert_not(atomic_load(&w.dev->broken));
		/* In any order. */
		fake_disk_release(&w.disk, RING, 0);
		for (uint32_t i = RING; i-- > 0;) {
			cr_assert(guest_queue_used(&w.gq[0], &head, &len));
			cr_assert(head == r[i].head && len == 513);
			cr_assert_eq(status_of(&r[i]), VIRTIO_BLK_S_OK);
			cr_assert_eq(memcmp(data_at(i * 512), w.disk.data + i * 512, 512), 0);
		}
	}
}

/* The same head again and again cannot make us hold more than the ring has entries. */
Test(blk, resubmitted_heads)
{
	w.disk.hold = true;
	struct request r = add(0, VIRTIO_BLK_T_IN, 0, 0, 512);

	for (int i = 1; i < RING; i++)
		guest_queue_offer(&w.gq[0], r.head);
	kick(0);
	guest_clock_turn(&w.clock, 5);
	cr_assert_eq(w.disk.nheld, RING);
	guest_queue_offer(&w.gq[0], r.head);
	kick(0);
	cr_assert(atomic_load(&w.dev->broken));
	cr_assert_eq(w.disk.nheld, RING);
	fake_disk_release(&w.disk, RING, 0);
}

Test(blk_made, queues_share_nothing)
{
	device_make(4, "");
	device_start(ALL);
	w.disk.hold = true;
	for (unsigned int i = 0; i < 4; i++) {
		for (uint32_t n = 0; n < RING; n++) {
			struct request r = request_at(i, VIRTIO_BLK_T_IN, n);
			struct guest_seg segs[] = { { r.hdr, HDR, false },
						    { w.data + n * 512, 512, true },
						    { r.status, 1, true } };

			guest_queue_add_indirect(&w.gq[i], w.tables + (i * RING + n) * 64, segs, 3);
		}
		kick(i);
		guest_clock_turn(&w.clock, 3);
	}
	cr_assert_eq(w.disk.nheld, 4 * RING);
	kick(2);
	release(4 * RING, 0);
	for (unsigned int i = 0; i < 4; i++) {
		cr_assert_gt(w.transport.queue_signals[i], 0);
		cr_assert_eq(le16toh(w.gq[i].vr.used->idx), RING);
	}
}

static uint16_t endless_head;

static void publish_another(void)
{
	guest_queue_offer(&w.gq[0], endless_head);
	guest_queue_publish(&w.gq[0]);
}

/* A guest that publishes as fast as it is served does not keep the loop from everyone else. */
Test(blk, endless_guest)
{
	w.disk.on_submit = publish_another;
	endless_head = add(0, VIRTIO_BLK_T_IN, 0, 0, 512).head;
	guest_queue_publish(&w.gq[0]);
	virtio_device_kick(w.dev, 0);
	cr_assert_leq(w.disk.submitted, RING);
	for (int i = 0; i < 5; i++) {
		unsigned int before = w.disk.submitted;

		guest_clock_turn(&w.clock, 1);
		cr_assert_leq(w.disk.submitted - before, 4 * RING);
		cr_assert_gt(w.disk.submitted, before, "but it goes on");
	}
	w.disk.on_submit = NULL;
	guest_clock_turn(&w.clock, 3);
	cr_assert_not(atomic_load(&w.dev->broken));
}

/* What completes in one turn is one interrupt. */
Test(blk, signals)
{
	for (int i = 0; i < 10; i++)
		add(0, VIRTIO_BLK_T_IN, 0, 0, 512);
	kick(0);
	cr_assert_eq(w.transport.queue_signals[0], 1);
	w.disk.hold = true;
	add(0, VIRTIO_BLK_T_IN, 0, 0, 512);
	kick(0);
	cr_assert_eq(w.transport.queue_signals[0], 1, "nothing has completed");
	add(0, VIRTIO_BLK_T_IN, 0, 0, 512);
	kick(0);
	release(2, 0);
	cr_assert_eq(w.transport.queue_signals[0], 2);
	kick(0);
	cr_assert_eq(w.transport.queue_signals[0], 2);
}

/* A request that is found at the very end of a turn is told of as well. */
Test(blk, signals_of_the_last_look)
{
	for (unsigned int i = 1; i <= 5; i++) {
		virtio_device_kick(w.dev, 0);
		struct request r = add(0, VIRTIO_BLK_T_IN, 0, 0, 512);

		guest_queue_publish(&w.gq[0]);
		guest_clock_turn(&w.clock, 1);
		expect_used(&r, 513);
		cr_assert_eq(w.transport.queue_signals[0], i);
	}
}

Test(blk, signals_by_event_index)
{
	w.event_idx = true;
	restart();
	w.gq[0].vr.avail->ring[RING] = htole16(2);
	for (int i = 0; i < 2; i++) {
		add(0, VIRTIO_BLK_T_IN, 0, 0, 512);
		kick(0);
	}
	cr_assert_eq(w.transport.queue_signals[0], 0);
	add(0, VIRTIO_BLK_T_IN, 0, 0, 512);
	kick(0);
	cr_assert_eq(w.transport.queue_signals[0], 1);
}

/* Kicks are wanted again once the queue was seen empty. */
Test(blk, kicks)
{
	const uint16_t *avail_event = (const uint16_t *)(const void *)&w.gq[0].vr.used->ring[RING];

	for (int i = 0; i < 10; i++)
		add(0, VIRTIO_BLK_T_IN, 0, 0, 512);
	kick(0);
	cr_assert_eq(w.gq[0].vr.used->flags, 0);
	w.event_idx = true;
	restart();
	for (int i = 0; i < 10; i++)
		add(0, VIRTIO_BLK_T_IN, 0, 0, 512);
	kick(0);
	cr_assert_eq(le16toh(*avail_event), 10);
}

/* ---- the disk fails ---- */

Test(blk, errors_of_the_disk)
{
	static const struct {
		int result;
		uint8_t status;
	} cases[] = { { -EIO, VIRTIO_BLK_S_IOERR },
		      { -ENOSPC, VIRTIO_BLK_S_IOERR },
		      { -EINVAL, VIRTIO_BLK_S_IOERR },
		      { -EBADF, VIRTIO_BLK_S_IOERR },
		      { -EOPNOTSUPP, VIRTIO_BLK_S_UNSUPP } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		w.disk.result = cases[i].result;
		cr_assert_eq(ask(VIRTIO_BLK_T_IN, 0, 512), cases[i].status);
		cr_assert_eq(ask(VIRTIO_BLK_T_OUT, 0, 512), cases[i].status);
		cr_assert_eq(ask(VIRTIO_BLK_T_FLUSH, 0, 0), cases[i].status);
		put_range(0, 1, 0);
		cr_assert_eq(ask(VIRTIO_BLK_T_DISCARD, 0, 16), cases[i].status);
	}
	w.disk.result = 0;
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	cr_assert_not(atomic_load(&w.dev->broken), "the guest has done nothing wrong");
}

/* ---- resets ---- */

/* A reset is over when nothing can write to the guest's memory any more; nothing of it is told. */
Test(blk, reset_with_requests_in_flight)
{
	for (int round = 0; round < 3; round++) {
		struct guest_reset reset = { .dev = w.dev };
		struct request r[10];
		pthread_t thread;

		w.disk.hold = true;
		for (int i = 0; i < 10; i++)
			r[i] = add(0, i % 2 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_FLUSH, 0, 0,
				   i % 2 ? 512 : 0);
		kick(0);
		unsigned int signals = w.transport.queue_signals[0];

		cr_assert_eq(pthread_create(&thread, NULL, guest_reset_thread, &reset), 0);
		while (w.dev->running)
			guest_clock_turn(&w.clock, 1);
		for (int left = 10; left; left--) {
			guest_clock_turn(&w.clock, 2);
			cr_assert_not(reset.finished, "%d are in flight", left);
			fake_disk_release(&w.disk, 1, left % 3 ? 0 : -EIO);
		}
		while (!reset.finished)
			cr_assert_eq(loop_run_once(w.loop), 0);
		pthread_join(thread, NULL);
		for (int i = 0; i < 10; i++)
			cr_assert_eq(status_of(&r[i]), UNSET);
		cr_assert_eq(w.gq[0].vr.used->idx, 0);
		cr_assert_eq(w.transport.queue_signals[0], signals);

		virtq_reset(&w.dev->queues[0]);
		w.disk.hold = false;
		device_start(ALL);
		cr_assert_eq(ask(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
		restart();
	}
}

/* A turn that was asked for in one life is at worst one too many in the next. */
Test(blk, reset_with_a_kick_under_way)
{
	w.disk.on_submit = publish_another;
	endless_head = add(0, VIRTIO_BLK_T_IN, 0, 0, 512).head;
	kick(0);
	w.disk.on_submit = NULL;
	/* The next life begins before the loop has turned. */
	virtio_device_start(w.dev);
	guest_clock_turn(&w.clock, 5);
	restart();
	guest_clock_turn(&w.clock, 5);
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	cr_assert_not(atomic_load(&w.dev->broken));
}

/* ---- limits ---- */

#define MS 1000000ull

static void limited_make(struct limits limits, unsigned int nqueues)
{
	w.limits = limits;
	device_make(nqueues, "");
	device_start(ALL);
}

/* @n reads of a sector to queue @i. */
static void add_reads(unsigned int i, unsigned int n)
{
	for (unsigned int k = 0; k < n; k++) {
		struct request r = request_at(i, VIRTIO_BLK_T_IN, 0);
		struct guest_seg segs[] = { { r.hdr, HDR, false },
					    { w.data, 512, true },
					    { r.status, 1, true } };

		guest_queue_add_indirect(&w.gq[i], w.tables + (i * RING + w.gq[i].nfree) * 64, segs,
					 3);
	}
}

static unsigned int answered(unsigned int i)
{
	return le16toh(w.gq[i].vr.used->idx);
}

/* Turn the loop until the disk has heard of @n requests, which is by a timer. */
static void await_submitted(unsigned int n)
{
	while (w.disk.submitted < n)
		cr_assert_eq(loop_run_once(w.loop), 0);
	cr_assert_eq(w.disk.submitted, n);
}

Test(blk_made, what_the_limit_holds_back_waits_in_the_ring)
{
	limited_make((struct limits){ .ops = { 10, 1000, 2, 0 } }, 1);
	add_reads(0, 5);
	kick(0);
	cr_assert_eq(w.disk.submitted, 2);
	cr_assert_eq(answered(0), 2);
	/* Kicks do not help. */
	for (int i = 0; i < 10; i++)
		kick(0);
	cr_assert_eq(w.disk.submitted, 2);
	/* And nobody needs to kick. */
	now += 100 * MS;
	await_submitted(3);
	now += 1000 * MS;
	await_submitted(5);
	guest_clock_turn(&w.clock, 2);
	cr_assert_eq(answered(0), 5);
	cr_assert_geq(w.transport.queue_signals[0], 2);
	/* From then on it is an idle device that wants kicks. */
	cr_assert_eq(w.gq[0].vr.used->flags, 0);
	now += 1000 * MS;
	add_reads(0, 1);
	kick(0);
	cr_assert_eq(answered(0), 6);
}

/* What waits in the ring for a limit is taken when that has gone, without a kick. */
Test(blk_made, a_limit_that_goes)
{
	limited_make((struct limits){ .ops = { 1, 3600000, 2, 0 } }, 1);
	add_reads(0, 5);
	kick(0);
	cr_assert_eq(w.disk.submitted, 2);
	limiter_set(w.limiter, &(struct limits){ 0 });
	await_submitted(5);
	/* And one that comes holds what comes after it. */
	limiter_set(w.limiter, &(struct limits){ .ops = { 10, 1000, 1, 0 } });
	add_reads(0, 3);
	kick(0);
	cr_assert_eq(w.disk.submitted, 6);
}

/* A loop that cannot go on sleeps: two rounds of it take as long as a timer, if not two. */
Test(blk_made, limit_is_no_busy_loop)
{
	limited_make((struct limits){ .ops = { 1, 1000, 1, 0 } }, 1);
	add_reads(0, 3);
	kick(0);
	guest_clock_turn(&w.clock, 5);
	uint64_t begin = clock_now_ns();

	for (int i = 0; i < 2; i++)
		cr_assert_eq(loop_run_once(w.loop), 0);
	cr_assert_gt(clock_now_ns() - begin, 90 * MS);
	cr_assert_eq(w.disk.submitted, 1);
}

/* More than fits into the bucket passes, and is paid for. */
Test(blk_made, limit_of_bytes)
{
	limited_make((struct limits){ .bytes = { 65536, 1000, 8192, 0 } }, 1);
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 0, 65536), VIRTIO_BLK_S_OK);
	add_reads(0, 1);
	kick(0);
	now += 875 * MS;
	kick(0);
	cr_assert_eq(w.disk.submitted, 1, "still in debt");
	now += 1 * MS;
	kick(0);
	cr_assert_eq(w.disk.submitted, 2);
}

Test(blk_made, what_the_limits_count)
{
	limited_make(
		(struct limits){ .bytes = { 1000, 1000, 4096, 0 }, .ops = { 10, 1000, 100, 0 } },
		1);
	/* Nothing that does not move bytes takes any. */
	put_range(0, SECTORS, 0);
	cr_assert_eq(ask(VIRTIO_BLK_T_DISCARD, 0, 16), VIRTIO_BLK_S_OK);
	put_range(0, SECTORS, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
	cr_assert_eq(ask(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16), VIRTIO_BLK_S_OK);
	for (int i = 0; i < 97; i++)
		cr_assert_eq(ask(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	/* What the disk never hears of costs nothing. */
	for (int i = 0; i < 50; i++)
		cr_assert_eq(ask(VIRTIO_BLK_T_IN, SECTORS, 512), VIRTIO_BLK_S_IOERR);
	cr_assert_eq(w.disk.submitted, 99);
	/* Zeroes that are to be there are bytes. */
	put_range(0, 16, 0);
	cr_assert_eq(ask(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16), VIRTIO_BLK_S_OK);
	now += 4000 * MS;
	add_reads(0, 1);
	kick(0);
	cr_assert_eq(w.disk.submitted, 100, "in debt by 4096 bytes");
	now += 97 * MS;
	kick(0);
	cr_assert_eq(w.disk.submitted, 101);
}

/* A reset does not wait for the limit, drops what waited, and is no way around it. */
Test(blk_made, reset_of_a_limited_disk)
{
	limited_make((struct limits){ .ops = { 10, 1000, 1, 0 } }, 2);
	for (int round = 0; round < 3; round++) {
		unsigned int before = w.disk.submitted;

		add_reads(0, 5);
		add_reads(1, 5);
		kick(0);
		kick(1);
		cr_assert_eq(w.disk.submitted, before + 1);
		restart();
		guest_clock_turn(&w.clock, 3);
		add_reads(1, 1);
		kick(1);
		cr_assert_eq(w.disk.submitted, before + 1, "the bucket is as empty as before");
		now += 100 * MS;
		await_submitted(before + 2);
		restart();
		now += 100 * MS;
	}
	/* With a request in flight. */
	w.disk.hold = true;
	add_reads(0, 2);
	kick(0);
	cr_assert_eq(w.disk.nheld, 1);
	struct guest_reset reset = { .dev = w.dev };
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, guest_reset_thread, &reset), 0);
	while (w.dev->running)
		guest_clock_turn(&w.clock, 1);
	now += 1000 * MS;
	guest_clock_turn(&w.clock, 3);
	cr_assert_not(reset.finished);
	fake_disk_release(&w.disk, 1, 0);
	while (!reset.finished)
		cr_assert_eq(loop_run_once(w.loop), 0);
	pthread_join(thread, NULL);
}

/* One limit for the disk, and a turn for each of its queues. */
Test(blk_made, queues_share_a_limit)
{
	limited_make((struct limits){ .ops = { 10, 1000, 1, 0 } }, 4);
	for (unsigned int i = 0; i < 4; i++)
		add_reads(i, 8);
	for (unsigned int i = 0; i < 4; i++)
		kick(i);
	cr_assert_eq(w.disk.submitted, 1);
	for (unsigned int n = 2; n <= 13; n++) {
		now += 100 * MS;
		await_submitted(n);
	}
	guest_clock_turn(&w.clock, 2);
	/* The first had what was in the bucket besides. */
	for (unsigned int i = 0; i < 4; i++)
		cr_assert_eq(answered(i), i ? 3 : 4, "queue %u: %u", i, answered(i));
}
