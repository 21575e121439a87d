// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * A network that does what it is told: what is sent is looked at and done at the loop's next turn,
 * or held until the test lets go of it; frames come when the test says so.
 */

#include <errno.h>

#include "backend/netport.h"
#include "guest_driver.h"

#define FAKE_FRAME_ROOM (NETPORT_HEADER + NETPORT_FRAME_MAX)

struct fake_pair {
	struct netport_io *sends[NETPORT_SENDS_MAX]; /* in flight, by slot */
	struct netport_io *held[NETPORT_SENDS_MAX];  /* the same in order */
	unsigned int nheld;
	struct netport_io *receives[NETPORT_RECEIVES_MAX]; /* in flight, in order */
	unsigned int nreceives;
	struct iovec first[NETPORT_RECEIVES_MAX]; /* of each, to see that it stays */
	unsigned int batches;                     /* calls of receive */
	unsigned int sent;
	unsigned int cancels;
	bool cancelling;
};

struct fake_port {
	struct netport port; /* first */
	struct loop *loop;
	int source;
	bool turn_queued;
	bool hold;           /* sends wait for fake_port_release() */
	bool lost;           /* everything is done with -ENODEV */
	int set_pairs_fails; /* with this errno */
	unsigned int offloads;
	unsigned int in_use; /* pairs */
	struct fake_pair pairs[NETPORT_PAIRS_MAX];
	uint8_t last[FAKE_FRAME_ROOM]; /* the frame sent last, header included */
	size_t last_len;
	void (*on_send)(void);
	bool freed;
};

static inline void fake_port_turn(struct fake_port *f)
{
	if (f->turn_queued)
		return;
	f->turn_queued = true;

	struct io_uring_sqe *sqe = loop_sqe(f->loop);

	io_uring_prep_nop(sqe);
	loop_tag(sqe, f->source, 0, 0, 0);
}

/* Let go of the oldest @n sends of queue @pair. */
static inline void fake_port_release(struct fake_port *f, unsigned int pair, unsigned int n,
				     int result)
{
	struct fake_pair *p = &f->pairs[pair];

	while (n-- && p->nheld) {
		struct netport_io *io = p->held[0];

		guest_require(p->sends[io->slot] == io);
		p->sends[io->slot] = NULL;
		p->nheld--;
		memmove(p->held, p->held + 1, p->nheld * sizeof(p->held[0]));
		io->done(io, result);
	}
}

/* The first @n receives of queue @pair are over; all of them before the first is told so. */
static inline void fake_port_receives_done(struct fake_port *f, unsigned int pair,
					   const int *results, unsigned int n)
{
	struct fake_pair *p = &f->pairs[pair];
	struct netport_io *ios[NETPORT_RECEIVES_MAX];

	guest_require(n <= p->nreceives);
	memcpy(ios, p->receives, sizeof(ios));
	for (unsigned int i = 0; i < n; i++)
		guest_require(!memcmp(&p->first[i], &ios[i]->iov[0], sizeof(struct iovec)));
	for (unsigned int i = 0; i < n; i++) {
		p->nreceives--;
		memmove(p->receives, p->receives + 1, p->nreceives * sizeof(ios[0]));
		memmove(p->first, p->first + 1, p->nreceives * sizeof(p->first[0]));
		ios[i]->done(ios[i], results[i]);
	}
}

/* What a kernel does that copies a frame out: as much as fits, but not the header's num_buffers. */
static inline int fake_port_fill(const struct netport_io *io, const uint8_t *frame, size_t len)
{
	size_t at = 0;

	for (unsigned int i = 0; i < io->niov && at < len; i++) {
		uint8_t *to = io->iov[i].iov_base;

		for (size_t k = 0; k < io->iov[i].iov_len && at < len; k++, at++)
			if (at < NETPORT_HEADER - 2 || at >= NETPORT_HEADER)
				to[k] = frame[at];
	}
	return (int)at;
}

/*
 * @n frames, headers included, come to queue @pair in one burst. Returns how many found a receive;
 * the others have to wait.
 */
static inline unsigned int fake_port_burst(struct fake_port *f, unsigned int pair,
					   const uint8_t *const *frames, const size_t *lens,
					   unsigned int n)
{
	struct fake_pair *p = &f->pairs[pair];
	int results[NETPORT_RECEIVES_MAX];

	if (n > p->nreceives)
		n = p->nreceives;
	for (unsigned int i = 0; i < n; i++)
		results[i] = fake_port_fill(p->receives[i], frames[i], lens[i]);
	fake_port_receives_done(f, pair, results, n);
	return n;
}

static inline bool fake_port_deliver(struct fake_port *f, unsigned int pair, const uint8_t *frame,
				     size_t len)
{
	return fake_port_burst(f, pair, &frame, &len, 1);
}

