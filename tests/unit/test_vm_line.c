// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>

#include "base/thread.h"
#include "vm/line.h"

#define THREADS 3

static struct start_line line;
static atomic_uint gone_on, ended;
static int errors[THREADS];

static void *runner(void *arg)
{
	int *error = arg;

	if (start_line_reach(&line, *error))
		gone_on++;
	else
		ended++;
	return NULL;
}

static void setup(void)
{
	start_line_init(&line);
	gone_on = ended = 0;
}

static void teardown(void)
{
	start_line_deinit(&line);
}

TestSuite(start_line, .init = setup, .fini = teardown);

static void start(pthread_t *threads)
{
	for (int i = 0; i < THREADS; i++)
		cr_assert_eq(thread_start(&threads[i], runner, &errors[i]), 0);
}

static void join(pthread_t *threads)
{
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

Test(start_line, all_go_on_at_once)
{
	pthread_t threads[THREADS];

	start(threads);
	cr_expect_eq(start_line_wait(&line, THREADS), 0);
	cr_expect_eq(gone_on, 0, "one has not waited");
	start_line_open(&line);
	join(threads);
	cr_expect_eq(gone_on, THREADS);
}

Test(start_line, one_that_fails_is_told_of)
{
	pthread_t threads[THREADS];

	errors[1] = -EPERM;
	start(threads);
	cr_expect_eq(start_line_wait(&line, THREADS), -EPERM);
	start_line_cancel(&line);
	join(threads);
	cr_expect_eq(ended, THREADS);
}

/* Whoever comes late ends as well, and what has been let go is not called back. */
Test(start_line, cancelled)
{
	pthread_t threads[THREADS];

	start_line_cancel(&line);
	start_line_open(&line);
	start(threads);
	join(threads);
	cr_expect_eq(ended, THREADS);
}
