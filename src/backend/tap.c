// SPDX-License-Identifier: Apache-2.0
/*
 * A tap interface (Documentation/networking/tuntap.rst), through the loop's io_uring.
 *
 * Frames go between the tap and guest memory without a copy of ours: a send is a writev, a receive
 * a readv. The descriptors are non-blocking, which for io_uring means that an operation which finds
 * nothing to do waits by poll, and that one which finds something is done on the spot, in order.
 *
 * The receives of a batch are linked, so that one waits at a time: when a frame comes, only that
 * one is woken, and the next of the batch tries at once, which takes a burst of frames in a single
 * system call. The link is a hard one, since a readv that did not fill its memory breaks others.
 */
#include "backend/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { OP_SEND, OP_RECEIVE, OP_CANCEL };

#define INDEX(pair, slot) ((uint16_t)((pair) << 8 | (slot)))

struct tap_pair {
	int fd;
	int file; /* fixed file */
	struct netport_io *sends[NETPORT_SENDS_MAX];
	struct netport_io *receives[NETPORT_RECEIVES_MAX]; /* in order */
	unsigned int first, end;                           /* those in flight */
	unsigned int batch;                                /* counts them */
	unsigned int cancelled;                            /* the batch that is being ended */
};

struct tap {
	struct netport port;
	struct loop *loop;
	int source;
	unsigned int in_use; /* pairs that are attached */
	struct tap_pair pairs[NETPORT_PAIRS_MAX];
};

/* -EBADFD: there is no interface any more. A queue that rests is only silent. */
static int result_of(int res)
{
	return res == -EBADFD ? -ENODEV : res;
}

/* Of the receives in flight the first waits; the others have not begun. */
static void cancel_first(struct tap *t, unsigned int pair)
{
	struct tap_pair *p = &t->pairs[pair];
	struct io_uring_sqe *sqe = loop_sqe(t->loop);
	struct io_uring_sqe target;

	loop_tag(&target, t->source, OP_RECEIVE, INDEX(pair, p->first), 0);
	io_uring_prep_cancel64(sqe, target.user_data, 0);
	loop_tag(sqe, t->source, OP_CANCEL, INDEX(pair, 0), 0);
}

static void handle_completion(void *ctx, const struct loop_event *ev)
{
	struct tap *t = ctx;
	unsigned int pair = ev->index >> 8;
	struct tap_pair *p = &t->pairs[pair];
	unsigned int slot = ev->index & 0xff;
	struct netport_io *io;

	switch (ev->op) {
	case OP_SEND:
		io = p->sends[slot];
		p->sends[slot] = NULL;
		io->done(io, result_of(ev->res));
		break;
	case OP_RECEIVE:
		p->first++;
		p->receives[slot]->done(p->receives[slot], result_of(ev->res));
		break;
	case OP_CANCEL:
		/* Cancelling one lets the next of its batch begin. */
		if (p->cancelled == p->batch && p->first < p->end)
			cancel_first(t, pair);
		break;
	}
}

static int tap_attach(struct netport *port, struct loop *loop)
{
	struct tap *t = (struct tap *)port;

	t->loop = loop;
	t->source = loop_add_source(loop, handle_completion, t);
	if (t->source < 0)
		return t->source;
	for (unsigned int i = 0; i < port->pairs; i++) {
		t->pairs[i].file = loop_add_file(loop, t->pairs[i].fd);
		if (t->pairs[i].file < 0)
			return t->pairs[i].file;
	}
	return 0;
}

static void tap_send(struct netport *port, unsigned int pair, struct netport_io *io)
{
	struct tap *t = (struct tap *)port;
	struct io_uring_sqe *sqe = loop_sqe(t->loop);

	t->pairs[pair].sends[io->slot] = io;
	io_uring_prep_writev(sqe, t->pairs[pair].file, io->iov, io->niov, 0);
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	loop_tag(sqe, t->source, OP_SEND, INDEX(pair, io->slot), 0);
}

static void tap_receive(struct netport *port, unsigned int pair, struct netport_io *const *ios,
			unsigned int n)
{
	struct tap *t = (struct tap *)port;
	struct tap_pair *p = &t->pairs[pair];

	/* A link ends where a submission ends. */
	loop_reserve(t->loop, n);
	for (unsigned int i = 0; i < n; i++) {
		struct io_uring_sqe *sqe = loop_sqe(t->loop);

		p->receives[i] = ios[i];
		io_uring_prep_readv(sqe, p->file, ios[i]->iov, ios[i]->niov, 0);
		io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE | (i + 1 < n ? IOSQE_IO_HARDLINK : 0));
		loop_tag(sqe, t->source, OP_RECEIVE, INDEX(pair, i), 0);
	}
	p->first = 0;
	p->end = n;
	p->batch++;
}

static void tap_cancel(struct netport *port, unsigned int pair)
{
	struct tap *t = (struct tap *)port;
	struct tap_pair *p = &t->pairs[pair];

	if (p->first == p->end || p->cancelled == p->batch)
		return;
	p->cancelled = p->batch;
	cancel_first(t, pair);
}

