// SPDX-License-Identifier: Apache-2.0
#include "virtio/device.h"

#include <stdarg.h>
#include <stdio.h>
#include <linux/virtio_config.h>

/* One that was under way when the device was reset is at worst a kick too many. */
static void handle_kick_again(void *ctx, const struct loop_event *ev)
{
	struct virtio_device *dev = ctx;

	dev->services[ev->index].again = false;
	virtio_device_kick(dev, ev->index);
}

static bool is_live(struct virtio_device *dev, unsigned int queue)
{
	return atomic_load(&dev->running) && queue < dev->nqueues && dev->queues[queue].ready &&
	       !atomic_load(&dev->broken);
}

/* Also of a device that has broken since: its driver is told of what came before. */
static void tell_driver(struct virtio_service *s, unsigned int queue)
{
	if (s->answered && atomic_load(&s->dev->running) && s->dev->queues[queue].ready)
		virtio_signal(s->dev, queue);
	s->answered = false;
}

/* The queue may have been reset since this was asked for, but not while it runs. */
static bool end_turn(void *ctx, enum loop_stage stage)
{
	struct virtio_service *s = ctx;
	unsigned int queue = (unsigned int)(s - s->dev->services);
	struct virtq *q = &s->dev->queues[queue];
	bool work = false;

	switch (stage) {
	case LOOP_TURN_ENDS:
		break;
	case LOOP_LOOKS:
		work = is_live(s->dev, queue) && virtq_has_more(q);
		break;
	case LOOP_SLEEPS:
		work = s->emptied && is_live(s->dev, queue) && virtq_want_kicks(q);
		s->emptied = false;
		break;
	}
	if (work)
		s->dev->ops->kick(s->dev, queue);
	/* What was just answered, too: this may have been the last look. */
	tell_driver(s, queue);
	return work;
}

/* The queues that the device's loop serves share a source there. */
static int add_services(struct virtio_device *dev)
{
	int own = loop_add_source(dev->loop, handle_kick_again, dev);

	if (own < 0)
		return own;
	for (unsigned int i = 0; i < dev->nqueues; i++) {
		struct virtio_service *s = &dev->services[i];

		*s = (struct virtio_service){ .dev = dev, .source = own };
		s->turn = (struct loop_turn){ .fn = end_turn, .ctx = s };
		if (!dev->queue_loops[i])
			dev->queue_loops[i] = dev->loop;
		else if (dev->queue_loops[i] != dev->loop)
			s->source = loop_add_source(dev->queue_loops[i], handle_kick_again, dev);
		if (s->source < 0)
			return s->source;
	}
	return 0;
}

int virtio_device_init(struct virtio_device *dev)
{
	int ret = add_services(dev);

	if (ret)
		return ret;
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
	struct virtio_service *s = &dev->services[queue];

	if (s->again)
		return;
	s->again = true;

	struct io_uring_sqe *sqe = loop_sqe(dev->queue_loops[queue]);

	io_uring_prep_nop(sqe);
	loop_tag(sqe, s->source, 0, (uint16_t)queue, 0);
}

void virtio_signal(struct virtio_device *dev, unsigned int queue)
{
	if (virtq_needs_signal(&dev->queues[queue]))
		dev->transport_ops->signal_queue(dev->transport, queue);
}

void virtio_answered(struct virtio_device *dev, unsigned int queue)
{
	struct virtio_service *s = &dev->services[queue];

	if (s->answered)
		return;
	s->answered = true;
	if (loop_expect(dev->queue_loops[queue], &s->turn)) {
		virtq_suppress_kicks(&dev->queues[queue]);
		s->emptied = true;
	}
}

void virtio_signal_later(struct virtio_device *dev, unsigned int queue)
{
	struct virtio_service *s = &dev->services[queue];

	s->answered = true;
	loop_at_turn(dev->queue_loops[queue], &s->turn);
}

void virtio_emptied(struct virtio_device *dev, unsigned int queue)
{
	struct virtio_service *s = &dev->services[queue];

	s->emptied = true;
	loop_at_turn(dev->queue_loops[queue], &s->turn);
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
	dev->transport_ops->signal_fault(dev->transport);
}

void virtio_device_start(struct virtio_device *dev)
{
	dev->ops->start(dev);
	/* Last: the other loops take this for a sign that all the rest is set up. */
	atomic_store(&dev->running, true);
}

struct stop_queue {
	struct virtio_device *dev;
	unsigned int queue;
};

static void stop_queue_on_loop(void *ctx, struct loop_call *call)
{
	const struct stop_queue *s = ctx;

	s->dev->ops->stop_queue(s->dev, s->queue, call);
}

static void stop_on_loop(void *ctx, struct loop_call *call)
{
	struct virtio_device *dev = ctx;

	dev->ops->stop(dev, call);
}

/*
 * A kick that a loop has begun to serve by now is over when that loop comes to the call; one that
 * it takes up later is dropped. Where a loop has ended, the machine is ending, and its memory
 * outlives the loop's ring.
 */
void virtio_device_stop(struct virtio_device *dev)
{
	atomic_store(&dev->running, false);
	if (!dev->ops->stop_queue) {
		loop_call(dev->loop, stop_on_loop, dev);
		return;
	}
	for (unsigned int i = 0; i < dev->nqueues; i++) {
		struct stop_queue s = { dev, i };

		loop_call(dev->queue_loops[i], stop_queue_on_loop, &s);
	}
}

void virtio_device_kick(struct virtio_device *dev, unsigned int queue)
{
	if (is_live(dev, queue))
		dev->ops->kick(dev, queue);
}
