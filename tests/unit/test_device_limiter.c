// SPDX-License-Identifier: Apache-2.0
#include "device/limiter.h"

#include <criterion/criterion.h>

#include "guest_driver.h"

#define MS 1000000ull
#define S  (1000 * MS)

static struct {
	struct loop *loop;
	struct guest_clock clock;
	struct limiter *limiter;
	struct limiter_gate gates[3];
	unsigned int woken[3];
	bool deaf; /* queues do not ask when they are woken */
	unsigned int got[3];
} w;

static uint64_t now;

static uint64_t fake_clock(void)
{
	return now;
}

/* A queue that has more to do than it may, whenever it is called. */
static void take_all(unsigned int queue)
{
	while (limiter_limits(&w.gates[queue]) && limiter_open(&w.gates[queue])) {
		limiter_charge(&w.gates[queue], 1, 512);
		w.got[queue]++;
	}
}

static void wake(void *ctx, unsigned int queue)
{
	cr_assert_eq(ctx, &w);
	w.woken[queue]++;
	if (!w.deaf)
		take_all(queue);
}

static void make(const struct limits *limits)
{
	now = 5 * S;
	cr_assert_eq(loop_new(&w.loop, 64), 0);
	guest_clock_init(&w.clock, w.loop);
	cr_assert_eq(limiter_new(limits, fake_clock, &w.limiter), 0);
	cr_assert_not_null(w.limiter);
	for (unsigned int i = 0; i < 3; i++)
		cr_assert_eq(limiter_gate_init(&w.gates[i], w.limiter, w.loop, wake, &w, i), 0);
}

static void teardown(void)
{
	loop_free(w.loop);
	limiter_free(w.limiter);
}

TestSuite(device_limiter, .fini = teardown, .timeout = 60);

/* See the loop through until every queue has been woken once more. */
static void all_woken(unsigned int queues)
{
	unsigned int before[3];

	memcpy(before, w.woken, sizeof(before));
	for (unsigned int i = 0; i < queues; i++)
		while (w.woken[i] == before[i])
			cr_assert_eq(loop_run_once(w.loop), 0);
}

Test(device_limiter, no_limit)
{
	struct limiter_gate none = { .limiter = NULL };

	make(&(struct limits){ { .size = 5 }, { 0 } });
	cr_assert_not(limiter_limits(&w.gates[0]));
	cr_assert_not(limiter_limits(&none));
	limiter_free(NULL);
}

Test(device_limiter, closes_and_wakes)
{
	make(&(struct limits){ .ops = { 10, 1000, 2, 0 } });
	take_all(0);
	cr_assert_eq(w.got[0], 2);
	/* The clock stands still: it is woken to ask again, and again. */
	all_woken(1);
	all_woken(1);
	cr_assert_eq(w.got[0], 2);
	now += 100 * MS;
	all_woken(1);
	cr_assert_eq(w.got[0], 3);
}

/* Nobody waits, so nobody is woken. */
Test(device_limiter, sleeps)
{
	make(&(struct limits){ .ops = { 1000, 1000, 2, 0 } });
	cr_assert(limiter_open(&w.gates[0]));
	limiter_charge(&w.gates[0], 1, 0);
	cr_assert(limiter_open(&w.gates[0]));
	guest_clock_turn(&w.clock, 3);
	cr_assert_eq(w.woken[0], 0);
}

Test(device_limiter, both_buckets_count)
{
	make(&(struct limits){ .bytes = { 5120, 1000, 1024, 0 }, .ops = { 10, 1000, 5, 0 } });
	take_all(0);
	cr_assert_eq(w.got[0], 2, "bytes for two");
	now += 60 * S;
	for (unsigned int i = 0; i < 5; i++) {
		cr_assert(limiter_open(&w.gates[0]));
		limiter_charge(&w.gates[0], 1, 0);
	}
	cr_assert_not(limiter_open(&w.gates[0]), "operations for five");
}

/* Three that always want more get the same, however the timers order them. */
Test(device_limiter, takes_turns)
{
	make(&(struct limits){ .ops = { 10, 1000, 1, 0 } });
	for (unsigned int i = 0; i < 3; i++)
		take_all(i);
	cr_assert_eq(w.got[0], 1);
	for (int round = 0; round < 9; round++) {
		unsigned int before = w.got[0] + w.got[1] + w.got[2];

		now += 100 * MS;
		while (w.got[0] + w.got[1] + w.got[2] == before)
			cr_assert_eq(loop_run_once(w.loop), 0);
		cr_assert_eq(w.got[0] + w.got[1] + w.got[2], before + 1);
	}
	cr_assert_eq(w.got[0], 4);
	cr_assert_eq(w.got[1], 3);
	cr_assert_eq(w.got[2], 3);
}

