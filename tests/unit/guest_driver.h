// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * The guest's side of a virtio device, for tests: split queues laid out in guest memory and driven
 * by hand, a transport that counts interrupts, and the life cycle over a loop that the test turns.
 * What goes wrong here is the test's fault and aborts it.
 */

#include <endian.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "mem/map.h"
#include "virtio/device.h"
#include "virtio/queue.h"

#define guest_require(cond)                                                                \
	do {                                                                               \
		if (!(cond)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                           \
		}                                                                          \
	} while (0)

struct guest_seg {
	uint64_t gpa;
	uint32_t len;
	bool write; /* the device writes it */
};

struct guest_queue {
	const struct guest_mem *mem;
	struct vring vr; /* host addresses */
	uint64_t desc_gpa;
	uint64_t avail_gpa;
	uint64_t used_gpa;
	uint16_t avail_idx; /* next to be filled; published by guest_queue_publish() */
	uint16_t used_idx;  /* next to be read */
	uint16_t nfree;
	uint16_t free[VIRTQ_SIZE_MAX]; /* descriptors nobody uses */
};

/* Host address of guest bytes. */
static inline void *guest_at(const struct guest_mem *mem, uint64_t addr, uint64_t len)
{
	void *p = guest_mem_ptr(mem, gpa(addr), len);

	guest_require(p);
	return p;
}

/*
 * Lay out an empty queue of @size at guest address @at (a multiple of 16). Returns the first
 * address behind it, rounded up to a page.
 */
static inline uint64_t guest_queue_init(struct guest_queue *gq, const struct guest_mem *mem,
					uint64_t at, uint16_t size)
{
	guest_require(size <= VIRTQ_SIZE_MAX);
	*gq = (struct guest_queue){ .mem = mem, .nfree = size };
	gq->desc_gpa = at;
	gq->avail_gpa = gq->desc_gpa + size * sizeof(struct vring_desc);
	gq->used_gpa = (gq->avail_gpa + 6 + 2ull * size + 3) & ~3ull;
	uint64_t end = gq->used_gpa + 6 + 8ull * size;

	memset(guest_at(mem, at, end - at), 0, end - at);
	gq->vr.num = size;
	gq->vr.desc = guest_at(mem, gq->desc_gpa, size * sizeof(struct vring_desc));
	gq->vr.avail = guest_at(mem, gq->avail_gpa, 6 + 2ull * size);
	gq->vr.used = guest_at(mem, gq->used_gpa, 6 + 8ull * size);
	for (uint16_t i = 0; i < size; i++)
		gq->free[i] = (uint16_t)(size - 1 - i);
	return (end + 4095) & ~4095ull;
}

/* Tell the device where the queue is and make it live. Returns what virtq_enable() returns. */
static inline int guest_queue_enable(const struct guest_queue *gq, struct virtq *q, bool event_idx)
{
	q->size = (uint16_t)gq->vr.num;
	q->desc_gpa = gpa(gq->desc_gpa);
	q->driver_gpa = gpa(gq->avail_gpa);
	q->device_gpa = gpa(gq->used_gpa);
	return virtq_enable(q, event_idx);
}

static inline struct vring_desc guest_desc(const struct guest_seg *seg, bool more, uint16_t next)
{
	return (struct vring_desc){
		.addr = htole64(seg->gpa),
		.len = htole32(seg->len),
		.flags = htole16((uint16_t)((seg->write ? VRING_DESC_F_WRITE : 0) |
					    (more ? VRING_DESC_F_NEXT : 0))),
		.next = htole16(next),
	};
}

/* Put @head into the available ring, whatever it is; the device sees it once published. */
static inline void guest_queue_offer(struct guest_queue *gq, uint16_t head)
{
	gq->vr.avail->ring[gq->avail_idx++ % gq->vr.num] = htole16(head);
}

/*
 * Add a chain of @n segments to the available ring; the device sees it once published. Returns its
 * head.
 */
static inline uint16_t guest_queue_add(struct guest_queue *gq, const struct guest_seg *segs,
				       unsigned int n)
{
	guest_require(n && n <= gq->nfree);
	uint16_t head = gq->free[gq->nfree - 1];

	for (unsigned int i = 0; i < n; i++) {
		uint16_t d = gq->free[--gq->nfree];
		bool more = i + 1 < n;

		gq->vr.desc[d] = guest_desc(&segs[i], more, more ? gq->free[gq->nfree - 1] : 0);
	}
	guest_queue_offer(gq, head);
	return head;
}

/* Likewise, through an indirect table at guest address @table, which has room for @n entries. */
static inline uint16_t guest_queue_add_indirect(struct guest_queue *gq, uint64_t table,
						const struct guest_seg *segs, unsigned int n)
{
	uint32_t bytes = n * (uint32_t)sizeof(struct vring_desc);
	struct vring_desc *t = guest_at(gq->mem, table, bytes);

	guest_require(n && gq->nfree);
	for (unsigned int i = 0; i < n; i++)
		t[i] = guest_desc(&segs[i], i + 1 < n, (uint16_t)(i + 1));
	uint16_t head = gq->free[--gq->nfree];

	gq->vr.desc[head] = (struct vring_desc){ .addr = htole64(table),
						 .len = htole32(bytes),
						 .flags = htole16(VRING_DESC_F_INDIRECT) };
	guest_queue_offer(gq, head);
	return head;
}

