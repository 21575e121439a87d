// SPDX-License-Identifier: Apache-2.0
#include "supervisor/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "common/frame.h"

#define CLIENTS_MAX 16
#define OUT_MAX     (1u << 20) /* bytes that a client may lag behind */
#define READ_BYTES  16384
#define READ_ROUNDS 8 /* of a stream, before others have their turn */

enum { STREAMS = 3 };

struct client {
	int fd; /* -1: the slot is free */
	uint32_t events;
	bool silent;  /* it has closed its half, and may still listen */
	bool closing; /* once what is left is sent */

	/* from it: frames, and input that the workload has not taken */
	struct frame_reader reader;
	uint8_t input[KVMBOX_STDIN_WINDOW];
	size_t input_off, input_len;
	bool input_end;

	/* to it */
	struct buffer out;
};

struct output {
	const struct output_ops *ops;
	void *ctx;
	int epoll_fd;
	int streams[STREAMS]; /* by enum kvmbox_stream; -1: not there, or over */
	bool begun[STREAMS];
	bool terminal;
	bool input_closed;
	uint32_t input_events;
	unsigned int next_input;             /* whose turn it is to type */
	struct client *clients[CLIENTS_MAX]; /* NULL: free */
};

/* ---- to the clients ---- */

static void client_free(struct output *o, unsigned int i)
{
	struct client *c = o->clients[i];

	close(c->fd);
	buffer_free(&c->out);
	free(c);
	o->clients[i] = NULL;
}

/* Returns false when the client is to be left behind. */
static bool out_add(struct client *c, const void *data, size_t len)
{
	return buffer_add(&c->out, data, len, OUT_MAX);
}

static bool send_frame(struct client *c, uint16_t type, const void *head, size_t head_len,
		       const void *data, size_t len)
{
	struct kvmbox_frame frame = { .type = type, .len = (uint32_t)(head_len + len) };

	return out_add(c, &frame, sizeof(frame)) && out_add(c, head, head_len) &&
	       out_add(c, data, len);
}

/* Returns false when the client is gone, or done with. */
static bool client_flush(struct client *c)
{
	return !buffer_send(&c->out, c->fd) && !(c->closing && !c->out.len);
}

/* What the client is waited for, after each change. */
static void client_watch(const struct output *o, unsigned int i)
{
	struct client *c = o->clients[i];
	uint32_t events = (c->closing || c->silent ? 0u : (uint32_t)EPOLLIN) |
			  (c->out.len ? (uint32_t)EPOLLOUT : 0u);
	struct epoll_event ev = { .events = events, .data.u32 = STREAMS + i };

	if (events != c->events)
		epoll_ctl(o->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev);
	c->events = events;
}

static void client_settle(struct output *o, unsigned int i)
{
	if (client_flush(o->clients[i]))
		client_watch(o, i);
	else
		client_free(o, i);
}

static void tell_all(struct output *o, uint16_t type, const void *head, size_t head_len,
		     const void *data, size_t len)
{
	for (unsigned int i = 0; i < CLIENTS_MAX; i++) {
		if (!o->clients[i])
			continue;
		if (send_frame(o->clients[i], type, head, head_len, data, len))
			client_settle(o, i);
		else
			client_free(o, i);
	}
}

/* ---- the workload's streams ---- */

static void stream_close(struct output *o, enum kvmbox_stream which)
{
	if (o->streams[which] < 0)
		return;
	close(o->streams[which]);
	o->streams[which] = -1;
}

static void stream_watch(struct output *o, enum kvmbox_stream which, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.u32 = which };

	if (which == KVMBOX_STREAM_IN) {
		if (events == o->input_events)
			return;
		o->input_events = events;
	}
	epoll_ctl(o->epoll_fd, EPOLL_CTL_MOD, o->streams[which], &ev);
}

/* Returns false when there is nothing more for now, or ever. */
static bool stream_read(struct output *o, enum kvmbox_stream which)
{
	struct kvmbox_data head = { .stream = which ? which : KVMBOX_STREAM_OUT };
	uint8_t buf[READ_BYTES];
	ssize_t n = recv(o->streams[which], buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		stream_close(o, which);
		return false;
	}
	o->ops->written(o->ctx, buf, (size_t)n);
	tell_all(o, KVMBOX_FRAME_DATA, &head, sizeof(head), buf, (size_t)n);
	return true;
}

static void stream_drain(struct output *o, enum kvmbox_stream which)
{
	for (int i = 0; i < READ_ROUNDS && o->streams[which] >= 0; i++)
		if (!stream_read(o, which))
			return;
}

