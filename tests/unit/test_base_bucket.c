// SPDX-License-Identifier: Apache-2.0
#include "base/bucket.h"

#include <criterion/criterion.h>

#define MS    1000000ull
#define S     (1000 * MS)
#define START (77 * S) /* a clock has gone for a while when a bucket is made */

static struct bucket make(uint64_t refill, uint64_t refill_ms, uint64_t size, uint64_t once)
{
	struct bucket_spec spec = { refill, refill_ms, size, once };
	struct bucket b;

	cr_assert(bucket_spec_ok(&spec));
	cr_assert(bucket_limits(&spec));
	bucket_init(&b, &spec, START);
	return b;
}

static bool is_open(struct bucket *b, uint64_t now)
{
	return bucket_wait(b, now, 0) == 0;
}

/* Take one token after the other for as long as there are any. */
static unsigned int drain(struct bucket *b, uint64_t now)
{
	unsigned int n = 0;

	for (; is_open(b, now); n++)
		bucket_take(b, 1);
	return n;
}

Test(base_bucket, specs)
{
	static const struct {
		struct bucket_spec spec;
		bool ok, limits;
	} cases[] = {
		{ { 0 }, true, false },
		{ { 0, 0, 5, 5 }, true, false },
		{ { 1, 1, 1, 0 }, true, true },
		{ { 1, 0, 1, 0 }, false, true },
		{ { 1, 1, 0, 0 }, false, true },
		{ { BUCKET_TOKENS_MAX, BUCKET_REFILL_MS_MAX, BUCKET_TOKENS_MAX, BUCKET_TOKENS_MAX },
		  true,
		  true },
		{ { BUCKET_TOKENS_MAX + 1, 1, 1, 0 }, false, true },
		{ { 1, BUCKET_REFILL_MS_MAX + 1, 1, 0 }, false, true },
		{ { 1, 1, BUCKET_TOKENS_MAX + 1, 0 }, false, true },
		{ { 1, 1, 1, BUCKET_TOKENS_MAX + 1 }, false, true },
		{ { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX }, false, true },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_expect_eq(bucket_spec_ok(&cases[i].spec), cases[i].ok, "%zu", i);
		cr_expect_eq(bucket_limits(&cases[i].spec), cases[i].limits, "%zu", i);
	}
}

Test(base_bucket, begins_full_and_fills_at_its_rate)
{
	struct bucket b = make(10, 1000, 5, 0);

	cr_expect_eq(drain(&b, START), 5);
	cr_expect_eq(bucket_wait(&b, START, 0), 100 * MS);
	cr_expect_not(is_open(&b, START + 100 * MS - 1));
	cr_expect_eq(bucket_wait(&b, START + 100 * MS - 1, 0), 1);
	cr_expect_eq(drain(&b, START + 100 * MS), 1);
	cr_expect_eq(drain(&b, START + 350 * MS), 2);
	/* The half that was left over is not lost. */
	cr_expect_eq(drain(&b, START + 400 * MS), 1);
	/* No more than it holds. */
	cr_expect_eq(drain(&b, START + 100 * S), 5);
}

/* Looking often takes nothing, though each look brings less than a token. */
Test(base_bucket, is_exact)
{
	struct bucket b = make(3, 1000, 2, 0);
	unsigned int n = drain(&b, START);

	for (uint64_t t = 0; t <= 10000 * MS; t += 7777)
		n += drain(&b, START + t);
	/* Two at the beginning, and three for each second: the last one at the very end. */
	cr_expect_eq(n, 31, "%u", n);
	n += drain(&b, START + 10 * S);
	cr_expect_eq(n, 32, "%u", n);
}

/* A rate that is no whole number of nanoseconds a token, for a year. */
Test(base_bucket, does_not_drift)
{
	struct bucket b = make(7, 1000, 1ull << 40, 0);
	uint64_t year = 365ull * 24 * 3600;

	bucket_take(&b, 1ull << 40);
	for (uint64_t day = 0; day < 365; day++)
		bucket_wait(&b, START + day * 24 * 3600 * S + day, 0);
	bucket_wait(&b, START + year * S, 0);
	cr_expect(b.level == (__int128)7 * year * b.refill_ns);
}

