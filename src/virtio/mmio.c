// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-mmio (virtio 1.3, 4.2).
 *
 * Theory of operation. The registers are the vCPUs' business, the device the loop's. What a driver
 * writes while it sets the device up is staged here under a lock; DRIVER_OK hands it over to the
 * loop, and from then on the set-up registers are deaf until a reset has taken it back. Both
 * transitions wait for the loop: a reset in particular returns only when no request in flight can
 * touch guest memory any more, because drivers on this transport do not poll for that.
 *
 * A driver that leaves the order of 3.1.1 is not answered (its write has no effect); it can harm
 * only itself.
 */
#include "virtio/mmio.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdlib.h>
#include <string.h>

#define VENDOR_ID 0x4d56424bu /* "KBVM": no registry exists for these */
#define STATUS_ALL                                                                            \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK | \
	 VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED)

struct virtio_mmio {
	struct virtio_device *dev;
	int source;
	int irq_file;
	int kick_files[VIRTIO_QUEUES_MAX];

	atomic_uint isr; /* InterruptStatus */
	atomic_uint config_generation;

	pthread_mutex_t lock; /* the rest */
	uint32_t status;
	uint32_t device_features_sel;
	uint32_t driver_features_sel;
	uint64_t driver_features;
	uint32_t queue_sel;
	struct ratelimit misuse;
};

enum { OP_KICK };

static void raise_irq(struct virtio_mmio *t, unsigned int why)
{
	atomic_fetch_or(&t->isr, why);
	loop_signal(t->dev->loop, t->irq_file);
}

static void signal_queue(void *transport, unsigned int queue)
{
	(void)queue;
	raise_irq(transport, VIRTIO_MMIO_INT_VRING);
}

static void signal_config(void *transport)
{
	struct virtio_mmio *t = transport;

	atomic_fetch_add(&t->config_generation, 1);
	raise_irq(t, VIRTIO_MMIO_INT_CONFIG);
}

static const struct virtio_transport_ops mmio_transport_ops = {
	.signal_queue = signal_queue,
	.signal_config = signal_config,
};

static void handle_loop_event(void *ctx, const struct loop_event *ev)
{
	struct virtio_mmio *t = ctx;

	switch (ev->op) {
	case OP_KICK:
		if (ev->res < 0)
			return; /* the eventfd is gone: the monitor is ending */
		loop_wait_event(t->dev->loop, t->kick_files[ev->index], t->source, OP_KICK,
				ev->index, 0);
		virtio_device_kick(t->dev, ev->index);
		break;
	}
}

static void start_on_loop(void *ctx, struct loop_call *call)
{
	struct virtio_mmio *t = ctx;

	virtio_device_start(t->dev);
	loop_call_done(call);
}

static void stop_on_loop(void *ctx, struct loop_call *call)
{
	struct virtio_mmio *t = ctx;

	t->dev->running = false;
	t->dev->ops->stop(t->dev, call);
}

/* Under the lock. */
static void reset(struct virtio_mmio *t)
{
	struct virtio_device *dev = t->dev;

	if (t->status & VIRTIO_CONFIG_S_DRIVER_OK)
		loop_call(dev->loop, stop_on_loop, t);
	for (unsigned int i = 0; i < dev->nqueues; i++)
		virtq_reset(&dev->queues[i]);
	dev->features = 0;
	atomic_store(&dev->broken, false);
	atomic_store(&t->isr, 0);
	t->status = 0;
	t->device_features_sel = 0;
	t->driver_features_sel = 0;
	t->driver_features = 0;
	t->queue_sel = 0;
}

static void misuse(struct virtio_mmio *t, const char *what, uint32_t value)
{
	log_limited(&t->misuse, "guest error on %s: %s (%#x) had no effect", t->dev->name, what,
		    value);
}

