// SPDX-License-Identifier: Apache-2.0
#include "mem/cursor.h"

#include <string.h>

size_t cursor_left(const struct cursor *c)
{
	size_t left = 0;

	for (size_t i = 0; i < c->n; i++)
		left += c->iov[i].iov_len;
	return left - (c->n ? c->off : 0);
}

enum direction { TO_BUFFER, TO_GUEST };

/* The caller has checked that @len bytes are left. */
static void advance(struct cursor *c, void *buf, size_t len, enum direction dir)
{
	uint8_t *p = buf;

	while (len) {
		uint8_t *seg = (uint8_t *)c->iov->iov_base + c->off;
		size_t n = c->iov->iov_len - c->off;

		if (n > len)
			n = len;
		if (dir == TO_BUFFER)
			memcpy(p, seg, n);
		else
			memcpy(seg, p, n);
		p += n;
		len -= n;
		c->off += n;
		if (c->off == c->iov->iov_len) {
			c->iov++;
			c->n--;
			c->off = 0;
		}
	}
}

bool cursor_read(struct cursor *c, void *dst, size_t len)
{
	if (cursor_left(c) < len)
		return false;
	advance(c, dst, len, TO_BUFFER);
	return true;
}

bool cursor_write(struct cursor *c, const void *src, size_t len)
{
	if (cursor_left(c) < len)
		return false;
	advance(c, (void *)(uintptr_t)src, len, TO_GUEST);
	return true;
}

bool cursor_skip(struct cursor *c, size_t len)
{
	if (cursor_left(c) < len)
		return false;
	while (len && len >= c->iov->iov_len - c->off) {
		len -= c->iov->iov_len - c->off;
		c->iov++;
		c->n--;
		c->off = 0;
	}
	c->off += len;
	return true;
}

int cursor_slice(const struct cursor *c, size_t len, struct iovec *out, size_t max)
{
	size_t off = c->off, n = 0;

	for (size_t i = 0; i < c->n && len; i++, off = 0) {
		size_t part = c->iov[i].iov_len - off;

		if (part > len)
			part = len;
		if (!part)
			continue;
		if (n == max)
			return -1;
		out[n++] = (struct iovec){ (uint8_t *)c->iov[i].iov_base + off, part };
		len -= part;
	}
	return len ? -1 : (int)n;
}
