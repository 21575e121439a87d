// SPDX-License-Identifier: Apache-2.0
/* virtio-balloon (virtio 1.3, 5.5), as a driver that keeps to the rules sees it. */
#include "lib/balloon.h"

#define PAGES 16

static struct balloon b;
static uint8_t pages[PAGES][BALLOON_PAGE] __attribute__((aligned(4096)));

static uint32_t pfn(unsigned int i)
{
	return (uint32_t)((uintptr_t)pages[i] / BALLOON_PAGE);
}

static void fill(void)
{
	memset(pages, 0x55, sizeof(pages));
}

/* Bit i: page i is zeroes; pages that are neither that nor as they were are a failure. */
static uint32_t zeroed(const char *name)
{
	uint32_t mask = 0;

	fence();
	for (unsigned int i = 0; i < PAGES; i++) {
		const volatile uint8_t *p = pages[i];
		bool zero = !p[0];

		for (unsigned int k = 0; k < BALLOON_PAGE; k += 256)
			if (p[k] != (zero ? 0 : 0x55))
				fail(name, "page %u is neither", i);
		mask |= (uint32_t)zero << i;
	}
	return mask;
}

static uint32_t config(uint32_t off)
{
	return reg_read(&b.dev, VIRTIO_MMIO_CONFIG + off);
}

static void check_config(void)
{
	expect("config.features",
	       (b.dev.offered & 0x3f) == (FEATURE(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) |
					  FEATURE(VIRTIO_BALLOON_F_REPORTING)),
	       "not what it is to have");
	expect_eq("config.num-pages", config(0), 0);
	expect_eq("config.actual", config(4), 0);
	reg_write(&b.dev, VIRTIO_MMIO_CONFIG + 4, 321);
	expect_eq("config.actual-written", config(4), 321);
	reg_write(&b.dev, VIRTIO_MMIO_CONFIG, 321);
	expect_eq("config.num-pages-is-not", config(0), 0);
}

static void check_inflate(void)
{
	const uint32_t some[] = { pfn(3), pfn(4), pfn(9), pfn(1), pfn(3) };

	fill();
	expect("inflate", balloon_name(&b, BALLOON_INFLATE, some, ARRAY_SIZE(some)), "no answer");
	expect_eq("inflate.pages", zeroed("inflate"), 1u << 1 | 1u << 3 | 1u << 4 | 1u << 9);
	expect("deflate", balloon_name(&b, BALLOON_DEFLATE, some, ARRAY_SIZE(some)), "no answer");
	fill();
	expect_eq("deflate.pages", zeroed("deflate"), 0);
	expect("inflate.none", balloon_name(&b, BALLOON_INFLATE, some, 0), "no answer");
}

static void check_report(void)
{
	fill();
	expect("report", balloon_report(&b, pages[2], 3 * BALLOON_PAGE), "no answer");
	expect_eq("report.pages", zeroed("report"), 7u << 2);
	fill();
	expect("report.askew", balloon_report(&b, pages[2] + 1, 3 * BALLOON_PAGE), "no answer");
	expect_eq("report.askew-pages", zeroed("askew"), 3u << 3);
	fill();
	expect("report.little", balloon_report(&b, pages[2] + 1, BALLOON_PAGE), "no answer");
	expect_eq("report.little-pages", zeroed("little"), 0);
}

static void check_several(void)
{
	struct vq *q = &b.q[BALLOON_REPORTING];

	fill();
	vq_desc(q, 0, pages[0], BALLOON_PAGE, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	vq_desc(q, 1, pages[5], BALLOON_PAGE, VRING_DESC_F_WRITE, 0);
	vq_desc(q, 2, pages[7], BALLOON_PAGE, VRING_DESC_F_WRITE, 0);
	vq_put(q, 0);
	vq_put(q, 2);
	vq_publish(q);
	vq_kick(q);
	expect("several", vq_wait(q, 2), "not all came back");
	vq_take(q);
	vq_take(q);
	expect_eq("several.pages", zeroed("several"), 1u << 0 | 1u << 5 | 1u << 7);
}

void payload_main(void)
{
	static const uint64_t ring_features[] = { 0, F_INDIRECT | F_EVENT_IDX };

	if (!balloon_find(&b)) {
		fail("balloon", "no device");
		return;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(ring_features); i++) {
		expect("start",
		       balloon_start(&b, ring_features[i] | FEATURE(VIRTIO_BALLOON_F_REPORTING) |
						 FEATURE(VIRTIO_BALLOON_F_DEFLATE_ON_OOM)),
		       "the device refuses its driver");
		check_config();
		check_inflate();
		check_report();
		check_several();
	}
	/* An old driver, which knows of two queues. */
	expect("old.start",
	       vdev_begin(&b.dev, 0) && vq_init(&b.q[0], &b.dev, 0, 8) &&
		       vq_init(&b.q[1], &b.dev, 1, 8) && (vdev_go(&b.dev), true),
	       "the device refuses its driver");
	expect_eq("old.actual", config(4), 0);
	check_inflate();
}
