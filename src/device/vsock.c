// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-vsock (virtio 1.3, 5.10): byte streams between the guest and sockets of this process.
 *
 * A connection is a slot in a table, known to the guest by its pair of ports. Bytes from the guest
 * go from the transmit chain to the socket, as far as that takes them at once. The rest is copied
 * into the slot's ring, and leaves it through one send at a time; the ring is as large as the
 * credit that the guest is given, so a guest that keeps to its credit always finds room. When a
 * poll has said that the socket has bytes for the guest, they are received straight into receive
 * chains, as many as there are and never more bytes than the guest has credit for.
 *
 * Nothing that is to be said to the guest is ever queued without bound. What concerns a connection
 * is state of its slot, from which vsock_put() makes a packet when there is a chain to put it in
 * (bytes are packets at once where they are received straight into chains, by vsock_receive()):
 * any number of reasons to say the same thing are said once. Only refusals have no slot; they wait
 * in a short ring, and while that is full no transmit chain is taken (5.10.6.1 lets the device do
 * that: a driver has to go on giving receive buffers).
 *
 * vsock_turn() is the heart: take what the guest sent, start what I/O that allows, say what is to
 * be said. It does a bounded amount of work, and comes back through the loop if that was not all.
 *
 * Life of a slot:
 *
 *   FREE -> ASKED       the guest's REQUEST has come: the host is asked where it leads to
 *   ASKED -> OPEN       the host has given a socket
 *   ASKED -> DYING      the host has given none
 *   FREE -> DIALED      the host connects: a REQUEST is, or is to be, said to the guest
 *   DIALED -> OPEN      the guest's RESPONSE has come
 *   DIALED -> DYING     the guest refused, or the host did not wait for it
 *   OPEN -> DYING       the connection is over; the slot waits for its I/O in flight, which a
 *                       shutdown() of the socket ends at once, and, if the guest is to be told, for
 *                       a chain to put the RST in
 *   OPEN -> DRAINING    the guest ended its stream in order and has then forgotten the connection
 *                       (it waits for our RST only for so long): the host still gets the rest
 *   DRAINING -> DYING   all is out
 *   DYING -> FREE
 *
 * I/O of a slot that is in flight keeps the slot, and never touches guest memory: only calls that
 * do not wait do that.
 */
#include "device/vsock.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_vsock.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "mem/cursor.h"

enum { QUEUE_RX, QUEUE_TX, QUEUE_EVENT, QUEUE_COUNT };
enum { OP_SEND, OP_READABLE, OP_HANGUP, OP_TURN };

#define QUEUE_SIZE   128
#define CONNS_MAX    256
#define ASKED_MAX    16 /* connections that the host has not answered; it is asked for no more */
#define RESETS_MAX   32
#define RING_SIZE    (256u << 10) /* guest to host; the credit that we give */
#define BOUNCE_SIZE  4096u        /* host to guest, for what does not go straight into a chain */
#define BATCH_CHAINS 32           /* that one receive fills */
#define BATCH_BYTES  (256u << 10) /* likewise */
#define SEGMENTS     64           /* of guest memory in one call */
#define TURN_CHAINS  64           /* of each queue, before others of the loop have their turn */
#define TURN_BYTES   (1u << 20)   /* likewise, of the transmit queue */
#define DIAL_PORT    (1u << 30)   /* the host's ports for connections of its own, from here up */

#define HDR_SIZE     ((uint32_t)sizeof(struct virtio_vsock_hdr))
#define SHUTDOWN_ALL (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

static_assert(sizeof(struct virtio_vsock_hdr) == 44, "5.10.6: the header's layout");
static_assert(offsetof(struct virtio_vsock_hdr, len) == 24, "5.10.6: the header's layout");
static_assert(offsetof(struct virtio_vsock_hdr, fwd_cnt) == 40, "5.10.6: the header's layout");
static_assert(sizeof(struct virtio_vsock_config) == 8, "5.10.4: the configuration's layout");

enum conn_state { CONN_FREE, CONN_ASKED, CONN_DIALED, CONN_OPEN, CONN_DRAINING, CONN_DYING };

struct conn {
	enum conn_state state;
	uint32_t guest_port;
	uint32_t host_port;
	uint32_t generation;
	int fd;
	uint8_t *buf; /* the ring, and the bounce buffer behind it */

	/* guest to host */
	uint32_t out_head; /* into the ring */
	uint32_t out_len;  /* bytes in the ring, those being sent included */
	uint32_t fwd_cnt;  /* bytes that have left the ring, ever */
	uint32_t told_cnt; /* fwd_cnt as the guest last heard of it */
	bool sending;
	bool out_closed; /* nothing goes to the host any more: we shut the socket, or it failed */
	bool out_failed; /* it failed: the guest is to hear of it */

