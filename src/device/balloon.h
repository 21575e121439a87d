// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "virtio/device.h"

struct balloon_spec {
	uint32_t target_mib; /* that the guest is to give up; at most its memory */
	bool deflate_on_oom; /* it may take some of that back before it kills a process for memory
			      */
	bool reporting;      /* it gives back what is free, on its own */
};

/*
 * virtio-balloon (virtio 1.3, 5.5). What the guest gives up or reports as free is given back to the
 * host at once, and is zeroes when it is touched again. On success *@out is owned by the caller.
 * Returns 0 or negative errno.
 */
int balloon_new(struct loop *loop, const struct guest_mem *mem, const struct balloon_spec *spec,
		struct virtio_device **out);

/* Ask the guest for @mib of its memory, at most all of it. Loop thread. */
void balloon_set_target(struct virtio_device *dev, uint32_t mib);

struct balloon_stats {
	uint64_t target_bytes;
	uint64_t actual_bytes;   /* that the guest says it has given up */
	uint64_t reported_bytes; /* given back because they were free, all that ever were */
};

/* Loop thread. */
void balloon_read_stats(const struct virtio_device *dev, struct balloon_stats *stats);
