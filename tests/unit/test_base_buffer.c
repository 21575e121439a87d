// SPDX-License-Identifier: Apache-2.0
#include "base/buffer.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

static int pair[2];
static struct buffer b;

static void set_up(void)
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	b = (struct buffer){ 0 };
}

static void tear_down(void)
{
	buffer_free(&b);
	close(pair[0]);
	close(pair[1]);
}

TestSuite(buffer, .init = set_up, .fini = tear_down, .timeout = 60);

/* Bytes that count up, added in pieces of any length and read by one who is slower. */
Test(buffer, order)
{
	enum { TOTAL = 3 << 20 };
	uint8_t next_in = 0, next_out = 0;
	size_t added = 0, taken = 0;

	for (size_t len = 1; taken < TOTAL; len = len * 7 % 40961 + 1) {
		uint8_t piece[40962], got[30000];

		for (size_t i = 0; i < len && added < TOTAL; i++)
			piece[i] = next_in++;
		if (added < TOTAL) {
			cr_assert(buffer_add(&b, piece, len, SIZE_MAX));
			added += len;
		}
		cr_assert_eq(buffer_send(&b, pair[0]), 0);
		ssize_t n = recv(pair[1], got, sizeof(got), MSG_DONTWAIT);

		for (ssize_t i = 0; i < n; i++)
			cr_assert_eq(got[i], next_out++);
		taken += n > 0 ? (size_t)n : 0;
	}
}

Test(buffer, bound)
{
	static const char piece[100];

	for (int i = 0; i < 10; i++)
		cr_assert(buffer_add(&b, piece, sizeof(piece), 1000));
	cr_assert_not(buffer_add(&b, piece, 1, 1000));
	cr_assert_eq(b.len, 1000);
	/* What was sent makes room, and no more memory is taken for it. */
	b.off = 300;
	b.len = 700;
	cr_assert(buffer_add(&b, piece, sizeof(piece), 1000));
	cr_assert_eq(b.len, 800);
	cr_assert_leq(b.room, 1000);
	cr_assert_not(buffer_add(&b, piece, SIZE_MAX, 1000));
}

Test(buffer, ends)
{
	cr_assert(buffer_add(&b, "x", 1, SIZE_MAX));
	cr_assert_eq(buffer_send(&b, pair[0]), 0);
	cr_assert_null(b.bytes, "an empty one holds no memory");
	close(pair[1]);
	pair[1] = -1;
	cr_assert(buffer_add(&b, "x", 1, SIZE_MAX));
	cr_assert_eq(buffer_send(&b, pair[0]), -EPIPE);
}
