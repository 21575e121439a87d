// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/netport.h"
#include "device/limiter.h"
#include "virtio/device.h"

struct net_spec {
	struct netport *port;
	uint8_t mac[6];
	uint16_t mtu;     /* bytes, for the guest to use; 0: it is told of none */
	const char *name; /* for log lines, "net0"; borrowed */
	/* What each direction is held to, as the guest sees it; NULL: nothing. */
	struct limiter *rx_limiter, *tx_limiter;
};

/*
 * A network card (virtio 1.3, 5.1) with a receive and a transmit queue for each queue of
 * @spec->port, and a control queue. On success *@out is owned by the caller and owns the port
 * and the limiters. Returns 0 or negative errno.
 */
int net_new(struct loop *loop, const struct guest_mem *mem, const struct net_spec *spec,
	    struct virtio_device **out);

/*
 * Show the driver that the link is up or down, and, when it comes up, ask it to announce itself
 * (5.1.6.5.4). Loop thread.
 */
void net_set_link(struct virtio_device *dev, bool up);
