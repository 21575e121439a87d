// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * Bytes that wait, in as much memory as they take: added at the end, and sent from the beginning.
 * Zeroed, it is empty; its owner frees it by buffer_free().
 */
struct buffer {
	char *bytes; /* those that wait begin at bytes + off */
	size_t off, len;
	size_t room; /* bytes allocated */
};

/*
 * Add @len bytes, for which no more than @max bytes are allocated in all. Returns false, and
 * nothing was added, where that does not do or there is no memory.
 */
bool buffer_add(struct buffer *b, const void *data, size_t len, size_t max);

/*
 * Send what the socket @fd takes without waiting. An empty buffer holds no memory. Returns 0, also
 * when some is left (b->len), or negative errno.
 */
int buffer_send(struct buffer *b, int fd);

void buffer_free(struct buffer *b);