	/* host to guest */
	uint32_t in_off; /* into the bounce buffer */
	uint32_t in_len;
	uint32_t tx_cnt; /* bytes that went to the guest, ever */
	uint32_t peer_buf_alloc;
	uint32_t peer_fwd_cnt;
	bool readable; /* as far as we know: a receive may bring something */
	bool polling;  /* to find that out */
	bool watched;  /* for the end of a socket that waits to be connected */
	bool in_eof;

	uint32_t guest_shutdown; /* VIRTIO_VSOCK_SHUTDOWN_* that the guest has said */
	uint32_t said_shutdown;  /* that we have said */

	/* what to say next */
	bool say_request;
	bool say_response;
	bool say_credit;
	bool say_reset;
};

/* An RST for a packet that belongs to no connection. Addresses as the guest shall see them. */
struct reset {
	uint64_t src_cid;
	uint32_t src_port;
	uint32_t dst_port;
	uint16_t type;
};

struct vsock {
	struct virtio_device dev;
	uint64_t guest_cid;
	const struct vsock_host_ops *host;
	void *host_ctx;
	int source;

	unsigned int in_flight; /* submissions whose completion is to come */
	bool turn_queued;       /* one of them brings us back to vsock_turn() */
	bool tx_pending;        /* the transmit queue may hold chains */
	bool stopped;
	struct loop_call *stopping; /* to be told when nothing is in flight any more */

	unsigned int next_conn; /* whose turn it is to be given a receive chain */
	unsigned int nconns;    /* slots from here on were never used, or are not any more */
	unsigned int nasked;
	uint32_t dial_port; /* the last one */
	struct conn conns[CONNS_MAX];

	unsigned int first_reset;
	unsigned int nresets;
	struct reset resets[RESETS_MAX];
};

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static struct vsock *vsock_of(struct virtio_device *dev)
{
	return (struct vsock *)dev;
}

static void conn_tag(struct vsock *v, struct conn *c, struct io_uring_sqe *sqe, uint8_t op)
{
	loop_tag(sqe, v->source, op, (uint16_t)(c - v->conns), c->generation);
	v->in_flight++;
}

/* Make the slot free once nobody needs it any more. */
static void conn_reap(struct conn *c)
{
	if (c->state != CONN_DYING || c->sending || c->polling || c->watched || c->say_reset)
		return;
	if (c->fd >= 0)
		close(c->fd);
	free(c->buf);
	*c = (struct conn){ .generation = c->generation + 1, .fd = -1 };
}

/* End the connection now, with an RST for the guest if it is to be told. */
static void conn_kill(struct conn *c, bool tell)
{
	if (c->fd >= 0)
		shutdown(c->fd, SHUT_RDWR);
	c->state = CONN_DYING;
	c->out_len = 0;
	c->in_len = 0;
	c->say_reset = tell;
	conn_reap(c);
}

/* Bytes that the guest has room for (5.10.6.3). A guest that counts wrongly has none. */
static uint32_t conn_credit(const struct conn *c)
{
	uint32_t under_way = c->tx_cnt - c->peer_fwd_cnt;

	return under_way < c->peer_buf_alloc ? c->peer_buf_alloc - under_way : 0;
}

/* The SHUTDOWN flags that hold and have not been said. */
static uint32_t conn_unsaid_shutdown(const struct conn *c)
{
	uint32_t flags = 0;

	if (c->in_eof && !c->in_len)
		flags |= VIRTIO_VSOCK_SHUTDOWN_SEND;
	if (c->out_failed)
		flags |= VIRTIO_VSOCK_SHUTDOWN_RCV;
	return flags & ~c->said_shutdown;
}

/* Whether the guest is to have, and has room for, more of what comes from the socket. */
static bool conn_wants_input(const struct conn *c)
{
	return c->state == CONN_OPEN && !c->in_len && !c->in_eof &&
	       !(c->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_RCV) && conn_credit(c);
}

/* Whether that is the next thing that it is to have. */
static bool conn_can_receive(const struct conn *c)
{
	return c->readable && !c->say_response && conn_wants_input(c);
}

static bool conn_has_packet(const struct conn *c)
{
	if (c->state == CONN_DYING)
		return c->say_reset;
	if (c->state == CONN_DIALED)
		return c->say_request;
	if (c->state != CONN_OPEN)
		return false;
	return c->say_response || c->say_credit || conn_unsaid_shutdown(c) ||
	       (c->in_len && conn_credit(c)) || conn_can_receive(c);
}

