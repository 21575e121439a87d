// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

Test(text, disarmed)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "", "" },
		{ "two lines\nof \xc3\xbc\n", "two lines\nof \xc3\xbc\n" },
		{ "\033[2J\r\a\177x", "?[2J???x" },
		/* A control character of two bytes, and halves of a letter. */
		{ "\xc2\x9b"
		  "31m",
		  "??31m" },
		{ "\xc3(", "?(" },
		{ "\xc3", "?" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[32];

		strcpy(text, cases[i].in);
		text_disarm((uint8_t *)text, strlen(text));
		cr_expect_str_eq(text, cases[i].out, "number %zu", i);
	}
}

Test(text, wrapped)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "", "" },
		{ "short", "short\n" },
		{ "just ten:!", "just ten:!\n" },
		{ "one two three four", "one two\n    three four\n" },
		{ "averylongword and", "averylongword\n    and\n" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *text = NULL;
		size_t len;
		FILE *f = open_memstream(&text, &len);

		text_print_wrapped(f, 4, 14, cases[i].in);
		fclose(f);
		cr_expect_str_eq(text, cases[i].out, "number %zu", i);
		free(text);
	}
}
