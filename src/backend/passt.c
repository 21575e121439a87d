// SPDX-License-Identifier: Apache-2.0
/*
 * passt (a user-space network for those who are not root), at the other end of a stream socket.
 *
 * Everything is copied through buffers of ours. That keeps the stream in whole frames whatever
 * happens in between, and guest memory out of anything that a passt which has stopped reading could
 * keep waiting. Frames to passt are collected in one buffer while the other is being sent; from
 * passt, as much as has come is received at once. When a buffer is full, or nobody receives, that
 * direction waits.
 */
#include "backend/passt.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "mem/cursor.h"

#define BUFFER_SIZE  (2 * (NETPORT_FRAME_MAX + LENGTH_BYTES))
#define LENGTH_BYTES 4u

enum { OP_SENT, OP_RECEIVED, OP_TURN };

struct buffer {
	uint8_t *bytes; /* BUFFER_SIZE */
	size_t off, len;
};

struct passt {
	struct netport port;
	struct loop *loop;
	int source;
	int fd;
	int file;
	bool lost;
	bool cancelling;
	bool turn_queued;

	struct buffer out[2]; /* one is filled while the other is sent */
	unsigned int filling;
	bool sending;
	struct netport_io *sends[NETPORT_SENDS_MAX]; /* in order; those that are not in a buffer */
	unsigned int nsends;
	struct netport_io *sent[NETPORT_SENDS_MAX]; /* in a buffer, and to be told so */
	unsigned int nsent;

	struct buffer in;
	bool receiving;
	struct netport_io *receives[NETPORT_RECEIVES_MAX]; /* in order */
	unsigned int nreceives;
};

/* Come back to handle_turn() when the call under way has returned. */
static void queue_turn(struct passt *p)
{
	if (p->turn_queued)
		return;
	p->turn_queued = true;

	struct io_uring_sqe *sqe = loop_sqe(p->loop);

	io_uring_prep_nop(sqe);
	loop_tag(sqe, p->source, OP_TURN, 0, 0);
}

/* ---- to passt ---- */

static bool put_frame(struct buffer *b, const struct netport_io *io)
{
	uint8_t header[NETPORT_HEADER];
	struct cursor c = cursor_init(io->iov, io->niov);

	if (!cursor_read(&c, header, sizeof(header)))
		return true; /* no frame */
	size_t len = cursor_left(&c);
	uint32_t length = htobe32((uint32_t)len);

	if (len + LENGTH_BYTES > BUFFER_SIZE - b->len)
		return false;
	memcpy(b->bytes + b->len, &length, LENGTH_BYTES);
	if (cursor_read(&c, b->bytes + b->len + LENGTH_BYTES, len))
		b->len += LENGTH_BYTES + len;
	return true;
}

static void send_more(struct passt *p)
{
	struct buffer *b = &p->out[!p->filling];

	if (p->sending || p->lost)
		return;
	if (b->off == b->len) {
		b->off = b->len = 0;
		p->filling = !p->filling;
		b = &p->out[!p->filling];
		if (!b->len)
			return;
	}

	struct io_uring_sqe *sqe = loop_sqe(p->loop);

	io_uring_prep_send(sqe, p->file, b->bytes + b->off, b->len - b->off, MSG_NOSIGNAL);
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	loop_tag(sqe, p->source, OP_SENT, 0, 0);
	p->sending = true;
}

/* Move the frames that wait into the buffer, as far as there is room. */
static void fill(struct passt *p)
{
	unsigned int n = 0;

	while (n < p->nsends && put_frame(&p->out[p->filling], p->sends[n]))
		p->sent[p->nsent++] = p->sends[n++];
	p->nsends -= n;
	memmove(p->sends, p->sends + n, p->nsends * sizeof(struct netport_io *));
	if (p->nsent)
		queue_turn(p);
	send_more(p);
}

static void passt_send(struct netport *port, unsigned int pair, struct netport_io *io)
{
	struct passt *p = (struct passt *)port;

	(void)pair;
	p->sends[p->nsends++] = io;
	if (p->lost)
		queue_turn(p);
	else
		fill(p);
}

/* ---- from passt ---- */

/* The frame at the start of the input, if it is whole. Returns its length, 0, or -EPROTO. */
static int frame_ready(const struct buffer *b)
{
	uint32_t length;

	if (b->len - b->off < LENGTH_BYTES)
		return 0;
	memcpy(&length, b->bytes + b->off, LENGTH_BYTES);
	length = be32toh(length);
	if (!length || length > NETPORT_FRAME_MAX)
		return -EPROTO;
	return b->len - b->off - LENGTH_BYTES < length ? 0 : (int)length;
}

/* Fill @io with the frame of @len bytes at the start of the input, or as much as it takes of it. */
static int take_frame(struct buffer *b, const struct netport_io *io, size_t len)
{
	static const uint8_t header[NETPORT_HEADER];
	struct cursor c = cursor_init(io->iov, io->niov);
	size_t room = cursor_left(&c);
	size_t part = room < NETPORT_HEADER ? 0 : room - NETPORT_HEADER;

	part = part < len ? part : len;
	if (cursor_write(&c, header, sizeof(header)))
		cursor_write(&c, b->bytes + b->off + LENGTH_BYTES, part);
	b->off += LENGTH_BYTES + len;
	return (int)(NETPORT_HEADER + part);
}

