// SPDX-License-Identifier: Apache-2.0
/*
 * Brings bytes of its own before each thread of the monitor: a register's value before the vCPU's,
 * and requests on the two queues of its first disk before the loop's and the worker's.
 */
#include "lib/blk.h"

#define SIZE 8

static struct blk disk;

/* One request in @q, and its answer. */
static bool knock(struct vq *q, void *data)
{
	blk_header(&disk, VIRTIO_BLK_T_IN, 0);
	vq_desc(q, 0, disk.hdr, sizeof(*disk.hdr), VRING_DESC_F_NEXT, 1);
	vq_desc(q, 1, data, SECTOR, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2);
	vq_desc(q, 2, disk.status, 1, VRING_DESC_F_WRITE, 0);
	vq_submit(q, 0);
	if (!vq_wait(q, 1))
		return false;
	(void)vq_take(q);
	return *(volatile uint8_t *)disk.status == VIRTIO_BLK_S_OK;
}

void payload_main(void)
{
	void *data = alloc(SECTOR, 16);
	struct vq second;

	if (!blk_find(&disk, 0) || !vdev_begin(&disk.dev, FEATURE(VIRTIO_BLK_F_MQ)) ||
	    !vq_init(&disk.q, &disk.dev, 0, SIZE) || !vq_init(&second, &disk.dev, 1, SIZE)) {
		fail("knock", "the first disk has no two queues");
		return;
	}
	vdev_go(&disk.dev);
	expect("knock.loop", knock(&disk.q, data), "the disk gave no answer");
	expect("knock.worker", knock(&second, data), "the disk gave no answer");
}
