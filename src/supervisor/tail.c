// SPDX-License-Identifier: Apache-2.0
#include "supervisor/tail.h"

#include <stdio.h>
#include <string.h>

void tail_add(struct tail *t, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = (char)data[i];

		/* Printable and newlines only; a terminal makes anything of the rest. */
		if (c == '\r')
			continue;
		t->buf[t->pos] = c == '\n' || (c >= 0x20 && c < 0x7f) ? c : '.';
		t->pos = (t->pos + 1) % TAIL_BYTES;
		if (t->total < TAIL_BYTES)
			t->total++;
	}
}

/* The bytes in order, as a string. */
static void straighten(const struct tail *t, char out[TAIL_BYTES + 1])
{
	size_t start = t->total == TAIL_BYTES ? t->pos : 0;

	for (size_t i = 0; i < t->total; i++)
		out[i] = t->buf[(start + i) % TAIL_BYTES];
	out[t->total] = '\0';
}

void tail_print(const struct tail *t, unsigned int lines)
{
	char text[TAIL_BYTES + 1];

	straighten(t, text);
	size_t len = strlen(text);
	while (len && text[len - 1] == '\n')
		text[--len] = '\0';
	if (!len)
		return;
	size_t begin = len;
	for (unsigned int n = 0; begin; begin--)
		if (text[begin - 1] == '\n' && ++n == lines)
			break;
	fprintf(stderr, "kvmbox: the end of the guest's console:\n");
	for (char *line = text + begin, *next; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		fprintf(stderr, "  | %s\n", line);
	}
}

bool tail_find(const struct tail *t, const char *what, char *out, size_t size)
{
	char text[TAIL_BYTES + 1];

	straighten(t, text);
	char *found = strstr(text, what);
	if (!found)
		return false;
	found[strcspn(found, "\n")] = '\0';
	snprintf(out, size, "%s", found);
	return true;
}
