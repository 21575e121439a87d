// SPDX-License-Identifier: Apache-2.0
#include "base/bucket.h"

#define NS_PER_MS 1000000u

bool bucket_limits(const struct bucket_spec *spec)
{
	return spec->refill;
}

bool bucket_spec_ok(const struct bucket_spec *spec)
{
	return !spec->refill || (spec->refill <= BUCKET_TOKENS_MAX && spec->size &&
				 spec->size <= BUCKET_TOKENS_MAX && spec->refill_ms &&
				 spec->refill_ms <= BUCKET_REFILL_MS_MAX &&
				 spec->one_time_burst <= BUCKET_TOKENS_MAX);
}

/* @tokens as a level. */
static __int128 level_of(const struct bucket *b, uint64_t tokens)
{
	return (__int128)tokens * b->refill_ns;
}

void bucket_init(struct bucket *b, const struct bucket_spec *spec, uint64_t now_ns)
{
	*b = (struct bucket){ .spec = *spec,
			      .refill_ns = spec->refill_ms * NS_PER_MS,
			      .burst = spec->one_time_burst,
			      .last_ns = now_ns };
	b->level = level_of(b, spec->size);
}

/* Let in what has come until @now_ns. */
static void refill(struct bucket *b, uint64_t now_ns)
{
	__int128 full = level_of(b, b->spec.size);

	if (now_ns <= b->last_ns)
		return;
	b->level += (__int128)b->spec.refill * (now_ns - b->last_ns);
	if (b->level > full)
		b->level = full;
	b->last_ns = now_ns;
}

uint64_t bucket_wait(struct bucket *b, uint64_t now_ns, uint64_t batch_ns)
{
	__int128 token = level_of(b, 1), full = level_of(b, b->spec.size), wanted;

	refill(b, now_ns);
	if (b->burst || b->level >= token)
		return 0;
	wanted = (__int128)b->spec.refill * batch_ns;
	if (wanted > full)
		wanted = full;
	if (wanted < token)
		wanted = token;

	__int128 ns = (wanted - b->level + b->spec.refill - 1) / b->spec.refill;

	return ns > UINT64_MAX ? UINT64_MAX : (uint64_t)ns;
}

void bucket_take(struct bucket *b, uint64_t tokens)
{
	uint64_t once = tokens < b->burst ? tokens : b->burst;

	b->burst -= once;
	b->level -= level_of(b, tokens - once);
}