/* Who has been there first goes first, also before one that does not wait. */
Test(device_limiter, nobody_pushes_in)
{
	make(&(struct limits){ .ops = { 10, 1000, 1, 0 } });
	take_all(0);
	now += 100 * MS;
	cr_assert_not(limiter_open(&w.gates[1]));
	all_woken(1);
	cr_assert_eq(w.got[0], 2);
}

/* One that was reset while it waited does not keep the others out. */
Test(device_limiter, who_does_not_ask_loses_its_turn)
{
	make(&(struct limits){ .ops = { 10, 1000, 1, 0 } });
	take_all(0);
	now += 100 * MS;
	w.deaf = true;
	all_woken(1);
	cr_assert(limiter_open(&w.gates[1]));
}

Test(device_limiter, too_many_gates)
{
	static struct limiter_gate more[LIMITER_GATES_MAX];

	make(&(struct limits){ .ops = { 10, 1000, 1, 0 } });
	for (unsigned int i = 3; i < LIMITER_GATES_MAX; i++)
		cr_assert_eq(limiter_gate_init(&more[i], w.limiter, w.loop, wake, &w, 0), 0);
	cr_assert_eq(limiter_gate_init(&more[0], w.limiter, w.loop, wake, &w, 0), -ENOSPC);
}

/* ---- limits that change ---- */

#define PER_S(n, size) ((struct limits){ .ops = { n, 1000, size, 0 } })

Test(device_limiter, a_limit_comes)
{
	make(&(struct limits){ 0 });
	limiter_set(w.limiter, &PER_S(10, 2));
	cr_assert(limiter_limits(&w.gates[0]));
	take_all(0);
	cr_assert_eq(w.got[0], 2);
	now += 100 * MS;
	all_woken(1);
	cr_assert_eq(w.got[0], 3);
}

/* One that waits for a bucket of a token an hour goes on when there is no limit any more. */
Test(device_limiter, a_limit_goes)
{
	make(&(struct limits){ .ops = { 1, 3600000, 1, 0 } });
	take_all(0);
	all_woken(1);
	cr_assert_eq(w.got[0], 1);
	limiter_set(w.limiter, &(struct limits){ 0 });
	all_woken(1);
	cr_assert_not(limiter_limits(&w.gates[0]), "and it need not ask");
	/* What it waited with is void, so that it keeps nobody out when there is a limit again. */
	guest_clock_turn(&w.clock, 3);
	limiter_set(w.limiter, &PER_S(10, 1));
	cr_assert(limiter_open(&w.gates[1]));
}

/* Likewise a faster one. */
Test(device_limiter, a_limit_changes)
{
	make(&(struct limits){ .ops = { 1, 3600000, 1, 0 } });
	for (unsigned int i = 0; i < 3; i++)
		take_all(i);
	cr_assert_eq(w.got[0], 1);
	limiter_set(w.limiter, &PER_S(1000, 30));
	all_woken(1);
	cr_assert_eq(w.got[0] + w.got[1] + w.got[2], 31, "%u %u %u", w.got[0], w.got[1], w.got[2]);
	/* And a slower one holds from then on. */
	limiter_set(w.limiter, &PER_S(10, 1));
	now += 100 * MS;
	all_woken(3);
	cr_assert_leq(w.got[0] + w.got[1] + w.got[2], 32);
}

/* A change to one of the buckets fills not the other. */
Test(device_limiter, what_does_not_change_keeps_its_level)
{
	struct limits limits = { .bytes = { 512, 1000, 1024, 0 }, .ops = { 10, 1000, 5, 0 } };

	make(&limits);
	take_all(0);
	cr_assert_eq(w.got[0], 2, "bytes for two");
	limits.ops.size = 4;
	limiter_set(w.limiter, &limits);
	cr_assert_not(limiter_open(&w.gates[0]));
	limits.bytes.size = 512;
	limiter_set(w.limiter, &limits);
	cr_assert_not(limiter_open(&w.gates[1]), "the other was there first");
	all_woken(1);
	cr_assert_eq(w.got[0], 3);
}
