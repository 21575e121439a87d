// SPDX-License-Identifier: Apache-2.0
#include "base/loop.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sys/eventfd.h>

#include "loop_thread.h"

static struct loop *loop;
static struct loop_event seen[64];
static unsigned int nseen;

static void note_event(void *ctx, const struct loop_event *ev)
{
	cr_assert_eq(ctx, &nseen);
	if (nseen < 64)
		seen[nseen] = *ev;
	nseen++;
}

static void setup(void)
{
	cr_assert_eq(loop_new(&loop, 8), 0);
}

static void teardown(void)
{
	loop_free(loop);
}

TestSuite(loop, .init = setup, .fini = teardown, .timeout = 60);

/* A source that is never done: it keeps 64 operations under way, for a ring of 8. */
static unsigned int under_way, handled;

static void go_on(void *ctx, const struct loop_event *ev)
{
	int source = *(const int *)ctx;

	(void)ev;
	handled++;
	for (under_way--; under_way < 64 && handled < 100000; under_way++) {
		struct io_uring_sqe *sqe = loop_sqe(loop);

		io_uring_prep_nop(sqe);
		loop_tag(sqe, source, 0, 0, 0);
	}
}

/* However busy one source is, a round of the loop ends, and what waits for that has its turn. */
Test(loop, rounds_end)
{
	int source = loop_add_source(loop, go_on, &source);
	struct io_uring_sqe *sqe = loop_sqe(loop);

	io_uring_prep_nop(sqe);
	loop_tag(sqe, source, 0, 0, 0);
	under_way = 1;
	for (int i = 0; i < 10; i++) {
		unsigned int before = handled;

		cr_assert_eq(loop_run_once(loop), 0);
		cr_assert_leq(handled - before, 128, "%u operations in one round",
			      handled - before);
	}
}

/* On threads of their own. */
TestSuite(loop_call, .timeout = 60);

static void nop(int source, uint8_t op, uint16_t index, uint32_t generation)
{
	struct io_uring_sqe *sqe = loop_sqe(loop);

	io_uring_prep_nop(sqe);
	loop_tag(sqe, source, op, index, generation);
}

static void turn_until(unsigned int n)
{
	while (nseen < n)
		cr_assert_eq(loop_run_once(loop), 0);
}

Test(loop, tags)
{
	int source = loop_add_source(loop, note_event, &nseen);

	cr_assert_geq(source, 0);
	nop(source, 0, 0, 0);
	nop(source, 255, 65535, 0xffffffff);
	nop(source, 3, 0x1234, 0x00abcdef);
	turn_until(3);
	cr_assert(seen[0].op == 0 && seen[0].index == 0 && seen[0].generation == 0);
	cr_assert(seen[1].op == 255 && seen[1].index == 65535);
	cr_assert_eq(seen[1].generation, LOOP_GENERATION_MASK);
	cr_assert(seen[2].op == 3 && seen[2].index == 0x1234 && seen[2].generation == 0xabcdef);
	cr_assert_eq(seen[2].res, 0);
}

/* More than fit into the ring at once: none is lost. */
Test(loop, floods)
{
	int source = loop_add_source(loop, note_event, &nseen);

	for (unsigned int i = 0; i < 5000; i++)
		nop(source, 0, (uint16_t)i, 0);
	turn_until(5000);
	cr_assert_eq(nseen, 5000);
}

/* A completion for nobody is dropped. */
Test(loop, unknown_sources)
{
	int source = loop_add_source(loop, note_event, &nseen);

	nop(source + 1, 0, 0, 0);
	nop(200, 0, 0, 0);
	nop(255, 0, 0, 0);
	nop(source, 1, 0, 0);
	turn_until(1);
	cr_assert_eq(seen[0].op, 1);
}

Test(loop, tables_are_bounded)
{
	int n = 0, ret, fd = eventfd(0, EFD_CLOEXEC);

	while ((ret = loop_add_source(loop, note_event, &nseen)) >= 0)
		cr_assert_lt(++n, 256, "a tag has 8 bits for it");
	cr_assert_eq(ret, -ENOSPC);
	cr_assert_geq(n, 32);
	for (n = 0; (ret = loop_add_file(loop, fd)) >= 0;)
		cr_assert_lt(++n, 10000);
	cr_assert_eq(ret, -ENOSPC);
	cr_assert_geq(n, 64);
	close(fd);
}

Test(loop, bad_file)
{
	cr_assert_eq(loop_add_file(loop, 9999), -EBADF);
}

Test(loop, events)
{
	int source = loop_add_source(loop, note_event, &nseen);
	int in = eventfd(0, EFD_CLOEXEC), out = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int in_file = loop_add_file(loop, in), out_file = loop_add_file(loop, out);

	cr_assert(in_file >= 0 && out_file >= 0 && in_file != out_file);
	for (uint16_t i = 0; i < 10; i++) {
		loop_wait_event(loop, in_file, source, 9, i, i * 3u);
		event_signal(in);
		turn_until(i + 1u);
		cr_assert(seen[i].op == 9 && seen[i].index == i && seen[i].generation == i * 3u);
		cr_assert_eq(seen[i].res, 8);
	}
	loop_signal(loop, out_file);
	loop_signal(loop, out_file);
	nop(source, 0, 0, 0);
	turn_until(11);
	cr_assert_eq(event_take(out), 2);
	close(in);
	close(out);
}

