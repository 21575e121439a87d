// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-balloon (virtio 1.3, 5.5), guest half.
 *
 * Three queues: pages that the guest gives up, pages that it takes back, and ranges that happen to
 * be free (5.5.6.7). The first and the last are given back to the host; pages that are taken back
 * come by themselves when they are touched. So nothing is kept of which pages are where: one that
 * is given up twice is given back twice, and a guest that goes on using one finds zeroes in it.
 *
 * A page may be under a request of another device. The request keeps the page that it began with,
 * and what it reads or writes there is lost to the guest, whose fault that is.
 *
 * A chain may name as much as the guest likes. It is worked through in pieces, with turns for the
 * other devices in between; what is held meanwhile is one chain of each queue.
 *
 * Queues are numbered without gaps, as drivers and other devices have it: those of features that
 * were not negotiated are not there.
 */
#include "device/balloon.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "mem/cursor.h"

#define QUEUE_SIZE    128
#define PAGE          (1ull << VIRTIO_BALLOON_PFN_SHIFT)
#define PAGES_PER_MIB ((1u << 20) >> VIRTIO_BALLOON_PFN_SHIFT)

/* What is done in a turn: each is some milliseconds where every page is by itself. */
#define PAGES_BUDGET  512
#define BYTES_BUDGET  (64ull << 20)
#define CHAINS_BUDGET 64

enum { INFLATE, DEFLATE, REPORTING, QUEUES };

/* A chain under way. */
struct balloon_work {
	bool busy;
	struct virtq_chain chain;
	struct cursor left; /* INFLATE: numbers of pages; REPORTING: the ranges themselves */
};

struct balloon {
	struct virtio_device dev; /* first */
	struct virtio_balloon_config config;
	uint64_t reported_bytes;
	struct ratelimit failures;
	struct balloon_work work[QUEUES];
};

static void give_back(struct balloon *b, void *host, uint64_t len)
{
	int ret = guest_mem_discard(host, len);

	if (ret)
		log_limited(&b->failures, "%s: the host does not take memory back: %s", b->dev.name,
			    strerror(-ret));
}

/* ---- inflation (5.5.6.2) ---- */

/* Pages that lie side by side. */
struct run {
	uint64_t first;
	uint64_t count;
};

static bool run_extend(struct run *run, uint64_t page)
{
	if (page == run->first + run->count)
		run->count++;
	else if (page + 1 == run->first) {
		run->first--;
		run->count++;
	} else {
		return false;
	}
	return true;
}

static bool give_run_back(struct balloon *b, const struct run *run)
{
	uint64_t len = run->count * PAGE;
	void *host = guest_mem_ptr(b->dev.mem, gpa(run->first * PAGE), len);

	if (!host)
		return false;
	give_back(b, host, len);
	return true;
}

/* Give back what the @n numbers at @pfns name. False: one is of no page. */
static bool inflate_pages(struct balloon *b, const uint32_t *pfns, unsigned int n)
{
	struct run run = { 0 };

	for (unsigned int i = 0; i < n; i++) {
		uint64_t page = le32toh(pfns[i]);

		if (run.count && run_extend(&run, page))
			continue;
		if (run.count && !give_run_back(b, &run))
			return false;
		run = (struct run){ page, 1 };
	}
	return !run.count || give_run_back(b, &run);
}

/* Go on with the chain of @w. Returns VIRTQ_OK when it is done, VIRTQ_FAULT, or -EAGAIN. */
static int inflate(struct balloon *b, struct balloon_work *w, uint64_t *budget)
{
	uint32_t pfns[PAGES_BUDGET];
	size_t left = cursor_left(&w->left) / sizeof(pfns[0]);
	size_t n = left < *budget ? left : *budget;

	if (!cursor_read(&w->left, pfns, n * sizeof(pfns[0])) ||
	    !inflate_pages(b, pfns, (unsigned int)n))
		return VIRTQ_FAULT;
	*budget -= n;
	return n < left ? -EAGAIN : VIRTQ_OK;
}

/* ---- free ranges (5.5.6.7) ---- */

/* The buffers of the chain are the ranges themselves. */
static int report(struct balloon *b, struct balloon_work *w, uint64_t *budget)
{
	while (w->left.n) {
		size_t left = w->left.iov->iov_len - w->left.off;
		size_t n = left < *budget ? left : *budget;

		if (!n)
			return -EAGAIN;
		give_back(b, (uint8_t *)w->left.iov->iov_base + w->left.off, n);
		b->reported_bytes += n;
		*budget -= n;
		cursor_skip(&w->left, n);
	}
	return VIRTQ_OK;
}

/* ---- the queues ---- */

/* Take the next chain of @queue up. Returns what virtq_pop() says. */
static int work_begin(struct balloon *b, unsigned int queue)
{
	struct balloon_work *w = &b->work[queue];
	int ret = virtq_pop(&b->dev.queues[queue], &w->chain);

	if (ret != VIRTQ_OK)
		return ret;
	if (queue == INFLATE && w->chain.out_len % sizeof(uint32_t))
		return VIRTQ_FAULT;
	w->left = queue == REPORTING ? cursor_init(w->chain.iov + w->chain.nout, w->chain.nin)
				     : cursor_init(w->chain.iov, w->chain.nout);
	w->busy = true;
	return VIRTQ_OK;
}

