// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-net (virtio 1.3, 5.1), guest half.
 *
 * Transmit. A chain is popped into a slot; its header is copied out once, checked, and sent from
 * that copy, followed by the frame from guest memory. There are few slots, reused last-in
 * first-out: as a send is done by the time the loop comes round again, that bounds memory and not
 * speed. Kicks are asked for only when a send has found the queue empty after it, so that a driver
 * which goes on sending meanwhile is served without any.
 *
 * Receive. Buffers are taken from the queue only as they are needed, and frames are received
 * straight into them, several receives at a time, each with buffers for the longest frame that may
 * come. What a frame does not fill is kept for later ones. The last receive of a batch has to make
 * do with the buffers that there are, and continues in the spill, host memory of ours: should a
 * frame end there, it waits until the driver has added buffers for its rest. So nothing is lost
 * when the driver is slow, and a receive without any buffer is not begun: frames then wait in the
 * port's own queue. Kicks are asked for only in these two cases.
 *
 * Each direction may have a limit, which its queues ask before they take or receive anything:
 * frames wait in the driver's ring then, or in the port's own queue. A frame is charged when it is
 * sent, or has come, and those for which receives are under way by then still come. A segment that
 * is left to others to cut counts as as many packets as it becomes.
 *
 * What a guest can make us hold: NETPORT_SENDS_MAX slots and the buffers of one ring, per pair.
 */
#include "device/net.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "mem/cursor.h"

#define QUEUE_SIZE    256
#define FRAME_LIMIT   (NETPORT_HEADER + NETPORT_FRAME_MAX)
#define RECEIVE_SEGS  (VIRTQ_CHAIN_MAX + 1) /* and the spill */
#define MACS_MAX      64                    /* of the filter, each kind; more means all */
#define CTRL_BUDGET   64                    /* commands, before others have their turn */
#define BUFFERS_EMPTY UINT16_MAX

static_assert(sizeof(struct virtio_net_hdr_v1) == NETPORT_HEADER, "5.1.6: the header's layout");

struct net;

struct tx_frame {
	struct netport_io io; /* first */
	struct net *net;
	uint8_t pair;
	struct virtio_net_hdr_v1 hdr;
	struct virtq_chain chain;
	struct iovec iov[VIRTQ_CHAIN_MAX + 1];
};

struct tx {
	struct tx_frame *slots[NETPORT_SENDS_MAX]; /* allocated on first use */
	uint8_t free_slots[NETPORT_SENDS_MAX];
	unsigned int nfree;
	struct limiter_gate gate;
};

/* A chain of the receive queue. */
struct rx_buffer {
	uint16_t head;
	uint16_t niov;
	uint32_t len;
	struct iovec one; /* all that Linux uses */
	struct iovec *many;
};

struct rx_receive {
	struct netport_io io; /* first */
	struct net *net;
	uint8_t pair;
	uint16_t nbuffers;
	size_t len;                   /* bytes of the buffers */
	struct virtio_net_hdr_v1 hdr; /* of the frame that came, as it was checked */
	uint16_t buffers[QUEUE_SIZE];
	struct iovec iov[RECEIVE_SEGS];
};

struct rx {
	struct rx_buffer buffers[QUEUE_SIZE];
	uint16_t free_buffers[QUEUE_SIZE]; /* that hold no chain */
	unsigned int nfree;
	uint16_t spare[QUEUE_SIZE]; /* that hold one and are in no receive */
	unsigned int nspare;

	struct rx_receive receives[NETPORT_RECEIVES_MAX];
	unsigned int in_flight;
	struct limiter_gate gate;
	uint8_t *spill;             /* FRAME_LIMIT bytes */
	size_t settled, spilled;    /* a frame's rest there: bytes that found buffers, of all */
	struct rx_receive *spiller; /* whose they are, or NULL */
};

struct mac_list {
	unsigned int n;
	bool overflow; /* there were more than fit: take all */
	uint8_t macs[MACS_MAX][ETH_ALEN];
};

struct filter {
	uint8_t mac[ETH_ALEN];
	bool promisc;
	bool allmulti;
	struct mac_list unicast, multicast;
};

struct net {
	struct virtio_device dev; /* first */
	struct netport *port;
	uint8_t mac[ETH_ALEN];           /* that the host gave the card */
	struct virtio_net_config config; /* little endian */
	unsigned int pairs;              /* that the driver uses now */
	unsigned int sends;              /* in flight, of all pairs */
	bool lost;                       /* the port's other end is gone */
	struct filter filter;
	struct loop_call *stopping;
	struct ratelimit drops;
	struct limiter *rx_limiter, *tx_limiter; /* NULL: none */
	struct tx tx[NETPORT_PAIRS_MAX];
	struct rx *rx[NETPORT_PAIRS_MAX];
};

static void rx_run(struct net *n, unsigned int pair);
static void tx_run(struct net *n, unsigned int pair);

