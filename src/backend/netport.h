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
/* The longest frame that segmentation offload makes of an IP packet of 64 KiB, VLAN tag included. */
#define NETPORT_FRAME_MAX (65535u + 18u)

/* What the other side may leave to us, or we to it (netport_ops.set_offloads). */
enum {
	NETPORT_CSUM = 1u << 0, /* frames whose checksum is yet to be filled in */
	NETPORT_TSO4 = 1u << 1, /* TCP segments larger than the MTU: IPv4, */
	NETPORT_TSO6 = 1u << 2, /* IPv6, */
	NETPORT_ECN = 1u << 3,  /* with ECN bits set */
	NETPORT_USO = 1u << 4,  /* UDP datagrams that are to be cut up, IPv4 and IPv6 */
};

struct netport_io {
	const struct iovec *iov; /* stays as it is until done */
	unsigned int niov;
	uint16_t slot; /* the submitter's number for it, unique among the pair's sends, or receives */
	/* Bytes moved, header included, or negative errno. Loop thread, never within the call. */
	void (*done)(struct netport_io *io, int result);
};

struct netport;

struct netport_ops {
	/*
	 * Be served by @loop, with slots below @nslots each way in each pair. Once, before anything
	 * else. Returns 0 or negative errno.
	 */
	int (*attach)(struct netport *port, struct loop *loop, unsigned int nslots);

	/* Send the frame in @io, of which all is used, through queue @pair. */
	void (*send)(struct netport *port, unsigned int pair, struct netport_io *io);

	/*
	 * Receive the next frame of queue @pair into @io. Frames fill receives in the order of the
	 * calls. With @wait it takes as long as it takes; else it is done at once, with -EAGAIN
	 * when there is no frame.
	 */
	void (*receive)(struct netport *port, unsigned int pair, struct netport_io *io, bool wait);

	/* End the receives that wait: they are done, with -ECANCELED or with a frame after all. */
	void (*cancel)(struct netport *port);

	/* Let frames come with what is named in @offloads, and with nothing else. */
	void (*set_offloads)(struct netport *port, unsigned int offloads);

	/* Use @pairs of the queues from now on. Returns 0 or negative errno. */
	int (*set_pairs)(struct netport *port, unsigned int pairs);

	void (*free)(struct netport *port);
};

struct netport {
	const struct netport_ops *ops;
	unsigned int pairs;    /* queues that it has, 1 to NETPORT_PAIRS_MAX */
	unsigned int offloads; /* NETPORT_* that it is able to do, both ways */
};