/* Count @len bytes of the guest's as gone; tell it of room in steps of half the ring. */
static void conn_forwarded(struct conn *c, uint32_t len)
{
	c->fwd_cnt += len;
	if (c->fwd_cnt - c->told_cnt >= RING_SIZE / 2 &&
	    !(c->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND))
		c->say_credit = true;
}

/* Start what the connection's state allows, or end what it no longer needs. */
static void conn_step(struct vsock *v, struct conn *c)
{
	if (c->state != CONN_OPEN && c->state != CONN_DRAINING)
		return;
	if (c->out_len && !c->sending) {
		struct io_uring_sqe *sqe = loop_sqe(v->dev.loop);

		io_uring_prep_send(sqe, c->fd, c->buf + c->out_head,
				   min_u32(c->out_len, RING_SIZE - c->out_head), MSG_NOSIGNAL);
		conn_tag(v, c, sqe, OP_SEND);
		c->sending = true;
	}
	if (!c->out_len && !c->out_closed && c->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) {
		shutdown(c->fd, SHUT_WR);
		c->out_closed = true;
	}
	if (c->out_closed && c->state == CONN_DRAINING) {
		conn_kill(c, false);
		return;
	}
	/* 5.10.6.5: the guest said that it is done both ways, and the RST confirms it. */
	if (c->out_closed && c->guest_shutdown == SHUTDOWN_ALL) {
		conn_kill(c, true);
		return;
	}
	if (conn_wants_input(c) && !c->readable && !c->polling) {
		struct io_uring_sqe *sqe = loop_sqe(v->dev.loop);

		io_uring_prep_poll_add(sqe, c->fd, POLLIN | POLLRDHUP);
		conn_tag(v, c, sqe, OP_READABLE);
		c->polling = true;
	}
}

static void conn_sent(struct conn *c, int32_t res)
{
	c->sending = false;
	if (c->state == CONN_DYING) {
		conn_reap(c);
		return;
	}
	if (res == -EINTR)
		return; /* the next step tries again */
	if (res < 0) {
		/* The host reads no more. What it does not want is as good as forwarded. */
		c->out_closed = true;
		c->out_failed = true;
		conn_forwarded(c, c->out_len);
		c->out_len = 0;
		return;
	}
	c->out_head = (c->out_head + (uint32_t)res) % RING_SIZE;
	c->out_len -= (uint32_t)res;
	if (!c->out_len)
		c->out_head = 0; /* no more of its pages than are needed */
	conn_forwarded(c, (uint32_t)res);
}

/* There are bytes, or an end: the next receive tells which. */
static void conn_polled(struct conn *c)
{
	c->polling = false;
	c->readable = true;
	conn_reap(c);
}

/* The socket has ended both ways, or was shut by us. */
static void conn_hung_up(struct conn *c, int32_t res)
{
	c->watched = false;
	/* A half-close is reported, too, and is nothing yet. */
	if (c->state == CONN_DIALED && (res < 0 || res & (POLLHUP | POLLERR)))
		conn_kill(c, !c->say_request);
	else
		conn_reap(c);
}

static struct conn *conn_find(struct vsock *v, uint32_t guest_port, uint32_t host_port)
{
	for (unsigned int i = 0; i < v->nconns; i++) {
		struct conn *c = &v->conns[i];
		bool known = c->state == CONN_OPEN || c->state == CONN_ASKED ||
			     c->state == CONN_DIALED || (c->state == CONN_DYING && c->say_reset);

		if (known && c->guest_port == guest_port && c->host_port == host_port)
			return c;
	}
	return NULL;
}

/* A free slot, with its ports. NULL: there is none. */
static struct conn *conn_new(struct vsock *v, uint32_t guest_port, uint32_t host_port)
{
	while (v->nconns && v->conns[v->nconns - 1].state == CONN_FREE)
		v->nconns--;
	unsigned int i = 0;

	while (i < v->nconns && v->conns[i].state != CONN_FREE)
		i++;
	if (i == CONNS_MAX)
		return NULL;
	if (i == v->nconns)
		v->nconns++;

	struct conn *c = &v->conns[i];

	c->guest_port = guest_port;
	c->host_port = host_port;
	c->fd = -1;
	return c;
}

/* The slot gets @fd and buffers for it. False: out of memory, and @fd is the caller's still. */
static bool conn_attach(struct conn *c, int fd)
{
	c->buf = malloc(RING_SIZE + BOUNCE_SIZE);
	if (!c->buf)
		return false;
	c->fd = fd;
	return true;
}

