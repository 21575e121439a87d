// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-mmio (virtio 1.3, 4.2).
 *
 * Theory of operation. The registers are the vCPUs' business, the device the loop's, or the loops'
 * where queues have their own. What a driver writes while it sets the device up is staged here
 * under a lock; DRIVER_OK hands it over to the loop, and from then on the set-up registers are deaf
 * until a reset has taken it back. Both transitions wait for the loop: a reset in particular
 * returns only when no request in flight can touch guest memory any more, because drivers on this
 * transport do not poll for that.
 *
 * A driver that leaves the order of 3.1.1 is not answered (its write has no effect); it can harm
 * only itself.
 *
 * Reads do not come here at all. No register of this transport has a read side effect, so what the
 * driver would read is kept in a page of memory, which the guest is given read-only in place of the
 * registers: reading one costs it a load, where an exit to us would cost it thousands of cycles,
 * and half of all accesses are reads. Whoever changes what a register shows also stores it in the
 * page. A guest cannot write there; its stores leave the guest as register writes.
 *
 * One of these need not come here either: the acknowledgement of a used buffer notification and
 * nothing else, which every interrupt brings. Whoever wires the transport up may drop it. The bit
 * then stays in InterruptStatus until it is acknowledged together with another, or a reset; that
 * is no more than a spurious notification, which drivers have to bear (4.2.3.4), and interrupts are
 * edges: none is held up by it.
 *
 * And a queue's addresses may come late, though in order (VIRTIO_MMIO_LATCHES): nothing is done
 * with them before QueueReady is written, and nothing that a driver can read depends on them.
 *
 * Three words of the page change under two kinds of threads: Status and InterruptStatus, which are
 * therefore only changed by atomic and/or, and ConfigGeneration, which only the device's loop
 * increments.
 */
#include "virtio/mmio.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VENDOR_ID 0x4d56424bu /* "KBVM": no registry exists for these */
#define STATUS_ALL                                                                            \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK | \
	 VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED)

/* A loop's numbers for what it serves. */
struct line {
	int source;
	int irq_file;
};

struct virtio_mmio {
	struct virtio_device *dev;
	int irq_fd;
	struct line line; /* on the device's loop */
	struct line queue_lines[VIRTIO_QUEUES_MAX];
	int kick_files[VIRTIO_QUEUES_MAX];

	_Atomic uint32_t *page;     /* what the guest reads, little endian */
	uint32_t config_generation; /* thread of the device's loop */

	pthread_mutex_t lock; /* the rest */
	uint32_t status;
	uint32_t device_features_sel;
	uint32_t driver_features_sel;
	uint64_t driver_features;
	uint32_t queue_sel;
	struct ratelimit misuse;
};

enum { OP_KICK };

static void show(struct virtio_mmio *t, uint32_t off, uint32_t value)
{
	atomic_store(&t->page[off / 4], htole32(value));
}

/* To be done before the interrupt is raised. */
static void show_irq(struct virtio_mmio *t, uint32_t why)
{
	atomic_fetch_or(&t->page[VIRTIO_MMIO_INTERRUPT_STATUS / 4], htole32(why));
}

static void show_config(struct virtio_mmio *t)
{
	if (t->dev->config_size)
		t->dev->ops->config_read(t->dev, 0, (uint8_t *)t->page + VIRTIO_MMIO_CONFIG,
					 t->dev->config_size);
}

static void signal_queue(void *transport, unsigned int queue)
{
	struct virtio_mmio *t = transport;

	show_irq(t, VIRTIO_MMIO_INT_VRING);
	loop_signal(t->dev->queue_loops[queue], t->queue_lines[queue].irq_file);
}

static void signal_config(void *transport)
{
	struct virtio_mmio *t = transport;

	/* A driver that sees the same generation before and after has read one and the same state.
	 */
	show(t, VIRTIO_MMIO_CONFIG_GENERATION, ++t->config_generation);
	show_config(t);
	show(t, VIRTIO_MMIO_CONFIG_GENERATION, ++t->config_generation);
	/* 2.1.2: a device sends no notification before DRIVER_OK. */
	if (!atomic_load(&t->dev->running))
		return;
	show_irq(t, VIRTIO_MMIO_INT_CONFIG);
	loop_signal(t->dev->loop, t->line.irq_file);
}

/* Whichever loop finds the fault writes to the eventfd itself: it is rare, and belongs to no ring.
 */
static void signal_fault(void *transport)
{
	static const uint64_t one = 1;
	struct virtio_mmio *t = transport;

	atomic_fetch_or(&t->page[VIRTIO_MMIO_STATUS / 4], htole32(VIRTIO_CONFIG_S_NEEDS_RESET));
	show_irq(t, VIRTIO_MMIO_INT_CONFIG);
	ssize_t ret = write(t->irq_fd, &one, sizeof(one));
	(void)ret; /* fails only when the counter is full: then an interrupt is on its way */
}

static const struct virtio_transport_ops mmio_transport_ops = {
	.signal_queue = signal_queue,
	.signal_config = signal_config,
	.signal_fault = signal_fault,
};

static void wait_kick(struct virtio_mmio *t, unsigned int queue)
{
	loop_wait_event(t->dev->queue_loops[queue], t->kick_files[queue],
			t->queue_lines[queue].source, OP_KICK, (uint16_t)queue, 0);
}

