// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * A driver of virtio-mmio devices (virtio 1.3, 4.2) that can also be a bad one: every step is the
 * caller's to leave out, repeat or spoil.
 */

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "payload.h"

#define DEVICE_BASE   0xd0000000ull
#define DEVICE_STRIDE 0x1000ull
#define VIRTIO_MAGIC  0x74726976u

#define FEATURE(bit) (1ull << (bit))
#define F_VERSION_1  (1ull << VIRTIO_F_VERSION_1)
#define F_INDIRECT   (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define F_EVENT_IDX  (1ull << VIRTIO_RING_F_EVENT_IDX)

struct vdev {
	uint64_t base;
	uint32_t id;
	uint64_t offered;
};

struct vq {
	const struct vdev *dev;
	uint16_t index;
	uint16_t size;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t avail_idx; /* next to fill; the device sees it at vq_publish() */
	uint16_t used_idx;  /* next to take */
};

static inline uint32_t reg_read(const struct vdev *d, uint32_t off)
{
	return read32(d->base + off);
}

static inline void reg_write(const struct vdev *d, uint32_t off, uint32_t v)
{
	write32(d->base + off, v);
}

/* Find device number @nth (from 0) of type @id on the bus. */
bool vdev_find(struct vdev *d, uint32_t id, unsigned int nth);

uint32_t vdev_status(const struct vdev *d);
void vdev_set_status(const struct vdev *d, uint32_t status);
void vdev_reset(const struct vdev *d);
uint64_t vdev_features(const struct vdev *d);
void vdev_write_features(const struct vdev *d, uint64_t features);

/* 3.1.1 up to FEATURES_OK, with @features and VERSION_1. Returns whether the device agreed. */
bool vdev_begin(const struct vdev *d, uint64_t features);

/* DRIVER_OK. */
void vdev_go(const struct vdev *d);

/* Whether the device comes to ask for a reset; waits for that. */
bool vdev_needs_reset(const struct vdev *d);

/* Make an empty queue in memory; then tell the device of it. vq_ready() returns what it says. */
void vq_make(struct vq *q, const struct vdev *d, uint16_t index, uint16_t size);
void vq_write_addresses(const struct vq *q);
bool vq_ready(const struct vq *q);

/* Both. */
bool vq_init(struct vq *q, const struct vdev *d, uint16_t index, uint16_t size);

void vq_desc(const struct vq *q, uint16_t i, const volatile void *addr, uint32_t len,
	     uint16_t flags, uint16_t next);

/* Enter @head into the available ring; show the device everything entered; ring the bell. */
void vq_put(struct vq *q, uint16_t head);
void vq_publish(const struct vq *q);
void vq_kick(const struct vq *q);

/* All three. */
void vq_submit(struct vq *q, uint16_t head);

/* Submit a chain of one descriptor, the first. */
void vq_post(struct vq *q, const volatile void *addr, uint32_t len, uint16_t flags);

/* Wait until @n more chains were used. Returns whether that happened. */
bool vq_wait(const struct vq *q, uint16_t n);

/* Take the next used element, which is there. */
struct vring_used_elem vq_take(struct vq *q);

/* The event fields past the ends of the rings. */
volatile uint16_t *vq_used_event(const struct vq *q);
volatile uint16_t *vq_avail_event(const struct vq *q);