static bool has_feature(const struct net *n, unsigned int bit)
{
	return n->dev.features & 1ull << bit;
}

/* The order of queues: receive and transmit of each pair, then control (5.1.2). */
static unsigned int rx_queue(unsigned int pair)
{
	return 2 * pair;
}

static unsigned int tx_queue(unsigned int pair)
{
	return 2 * pair + 1;
}

static unsigned int control_queue(const struct net *n)
{
	return has_feature(n, VIRTIO_NET_F_MQ) ? 2 * n->port->pairs : 2;
}

static bool is_live(const struct net *n)
{
	return atomic_load(&n->dev.running) && !atomic_load(&n->dev.broken);
}

/* ---- the link ---- */

void net_set_link(struct virtio_device *dev, bool up)
{
	struct net *n = (struct net *)dev;
	uint16_t status = up && !n->lost ? VIRTIO_NET_S_LINK_UP : 0;

	if ((le16toh(n->config.status) & VIRTIO_NET_S_LINK_UP) == status)
		return;
	/* Before the start, features are the vCPUs' business. */
	if (status && dev->running && has_feature(n, VIRTIO_NET_F_GUEST_ANNOUNCE))
		status |= VIRTIO_NET_S_ANNOUNCE;
	n->config.status = htole16(status);
	virtio_config_changed(dev);
}

static void port_lost(struct net *n)
{
	if (n->lost)
		return;
	n->lost = true;
	log_line("%s: the host's end of it is gone: the guest's link is down for good",
		 n->dev.name);
	net_set_link(&n->dev, false);
}

/* ---- stopping ---- */

static unsigned int receives_in_flight(const struct net *n)
{
	unsigned int sum = 0;

	for (unsigned int i = 0; i < n->port->pairs; i++)
		sum += n->rx[i]->in_flight;
	return sum;
}

static void rx_buffer_release(struct rx *rx, uint16_t index)
{
	free(rx->buffers[index].many);
	rx->buffers[index].many = NULL;
	rx->free_buffers[rx->nfree++] = index;
}

/* Make the buffers of @r from number @from on spare again. */
static void rx_give_back(struct rx *rx, struct rx_receive *r, unsigned int from)
{
	while (r->nbuffers > from)
		rx->spare[rx->nspare++] = r->buffers[--r->nbuffers];
}

static void rx_forget(struct rx *rx)
{
	if (rx->spiller)
		rx_give_back(rx, rx->spiller, 0);
	rx->spiller = NULL;
	while (rx->nspare)
		rx_buffer_release(rx, rx->spare[--rx->nspare]);
}

/* Give way to a reset once nothing in flight can touch guest memory. */
static void finish_stop(struct net *n)
{
	struct loop_call *call = n->stopping;

	if (!call || n->sends || receives_in_flight(n))
		return;
	for (unsigned int i = 0; i < n->port->pairs; i++)
		rx_forget(n->rx[i]);
	n->stopping = NULL;
	loop_call_done(call);
}

static void net_stop(struct virtio_device *dev, struct loop_call *done)
{
	struct net *n = (struct net *)dev;

	n->stopping = done;
	/* What one driver set is not the next one's concern. */
	memcpy(n->config.mac, n->mac, ETH_ALEN);
	n->config.status &= htole16((uint16_t)~VIRTIO_NET_S_ANNOUNCE);
	virtio_config_changed(dev);
	for (unsigned int i = 0; i < n->port->pairs; i++)
		n->port->ops->cancel(n->port, i);
	finish_stop(n);
}

/* ---- limits ---- */

/* A frame of @len bytes behind the header @hdr. */
static void charge(struct limiter_gate *gate, const struct virtio_net_hdr_v1 *hdr, size_t len)
{
	size_t part = le16toh(hdr->gso_size);

	if (!limiter_limits(gate))
		return;
	if (hdr->gso_type == VIRTIO_NET_HDR_GSO_NONE || !part)
		part = len;
	limiter_charge(gate, (len + part - 1) / part, len);
}

/* The limit lets more through, if there is more. */
static void net_wake(void *ctx, unsigned int queue)
{
	virtio_device_kick(ctx, queue);
}

/* ---- transmit ---- */

/* NULL: none is free, or there is no memory for one. */
static struct tx_frame *tx_get(struct net *n, unsigned int pair)
{
	struct tx *tx = &n->tx[pair];

	if (!tx->nfree)
		return NULL;
	uint8_t slot = tx->free_slots[tx->nfree - 1];

	if (!tx->slots[slot]) {
		tx->slots[slot] = malloc(sizeof(struct tx_frame));
		if (!tx->slots[slot])
			return NULL;
		tx->slots[slot]->net = n;
		tx->slots[slot]->pair = (uint8_t)pair;
		tx->slots[slot]->io.slot = slot;
	}
	tx->nfree--;
	return tx->slots[slot];
}

