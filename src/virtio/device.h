// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "base/loop.h"
#include "virtio/queue.h"

#define VIRTIO_QUEUES_MAX 32

struct virtio_device;

/*
 * What a device model implements. All of it runs on the thread of the device's loop, so a model
 * needs no lock. A model that is built to have queues on loops of their own (queue_loops) gets
 * kick() and stop_queue() on the queue's loop instead, and keeps what they use apart by queue.
 */
struct virtio_ops {
	/* The driver set DRIVER_OK: dev->features is final, the queues it wants are ready. */
	void (*start)(struct virtio_device *dev);

	/*
	 * Reset: stop using guest memory, drop every chain. The queues are reset by the caller
	 * after @done, which may be called later, when requests in flight have completed.
	 */
	void (*stop)(struct virtio_device *dev, struct loop_call *done);

	/*
	 * The same for @queue alone, on its loop. A model has this one instead of stop() when its
	 * queues may be on several loops.
	 */
	void (*stop_queue)(struct virtio_device *dev, unsigned int queue, struct loop_call *done);

	/* The driver kicked @queue, which is ready. */
	void (*kick)(struct virtio_device *dev, unsigned int queue);

	/*
	 * Bytes [@off, @off + @len) of device configuration (4.2.2.2) into @buf. The transport has
	 * checked that they lie within config_size.
	 */
	void (*config_read)(struct virtio_device *dev, uint32_t off, void *buf, uint32_t len);

	/* Likewise for a write; NULL where nothing is writable. May be refused silently. */
	void (*config_write)(struct virtio_device *dev, uint32_t off, const void *buf,
			     uint32_t len);

	/* Release the device and what it owns. The device is stopped. */
	void (*free)(struct virtio_device *dev);
};

/* How a device reaches its driver, whatever bus it sits on. */
struct virtio_transport_ops {
	/* Interrupt for used buffers of @queue. Thread of the queue's loop. */
	void (*signal_queue)(void *transport, unsigned int queue);
	/* Interrupt for a change of configuration. Thread of the device's loop. */
	void (*signal_config)(void *transport);
	/* Show NEEDS_RESET, and interrupt for it. Thread of any of the device's loops. */
	void (*signal_fault)(void *transport);
};

/* How the core serves a queue; the business of the thread of the queue's loop. */
struct virtio_service {
	struct virtio_device *dev;
	struct loop_turn turn;
	int source;    /* of virtio_kick_again() */
	bool again;    /* such a kick is under way */
	bool answered; /* the driver may want an interrupt at the end of the turn */
	bool emptied;  /* and is to kick from then on */
};

/*
 * The part of a virtio device that a transport and a device model share. Embedded as the first
 * member of each device model's own struct.
 */
struct virtio_device {
	/* set by the device model's constructor */
	const struct virtio_ops *ops;
	const char *name;          /* for log lines: "blk0" */
	uint32_t id;               /* virtio 1.3, 5 */
	uint64_t features_offered; /* VIRTIO_F_VERSION_1 and ring features are added by the core */
	uint32_t config_size;
	unsigned int nqueues;
	uint16_t queue_size_max;
	struct loop
		*loop; /* life cycle, configuration, and queues that have no loop of their own */
	struct loop *queue_loops[VIRTIO_QUEUES_MAX]; /* by queue; the core puts @loop for NULL */
	const struct guest_mem *mem;

	/* set by the core */
	struct virtq queues[VIRTIO_QUEUES_MAX];
	uint64_t features;   /* negotiated */
	atomic_bool running; /* between start and stop */
	atomic_bool broken;  /* a guest fault: DEVICE_NEEDS_RESET is shown until reset */
	const struct virtio_transport_ops *transport_ops;
	void *transport;
	struct ratelimit faults;
	struct virtio_service services[VIRTIO_QUEUES_MAX];
};

/*
 * Fill in what the core owns; constructors call it last. Returns 0 or negative errno.
 */
int virtio_device_init(struct virtio_device *dev);

/*
 * Have @queue kicked again after everything else that is waiting had its turn. A device takes a
 * bounded number of chains for each kick, so that a guest which never stops publishing cannot keep
 * the loop from serving the others.
 */
void virtio_kick_again(struct virtio_device *dev, unsigned int queue);

/*
 * Interrupt the driver for what was pushed to @queue, if it asked for that. Thread of the queue's
 * loop.
 */
void virtio_signal(struct virtio_device *dev, unsigned int queue);

/*
 * Interrupt the driver at the end of the turn for what is pushed to @queue until then, if it asked
 * for that. Thread of the queue's loop.
 */
void virtio_signal_later(struct virtio_device *dev, unsigned int queue);

/*
 * The same for a queue whose driver, being answered, mostly has more to ask, and until then does
 * well without interrupting itself for a kick: if experience is in favour of it, the loop looks at
 * the queue for a while.
 */
void virtio_answered(struct virtio_device *dev, unsigned int queue);

/*
 * @queue, whose kicks are suppressed, has been emptied: have the driver kick again from the end of
 * the turn on. The model's kick() is called if it publishes more until then.
 */
void virtio_emptied(struct virtio_device *dev, unsigned int queue);

/* Tell the driver that the configuration changed. Thread of the device's loop. */
void virtio_config_changed(struct virtio_device *dev);

/*
 * The guest broke the rules: @fmt says how. The device stops taking requests, shows
 * DEVICE_NEEDS_RESET (2.1.1) and says so in the log, at a limited rate. Nobody else is harmed.
 * Thread of any of the device's loops.
 */
void virtio_fault(struct virtio_device *dev, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * The core's half of the life cycle, for transports.
 *
 * virtio_device_start() starts the model, on the thread of the device's loop.
 * virtio_device_stop() stops it, and returns when no request in flight can touch guest memory any
 * more: on a thread that is none of the device's loops, one caller at a time.
 * virtio_device_kick() passes a kick on, on the thread of the queue's loop.
 */
void virtio_device_start(struct virtio_device *dev);
void virtio_device_stop(struct virtio_device *dev);
void virtio_device_kick(struct virtio_device *dev, unsigned int queue);
