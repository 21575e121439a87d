// SPDX-License-Identifier: Apache-2.0
#include "mem/cursor.h"

#include <criterion/criterion.h>
#include <string.h>

/* "abc", nothing, "defgh", "i": memory of its own for each, so that a sanitizer sees a stray byte.
 */
struct scattered {
	char a[3], b[5], c[1];
	struct iovec iov[4];
};

static uint8_t passed[64]; /* bytes that a test only steps over */

static void scatter(struct scattered *s)
{
	memcpy(s->a, "abc", 3);
	memcpy(s->b, "defgh", 5);
	memcpy(s->c, "i", 1);
	s->iov[0] = (struct iovec){ s->a, 3 };
	s->iov[1] = (struct iovec){ s->b, 0 };
	s->iov[2] = (struct iovec){ s->b, 5 };
	s->iov[3] = (struct iovec){ s->c, 1 };
}

Test(cursor, reads_across_segments)
{
	for (size_t first = 0; first <= 9; first++) {
		struct scattered s;
		char got[9];

		scatter(&s);
		struct cursor c = cursor_init(s.iov, 4);

		cr_assert_eq(cursor_left(&c), 9);
		cr_assert(cursor_read(&c, got, first));
		cr_assert_eq(cursor_left(&c), 9 - first);
		cr_assert(cursor_read(&c, got + first, 9 - first));
		cr_assert_eq(memcmp(got, "abcdefghi", 9), 0, "cut at %zu", first);
		cr_assert_eq(cursor_left(&c), 0);
	}
}

Test(cursor, takes_all_or_nothing)
{
	struct scattered s;
	char got[16] = "untouched";

	scatter(&s);
	struct cursor c = cursor_init(s.iov, 4);

	cr_assert(cursor_read(&c, passed, 2));
	cr_assert_not(cursor_read(&c, got, 8));
	cr_assert_not(cursor_write(&c, "12345678", 8));
	cr_assert_not(cursor_read(&c, passed, 8));
	cr_assert_not(cursor_read(&c, passed, SIZE_MAX));
	cr_assert_str_eq(got, "untouched");
	cr_assert_eq(memcmp(s.b, "defgh", 5), 0);
	cr_assert_eq(cursor_left(&c), 7, "a refused step moves nothing");
	cr_assert(cursor_read(&c, got, 7));
	cr_assert_eq(memcmp(got, "cdefghi", 7), 0);
}

Test(cursor, writes_across_segments)
{
	struct scattered s;

	scatter(&s);
	struct cursor c = cursor_init(s.iov, 4);

	cr_assert(cursor_read(&c, passed, 1));
	cr_assert(cursor_write(&c, "1234567", 7));
	cr_assert_eq(memcmp(s.a, "a12", 3), 0);
	cr_assert_eq(memcmp(s.b, "34567", 5), 0);
	cr_assert_eq(s.c[0], 'i');
}

Test(cursor, empty)
{
	struct cursor c = cursor_init(NULL, 0);
	struct iovec out;
	char byte;

	cr_assert_eq(cursor_left(&c), 0);
	cr_assert(cursor_read(&c, &byte, 0));
	cr_assert(cursor_read(&c, passed, 0));
	cr_assert_not(cursor_read(&c, &byte, 1));
	cr_assert_eq(cursor_slice(&c, 0, &out, 1), 0);
	cr_assert_eq(cursor_slice(&c, 1, &out, 1), -1);
}

Test(cursor, slices)
{
	struct scattered s;
	struct iovec out[3];

	scatter(&s);
	struct cursor c = cursor_init(s.iov, 4);

	cr_assert(cursor_read(&c, passed, 1));
	cr_assert_eq(cursor_slice(&c, 8, out, 3), 3);
	cr_assert(out[0].iov_base == s.a + 1 && out[0].iov_len == 2);
	cr_assert(out[1].iov_base == s.b && out[1].iov_len == 5);
	cr_assert(out[2].iov_base == s.c && out[2].iov_len == 1);
	cr_assert_eq(cursor_left(&c), 8, "a slice moves nothing");
	cr_assert_eq(cursor_slice(&c, 4, out, 2), 2);
	cr_assert_eq(out[1].iov_len, 2);
	cr_assert_eq(cursor_slice(&c, 4, out, 1), -1, "no room");
	cr_assert_eq(cursor_slice(&c, 9, out, 3), -1, "not so much is left");
	cr_assert_eq(cursor_slice(&c, 0, out, 0), 0);
}

/* How a device makes a data part of its chain in place: the result overlays what it is cut from. */
Test(cursor, slices_in_place)
{
	struct scattered s;

	scatter(&s);
	struct cursor c = cursor_init(s.iov, 4);

	cr_assert(cursor_read(&c, passed, 4));
	cr_assert_eq(cursor_slice(&c, 5, s.iov, 4), 2);
	cr_assert(s.iov[0].iov_base == s.b + 1 && s.iov[0].iov_len == 4);
	cr_assert(s.iov[1].iov_base == s.c && s.iov[1].iov_len == 1);
}

Test(cursor, skips)
{
	for (size_t first = 0; first <= 9; first++) {
		for (size_t len = 0; first + len <= 9; len++) {
			struct scattered s;
			char got[9];

			scatter(&s);
			struct cursor c = cursor_init(s.iov, 4);

			cr_assert(cursor_read(&c, got, first));
			cr_assert_not(cursor_skip(&c, 10 - first));
			cr_assert(cursor_skip(&c, len));
			cr_assert_eq(cursor_left(&c), 9 - first - len);
			cr_assert(cursor_read(&c, got, 9 - first - len));
			cr_assert_eq(memcmp(got, &"abcdefghi"[first + len], 9 - first - len), 0);
			cr_assert_not(cursor_skip(&c, 1));
		}
	}
}
