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
 * What a device model implements. All of it runs on the loop's thread, so a model needs no lock.
 */
struct virtio_ops {
	/* The driver set DRIVER_OK: dev->features is final, the queues it wants are ready. */
	void (*start)(struct virtio_device *dev);

	/*
	 * Reset: stop using guest memory, drop every chain. The queues are reset by the caller
	 * after @done, which may be called later, when requests in flight have completed.
	 */
	void (*stop)(struct virtio_device *dev, struct loop_call *done);

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
	/* Interrupt for used buffers of @queue. Loop thread. */
	void (*signal_queue)(void *transport, unsigned int queue);
	/* Interrupt for a change of configuration or NEEDS_RESET. Loop thread. */
	void (*signal_config)(void *transport);
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
	struct loop *loop;
	const struct guest_mem *mem;

	/* set by the core */
	struct virtq queues[VIRTIO_QUEUES_MAX];
	uint64_t features;  /* negotiated */
	bool running;       /* between start and stop; loop thread */
	atomic_bool broken; /* a guest fault: DEVICE_NEEDS_RESET is shown until reset */
	const struct virtio_transport_ops *transport_ops;
	void *transport;
	struct ratelimit faults;
	int source;          /* of virtio_kick_again() */
	uint32_t again;      /* queues with such a kick under way, a bit each */
	uint32_t generation; /* counts starts, so that a kick from before a reset is dropped */
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

/* Interrupt the driver for what was pushed to @queue, if it asked for that. Loop thread. */
void virtio_signal(struct virtio_device *dev, unsigned int queue);

/* Tell the driver that the configuration changed. Loop thread. */
void virtio_config_changed(struct virtio_device *dev);

/*
 * The guest broke the rules: @fmt says how. The device stops taking requests, shows
 * DEVICE_NEEDS_RESET (2.1.1) and says so in the log, at a limited rate. Nobody else is harmed.
 */
void virtio_fault(struct virtio_device *dev, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * The core's half of the life cycle, for transports. Both run on the loop's thread.
 * virtio_device_start() enables the queues the driver made ready and starts the model; a queue that
 * cannot be is a fault of the guest.
 */
void virtio_device_start(struct virtio_device *dev);
void virtio_device_kick(struct virtio_device *dev, unsigned int queue);
