// SPDX-License-Identifier: Apache-2.0
#include "init/relay.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

static struct relay r;

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
}

TestSuite(guest_relay, .init = setup, .timeout = 60);

static void pipe_open(int fds[2])
{
	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
}

static void pair_open(int fds[2])
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* Moves what can be moved without waiting. Returns whether poll() found anything. */
static bool turn(struct relay *relay)
{
	struct pollfd p = relay_poll(relay);

	cr_assert_geq(poll(&p, 1, 0), 0);
	if (!p.revents)
		return false;
	relay_move(relay);
	return true;
}

static void turns(struct relay *relay)
{
	while (turn(relay))
		;
}

static void sends(int fd, const char *text)
{
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void reads(int fd, const char *text)
{
	char buf[64] = "";
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	cr_assert_eq(n, (ssize_t)strlen(text));
	cr_assert_str_eq(buf, text);
}

static void reads_end(int fd)
{
	char byte;

	cr_assert_eq(read(fd, &byte, 1), 0);
}

/* Over, with the ends that it was given closed. */
static void is_over(const struct relay *relay, int from, int to)
{
	cr_assert(relay_is_over(relay));
	cr_assert_eq(relay_poll(relay).fd, -1);
	cr_assert_not(is_open(from));
	cr_assert_not(is_open(to));
}

/* Standard output: a pipe to a socket. */
Test(guest_relay, pipe_to_socket)
{
	int from[2], to[2];

	pipe_open(from);
	pair_open(to);
	relay_init(&r, from[0], to[0]);
	cr_assert_not(turn(&r));
	sends(from[1], "hello");
	turns(&r);
	reads(to[1], "hello");
	sends(from[1], "again");
	turns(&r);
	reads(to[1], "again");
	cr_assert_not(relay_is_over(&r));

	sends(from[1], "last");
	close(from[1]);
	turns(&r);
	is_over(&r, from[0], to[0]);
	reads(to[1], "last");
	reads_end(to[1]);
}

/* Standard input: a socket, of which the host ends its half, to a pipe. */
Test(guest_relay, socket_to_pipe)
{
	int from[2], to[2];

	pair_open(from);
	pipe_open(to);
	relay_init(&r, from[0], to[1]);
	sends(from[1], "hello");
	turns(&r);
	reads(to[0], "hello");
	sends(from[1], "last");
	cr_assert_eq(shutdown(from[1], SHUT_WR), 0);
	turns(&r);
	is_over(&r, from[0], to[1]);
	reads(to[0], "last");
	reads_end(to[0]);
}

/*
 * As with a terminal, two relays share a socket. The end goes through it one
 * way while the descriptor of the other relay keeps it open for the other way.
 */
Test(guest_relay, both_ways)
{
	static struct relay out;
	int workload[2], host[2], workload_out, host_out;

	pair_open(workload);
	pair_open(host);
	workload_out = dup(workload[0]);
	host_out = dup(host[0]);
	relay_init(&r, host[0], workload[0]);
	relay_init(&out, workload_out, host_out);
	sends(host[1], "ping");
	sends(workload[1], "pong");
	turns(&r);
	turns(&out);
	reads(workload[1], "ping");
	reads(host[1], "pong");

	cr_assert_eq(shutdown(workload[1], SHUT_WR), 0);
	turns(&out);
	is_over(&out, workload_out, host_out);
	reads_end(host[1]);
	sends(host[1], "more");
	turns(&r);
	reads(workload[1], "more");

	cr_assert_eq(shutdown(host[1], SHUT_WR), 0);
	turns(&r);
	is_over(&r, host[0], workload[0]);
	reads_end(workload[1]);
}

/* The end of a pseudo terminal is an error. */
Test(guest_relay, terminal)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios mode;
	int slave, to[2];

	if (master < 0)
		cr_skip_test("there are no pseudo terminals here: %s", strerror(errno));
	cr_assert_eq(grantpt(master), 0);
	cr_assert_eq(unlockpt(master), 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	cr_assert_geq(slave, 0);
	cr_assert_eq(tcgetattr(slave, &mode), 0);
	cfmakeraw(&mode);
	cr_assert_eq(tcsetattr(slave, TCSANOW, &mode), 0);
	pair_open(to);
	relay_init(&r, master, to[0]);
	sends(slave, "hello");
	close(slave);
	turns(&r);
	is_over(&r, master, to[0]);
	reads(to[1], "hello");
	reads_end(to[1]);
}

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i % 251);
}

