// SPDX-License-Identifier: Apache-2.0
#include "supervisor/relay.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

void relay_init(struct relay *r, int from, int to)
{
	r->from = from;
	r->to = to;
	r->ended = from < 0;
	r->head = 0;
	r->len = 0;
}

void relay_prepare(const struct relay *r, struct pollfd *from_poll, struct pollfd *to_poll)
{
	*from_poll = (struct pollfd){ .fd = r->len || r->ended ? -1 : r->from, .events = POLLIN };
	*to_poll = (struct pollfd){ .fd = r->len ? r->to : -1, .events = POLLOUT };
}

static void end(struct relay *r)
{
	r->ended = true;
	r->len = 0;
	if (r->to >= 0)
		shutdown(r->to, SHUT_WR); /* no more than an error where it is not a socket */
}

static size_t fill(struct relay *r)
{
	ssize_t n = read(r->from, r->buf, sizeof(r->buf));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	/* EIO: a terminal whose other side has hung up. */
	if (n <= 0) {
		end(r);
		return 0;
	}
	r->head = 0;
	r->len = (size_t)n;
	return r->len;
}

static void drain(struct relay *r)
{
	ssize_t n = write(r->to, r->buf + r->head, r->len);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		/* Nobody reads any more: let the writer know, as a closed pipe would. */
		shutdown(r->from, SHUT_RD);
		end(r);
		return;
	}
	r->head += (size_t)n;
	r->len -= (size_t)n;
}

size_t relay_run(struct relay *r, const struct pollfd *from_poll, const struct pollfd *to_poll)
{
	if (to_poll->fd >= 0 && to_poll->revents)
		drain(r);
	if (from_poll->fd >= 0 && from_poll->revents)
		return fill(r);
	return 0;
}