static void receive_more(struct passt *p)
{
	struct buffer *b = &p->in;

	if (p->receiving || p->lost || !p->nreceives)
		return;
	memmove(b->bytes, b->bytes + b->off, b->len - b->off);
	b->len -= b->off;
	b->off = 0;

	struct io_uring_sqe *sqe = loop_sqe(p->loop);

	io_uring_prep_recv(sqe, p->file, b->bytes + b->len, BUFFER_SIZE - b->len, 0);
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	loop_tag(sqe, p->source, OP_RECEIVED, 0, 0);
	p->receiving = true;
}

/* The first receive is done. Its owner may begin others from within. */
static void receive_done(struct passt *p, int result)
{
	struct netport_io *io = p->receives[0];

	p->nreceives--;
	memmove(p->receives, p->receives + 1, p->nreceives * sizeof(struct netport_io *));
	io->done(io, result);
}

/* Hand out the frames that are there. */
static void deliver(struct passt *p)
{
	while (p->nreceives) {
		int len = frame_ready(&p->in);

		if (len < 0)
			p->lost = true;
		if (len <= 0)
			break;
		receive_done(p, take_frame(&p->in, p->receives[0], (size_t)len));
	}
	if (p->lost)
		queue_turn(p);
	else
		receive_more(p);
}

static void passt_receive(struct netport *port, unsigned int pair, struct netport_io *const *ios,
			  unsigned int n)
{
	struct passt *p = (struct passt *)port;

	(void)pair;
	for (unsigned int i = 0; i < n; i++)
		p->receives[p->nreceives++] = ios[i];
	queue_turn(p);
}

/* ---- both ---- */

static void end_all(struct passt *p, int result)
{
	unsigned int sends = p->nsends, receives = p->nreceives;
	struct netport_io *waiting[NETPORT_SENDS_MAX];

	memcpy(waiting, p->sends, sends * sizeof(struct netport_io *));
	p->nsends = 0;
	while (receives--)
		receive_done(p, result);
	for (unsigned int i = 0; i < sends; i++)
		waiting[i]->done(waiting[i], result);
}

static void handle_turn(struct passt *p)
{
	unsigned int n = p->nsent;
	struct netport_io *sent[NETPORT_SENDS_MAX];

	p->turn_queued = false;
	memcpy(sent, p->sent, n * sizeof(struct netport_io *));
	p->nsent = 0;
	for (unsigned int i = 0; i < n; i++)
		sent[i]->done(sent[i], 0);
	if (p->lost || p->cancelling) {
		p->cancelling = false;
		end_all(p, p->lost ? -ENODEV : -ECANCELED);
		return;
	}
	deliver(p);
}

static void handle_completion(void *ctx, const struct loop_event *ev)
{
	struct passt *p = ctx;
	bool again = ev->res == -EINTR || ev->res == -EAGAIN;

	switch (ev->op) {
	case OP_SENT:
		p->sending = false;
		if (ev->res > 0)
			p->out[!p->filling].off += (size_t)ev->res;
		else if (!again)
			p->lost = true;
		if (p->lost)
			queue_turn(p);
		send_more(p);
		fill(p);
		break;
	case OP_RECEIVED:
		p->receiving = false;
		if (ev->res > 0)
			p->in.len += (size_t)ev->res;
		else if (!again)
			p->lost = true;
		deliver(p);
		break;
	case OP_TURN:
		handle_turn(p);
		break;
	}
}

static void passt_cancel(struct netport *port, unsigned int pair)
{
	struct passt *p = (struct passt *)port;

	(void)pair;
	if (!p->nreceives && !p->nsends)
		return;
	p->cancelling = true;
	queue_turn(p);
}

static int passt_attach(struct netport *port, struct loop *loop)
{
	struct passt *p = (struct passt *)port;

	p->loop = loop;
	p->source = loop_add_source(loop, handle_completion, p);
	if (p->source < 0)
		return p->source;
	p->file = loop_add_file(loop, p->fd);
	return p->file < 0 ? p->file : 0;
}

static void passt_set_offloads(struct netport *port, unsigned int offloads)
{
	(void)port;
	(void)offloads; /* there are none */
}

static int passt_set_pairs(struct netport *port, unsigned int pairs)
{
	(void)port;
	return pairs == 1 ? 0 : -EINVAL;
}

static unsigned int passt_files(const struct netport *port, int fds[NETPORT_PAIRS_MAX])
{
	fds[0] = ((const struct passt *)port)->fd;
	return 1;
}

static void passt_free(struct netport *port)
{
	struct passt *p = (struct passt *)port;

	close(p->fd);
	free(p->out[0].bytes);
	free(p->out[1].bytes);
	free(p->in.bytes);
	free(p);
}

static const struct netport_ops passt_ops = {
	.attach = passt_attach,
	.send = passt_send,
	.receive = passt_receive,
	.cancel = passt_cancel,
	.set_offloads = passt_set_offloads,
	.set_pairs = passt_set_pairs,
	.files = passt_files,
	.free = passt_free,
};

int passt_port_new(int fd, struct netport **out)
{
	struct passt *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->port = (struct netport){ .ops = &passt_ops, .pairs = 1 };
	p->out[0].bytes = malloc(BUFFER_SIZE);
	p->out[1].bytes = malloc(BUFFER_SIZE);
	p->in.bytes = malloc(BUFFER_SIZE);
	if (!p->out[0].bytes || !p->out[1].bytes || !p->in.bytes) {
		p->fd = -1;
		passt_free(&p->port);
		return -ENOMEM;
	}
	p->fd = fd;
	*out = &p->port;
	return 0;
}
