// SPDX-License-Identifier: Apache-2.0
#include "supervisor/logfile.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/kvmbox-test-XXXXXX";
static int dir_fd;
static struct logfile logfile;

static void setup(void)
{
	cr_assert_not_null(mkdtemp(dir));
	dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(logfile_open(&logfile, dir_fd, "output.log"), 0);
}

static void teardown(void)
{
	logfile_close(&logfile);
	unlinkat(dir_fd, "output.log", 0);
	unlinkat(dir_fd, "output.log.1", 0);
	close(dir_fd);
	rmdir(dir);
}

TestSuite(supervisor_logfile, .init = setup, .fini = teardown, .timeout = 60);

static off_t size_of(const char *name)
{
	struct stat st;

	return fstatat(dir_fd, name, &st, 0) ? -1 : st.st_size;
}

static void expect_log(const char *text)
{
	size_t len;
	char *read = logfile_read(&logfile, &len);

	cr_assert_not_null(read);
	cr_assert_eq(len, strlen(text));
	cr_assert_eq(memcmp(read, text, len), 0);
	free(read);
}

Test(supervisor_logfile, written_and_read)
{
	expect_log("");
	logfile_write(&logfile, "one\n", 4);
	logfile_write(&logfile, "", 0);
	logfile_write(&logfile, "two", 3);
	expect_log("one\ntwo");
	cr_assert_eq(size_of("output.log"), 7);
	cr_assert_eq(size_of("output.log.1"), -1);
}

/* What an earlier VM of this name has left is not taken for ours. */
Test(supervisor_logfile, begins_empty)
{
	struct logfile other;

	logfile_write(&logfile, "old", 3);
	cr_assert_eq(logfile_open(&other, dir_fd, "output.log"), 0);
	cr_assert_eq(size_of("output.log"), 0);
	logfile_close(&other);
	cr_assert_eq(logfile_open(&other, dir_fd, "no/such/dir"), -ENOENT);
}

/* However much is written, and in whatever pieces; what is kept is the last of it. */
Test(supervisor_logfile, bounded)
{
	static const size_t pieces[] = { 1, 4095, 100000, LOGFILE_BYTES, 3 * LOGFILE_BYTES + 7 };
	char *data = malloc(4 * LOGFILE_BYTES);
	uint32_t n = 0;

	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		for (size_t done = 0; done < 3 * LOGFILE_BYTES && (pieces[i] > 1 || done < 9999);
		     done += pieces[i]) {
			for (size_t k = 0; k < pieces[i]; k++)
				data[k] = (char)(n++ % 251);
			logfile_write(&logfile, data, pieces[i]);
			cr_assert_leq(size_of("output.log"), LOGFILE_BYTES);
			cr_assert_leq(size_of("output.log.1"), LOGFILE_BYTES);
		}
	}
	size_t len;
	char *kept = logfile_read(&logfile, &len);

	cr_assert_geq(len, LOGFILE_BYTES);
	for (size_t i = 0; i < len; i++)
		cr_assert_eq(kept[i], (char)((n - len + i) % 251));
	free(kept);
	free(data);
}

/* Exactly full: nothing is rotated before there is more. */
Test(supervisor_logfile, rotation)
{
	char *data = calloc(1, LOGFILE_BYTES);

	logfile_write(&logfile, data, LOGFILE_BYTES);
	cr_assert_eq(size_of("output.log"), LOGFILE_BYTES);
	cr_assert_eq(size_of("output.log.1"), -1);
	logfile_write(&logfile, "x", 1);
	cr_assert_eq(size_of("output.log"), 1);
	cr_assert_eq(size_of("output.log.1"), LOGFILE_BYTES);
	free(data);
}

/* Without a descriptor for a new file the log goes on in the old one. */
Test(supervisor_logfile, rotation_without_descriptors)
{
	char *data = calloc(1, LOGFILE_BYTES);
	struct rlimit limit, old;

	logfile_write(&logfile, data, LOGFILE_BYTES);
	getrlimit(RLIMIT_NOFILE, &old);
	limit = old;
	limit.rlim_cur = 0;
	setrlimit(RLIMIT_NOFILE, &limit);
	for (int i = 0; i < 4; i++)
		logfile_write(&logfile, data, LOGFILE_BYTES);
	setrlimit(RLIMIT_NOFILE, &old);
	cr_assert_eq(size_of("output.log"), -1);
	cr_assert_eq(size_of("output.log.1"), LOGFILE_BYTES);
	logfile_write(&logfile, "more", 4);
	cr_assert_eq(size_of("output.log"), 4);
	free(data);
}

/* A disk that is full loses what does not fit; the log works again when there is room. */
Test(supervisor_logfile, no_space)
{
	struct rlimit limit, old;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	limit = old;
	limit.rlim_cur = 5;
	setrlimit(RLIMIT_FSIZE, &limit);
	logfile_write(&logfile, "0123456789", 10);
	logfile_write(&logfile, "lost", 4);
	setrlimit(RLIMIT_FSIZE, &old);
	logfile_write(&logfile, "again", 5);
	expect_log("01234again");
}

Test(supervisor_logfile, one_that_is_not_open)
{
	logfile_close(&logfile);
	logfile_write(&logfile, "x", 1);
	logfile_close(&logfile);
	expect_log("");
}

static const char *tail(const char *text, unsigned long lines)
{
	return text + logfile_tail(text, strlen(text), lines);
}

Test(supervisor_logfile, tail)
{
	cr_assert_str_eq(tail("", 0), "");
	cr_assert_str_eq(tail("", 3), "");
	cr_assert_str_eq(tail("a\nb\nc\n", 0), "");
	cr_assert_str_eq(tail("a\nb\nc\n", 1), "c\n");
	cr_assert_str_eq(tail("a\nb\nc\n", 2), "b\nc\n");
	cr_assert_str_eq(tail("a\nb\nc\n", 3), "a\nb\nc\n");
	cr_assert_str_eq(tail("a\nb\nc\n", 99), "a\nb\nc\n");
	cr_assert_str_eq(tail("a\nb\nc", 1), "c");
	cr_assert_str_eq(tail("a\nb\nc", 2), "b\nc");
	cr_assert_str_eq(tail("\n\n\n", 2), "\n\n");
	cr_assert_str_eq(tail("\n", 1), "\n");
	cr_assert_str_eq(tail("a", (unsigned long)-1), "a");
}