/* 3.1.1: each bit has its predecessors, none is taken back but by a reset. */
static void write_status(struct virtio_mmio *t, uint32_t value)
{
	const uint32_t setup = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
	uint32_t added = value & ~t->status & STATUS_ALL;

	if (!value) {
		reset(t);
		return;
	}
	if (t->status & ~value & STATUS_ALL) {
		misuse(t, "taking status bits back without a reset", value);
		return;
	}
	if (added & VIRTIO_CONFIG_S_FEATURES_OK) {
		bool acceptable = (value & setup) == setup &&
				  t->driver_features & 1ull << VIRTIO_F_VERSION_1 &&
				  !(t->driver_features & ~t->dev->features_offered);

		if (!acceptable) {
			misuse(t, "features that were not offered, or out of order", value);
			added &= ~(uint32_t)(VIRTIO_CONFIG_S_FEATURES_OK |
					     VIRTIO_CONFIG_S_DRIVER_OK);
		} else {
			t->dev->features = t->driver_features;
		}
	}
	if (added & VIRTIO_CONFIG_S_DRIVER_OK &&
	    !((t->status | added) & VIRTIO_CONFIG_S_FEATURES_OK)) {
		misuse(t, "DRIVER_OK before FEATURES_OK", value);
		added &= ~(uint32_t)VIRTIO_CONFIG_S_DRIVER_OK;
	}
	t->status |= added;
	if (added & VIRTIO_CONFIG_S_DRIVER_OK)
		loop_call(t->dev->loop, start_on_loop, t);
}

/* The queue that set-up registers speak of, or NULL where they are deaf. */
static struct virtq *queue_in_setup(struct virtio_mmio *t)
{
	if (t->queue_sel >= t->dev->nqueues || !(t->status & VIRTIO_CONFIG_S_FEATURES_OK) ||
	    t->status & VIRTIO_CONFIG_S_DRIVER_OK)
		return NULL;
	return &t->dev->queues[t->queue_sel];
}

static void set_low(gpa_t *addr, uint32_t value)
{
	addr->v = (addr->v & ~0xffffffffull) | value;
}

static void set_high(gpa_t *addr, uint32_t value)
{
	addr->v = (addr->v & 0xffffffffull) | (uint64_t)value << 32;
}

static void write_queue_ready(struct virtio_mmio *t, struct virtq *q, uint32_t value)
{
	bool event_idx = t->dev->features & 1ull << VIRTIO_RING_F_EVENT_IDX;

	if (!(value & 1))
		q->ready = false;
	else if (virtq_enable(q, event_idx))
		misuse(t, "a queue of bad size or outside of memory", t->queue_sel);
}