static inline void fake_port_event(void *ctx, const struct loop_event *ev)
{
	struct fake_port *f = ctx;

	(void)ev;
	f->turn_queued = false;
	for (unsigned int i = 0; i < f->port.pairs; i++) {
		struct fake_pair *p = &f->pairs[i];
		int results[NETPORT_RECEIVES_MAX];
		int end = f->lost ? -ENODEV : -ECANCELED;

		for (unsigned int k = 0; k < NETPORT_RECEIVES_MAX; k++)
			results[k] = end;
		if (p->cancelling || f->lost) {
			p->cancelling = false;
			fake_port_receives_done(f, i, results, p->nreceives);
		}
		if (!f->hold)
			fake_port_release(f, i, p->nheld, f->lost ? -ENODEV : 0);
	}
}

/* What backend/netport.h promises a backend is checked here and below. */
static inline int fake_port_attach(struct netport *port, struct loop *loop)
{
	struct fake_port *f = (struct fake_port *)port;

	guest_require(!f->loop);
	f->loop = loop;
	f->source = loop_add_source(loop, fake_port_event, f);
	return f->source < 0 ? f->source : 0;
}

static inline void fake_port_send(struct netport *port, unsigned int pair, struct netport_io *io)
{
	struct fake_port *f = (struct fake_port *)port;
	struct fake_pair *p = &f->pairs[pair];
	size_t len = 0;

	guest_require(f->loop && pair < port->pairs);
	guest_require(io->slot < NETPORT_SENDS_MAX && !p->sends[io->slot]);
	guest_require(io->niov && io->niov <= 1024 && io->done);
	for (unsigned int i = 0; i < io->niov; i++) {
		guest_require(io->iov[i].iov_len <= sizeof(f->last) - len);
		memcpy(f->last + len, io->iov[i].iov_base, io->iov[i].iov_len);
		len += io->iov[i].iov_len;
	}
	guest_require(len >= NETPORT_HEADER + 14);
	f->last_len = len;
	p->sends[io->slot] = io;
	p->held[p->nheld++] = io;
	p->sent++;
	if (f->on_send)
		f->on_send();
	fake_port_turn(f);
}

static inline void fake_port_receive(struct netport *port, unsigned int pair,
				     struct netport_io *const *ios, unsigned int n)
{
	struct fake_port *f = (struct fake_port *)port;
	struct fake_pair *p = &f->pairs[pair];

	guest_require(f->loop && pair < port->pairs);
	guest_require(n && n <= NETPORT_RECEIVES_MAX && !p->nreceives);
	for (unsigned int i = 0; i < n; i++) {
		guest_require(ios[i]->slot < NETPORT_RECEIVES_MAX && ios[i]->done);
		guest_require(ios[i]->niov && ios[i]->niov <= 1024);
		for (unsigned int k = 0; k < i; k++)
			guest_require(ios[k]->slot != ios[i]->slot);
		p->first[i] = ios[i]->iov[0];
		p->receives[i] = ios[i];
	}
	p->nreceives = n;
	p->batches++;
	if (f->lost)
		fake_port_turn(f);
}

static inline void fake_port_cancel(struct netport *port, unsigned int pair)
{
	struct fake_port *f = (struct fake_port *)port;

	guest_require(pair < port->pairs);
	f->pairs[pair].cancels++;
	if (!f->pairs[pair].nreceives)
		return;
	f->pairs[pair].cancelling = true;
	fake_port_turn(f);
}

static inline void fake_port_set_offloads(struct netport *port, unsigned int offloads)
{
	struct fake_port *f = (struct fake_port *)port;

	guest_require(!(offloads & ~port->offloads));
	f->offloads = offloads;
}

static inline int fake_port_set_pairs(struct netport *port, unsigned int pairs)
{
	struct fake_port *f = (struct fake_port *)port;

	guest_require(pairs && pairs <= port->pairs);
	if (f->set_pairs_fails)
		return -f->set_pairs_fails;
	f->in_use = pairs;
	return 0;
}

static inline void fake_port_free(struct netport *port)
{
	struct fake_port *f = (struct fake_port *)port;

	guest_require(!f->freed);
	for (unsigned int i = 0; i < port->pairs; i++)
		guest_require(!f->pairs[i].nheld && !f->pairs[i].nreceives);
	f->freed = true;
}

/* The other end is gone. */
static inline void fake_port_lose(struct fake_port *f)
{
	f->lost = true;
	fake_port_turn(f);
}

static inline void fake_port_init(struct fake_port *f, unsigned int pairs, unsigned int offloads)
{
	static const struct netport_ops ops = {
		.attach = fake_port_attach,
		.send = fake_port_send,
		.receive = fake_port_receive,
		.cancel = fake_port_cancel,
		.set_offloads = fake_port_set_offloads,
		.set_pairs = fake_port_set_pairs,
		.free = fake_port_free,
	};

	*f = (struct fake_port){
		.port = { .ops = &ops, .pairs = pairs, .offloads = offloads },
		.in_use = 1,
	};
}
