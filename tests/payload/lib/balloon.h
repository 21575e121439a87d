// SPDX-License-Identifier: Apache-2.0
#pragma once

/* A driver of virtio-balloon (virtio 1.3, 5.5). */

#include <linux/virtio_balloon.h>

#include "virtio.h"

#define BALLOON_PAGE 4096u
#define BALLOON_SIZE 16

enum { BALLOON_INFLATE, BALLOON_DEFLATE, BALLOON_REPORTING, BALLOON_QUEUES };

struct balloon {
	struct vdev dev;
	struct vq q[BALLOON_QUEUES];
};

bool balloon_find(struct balloon *b);

/* Reset it and bring it up with @features. Returns whether it agreed. */
bool balloon_start(struct balloon *b, uint64_t features);

/* Name the @n pages of @pfns to queue @queue, and wait for the answer. */
bool balloon_name(struct balloon *b, unsigned int queue, const uint32_t *pfns, uint32_t n);

/* Report @len bytes at @range as free, and wait for the answer. */
bool balloon_report(struct balloon *b, void *range, uint32_t len);
