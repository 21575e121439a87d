// SPDX-License-Identifier: Apache-2.0
#include "balloon.h"

bool balloon_find(struct balloon *b)
{
	return vdev_find(&b->dev, VIRTIO_ID_BALLOON, 0);
}

bool balloon_start(struct balloon *b, uint64_t features)
{
	if (!vdev_begin(&b->dev, features))
		return false;
	for (uint16_t i = 0; i < BALLOON_QUEUES; i++)
		if (!vq_init(&b->q[i], &b->dev, i, BALLOON_SIZE))
			return false;
	vdev_go(&b->dev);
	return true;
}

static bool answered(struct vq *q)
{
	return vq_wait(q, 1) && vq_take(q).len == 0;
}

bool balloon_name(struct balloon *b, unsigned int queue, const uint32_t *pfns, uint32_t n)
{
	vq_post(&b->q[queue], pfns, n * (uint32_t)sizeof(pfns[0]), 0);
	return answered(&b->q[queue]);
}

bool balloon_report(struct balloon *b, void *range, uint32_t len)
{
	struct vq *q = &b->q[BALLOON_REPORTING];

	vq_post(q, range, len, VRING_DESC_F_WRITE);
	return answered(q);
}
