// SPDX-License-Identifier: Apache-2.0
#include "net.h"

const uint8_t net_mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };

bool net_find(struct net *n)
{
	*n = (struct net){ 0 };
	n->buffers = alloc(NET_PAIRS_MAX * NET_RING * NET_BUFFER, 4096);
	n->out = alloc(NET_HDR + NET_ROOM, 16);
	n->in = alloc(NET_ROOM, 16);
	n->command = alloc(4096, 16);
	return vdev_find(&n->dev, VIRTIO_ID_NET, 0);
}

bool net_start(struct net *n, uint64_t features, unsigned int pairs)
{
	if (!vdev_begin(&n->dev, features))
		return false;
	n->features = features;
	n->pairs = read16(n->dev.base + VIRTIO_MMIO_CONFIG + 8);
	for (uint16_t i = 0; i < pairs; i++)
		if (!vq_init(&n->rx[i], &n->dev, (uint16_t)(2 * i), NET_RING) ||
		    !vq_init(&n->tx[i], &n->dev, (uint16_t)(2 * i + 1), NET_RING))
			return false;
	uint16_t control = features & FEATURE(VIRTIO_NET_F_MQ) ? (uint16_t)(2 * n->pairs) : 2;

	if (!vq_init(&n->control, &n->dev, control, NET_RING))
		return false;
	vdev_go(&n->dev);
	for (unsigned int i = 0; i < pairs; i++)
		net_give_all(n, i);
	return true;
}

static uint8_t *buffer_at(const struct net *n, unsigned int pair, uint16_t i)
{
	return n->buffers + (pair * NET_RING + i) * NET_BUFFER;
}

void net_give(struct net *n, unsigned int pair, uint16_t i, uint32_t len)
{
	vq_desc(&n->rx[pair], i, buffer_at(n, pair, i), len, VRING_DESC_F_WRITE, 0);
	vq_submit(&n->rx[pair], i);
}

void net_give_all(struct net *n, unsigned int pair)
{
	for (uint16_t i = 0; i < NET_RING; i++) {
		vq_desc(&n->rx[pair], i, buffer_at(n, pair, i), NET_BUFFER, VRING_DESC_F_WRITE, 0);
		vq_put(&n->rx[pair], i);
	}
	vq_publish(&n->rx[pair]);
	vq_kick(&n->rx[pair]);
}

struct peer_frame *net_frame(struct net *n, uint8_t op, uint32_t len)
{
	struct peer_frame *f = (struct peer_frame *)(n->out + 1);
	uint8_t *p = (uint8_t *)f;

	for (uint32_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 3 + (i >> 8) + len);
	*f = (struct peer_frame){ .dst = { 2, 0, 0, 0, 0, 9 },
				  .protocol = PEER_PROTOCOL,
				  .op = op };
	memcpy(f->src, net_mac, 6);
	return f;
}

bool net_send(struct net *n, unsigned int pair, const struct virtio_net_hdr_v1 *hdr, uint32_t len)
{
	struct vq *q = &n->tx[pair];

	*n->out = hdr ? *hdr : (struct virtio_net_hdr_v1){ 0 };
	vq_desc(q, 0, n->out, NET_HDR, VRING_DESC_F_NEXT, 1);
	vq_desc(q, 1, n->out + 1, len, 0, 0);
	vq_submit(q, 0);
	if (!vq_wait(q, 1))
		return false;
	return vq_take(q).len == 0;
}

uint32_t net_receive(struct net *n, unsigned int pair)
{
	struct vq *q = &n->rx[pair];
	uint32_t total = 0;
	uint16_t num = 1;

	for (uint16_t i = 0; i < num; i++) {
		/* All of them are there, or none. */
		if (i ? q->used->idx == q->used_idx : !vq_wait(q, 1))
			return 0;
		struct vring_used_elem e = vq_take(q);

		if (e.id >= NET_RING || e.len > q->desc[e.id].len || total + e.len > NET_ROOM)
			return 0;
		memcpy(n->in + total, buffer_at(n, pair, (uint16_t)e.id), e.len);
		total += e.len;
		if (!i)
			num = ((struct virtio_net_hdr_v1 *)n->in)->num_buffers;
		net_give(n, pair, (uint16_t)e.id, NET_BUFFER);
	}
	return num && total > NET_HDR ? total - NET_HDR : 0;
}

bool net_echo(struct net *n, unsigned int pair, uint32_t len)
{
	const struct peer_frame *f = (struct peer_frame *)(n->in + NET_HDR);
	const uint32_t skip = sizeof(*f);
	uint32_t got;

	net_frame(n, PEER_ECHO, len);
	if (!net_send(n, pair, NULL, len))
		return false;
	/* What is left of a flood comes first. */
	do {
		got = net_receive(n, pair);
	} while (got && f->op == PEER_DATA);
	return got == len && !memcmp(f->dst, net_mac, 6) &&
	       !memcmp(n->in + NET_HDR + skip, (uint8_t *)(n->out + 1) + skip, len - skip);
}

uint8_t net_command(struct net *n, uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
	struct vq *q = &n->control;
	uint8_t *ack = n->command + 4095;

	n->command[0] = class;
	n->command[1] = cmd;
	if (len)
		memcpy(n->command + 2, data, len);
	*ack = 0xee;
	vq_desc(q, 0, n->command, 2 + len, VRING_DESC_F_NEXT, 1);
	vq_desc(q, 1, ack, 1, VRING_DESC_F_WRITE, 0);
	vq_submit(q, 0);
	if (!vq_wait(q, 1))
		return 0xee;
	vq_take(q);
	return *(volatile uint8_t *)ack;
}
