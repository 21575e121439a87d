// SPDX-License-Identifier: Apache-2.0
#include "virtio/device.h"

#include <stdarg.h>
#include <stdio.h>
#include <linux/virtio_config.h>

static void handle_kick_again(void *ctx, const struct loop_event *ev)
{
	struct virtio_device *dev = ctx;

	if (ev->generation != (dev->generation & LOOP_GENERATION_MASK))
		return;
	dev->again &= ~(1u << ev->index);
	virtio_device_kick(dev, ev->index);
}

int virtio_device_init(struct virtio_device *dev)
{
	int source = loop_add_source(dev->loop, handle_kick_again, dev);

	if (source < 0)
		return source;
	dev->source = source;
	dev->features_offered |= 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC |
				 1ull << VIRTIO_RING_F_EVENT_IDX;
	for (unsigned int i = 0; i < dev->nqueues; i++) {
		dev->queues[i] = (struct virtq){ .mem = dev->mem, .size_max = dev->queue_size_max };
		virtq_reset(&dev->queues[i]);
	}
	return 0;
}

void virtio_kick_again(struct virtio_device *dev, unsigned int queue)
{
	if (dev->again & 1u << queue)
		return;
	dev->again |= 1u << queue;

	struct io_uring_sqe *sqe = loop_sqe(dev->loop);

	io_uring_prep_nop(sqe);
	loop_tag(sqe, dev->source, 0, (uint16_t)queue, dev->generation);
}

void virtio_signal(struct virtio_device *dev, unsigned int queue)
{
	if (virtq_needs_signal(&dev->queues[queue]))
		dev->transport_ops->signal_queue(dev->transport, queue);
}

void virtio_config_changed(struct virtio_device *dev)
{
	dev->transport_ops->signal_config(dev->transport);
}

void virtio_fault(struct virtio_device *dev, const char *fmt, ...)
{
	char why[256];
	va_list ap;

	if (atomic_exchange(&dev->broken, true))
		return;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	log_limited(&dev->faults, "guest error on %s: %s; the device waits for a reset", dev->name,
		    why);
	virtio_config_changed(dev);
}

void virtio_device_start(struct virtio_device *dev)
{
	dev->generation++;
	dev->again = 0;
	dev->running = true;
	dev->ops->start(dev);
}

void virtio_device_kick(struct virtio_device *dev, unsigned int queue)
{
	if (!dev->running || queue >= dev->nqueues || !dev->queues[queue].ready ||
	    atomic_load(&dev->broken))
		return;
	dev->ops->kick(dev, queue);
}
