// SPDX-License-Identifier: Apache-2.0
#include "config/json_dup.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

struct key {
	const char *start; /* its opening quote */
	size_t len;
};

static const char *skip_space(const char *p)
{
	return p + strspn(p, " \t\r\n");
}

/* Step over the string whose opening quote is at @p. */
static const char *skip_string(const char *p)
{
	for (p++; *p && *p != '"'; p++) {
		if (*p == '\\' && p[1])
			p++;
	}
	return *p ? p + 1 : p;
}

static bool key_known(const struct key *keys, size_t n, const struct key *key)
{
	for (size_t i = 0; i < n; i++) {
		if (keys[i].len == key->len && memcmp(keys[i].start, key->start, key->len) == 0)
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
	while (*p == '"') {
		struct key key = { .start = p };

		p = skip_string(p);
		key.len = (size_t)(p - key.start);
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
		p = skip_space(scan_value(p, duplicate));
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
	if (*p == '"')
		return skip_string(p);
	return p + strcspn(p, ",]} \t\r\n");
}

const char *json_find_duplicate(const char *text)
{
	const char *duplicate = NULL;

	scan_value(skip_space(text), &duplicate);
	return duplicate;
}
