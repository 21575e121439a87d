// SPDX-License-Identifier: Apache-2.0
#include "blk.h"

bool blk_find(struct blk *b, unsigned int nth)
{
	*b = (struct blk){ 0 };
	b->hdr = alloc(sizeof(*b->hdr), 16);
	b->status = alloc(1, 1);
	return vdev_find(&b->dev, VIRTIO_ID_BLOCK, nth);
}

bool blk_start(struct blk *b, uint64_t features, uint16_t size)
{
	if (!vdev_begin(&b->dev, features) || !vq_init(&b->q, &b->dev, 0, size))
		return false;
	vdev_go(&b->dev);
	return true;
}

void blk_header(struct blk *b, uint32_t type, uint64_t sector)
{
	*b->hdr = (struct virtio_blk_outhdr){ .type = type, .sector = sector };
	*b->status = BLK_NO_ANSWER;
}

uint8_t blk_submit(struct blk *b, uint16_t head)
{
	vq_submit(&b->q, head);
	if (!vq_wait(&b->q, 1))
		return BLK_NO_ANSWER;
	struct vring_used_elem e = vq_take(&b->q);

	b->written = e.len;
	return e.id == head ? *(volatile uint8_t *)b->status : BLK_NO_ANSWER;
}

uint8_t blk_request(struct blk *b, uint32_t type, uint64_t sector, void *data, uint32_t len)
{
	bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;

	blk_header(b, type, sector);
	vq_desc(&b->q, 0, b->hdr, sizeof(*b->hdr), VRING_DESC_F_NEXT, len ? 1 : 2);
	vq_desc(&b->q, 1, data, len, VRING_DESC_F_NEXT | (in ? VRING_DESC_F_WRITE : 0), 2);
	vq_desc(&b->q, 2, b->status, 1, VRING_DESC_F_WRITE, 0);
	return blk_submit(b, 0);
}

uint64_t blk_capacity(const struct blk *b)
{
	return reg_read(&b->dev, VIRTIO_MMIO_CONFIG) |
	       (uint64_t)reg_read(&b->dev, VIRTIO_MMIO_CONFIG + 4) << 32;
}

bool blk_is_pattern(const void *data, uint64_t sector, uint32_t len)
{
	const uint8_t *p = data;

	for (uint32_t i = 0; i < len / 4; i++) {
		uint32_t word;

		__builtin_memcpy(&word, p + 4 * i, 4);
		if (word != pattern_disk(sector * SECTOR / 4 + i))
			return false;
	}
	return true;
}

void blk_fill(void *data, uint32_t seed, uint32_t len)
{
	uint8_t *p = data;

	for (uint32_t i = 0; i < len / 4; i++) {
		uint32_t word = pattern_block(seed, i);

		__builtin_memcpy(p + 4 * i, &word, 4);
	}
}

bool blk_is_filled(const void *data, uint32_t seed, uint32_t len)
{
	const uint8_t *p = data;

	for (uint32_t i = 0; i < len / 4; i++) {
		uint32_t word;

		__builtin_memcpy(&word, p + 4 * i, 4);
		if (word != pattern_block(seed, i))
			return false;
	}
	return true;
}