static uint64_t conn_id(const struct vsock *v, const struct conn *c)
{
	return (uint64_t)c->generation << 32 | (uint64_t)(c - v->conns);
}

/* A slot for the guest's request, with the question of where it leads to. NULL: it is refused. */
static struct conn *conn_ask(struct vsock *v, const struct virtio_vsock_hdr *hdr)
{
	uint32_t host_port = le32toh(hdr->dst_port);

	if (v->nasked == ASKED_MAX)
		return NULL;
	struct conn *c = conn_new(v, le32toh(hdr->src_port), host_port);

	if (!c)
		return NULL;
	c->state = CONN_ASKED;
	c->peer_buf_alloc = le32toh(hdr->buf_alloc);
	c->peer_fwd_cnt = le32toh(hdr->fwd_cnt);
	v->nasked++;
	if (v->host->connect(v->host_ctx, conn_id(v, c), host_port)) {
		v->nasked--;
		conn_kill(c, false);
		return NULL;
	}
	return c;
}

static void conns_close(struct vsock *v)
{
	for (unsigned int i = 0; i < v->nconns; i++) {
		if (v->conns[i].state != CONN_FREE)
			conn_kill(&v->conns[i], false);
	}
	v->nresets = 0;
}

/* Refuse a packet that has no connection. The caller made sure of room. */
static void vsock_refuse(struct vsock *v, const struct virtio_vsock_hdr *hdr)
{
	if (le16toh(hdr->op) == VIRTIO_VSOCK_OP_RST)
		return; /* an answer to an answer could go on for ever */
	v->resets[(v->first_reset + v->nresets++) % RESETS_MAX] = (struct reset){
		.src_cid = le64toh(hdr->dst_cid),
		.src_port = le32toh(hdr->dst_port),
		.dst_port = le32toh(hdr->src_port),
		.type = le16toh(hdr->type),
	};
}

/*
 * Have the socket take what it does at once of the @len bytes at @cur, and move that on. Returns
 * how many these were. Where it fails, the same comes of a send from the ring.
 */
static uint32_t conn_send_now(struct conn *c, struct cursor *cur, uint32_t len)
{
	struct iovec iov[SEGMENTS];
	int n = cursor_slice(cur, len, iov, SEGMENTS);

	if (n <= 0)
		return 0;
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = (size_t)n };
	ssize_t sent = sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent <= 0)
		return 0;
	cursor_skip(cur, (size_t)sent);
	conn_forwarded(c, (uint32_t)sent);
	return (uint32_t)sent;
}

/* The payload of an RW packet, @len bytes at @cur. False: the guest broke the rules. */
static bool conn_take(struct conn *c, struct cursor *cur, uint32_t len)
{
	if (c->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND || len > RING_SIZE - c->out_len)
		return false;
	if (c->out_closed) {
		conn_forwarded(c, len);
		return true;
	}
	if (!c->out_len)
		len -= conn_send_now(c, cur, len);
	uint32_t tail = (c->out_head + c->out_len) % RING_SIZE;
	uint32_t first = min_u32(len, RING_SIZE - tail);

	if (!cursor_read(cur, c->buf + tail, first) || !cursor_read(cur, c->buf, len - first))
		return false;
	c->out_len += len;
	return true;
}

/* A packet of a known connection; @cur is at the payload. */
static void conn_packet(struct conn *c, const struct virtio_vsock_hdr *hdr, struct cursor *cur)
{
	uint16_t op = le16toh(hdr->op);
	uint32_t len = le32toh(hdr->len);

	if (c->state == CONN_DYING) {
		/* Our RST is on its way and answers everything but the guest's own. */
		if (op == VIRTIO_VSOCK_OP_RST) {
			c->say_reset = false;
			conn_reap(c);
		}
		return;
	}
	if (c->state == CONN_ASKED || (c->state == CONN_DIALED && op != VIRTIO_VSOCK_OP_RESPONSE)) {
		/* It has changed its mind, refuses, or breaks the rules. */
		conn_kill(c, op != VIRTIO_VSOCK_OP_RST);
		return;
	}
	if (len > cursor_left(cur)) {
		conn_kill(c, true);
		return;
	}
	c->peer_buf_alloc = le32toh(hdr->buf_alloc);
	c->peer_fwd_cnt = le32toh(hdr->fwd_cnt);
	if (c->state == CONN_DIALED) {
		c->state = CONN_OPEN;
		return;
	}
	switch (op) {
	case VIRTIO_VSOCK_OP_RW:
		if (!conn_take(c, cur, len))
			conn_kill(c, true);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		c->say_credit = true;
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		c->guest_shutdown |= le32toh(hdr->flags) & SHUTDOWN_ALL;
		if (c->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_RCV) {
			shutdown(c->fd, SHUT_RD);
			c->in_len = 0;
		}
		break;
	case VIRTIO_VSOCK_OP_RST:
		if (c->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND && c->out_len) {
			shutdown(c->fd, SHUT_RD);
			c->in_len = 0;
			c->state = CONN_DRAINING;
		} else {
			conn_kill(c, false);
		}
		break;
	default:
		/* Unknown, or not for a connection that is open. */
		conn_kill(c, true);
	}
}