Test(base_bucket, more_than_it_holds_is_a_debt)
{
	struct bucket b = make(1000, 1000, 100, 0);

	bucket_take(&b, 5100);
	cr_expect_eq(bucket_wait(&b, START, 0), 5001 * MS);
	cr_expect_not(is_open(&b, START + 5000 * MS));
	cr_expect_eq(drain(&b, START + 5001 * MS), 1);
}

Test(base_bucket, comes_back_for_a_batch)
{
	struct bucket b = make(100000, 1000, 10000, 0);

	cr_expect_eq(bucket_wait(&b, START, MS), 0);
	bucket_take(&b, 10000);
	cr_expect_eq(bucket_wait(&b, START, MS), MS, "a hundred tokens");
	cr_expect_eq(bucket_wait(&b, START + 20000, MS), 0, "it is open all the same");
	/* One that holds less than a batch is full before. */
	b = make(100000, 1000, 3, 0);
	bucket_take(&b, 3);
	cr_expect_eq(bucket_wait(&b, START, MS), 30000);
	/* And a slow one has no token yet. */
	b = make(5, 1000, 1, 0);
	bucket_take(&b, 1);
	cr_expect_eq(bucket_wait(&b, START, MS), 200 * MS);
}

Test(base_bucket, one_time_burst)
{
	struct bucket b = make(1, 1000, 2, 3);

	cr_expect_eq(drain(&b, START), 5);
	cr_expect_eq(drain(&b, START + 60 * S), 2, "it does not come again");
	/* Part of something large. */
	b = make(1, 1000, 2, 3);
	bucket_take(&b, 4);
	cr_expect_eq(drain(&b, START), 1);
	/* It opens a bucket that is in debt. */
	b = make(1, 1000, 2, 3);
	b.level = -1;
	cr_expect(is_open(&b, START));
}

Test(base_bucket, time_goes_backwards)
{
	struct bucket b = make(10, 1000, 5, 0);

	cr_expect_eq(drain(&b, START + S), 5);
	cr_expect_eq(drain(&b, START), 0);
	cr_expect_eq(bucket_wait(&b, START, 0), 100 * MS);
	cr_expect_eq(drain(&b, 0), 0);
	cr_expect_eq(drain(&b, START + 1099 * MS), 0, "the same time is not counted twice");
	cr_expect_eq(drain(&b, START + 1100 * MS), 1);
}

Test(base_bucket, time_leaps)
{
	struct bucket b = make(BUCKET_TOKENS_MAX, 1, BUCKET_TOKENS_MAX, 0);

	bucket_take(&b, BUCKET_TOKENS_MAX);
	cr_expect(is_open(&b, UINT64_MAX));
	cr_expect(b.level == (__int128)BUCKET_TOKENS_MAX * MS, "full and no more");
	b = make(1, 1, 1, 0);
	bucket_take(&b, 1);
	cr_expect_eq(drain(&b, UINT64_MAX), 1);
}

/* The largest numbers that there are. */
Test(base_bucket, overflows_nowhere)
{
	struct bucket b = make(1, BUCKET_REFILL_MS_MAX, BUCKET_TOKENS_MAX, BUCKET_TOKENS_MAX);

	bucket_take(&b, BUCKET_TOKENS_MAX);
	cr_expect_eq(b.burst, 0);
	for (int i = 0; i < 3; i++)
		bucket_take(&b, BUCKET_TOKENS_MAX);
	cr_expect(b.level < 0);
	cr_expect_eq(bucket_wait(&b, START, UINT64_MAX), UINT64_MAX, "longer than there are words");
	cr_expect_eq(bucket_wait(&b, UINT64_MAX, UINT64_MAX), UINT64_MAX);
}