static void tx_put(struct tx_frame *f)
{
	struct tx *tx = &f->net->tx[f->pair];

	tx->free_slots[tx->nfree++] = (uint8_t)f->io.slot;
}

static void tx_done(struct netport_io *io, int result)
{
	struct tx_frame *f = (struct tx_frame *)io;
	struct net *n = f->net;
	unsigned int pair = f->pair;

	n->sends--;
	tx_put(f);
	if (n->stopping) {
		finish_stop(n);
		return;
	}
	if (result == -ENODEV)
		port_lost(n);
	if (!is_live(n))
		return;
	virtq_push(&n->dev.queues[tx_queue(pair)], f->chain.head, 0);
	virtio_signal_later(&n->dev, tx_queue(pair));
	tx_run(n, pair);
}

/*
 * Whether the header of a frame of @len bytes says nothing but what was negotiated, and of no bytes
 * but the frame's (5.1.6.2). Leaves in it only what the port is to see.
 */
static bool tx_check_header(const struct net *n, struct virtio_net_hdr_v1 *hdr, size_t len)
{
	uint16_t start = le16toh(hdr->csum_start), offset = le16toh(hdr->csum_offset);
	unsigned int type = hdr->gso_type & ~(unsigned int)VIRTIO_NET_HDR_GSO_ECN;

	hdr->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	hdr->num_buffers = 0;
	if (hdr->flags && (!has_feature(n, VIRTIO_NET_F_CSUM) || (size_t)start + offset + 2 > len))
		return false;
	if (hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN && !has_feature(n, VIRTIO_NET_F_HOST_ECN))
		return false;
	if (le16toh(hdr->hdr_len) > len)
		return false;
	switch (type) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return !(hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN);
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return has_feature(n, VIRTIO_NET_F_HOST_TSO4) && hdr->flags && hdr->gso_size;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return has_feature(n, VIRTIO_NET_F_HOST_TSO6) && hdr->flags && hdr->gso_size;
	default:
		return false;
	}
}

/* Send the frame in @f. False: it is not to be sent, and the driver gets its chain back. */
static bool tx_send(struct tx_frame *f)
{
	struct net *n = f->net;
	struct cursor frame = cursor_init(f->chain.iov, f->chain.nout);
	/* The caller has made sure that a header is there. */
	bool whole = cursor_read(&frame, &f->hdr, sizeof(f->hdr));
	size_t len = cursor_left(&frame);

	if (!whole || len < ETH_HLEN || len > NETPORT_FRAME_MAX ||
	    !tx_check_header(n, &f->hdr, len)) {
		log_limited(&n->drops, "guest error on %s: a bad frame of %zu bytes is dropped",
			    n->dev.name, len);
		return false;
	}
	f->iov[0] = (struct iovec){ &f->hdr, sizeof(f->hdr) };
	int niov = cursor_slice(&frame, len, f->iov + 1, VIRTQ_CHAIN_MAX);
	if (niov < 0 || n->lost)
		return false;
	f->io.iov = f->iov;
	f->io.niov = (unsigned int)niov + 1;
	f->io.done = tx_done;
	n->sends++;
	charge(&n->tx[f->pair].gate, &f->hdr, len);
	n->port->ops->send(n->port, f->pair, &f->io);
	return true;
}

/*
 * Take one frame off the transmit queue. Returns what virtq_pop() says, -ENOBUFS: no slot, or
 * -EAGAIN: not yet.
 */
static int tx_take(struct net *n, unsigned int pair)
{
	struct virtq *q = &n->dev.queues[tx_queue(pair)];
	struct limiter_gate *gate = &n->tx[pair].gate;
	struct tx_frame *f;

	if (limiter_limits(gate) && virtq_has_more(q) && !limiter_open(gate))
		return -EAGAIN;
	f = tx_get(n, pair);
	if (!f)
		return -ENOBUFS;
	int ret = virtq_pop(q, &f->chain);

	if (ret == VIRTQ_OK && f->chain.out_len < NETPORT_HEADER)
		ret = VIRTQ_FAULT;
	if (ret == VIRTQ_OK && tx_send(f))
		return ret;
	if (ret == VIRTQ_OK) {
		virtq_push(q, f->chain.head, 0);
		virtio_signal_later(&n->dev, tx_queue(pair));
	}
	tx_put(f);
	return ret;
}

