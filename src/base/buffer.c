// SPDX-License-Identifier: Apache-2.0
#include "base/buffer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#define SLACK 1024

static bool grow(struct buffer *b, size_t need, size_t max)
{
	size_t room = need + need / 4 + SLACK;

	if (room > max)
		room = max;
	char *bytes = realloc(b->bytes, room);

	if (!bytes)
		return false;
	b->bytes = bytes;
	b->room = room;
	return true;
}

bool buffer_add(struct buffer *b, const void *data, size_t len, size_t max)
{
	if (len > max || b->len > max - len)
		return false;
	/* Not for every piece, lest one that is sent slowly has much moved for each. */
	if (b->off && (b->off >= b->len || b->off + b->len + len > max)) {
		memmove(b->bytes, b->bytes + b->off, b->len);
		b->off = 0;
	}
	if (b->off + b->len + len > b->room && !grow(b, b->off + b->len + len, max))
		return false;
	if (len)
		memcpy(b->bytes + b->off + b->len, data, len);
	b->len += len;
	return true;
}

int buffer_send(struct buffer *b, int fd)
{
	while (b->len) {
		ssize_t n = send(fd, b->bytes + b->off, b->len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		b->off += (size_t)n;
		b->len -= (size_t)n;
	}
	buffer_free(b);
	return 0;
}

void buffer_free(struct buffer *b)
{
	free(b->bytes);
	*b = (struct buffer){ 0 };
}
