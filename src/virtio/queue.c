// SPDX-License-Identifier: Apache-2.0
/*
 * Split virtqueues (virtio 1.3, 2.7), device side.
 *
 * Theory of operation. The driver owns the descriptor table and the available ring, the device the
 * used ring; all three lie in guest RAM, and a hostile guest rewrites any of it at any time. Hence:
 *
 *  - The addresses are checked when the queue is enabled and never looked at again; what is kept
 *    are host pointers to memory that stays mapped as long as the VM.
 *  - A field is loaded once, into a local, by an access that the compiler may not repeat; the local
 *    is checked and used.
 *  - Positions (next_avail, next_used) are ours and never read back from the rings.
 *  - The number of chains taken and not given back is bounded by the queue's size, whatever the
 *    available ring says, so a head that is published twice cannot make us hold more.
 *  - A walk counts the descriptors it has seen and stops at the bound; loops end there.
 */
#include "virtio/queue.h"

#include <endian.h>
#include <stddef.h>

#define DESC_BYTES(n)  ((uint64_t)(n) * sizeof(struct vring_desc))
#define AVAIL_BYTES(n) (6 + 2 * (uint64_t)(n)) /* flags, idx, ring, used_event */
#define USED_BYTES(n)  (6 + 8 * (uint64_t)(n)) /* flags, idx, ring, avail_event */

/*
 * Atomic, if without order: a guest may put the rings of two queues, which two threads may serve,
 * in one place.
 */
#define load_once(p)     __atomic_load_n(p, __ATOMIC_RELAXED)
#define store_once(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)

/* The event fields sit past the end of the rings, where C has no member for them. */
static const uint16_t *used_event(const struct virtq *q)
{
	return &q->avail->ring[q->size];
}

static void store_avail_event(const struct virtq *q, int index)
{
	uint16_t *event = (uint16_t *)(void *)&q->used->ring[q->size];

	store_once(event, htole16((uint16_t)index));
}

static uint16_t load_avail_idx(const struct virtq *q)
{
	return le16toh(__atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE));
}

int virtq_enable(struct virtq *q, bool event_idx)
{
	if (!q->size || q->size > q->size_max || (q->size & (q->size - 1)))
		return VIRTQ_FAULT;
	if (q->desc_gpa.v % 16 || q->driver_gpa.v % 2 || q->device_gpa.v % 4)
		return VIRTQ_FAULT;

	void *desc = guest_mem_ptr(q->mem, q->desc_gpa, DESC_BYTES(q->size));
	void *avail = guest_mem_ptr(q->mem, q->driver_gpa, AVAIL_BYTES(q->size));
	void *used = guest_mem_ptr(q->mem, q->device_gpa, USED_BYTES(q->size));

	if (!desc || !avail || !used)
		return VIRTQ_FAULT;
	q->desc = desc;
	q->avail = avail;
	q->used = used;
	q->event_idx = event_idx;
	q->next_avail = 0;
	q->next_used = 0;
	q->last_signal = 0;
	q->in_flight = 0;
	q->ready = true;
	return 0;
}

void virtq_reset(struct virtq *q)
{
	*q = (struct virtq){ .mem = q->mem, .size_max = q->size_max, .size = q->size_max };
}

/* struct vring_desc anywhere in memory: nothing asks a driver to align an indirect table. */
struct loose_desc {
	__virtio64 addr;
	__virtio32 len;
	__virtio16 flags;
	__virtio16 next;
} __attribute__((packed));

_Static_assert(sizeof(struct loose_desc) == sizeof(struct vring_desc), "2.7.5");

struct walk {
	const struct loose_desc *table;
	uint32_t entries; /* of the table */
	uint32_t left;    /* descriptors this chain may still have */
};

static bool add_segment(const struct virtq *q, struct virtq_chain *c, uint64_t addr, uint32_t len,
			bool writable)
{
	uint32_t *total = writable ? &c->in_len : &c->out_len;

	/* 2.7.4.2: device-writable descriptors come after all device-readable ones. */
	if (!writable && c->nin)
		return false;
	if (__builtin_add_overflow(*total, len, total))
		return false;
	if (!len)
		return true;
	void *host = guest_mem_ptr(q->mem, gpa(addr), len);
	if (!host)
		return false;
	c->iov[c->nout + c->nin] = (struct iovec){ host, len };
	if (writable)
		c->nin++;
	else
		c->nout++;
	return true;
}

