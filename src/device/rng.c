// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-rng (virtio 1.3, 5.4). A request is answered at once with at most CHUNK bytes, as the
 * standard allows, so that no request can keep the loop busy for long.
 */
#include "device/rng.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#include "mem/cursor.h"

#define QUEUE_SIZE 8
#define CHUNK      256 /* getrandom() returns so much at once, whole, once it is seeded */

struct rng {
	struct virtio_device dev; /* first */
};

static void rng_kick(struct virtio_device *dev, unsigned int queue)
{
	struct virtq *q = &dev->queues[queue];
	struct virtq_chain chain;
	unsigned int budget = q->size;
	int ret = VIRTQ_EMPTY;

	do {
		while (budget && (ret = virtq_pop(q, &chain)) == VIRTQ_OK) {
			struct cursor in = cursor_init(chain.iov + chain.nout, chain.nin);
			size_t len = chain.in_len < CHUNK ? chain.in_len : CHUNK;
			uint8_t bytes[CHUNK];
			ssize_t n = getrandom(bytes, len, 0);

			n = n < 0 ? 0 : n;
			cursor_write(&in, bytes, (size_t)n);
			virtq_push(q, chain.head, (uint32_t)n);
			budget--;
		}
	} while (ret == VIRTQ_EMPTY && virtq_want_kicks(q));
	virtio_signal(dev, queue);
	if (ret == VIRTQ_FAULT)
		virtio_fault(dev, "the request queue holds a malformed chain");
	else if (!budget)
		virtio_kick_again(dev, queue);
}

static void rng_start(struct virtio_device *dev)
{
	(void)dev;
}

static void rng_stop(struct virtio_device *dev, struct loop_call *done)
{
	(void)dev;
	loop_call_done(done);
}

static void rng_free(struct virtio_device *dev)
{
	free((struct rng *)dev);
}

static const struct virtio_ops rng_ops = {
	.start = rng_start,
	.stop = rng_stop,
	.kick = rng_kick,
	.free = rng_free,
};

int rng_new(struct loop *loop, const struct guest_mem *mem, struct virtio_device **out)
{
	struct rng *r = calloc(1, sizeof(*r));
	int ret;

	if (!r)
		return -ENOMEM;
	r->dev = (struct virtio_device){
		.ops = &rng_ops,
		.name = "rng",
		.id = VIRTIO_ID_RNG,
		.nqueues = 1,
		.queue_size_max = QUEUE_SIZE,
		.loop = loop,
		.mem = mem,
	};
	ret = virtio_device_init(&r->dev);
	if (ret) {
		free(r);
		return ret;
	}
	*out = &r->dev;
	return 0;
}