static void tx_run(struct net *n, unsigned int pair)
{
	struct virtq *q = &n->dev.queues[tx_queue(pair)];
	unsigned int budget = NETPORT_SENDS_MAX;
	int ret = VIRTQ_OK;

	virtq_suppress_kicks(q);
	while (budget && ret == VIRTQ_OK) {
		ret = tx_take(n, pair);
		budget -= ret == VIRTQ_OK;
	}
	if (ret == VIRTQ_FAULT) {
		virtio_fault(&n->dev, "transmit queue %u holds a malformed chain", pair);
		return;
	}
	/* The gate brings us back, or, while something is being sent, its end. */
	if (ret == -EAGAIN || n->tx[pair].nfree < NETPORT_SENDS_MAX)
		return;
	if (ret == VIRTQ_EMPTY)
		virtio_emptied(&n->dev, tx_queue(pair));
	else
		/* Out of budget with nothing but bad frames, or of memory. */
		virtio_kick_again(&n->dev, tx_queue(pair));
}

/* ---- receive ---- */

/* Take the next chain of the receive queue as a spare buffer. Returns what virtq_pop() says. */
static int rx_take(struct net *n, unsigned int pair)
{
	struct rx *rx = n->rx[pair];
	struct virtq_chain chain;
	int ret = rx->nfree ? virtq_pop(&n->dev.queues[rx_queue(pair)], &chain) : VIRTQ_EMPTY;

	if (ret != VIRTQ_OK)
		return ret;
	/* 5.1.6.3.1: at least the header's size, and nothing for the device to read. */
	if (chain.nout || chain.in_len < NETPORT_HEADER)
		return VIRTQ_FAULT;

	uint16_t index = rx->free_buffers[rx->nfree - 1];
	struct rx_buffer *b = &rx->buffers[index];

	*b = (struct rx_buffer){ .head = chain.head, .niov = chain.nin, .len = chain.in_len };
	if (chain.nin == 1) {
		b->one = chain.iov[0];
	} else {
		b->many = malloc(chain.nin * sizeof(struct iovec));
		if (!b->many)
			return -ENOMEM;
		memcpy(b->many, chain.iov, chain.nin * sizeof(struct iovec));
	}
	rx->nfree--;
	rx->spare[rx->nspare++] = index;
	return VIRTQ_OK;
}

/* The next buffer, BUFFERS_EMPTY if there is none, with *@ret telling why. */
static uint16_t rx_next(struct net *n, unsigned int pair, int *ret)
{
	struct rx *rx = n->rx[pair];

	*ret = rx->nspare ? VIRTQ_OK : rx_take(n, pair);
	return *ret == VIRTQ_OK ? rx->spare[--rx->nspare] : BUFFERS_EMPTY;
}

static const struct iovec *rx_buffer_iov(const struct rx_buffer *b)
{
	return b->many ? b->many : &b->one;
}

/* Give the receive @r memory for a frame. Returns what virtq_pop() said last. */
static int rx_gather(struct net *n, struct rx_receive *r)
{
	struct rx *rx = n->rx[r->pair];
	bool mergeable = has_feature(n, VIRTIO_NET_F_MRG_RXBUF);
	unsigned int niov = 0;
	int ret = VIRTQ_OK;

	r->nbuffers = 0;
	r->len = 0;
	while (r->len < FRAME_LIMIT && (mergeable || !r->nbuffers)) {
		uint16_t index = rx_next(n, r->pair, &ret);

		if (index == BUFFERS_EMPTY)
			break;

		const struct rx_buffer *b = &rx->buffers[index];

		if (niov + b->niov > RECEIVE_SEGS - 1) {
			rx->spare[rx->nspare++] = index;
			break;
		}
		memcpy(r->iov + niov, rx_buffer_iov(b), b->niov * sizeof(struct iovec));
		niov += b->niov;
		r->len += b->len;
		r->buffers[r->nbuffers++] = index;
	}
	r->iov[niov++] = (struct iovec){ rx->spill, FRAME_LIMIT };
	r->io.iov = r->iov;
	r->io.niov = niov;
	return ret;
}

static bool mac_listed(const struct mac_list *list, const uint8_t *mac)
{
	for (unsigned int i = 0; i < list->n; i++)
		if (!memcmp(list->macs[i], mac, ETH_ALEN))
			return true;
	return list->overflow;
}

/* Whether the driver wants a frame for @mac (5.1.6.5.1). */
static bool filter_passes(const struct filter *f, const uint8_t *mac)
{
	static const uint8_t broadcast[ETH_ALEN] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	if (f->promisc || !memcmp(mac, f->mac, ETH_ALEN) || !memcmp(mac, broadcast, ETH_ALEN))
		return true;
	return mac[0] & 1 ? f->allmulti || mac_listed(&f->multicast, mac)
			  : mac_listed(&f->unicast, mac);
}

