// SPDX-License-Identifier: Apache-2.0
#include "supervisor/terminal.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define KEY   "\x1d"
#define MS(n) ((n)*1000000ull)

static struct terminal_escape e;

static bool type(const char *keys, uint64_t ms)
{
	return terminal_escaped(&e, (const uint8_t *)keys, strlen(keys), MS(ms) + 1);
}

Test(terminal, escape)
{
	cr_assert_not(type(KEY, 0));
	cr_assert_not(type(KEY, 300));
	cr_assert(type(KEY, 900));
}

Test(terminal, escape_at_once)
{
	cr_assert(type(KEY KEY KEY, 5));
}

Test(terminal, escape_behind_other_keys)
{
	cr_assert_not(type("abc" KEY, 0));
	cr_assert(type(KEY KEY "abc", 10));
}

Test(terminal, interrupted)
{
	cr_assert_not(type(KEY KEY "x" KEY, 0));
	cr_assert_not(type("x", 1));
	cr_assert_not(type(KEY KEY, 2));
	cr_assert(type(KEY, 3));
}

Test(terminal, too_slow)
{
	for (uint64_t ms = 0; ms < 60000; ms += 600)
		cr_assert_not(type(KEY, ms), "at %llu", (unsigned long long)ms);
}

Test(terminal, nothing_typed)
{
	cr_assert_not(type("", 0));
	cr_assert_not(type(KEY KEY, 0));
	cr_assert_not(type("", 1));
	cr_assert(type(KEY, 2));
}

/* Make a pseudo terminal our standard input. */
static int take_terminal(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	cr_assert(master >= 0 && !grantpt(master) && !unlockpt(master));
	int fd = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);

	cr_assert_geq(fd, 0);
	cr_assert_eq(dup2(fd, STDIN_FILENO), STDIN_FILENO);
	close(fd);
	return master;
}

Test(terminal, raw_and_back)
{
	struct termios before, raw, after;
	int master = take_terminal();

	cr_assert_eq(tcgetattr(STDIN_FILENO, &before), 0);
	cr_assert(before.c_lflag & (ICANON | ECHO | ISIG));
	terminal_restore();
	cr_assert_eq(terminal_make_raw(), 0);
	cr_assert_eq(tcgetattr(STDIN_FILENO, &raw), 0);
	cr_assert_not(raw.c_lflag & (ICANON | ECHO | ISIG));
	terminal_restore();
	cr_assert_eq(tcgetattr(STDIN_FILENO, &after), 0);
	cr_assert(after.c_lflag == before.c_lflag && after.c_iflag == before.c_iflag &&
		  after.c_oflag == before.c_oflag);
	terminal_restore();
	close(master);
}

Test(terminal, size)
{
	struct winsize ws = { .ws_row = 50, .ws_col = 132 }, none = { 0 };
	uint32_t rows = 1, cols = 2;
	int master = take_terminal();

	cr_assert_eq(ioctl(master, TIOCSWINSZ, &none), 0);
	cr_assert_not(terminal_size(&rows, &cols));
	cr_assert(rows == 1 && cols == 2);
	cr_assert_eq(ioctl(master, TIOCSWINSZ, &ws), 0);
	cr_assert(terminal_size(&rows, &cols));
	cr_assert(rows == 50 && cols == 132);
	close(master);
}

Test(terminal, not_there)
{
	uint32_t rows, cols;
	int fd = open("/dev/null", O_RDONLY);

	dup2(fd, STDIN_FILENO);
	cr_assert_not(terminal_present());
	cr_assert_neq(terminal_make_raw(), 0);
	cr_assert_not(terminal_size(&rows, &cols));
	terminal_restore();
}
