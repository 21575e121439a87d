// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include <sys/uio.h>

/*
 * A position in scattered guest memory. Every operation takes all the bytes it was asked for, or
 * none and moves nothing: a device never acts on half a header.
 */
struct cursor {
	const struct iovec *iov;
	size_t n;   /* segments left, the current one included */
	size_t off; /* into the current one */
};

static inline struct cursor cursor_init(const struct iovec *iov, size_t n)
{
	return (struct cursor){ .iov = iov, .n = n };
}

/* Bytes from the cursor to the end. */
size_t cursor_left(const struct cursor *c);

/* Copy the next @len bytes out of, or into, guest memory and advance. False: fewer are left. */
bool cursor_read(struct cursor *c, void *dst, size_t len);
bool cursor_write(struct cursor *c, const void *src, size_t len);

/* Advance by @len bytes. False: fewer are left. */
bool cursor_skip(struct cursor *c, size_t len);

/*
 * The next @len bytes as segments in @out (room for @max), without moving. Returns how many
 * segments, or -1 where fewer bytes are left or @max does not suffice.
 */
int cursor_slice(const struct cursor *c, size_t len, struct iovec *out, size_t max);
