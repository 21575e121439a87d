// SPDX-License-Identifier: Apache-2.0
#include "supervisor/tail.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct tail t;

static void add(const char *text)
{
	tail_add(&t, (const uint8_t *)text, strlen(text));
}

/* What tail_print() prints, in a buffer of the test's. */
static const char *printed(unsigned int lines)
{
	static char text[TAIL_BYTES * 4];
	size_t n;

	fflush(stderr);
	FILE *out = tmpfile();
	int saved = dup(STDERR_FILENO);

	cr_assert(out && saved >= 0);
	dup2(fileno(out), STDERR_FILENO);
	tail_print(&t, lines);
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(out);
	n = fread(text, 1, sizeof(text) - 1, out);
	text[n] = '\0';
	fclose(out);
	return text;
}

#define HEADING "kvmbox: the end of the guest's console:\n"

Test(tail, nothing)
{
	cr_assert_str_eq(printed(10), "");
	add("\n\n\n");
	cr_assert_str_eq(printed(10), "");
}

Test(tail, lines)
{
	add("one\ntwo\n\nfour\n\n");
	cr_assert_str_eq(printed(10), HEADING "  | one\n  | two\n  | \n  | four\n");
	cr_assert_str_eq(printed(2), HEADING "  | \n  | four\n");
	cr_assert_str_eq(printed(1), HEADING "  | four\n");
	add("no end");
	cr_assert_str_eq(printed(1), HEADING "  | no end\n");
}

/* Nothing that could steer a terminal. */
Test(tail, controls)
{
	uint8_t all[256];

	for (int i = 0; i < 256; i++)
		all[i] = (uint8_t)i;
	tail_add(&t, all, sizeof(all));
	for (const char *p = printed(10); *p; p++)
		cr_assert(*p == '\n' || (*p >= 0x20 && *p < 0x7f));
	memset(&t, 0, sizeof(t));
	add("a\r\nb\x1b[2Jc\td\r\n");
	cr_assert_str_eq(printed(10), HEADING "  | a\n  | b.[2Jc.d\n");
}

/* However much comes, the end of it is kept and no more. */
Test(tail, floods)
{
	char line[64];

	for (int i = 0; i < 100000; i++) {
		snprintf(line, sizeof(line), "line %d\n", i);
		add(line);
	}
	cr_assert_leq(t.total, TAIL_BYTES);
	cr_assert_str_eq(printed(3), HEADING "  | line 99997\n  | line 99998\n  | line 99999\n");

	/* One line that is longer than all there is. */
	memset(&t, 0, sizeof(t));
	for (int i = 0; i < TAIL_BYTES + 1000; i++)
		add("x");
	const char *text = printed(5);

	cr_assert_eq(strlen(text), strlen(HEADING) + 4 + TAIL_BYTES + 1);
	add("\nend");
	cr_assert_str_eq(printed(1), HEADING "  | end\n");
}

Test(tail, find)
{
	char out[64] = "untouched";

	add("[ 1.0] all is well\n[ 1.1] Kernel panic - not syncing: oh\nmore\n");
	cr_assert_not(tail_find(&t, "absent", out, sizeof(out)));
	cr_assert_str_eq(out, "untouched");
	cr_assert(tail_find(&t, "Kernel panic", out, sizeof(out)));
	cr_assert_str_eq(out, "Kernel panic - not syncing: oh");
	cr_assert(tail_find(&t, "Kernel panic", out, 7));
	cr_assert_str_eq(out, "Kernel");
	cr_assert(tail_find(&t, "more", out, sizeof(out)));
	cr_assert_str_eq(out, "more");
}

/* Found across the place where the buffer begins anew. */
Test(tail, find_across_the_wrap)
{
	char out[64];

	for (int i = 0; i < TAIL_BYTES - 6; i++)
		add(".");
	add("Kernel panic\n");
	cr_assert(tail_find(&t, "Kernel panic", out, sizeof(out)));
	cr_assert_str_eq(out, "Kernel panic");
}
