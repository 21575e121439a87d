// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include <string.h>

size_t text_utf8(const uint8_t *text, size_t left)
{
	/* Less would be another form of a shorter one. */
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint8_t lead = text[0];
	size_t len = lead < 0xc0 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf8 ? 4 : 0;

	if (lead < 0x80)
		return 1;
	if (!len || len > left)
		return 0;
	uint32_t c = lead & (0x7fu >> len);

	for (size_t i = 1; i < len; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (text[i] & 0x3f);
	}
	bool surrogate = c >= 0xd800 && c <= 0xdfff;
	return c < least[len] || c > 0x10ffff || surrogate ? 0 : len;
}

size_t text_character(const uint8_t *text, size_t left)
{
	size_t len = text_utf8(text, left);

	if (len == 1)
		return text[0] >= 0x20 && text[0] != 0x7f;
	/* Those of C1, which terminals take as ESC and a letter. */
	return len == 2 && text[0] == 0xc2 && text[1] < 0xa0 ? 0 : len;
}

void text_keep(char *out, size_t size, const void *bytes, size_t len)
{
	const uint8_t *text = bytes;
	size_t n = 0, i = 0;

	while (i < len) {
		size_t good = text_character(text + i, len - i);
		size_t take = good ? good : 1;

		if (n + take >= size)
			break;
		if (good)
			memcpy(out + n, text + i, good);
		else
			out[n] = text[i] < 0x80 ? ' ' : '?';
		n += take;
		i += take;
	}
	out[n] = '\0';
}

void text_disarm(uint8_t *text, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t n = text_character(text + i, len - i);

		if (!n && text[i] != '\n')
			text[i] = '?';
		i += n ? n : 1;
	}
}

void text_print_wrapped(FILE *f, int column, int width, const char *text)
{
	size_t room = (size_t)(width - column);

	while (*text) {
		size_t len = strlen(text);

		if (len > room) {
			len = room;
			while (len > 0 && text[len] != ' ')
				len--;
			if (len == 0)
				len = strcspn(text, " ");
		}
		fprintf(f, "%.*s\n", (int)len, text);
		text += len;
		text += strspn(text, " ");
		if (*text)
			fprintf(f, "%*s", column, "");
	}
}

bool text_has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = list; (p = strstr(p, word)); p += len)
		if ((p == list || strchr(" \t\n", p[-1])) && strchr(" \t\n", p[len]))
			return true;
	return false;
}
