// SPDX-License-Identifier: Apache-2.0
#include "virtio.h"

#define SETUP_STATUS (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)

bool vdev_find(struct vdev *d, uint32_t id, unsigned int nth)
{
	for (uint64_t base = DEVICE_BASE; read32(base) == VIRTIO_MAGIC; base += DEVICE_STRIDE) {
		if (read32(base + VIRTIO_MMIO_DEVICE_ID) != id || nth--)
			continue;
		*d = (struct vdev){ .base = base, .id = id };
		d->offered = vdev_features(d);
		return true;
	}
	return false;
}

uint32_t vdev_status(const struct vdev *d)
{
	return reg_read(d, VIRTIO_MMIO_STATUS);
}

void vdev_set_status(const struct vdev *d, uint32_t status)
{
	reg_write(d, VIRTIO_MMIO_STATUS, status);
}

void vdev_reset(const struct vdev *d)
{
	vdev_set_status(d, 0);
}

uint64_t vdev_features(const struct vdev *d)
{
	reg_write(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	uint64_t low = reg_read(d, VIRTIO_MMIO_DEVICE_FEATURES);

	reg_write(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	return low | (uint64_t)reg_read(d, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
}

void vdev_write_features(const struct vdev *d, uint64_t features)
{
	reg_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	reg_write(d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
	reg_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	reg_write(d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
}

bool vdev_begin(const struct vdev *d, uint64_t features)
{
	vdev_reset(d);
	vdev_set_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	vdev_set_status(d, SETUP_STATUS);
	vdev_write_features(d, features | F_VERSION_1);
	vdev_set_status(d, SETUP_STATUS | VIRTIO_CONFIG_S_FEATURES_OK);
	return vdev_status(d) & VIRTIO_CONFIG_S_FEATURES_OK;
}

void vdev_go(const struct vdev *d)
{
	vdev_set_status(d, SETUP_STATUS | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
}

bool vdev_needs_reset(const struct vdev *d)
{
	for (unsigned int i = 0; i < patience; i++) {
		if (vdev_status(d) & VIRTIO_CONFIG_S_NEEDS_RESET)
			return true;
		relax();
	}
	return false;
}

void vq_make(struct vq *q, const struct vdev *d, uint16_t index, uint16_t size)
{
	*q = (struct vq){ .dev = d, .index = index, .size = size };
	q->desc = alloc(size * sizeof(struct vring_desc), 16);
	q->avail = alloc(6 + 2 * (size_t)size, 2);
	q->used = alloc(6 + 8 * (size_t)size, 4);
}

static void write_address(const struct vdev *d, uint32_t low_reg, const void *p)
{
	reg_write(d, low_reg, (uint32_t)(uintptr_t)p);
	reg_write(d, low_reg + 4, (uint32_t)((uintptr_t)p >> 32));
}

void vq_write_addresses(const struct vq *q)
{
	reg_write(q->dev, VIRTIO_MMIO_QUEUE_SEL, q->index);
	reg_write(q->dev, VIRTIO_MMIO_QUEUE_NUM, q->size);
	write_address(q->dev, VIRTIO_MMIO_QUEUE_DESC_LOW, q->desc);
	write_address(q->dev, VIRTIO_MMIO_QUEUE_AVAIL_LOW, q->avail);
	write_address(q->dev, VIRTIO_MMIO_QUEUE_USED_LOW, q->used);
}

bool vq_ready(const struct vq *q)
{
	reg_write(q->dev, VIRTIO_MMIO_QUEUE_SEL, q->index);
	reg_write(q->dev, VIRTIO_MMIO_QUEUE_READY, 1);
	return reg_read(q->dev, VIRTIO_MMIO_QUEUE_READY) == 1;
}

bool vq_init(struct vq *q, const struct vdev *d, uint16_t index, uint16_t size)
{
	vq_make(q, d, index, size);
	vq_write_addresses(q);
	return vq_ready(q);
}

void vq_desc(const struct vq *q, uint16_t i, const volatile void *addr, uint32_t len,
	     uint16_t flags, uint16_t next)
{
	q->desc[i] = (struct vring_desc){ (uintptr_t)addr, len, flags, next };
}

void vq_put(struct vq *q, uint16_t head)
{
	q->avail->ring[q->avail_idx++ % q->size] = head;
}

void vq_publish(const struct vq *q)
{
	__atomic_store_n(&q->avail->idx, q->avail_idx, __ATOMIC_RELEASE);
}

void vq_kick(const struct vq *q)
{
	fence();
	reg_write(q->dev, VIRTIO_MMIO_QUEUE_NOTIFY, q->index);
}

void vq_submit(struct vq *q, uint16_t head)
{
	vq_put(q, head);
	vq_publish(q);
	vq_kick(q);
}

void vq_post(struct vq *q, const volatile void *addr, uint32_t len, uint16_t flags)
{
	vq_desc(q, 0, addr, len, flags, 0);
	vq_submit(q, 0);
}

bool vq_wait(const struct vq *q, uint16_t n)
{
	for (unsigned int i = 0; i < patience; i++) {
		uint16_t idx = __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE);

		if ((uint16_t)(idx - q->used_idx) >= n)
			return true;
		relax();
	}
	return false;
}

struct vring_used_elem vq_take(struct vq *q)
{
	return q->used->ring[q->used_idx++ % q->size];
}

volatile uint16_t *vq_used_event(const struct vq *q)
{
	return (volatile uint16_t *)&q->avail->ring[q->size];
}

volatile uint16_t *vq_avail_event(const struct vq *q)
{
	return (volatile uint16_t *)(void *)&q->used->ring[q->size];
}
