/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole frames of kvmbox/agent.h over a stream. Both host and guest compile
 * this, so it needs nothing but the C library.
 *
 * A descriptor may block or not: where it does not, these wait in poll(), and
 * timeout_ms (-1: none) is how long each wait may last. SIGPIPE is to be
 * ignored by the process.
 */
#ifndef KVMBOX_COMMON_FRAME_H
#define KVMBOX_COMMON_FRAME_H

#include "kvmbox/agent.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Sends one frame whole, of which the payload is the head_len bytes at head and
 * the body_len bytes at body. Returns 0; -EMSGSIZE, with nothing sent, if that
 * is over KVMBOX_FRAME_MAX; -ETIMEDOUT; or another negative errno.
 */
int frame_send2(int fd, int timeout_ms, uint16_t type, const void *head, size_t head_len,
		const void *body, size_t body_len);

static inline int frame_send(int fd, int timeout_ms, uint16_t type, const void *payload, size_t len)
{
	return frame_send2(fd, timeout_ms, type, payload, len, NULL, 0);
}

/*
 * Receives one frame whole, its header into *frame and its payload into the
 * size bytes at buf, and not a byte of what follows. Returns 0; -ENOTCONN at
 * the end of the stream; -EPROTO for a frame over KVMBOX_FRAME_MAX, -EMSGSIZE
 * for one over size, after both of which the stream is of no more use;
 * -ETIMEDOUT; or another negative errno.
 */
int frame_receive(int fd, int timeout_ms, struct kvmbox_frame *frame, void *buf, size_t size);

/*
 * Frames as they come, for who serves other descriptors as well and must not
 * wait. Zeroed, it is empty.
 */
struct frame_reader {
	size_t off; /* bytes of buf that were returned already */
	size_t len; /* bytes behind them */
	uint8_t buf[sizeof(struct kvmbox_frame) + KVMBOX_FRAME_MAX];
};

/*
 * Reads once what the socket has. Returns the bytes read; 0 at the end of the
 * stream; -EAGAIN if there is nothing; or another negative errno.
 */
ssize_t frame_fill(struct frame_reader *r, int fd);

/*
 * Takes the next frame off what was read. Returns 1 with its header in *frame
 * and *payload pointing to its bytes, at any alignment and good until the next
 * frame_fill(); 0 if there is no whole one; -EPROTO for one that is over
 * KVMBOX_FRAME_MAX.
 */
int frame_next(struct frame_reader *r, struct kvmbox_frame *frame, const uint8_t **payload);

/*
 * Takes the next NUL-terminated string off the *left bytes at *next, and moves
 * both behind it. Returns it, or NULL if there is none.
 */
char *frame_string(char **next, size_t *left);

#endif