static void vsock_packet(struct vsock *v, const struct virtio_vsock_hdr *hdr, struct cursor *cur)
{
	if (le64toh(hdr->src_cid) != v->guest_cid)
		return; /* whoever that claims to be, it cannot be reached from here */
	if (le64toh(hdr->dst_cid) != VMADDR_CID_HOST ||
	    le16toh(hdr->type) != VIRTIO_VSOCK_TYPE_STREAM) {
		vsock_refuse(v, hdr);
		return;
	}
	struct conn *c = conn_find(v, le32toh(hdr->src_port), le32toh(hdr->dst_port));

	if (!c && le16toh(hdr->op) == VIRTIO_VSOCK_OP_REQUEST && conn_ask(v, hdr))
		return;
	if (c)
		conn_packet(c, hdr, cur);
	else
		vsock_refuse(v, hdr);
}

static void vsock_fault(struct vsock *v, const char *what)
{
	virtio_fault(&v->dev, "%s", what);
	/* No byte can go either way before a reset: let the host see the end now. */
	conns_close(v);
}

/* Take what the guest sent. */
static void vsock_take(struct vsock *v)
{
	struct virtq *q = &v->dev.queues[QUEUE_TX];
	bool pushed = false;
	uint64_t bytes = 0;

	if (!v->tx_pending)
		return;
	virtq_suppress_kicks(q);
	for (unsigned int n = 0;
	     v->tx_pending && n < TURN_CHAINS && bytes < TURN_BYTES && v->nresets < RESETS_MAX;
	     n++) {
		struct virtio_vsock_hdr hdr;
		struct virtq_chain chain;
		int ret = virtq_pop(q, &chain);

		if (ret == VIRTQ_EMPTY) {
			v->tx_pending = virtq_want_kicks(q);
			continue;
		}
		if (ret == VIRTQ_FAULT) {
			vsock_fault(v, "a bad chain in the transmit queue");
			return;
		}
		struct cursor cur = cursor_init(chain.iov, chain.nout);

		if (!cursor_read(&cur, &hdr, sizeof(hdr))) {
			vsock_fault(v, "a transmit chain too short for a header");
			return;
		}
		vsock_packet(v, &hdr, &cur);
		bytes += chain.out_len;
		virtq_push(q, chain.head, 0);
		pushed = true;
	}
	if (pushed)
		virtio_signal(&v->dev, QUEUE_TX);
}

/* What every packet to the guest says. */
static void conn_address(const struct vsock *v, struct conn *c, struct virtio_vsock_hdr *hdr)
{
	hdr->src_cid = htole64(VMADDR_CID_HOST);
	hdr->dst_cid = htole64(v->guest_cid);
	hdr->src_port = htole32(c->host_port);
	hdr->dst_port = htole32(c->guest_port);
	hdr->type = htole16(VIRTIO_VSOCK_TYPE_STREAM);
	hdr->buf_alloc = htole32(RING_SIZE);
	hdr->fwd_cnt = htole32(c->fwd_cnt);
	c->told_cnt = c->fwd_cnt;
	c->say_credit = false;
}

