// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <linux/virtio_ring.h>
#include <sys/uio.h>

#include "mem/map.h"

#define VIRTQ_SIZE_MAX  256
#define VIRTQ_CHAIN_MAX VIRTQ_SIZE_MAX /* descriptors of one chain, indirect ones included */

/* Outcomes of taking a chain. Positive: the guest's doing. */
enum {
	VIRTQ_OK = 0,
	VIRTQ_EMPTY = 1, /* nothing available now */
	VIRTQ_FAULT = 2, /* the ring or a descriptor is a lie: the device needs a reset */
};

/*
 * A split virtqueue (virtio 1.3, 2.7), device side. The ring addresses are checked once, when the
 * queue is enabled, and kept as host pointers; everything in the rings stays the guest's to change
 * at any time, and is therefore read exactly once per use.
 *
 * One thread at a time: the vCPU's while the driver sets it up, the loop's once it is live.
 */
struct virtq {
	const struct guest_mem *mem;
	uint16_t size_max; /* what the device offers; constant */
	uint16_t size;     /* what the driver chose */
	gpa_t desc_gpa;
	gpa_t driver_gpa; /* available ring */
	gpa_t device_gpa; /* used ring */
	bool ready;       /* enabled, and the pointers below are good */
	bool event_idx;   /* VIRTIO_F_EVENT_IDX was negotiated */

	const struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t next_avail;  /* our position in the available ring */
	uint16_t next_used;   /* our position in the used ring */
	uint16_t last_signal; /* next_used when an interrupt was last considered */
	uint16_t in_flight;   /* chains popped and not pushed yet */
};

/* One request: the descriptors of a chain as host memory, readable parts first. */
struct virtq_chain {
	uint16_t head;
	uint16_t nout; /* segments the device reads: iov[0 .. nout) */
	uint16_t nin;  /* segments the device writes: iov[nout .. nout + nin) */
	uint32_t out_len;
	uint32_t in_len; /* bytes; both at most 2^32 - 1, as 2.7.5 limits a chain */
	struct iovec iov[VIRTQ_CHAIN_MAX];
};

/*
 * Check size and addresses as the driver has set them and make the queue live with empty positions.
 * Returns 0, or VIRTQ_FAULT where the size is not a power of two up to size_max, or a ring is
 * misaligned or not wholly in RAM.
 */
int virtq_enable(struct virtq *q, bool event_idx);

/* Forget the driver's set-up: the state after a device reset. */
void virtq_reset(struct virtq *q);

/*
 * Take the next available chain. Returns VIRTQ_OK with *@chain filled, VIRTQ_EMPTY, or VIRTQ_FAULT.
 * Segments of length zero are left out. Every chain taken is to be given back by virtq_push().
 */
int virtq_pop(struct virtq *q, struct virtq_chain *chain);

/* Undo the taking of the @n chains taken last; they are checked anew when they are taken again. */
void virtq_put_back(struct virtq *q, unsigned int n);

/* Give the chain with @head back, @written bytes of its writable part filled. */
void virtq_push(struct virtq *q, uint16_t head, uint32_t written);

/*
 * The same in two steps, for chains that the driver must see together: stage each, then publish all
 * that was staged.
 */
void virtq_stage(struct virtq *q, uint16_t head, uint32_t written);
void virtq_publish(struct virtq *q);

/* Whether the driver wants an interrupt for what was pushed since this was last asked. */
bool virtq_needs_signal(struct virtq *q);

/*
 * Ask the driver for no kicks while the queue is being emptied; and for kicks again, without which
 * there are none. The latter returns true when chains became available meanwhile: go on emptying.
 */
void virtq_suppress_kicks(struct virtq *q);
bool virtq_want_kicks(struct virtq *q);

/* Whether chains are available that have not been taken. */
bool virtq_has_more(const struct virtq *q);
