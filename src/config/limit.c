// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "config/set.h"
#include "config/words.h"

#define MS_PER_S 1000u
/* What may come at once, unless told: a tenth of a second's worth. */
#define BURST_PART 10u

static int check_tokens(uint64_t *tokens, const char *where, const char *value, uint64_t n,
			struct error *err)
{
	if (n == 0)
		return error_set(err, EINVAL,
				 "%s: with 0 nothing would ever pass; leave it out for "
				 "no limit",
				 where);
	if (n > BUCKET_TOKENS_MAX)
		return error_set(err, ERANGE, "%s: %s is more than any limit", where,
				 word_show(value).text);
	*tokens = n;
	return 0;
}

int set_limit_size(uint64_t *tokens, const char *where, const char *size, struct error *err)
{
	uint64_t bytes = 0;
	int ret = parse_size(size, &bytes);

	if (ret == -ERANGE)
		bytes = UINT64_MAX;
	else if (ret < 0)
		return error_set(err, EINVAL, "%s: \"%s\" is not a size such as 512K or 1.5G",
				 where, word_show(size).text);
	return check_tokens(tokens, where, size, bytes, err);
}

int set_limit_count(uint64_t *tokens, const char *where, const char *count, struct error *err)
{
	int64_t n = 0;
	int ret = parse_integer(count, &n);

	if (ret == -ERANGE && count[0] != '-')
		n = INT64_MAX;
	else if (ret < 0 || n < 0)
		return error_set(err, EINVAL, "%s: \"%s\" is not a number such as 1000", where,
				 word_show(count).text);
	return check_tokens(tokens, where, count, (uint64_t)n, err);
}

int limit_finish(struct bucket_spec *limit, const char *where, const char *name, struct error *err)
{
	if (!limit->refill && !limit->size)
		return 0;
	if (!limit->refill)
		return error_set(err, EINVAL, "%s: %s-burst is of no use without %s", where, name,
				 name);
	limit->refill_ms = MS_PER_S;
	if (!limit->size)
		limit->size = limit->refill < BURST_PART ? 1 : limit->refill / BURST_PART;
	return 0;
}
