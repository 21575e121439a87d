// SPDX-License-Identifier: Apache-2.0
#include "init/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Rounds of one relay before the others, signals and control have their turn. */
#define ROUNDS 4

void relay_init(struct relay *r, int from, int to)
{
	r->from = from;
	r->to = to;
	r->off = 0;
	r->len = 0;
	if (from < 0 || to < 0) {
		relay_deinit(r);
		return;
	}
	fcntl(from, F_SETFL, fcntl(from, F_GETFL) | O_NONBLOCK);
	fcntl(to, F_SETFL, fcntl(to, F_GETFL) | O_NONBLOCK);
}

void relay_deinit(struct relay *r)
{
	if (r->from >= 0)
		close(r->from);
	if (r->to >= 0)
		close(r->to);
	r->from = -1;
	r->to = -1;
	r->len = 0;
}

void relay_drop(struct relay *r)
{
	/* Another relay may hold the same socket open for the other way. */
	if (r->from >= 0)
		shutdown(r->from, SHUT_RD);
	relay_deinit(r);
}

struct pollfd relay_poll(const struct relay *r)
{
	if (r->len)
		return (struct pollfd){ .fd = r->to, .events = POLLOUT };
	return (struct pollfd){ .fd = r->from, .events = POLLIN };
}

/* Returns false when there is nothing to be done before the next poll. */
static bool relay_round(struct relay *r)
{
	ssize_t n;

	if (!r->len) {
		n = read(r->from, r->buf, sizeof(r->buf));
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return false;
		if (n <= 0) {
			/* A pseudo terminal ends in EIO; any error is the end. */
			shutdown(r->to, SHUT_WR);
			relay_deinit(r);
			return false;
		}
		r->off = 0;
		r->len = (size_t)n;
	}
	n = write(r->to, r->buf + r->off, r->len);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n < 0) {
		relay_drop(r);
		return false;
	}
	r->off += (size_t)n;
	r->len -= (size_t)n;
	return true;
}

void relay_move(struct relay *r)
{
	for (int i = 0; i < ROUNDS && !relay_is_over(r); i++)
		if (!relay_round(r))
			return;
}