/* Hand on what one client has typed. Returns false when the workload takes no more for now. */
static bool input_take(struct output *o, unsigned int i)
{
	struct client *c = o->clients[i];
	struct kvmbox_room room = { 0 };
	bool more = true;

	while (c->input_len && more) {
		ssize_t n = (ssize_t)c->input_len;

		if (o->streams[KVMBOX_STREAM_IN] >= 0 && !o->input_closed)
			n = send(o->streams[KVMBOX_STREAM_IN], c->input + c->input_off,
				 c->input_len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			more = false;
		} else if (n < 0) {
			output_close_input(o);
		} else {
			c->input_off += (size_t)n;
			c->input_len -= (size_t)n;
			room.bytes += (uint32_t)n;
		}
	}
	if (c->input_end && !c->input_len)
		output_close_input(o);
	if (room.bytes && !send_frame(c, KVMBOX_FRAME_ROOM, &room, sizeof(room), NULL, 0))
		client_free(o, i);
	else
		client_settle(o, i);
	return more;
}

static void input_move(struct output *o)
{
	bool waiting = false;

	if (!o->begun[KVMBOX_STREAM_IN] && !o->input_closed)
		return; /* it is still to come */
	/* Who has had its turn is the last the next time, however much it types. */
	for (unsigned int n = 0; n < CLIENTS_MAX && !waiting; n++) {
		unsigned int i = o->next_input;

		o->next_input = (i + 1) % CLIENTS_MAX;
		if (o->clients[i])
			waiting = !input_take(o, i);
	}
	if (o->streams[KVMBOX_STREAM_IN] >= 0)
		stream_watch(o, KVMBOX_STREAM_IN,
			     (o->terminal ? (uint32_t)EPOLLIN : 0u) |
				     (waiting ? (uint32_t)EPOLLOUT : 0u));
}

/* ---- from the clients ---- */

/* Returns false for what breaks the protocol. */
static bool input_add(struct client *c, const uint8_t *data, size_t len)
{
	if (!len) {
		c->input_end = true;
		return true;
	}
	if (c->input_end || len > sizeof(c->input) - c->input_len)
		return false;
	if (c->input_off + c->input_len + len > sizeof(c->input)) {
		memmove(c->input, c->input + c->input_off, c->input_len);
		c->input_off = 0;
	}
	memcpy(c->input + c->input_off + c->input_len, data, len);
	c->input_len += len;
	return true;
}

static bool handle_frame(struct output *o, struct client *c, uint16_t type, const uint8_t *data,
			 size_t len)
{
	struct kvmbox_data stream;
	struct kvmbox_signal sig;
	struct kvmbox_winsize size;

	switch (type) {
	case KVMBOX_FRAME_DATA:
		if (len < sizeof(stream))
			return false;
		memcpy(&stream, data, sizeof(stream));
		return stream.stream == KVMBOX_STREAM_IN &&
		       input_add(c, data + sizeof(stream), len - sizeof(stream));
	case KVMBOX_FRAME_SIGNAL:
		if (len < sizeof(sig))
			return true;
		memcpy(&sig, data, sizeof(sig));
		if (sig.signo >= 1 && sig.signo <= 64)
			o->ops->signal(o->ctx, (int)sig.signo);
		return true;
	case KVMBOX_FRAME_WINSIZE:
		if (len < sizeof(size))
			return true;
		memcpy(&size, data, sizeof(size));
		if (size.rows >= 1 && size.rows <= UINT16_MAX && size.cols >= 1 &&
		    size.cols <= UINT16_MAX)
			o->ops->winsize(o->ctx, size.rows, size.cols);
		return true;
	default:
		return true;
	}
}

/* Returns false when the client is gone or breaks the protocol. */
static bool client_read(struct output *o, struct client *c)
{
	struct kvmbox_frame frame;
	const uint8_t *payload;
	ssize_t n = frame_fill(&c->reader, c->fd);
	int ret;

	if (n < 0)
		return n == -EAGAIN;
	c->silent = n == 0;
	while ((ret = frame_next(&c->reader, &frame, &payload)) > 0)
		if (!handle_frame(o, c, frame.type, payload, frame.len))
			return false;
	return ret == 0;
}

static void client_event(struct output *o, unsigned int i, uint32_t events)
{
	struct client *c = o->clients[i];

	if (!c)
		return;
	/* What one that has gone had still said counts. */
	bool good = c->closing || c->silent || !(events & EPOLLIN) || client_read(o, c);

	if (!good ||
	    (events & (EPOLLHUP | EPOLLERR) && (c->closing || c->silent || !(events & EPOLLIN))))
		client_free(o, i);
	else
		client_settle(o, i);
}

