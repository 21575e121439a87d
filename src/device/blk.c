// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-blk (virtio 1.3, 5.2), guest half.
 *
 * The life of a request: a chain is popped into a slot; its header is copied out once and checked;
 * the rest of the chain, as host memory, becomes a disk_io; when the disk is done the status byte
 * is written and the chain pushed. A queue has as many slots as entries, so what a guest can have
 * in flight is bounded by what it was offered.
 *
 * Queues may be served by different threads. All that a request needs is kept by queue, and the
 * rest does not change while the device runs.
 *
 * A disk that has a limit asks its queue's gate before it takes a request: what waits for the limit
 * waits in the guest's ring, and nothing of it is ours.
 *
 * Every chain of legal shape gets an answer, be it an error. Only a chain in which no status byte
 * can be placed is a fault.
 */
#include "device/blk.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "mem/cursor.h"

#define QUEUE_SIZE 256
#define SECTOR     512u
/* Data segments of a request: what a chain may have, less header and status. */
#define SEG_MAX (VIRTQ_CHAIN_MAX - 2)
/* Bytes that one discard or write-zeroes may cover. */
#define RANGE_MAX (1ull << 31)

/* One more than can be in flight: there must be a slot to find out that a queue is empty. */
#define SLOTS (QUEUE_SIZE + 1)

struct blk_request {
	struct disk_io io; /* first */
	struct blk_queue *queue;
	uint8_t *status;  /* in guest memory */
	uint32_t written; /* bytes of the chain's writable part, should it succeed */
	struct virtq_chain chain;
};

/* What the thread of a queue's loop has to itself. */
struct blk_queue {
	struct blk *blk;
	struct virtq *virtq;
	unsigned int index;
	struct disk_queue *disk;
	struct limiter_gate gate;
	struct blk_request *slots[SLOTS]; /* allocated on first use, reused last-in first-out */
	uint16_t free_slots[SLOTS];
	unsigned int nfree;
	unsigned int in_flight;
	struct loop_call *stopping;
};

struct blk {
	struct virtio_device dev; /* first */
	struct disk *disk;
	struct limiter *limiter;         /* NULL: none */
	struct virtio_blk_config config; /* little endian, constant */
	char serial[VIRTIO_BLK_ID_BYTES];
	struct blk_queue queues[];
};

static bool has_feature(const struct blk *b, unsigned int bit)
{
	return b->dev.features & 1ull << bit;
}

static struct blk_request *request_get(struct blk_queue *q)
{
	uint16_t slot = q->free_slots[q->nfree - 1];

	if (!q->slots[slot]) {
		q->slots[slot] = malloc(sizeof(struct blk_request));
		if (!q->slots[slot])
			return NULL;
	}
	q->nfree--;
	q->slots[slot]->io.slot = slot;
	q->slots[slot]->queue = q;
	return q->slots[slot];
}

static void request_put(struct blk_request *r)
{
	r->queue->free_slots[r->queue->nfree++] = r->io.slot;
}

static void request_answer(struct blk_request *r, uint8_t status)
{
	struct blk_queue *q = r->queue;

	/* Atomic, as two queues that two threads serve may be told to answer in one place. */
	__atomic_store_n(r->status, status, __ATOMIC_RELAXED);
	/* 5.2.6: the status byte is the last of the writable part and always written. */
	virtq_push(q->virtq, r->chain.head, status == VIRTIO_BLK_S_OK ? r->written : 1);
	request_put(r);
	virtio_answered(&q->blk->dev, q->index);
}

static void request_done(struct disk_io *io, int result)
{
	struct blk_request *r = (struct blk_request *)io;
	struct blk_queue *q = r->queue;

	q->in_flight--;
	if (q->stopping) {
		request_put(r);
		if (!q->in_flight)
			loop_call_done(steal_ptr(q->stopping));
		return;
	}
	if (!result)
		request_answer(r, VIRTIO_BLK_S_OK);
	else
		request_answer(r, result == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR);
}

