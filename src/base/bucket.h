// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * A token bucket: tokens come in at a steady rate until it is full, and whoever does something
 * takes as many as that costs. It is open while there is a whole token in it. What is taken then
 * may be more than there is, and leaves a debt which has to come in before it is open again: so
 * something larger than the bucket gets through as well, and in the long run no more goes through
 * than the rate allows. Until the first of two takers has been charged both may be let in.
 *
 * Exact: levels are kept in tokens times the nanoseconds of a refill, so that nothing is rounded.
 */
struct bucket_spec {
	uint64_t refill;         /* tokens that come in during @refill_ms; 0: no limit at all */
	uint64_t refill_ms;      /* at least 1 */
	uint64_t size;           /* tokens that it holds, at least 1; it begins full */
	uint64_t one_time_burst; /* tokens that are there once, and taken first */
};

/* The most that each number above may be: with them, nothing here overflows. */
#define BUCKET_TOKENS_MAX    (1ull << 62)
#define BUCKET_REFILL_MS_MAX (100ull * 365 * 24 * 3600 * 1000)

/* What a disk, or one direction of a network card, is held to. */
struct limits {
	struct bucket_spec bytes;
	struct bucket_spec ops; /* requests, or packets */
};

struct bucket {
	struct bucket_spec spec;
	uint64_t refill_ns;
	uint64_t burst;   /* left of the one-time burst */
	uint64_t last_ns; /* up to when the level is accounted for */
	__int128 level;   /* in tokens times @refill_ns; negative: a debt */
};

/* Whether @spec limits anything, and whether its numbers can be those of a bucket. */
bool bucket_limits(const struct bucket_spec *spec);
bool bucket_spec_ok(const struct bucket_spec *spec);

/* A full bucket at @now_ns. @spec is ok. */
void bucket_init(struct bucket *b, const struct bucket_spec *spec, uint64_t now_ns);

/*
 * Nanoseconds from @now_ns until it is worth while to come back: 0 if the bucket is open, else
 * until it is, and has what comes in in @batch_ns or is full. A @now_ns before an earlier one
 * counts as that.
 */
uint64_t bucket_wait(struct bucket *b, uint64_t now_ns, uint64_t batch_ns);

/* Take @tokens, less than 2^62, which puts it into debt where there are fewer. */
void bucket_take(struct bucket *b, uint64_t tokens);
