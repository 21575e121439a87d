// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/disk.h"
#include "virtio/device.h"

/*
 * virtio-blk (virtio 1.3, 5.2) over @disk, with @nqueues request queues and @serial (at most 20
 * bytes) as its identity. On success *@out is owned by the caller and owns @disk. @name is
 * borrowed. Returns 0 or negative errno.
 */
int blk_new(struct loop *loop, const struct guest_mem *mem, struct disk *disk, unsigned int nqueues,
	    const char *serial, const char *name, struct virtio_device **out);