/* Show the device what was added. */
static inline void guest_queue_publish(struct guest_queue *gq)
{
	__atomic_store_n(&gq->vr.avail->idx, htole16(gq->avail_idx), __ATOMIC_RELEASE);
}

/* Take back the next chain the device has used. False: none. @len may be NULL. */
static inline bool guest_queue_used(struct guest_queue *gq, uint16_t *head, uint32_t *len)
{
	if (le16toh(__atomic_load_n(&gq->vr.used->idx, __ATOMIC_ACQUIRE)) == gq->used_idx)
		return false;
	struct vring_used_elem e = gq->vr.used->ring[gq->used_idx++ % gq->vr.num];
	uint32_t d = le32toh(e.id);

	guest_require(d < gq->vr.num);
	*head = (uint16_t)d;
	if (len)
		*len = le32toh(e.len);
	for (;;) {
		uint16_t flags = le16toh(gq->vr.desc[d].flags);

		guest_require(gq->nfree < gq->vr.num);
		gq->free[gq->nfree++] = (uint16_t)d;
		if (!(flags & VRING_DESC_F_NEXT))
			break;
		d = le16toh(gq->vr.desc[d].next);
	}
	return true;
}

/* A transport that does nothing but count. */
struct guest_transport {
	unsigned int queue_signals[VIRTIO_QUEUES_MAX];
	unsigned int config_signals;
};

static inline void guest_signal_queue(void *transport, unsigned int queue)
{
	((struct guest_transport *)transport)->queue_signals[queue]++;
}

static inline void guest_signal_config(void *transport)
{
	((struct guest_transport *)transport)->config_signals++;
}

static inline void guest_transport_attach(struct guest_transport *t, struct virtio_device *dev)
{
	static const struct virtio_transport_ops ops = {
		.signal_queue = guest_signal_queue,
		.signal_config = guest_signal_config,
		.signal_fault = guest_signal_config,
	};

	*t = (struct guest_transport){ 0 };
	dev->transport_ops = &ops;
	dev->transport = t;
}

/* Loop calls come from another thread than the loop's; this one makes ours. */
struct guest_reset {
	struct virtio_device *dev;
	unsigned int queue; /* being stopped */
	bool finished;      /* the test's thread only */
};

static inline void guest_reset_stop(void *ctx, struct loop_call *call)
{
	struct guest_reset *r = ctx;

	r->dev->running = false;
	if (r->dev->ops->stop_queue)
		r->dev->ops->stop_queue(r->dev, r->queue, call);
	else
		r->dev->ops->stop(r->dev, call);
}

static inline void guest_reset_finish(void *ctx, struct loop_call *call)
{
	((struct guest_reset *)ctx)->finished = true;
	loop_call_done(call);
}

static inline void *guest_reset_thread(void *arg)
{
	struct guest_reset *r = arg;

	do
		guest_require(loop_call(r->dev->loop, guest_reset_stop, r) == 0);
	while (r->dev->ops->stop_queue && ++r->queue < r->dev->nqueues);
	guest_require(loop_call(r->dev->loop, guest_reset_finish, r) == 0);
	return NULL;
}

/* Reset the device as a transport does: stop it, wait until it has stopped, forget its queues. */
static inline void guest_device_reset(struct virtio_device *dev)
{
	struct guest_reset r = { .dev = dev };
	pthread_t thread;

	guest_require(pthread_create(&thread, NULL, guest_reset_thread, &r) == 0);
	while (!r.finished)
		guest_require(loop_run_once(dev->loop) == 0);
	pthread_join(thread, NULL);
	for (unsigned int i = 0; i < dev->nqueues; i++)
		virtq_reset(&dev->queues[i]);
	dev->features = 0;
	atomic_store(&dev->broken, false);
}

/* A source of our own, to turn a loop that may have nothing to wait for. */
struct guest_clock {
	struct loop *loop;
	int source;
	unsigned int ticks;
};

static inline void guest_clock_event(void *ctx, const struct loop_event *ev)
{
	(void)ev;
	((struct guest_clock *)ctx)->ticks++;
}

static inline void guest_clock_init(struct guest_clock *clock, struct loop *loop)
{
	*clock = (struct guest_clock){ .loop = loop };
	clock->source = loop_add_source(loop, guest_clock_event, clock);
	guest_require(clock->source >= 0);
}

/* Turn the loop @rounds times, whether or not anything happens. */
static inline void guest_clock_turn(struct guest_clock *clock, unsigned int rounds)
{
	for (unsigned int end = clock->ticks + rounds; clock->ticks != end;) {
		struct io_uring_sqe *sqe = loop_sqe(clock->loop);
		unsigned int before = clock->ticks;

		io_uring_prep_nop(sqe);
		loop_tag(sqe, clock->source, 0, 0, 0);
		while (clock->ticks == before)
			guest_require(loop_run_once(clock->loop) == 0);
	}
}