/* Hand the frame of @len bytes, which lies in the first buffers of @r, to the driver. */
static void rx_deliver(struct net *n, struct rx_receive *r, size_t len)
{
	struct virtq *q = &n->dev.queues[rx_queue(r->pair)];
	struct rx *rx = n->rx[r->pair];
	struct cursor c = cursor_init(r->iov, r->io.niov);
	unsigned int used = 0;

	while (len) {
		const struct rx_buffer *b = &rx->buffers[r->buffers[used++]];
		uint32_t part = len < b->len ? (uint32_t)len : b->len;

		virtq_stage(q, b->head, part);
		len -= part;
	}

	r->hdr.num_buffers = htole16((uint16_t)used);
	if (!has_feature(n, VIRTIO_NET_F_GUEST_CSUM))
		r->hdr.flags = 0; /* 5.1.6.4.1 */
	cursor_write(&c, &r->hdr, sizeof(r->hdr));
	virtq_publish(q);
	rx_give_back(rx, r, used);
	while (used)
		rx_buffer_release(rx, r->buffers[--used]);
	virtio_signal_later(&n->dev, rx_queue(r->pair));
}

/*
 * Whether a received header asks of the driver only what was negotiated (5.1.6.4.1). A port may
 * still hold frames from before a reset, made for the driver of that time.
 */
static bool rx_check_header(const struct net *n, const struct virtio_net_hdr_v1 *hdr)
{
	if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM && !has_feature(n, VIRTIO_NET_F_GUEST_CSUM))
		return false;
	if (hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN && !has_feature(n, VIRTIO_NET_F_GUEST_ECN))
		return false;
	switch (hdr->gso_type & ~(unsigned int)VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return true;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return has_feature(n, VIRTIO_NET_F_GUEST_TSO4);
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return has_feature(n, VIRTIO_NET_F_GUEST_TSO6);
	default:
		return false;
	}
}

/* A frame, or an error, has come into @r. */
static void rx_frame(struct net *n, struct rx_receive *r, int result)
{
	struct rx *rx = n->rx[r->pair];
	struct cursor c = cursor_init(r->iov, r->io.niov);
	uint8_t mac[ETH_ALEN];
	size_t len = result < 0 ? 0 : (size_t)result;

	if (result == -ENODEV)
		port_lost(n);
	if (len < NETPORT_HEADER + ETH_HLEN || len > FRAME_LIMIT ||
	    !cursor_read(&c, &r->hdr, sizeof(r->hdr)) || !cursor_read(&c, mac, sizeof(mac)) ||
	    !rx_check_header(n, &r->hdr) || !filter_passes(&n->filter, mac)) {
		rx_give_back(rx, r, 0);
		return;
	}
	charge(&rx->gate, &r->hdr, len - NETPORT_HEADER);
	if (len <= r->len) {
		rx_deliver(n, r, len);
	} else if (has_feature(n, VIRTIO_NET_F_MRG_RXBUF)) {
		rx->spiller = r;
		rx->spilled = len - r->len;
		rx->settled = 0;
	} else {
		log_limited(&n->drops, "guest error on %s: a buffer of %zu bytes is too short",
			    n->dev.name, r->len);
		rx_give_back(rx, r, 0);
	}
}

static void rx_done(struct netport_io *io, int result)
{
	struct rx_receive *r = (struct rx_receive *)io;
	struct net *n = r->net;
	struct rx *rx = n->rx[r->pair];

	rx->in_flight--;
	if (n->stopping || !is_live(n)) {
		rx_give_back(rx, r, 0);
		finish_stop(n);
		return;
	}
	rx_frame(n, r, result);
	rx_run(n, r->pair);
}

/* Find buffers for what a frame left in the spill. Returns what virtq_pop() said last. */
static int rx_settle(struct net *n, unsigned int pair)
{
	unsigned int all = n->dev.queues[rx_queue(pair)].size;
	struct rx *rx = n->rx[pair];
	struct rx_receive *r = rx->spiller;
	int ret;

	while (r->nbuffers < all && rx->settled < rx->spilled) {
		uint16_t index = rx_next(n, pair, &ret);

		if (index == BUFFERS_EMPTY)
			return ret;

		const struct rx_buffer *b = &rx->buffers[index];
		struct cursor c = cursor_init(rx_buffer_iov(b), b->niov);
		size_t left = rx->spilled - rx->settled;
		size_t part = left < b->len ? left : b->len;

		cursor_write(&c, rx->spill + rx->settled, part);
		rx->settled += part;
		r->len += part;
		r->buffers[r->nbuffers++] = index;
	}
	rx->spiller = NULL;
	if (rx->settled == rx->spilled)
		rx_deliver(n, r, r->len);
	else
		/* Longer than all the buffers that a ring of this size can hold. */
		rx_give_back(rx, r, 0);
	return VIRTQ_OK;
}

