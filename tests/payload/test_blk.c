// SPDX-License-Identifier: Apache-2.0
/*
 * What the blk payload wrote is in the images, and nothing else has changed. A second argument is
 * how the first disk is served: its queues by threads of their own ("loops"), and what has to do
 * with it; "limits" holds it to some requests and bytes a second, whatever messages are sent that
 * nobody who means well would; "lifted" to next to nothing, until that is taken back.
 */
#include <string.h>

#include "base/log.h"
#include "harness.h"

#define LIMIT_OPS   80u
#define LIMIT_BURST 20u
/* What the payload writes in single requests to the first disk, and it reads besides. */
#define WRITES 288u

#define TELL_MS 300u

/* For disks that are not there, and with numbers that no bucket has. */
static const struct message bad[] = {
	{ .type = MESSAGE_DISK_LIMITS, .value = 4 },
	{ .type = MESSAGE_DISK_LIMITS, .value = UINT64_MAX },
	{ .type = MESSAGE_NET_LIMITS, .value = 0 },
	{ .type = MESSAGE_DISK_LIMITS, .limits = { { .bytes = { 1, 0, 1, 0 } } } },
	{ .type = MESSAGE_DISK_LIMITS, .limits = { { .bytes = { 1, UINT64_MAX, 1, 0 } } } },
	{ .type = MESSAGE_DISK_LIMITS, .limits = { { .bytes = { 1ull << 63, 1, 1, 0 } } } },
	{ .type = MESSAGE_DISK_LIMITS, .limits = { { .bytes = { 1, 1, UINT64_MAX, 0 } } } },
	{ .type = MESSAGE_DISK_LIMITS, .limits = { [1] = { .ops = { 1, 1, 0, 0 } } } },
};
static const struct message lift = { .type = MESSAGE_DISK_LIMITS };

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
	const char *how = argc > 2 ? argv[2] : "";
	struct payload p;

	payload_init(&p, argv[1]);
	payload_add_disk(&p, 8u << 20)->queues = 4;
	p.disks[0].own_loops = argc > 2 && strcmp(how, "limits") != 0 && strcmp(how, "lifted") != 0;
	p.disks[0].fixed_buffers = strstr(how, "fixed-buffers");
	p.disks[0].sqpoll = strstr(how, "sqpoll");
	if (strstr(how, "limits"))
		p.disks[0].limits = (struct limits){
			.ops = { LIMIT_OPS, 1000, LIMIT_BURST, 0 },
			.bytes = { 16u << 20, 1000, 4096, 0 },
		};
	if (strstr(how, "limits")) {
		p.tell = bad;
		p.ntell = sizeof(bad) / sizeof(bad[0]);
	} else if (strstr(how, "lifted")) {
		p.disks[0].limits = (struct limits){ .ops = { 1, 3600000, LIMIT_BURST, 0 } };
		p.tell = &lift;
		p.ntell = 1;
	}
	p.tell_after_ms = TELL_MS;
	payload_add_disk(&p, 1u << 20)->read_only = true;
	payload_add_disk(&p, (1u << 20) + 300)->buffered = true;
	payload_add_disk(&p, 1u << 20);
	uint64_t begin = clock_now_ns();

	payload_run(&p);
	uint64_t ms = (clock_now_ns() - begin) / 1000000;

	if (strstr(how, "limits"))
		payload_expect(&p, ms >= (WRITES - LIMIT_BURST) * 1000 / LIMIT_OPS,
			       "all in %llu ms: nothing was limited", (unsigned long long)ms);
	if (strstr(how, "lifted"))
		payload_expect(&p, ms >= TELL_MS, "all in %llu ms: nothing was limited",
			       (unsigned long long)ms);
	payload_expect_end(&p, VM_END_RESET);
	check_images(&p);
	payload_expect(&p, payload_count_log(&p, "waits for a reset") == 0,
		       "a driver that keeps to the rules was called a liar");
	return !payload_verdict(&p);
}
