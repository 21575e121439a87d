// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as the agent's control stream, cut anywhere. What must hold: the text that is kept for
 * the user is printable UTF-8, and the stream ends only over a frame that is too long.
 */
#include "supervisor/agent.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Decoded by the rules of the standard's table of well-formed sequences, one row after the other.
 */
static size_t well_formed(const uint8_t *s)
{
	static const struct {
		uint8_t first, last, low, high;
		size_t len;
	} rows[] = {
		{ 0x20, 0x7e, 0, 0, 1 },       { 0xc2, 0xc2, 0xa0, 0xbf, 2 },
		{ 0xc3, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
		{ 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 },
		{ 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (s[0] < rows[i].first || s[0] > rows[i].last)
			continue;
		if (rows[i].len > 1 && (s[1] < rows[i].low || s[1] > rows[i].high))
			return 0;
		for (size_t k = 2; k < rows[i].len; k++)
			if ((s[k] & 0xc0) != 0x80)
				return 0;
		return rows[i].len;
	}
	return 0;
}

static void check_text(const char *text, size_t size)
{
	const uint8_t *s = (const uint8_t *)text;

	if (strnlen(text, size) == size)
		abort();
	while (*s) {
		size_t n = well_formed(s);

		if (!n)
			abort();
		s += n;
	}
}

/* Whether the frames of @data come to one that is too long. */
static int is_too_long(const uint8_t *data, size_t size)
{
	struct kvmbox_frame f;

	while (size >= sizeof(f)) {
		memcpy(&f, data, sizeof(f));
		if (f.len > KVMBOX_FRAME_MAX)
			return 1;
		if (size - sizeof(f) < f.len)
			return 0;
		data += sizeof(f) + f.len;
		size -= sizeof(f) + f.len;
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct agent a;
	int fds[2];
	size_t part = size ? 1 + data[0] * 4 : 1;

	if (size)
		data++, size--;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds))
		abort();
	agent_init(&a);
	agent_connect(&a, fds[0]);
	for (size_t at = 0; at < size && a.fd >= 0;) {
		size_t n = part < size - at ? part : size - at;

		if (send(fds[1], data + at, n, MSG_NOSIGNAL) != (ssize_t)n)
			abort();
		at += n;
		/* It takes what it has room for: until all is taken. */
		char byte;

		while (a.fd >= 0 && recv(a.fd, &byte, 1, MSG_PEEK) == 1)
			agent_read(&a);
		check_text(a.error, sizeof(a.error));
	}
	if ((a.fd < 0) != is_too_long(data, size))
		abort();
	agent_signal(&a, 15);
	agent_close(&a);
	close(fds[1]);
	return 0;
}
