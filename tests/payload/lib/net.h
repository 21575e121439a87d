// SPDX-License-Identifier: Apache-2.0
#pragma once

/* A driver of virtio-net (virtio 1.3, 5.1), and what it says to its peer (peer.h). */

#include <linux/virtio_net.h>

#include "../peer.h"
#include "virtio.h"

#define NET_PAIRS_MAX 4
#define NET_RING      64
#define NET_HDR       ((uint32_t)sizeof(struct virtio_net_hdr_v1))
#define NET_ROOM      12000u /* of a frame to be sent, or put together */
#define NET_BUFFER    2048u  /* of a receive buffer, at most */

extern const uint8_t net_mac[6];

struct net {
	struct vdev dev;
	uint64_t features;
	unsigned int pairs; /* that it has */
	struct vq rx[NET_PAIRS_MAX], tx[NET_PAIRS_MAX], control;
	uint8_t *buffers;              /* NET_RING of NET_BUFFER bytes for each pair */
	struct virtio_net_hdr_v1 *out; /* and room for NET_ROOM bytes behind it */
	uint8_t *in;      /* NET_ROOM bytes: the frame received last, header included */
	uint8_t *command; /* a page */
};

bool net_find(struct net *n);

/* Reset it and bring it up with the queues of @pairs pairs, empty. Returns whether it agreed. */
bool net_start(struct net *n, uint64_t features, unsigned int pairs);

/* Give it receive buffer @i of @pair with @len bytes; net_give_all(): all of full size. */
void net_give(struct net *n, unsigned int pair, uint16_t i, uint32_t len);
void net_give_all(struct net *n, unsigned int pair);

/* The frame to be sent, with @op in it, @len bytes of a pattern in all. */
struct peer_frame *net_frame(struct net *n, uint8_t op, uint32_t len);

/* Send it through @pair, with @hdr or none. Returns whether it was taken. */
bool net_send(struct net *n, unsigned int pair, const struct virtio_net_hdr_v1 *hdr, uint32_t len);

/*
 * Wait for the next frame of @pair. It is in n->in then, its buffers given back with their full
 * size. Returns its bytes without the header, 0: none came, or it was malformed.
 */
uint32_t net_receive(struct net *n, unsigned int pair);

/* Send @len bytes through @pair and whether they come back, by the same pair. */
bool net_echo(struct net *n, unsigned int pair, uint32_t len);

/* A command with @len bytes of @data. Returns the answer; 0xee: none came. */
uint8_t net_command(struct net *n, uint8_t class, uint8_t cmd, const void *data, uint32_t len);
