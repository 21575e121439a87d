// SPDX-License-Identifier: Apache-2.0
#include "supervisor/relay.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct relay r;
static int from[2], to[2]; /* socket pairs; the relay has the first of each */

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, from), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, to), 0);
	relay_init(&r, from[0], to[0]);
}

static void teardown(void)
{
	for (int i = 0; i < 2; i++) {
		close(from[i]);
		close(to[i]);
	}
}

TestSuite(relay, .init = setup, .fini = teardown, .timeout = 60);

/* One turn, without waiting. Returns the bytes read. */
static size_t turn(void)
{
	struct pollfd p[2];

	relay_prepare(&r, &p[0], &p[1]);
	cr_assert_geq(poll(p, 2, 0), 0);
	return relay_run(&r, &p[0], &p[1]);
}

static void turns(void)
{
	for (int i = 0; i < 20; i++)
		turn();
}

Test(relay, passes_bytes_on)
{
	char buf[64] = "";

	cr_assert_eq(write(from[1], "hello", 5), 5);
	cr_assert_eq(turn(), 5);
	cr_assert_eq(memcmp(r.buf + r.head, "hello", 5), 0, "for whoever wants to see them");
	cr_assert_eq(turn(), 0);
	cr_assert_eq(read(to[1], buf, sizeof(buf)), 5);
	cr_assert_str_eq(buf, "hello");
	cr_assert_not(r.ended);
}

/* A reader that stalls stalls the writer, with no more than one buffer in between. */
Test(relay, bounded)
{
	char buf[65536];
	size_t in = 0, out = 0;
	ssize_t n;

	memset(buf, 'x', sizeof(buf));
	while ((n = write(to[0], buf, sizeof(buf))) > 0)
		out += (size_t)n;
	for (int i = 0; i < 100; i++) {
		n = write(from[1], buf, sizeof(buf));
		in += n > 0 ? (size_t)n : 0;
		turns();
	}
	cr_assert_lt(in, 4u << 20);
	cr_assert_leq(r.len, RELAY_BUFFER);
	while (in + out) {
		n = read(to[1], buf, sizeof(buf));
		if (n > 0) {
			size_t fill = (size_t)n < out ? (size_t)n : out;

			out -= fill;
			in -= (size_t)n - fill;
		}
		turn();
	}
	cr_assert_not(r.ended);
}

/* The end comes after the last byte, as a half-close. */
Test(relay, end_of_input)
{
	char buf[64];

	cr_assert_eq(write(from[1], "bye", 3), 3);
	shutdown(from[1], SHUT_WR);
	turns();
	cr_assert(r.ended);
	cr_assert_eq(read(to[1], buf, sizeof(buf)), 3);
	cr_assert_eq(read(to[1], buf, sizeof(buf)), 0);
	cr_assert_eq(write(to[1], "x", 1), 1, "the other direction is open");
	turns();
	cr_assert_eq(read(from[1], buf, sizeof(buf)), -1);
}

/* The end does not overtake what could not be written yet. */
Test(relay, end_of_input_behind_a_full_output)
{
	static char buf[65536];
	size_t out = 0;
	ssize_t n;
	int last = 0;

	while ((n = write(to[0], buf, sizeof(buf))) > 0)
		out += (size_t)n;
	memset(buf, 'x', 3);
	cr_assert_eq(write(from[1], buf, 3), 3);
	shutdown(from[1], SHUT_WR);
	turns();
	cr_assert_not(r.ended);
	while ((n = read(to[1], buf, sizeof(buf))) != 0) {
		if (n > 0) {
			out -= (size_t)n < out ? (size_t)n : out;
			last = buf[n - 1];
		}
		turns();
	}
	cr_assert(r.ended);
	cr_assert_eq(last, 'x');
}

Test(relay, reader_gone)
{
	char buf[16];

	close(to[1]);
	to[1] = -1;
	cr_assert_eq(write(from[1], "hello", 5), 5);
	turns();
	cr_assert(r.ended);
	/* The writer hears of it, as of a closed pipe. */
	cr_assert_eq(send(from[1], "x", 1, MSG_NOSIGNAL), -1);
	turns();
	cr_assert_eq(read(from[1], buf, sizeof(buf)), -1);
}

Test(relay, nothing_to_read_from)
{
	struct pollfd p[2];

	relay_init(&r, -1, -1);
	cr_assert(r.ended);
	relay_prepare(&r, &p[0], &p[1]);
	cr_assert(p[0].fd == -1 && p[1].fd == -1);
	cr_assert_eq(relay_run(&r, &p[0], &p[1]), 0);
}

/* To a pipe, whose end nobody can half-close: the relay itself is over all the same. */
Test(relay, pipe_output)
{
	int fds[2];
	char buf[64];

	cr_assert_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	relay_init(&r, from[0], fds[1]);
	cr_assert_eq(write(from[1], "abc", 3), 3);
	shutdown(from[1], SHUT_WR);
	turns();
	cr_assert(r.ended);
	cr_assert_eq(read(fds[0], buf, sizeof(buf)), 3);
	close(fds[0]);
	close(fds[1]);
}