/* ---- the rest ---- */

void output_run(struct output *o)
{
	struct epoll_event events[16];
	int n = epoll_wait(o->epoll_fd, events, 16, 0);

	for (int i = 0; i < n; i++) {
		uint32_t what = events[i].data.u32;

		if (what >= STREAMS)
			client_event(o, what - STREAMS, events[i].events);
		else if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			stream_drain(o, what);
	}
	input_move(o);
}

int output_fd(const struct output *o)
{
	return o->epoll_fd;
}

void output_stream(struct output *o, enum kvmbox_stream which, int fd, bool terminal)
{
	uint32_t wanted = which != KVMBOX_STREAM_IN || terminal ? EPOLLIN : 0;
	struct epoll_event ev = { .events = wanted, .data.u32 = which };

	if (o->begun[which] || (which == KVMBOX_STREAM_IN && o->input_closed && !terminal) ||
	    (which != KVMBOX_STREAM_IN && terminal) ||
	    epoll_ctl(o->epoll_fd, EPOLL_CTL_ADD, fd, &ev)) {
		close(fd);
		return;
	}
	o->begun[which] = true;
	o->streams[which] = fd;
	o->terminal |= terminal;
	if (which == KVMBOX_STREAM_IN)
		o->input_events = wanted;
	input_move(o);
}

void output_close_input(struct output *o)
{
	o->input_closed = true;
	/* A terminal's stream is its output, too, and has no half to be closed. */
	if (!o->terminal)
		stream_close(o, KVMBOX_STREAM_IN);
}

/* CLIENTS_MAX: there is none. */
static unsigned int free_slot(const struct output *o)
{
	unsigned int i = 0;

	while (i < CLIENTS_MAX && o->clients[i])
		i++;
	return i;
}

bool output_is_full(const struct output *o)
{
	return free_slot(o) == CLIENTS_MAX;
}

int output_attach(struct output *o, int fd)
{
	unsigned int i = free_slot(o);
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = STREAMS + i };
	struct client *c = i < CLIENTS_MAX ? calloc(1, sizeof(*c)) : NULL;
	int ret = c ? 0 : i < CLIENTS_MAX ? -ENOMEM : -ENOSPC;

	if (!ret && epoll_ctl(o->epoll_fd, EPOLL_CTL_ADD, fd, &ev))
		ret = -errno;
	if (ret) {
		free(c);
		close(fd);
		return ret;
	}
	c->fd = fd;
	c->events = EPOLLIN;
	o->clients[i] = c;
	return 0;
}

bool output_sent(const struct output *o)
{
	for (unsigned int i = 0; i < CLIENTS_MAX; i++)
		if (o->clients[i] && o->clients[i]->out.len)
			return false;
	return true;
}

bool output_ended(const struct output *o)
{
	if (o->terminal)
		return o->streams[KVMBOX_STREAM_IN] < 0;
	return o->streams[KVMBOX_STREAM_OUT] < 0 && o->streams[KVMBOX_STREAM_ERR] < 0;
}

void output_abandon(struct output *o)
{
	for (enum kvmbox_stream i = KVMBOX_STREAM_IN; i <= KVMBOX_STREAM_ERR; i++) {
		while (o->streams[i] >= 0 && stream_read(o, i))
			;
		stream_close(o, i);
	}
}

void output_exit(struct output *o, const struct kvmbox_exit *e)
{
	tell_all(o, KVMBOX_FRAME_EXIT, e, sizeof(*e), NULL, 0);
	for (unsigned int i = 0; i < CLIENTS_MAX; i++) {
		if (!o->clients[i])
			continue;
		o->clients[i]->closing = true;
		client_settle(o, i);
	}
}

int output_new(const struct output_ops *ops, void *ctx, struct output **out)
{
	AUTO_CLOSE int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct output *o;

	if (epoll_fd < 0)
		return -errno;
	o = calloc(1, sizeof(*o));
	if (!o)
		return -ENOMEM;
	o->ops = ops;
	o->ctx = ctx;
	o->epoll_fd = steal_fd(&epoll_fd);
	for (int i = 0; i < STREAMS; i++)
		o->streams[i] = -1;
	*out = o;
	return 0;
}

void output_free(struct output *o)
{
	if (!o)
		return;
	for (unsigned int i = 0; i < CLIENTS_MAX; i++)
		if (o->clients[i])
			client_free(o, i);
	for (enum kvmbox_stream i = KVMBOX_STREAM_IN; i <= KVMBOX_STREAM_ERR; i++)
		stream_close(o, i);
	close(o->epoll_fd);
	free(o);
}