/* Zeroes may have to be written where the file system, or the disk below, knows no other way. */
static bool moves_bytes(enum disk_op op)
{
	return op == DISK_READ || op == DISK_WRITE || op == DISK_WRITE_ZEROES;
}

static void request_submit(struct blk_request *r)
{
	struct blk *b = r->queue->blk;
	struct limiter_gate *gate = &r->queue->gate;

	if (limiter_limits(gate))
		limiter_charge(gate, 1, moves_bytes(r->io.op) ? r->io.len : 0);

	/* 5.2.6.2: a driver that cannot flush is owed write-through. */
	r->io.durable = !has_feature(b, VIRTIO_BLK_F_FLUSH);
	r->io.done = request_done;
	r->queue->in_flight++;
	b->disk->ops->submit(r->queue->disk, &r->io);
}

/* Whether [@sector, @sector + @len bytes) lies on the disk, in whole logical blocks. */
static bool range_ok(const struct blk *b, uint64_t sector, uint64_t len)
{
	uint64_t offset, end;

	if (__builtin_mul_overflow(sector, SECTOR, &offset) ||
	    __builtin_add_overflow(offset, len, &end))
		return false;
	return end <= b->disk->capacity / SECTOR * SECTOR && !(offset % b->disk->block_size) &&
	       !(len % b->disk->block_size);
}

static void do_transfer(struct blk_request *r, enum disk_op op, uint64_t sector,
			struct cursor *data)
{
	struct blk *b = r->queue->blk;
	size_t len = cursor_left(data);

