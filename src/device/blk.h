// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/disk.h"
#include "device/limiter.h"
#include "virtio/device.h"

struct blk_spec {
	struct disk *disk;
	unsigned int nqueues; /* 1 to VIRTIO_QUEUES_MAX */
	const char *serial;   /* its identity, at most 20 bytes */
	const char *name;     /* for log lines; must live as long as the device */
	/* By queue, those that serve one alone; NULL: all queues are on the device's loop. */
	struct loop *const *queue_loops;
	struct limiter *limiter; /* what it is held to; NULL: nothing */
};

/*
 * virtio-blk (virtio 1.3, 5.2). On success *@out is owned by the caller and owns the disk and
 * the limiter. Returns 0 or negative errno.
 */
int blk_new(struct loop *loop, const struct guest_mem *mem, const struct blk_spec *spec,
	    struct virtio_device **out);