/*
 * A reader that stalls stalls the writer, with one buffer in between and
 * nothing for poll() to report; then all comes in order, and the end after it.
 */
Test(guest_relay, stalled_reader)
{
	size_t in = 0, out = 0, before;
	uint8_t buf[1000];
	int from[2], to[2];
	ssize_t n;

	pipe_open(from);
	pair_open(to);
	cr_assert_eq(fcntl(from[1], F_SETFL, O_NONBLOCK), 0);
	relay_init(&r, from[0], to[0]);
	do {
		before = in;
		for (;;) {
			for (size_t i = 0; i < sizeof(buf); i++)
				buf[i] = byte_at(in + i);
			n = write(from[1], buf, sizeof(buf));
			if (n < 0)
				break;
			in += (size_t)n;
			cr_assert_lt(in, 64u << 20, "there is no bound");
		}
		cr_assert_eq(errno, EAGAIN);
		turns(&r);
	} while (in != before);
	cr_assert_gt(r.len, 0);
	cr_assert_eq(relay_poll(&r).fd, to[0]);
	close(from[1]);
	cr_assert_not(turn(&r));
	cr_assert_not(relay_is_over(&r));

	while ((n = read(to[1], buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			cr_assert_eq(buf[i], byte_at(out + (size_t)i));
		out += (size_t)n;
		turns(&r);
	}
	cr_assert_eq(n, 0);
	cr_assert_eq(out, in);
	is_over(&r, from[0], to[0]);
}

/* The one reader's stall is not the other's. */
Test(guest_relay, stalled_beside)
{
	static struct relay other;
	static const uint8_t zeros[4096];
	int from[2][2], to[2][2];

	for (int i = 0; i < 2; i++) {
		pipe_open(from[i]);
		pipe_open(to[i]);
	}
	cr_assert_eq(fcntl(from[0][1], F_SETFL, O_NONBLOCK), 0);
	relay_init(&r, from[0][0], to[0][1]);
	relay_init(&other, from[1][0], to[1][1]);
	while (write(from[0][1], zeros, sizeof(zeros)) > 0)
		turns(&r);
	cr_assert_gt(r.len, 0);
	sends(from[1][1], "hello");
	turns(&other);
	reads(to[1][0], "hello");
}

/* The reader goes; the next byte finds out, and the writer sees it. */
static void closed_reader(void (*to_open)(int fds[2]))
{
	int from[2], to[2];

	pipe_open(from);
	to_open(to);
	relay_init(&r, from[0], to[1]);
	close(to[0]);
	sends(from[1], "hello");
	turns(&r);
	is_over(&r, from[0], to[1]);
	cr_assert_eq(write(from[1], "x", 1), -1);
	cr_assert_eq(errno, EPIPE);
}

Test(guest_relay, closed_pipe)
{
	closed_reader(pipe_open);
}

Test(guest_relay, closed_socket)
{
	closed_reader(pair_open);
}

/* The reader stalls, then goes, with bytes waiting for it. */
Test(guest_relay, closed_after_stall)
{
	static const uint8_t zeros[4096];
	int from[2], to[2];

	pipe_open(from);
	pipe_open(to);
	cr_assert_eq(fcntl(from[1], F_SETFL, O_NONBLOCK), 0);
	relay_init(&r, from[0], to[1]);
	while (write(from[1], zeros, sizeof(zeros)) > 0)
		turns(&r);
	cr_assert_gt(r.len, 0);
	cr_assert_not(relay_is_over(&r));
	close(to[0]);
	turns(&r);
	is_over(&r, from[0], to[1]);
	cr_assert_eq(write(from[1], "x", 1), -1);
	cr_assert_eq(errno, EPIPE);
}

/* An input without end does not keep the others from their turn. */
Test(guest_relay, endless)
{
	int from = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	int to = open("/dev/null", O_WRONLY | O_CLOEXEC);

	cr_assert_geq(from, 0);
	cr_assert_geq(to, 0);
	relay_init(&r, from, to);
	relay_move(&r);
	cr_assert_not(relay_is_over(&r));
	relay_deinit(&r);
	is_over(&r, from, to);
}

Test(guest_relay, half)
{
	int fds[2];

	pipe_open(fds);
	relay_init(&r, fds[0], -1);
	is_over(&r, fds[0], -1);
	relay_init(&r, -1, fds[1]);
	is_over(&r, -1, fds[1]);
	relay_init(&r, -1, -1);
	is_over(&r, -1, -1);
	relay_deinit(&r);
	cr_assert(relay_is_over(&r));
}
