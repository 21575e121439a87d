/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One direction of the workload's input or output: bytes go from one
 * descriptor to another through a buffer of their own, and the next are read
 * only when the last have been written, so that whoever is slow is waited for
 * by its own stream alone.
 */
#ifndef KVMBOX_INIT_RELAY_H
#define KVMBOX_INIT_RELAY_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct relay {
	int from; /* both owned and non-blocking, both -1 once it is over */
	int to;
	size_t off;
	size_t len; /* bytes of buf from off on that are still to be written */
	uint8_t buf[65536];
};

/*
 * Takes from and to, sets them non-blocking. With either of them -1 the other
 * is closed and the relay is over at once.
 */
void relay_init(struct relay *r, int from, int to);

static inline bool relay_is_over(const struct relay *r)
{
	return r->from < 0;
}

/* What to wait for; an fd of -1, which poll() ignores, if the relay is over. */
struct pollfd relay_poll(const struct relay *r);

/*
 * Moves what can be moved. At the end of the input, with all written, sends
 * the end on (shutdown if a socket) and closes both; when the reader is gone
 * drops the rest and closes both, which the writer then sees.
 */
void relay_move(struct relay *r);

/* The reader is gone: the writer sees that, and both are closed. */
void relay_drop(struct relay *r);

/* Closes both at once. */
void relay_deinit(struct relay *r);

#endif
