// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fds.h"

#define LAST 40

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* In a process of its own, which needs its other descriptors no more. */
Test(fds, only_those_that_are_kept_stay)
{
	int status;
	pid_t child = fork();

	if (!child) {
		int kept[] = { 17, 2, -1, 18, LAST, 2 };
		bool good = true;

		for (int fd = 3; fd <= LAST + 2; fd++)
			good &= dup2(STDERR_FILENO, fd) == fd;
		fds_close_others(kept, sizeof(kept) / sizeof(kept[0]));
		for (int fd = 0; fd <= LAST + 2; fd++)
			good &= is_open(fd) == (fd == 2 || fd == 17 || fd == 18 || fd == LAST);
		_exit(!good);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_expect_eq(status, 0);
}

Test(fds, the_first_and_none)
{
	int status;
	pid_t child = fork();

	if (!child) {
		int kept[] = { 0 };

		dup2(STDERR_FILENO, 0);
		fds_close_others(kept, 1);
		bool good = is_open(0) && !is_open(1) && !is_open(2);

		fds_close_others(kept, 0);
		_exit(!good || is_open(0));
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_expect_eq(status, 0);
}
