// SPDX-License-Identifier: Apache-2.0
#pragma once

/* A driver of virtio-vsock (virtio 1.3, 5.10) that speaks in single packets. */

#include <linux/virtio_vsock.h>

#include "virtio.h"

#define VSOCK_HOST     2
#define VSOCK_GUEST    3
#define VSOCK_SIZE     16   /* of its queues */
#define VSOCK_RX_BYTES 4096 /* of a receive buffer */
#define VSOCK_PORT     1024 /* of the guest */
#define VSOCK_BUF      65536

enum { VSOCK_RX, VSOCK_TX, VSOCK_EVENT, VSOCK_QUEUES };

struct vsock {
	struct vdev dev;
	struct vq q[VSOCK_QUEUES];
	uint8_t *rx;                 /* VSOCK_SIZE buffers */
	struct virtio_vsock_hdr *tx; /* and room for VSOCK_BUF bytes behind it */
};

bool vsock_find(struct vsock *v);

/* Reset it and bring it up with three empty queues. Returns whether it agreed. */
bool vsock_start(struct vsock *v, uint64_t features);

/* Give it receive buffer @i. */
void vsock_give(struct vsock *v, uint16_t i);

/*
 * Send a packet from VSOCK_PORT + @conn to the host's port 1, with @len bytes of zeroes. Returns
 * whether the device took it.
 */
bool vsock_send(struct vsock *v, uint16_t op, uint32_t conn, uint32_t len);

/* Fill v->tx as vsock_send() would; send what is there with @bytes in all; without waiting. */
void vsock_header(struct vsock *v, uint16_t op, uint32_t conn, uint32_t len);
void vsock_post(struct vsock *v, uint32_t bytes);
bool vsock_send_raw(struct vsock *v, uint32_t bytes);

/* A copy of the next header from the device, good until the next call; NULL: none came. */
const struct virtio_vsock_hdr *vsock_receive(struct vsock *v);

/* Receive one packet; whether it is an @op to connection @conn. */
bool vsock_expect(struct vsock *v, uint16_t op, uint32_t conn);
