// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RELAY_BUFFER                                                                \
	4096 /* at most PIPE_BUF, so that a pipe that polls writable takes it whole \
	      */

/*
 * One direction of a byte stream: what is read from one descriptor is written to another, through a
 * bounded buffer. The end of the input is passed on when the buffer is empty: as a half-close where
 * @to is a socket.
 */
struct relay {
	int from, to; /* borrowed; from -1: there is nothing to relay */
	bool ended;   /* the input has ended, and all of it was written or nobody wants it */
	size_t head, len;
	uint8_t buf[RELAY_BUFFER];
};

void relay_init(struct relay *r, int from, int to);

/*
 * Enter what the relay waits for into @from_poll and @to_poll (fd -1 where it waits for nothing),
 * and afterwards act on what poll() found. relay_run() returns the number of bytes read, which are
 * at r->buf + r->head .. + r->len, for whoever wants to see them.
 */
void relay_prepare(const struct relay *r, struct pollfd *from_poll, struct pollfd *to_poll);
size_t relay_run(struct relay *r, const struct pollfd *from_poll, const struct pollfd *to_poll);
