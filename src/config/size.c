// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

/* Nine decimals are kept; further ones change no size or time that a machine could have. */
#define FRACTION_SCALE 1000000000u

/* A hundred years: anything longer is a slip, and this much fits in nanoseconds. */
#define DURATION_MAX_MS (100ull * 365 * 24 * 3600 * 1000)

/* A decimal number as it was written, exactly: whole + fraction / FRACTION_SCALE. */
struct decimal {
	uint64_t whole;
	uint32_t fraction;
	bool has_point;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Read a decimal number at *@s and step over it. Returns 0, -EINVAL or -ERANGE. */
static int decimal_read(const char **s, struct decimal *d)
{
	const char *p = *s;
	uint32_t weight = FRACTION_SCALE / 10;

	*d = (struct decimal){ 0 };
	if (!is_digit(*p))
		return -EINVAL;
	for (; is_digit(*p); p++) {
		if (__builtin_mul_overflow(d->whole, 10u, &d->whole) ||
		    __builtin_add_overflow(d->whole, (uint64_t)(*p - '0'), &d->whole))
			return -ERANGE;
	}
	if (*p == '.') {
		d->has_point = true;
		if (!is_digit(*++p))
			return -EINVAL;
		for (; is_digit(*p); p++) {
			d->fraction += (uint32_t)(*p - '0') * weight;
			weight /= 10;
		}
	}
	*s = p;
	return 0;
}

/* @d units of @unit each, rounded down. Returns 0 or -ERANGE. */
static int decimal_scale(const struct decimal *d, uint64_t unit, uint64_t *out)
{
	unsigned __int128 part = (unsigned __int128)d->fraction * unit / FRACTION_SCALE;
	uint64_t value;

	if (__builtin_mul_overflow(d->whole, unit, &value) ||
	    __builtin_add_overflow(value, (uint64_t)part, &value))
		return -ERANGE;
	*out = value;
	return 0;
}

int parse_size(const char *s, uint64_t *bytes)
{
	static const char letters[] = "kmgt";
	struct decimal d;
	uint64_t unit = 1;
	int ret = decimal_read(&s, &d);

	if (ret < 0)
		return ret;

	const char *letter = *s ? strchr(letters, *s | 0x20) : NULL;

	if (letter) {
		unit <<= 10 * (letter - letters + 1);
		s++;
	}
	if (strcasecmp(s, "") != 0 && strcasecmp(s, "b") != 0 &&
	    !(letter && strcasecmp(s, "ib") == 0))
		return -EINVAL;
	if (d.has_point && unit == 1)
		return -EINVAL;
	return decimal_scale(&d, unit, bytes);
}

int parse_duration(const char *s, uint64_t *ms)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} units[] = {
		{ "", 1000 }, { "s", 1000 }, { "ms", 1 }, { "m", 60 * 1000 }, { "h", 3600 * 1000 },
	};
	struct decimal d;
	int ret = decimal_read(&s, &d);

	if (ret < 0)
		return ret;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		uint64_t value;

		if (strcmp(s, units[i].name) != 0)
			continue;
		ret = decimal_scale(&d, units[i].ms, &value);
		if (ret < 0)
			return ret;
		if (value > DURATION_MAX_MS)
			return -ERANGE;
		/* Zero means "none"; a time too short to count must not turn into that. */
		if (value == 0 && (d.whole || d.fraction))
			value = 1;
		*ms = value;
		return 0;
	}
	return -EINVAL;
}