static void handle_loop_event(void *ctx, const struct loop_event *ev)
{
	struct virtio_mmio *t = ctx;

	switch (ev->op) {
	case OP_KICK:
		if (ev->res == -ECANCELED || ev->res == -EBADF)
			return; /* the monitor is ending */
		wait_kick(t, ev->index);
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

/* What the selected queue and the selected half of the features look like. Under the lock. */
static void show_selected(struct virtio_mmio *t)
{
	const struct virtio_device *dev = t->dev;
	const struct virtq *q = t->queue_sel < dev->nqueues ? &dev->queues[t->queue_sel] : NULL;
	unsigned int shift = 32 * t->device_features_sel;

	show(t, VIRTIO_MMIO_QUEUE_NUM_MAX, q ? q->size_max : 0);
	show(t, VIRTIO_MMIO_QUEUE_READY, q && q->ready);
	show(t, VIRTIO_MMIO_DEVICE_FEATURES,
	     t->device_features_sel > 1 ? 0 : (uint32_t)(dev->features_offered >> shift));
}

/* Under the lock. */
static void reset(struct virtio_mmio *t)
{
	struct virtio_device *dev = t->dev;

	if (t->status & VIRTIO_CONFIG_S_DRIVER_OK)
		virtio_device_stop(dev);
	for (unsigned int i = 0; i < dev->nqueues; i++)
		virtq_reset(&dev->queues[i]);
	dev->features = 0;
	atomic_store(&dev->broken, false);
	t->status = 0;
	show(t, VIRTIO_MMIO_STATUS, 0);
	show(t, VIRTIO_MMIO_INTERRUPT_STATUS, 0);
	t->device_features_sel = 0;
	t->driver_features_sel = 0;
	t->driver_features = 0;
	t->queue_sel = 0;
	show_selected(t);
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
	atomic_fetch_or(&t->page[VIRTIO_MMIO_STATUS / 4], htole32(added));
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

static bool in_config(const struct virtio_mmio *t, uint64_t off, uint32_t len)
{
	return off >= VIRTIO_MMIO_CONFIG && off - VIRTIO_MMIO_CONFIG + len <= t->dev->config_size;
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
	show_config(w->t);
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
	/* 4.2.2.2: below the configuration, registers are 32 bits wide, aligned, and nothing else.
	 */
	if (off >= VIRTIO_MMIO_CONFIG || len != 4 || off % 4)
		return;
	memcpy(&value, data, sizeof(value));
	value = le32toh(value);
	if (off == VIRTIO_MMIO_INTERRUPT_ACK) {
		/* Interrupt handlers must not wait for a reset that another vCPU has begun. */
		atomic_fetch_and(&t->page[VIRTIO_MMIO_INTERRUPT_STATUS / 4], htole32(~value));
		return;
	}
	pthread_mutex_lock(&t->lock);
	write_register(t, (uint32_t)off, value);
	show_selected(t);
	pthread_mutex_unlock(&t->lock);
}

void virtio_mmio_reset(struct virtio_mmio *t)
{
	pthread_mutex_lock(&t->lock);
	reset(t);
	pthread_mutex_unlock(&t->lock);
}

/* What never changes, and the state after a reset. */
static void show_all(struct virtio_mmio *t)
{
	show(t, VIRTIO_MMIO_MAGIC_VALUE, 0x74726976); /* "virt" */
	show(t, VIRTIO_MMIO_VERSION, 2);
	show(t, VIRTIO_MMIO_DEVICE_ID, t->dev->id);
	show(t, VIRTIO_MMIO_VENDOR_ID, VENDOR_ID);
	/* 4.2.2.1: no shared memory region has a length of all ones. */
	show(t, VIRTIO_MMIO_SHM_LEN_LOW, 0xffffffff);
	show(t, VIRTIO_MMIO_SHM_LEN_HIGH, 0xffffffff);
	show(t, VIRTIO_MMIO_SHM_BASE_LOW, 0xffffffff);
	show(t, VIRTIO_MMIO_SHM_BASE_HIGH, 0xffffffff);
	show_selected(t);
	show_config(t);
}

static int add_line(struct virtio_mmio *t, struct loop *loop, struct line *line)
{
	line->source = loop_add_source(loop, handle_loop_event, t);
	if (line->source < 0)
		return line->source;
	line->irq_file = loop_add_file(loop, t->irq_fd);
	return line->irq_file < 0 ? line->irq_file : 0;
}

static int add_queue(struct virtio_mmio *t, unsigned int queue, int kick_fd)
{
	struct loop *loop = t->dev->queue_loops[queue];
	int ret = 0;

	t->queue_lines[queue] = t->line;
	if (loop != t->dev->loop)
		ret = add_line(t, loop, &t->queue_lines[queue]);
	if (ret)
		return ret;
	t->kick_files[queue] = loop_add_file(loop, kick_fd);
	if (t->kick_files[queue] < 0)
		return t->kick_files[queue];
	wait_kick(t, queue);
	return 0;
}

int virtio_mmio_new(struct virtio_device *dev, const int *kick_fds, int irq_fd, void *page,
		    struct virtio_mmio **out)
{
	struct virtio_mmio *t = calloc(1, sizeof(*t));
	int ret;

	if (!t)
		return -ENOMEM;
	t->dev = dev;
	t->page = page;
	t->irq_fd = irq_fd;
	ret = add_line(t, dev->loop, &t->line);
	for (unsigned int i = 0; !ret && i < dev->nqueues; i++)
		ret = add_queue(t, i, kick_fds[i]);
	if (ret) {
		free(t);
		return ret;
	}
	pthread_mutex_init(&t->lock, NULL);
	dev->transport_ops = &mmio_transport_ops;
	dev->transport = t;
	show_all(t);
	*out = t;
	return 0;
}

void virtio_mmio_free(struct virtio_mmio *t)
{
	if (!t)
		return;
	t->dev->ops->free(t->dev);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