/* Begin as many receives as there are buffers for. Returns what virtq_pop() said last. */
static int rx_begin(struct net *n, unsigned int pair)
{
	struct netport_io *ios[NETPORT_RECEIVES_MAX];
	struct rx *rx = n->rx[pair];
	unsigned int count = 0;
	int ret = VIRTQ_OK;

	while (ret == VIRTQ_OK && count < NETPORT_RECEIVES_MAX) {
		struct rx_receive *r = &rx->receives[count];

		ret = rx_gather(n, r);
		if (!r->nbuffers)
			break;
		ios[count++] = &r->io;
		/* There is one spill, so only the last of a batch may come to use it. */
		if (has_feature(n, VIRTIO_NET_F_MRG_RXBUF) && r->len < FRAME_LIMIT)
			break;
	}
	if (ret == VIRTQ_FAULT) {
		while (count)
			rx_give_back(rx, &rx->receives[--count], 0);
		return ret;
	}
	rx->in_flight = count;
	if (count)
		n->port->ops->receive(n->port, pair, ios, count);
	return count ? VIRTQ_OK : ret;
}

static void rx_run(struct net *n, unsigned int pair)
{
	struct virtq *q = &n->dev.queues[rx_queue(pair)];
	struct rx *rx = n->rx[pair];
	int ret = VIRTQ_OK;

	/* Without MQ the last queue looks like that of a pair which is not there. */
	if (pair >= n->pairs || rx->in_flight || n->lost || !q->ready)
		return;
	virtq_suppress_kicks(q);
	if (limiter_limits(&rx->gate) && !limiter_open(&rx->gate))
		return;
	do {
		if (rx->spiller)
			ret = rx_settle(n, pair);
		if (!rx->spiller && ret != VIRTQ_FAULT)
			ret = rx_begin(n, pair);
	} while (ret == VIRTQ_EMPTY && rx->nfree && virtq_want_kicks(q));
	if (ret == VIRTQ_FAULT)
		virtio_fault(&n->dev, "receive queue %u holds a malformed buffer", pair);
	else if (ret == -ENOMEM)
		virtio_kick_again(&n->dev, rx_queue(pair));
}

/* ---- control (5.1.6.5) ---- */

static bool mac_list_read(struct cursor *c, struct mac_list *list)
{
	uint32_t entries;

	if (!cursor_read(c, &entries, sizeof(entries)))
		return false;
	entries = le32toh(entries);
	list->overflow = entries > MACS_MAX;
	list->n = list->overflow ? MACS_MAX : entries;
	return cursor_read(c, list->macs, (size_t)list->n * ETH_ALEN) &&
	       cursor_skip(c, (size_t)(entries - list->n) * ETH_ALEN);
}

static bool control_rx(struct net *n, uint8_t cmd, struct cursor *c)
{
	uint8_t on;

	if (!has_feature(n, VIRTIO_NET_F_CTRL_RX) || !cursor_read(c, &on, 1) || on > 1)
		return false;
	switch (cmd) {
	case VIRTIO_NET_CTRL_RX_PROMISC:
		n->filter.promisc = on;
		return true;
	case VIRTIO_NET_CTRL_RX_ALLMULTI:
		n->filter.allmulti = on;
		return true;
	default:
		return false;
	}
}

static bool control_mac(struct net *n, uint8_t cmd, struct cursor *c)
{
	struct mac_list unicast, multicast;
	uint8_t mac[ETH_ALEN];

	switch (cmd) {
	case VIRTIO_NET_CTRL_MAC_ADDR_SET:
		if (!has_feature(n, VIRTIO_NET_F_CTRL_MAC_ADDR) || cursor_left(c) != sizeof(mac) ||
		    !cursor_read(c, mac, sizeof(mac)))
			return false;
		memcpy(n->filter.mac, mac, sizeof(mac));
		/* 5.1.6.5.2.1: it is in the configuration before the command is done. */
		memcpy(n->config.mac, mac, sizeof(mac));
		virtio_config_changed(&n->dev);
		return true;
	case VIRTIO_NET_CTRL_MAC_TABLE_SET:
		if (!has_feature(n, VIRTIO_NET_F_CTRL_RX) || !mac_list_read(c, &unicast) ||
		    !mac_list_read(c, &multicast))
			return false;
		n->filter.unicast = unicast;
		n->filter.multicast = multicast;
		return true;
	default:
		return false;
	}
}

static bool control_announce(struct net *n, uint8_t cmd)
{
	if (cmd != VIRTIO_NET_CTRL_ANNOUNCE_ACK || !has_feature(n, VIRTIO_NET_F_GUEST_ANNOUNCE))
		return false;
	n->config.status &= htole16((uint16_t)~VIRTIO_NET_S_ANNOUNCE);
	virtio_config_changed(&n->dev);
	return true;
}

static bool control_pairs(struct net *n, uint8_t cmd, struct cursor *c)
{
	uint16_t pairs;

	if (cmd != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || !has_feature(n, VIRTIO_NET_F_MQ) ||
	    !cursor_read(c, &pairs, sizeof(pairs)))
		return false;
	pairs = le16toh(pairs);
	if (!pairs || pairs > n->port->pairs)
		return false;
	for (unsigned int i = pairs; i < n->pairs; i++)
		n->port->ops->cancel(n->port, i);
	if (n->port->ops->set_pairs(n->port, pairs))
		return false;

	unsigned int before = n->pairs;

	n->pairs = pairs;
	for (unsigned int i = before; i < pairs; i++)
		rx_run(n, i);
	return true;
}