/* An eventfd that is full takes no more; nobody is told, and nothing waits. */
Test(loop, signals_that_fail)
{
	int source = loop_add_source(loop, note_event, &nseen);
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int file = loop_add_file(loop, fd);
	uint64_t most = UINT64_MAX - 1;

	cr_assert_eq(write(fd, &most, 8), 8);
	loop_signal(loop, file);
	for (unsigned int i = 1; i < 10; i++) {
		nop(source, 0, 0, 0);
		turn_until(i);
	}
	cr_assert_eq(nseen, 9);
	close(fd);
}

/* ---- the end of a turn ---- */

static unsigned int stages[LOOP_SLEEPS + 1];
static unsigned int sleeps_with_work;

static bool note_stage(void *ctx, enum loop_stage stage)
{
	struct loop_turn *turn = ctx;

	stages[stage]++;
	if (stage != LOOP_SLEEPS || !sleeps_with_work)
		return false;
	sleeps_with_work--;
	loop_at_turn(loop, turn);
	return true;
}

Test(loop, turns)
{
	struct loop_turn turn = { .fn = note_stage, .ctx = &turn };
	int source = loop_add_source(loop, note_event, &nseen);

	loop_at_turn(loop, &turn);
	loop_at_turn(loop, &turn);
	nop(source, 0, 0, 0);
	turn_until(1);
	cr_assert(stages[LOOP_TURN_ENDS] == 1 && stages[LOOP_SLEEPS] == 1, "once");
	nop(source, 0, 0, 0);
	turn_until(2);
	cr_assert(stages[LOOP_TURN_ENDS] == 1 && stages[LOOP_SLEEPS] == 1, "for one turn");
	cr_assert_eq(stages[LOOP_LOOKS], 0, "nothing is expected");
}

/* Who finds work every time keeps the loop awake, and not from the others. */
Test(loop, turns_with_work)
{
	struct loop_turn turn = { .fn = note_stage, .ctx = &turn };
	int source = loop_add_source(loop, note_event, &nseen);

	sleeps_with_work = 100;
	loop_at_turn(loop, &turn);
	for (unsigned int i = 0; sleeps_with_work; i++) {
		cr_assert_leq(i, 50);
		cr_assert_eq(loop_run_once(loop), 0, "it does not wait: nothing will complete");
	}
	nop(source, 0, 0, 0);
	turn_until(1);
}

/* ---- calls ---- */

static struct loop_thread thread;
static unsigned int called;
static struct loop_call *kept[8];
static unsigned int nkept;

static void count_call(void *ctx, struct loop_call *call)
{
	guest_require(pthread_equal(pthread_self(), thread.thread));
	*(unsigned int *)ctx += 1;
	loop_call_done(call);
}

static void keep_call(void *ctx, struct loop_call *call)
{
	(void)ctx;
	kept[nkept++] = call;
}

static void *call_many(void *arg)
{
	(void)arg;
	for (int i = 0; i < 1000; i++)
		guest_require(loop_call(thread.loop, count_call, &called) == 0);
	return NULL;
}

Test(loop_call, from_many_threads)
{
	pthread_t callers[4];

	loop_thread_init(&thread);
	loop_thread_run(&thread);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&callers[i], NULL, call_many, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(callers[i], NULL);
	loop_thread_stop(&thread);
	cr_assert_eq(called, 4000);
}

static int results[8];

static void *call_kept(void *arg)
{
	*(int *)arg = loop_call(thread.loop, keep_call, NULL);
	return NULL;
}

static void finish_kept(void *ctx, struct loop_call *call)
{
	(void)ctx;
	/* In the other order than they came. */
	while (nkept)
		loop_call_done(kept[--nkept]);
	loop_call_done(call);
}

static void count_kept(void *ctx, struct loop_call *call)
{
	*(unsigned int *)ctx = nkept;
	loop_call_done(call);
}

static void wait_for_kept(unsigned int n)
{
	unsigned int now = 0;

	while (now < n)
		cr_assert_eq(loop_call(thread.loop, count_kept, &now), 0);
}

/* A call that is finished later holds up nobody but its caller. */
Test(loop_call, finished_later)
{
	pthread_t callers[4];

	loop_thread_init(&thread);
	loop_thread_run(&thread);
	for (int i = 0; i < 4; i++) {
		results[i] = 1;
		cr_assert_eq(pthread_create(&callers[i], NULL, call_kept, &results[i]), 0);
	}
	wait_for_kept(4);
	cr_assert_eq(loop_call(thread.loop, count_call, &called), 0);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(results[i], 1, "still waiting");
	cr_assert_eq(loop_call(thread.loop, finish_kept, NULL), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(callers[i], NULL);
		cr_assert_eq(results[i], 0);
	}
	loop_thread_stop(&thread);
}

/* Whoever waits when the loop ends is let go, and whoever comes later does not wait at all. */
Test(loop_call, canceled_by_the_end)
{
	pthread_t caller;

	loop_thread_init(&thread);
	loop_thread_run(&thread);
	results[0] = 1;
	cr_assert_eq(pthread_create(&caller, NULL, call_kept, &results[0]), 0);
	wait_for_kept(1);
	loop_stop(thread.loop);
	pthread_join(caller, NULL);
	cr_assert_eq(results[0], -ECANCELED);
	pthread_join(thread.thread, NULL);
	cr_assert_eq(loop_call(thread.loop, count_call, &called), -ECANCELED);
	cr_assert_eq(called, 0);
	loop_free(thread.loop);
}