static int work_go_on(struct balloon *b, unsigned int queue, uint64_t *budget)
{
	switch (queue) {
	case INFLATE:
		return inflate(b, &b->work[queue], budget);
	case REPORTING:
		return report(b, &b->work[queue], budget);
	default:
		return VIRTQ_OK;
	}
}

static void balloon_kick(struct virtio_device *dev, unsigned int queue)
{
	struct balloon *b = (struct balloon *)dev;
	uint64_t budget = queue == INFLATE ? PAGES_BUDGET : BYTES_BUDGET;
	struct balloon_work *w = &b->work[queue];
	int ret = VIRTQ_OK;

	/* A queue that is there only with a feature that was not negotiated. */
	if (queue == REPORTING && !(dev->features & 1ull << VIRTIO_BALLOON_F_REPORTING))
		return;
	virtq_suppress_kicks(&dev->queues[queue]);
	for (unsigned int n = 0; n < CHAINS_BUDGET; n++) {
		if (!w->busy)
			ret = work_begin(b, queue);
		if (ret == VIRTQ_OK)
			ret = work_go_on(b, queue, &budget);
		if (ret != VIRTQ_OK)
			break;
		w->busy = false;
		virtq_push(&dev->queues[queue], w->chain.head, 0);
		virtio_signal_later(dev, queue);
	}
	if (ret == VIRTQ_FAULT)
		virtio_fault(dev, "queue %u names what is no memory", queue);
	else if (ret == VIRTQ_EMPTY)
		virtio_emptied(dev, queue);
	else
		virtio_kick_again(dev, queue);
}

/* ---- life ---- */

static void balloon_start(struct virtio_device *dev)
{
	(void)dev;
}

static void balloon_stop(struct virtio_device *dev, struct loop_call *done)
{
	struct balloon *b = (struct balloon *)dev;

	for (unsigned int i = 0; i < QUEUES; i++)
		b->work[i].busy = false;
	/* The next driver's balloon is empty. */
	b->config.actual = 0;
	virtio_config_changed(dev);
	loop_call_done(done);
}

static void balloon_config_read(struct virtio_device *dev, uint32_t off, void *buf, uint32_t len)
{
	struct balloon *b = (struct balloon *)dev;

	memcpy(buf, (uint8_t *)&b->config + off, len);
}

/* Of the configuration, the driver writes how much it has given up, and nothing else. */
static void balloon_config_write(struct virtio_device *dev, uint32_t off, const void *buf,
				 uint32_t len)
{
	struct balloon *b = (struct balloon *)dev;

	if (off == offsetof(struct virtio_balloon_config, actual) &&
	    len == sizeof(b->config.actual))
		memcpy(&b->config.actual, buf, len);
}

static void balloon_free(struct virtio_device *dev)
{
	free((struct balloon *)dev);
}

static const struct virtio_ops balloon_ops = {
	.start = balloon_start,
	.stop = balloon_stop,
	.kick = balloon_kick,
	.config_read = balloon_config_read,
	.config_write = balloon_config_write,
	.free = balloon_free,
};

static uint32_t pages_of(const struct balloon *b, uint32_t mib)
{
	uint64_t pages = (uint64_t)mib * PAGES_PER_MIB, all = b->dev.mem->size / PAGE;

	if (pages > all)
		pages = all;
	return pages > UINT32_MAX ? UINT32_MAX : (uint32_t)pages;
}

int balloon_new(struct loop *loop, const struct guest_mem *mem, const struct balloon_spec *spec,
		struct virtio_device **out)
{
	struct balloon *b = calloc(1, sizeof(*b));
	uint64_t features = 0;
	int ret;

	if (!b)
		return -ENOMEM;
	if (spec->deflate_on_oom)
		features |= 1ull << VIRTIO_BALLOON_F_DEFLATE_ON_OOM;
	if (spec->reporting)
		features |= 1ull << VIRTIO_BALLOON_F_REPORTING;
	b->dev = (struct virtio_device){
		.ops = &balloon_ops,
		.name = "balloon",
		.id = VIRTIO_ID_BALLOON,
		.features_offered = features,
		/* Neither of what follows these two is offered. */
		.config_size = offsetof(struct virtio_balloon_config, free_page_hint_cmd_id),
		.nqueues = spec->reporting ? QUEUES : REPORTING,
		.queue_size_max = QUEUE_SIZE,
		.loop = loop,
		.mem = mem,
	};
	b->config.num_pages = htole32(pages_of(b, spec->target_mib));
	ret = virtio_device_init(&b->dev);
	if (ret) {
		free(b);
		return ret;
	}
	*out = &b->dev;
	return 0;
}

void balloon_set_target(struct virtio_device *dev, uint32_t mib)
{
	struct balloon *b = (struct balloon *)dev;

	b->config.num_pages = htole32(pages_of(b, mib));
	virtio_config_changed(dev);
}

void balloon_read_stats(const struct virtio_device *dev, struct balloon_stats *stats)
{
	const struct balloon *b = (const struct balloon *)dev;

	*stats = (struct balloon_stats){
		.target_bytes = le32toh(b->config.num_pages) * PAGE,
		.actual_bytes = le32toh(b->config.actual) * PAGE,
		.reported_bytes = b->reported_bytes,
	};
}