static struct vring_desc load_desc(const volatile struct loose_desc *d)
{
	return (struct vring_desc){
		.addr = le64toh(d->addr),
		.len = le32toh(d->len),
		.flags = le16toh(d->flags),
		.next = le16toh(d->next),
	};
}

/* 2.7.5.3: an indirect table stands alone, is not nested, and has at least one whole entry. */
static bool enter_indirect(const struct virtq *q, const struct vring_desc *d, struct walk *w)
{
	if (d->flags & VRING_DESC_F_NEXT || !d->len || d->len % sizeof(struct vring_desc))
		return false;
	const void *table = guest_mem_ptr(q->mem, gpa(d->addr), d->len);
	if (!table)
		return false;
	w->table = table;
	w->entries = d->len / (uint32_t)sizeof(struct vring_desc);
	w->left = VIRTQ_CHAIN_MAX;
	return true;
}

static bool walk_chain(const struct virtq *q, uint16_t head, struct virtq_chain *c)
{
	struct walk w = { .table = (const void *)q->desc, .entries = q->size, .left = q->size };
	bool indirect = false;
	uint16_t i = head;

	for (;;) {
		if (i >= w.entries || !w.left--)
			return false;
		struct vring_desc d = load_desc(&w.table[i]);

		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (indirect || !enter_indirect(q, &d, &w))
				return false;
			indirect = true;
			i = 0;
			continue;
		}
		/* A chain that goes direct, then indirect may come to more than either bound. */
		if (c->nout + c->nin == VIRTQ_CHAIN_MAX && d.len)
			return false;
		if (!add_segment(q, c, d.addr, d.len, d.flags & VRING_DESC_F_WRITE))
			return false;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return true;
		i = d.next;
	}
}

int virtq_pop(struct virtq *q, struct virtq_chain *chain)
{
	uint16_t pending = (uint16_t)(load_avail_idx(q) - q->next_avail);

	if (!pending)
		return VIRTQ_EMPTY;
	if (pending > q->size || q->in_flight >= q->size)
		return VIRTQ_FAULT;

	uint16_t head = le16toh(load_once(&q->avail->ring[q->next_avail & (q->size - 1)]));

	chain->head = head;
	chain->nout = 0;
	chain->nin = 0;
	chain->out_len = 0;
	chain->in_len = 0;
	if (!walk_chain(q, head, chain))
		return VIRTQ_FAULT;
	q->next_avail++;
	q->in_flight++;
	return VIRTQ_OK;
}

void virtq_put_back(struct virtq *q, unsigned int n)
{
	q->next_avail = (uint16_t)(q->next_avail - n);
	q->in_flight = (uint16_t)(q->in_flight - n);
}

void virtq_stage(struct virtq *q, uint16_t head, uint32_t written)
{
	struct vring_used_elem *e = &q->used->ring[q->next_used & (q->size - 1)];

	store_once(&e->id, htole32(head));
	store_once(&e->len, htole32(written));
	q->next_used++;
	q->in_flight--;
}

void virtq_publish(struct virtq *q)
{
	__atomic_store_n(&q->used->idx, htole16(q->next_used), __ATOMIC_RELEASE);
}

void virtq_push(struct virtq *q, uint16_t head, uint32_t written)
{
	virtq_stage(q, head, written);
	virtq_publish(q);
}

bool virtq_needs_signal(struct virtq *q)
{
	/* 2.7.7.2: the used index must be visible before the driver's wish is read. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!q->event_idx) {
		if (q->last_signal == q->next_used)
			return false;
		q->last_signal = q->next_used;
		return !(le16toh(load_once(&q->avail->flags)) & VRING_AVAIL_F_NO_INTERRUPT);
	}

	uint16_t old = q->last_signal;
	uint16_t event = le16toh(load_once(used_event(q)));

	q->last_signal = q->next_used;
	return vring_need_event(event, q->next_used, old);
}

void virtq_suppress_kicks(struct virtq *q)
{
	/* 2.7.10: with event indices, an index that has been passed is a wish for silence. */
	if (q->event_idx)
		store_avail_event(q, q->next_avail - 1);
	else
		store_once(&q->used->flags, htole16(VRING_USED_F_NO_NOTIFY));
}

bool virtq_want_kicks(struct virtq *q)
{
	if (q->event_idx)
		store_avail_event(q, q->next_avail);
	else
		store_once(&q->used->flags, 0);
	/* 2.7.10: the wish must be visible before the ring is looked at for the last time. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return virtq_has_more(q);
}

bool virtq_has_more(const struct virtq *q)
{
	return load_avail_idx(q) != q->next_avail;
}
