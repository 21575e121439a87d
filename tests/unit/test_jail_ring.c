// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/loop.h"
#include "jail/stages.h"

static struct loop *loop;
static int source, file, fd;
static int results[4];
static unsigned int came;

static void handle(void *ctx, const struct loop_event *ev)
{
	(void)ctx;
	cr_assert_lt(ev->index, 4);
	results[ev->index] = ev->res;
	came++;
}

static void setup(void)
{
	cr_assert_eq(loop_new(&loop, 8), 0);
	fd = eventfd(0, EFD_CLOEXEC);
	cr_assert_geq(fd, 0);
	source = loop_add_source(loop, handle, NULL);
	file = loop_add_file(loop, fd);
	cr_assert_geq(file, 0);
	came = 0;
}

static void teardown(void)
{
	loop_free(loop);
	close(fd);
}

TestSuite(ring, .init = setup, .fini = teardown);

static void run_until(unsigned int n)
{
	while (came < n)
		cr_assert_eq(loop_run_once(loop), 0);
}

Test(ring, what_is_in_use_works)
{
	struct io_uring_sqe *sqe;

	cr_assert_eq(ring_close(loop), 0);
	loop_signal(loop, file);
	loop_wait_event(loop, file, source, 0, 0, 0);
	sqe = loop_sqe(loop);
	io_uring_prep_nop(sqe);
	loop_tag(sqe, source, 0, 1, 0);
	run_until(2);
	cr_expect_eq(results[0], 8);
	cr_expect_eq(results[1], 0);
}

Test(ring, other_operations_are_refused)
{
	struct io_uring_sqe *sqe;

	cr_assert_eq(ring_close(loop), 0);
	sqe = loop_sqe(loop);
	io_uring_prep_openat(sqe, AT_FDCWD, "/", O_RDONLY, 0);
	loop_tag(sqe, source, 0, 0, 0);
	sqe = loop_sqe(loop);
	io_uring_prep_connect(sqe, fd, NULL, 0);
	loop_tag(sqe, source, 0, 1, 0);
	sqe = loop_sqe(loop);
	io_uring_prep_close(sqe, fd);
	loop_tag(sqe, source, 0, 2, 0);
	/* And one that is allowed, with a flag that is not. */
	sqe = loop_sqe(loop);
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
	loop_tag(sqe, source, 0, 3, 0);
	run_until(4);
	for (unsigned int i = 0; i < 4; i++)
		cr_expect_eq(results[i], -EACCES, "number %u gave %d", i, results[i]);
}

Test(ring, nothing_more_is_registered)
{
	static char memory[4096];

	cr_assert_eq(ring_close(loop), 0);
	cr_expect_eq(loop_add_file(loop, fd), -EACCES);
	cr_expect_eq(loop_add_memory(loop, memory, sizeof(memory)), -EACCES);
}
