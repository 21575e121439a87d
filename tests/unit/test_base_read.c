// SPDX-License-Identifier: Apache-2.0
#include "base/read.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char pattern[20000];

static int file_of(size_t len)
{
	int fd = memfd_create("read", MFD_CLOEXEC);

	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (char)(i % 251 + 1);
	cr_assert_eq(write(fd, pattern, len), (ssize_t)len);
	cr_assert_eq(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static void expect_read(size_t have, size_t max, size_t wanted)
{
	int fd = file_of(have);
	char *text = NULL;
	size_t len = 0;

	cr_assert_eq(read_whole(fd, max, &text, &len), 0);
	cr_expect_eq(len, wanted, "%zu of %zu bytes, %zu at most", len, have, max);
	cr_expect_eq(memcmp(text, pattern, wanted), 0);
	cr_expect_eq(text[wanted], '\0');
	free(text);
	close(fd);
}

/* Around where memory grows, and around the bound. */
Test(base_read, sizes)
{
	static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 8191, 8192, 8193, 16385, 20000 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
			expect_read(sizes[i], sizes[k], sizes[i] < sizes[k] ? sizes[i] : sizes[k]);
		expect_read(sizes[i], 1 << 20, sizes[i]);
	}
}

/* In as many parts as the writer wrote. */
Test(base_read, pipe)
{
	char *text = NULL;
	size_t len = 0;
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	pid_t child = fork();

	if (!child) {
		for (int i = 0; i < 5; i++) {
			(void)!write(fds[1], "part ", 5);
			usleep(1000);
		}
		_exit(0);
	}
	close(fds[1]);
	cr_assert_eq(read_whole(fds[0], 100, &text, &len), 0);
	cr_expect_str_eq(text, "part part part part part ");
	cr_expect_eq(len, 25u);
	free(text);
}

Test(base_read, failure)
{
	char *text = (char *)1;
	size_t len = 7;

	cr_expect_eq(read_whole(-1, 100, &text, &len), -EBADF);
	cr_expect(text == (char *)1 && len == 7);
}
