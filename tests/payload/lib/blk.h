// SPDX-License-Identifier: Apache-2.0
#pragma once

/* A driver of virtio-blk (virtio 1.3, 5.2), one request at a time. */

#include <linux/virtio_blk.h>

#include "../pattern.h"
#include "virtio.h"

#define SECTOR        512u
#define BLK_NO_ANSWER 0xee

struct blk {
	struct vdev dev;
	struct vq q;
	struct virtio_blk_outhdr *hdr;
	uint8_t *status;
	uint32_t written; /* as the used ring had it last */
};

/* Find disk number @nth. */
bool blk_find(struct blk *b, unsigned int nth);

/* Reset it and bring it up with queue 0 of @size and @features. Returns whether it agreed. */
bool blk_start(struct blk *b, uint64_t features, uint16_t size);

/*
 * A request in descriptors 0 to 2: header, @len bytes of @data (none where it is 0), status.
 * Returns the status, or BLK_NO_ANSWER.
 */
uint8_t blk_request(struct blk *b, uint32_t type, uint64_t sector, void *data, uint32_t len);

/* Submit what the caller laid out from descriptor @head on and wait for b->status. */
uint8_t blk_submit(struct blk *b, uint16_t head);

/* Set up b->hdr. */
void blk_header(struct blk *b, uint32_t type, uint64_t sector);

uint64_t blk_capacity(const struct blk *b);

/* Whether @len bytes at @data are those of the disk at @sector as the harness made it. */
bool blk_is_pattern(const void *data, uint64_t sector, uint32_t len);

/* Fill @len bytes as block number @seed. */
void blk_fill(void *data, uint32_t seed, uint32_t len);
bool blk_is_filled(const void *data, uint32_t seed, uint32_t len);