static unsigned int offloads_of(uint64_t features)
{
	return (features & 1ull << VIRTIO_NET_F_GUEST_CSUM ? NETPORT_CSUM : 0) |
	       (features & 1ull << VIRTIO_NET_F_GUEST_TSO4 ? NETPORT_TSO4 : 0) |
	       (features & 1ull << VIRTIO_NET_F_GUEST_TSO6 ? NETPORT_TSO6 : 0) |
	       (features & 1ull << VIRTIO_NET_F_GUEST_ECN ? NETPORT_ECN : 0);
}

static bool control_offloads(struct net *n, uint8_t cmd, struct cursor *c)
{
	uint64_t wanted;

	if (cmd != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET ||
	    !has_feature(n, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) ||
	    !cursor_read(c, &wanted, sizeof(wanted)))
		return false;
	wanted = le64toh(wanted);
	if (wanted & ~n->dev.features)
		return false;
	n->port->ops->set_offloads(n->port, offloads_of(wanted));
	return true;
}

static bool control_command(struct net *n, struct cursor *c)
{
	struct virtio_net_ctrl_hdr hdr;

	if (!cursor_read(c, &hdr, sizeof(hdr)))
		return false;
	switch (hdr.class) {
	case VIRTIO_NET_CTRL_RX:
		return control_rx(n, hdr.cmd, c);
	case VIRTIO_NET_CTRL_MAC:
		return control_mac(n, hdr.cmd, c);
	case VIRTIO_NET_CTRL_ANNOUNCE:
		return control_announce(n, hdr.cmd);
	case VIRTIO_NET_CTRL_MQ:
		return control_pairs(n, hdr.cmd, c);
	case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
		return control_offloads(n, hdr.cmd, c);
	default:
		return false;
	}
}

static void control_run(struct net *n)
{
	unsigned int queue = control_queue(n);
	struct virtq *q = &n->dev.queues[queue];
	unsigned int budget = CTRL_BUDGET;
	struct virtq_chain chain;
	int ret = VIRTQ_OK;

	while (budget && ret == VIRTQ_OK) {
		ret = virtq_pop(q, &chain);
		if (ret == VIRTQ_EMPTY && virtq_want_kicks(q)) {
			ret = VIRTQ_OK;
			continue;
		}
		if (ret != VIRTQ_OK)
			break;
		budget--;

		struct cursor out = cursor_init(chain.iov, chain.nout);
		struct cursor in = cursor_init(chain.iov + chain.nout, chain.nin);
		uint8_t ack = control_command(n, &out) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;

		if (!cursor_write(&in, &ack, sizeof(ack))) {
			ret = VIRTQ_FAULT;
			break;
		}
		virtq_push(q, chain.head, sizeof(ack));
		virtio_signal(&n->dev, queue);
	}
	if (ret == VIRTQ_FAULT)
		virtio_fault(&n->dev, "the control queue holds a malformed command");
	else if (ret == VIRTQ_OK)
		virtio_kick_again(&n->dev, queue);
}

/* ---- life ---- */

static void net_kick(struct virtio_device *dev, unsigned int queue)
{
	struct net *n = (struct net *)dev;

	if (n->stopping)
		return;
	if (queue == control_queue(n))
		control_run(n);
	else if (queue % 2)
		tx_run(n, queue / 2);
	else
		rx_run(n, queue / 2);
}

static void net_start(struct virtio_device *dev)
{
	struct net *n = (struct net *)dev;

	n->filter = (struct filter){ 0 };
	memcpy(n->filter.mac, n->mac, ETH_ALEN);
	/* Without the commands that say otherwise, everything is for the driver. */
	n->filter.promisc = !has_feature(n, VIRTIO_NET_F_CTRL_RX);
	n->filter.allmulti = n->filter.promisc;
	n->port->ops->set_offloads(n->port, offloads_of(dev->features));
	n->pairs = 1;
	/* Fails only where the interface is gone, as the first receive will show. */
	(void)n->port->ops->set_pairs(n->port, 1);
	rx_run(n, 0);
}

static void net_config_read(struct virtio_device *dev, uint32_t off, void *buf, uint32_t len)
{
	struct net *n = (struct net *)dev;

	memcpy(buf, (uint8_t *)&n->config + off, len);
}

/* Free all but the port. */
static void net_release(struct net *n)
{
	for (unsigned int i = 0; i < NETPORT_PAIRS_MAX; i++) {
		for (unsigned int k = 0; k < NETPORT_SENDS_MAX; k++)
			free(n->tx[i].slots[k]);
		if (!n->rx[i])
			continue;
		for (unsigned int k = 0; k < QUEUE_SIZE; k++)
			free(n->rx[i]->buffers[k].many);
		free(n->rx[i]->spill);
		free(n->rx[i]);
	}
	free(n);
}

