// SPDX-License-Identifier: Apache-2.0
#include "config/words.h"

#include <stdio.h>
#include <string.h>

#define WORD_MAX 40

static unsigned int min3(unsigned int a, unsigned int b, unsigned int c)
{
	unsigned int m = a < b ? a : b;

	return m < c ? m : c;
}

/* How many letters must be inserted, deleted or replaced to make @a of @b (Levenshtein). */
static unsigned int edit_distance(const char *a, size_t na, const char *b, size_t nb)
{
	unsigned int row[WORD_MAX + 1];

	for (size_t j = 0; j <= nb; j++)
		row[j] = (unsigned int)j;
	for (size_t i = 1; i <= na; i++) {
		unsigned int diagonal = row[0];

		row[0] = (unsigned int)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned int above = row[j];

			row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[nb];
}

void word_match_try(struct word_match *match, const char *typed, const char *known)
{
	size_t typed_len = strlen(typed);
	size_t known_len = strlen(known);

	if (typed_len > WORD_MAX || known_len > WORD_MAX)
		return;

	unsigned int distance = edit_distance(typed, typed_len, known, known_len);
	/* One slip in three letters is a misspelling, more is another word. */
	size_t allowed = known_len / 3 < 1 ? 1 : known_len / 3;

	if (distance > allowed || distance >= known_len)
		return;
	if (match->word && distance >= match->distance)
		return;
	match->word = known;
	match->distance = distance;
}

struct word_shown word_show(const char *s)
{
	struct word_shown shown;
	size_t max = sizeof(shown.text) - sizeof("...");
	size_t n = 0;

	while (n < max && s[n]) {
		unsigned char c = (unsigned char)s[n];

		shown.text[n++] = c < 0x20 || c == 0x7f ? '?' : (char)c;
	}
	strcpy(shown.text + n, s[n] ? "..." : "");
	return shown;
}

struct word_shown word_show_size(unsigned long long bytes)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
	struct word_shown shown;
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1024;
		unit++;
	}

	int decimals = value == (double)(unsigned long long)value ? 0 : 1;

	snprintf(shown.text, sizeof(shown.text), "%.*f %s", decimals, value, units[unit]);
	return shown;
}

struct word_shown word_show_match(const struct word_match *match)
{
	struct word_shown shown = { "" };

	if (match->word)
		snprintf(shown.text, sizeof(shown.text), "; did you mean %s?", match->word);
	return shown;
}
