// SPDX-License-Identifier: Apache-2.0
/*
 * What the blk payload wrote is in the images, and nothing else has changed. A second argument is
 * how the first disk is served: its queues by threads of their own ("loops"), and what has to do
 * with it.
 */
#include <string.h>

#include "harness.h"

#define SECTOR 512u

static const uint8_t zeroes[8 * SECTOR];

static void expect_sectors(struct payload *p, uint64_t from, uint64_t to)
{
	payload_expect_disk(p, 0, from * SECTOR, NULL, (to - from) * SECTOR);
}

static void check_images(struct payload *p)
{
	const uint64_t last = p->disks[0].size / SECTOR - 1;

	expect_sectors(p, 0, 100);
	payload_expect_block(p, 0, 100 * SECTOR, 1, SECTOR);
	expect_sectors(p, 101, 104);
	payload_expect_block(p, 0, 104 * SECTOR, 2, 8 * SECTOR);
	expect_sectors(p, 112, 121);
	payload_expect_block(p, 0, 121 * SECTOR, 3, 2 * SECTOR);
	expect_sectors(p, 123, 130);
	payload_expect_block(p, 0, 130 * SECTOR, 5, SECTOR);
	expect_sectors(p, 131, 140);
	payload_expect_block(p, 0, 140 * SECTOR, 6, SECTOR);
	expect_sectors(p, 141, 1000);
	payload_expect_disk(p, 0, 1000 * SECTOR, zeroes, 8 * SECTOR);
	expect_sectors(p, 1008, 1016);
	payload_expect_disk(p, 0, 1016 * SECTOR, zeroes, 3 * SECTOR);
	expect_sectors(p, 1019, 1024);
	payload_expect_disk(p, 0, 1024 * SECTOR, zeroes, 8 * SECTOR);
	expect_sectors(p, 1032, 2048);
	for (uint32_t i = 0; i < 32; i++)
		payload_expect_block(p, 0, (2048 + 8 * i) * SECTOR, 32 + i, 8 * SECTOR);
	expect_sectors(p, 2048 + 256, 4096);
	for (uint32_t i = 0; i < 256; i++)
		payload_expect_block(p, 0, (4096 + i) * SECTOR, 256 + i, SECTOR);
	expect_sectors(p, 4096 + 256, last);
	payload_expect_block(p, 0, last * SECTOR, 4, SECTOR);

	payload_expect_disk(p, 1, 0, NULL, p->disks[1].size);

	payload_expect_disk(p, 2, 0, NULL, 2047 * SECTOR);
	payload_expect_block(p, 2, 2047 * SECTOR, 10, SECTOR);
	payload_expect_disk(p, 2, 2048 * SECTOR, NULL, p->disks[2].size - 2048 * SECTOR);

	for (uint32_t i = 0; i < 256; i++)
		payload_expect_block(p, 3, i * SECTOR, 512 + i, SECTOR);
	payload_expect_disk(p, 3, 256 * SECTOR, NULL, p->disks[3].size - 256 * SECTOR);
}

int main(int argc, char **argv)
{
	struct payload p;

	payload_init(&p, argv[1]);
	payload_add_disk(&p, 8u << 20)->queues = 4;
	p.disks[0].own_loops = argc > 2;
	p.disks[0].fixed_buffers = argc > 2 && strstr(argv[2], "fixed-buffers");
	p.disks[0].sqpoll = argc > 2 && strstr(argv[2], "sqpoll");
	payload_add_disk(&p, 1u << 20)->read_only = true;
	payload_add_disk(&p, (1u << 20) + 300)->buffered = true;
	payload_add_disk(&p, 1u << 20);
	payload_run(&p);
	payload_expect_end(&p, VM_END_RESET);
	check_images(&p);
	payload_expect(&p, payload_count_log(&p, "waits for a reset") == 0,
		       "a driver that keeps to the rules was called a liar");
	return !payload_verdict(&p);
}
