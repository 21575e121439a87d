// SPDX-License-Identifier: Apache-2.0
/* Attacks on the balloon: pages that are none, and memory that is in use. */
#include "lib/target.h"

#define MANY 65536u

static struct balloon *b = &target_balloon;
static struct target *balloon = &targets[TARGET_BALLOON];
static uint8_t pages[4][4096] __attribute__((aligned(4096)));

static uint32_t pfn(const void *p)
{
	return (uint32_t)((uintptr_t)p / BALLOON_PAGE);
}

/* Name @n pages and do not wait. */
static void name(unsigned int queue, const uint32_t *pfns, uint32_t n)
{
	vq_post(&b->q[queue], pfns, n * (uint32_t)sizeof(pfns[0]), 0);
}

static void attack_page(const char *what, uint32_t page)
{
	static uint32_t pfns[3];

	if (!attack_begin(balloon, what, 0))
		return;
	pfns[0] = pfn(pages[0]);
	pfns[1] = page;
	pfns[2] = pfn(pages[1]);
	name(BALLOON_INFLATE, pfns, 3);
	attack_end(balloon, what, BREAKS);
}

static void attack_pages(void)
{
	attack_page("past-ram", (uint32_t)(low_ram_end() / BALLOON_PAGE));
	attack_page("in-hole", 0xd0000);
	attack_page("own-registers", (uint32_t)(b->dev.base / BALLOON_PAGE));
	attack_page("lapic", 0xfee00);
	attack_page("above-4gib", (uint32_t)(high_ram_end() / BALLOON_PAGE));
	attack_page("last-number", 0xffffffff);
	attack_page("sign-bit", 0x80000000);
}

static void odd_list(void)
{
	vq_post(&b->q[BALLOON_INFLATE], pages, 7, 0);
}

static void list_past_ram(void)
{
	vq_post(&b->q[BALLOON_INFLATE], (void *)(uintptr_t)(low_ram_end() - 4), 8, 0);
}

static void range_past_ram(void)
{
	struct vq *q = &b->q[BALLOON_REPORTING];

	vq_post(q, (void *)(uintptr_t)(low_ram_end() - 4096), 8192, VRING_DESC_F_WRITE);
}

static void range_in_hole(void)
{
	struct vq *q = &b->q[BALLOON_REPORTING];

	vq_post(q, (void *)(uintptr_t)b->dev.base, 4096, VRING_DESC_F_WRITE);
}

static void range_of_everything(void)
{
	struct vq *q = &b->q[BALLOON_REPORTING];

	vq_post(q, NULL, 0xffffffff, VRING_DESC_F_WRITE);
}

/* One page, as often as a chain can say it, in every slot of the ring. */
static void same_page_over_and_over(void)
{
	static uint32_t pfns[MANY];
	struct vq *q = &b->q[BALLOON_INFLATE];

	for (uint32_t i = 0; i < MANY; i++)
		pfns[i] = pfn(pages[i % 2]);
	for (uint16_t i = 0; i < BALLOON_SIZE; i++) {
		vq_desc(q, i, pfns, sizeof(pfns), 0, 0);
		vq_put(q, i);
	}
	vq_publish(q);
	vq_kick(q);
	/* Long since not done. */
	for (int i = 0; i < 3; i++)
		relax();
}

/* The list that names a page is on that page. */
static void list_gives_itself_up(void)
{
	uint32_t *list = (uint32_t *)(void *)pages[2];

	for (unsigned int i = 0; i < 1024; i++)
		list[i] = pfn(list);
	name(BALLOON_INFLATE, list, 1024);
	vq_wait(&b->q[BALLOON_INFLATE], 1);
}

/* The rings themselves. */
static void rings_given_up(void)
{
	for (unsigned int i = 0; i < BALLOON_QUEUES; i++) {
		uintptr_t at = (uintptr_t)b->q[i].desc & ~4095ull;

		vq_desc(&b->q[BALLOON_REPORTING], (uint16_t)i, (void *)at, 4096, VRING_DESC_F_WRITE,
			0);
		vq_put(&b->q[BALLOON_REPORTING], (uint16_t)i);
	}
	vq_publish(&b->q[BALLOON_REPORTING]);
	vq_kick(&b->q[BALLOON_REPORTING]);
	for (int i = 0; i < 50; i++)
		relax();
}

/* Pages that the disk is about to write. */
static void pages_under_requests(void)
{
	struct vq *q = &target_blk.q;
	uint32_t pfns[] = { pfn(pages[0]), pfn(pages[1]), pfn(pages[2]), pfn(pages[3]) };

	for (int round = 0; round < 20; round++) {
		blk_header(&target_blk, VIRTIO_BLK_T_IN, 0);
		vq_desc(q, 0, target_blk.hdr, 16, VRING_DESC_F_NEXT, 1);
		vq_desc(q, 1, pages, sizeof(pages), VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 2);
		vq_desc(q, 2, target_blk.status, 1, VRING_DESC_F_WRITE, 0);
		vq_submit(q, 0);
		name(BALLOON_INFLATE, pfns, 4);
		vq_wait(&b->q[BALLOON_INFLATE], 1);
		vq_take(&b->q[BALLOON_INFLATE]);
		vq_wait(q, 1);
		vq_take(q);
	}
}

static void lies_about_its_size(void)
{
	reg_write(&b->dev, VIRTIO_MMIO_CONFIG + 4, 0xffffffff);
	for (uint32_t off = 0; off < 64; off++) {
		write8(b->dev.base + VIRTIO_MMIO_CONFIG + off, 0xff);
		write64(b->dev.base + VIRTIO_MMIO_CONFIG + off, ~0ull);
	}
	if (reg_read(&b->dev, VIRTIO_MMIO_CONFIG))
		fail("balloon", "the guest has set its own target");
}

static const struct attack attacks[] = {
	{ "odd-list", odd_list, BREAKS },
	{ "list-past-ram", list_past_ram, BREAKS },
	{ "range-past-ram", range_past_ram, BREAKS },
	{ "range-in-hole", range_in_hole, BREAKS },
	{ "range-of-everything", range_of_everything, BREAKS },
	{ "same-page-over-and-over", same_page_over_and_over, HARMLESS },
	{ "list-gives-itself-up", list_gives_itself_up, ANYTHING },
	{ "rings-given-up", rings_given_up, ANYTHING },
	{ "pages-under-requests", pages_under_requests, HARMLESS },
	{ "lies-about-its-size", lies_about_its_size, HARMLESS },
};

void payload_main(void)
{
	if (!targets_init())
		return;
	attack_pages();
	attack_all(balloon, attacks, ARRAY_SIZE(attacks), 0);
}
