// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"
#include "base/loop.h"

/*
 * The host half of a network card: where its frames go to and come from. A device model hands over
 * frames as host memory and gets each back once, through its @done; it never sees a descriptor. A
 * backend never sees a ring.
 *
 * Every frame has a struct virtio_net_hdr_mrg_rxbuf (virtio 1.3, 5.1.6) in front, NETPORT_HEADER
 * bytes, num_buffers not used.
 */
#define NETPORT_HEADER    12u
#define NETPORT_PAIRS_MAX 8u
/* The longest frame that segmentation offload makes of an IP packet of 64 KiB, VLAN tag included.
 */
#define NETPORT_FRAME_MAX (65535u + 18u)

/* What may be left to whoever takes a frame (netport_ops.set_offloads). */
enum {
	NETPORT_CSUM = 1u << 0, /* filling in the checksum */
	NETPORT_TSO4 = 1u << 1, /* cutting TCP segments to the MTU: IPv4, */
	NETPORT_TSO6 = 1u << 2, /* IPv6, */
	NETPORT_ECN = 1u << 3,  /* those with ECN bits */
};

struct netport_io {
	const struct iovec *iov; /* stays as it is until done */
	unsigned int niov;
	uint16_t slot; /* the submitter's number, unique among the pair's sends, or receives */
	/*
	 * Of a receive the bytes that came, header included; of a send nothing below 0. Or negative
	 * errno: the frame is lost, with -ENODEV because the other end is gone for good, with
	 * -ECANCELED because of cancel(). Loop thread, never within the call that began it.
	 */
	void (*done)(struct netport_io *io, int result);
};

struct netport;

struct netport_ops {
	/* Be served by @loop. Once, before anything else. Returns 0 or negative errno. */
	int (*attach)(struct netport *port, struct loop *loop);

	/*
	 * Send the frame in @io, all of it, through queue @pair. At most NETPORT_SENDS_MAX of a
	 * pair are in flight, with slots below that.
	 */
	void (*send)(struct netport *port, unsigned int pair, struct netport_io *io);

	/*
	 * Receive the next @n frames of queue @pair, one into each of @ios in this order, however
	 * long it takes. A frame that is longer than its @io is cut. At most NETPORT_RECEIVES_MAX,
	 * with slots below that, and none while earlier ones are in flight.
	 */
	void (*receive)(struct netport *port, unsigned int pair, struct netport_io *const *ios,
			unsigned int n);

	/*
	 * End what waits in queue @pair: receives, and sends that have not begun. Each is done,
	 * with -ECANCELED if nothing else.
	 */
	void (*cancel)(struct netport *port, unsigned int pair);

	/* Let received frames come with what is in @offloads (NETPORT_*), and with nothing else. */
	void (*set_offloads)(struct netport *port, unsigned int offloads);

	/* Use the first @pairs queues and no others. Returns 0 or negative errno. */
	int (*set_pairs)(struct netport *port, unsigned int pairs);

	/* Its open files, into @fds. Returns how many. */
	unsigned int (*files)(const struct netport *port, int fds[NETPORT_PAIRS_MAX]);

	void (*free)(struct netport *port);
};

#define NETPORT_SENDS_MAX    64u
#define NETPORT_RECEIVES_MAX 4u

struct netport {
	const struct netport_ops *ops;
	unsigned int pairs;    /* queues that it has, 1 to NETPORT_PAIRS_MAX; the first is in use */
	unsigned int offloads; /* NETPORT_* that it is able to do, both ways */
};