static void write_queue_register(struct virtio_mmio *t, uint32_t off, uint32_t value)
{
	struct virtq *q = queue_in_setup(t);

	if (!q || (q->ready && off != VIRTIO_MMIO_QUEUE_READY)) {
		misuse(t, "a queue register written out of order", off);
		return;
	}
	switch (off) {
	case VIRTIO_MMIO_QUEUE_NUM:
		/* Out of 16 bits is as wrong as out of bounds; 0 is refused when it is enabled. */
		q->size = value <= q->size_max ? (uint16_t)value : 0;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
		set_low(&q->desc_gpa, value);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_high(&q->desc_gpa, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
		set_low(&q->driver_gpa, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_high(&q->driver_gpa, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
		set_low(&q->device_gpa, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_high(&q->device_gpa, value);
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		write_queue_ready(t, q, value);
		break;
	}
}

static void write_driver_features(struct virtio_mmio *t, uint32_t value)
{
	if (t->status & VIRTIO_CONFIG_S_FEATURES_OK) {
		misuse(t, "features written after FEATURES_OK", value);
		return;
	}
	if (t->driver_features_sel == 0)
		t->driver_features = (t->driver_features & ~0xffffffffull) | value;
	else if (t->driver_features_sel == 1)
		t->driver_features = (t->driver_features & 0xffffffffull) | (uint64_t)value << 32;
	else if (value)
		misuse(t, "a feature past bit 63", t->driver_features_sel);
}

static void write_register(struct virtio_mmio *t, uint32_t off, uint32_t value)
{
	switch (off) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		t->device_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		t->driver_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		write_driver_features(t, value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		t->queue_sel = value;
		break;
	case VIRTIO_MMIO_QUEUE_NUM:
	case VIRTIO_MMIO_QUEUE_READY:
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		write_queue_register(t, off, value);
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		/* The numbers of real queues never come here: they are eventfds in the kernel. */
		misuse(t, "a notification for a queue that is not there", value);
		break;
	case VIRTIO_MMIO_STATUS:
		write_status(t, value);
		break;
	case VIRTIO_MMIO_SHM_SEL:
		break;
	default:
		misuse(t, "a write to a read-only or unknown register", off);
	}
}

static uint32_t read_register(struct virtio_mmio *t, uint32_t off)
{
	const struct virtio_device *dev = t->dev;
	const struct virtq *q = t->queue_sel < dev->nqueues ? &dev->queues[t->queue_sel] : NULL;

	switch (off) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return 0x74726976; /* "virt" */
	case VIRTIO_MMIO_VERSION:
		return 2;
	case VIRTIO_MMIO_DEVICE_ID:
		return dev->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR_ID;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return t->device_features_sel > 1
			       ? 0
			       : (uint32_t)(dev->features_offered >> 32 * t->device_features_sel);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return q ? q->size_max : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return q && q->ready;
	case VIRTIO_MMIO_STATUS:
		return t->status | (atomic_load(&dev->broken) ? VIRTIO_CONFIG_S_NEEDS_RESET : 0);
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return 0xffffffff; /* 4.2.2.1: no such shared memory region */
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return atomic_load(&t->config_generation);
	default:
		return 0;
	}
}

static bool in_config(const struct virtio_mmio *t, uint64_t off, uint32_t len)
{
	return off >= VIRTIO_MMIO_CONFIG && off - VIRTIO_MMIO_CONFIG + len <= t->dev->config_size;
}

void virtio_mmio_read(struct virtio_mmio *t, uint64_t off, void *data, uint32_t len)
{
	memset(data, 0, len);
	if (in_config(t, off, len)) {
		t->dev->ops->config_read(t->dev, (uint32_t)off - VIRTIO_MMIO_CONFIG, data, len);
		return;
	}
	/* 4.2.2.2: below the configuration, registers are 32 bits wide, aligned, and nothing else.
	 */
	if (off >= VIRTIO_MMIO_CONFIG || len != 4 || off % 4)
		return;

	uint32_t value;

	if (off == VIRTIO_MMIO_INTERRUPT_STATUS) {
		/* Interrupt handlers must not wait for a reset that another vCPU has begun. */
		value = atomic_load(&t->isr);
	} else {
		pthread_mutex_lock(&t->lock);
		value = read_register(t, (uint32_t)off);
		pthread_mutex_unlock(&t->lock);
	}
	value = htole32(value);
	memcpy(data, &value, sizeof(value));
}

struct config_write {
	struct virtio_mmio *t;
	uint32_t off;
	uint32_t len;
	const void *data;
};

static void config_write_on_loop(void *ctx, struct loop_call *call)
{
	struct config_write *w = ctx;

	w->t->dev->ops->config_write(w->t->dev, w->off, w->data, w->len);
	loop_call_done(call);
}

void virtio_mmio_write(struct virtio_mmio *t, uint64_t off, const void *data, uint32_t len)
{
	uint32_t value;

	if (in_config(t, off, len) && t->dev->ops->config_write) {
		struct config_write w = { t, (uint32_t)off - VIRTIO_MMIO_CONFIG, len, data };

		loop_call(t->dev->loop, config_write_on_loop, &w);
		return;
	}
	if (off >= VIRTIO_MMIO_CONFIG || len != 4 || off % 4)
		return;
	memcpy(&value, data, sizeof(value));
	value = le32toh(value);
	if (off == VIRTIO_MMIO_INTERRUPT_ACK) {
		atomic_fetch_and(&t->isr, ~value);
		return;
	}
	pthread_mutex_lock(&t->lock);
	write_register(t, (uint32_t)off, value);
	pthread_mutex_unlock(&t->lock);
}

void virtio_mmio_reset(struct virtio_mmio *t)
{
	pthread_mutex_lock(&t->lock);
	reset(t);
	pthread_mutex_unlock(&t->lock);
}

int virtio_mmio_new(struct virtio_device *dev, const int *kick_fds, int irq_fd,
		    struct virtio_mmio **out)
{
	struct virtio_mmio *t = calloc(1, sizeof(*t));
	int ret;

	if (!t)
		return -ENOMEM;
	t->dev = dev;
	ret = loop_add_source(dev->loop, handle_loop_event, t);
	if (ret < 0)
		goto fail;
	t->source = ret;
	ret = loop_add_file(dev->loop, irq_fd);
	if (ret < 0)
		goto fail;
	t->irq_file = ret;
	for (unsigned int i = 0; i < dev->nqueues; i++) {
		ret = loop_add_file(dev->loop, kick_fds[i]);
		if (ret < 0)
			goto fail;
		t->kick_files[i] = ret;
		loop_wait_event(dev->loop, ret, t->source, OP_KICK, (uint16_t)i, 0);
	}
	pthread_mutex_init(&t->lock, NULL);
	dev->transport_ops = &mmio_transport_ops;
	dev->transport = t;
	*out = t;
	return 0;

fail:
	free(t);
	return ret;
}

void virtio_mmio_free(struct virtio_mmio *t)
{
	if (!t)
		return;
	t->dev->ops->free(t->dev);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
