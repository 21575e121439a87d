// SPDX-License-Identifier: Apache-2.0
/* virtio-rng (virtio 1.3, 5.4). */
#include "lib/virtio.h"

#define SIZE  8
#define CHUNK 256

static struct vdev rng;
static struct vq q;

static bool start(uint64_t features)
{
	return vdev_begin(&rng, features) && vq_init(&q, &rng, 0, SIZE) && (vdev_go(&rng), true);
}

/* Ask for @len bytes at @buf; returns how many came, or -1. */
static int64_t get(void *buf, uint32_t len)
{
	vq_post(&q, buf, len, VRING_DESC_F_WRITE);
	if (!vq_wait(&q, 1))
		return -1;
	struct vring_used_elem e = vq_take(&q);

	return e.id == 0 ? (int64_t)e.len : -1;
}

static unsigned int count_zeroes(const uint8_t *p, size_t n)
{
	unsigned int zeroes = 0;

	while (n--)
		zeroes += !*p++;
	return zeroes;
}

static void check_bytes(void)
{
	uint8_t *a = alloc(CHUNK, 16), *b = alloc(CHUNK, 16);

	expect_eq("rng.whole", (uint64_t)get(a, 64), 64);
	expect_eq("rng.again", (uint64_t)get(b, 64), 64);
	expect("rng.differ", memcmp(a, b, 64), "the same bytes twice");
	expect("rng.filled", count_zeroes(a, 64) < 8, "mostly zeroes");
	expect_eq("rng.rest-untouched", count_zeroes(a + 64, CHUNK - 64), CHUNK - 64);
	memset(a, 0, CHUNK);
	expect_eq("rng.one", (uint64_t)get(a, 1), 1);
	expect_eq("rng.one-only", count_zeroes(a + 1, 15), 15);
	expect_eq("rng.odd", (uint64_t)get(a + 1, 7), 7);
}

static void check_large(void)
{
	uint8_t *buf = alloc(65536, 16);
	int64_t n = get(buf, 65536);

	expect("rng.large", n > 0 && n <= 65536, "no answer to a large request");
	expect("rng.large-filled", n > 0 && count_zeroes(buf, (size_t)n) < (size_t)n / 8 + 8,
	       "bytes were counted that did not come");
}

static void check_several(void)
{
	uint8_t *buf = alloc(SIZE * 16, 16);
	uint32_t seen = 0, total = 0;

	for (uint16_t i = 0; i < SIZE; i++) {
		vq_desc(&q, i, buf + 16 * i, 16, VRING_DESC_F_WRITE, 0);
		vq_put(&q, (uint16_t)(SIZE - 1 - i));
	}
	vq_publish(&q);
	vq_kick(&q);
	if (!vq_wait(&q, SIZE)) {
		fail("rng.several", "not all came back");
		return;
	}
	for (int i = 0; i < SIZE; i++) {
		struct vring_used_elem e = vq_take(&q);

		seen |= 1u << e.id;
		total += e.len;
	}
	expect_eq("rng.several", seen, (1u << SIZE) - 1);
	expect_eq("rng.several-bytes", total, SIZE * 16);
	expect("rng.several-filled", count_zeroes(buf, SIZE * 16) < 16, "mostly zeroes");
}

static void check_scattered(void)
{
	uint8_t *buf = alloc(64, 16);

	/* Seven bytes in three pieces, one of them empty, one of them the last byte of a page. */
	uint8_t *page = alloc(4096, 4096);

	vq_desc(&q, 0, buf + 1, 3, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 5);
	vq_desc(&q, 5, buf + 20, 0, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 2);
	vq_desc(&q, 2, page + 4095, 1, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 3);
	vq_desc(&q, 3, buf + 8, 3, VRING_DESC_F_WRITE, 0);
	vq_submit(&q, 0);
	if (!vq_wait(&q, 1)) {
		fail("rng.scattered", "no answer");
		return;
	}
	expect_eq("rng.scattered", vq_take(&q).len, 7);
	expect("rng.scattered-bounds",
	       !buf[0] && !buf[4] && !buf[7] && !buf[11] && !buf[20] && !page[4094],
	       "bytes beside the pieces were written");
}

static void check_nothing_to_write(void)
{
	static uint8_t secret[16];

	memset(secret, 0x77, sizeof(secret));
	expect_eq("rng.empty", (uint64_t)get(secret, 0), 0);
	vq_post(&q, secret, sizeof(secret), 0);
	if (!vq_wait(&q, 1)) {
		fail("rng.unwritable", "no answer");
		return;
	}
	expect_eq("rng.unwritable", vq_take(&q).len, 0);
	expect("rng.unwritable-untouched", secret[0] == 0x77 && secret[15] == 0x77,
	       "a buffer that is not writable was written");
	/* Readable first, then writable. */
	uint8_t *buf = alloc(16, 16);

	vq_desc(&q, 0, secret, sizeof(secret), VRING_DESC_F_NEXT, 1);
	vq_desc(&q, 1, buf, 16, VRING_DESC_F_WRITE, 0);
	vq_submit(&q, 0);
	expect("rng.mixed", vq_wait(&q, 1) && vq_take(&q).len == 16 && secret[0] == 0x77,
	       "not just the writable part");
}

static void check_wrap(void)
{
	uint8_t *buf = alloc(16, 16);
	bool good = true;

	/* Several times round the rings. */
	for (int i = 0; i < 5 * SIZE && good; i++)
		good = get(buf, 16) == 16;
	expect("rng.wrap", good, "a request went missing");
}

void payload_main(void)
{
	if (!vdev_find(&rng, VIRTIO_ID_RNG, 0)) {
		fail("rng", "no device");
		return;
	}
	expect("rng.version", rng.offered & F_VERSION_1, "VIRTIO_F_VERSION_1 is not offered");
	expect("rng.start", start(0), "the device refuses its driver");
	check_bytes();
	check_large();
	check_several();
	check_scattered();
	check_nothing_to_write();
	check_wrap();
	expect("rng.start-again", start(F_INDIRECT | F_EVENT_IDX), "the device refuses its driver");
	check_bytes();
	check_several();
	check_wrap();
}