static void net_free(struct virtio_device *dev)
{
	struct net *n = (struct net *)dev;

	n->port->ops->free(n->port);
	limiter_free(n->rx_limiter);
	limiter_free(n->tx_limiter);
	net_release(n);
}

static const struct virtio_ops net_ops = {
	.start = net_start,
	.stop = net_stop,
	.kick = net_kick,
	.config_read = net_config_read,
	.free = net_free,
};

static int init_pair(struct net *n, unsigned int pair)
{
	struct rx *rx = calloc(1, sizeof(*rx));
	int ret;

	n->rx[pair] = rx;
	if (!rx)
		return -ENOMEM;
	/* Hardly ever touched, and then only as far as a frame went there: pages come by need. */
	rx->spill = malloc(FRAME_LIMIT);
	if (!rx->spill)
		return -ENOMEM;
	for (unsigned int i = QUEUE_SIZE; i-- > 0;)
		rx->free_buffers[rx->nfree++] = (uint16_t)i;
	for (unsigned int i = 0; i < NETPORT_RECEIVES_MAX; i++) {
		rx->receives[i].net = n;
		rx->receives[i].pair = (uint8_t)pair;
		rx->receives[i].io.slot = (uint16_t)i;
		rx->receives[i].io.done = rx_done;
	}
	for (unsigned int i = NETPORT_SENDS_MAX; i-- > 0;)
		n->tx[pair].free_slots[n->tx[pair].nfree++] = (uint8_t)i;
	ret = limiter_gate_init(&rx->gate, n->rx_limiter, n->dev.loop, net_wake, n, rx_queue(pair));
	return ret ? ret
		   : limiter_gate_init(&n->tx[pair].gate, n->tx_limiter, n->dev.loop, net_wake, n,
				       tx_queue(pair));
}

static uint64_t features_of(const struct net_spec *spec)
{
	unsigned int offloads = spec->port->offloads;
	uint64_t f = 1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_MRG_RXBUF |
		     1ull << VIRTIO_NET_F_STATUS | 1ull << VIRTIO_NET_F_CTRL_VQ |
		     1ull << VIRTIO_NET_F_CTRL_RX | 1ull << VIRTIO_NET_F_CTRL_MAC_ADDR |
		     1ull << VIRTIO_NET_F_GUEST_ANNOUNCE;

	if (offloads & NETPORT_CSUM)
		f |= 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM |
		     1ull << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS;
	if (offloads & NETPORT_TSO4)
		f |= 1ull << VIRTIO_NET_F_HOST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO4;
	if (offloads & NETPORT_TSO6)
		f |= 1ull << VIRTIO_NET_F_HOST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_TSO6;
	if (offloads & NETPORT_ECN)
		f |= 1ull << VIRTIO_NET_F_HOST_ECN | 1ull << VIRTIO_NET_F_GUEST_ECN;
	if (spec->port->pairs > 1)
		f |= 1ull << VIRTIO_NET_F_MQ;
	if (spec->mtu)
		f |= 1ull << VIRTIO_NET_F_MTU;
	return f;
}

int net_new(struct loop *loop, const struct guest_mem *mem, const struct net_spec *spec,
	    struct virtio_device **out)
{
	struct net *n = calloc(1, sizeof(*n));
	int ret = 0;

	if (!n)
		return -ENOMEM;
	n->port = spec->port;
	n->rx_limiter = spec->rx_limiter;
	n->tx_limiter = spec->tx_limiter;
	n->pairs = 1;
	memcpy(n->mac, spec->mac, ETH_ALEN);
	memcpy(n->config.mac, spec->mac, ETH_ALEN);
	n->config.status = htole16(VIRTIO_NET_S_LINK_UP);
	n->config.max_virtqueue_pairs = htole16((uint16_t)spec->port->pairs);
	n->config.mtu = htole16(spec->mtu);
	n->dev = (struct virtio_device){
		.ops = &net_ops,
		.name = spec->name,
		.id = VIRTIO_ID_NET,
		.features_offered = features_of(spec),
		.config_size = offsetof(struct virtio_net_config, speed),
		.nqueues = 2 * spec->port->pairs + 1,
		.queue_size_max = QUEUE_SIZE,
		.loop = loop,
		.mem = mem,
	};
	for (unsigned int i = 0; !ret && i < spec->port->pairs; i++)
		ret = init_pair(n, i);
	if (!ret)
		ret = n->port->ops->attach(n->port, loop);
	if (!ret)
		ret = virtio_device_init(&n->dev);
	if (ret) {
		net_release(n);
		return ret;
	}
	*out = &n->dev;
	return 0;
}
