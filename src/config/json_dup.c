// SPDX-License-Identifier: Apache-2.0
#include "config/json_dup.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

struct key {
	const char *start; /* its opening quote */
	size_t len;        /* of what is between the quotes */
};

static const char *skip_space(const char *p)
{
	return p + strspn(p, " \t\r\n");
}

/* The parser before us takes a key in single quotes, too, strict as it is told to be. */
static bool is_quote(char c)
{
	return c == '"' || c == '\'';
}

/* Step over the string whose opening quote is at @p. */
static const char *skip_string(const char *p)
{
	char quote = *p;

	for (p++; *p && *p != quote; p++) {
		if (*p == '\\' && p[1])
			p++;
	}
	return *p ? p + 1 : p;
}

static bool key_known(const struct key *keys, size_t n, const struct key *key)
{
	for (size_t i = 0; i < n; i++) {
		if (keys[i].len == key->len &&
		    memcmp(keys[i].start + 1, key->start + 1, key->len) == 0)
			return true;
	}
	return false;
}

static const char *scan_value(const char *p, const char **duplicate);

/* Step over the object that begins at @p, or stop at its first duplicate. */
static const char *scan_object(const char *p, const char **duplicate)
{
	AUTO_FREE struct key *keys = NULL;
	size_t n = 0;

	p = skip_space(p + 1);
	while (is_quote(*p)) {
		struct key key = { .start = p };

		p = skip_string(p);
		key.len = (size_t)(p - key.start) - (*p ? 2 : 1);
		if (key_known(keys, n, &key)) {
			*duplicate = key.start;
			return p;
		}

		struct key *grown = reallocarray(keys, n + 1, sizeof(*keys));

		if (!grown)
			return p + strlen(p);
		keys = grown;
		keys[n++] = key;
		p = skip_space(p);
		if (*p == ':')
			p = scan_value(skip_space(p + 1), duplicate);
		if (*duplicate)
			return p;
		p = skip_space(p);
		if (*p == ',')
			p = skip_space(p + 1);
	}
	return *p == '}' ? p + 1 : p;
}

static const char *scan_array(const char *p, const char **duplicate)
{
	p = skip_space(p + 1);
	while (*p && *p != ']' && !*duplicate) {
		const char *end = scan_value(p, duplicate);

		/* No value: what the parser took for one is nothing that we know. */
		if (end == p)
			return p + strlen(p);
		p = skip_space(end);
		if (*p == ',')
			p = skip_space(p + 1);
	}
	return *p == ']' ? p + 1 : p;
}

/* Step over the value that begins at @p. Nesting is as deep as the parser before us allowed. */
static const char *scan_value(const char *p, const char **duplicate)
{
	if (*p == '{')
		return scan_object(p, duplicate);
	if (*p == '[')
		return scan_array(p, duplicate);
	if (is_quote(*p))
		return skip_string(p);
	return p + strcspn(p, ",]} \t\r\n");
}

const char *json_find_duplicate(const char *text)
{
	const char *duplicate = NULL;

	scan_value(skip_space(text), &duplicate);
	return duplicate;
}