static void tap_set_offloads(struct netport *port, unsigned int offloads)
{
	struct tap *t = (struct tap *)port;
	unsigned long flags = 0;

	/* The kernel refuses as a whole what makes no sense: each of these needs the one before. */
	if (offloads & NETPORT_CSUM)
		flags = TUN_F_CSUM | (offloads & NETPORT_TSO4 ? TUN_F_TSO4 : 0) |
			(offloads & NETPORT_TSO6 ? TUN_F_TSO6 : 0);
	if (flags & (TUN_F_TSO4 | TUN_F_TSO6) && offloads & NETPORT_ECN)
		flags |= TUN_F_TSO_ECN;

	/* It fails only where the interface is gone, and then nothing is received any more. */
	(void)ioctl(t->pairs[0].fd, TUNSETOFFLOAD, flags);
}

static int tap_set_pairs(struct netport *port, unsigned int pairs)
{
	struct tap *t = (struct tap *)port;

	while (t->in_use != pairs) {
		bool more = t->in_use < pairs;
		int fd = t->pairs[more ? t->in_use : t->in_use - 1].fd;
		struct ifreq ifr = { .ifr_flags = more ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };

		if (ioctl(fd, TUNSETQUEUE, &ifr))
			return -errno;
		t->in_use += more ? 1u : -1u;
	}
	return 0;
}

static unsigned int tap_files(const struct netport *port, int fds[NETPORT_PAIRS_MAX])
{
	const struct tap *t = (const struct tap *)port;

	for (unsigned int i = 0; i < port->pairs; i++)
		fds[i] = t->pairs[i].fd;
	return port->pairs;
}

static void tap_free(struct netport *port)
{
	struct tap *t = (struct tap *)port;

	for (unsigned int i = 0; i < port->pairs; i++)
		if (t->pairs[i].fd >= 0)
			close(t->pairs[i].fd);
	free(t);
}

static const struct netport_ops tap_ops = {
	.attach = tap_attach,
	.send = tap_send,
	.receive = tap_receive,
	.cancel = tap_cancel,
	.set_offloads = tap_set_offloads,
	.set_pairs = tap_set_pairs,
	.files = tap_files,
	.free = tap_free,
};

static int open_error(const char *name, int ret, const struct tap *t, struct error *err)
{
	switch (ret) {
	case -EBUSY:
		return error_set(err, EBUSY,
				 "tap %s is in use by another program, or there is another "
				 "interface of this name",
				 name);
	case -EPERM:
		return error_set(err, EPERM,
				 "no permission for tap %s: run as root, or make the tap with "
				 "'ip tuntap add %s mode tap user NAME'",
				 name, name);
	case -EINVAL:
		if (t->port.pairs > 1)
			return error_set(err, EINVAL,
					 "%s is not a tap with several queues: make it with "
					 "'ip tuntap add %s mode tap multi_queue'",
					 name, name);
		return error_set(err, EINVAL,
				 "%s is not a tap interface: make one with 'ip tuntap add NAME "
				 "mode tap'",
				 name);
	}
	return error_set(err, -ret, "cannot open tap %s: %s", name, strerror(-ret));
}

static int open_pair(const char *name, short flags, int *fd)
{
	struct ifreq ifr = { .ifr_flags = flags };
	int header = NETPORT_HEADER;

	memcpy(ifr.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
	*fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (*fd < 0 || ioctl(*fd, TUNSETIFF, &ifr) || ioctl(*fd, TUNSETVNETHDRSZ, &header))
		return -errno;
	return 0;
}

static int open_pairs(struct tap *t, const char *name, short more)
{
	short flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | more);
	/* Whether a tap has queues was decided when it was made; the opener has to know. */
	bool multi = t->port.pairs > 1;
	int ret = open_pair(name, (short)(flags | (multi ? IFF_MULTI_QUEUE : 0)), &t->pairs[0].fd);

	if (ret == -EINVAL && !multi && t->pairs[0].fd >= 0) {
		close(t->pairs[0].fd);
		ret = open_pair(name, (short)(flags | IFF_MULTI_QUEUE), &t->pairs[0].fd);
	}
	flags = (short)((flags | IFF_MULTI_QUEUE) & ~IFF_TUN_EXCL);
	for (unsigned int i = 1; !ret && i < t->port.pairs; i++)
		ret = open_pair(name, flags, &t->pairs[i].fd);
	return ret;
}

/* @flags for TUNSETIFF besides what every tap has here. */
static int tap_new(const char *name, unsigned int pairs, short flags, struct netport **out,
		   struct error *err)
{
	struct tap *t = calloc(1, sizeof(*t));

	if (!t)
		return error_set(err, ENOMEM, "tap %s: out of memory", name);
	t->port = (struct netport){
		.ops = &tap_ops,
		.pairs = pairs,
		.offloads = NETPORT_CSUM | NETPORT_TSO4 | NETPORT_TSO6 | NETPORT_ECN,
	};
	t->in_use = pairs;
	for (unsigned int i = 0; i < pairs; i++)
		t->pairs[i].fd = -1;

	int ret = open_pairs(t, name, flags);

	if (!ret)
		ret = tap_set_pairs(&t->port, 1);
	if (ret) {
		open_error(name, ret, t, err);
		tap_free(&t->port);
		return ret;
	}
	*out = &t->port;
	return 0;
}

int tap_open(const char *name, unsigned int pairs, struct netport **out, struct error *err)
{
	if (!if_nametoindex(name))
		return error_set(err, ENODEV,
				 "there is no network interface %s: make it with 'ip tuntap add %s "
				 "mode tap', and set it up",
				 name, name);
	return tap_new(name, pairs, 0, out, err);
}

int tap_create(const char *name, unsigned int pairs, struct netport **out, struct error *err)
{
	return tap_new(name, pairs, (short)IFF_TUN_EXCL, out, err);
}
