// SPDX-License-Identifier: Apache-2.0
#include "supervisor/terminal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define ESCAPE_KEY     0x1d /* Ctrl-] */
#define ESCAPE_COUNT   3
#define ESCAPE_TIME_NS 1000000000ull

static struct termios saved;
static bool is_raw;

bool terminal_present(void)
{
	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

void terminal_restore(void)
{
	if (is_raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
	is_raw = false;
}

int terminal_make_raw(void)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &saved))
		return -errno;
	raw = saved;
	cfmakeraw(&raw);
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw))
		return -errno;
	is_raw = true;
	atexit(terminal_restore);
	return 0;
}

bool terminal_size(uint32_t *rows, uint32_t *cols)
{
	struct winsize ws;

	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) || !ws.ws_row || !ws.ws_col)
		return false;
	*rows = ws.ws_row;
	*cols = ws.ws_col;
	return true;
}

bool terminal_escaped(struct terminal_escape *e, const uint8_t *typed, size_t len, uint64_t now_ns)
{
	for (size_t i = 0; i < len; i++) {
		if (typed[i] != ESCAPE_KEY) {
			e->count = 0;
			continue;
		}
		if (!e->count || now_ns - e->first_ns > ESCAPE_TIME_NS) {
			e->count = 0;
			e->first_ns = now_ns;
		}
		if (++e->count == ESCAPE_COUNT)
			return true;
	}
	return false;
}