	if ((op == DISK_WRITE && b->disk->read_only) || !range_ok(b, sector, len)) {
		request_answer(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	int n = cursor_slice(data, len, r->chain.iov, VIRTQ_CHAIN_MAX);
	if (n < 0) {
		request_answer(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	if (!len) {
		request_answer(r, VIRTIO_BLK_S_OK);
		return;
	}
	r->written = op == DISK_READ ? (uint32_t)len + 1 : 1;
	r->io.op = op;
	r->io.offset = sector * SECTOR;
	r->io.len = len;
	r->io.iov = r->chain.iov;
	r->io.niov = (unsigned int)n;
	request_submit(r);
}

static void do_range(struct blk_request *r, uint32_t type, struct cursor *data)
{
	struct blk *b = r->queue->blk;
	bool discard = type == VIRTIO_BLK_T_DISCARD;
	struct virtio_blk_discard_write_zeroes range;

	if (!has_feature(b, discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES)) {
		request_answer(r, VIRTIO_BLK_S_UNSUPP);
		return;
	}
	/* One range is offered (max_discard_seg, max_write_zeroes_seg), so there is exactly one. */
	if (b->disk->read_only || cursor_left(data) != sizeof(range) ||
	    !cursor_read(data, &range, sizeof(range))) {
		request_answer(r, VIRTIO_BLK_S_IOERR);
		return;
	}

	uint32_t flags = le32toh(range.flags);
	uint64_t sector = le64toh(range.sector);
	uint64_t len = (uint64_t)le32toh(range.num_sectors) * SECTOR;

	/* 5.2.6.2: unknown flags, or unmap in a discard, are unsupported. */
	if (flags & ~VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP || (discard && flags)) {
		request_answer(r, VIRTIO_BLK_S_UNSUPP);
		return;
	}
	if (!len || len > RANGE_MAX || !range_ok(b, sector, len)) {
		request_answer(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	r->written = 1;
	r->io.op = discard ? DISK_DISCARD : flags ? DISK_UNMAP_ZEROES : DISK_WRITE_ZEROES;
	r->io.offset = sector * SECTOR;
	r->io.len = len;
	r->io.niov = 0;
	request_submit(r);
}

static void do_get_id(struct blk_request *r, struct cursor *in)
{
	const struct blk *b = r->queue->blk;
	size_t len = cursor_left(in);

	if (len > sizeof(b->serial))
		len = sizeof(b->serial);
	cursor_write(in, b->serial, len);
	r->written = (uint32_t)len + 1;
	request_answer(r, VIRTIO_BLK_S_OK);
}

/*
 * Split the chain into header, data and status, whatever its layout (2.7.4.1), and act on it.
 * Returns false where the shape admits no answer.
 */
static bool request_start(struct blk_request *r)
{
	struct virtq_chain *c = &r->chain;
	struct virtio_blk_outhdr hdr;
	struct cursor out = cursor_init(c->iov, c->nout);

	if (!c->nin)
		return false;
	struct iovec *last = &c->iov[c->nout + c->nin - 1];
	r->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	if (!--last->iov_len)
		c->nin--;

	struct cursor in = cursor_init(c->iov + c->nout, c->nin);

	r->written = 1;
	if (!cursor_read(&out, &hdr, sizeof(hdr))) {
		request_answer(r, VIRTIO_BLK_S_IOERR);
		return true;
	}

	uint32_t type = le32toh(hdr.type);
	uint64_t sector = le64toh(hdr.sector);

	switch (type) {
	case VIRTIO_BLK_T_IN:
		do_transfer(r, DISK_READ, sector, &in);
		break;
	case VIRTIO_BLK_T_OUT:
		do_transfer(r, DISK_WRITE, sector, &out);
		break;
	case VIRTIO_BLK_T_FLUSH:
		r->io.op = DISK_FLUSH;
		r->io.offset = 0;
		r->io.len = 0;
		r->io.niov = 0;
		request_submit(r);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		do_range(r, type, &out);
		break;
	case VIRTIO_BLK_T_GET_ID:
		do_get_id(r, &in);
		break;
	default:
		request_answer(r, VIRTIO_BLK_S_UNSUPP);
	}
	return true;
}

/* Take one request off @q. Returns what virtq_pop() says, -EAGAIN: not yet, or -ENOMEM. */
static int take_request(struct blk_queue *q)
{
	struct blk_request *r;
	int ret;

	if (limiter_limits(&q->gate) && virtq_has_more(q->virtq) && !limiter_open(&q->gate))
		return -EAGAIN;
	r = request_get(q);

	if (!r)
		return -ENOMEM;
	ret = virtq_pop(q->virtq, &r->chain);
	if (ret == VIRTQ_OK && !request_start(r))
		ret = VIRTQ_FAULT;
	else if (ret == VIRTQ_OK)
		return ret;
	request_put(r);
	return ret;
}

static void blk_kick(struct virtio_device *dev, unsigned int queue)
{
	struct blk_queue *q = &((struct blk *)dev)->queues[queue];
	unsigned int budget = q->virtq->size;
	int ret = VIRTQ_OK;

	virtq_suppress_kicks(q->virtq);
	while (budget && ret == VIRTQ_OK) {
		ret = take_request(q);
		budget -= ret == VIRTQ_OK;
	}
	if (ret == VIRTQ_FAULT)
		virtio_fault(dev, "queue %u holds a malformed request", queue);
	else if (ret == VIRTQ_EMPTY)
		virtio_emptied(dev, queue);
	else if (ret != -EAGAIN)
		/* Out of budget, or of memory: the rest has its turn after the others. */
		virtio_kick_again(dev, queue);
}

/* The limit lets more through, if there is more. */
static void blk_wake(void *ctx, unsigned int queue)
{
	virtio_device_kick(ctx, queue);
}

static void blk_start(struct virtio_device *dev)
{
	(void)dev;
}

static void blk_stop_queue(struct virtio_device *dev, unsigned int queue, struct loop_call *done)
{
	struct blk_queue *q = &((struct blk *)dev)->queues[queue];

	/* The disk may still write to guest memory: the reset is over when it no longer can. */
	if (q->in_flight)
		q->stopping = done;
	else
		loop_call_done(done);
}

static void blk_config_read(struct virtio_device *dev, uint32_t off, void *buf, uint32_t len)
{
	struct blk *b = (struct blk *)dev;

	memcpy(buf, (uint8_t *)&b->config + off, len);
}

static void blk_free(struct virtio_device *dev)
{
	struct blk *b = (struct blk *)dev;

	for (unsigned int i = 0; i < dev->nqueues; i++)
		for (unsigned int k = 0; k < SLOTS; k++)
			free(b->queues[i].slots[k]);
	b->disk->ops->free(b->disk);
	limiter_free(b->limiter);
	free(b);
}

static const struct virtio_ops blk_ops = {
	.start = blk_start,
	.stop_queue = blk_stop_queue,
	.kick = blk_kick,
	.config_read = blk_config_read,
	.free = blk_free,
};

static uint8_t block_exponent(uint32_t physical, uint32_t logical)
{
	uint8_t n = 0;

	while (n < 8 && logical << n < physical)
		n++;
	return n;
}

static void fill_config(struct blk *b, unsigned int nqueues)
{
	const struct disk *d = b->disk;
	struct virtio_blk_config *c = &b->config;
	uint64_t f = 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
		     1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_TOPOLOGY;

	c->capacity = htole64(d->capacity / SECTOR);
	c->seg_max = htole32(SEG_MAX);
	c->blk_size = htole32(d->block_size);
	c->physical_block_exp = block_exponent(d->physical_size, d->block_size);
	if (nqueues > 1) {
		f |= 1ull << VIRTIO_BLK_F_MQ;
		c->num_queues = htole16((uint16_t)nqueues);
	}
	if (d->read_only)
		f |= 1ull << VIRTIO_BLK_F_RO;
	if (!d->read_only && d->can_discard) {
		f |= 1ull << VIRTIO_BLK_F_DISCARD;
		c->max_discard_sectors = htole32(RANGE_MAX / SECTOR);
		c->max_discard_seg = htole32(1);
		c->discard_sector_alignment = htole32(d->physical_size / SECTOR);
	}
	if (!d->read_only && d->can_write_zeroes) {
		f |= 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
		c->max_write_zeroes_sectors = htole32(RANGE_MAX / SECTOR);
		c->max_write_zeroes_seg = htole32(1);
		c->write_zeroes_may_unmap = 1;
	}
	b->dev.features_offered = f;
}

static int init_queue(struct blk *b, unsigned int index)
{
	struct blk_queue *q = &b->queues[index];
	struct loop *loop = b->dev.queue_loops[index];
	int ret;

	q->blk = b;
	q->virtq = &b->dev.queues[index];
	q->index = index;
	for (unsigned int i = SLOTS; i-- > 0;)
		q->free_slots[q->nfree++] = (uint16_t)i;
	ret = limiter_gate_init(&q->gate, b->limiter, loop, blk_wake, b, index);
	return ret ? ret : b->disk->ops->attach(b->disk, loop, SLOTS, &q->disk);
}

int blk_new(struct loop *loop, const struct guest_mem *mem, const struct blk_spec *spec,
	    struct virtio_device **out)
{
	struct blk *b = calloc(1, sizeof(*b) + spec->nqueues * sizeof(b->queues[0]));
	int ret;

	if (!b)
		return -ENOMEM;
	b->disk = spec->disk;
	b->limiter = spec->limiter;
	memcpy(b->serial, spec->serial, strnlen(spec->serial, sizeof(b->serial)));
	b->dev = (struct virtio_device){
		.ops = &blk_ops,
		.name = spec->name,
		.id = VIRTIO_ID_BLOCK,
		.config_size = sizeof(b->config),
		.nqueues = spec->nqueues,
		.queue_size_max = QUEUE_SIZE,
		.loop = loop,
		.mem = mem,
	};
	if (spec->queue_loops)
		memcpy(b->dev.queue_loops, spec->queue_loops,
		       spec->nqueues * sizeof(struct loop *));
	fill_config(b, spec->nqueues);
	ret = virtio_device_init(&b->dev);
	for (unsigned int i = 0; !ret && i < spec->nqueues; i++)
		ret = init_queue(b, i);
	if (ret) {
		free(b);
		return ret;
	}
	*out = &b->dev;
	return 0;
}
