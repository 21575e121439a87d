// SPDX-License-Identifier: Apache-2.0
#include "vsock.h"

bool vsock_find(struct vsock *v)
{
	*v = (struct vsock){ 0 };
	v->rx = alloc(VSOCK_SIZE * VSOCK_RX_BYTES, 16);
	v->tx = alloc(sizeof(*v->tx) + VSOCK_BUF, 16);
	return vdev_find(&v->dev, VIRTIO_ID_VSOCK, 0);
}

bool vsock_start(struct vsock *v, uint64_t features)
{
	if (!vdev_begin(&v->dev, features))
		return false;
	for (uint16_t i = 0; i < VSOCK_QUEUES; i++)
		if (!vq_init(&v->q[i], &v->dev, i, VSOCK_SIZE))
			return false;
	vdev_go(&v->dev);
	return true;
}

void vsock_give(struct vsock *v, uint16_t i)
{
	vq_desc(&v->q[VSOCK_RX], i, v->rx + i * VSOCK_RX_BYTES, VSOCK_RX_BYTES, VRING_DESC_F_WRITE,
		0);
	vq_submit(&v->q[VSOCK_RX], i);
}

void vsock_header(struct vsock *v, uint16_t op, uint32_t conn, uint32_t len)
{
	*v->tx = (struct virtio_vsock_hdr){
		.src_cid = VSOCK_GUEST,
		.dst_cid = VSOCK_HOST,
		.src_port = VSOCK_PORT + conn,
		.dst_port = 1,
		.len = len,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
		.buf_alloc = VSOCK_BUF,
	};
}

void vsock_post(struct vsock *v, uint32_t bytes)
{
	vq_post(&v->q[VSOCK_TX], v->tx, bytes, 0);
}

bool vsock_send_raw(struct vsock *v, uint32_t bytes)
{
	vsock_post(v, bytes);
	if (!vq_wait(&v->q[VSOCK_TX], 1))
		return false;
	vq_take(&v->q[VSOCK_TX]);
	return true;
}

bool vsock_send(struct vsock *v, uint16_t op, uint32_t conn, uint32_t len)
{
	vsock_header(v, op, conn, len);
	return vsock_send_raw(v, (uint32_t)sizeof(*v->tx) + len);
}

const struct virtio_vsock_hdr *vsock_receive(struct vsock *v)
{
	if (!vq_wait(&v->q[VSOCK_RX], 1))
		return NULL;
	uint32_t i = vq_take(&v->q[VSOCK_RX]).id;
	static struct virtio_vsock_hdr copy;

	if (i >= VSOCK_SIZE)
		return NULL;
	memcpy(&copy, v->rx + i * VSOCK_RX_BYTES, sizeof(copy));
	vsock_give(v, (uint16_t)i);
	return &copy;
}

bool vsock_expect(struct vsock *v, uint16_t op, uint32_t conn)
{
	const struct virtio_vsock_hdr *h = vsock_receive(v);

	return h && h->op == op && h->dst_port == VSOCK_PORT + conn && h->dst_cid == VSOCK_GUEST;
}