/* The packet that @c has for the guest, into @hdr; payload, if any, stays at in_off. */
static void conn_packet_next(const struct vsock *v, struct conn *c, struct virtio_vsock_hdr *hdr,
			     uint32_t room)
{
	uint32_t unsaid = conn_unsaid_shutdown(c);
	uint32_t len = min_u32(min_u32(c->in_len, conn_credit(c)), room);

	if (c->state == CONN_DYING) {
		hdr->op = htole16(VIRTIO_VSOCK_OP_RST);
		c->say_reset = false;
	} else if (c->say_request) {
		hdr->op = htole16(VIRTIO_VSOCK_OP_REQUEST);
		c->say_request = false;
	} else if (c->say_response) {
		hdr->op = htole16(VIRTIO_VSOCK_OP_RESPONSE);
		c->say_response = false;
	} else if (len) {
		hdr->op = htole16(VIRTIO_VSOCK_OP_RW);
		hdr->len = htole32(len);
	} else if (unsaid) {
		hdr->op = htole16(VIRTIO_VSOCK_OP_SHUTDOWN);
		c->said_shutdown |= unsaid;
		hdr->flags = htole32(c->said_shutdown);
	} else {
		/* Also what fills a chain that has no room for the payload that waits. */
		hdr->op = htole16(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	}
	conn_address(v, c, hdr);
}

/* Put one packet into @chain, which has room for a header. Returns the bytes written. */
static uint32_t vsock_put(struct vsock *v, struct conn *c, const struct virtq_chain *chain)
{
	struct cursor cur = cursor_init(chain->iov + chain->nout, chain->nin);
	struct virtio_vsock_hdr hdr = { 0 };

	if (!c) {
		const struct reset *r = &v->resets[v->first_reset];

		hdr.op = htole16(VIRTIO_VSOCK_OP_RST);
		hdr.src_cid = htole64(r->src_cid);
		hdr.dst_cid = htole64(v->guest_cid);
		hdr.src_port = htole32(r->src_port);
		hdr.dst_port = htole32(r->dst_port);
		hdr.type = htole16(r->type);
		v->first_reset = (v->first_reset + 1) % RESETS_MAX;
		v->nresets--;
		cursor_write(&cur, &hdr, sizeof(hdr));
		return HDR_SIZE;
	}

	conn_packet_next(v, c, &hdr, chain->in_len - HDR_SIZE);
	uint32_t len = le32toh(hdr.len);

	cursor_write(&cur, &hdr, sizeof(hdr));
	if (len) {
		cursor_write(&cur, c->buf + RING_SIZE + c->in_off, len);
		c->in_off += len;
		c->in_len -= len;
		c->tx_cnt += len;
	}
	conn_reap(c);
	conn_step(v, c);
	return HDR_SIZE + len;
}

/* Receive chains that one receive from a socket is to fill, a packet each. */
struct batch {
	unsigned int nchains;
	unsigned int nsegments;
	uint32_t room;
	struct {
		void *hdr;
		uint16_t head;
		uint32_t room;
	} chains[BATCH_CHAINS];
	struct iovec segments[SEGMENTS]; /* for the payload */
};

/* Add @chain, for @max bytes at most. False: it is not to be used in this way, or not any more. */
static bool batch_add(struct batch *b, const struct virtq_chain *chain, uint32_t max)
{
	struct cursor cur = cursor_init(chain->iov + chain->nout, chain->nin);

	if (chain->in_len <= HDR_SIZE || cur.iov->iov_len < HDR_SIZE)
		return false;
	uint32_t room = min_u32(chain->in_len - HDR_SIZE, max);

	cursor_skip(&cur, HDR_SIZE);
	int n = cursor_slice(&cur, room, b->segments + b->nsegments, SEGMENTS - b->nsegments);

	if (n < 0)
		return false;
	b->chains[b->nchains].hdr = chain->iov[chain->nout].iov_base;
	b->chains[b->nchains].head = chain->head;
	b->chains[b->nchains++].room = room;
	b->nsegments += (unsigned int)n;
	b->room += room;
	return true;
}

/* What a receive for @c came to: bytes, an end, or a negative errno. */
static void conn_received(struct conn *c, ssize_t res, size_t room)
{
	/* What was not filled up is empty now; polling again tells, should it not be. */
	c->readable = res > 0 && (size_t)res == room;
	if (!res || (res < 0 && res != -EAGAIN && res != -EINTR))
		c->in_eof = true;
}

/*
 * Receive from the socket of @c into @chain and those behind it, or into the bounce buffer where
 * their layout is odd; @chain is overwritten. Returns how many chains were used.
 */
static unsigned int vsock_receive(struct vsock *v, struct conn *c, struct virtq_chain *chain)
{
	struct virtq *q = &v->dev.queues[QUEUE_RX];
	uint32_t max = min_u32(conn_credit(c), BATCH_BYTES);
	struct batch b = { 0 };
	unsigned int used = 0;
	ssize_t res;

	do {
		if (batch_add(&b, chain, max - b.room))
			continue;
		virtq_put_back(q, 1);
		break;
	} while (b.nchains < BATCH_CHAINS && b.room < max && virtq_pop(q, chain) == VIRTQ_OK);

	if (!b.nchains) {
		b.room = min_u32(max, BOUNCE_SIZE);
		b.segments[b.nsegments++] = (struct iovec){ c->buf + RING_SIZE, b.room };
	}
	struct msghdr msg = { .msg_iov = b.segments, .msg_iovlen = b.nsegments };

	res = recvmsg(c->fd, &msg, MSG_DONTWAIT);
	conn_received(c, res < 0 ? -errno : res, b.room);
	if (!b.nchains) {
		c->in_off = 0;
		c->in_len = res > 0 ? (uint32_t)res : 0;
		return 0;
	}
	for (uint32_t left = res > 0 ? (uint32_t)res : 0; left; used++) {
		uint32_t len = min_u32(left, b.chains[used].room);
		struct virtio_vsock_hdr hdr = {
			.op = htole16(VIRTIO_VSOCK_OP_RW),
			.len = htole32(len),
		};

		conn_address(v, c, &hdr);
		memcpy(b.chains[used].hdr, &hdr, sizeof(hdr));
		virtq_stage(q, b.chains[used].head, HDR_SIZE + len);
		c->tx_cnt += len;
		left -= len;
	}
	virtq_publish(q);
	virtq_put_back(q, b.nchains - used);
	return used;
}

/* The next connection with a packet for the guest, each in its turn. NULL: none. */
static struct conn *vsock_next_conn(struct vsock *v)
{
	for (unsigned int n = 0; n < v->nconns; n++) {
		struct conn *c = &v->conns[(v->next_conn + n) % v->nconns];

		if (conn_has_packet(c)) {
			v->next_conn = (unsigned int)(c - v->conns + 1);
			return c;
		}
	}
	return NULL;
}

/* Say what is to be said. Returns whether there was more than this turn may take. */
static bool vsock_say(struct vsock *v)
{
	struct virtq *q = &v->dev.queues[QUEUE_RX];
	bool pushed = false;
	bool more = true;

	virtq_suppress_kicks(q);
	for (unsigned int n = 0; n < TURN_CHAINS; n++) {
		struct conn *c = v->nresets ? NULL : vsock_next_conn(v);
		struct virtq_chain chain;

		if (!v->nresets && !c) {
			more = false;
			break;
		}
		int ret = virtq_pop(q, &chain);

		if (ret == VIRTQ_EMPTY) {
			more = virtq_want_kicks(q);
			if (!more)
				break;
			continue;
		}
		if (ret == VIRTQ_FAULT) {
			vsock_fault(v, "a bad chain in the receive queue");
			return false;
		}
		if (chain.in_len < HDR_SIZE) {
			vsock_fault(v, "a receive chain too short for a header");
			return false;
		}
		if (c && conn_can_receive(c)) {
			unsigned int used = vsock_receive(v, c, &chain);

			conn_step(v, c);
			pushed = pushed || used;
			n += used;
			continue;
		}
		virtq_push(q, chain.head, vsock_put(v, c, &chain));
		pushed = true;
	}
	if (pushed)
		virtio_signal(&v->dev, QUEUE_RX);
	return more;
}

static bool vsock_usable(struct vsock *v)
{
	return !v->stopped && !atomic_load(&v->dev.broken) && v->dev.queues[QUEUE_RX].ready &&
	       v->dev.queues[QUEUE_TX].ready;
}

static void vsock_turn(struct vsock *v)
{
	if (!vsock_usable(v))
		return;
	vsock_take(v);
	if (!vsock_usable(v))
		return;
	for (unsigned int i = 0; i < v->nconns; i++)
		conn_step(v, &v->conns[i]);
	bool more = vsock_say(v);

	/* Chains are left because of the bound, or because there was no room for a refusal. */
	if (v->tx_pending && v->nresets < RESETS_MAX)
		more = true;
	if (more && !v->turn_queued && vsock_usable(v)) {
		struct io_uring_sqe *sqe = loop_sqe(v->dev.loop);

		io_uring_prep_nop(sqe);
		loop_tag(sqe, v->source, OP_TURN, 0, 0);
		v->turn_queued = true;
		v->in_flight++;
	}
}

static void vsock_event(void *ctx, const struct loop_event *ev)
{
	struct vsock *v = ctx;
	struct conn *c = &v->conns[ev->index];
	bool late = ev->generation != (c->generation & LOOP_GENERATION_MASK);

	v->in_flight--;
	switch (ev->op) {
	case OP_SEND:
		if (!late)
			conn_sent(c, ev->res);
		break;
	case OP_READABLE:
		if (!late)
			conn_polled(c);
		break;
	case OP_HANGUP:
		if (!late)
			conn_hung_up(c, ev->res);
		break;
	case OP_TURN:
		v->turn_queued = false;
		break;
	}
	if (v->stopping && !v->in_flight) {
		struct loop_call *done = steal_ptr(v->stopping);

		loop_call_done(done);
		return;
	}
	vsock_turn(v);
}

static void vsock_start(struct virtio_device *dev)
{
	struct vsock *v = vsock_of(dev);

	v->stopped = false;
	v->tx_pending = true;
	vsock_turn(v);
}

static void vsock_stop(struct virtio_device *dev, struct loop_call *done)
{
	struct vsock *v = vsock_of(dev);

	v->stopped = true;
	conns_close(v);
	if (v->in_flight)
		v->stopping = done;
	else
		loop_call_done(done);
}

static void vsock_kick(struct virtio_device *dev, unsigned int queue)
{
	struct vsock *v = vsock_of(dev);

	if (queue == QUEUE_TX)
		v->tx_pending = true;
	vsock_turn(v);
}

void vsock_answer(struct virtio_device *dev, uint64_t id, int fd)
{
	struct vsock *v = vsock_of(dev);
	struct conn *c = &v->conns[(uint32_t)id % CONNS_MAX];

	v->nasked--;
	/* The guest may have gone on meanwhile, and the slot as well. */
	if (c->state != CONN_ASKED || id != conn_id(v, c)) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (fd >= 0 && conn_attach(c, fd)) {
		c->state = CONN_OPEN;
		c->say_response = true;
	} else {
		if (fd >= 0)
			close(fd);
		conn_kill(c, true);
	}
	vsock_turn(v);
}

/* A port of the host's that no connection has. */
static uint32_t dial_port_next(struct vsock *v, uint32_t guest_port)
{
	do
		v->dial_port = v->dial_port < DIAL_PORT ? DIAL_PORT : v->dial_port + 1;
	while (conn_find(v, guest_port, v->dial_port));
	return v->dial_port;
}

void vsock_dial(struct virtio_device *dev, uint32_t port, int fd, const void *preamble, size_t len,
		bool greet)
{
	struct vsock *v = vsock_of(dev);
	struct conn *c = NULL;

	assert(len <= VSOCK_PREAMBLE_MAX);
	if (!atomic_load(&v->dev.broken) && !v->stopping)
		c = conn_new(v, port, dial_port_next(v, port));
	if (!c || !conn_attach(c, fd)) {
		close(fd);
		return;
	}
	c->state = CONN_DIALED;
	c->say_request = true;
	if (greet) {
		c->out_len = (uint32_t)snprintf((char *)c->buf, RING_SIZE, "OK %u\n", c->host_port);
		/* It takes room of the guest's credit until it has left. */
		c->fwd_cnt = c->told_cnt = -c->out_len;
	}
	if (len)
		memcpy(c->buf + RING_SIZE, preamble, len);
	c->in_len = (uint32_t)len;

	/* Whoever dials may lose patience with a guest that does not answer. */
	struct io_uring_sqe *sqe = loop_sqe(v->dev.loop);

	io_uring_prep_poll_add(sqe, fd, 0);
	conn_tag(v, c, sqe, OP_HANGUP);
	c->watched = true;
	vsock_turn(v);
}

static void vsock_config_read(struct virtio_device *dev, uint32_t off, void *buf, uint32_t len)
{
	struct virtio_vsock_config config = { .guest_cid = htole64(vsock_of(dev)->guest_cid) };

	memcpy(buf, (const uint8_t *)&config + off, len);
}

static void vsock_free(struct virtio_device *dev)
{
	free(vsock_of(dev));
}

static const struct virtio_ops vsock_ops = {
	.start = vsock_start,
	.stop = vsock_stop,
	.kick = vsock_kick,
	.config_read = vsock_config_read,
	.free = vsock_free,
};

int vsock_new(struct loop *loop, const struct guest_mem *mem, uint64_t guest_cid,
	      const struct vsock_host_ops *host, void *ctx, struct virtio_device **out)
{
	/* 5.10.4: 0 to 2 and 2^32 - 1 are reserved, and the upper half is zero. */
	if (guest_cid <= VMADDR_CID_HOST || guest_cid >= VMADDR_CID_ANY)
		return -EINVAL;
	AUTO_FREE struct vsock *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	v->dev = (struct virtio_device){
		.ops = &vsock_ops,
		.name = "vsock",
		.id = VIRTIO_ID_VSOCK,
		.config_size = sizeof(struct virtio_vsock_config),
		.nqueues = QUEUE_COUNT,
		.queue_size_max = QUEUE_SIZE,
		.loop = loop,
		.mem = mem,
	};
	v->guest_cid = guest_cid;
	v->host = host;
	v->host_ctx = ctx;
	v->stopped = true;
	v->source = loop_add_source(loop, vsock_event, v);
	if (v->source < 0)
		return v->source;
	int ret = virtio_device_init(&v->dev);

	if (ret)
		return ret;
	*out = &steal_ptr(v)->dev;
	return 0;
}
