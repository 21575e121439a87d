// SPDX-License-Identifier: Apache-2.0
#include "cli/session.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "kvmbox/agent.h"

/* The session is a child of ours, and we are the agent and all who hold its standard streams. */
static int agent, in, out, err;
static pid_t child;

#define FAILED 200 /* the child's status for a negative errno */

static struct session start_with = { .name = "web" };

static void start(void)
{
	int pair[2], pin[2], pout[2], perr[2];

	cr_assert(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair) && !pipe(pin) && !pipe(pout) &&
		  !pipe(perr));
	child = fork();
	if (!child) {
		struct session s = start_with;
		struct error e;

		close(pair[0]);
		close(pin[1]);
		close(pout[0]);
		close(perr[0]);
		s.fd = pair[1];
		s.in = s.in < 0 ? -1 : s.terminal ? STDIN_FILENO : pin[0];
		s.out = pout[1];
		s.err = perr[1];
		int ret = session_run(&s, &e);

		_exit(ret < 0 ? FAILED : ret);
	}
	close(pair[1]);
	close(pin[0]);
	close(pout[1]);
	close(perr[1]);
	agent = pair[0];
	in = pin[1];
	out = pout[0];
	err = perr[0];
}

static int status(void)
{
	int st;

	cr_assert_eq(waitpid(child, &st, 0), child);
	cr_assert(WIFEXITED(st), "ended with %#x", (unsigned int)st);
	return WEXITSTATUS(st);
}

static void give(uint16_t type, const void *payload, size_t len)
{
	struct kvmbox_frame frame = { .type = type, .len = (uint32_t)len };

	cr_assert_eq(send(agent, &frame, sizeof(frame), MSG_NOSIGNAL), (ssize_t)sizeof(frame));
	if (len)
		cr_assert_eq(send(agent, payload, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void give_data(uint32_t stream, const void *bytes, size_t len)
{
	uint8_t payload[KVMBOX_FRAME_MAX];

	memcpy(payload, &stream, sizeof(stream));
	if (len)
		memcpy(payload + sizeof(stream), bytes, len);
	give(KVMBOX_FRAME_DATA, payload, sizeof(stream) + len);
}

static void give_exit(uint32_t kind, uint32_t value)
{
	struct kvmbox_exit e = { .kind = kind, .value = value };

	give(KVMBOX_FRAME_EXIT, &e, sizeof(e));
}

static void read_whole(int fd, void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = read(fd, (char *)buf + done, len - done);

		cr_assert_gt(n, 0);
		done += (size_t)n;
	}
}

static uint8_t got[KVMBOX_FRAME_MAX + 1];

/* Await a frame of this type. Returns the length of its payload, which is in got. */
static size_t await(uint16_t type)
{
	struct kvmbox_frame frame;

	read_whole(agent, &frame, sizeof(frame));
	cr_assert_eq(frame.type, type, "type %u and not %u", frame.type, type);
	cr_assert_leq(frame.len, KVMBOX_FRAME_MAX);
	read_whole(agent, got, frame.len);
	got[frame.len] = '\0';
	return frame.len;
}

/* Likewise one of standard input; its bytes are at got + 4, and their number is returned. */
static size_t await_input(void)
{
	struct kvmbox_data data;
	size_t len = await(KVMBOX_FRAME_DATA);

	cr_assert_geq(len, sizeof(data));
	memcpy(&data, got, sizeof(data));
	cr_assert_eq(data.stream, KVMBOX_STREAM_IN);
	return len - sizeof(data);
}

static bool is_quiet(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 150) == 0;
}

TestSuite(session, .timeout = 30);

Test(session, output_and_status)
{
	char text[8] = "";

	start();
	give(KVMBOX_FRAME_STARTED, "12345678", 8);
	give_data(KVMBOX_STREAM_OUT, "out", 3);
	give_data(KVMBOX_STREAM_ERR, "err", 3);
	read_whole(out, text, 3);
	cr_assert_str_eq(text, "out");
	read_whole(err, text, 3);
	cr_assert_str_eq(text, "err");
	give_exit(KVMBOX_EXIT_EXITED, 7);
	cr_assert_eq(status(), 7);
}

Test(session, statuses)
{
	static const struct {
		uint32_t kind, value;
		int status;
	} cases[] = {
		{ KVMBOX_EXIT_EXITED, 0, 0 },       { KVMBOX_EXIT_EXITED, 127, 127 },
		{ KVMBOX_EXIT_SIGNALED, 9, 137 },   { KVMBOX_EXIT_NOT_STARTED, ENOENT, 125 },
		{ KVMBOX_EXIT_EXITED, 0x1ff, 255 }, { 77, 0, 125 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		start();
		give_exit(cases[i].kind, cases[i].value);
		cr_assert_eq(status(), cases[i].status);
	}
}

/* All output there was is written before the end, however slow its reader. */
Test(session, much_output)
{
	static uint8_t bytes[60000], read_back[60000];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	start();
	pid_t writer = fork();

	if (!writer) {
		for (int i = 0; i < 20; i++)
			give_data(KVMBOX_STREAM_OUT, bytes, sizeof(bytes));
		give_exit(KVMBOX_EXIT_EXITED, 3);
		_exit(0);
	}
	close(agent);
	for (int i = 0; i < 20; i++) {
		usleep(2000);
		read_whole(out, read_back, sizeof(read_back));
		cr_assert_eq(memcmp(bytes, read_back, sizeof(bytes)), 0);
	}
	cr_assert_eq(status(), 3);
	waitpid(writer, NULL, 0);
}

/* Input stops one short of the window, goes on with ROOM, and its end is passed on once. */
Test(session, input_window)
{
	static char much[3 * KVMBOX_STDIN_WINDOW];
	size_t total = 0, allowed = KVMBOX_STDIN_WINDOW - 1;

	memset(much, 'x', sizeof(much));
	start();
	pid_t writer = fork();

	if (!writer)
		_exit(write(in, much, sizeof(much)) != (ssize_t)sizeof(much));
	close(in);
	while (total < allowed)
		total += await_input();
	cr_assert_eq(total, allowed);
	cr_assert(is_quiet(agent));
	while (total < sizeof(much)) {
		struct kvmbox_room room = { .bytes = 1000 };

		/* What it may send comes in as many parts as the writer wrote. */
		give(KVMBOX_FRAME_ROOM, &room, sizeof(room));
		allowed += room.bytes;
		total += await_input();
		cr_assert_leq(total, allowed);
	}
	cr_assert_eq(total, sizeof(much));
	struct kvmbox_room room = { .bytes = 1000 };

	give(KVMBOX_FRAME_ROOM, &room, sizeof(room));
	cr_assert_eq(await_input(), 0);
	cr_assert(is_quiet(agent));
	give_exit(KVMBOX_EXIT_EXITED, 0);
	cr_assert_eq(status(), 0);
	waitpid(writer, NULL, 0);
}

/* A peer that gives back more than it took gets no more than the window at once. */
Test(session, room_that_never_was)
{
	static char much[3 * KVMBOX_STDIN_WINDOW];
	struct kvmbox_room room = { .bytes = UINT32_MAX / 4 };
	size_t total = 0;

	start();
	give(KVMBOX_FRAME_ROOM, &room, sizeof(room));
	give(KVMBOX_FRAME_ROOM, &room, sizeof(room));
	give_data(KVMBOX_STREAM_OUT, ".", 1);
	read_whole(out, got, 1);
	pid_t writer = fork();

	if (!writer)
		_exit(write(in, much, sizeof(much)) != (ssize_t)sizeof(much));
	while (!is_quiet(agent))
		total += await_input();
	cr_assert_leq(total, KVMBOX_STDIN_WINDOW);
	kill(writer, SIGKILL);
	give_exit(KVMBOX_EXIT_EXITED, 0);
	cr_assert_eq(status(), 0);
	waitpid(writer, NULL, 0);
}

Test(session, no_input)
{
	start_with.in = -1;
	start();
	cr_assert_eq(write(in, "hello", 5), 5);
	close(in);
	cr_assert(is_quiet(agent));
	give_exit(KVMBOX_EXIT_EXITED, 0);
	cr_assert_eq(status(), 0);
}

Test(session, signals)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct kvmbox_signal sig;

		start();
		give_data(KVMBOX_STREAM_OUT, ".", 1);
		read_whole(out, got, 1);
		kill(child, signals[i]);
		cr_assert_eq(await(KVMBOX_FRAME_SIGNAL), sizeof(sig));
		memcpy(&sig, got, sizeof(sig));
		cr_assert_eq(sig.signo, (uint32_t)signals[i]);
		give_exit(KVMBOX_EXIT_SIGNALED, sig.signo);
		cr_assert_eq(status(), 128 + signals[i]);
	}
}

/* A peer that does nothing about them does not keep us for ever. */
Test(session, signals_in_vain)
{
	start();
	give_data(KVMBOX_STREAM_OUT, ".", 1);
	read_whole(out, got, 1);
	for (int i = 0; i < 3; i++) {
		kill(child, SIGINT);
		await(KVMBOX_FRAME_SIGNAL);
	}
	kill(child, SIGINT);
	cr_assert_eq(status(), 128 + SIGINT);
}

Test(session, nobody_reads_output)
{
	start();
	close(out);
	give_data(KVMBOX_STREAM_OUT, "y\n", 2);
	cr_assert_eq(status(), 128 + SIGPIPE);
}

Test(session, nobody_reads_errors)
{
	start();
	close(err);
	give_data(KVMBOX_STREAM_ERR, "y\n", 2);
	give_data(KVMBOX_STREAM_ERR, "y\n", 2);
	give_data(KVMBOX_STREAM_OUT, "z", 1);
	read_whole(out, got, 1);
	cr_assert_eq(got[0], 'z');
	give_exit(KVMBOX_EXIT_EXITED, 1);
	cr_assert_eq(status(), 1);
}

Test(session, connection_lost)
{
	start();
	give_data(KVMBOX_STREAM_OUT, "last words", 10);
	close(agent);
	read_whole(out, got, 10);
	cr_assert_eq(status(), FAILED);
}

/* What makes no sense is skipped; a frame too long ends it. */
Test(session, hostile_frames)
{
	struct kvmbox_exit e = { .kind = KVMBOX_EXIT_EXITED, .value = 5 };
	static const uint8_t exits[] = {
		KVMBOX_FRAME_EXIT, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, /* and another */
		KVMBOX_FRAME_EXIT, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0,
	};
	struct kvmbox_frame long_one = { .type = KVMBOX_FRAME_DATA, .len = KVMBOX_FRAME_MAX + 1 };

	start();
	give_data(KVMBOX_STREAM_IN, "no", 2);
	give_data(3, "no", 2);
	give_data(UINT32_MAX, "no", 2);
	give(KVMBOX_FRAME_DATA, "ab", 2);
	give(KVMBOX_FRAME_DATA, NULL, 0);
	give(KVMBOX_FRAME_ROOM, "a", 1);
	give(KVMBOX_FRAME_EXIT, &e, sizeof(e) - 1);
	give(KVMBOX_FRAME_HELLO, "xxxxxxxx", 8);
	give(0, NULL, 0);
	give(UINT16_MAX, got, KVMBOX_FRAME_MAX);
	give_data(KVMBOX_STREAM_ERR, NULL, 0);
	give_data(KVMBOX_STREAM_ERR, "after its end", 13);
	give_data(KVMBOX_STREAM_OUT, "yes", 3);
	read_whole(out, got, 3);
	got[3] = '\0';
	cr_assert_str_eq((char *)got, "yes");
	cr_assert(is_quiet(out));
	cr_assert(is_quiet(err));
	cr_assert_eq(send(agent, exits, sizeof(exits), MSG_NOSIGNAL), (ssize_t)sizeof(exits));
	cr_assert_eq(status(), 5);

	start();
	cr_assert_eq(send(agent, &long_one, sizeof(long_one), 0), (ssize_t)sizeof(long_one));
	cr_assert_eq(status(), FAILED);
}

/* The sentence of an ERROR cannot steer the terminal. */
Test(session, hostile_error)
{
	char text[200];
	int messages[2];

	cr_assert_eq(pipe(messages), 0);
	dup2(messages[1], STDERR_FILENO);
	start();
	close(messages[1]);
	close(STDERR_FILENO);
	give(KVMBOX_FRAME_ERROR,
	     "no \033]0;title\007\xc2\x9b"
	     "2J\xff",
	     18);
	give_exit(KVMBOX_EXIT_EXITED, 127);
	cr_assert_eq(status(), 127);
	ssize_t n = read(messages[0], text, sizeof(text) - 1);

	cr_assert_gt(n, 0);
	text[n] = '\0';
	cr_assert_eq(strncmp(text, "kvmbox: no  ]0;title ", 21), 0, "%s", text);
	for (ssize_t i = 0; i < n - 1; i++)
		cr_assert(text[i] >= 0x20 && text[i] < 0x7f);
}

/* Frames in pieces. */
Test(session, byte_by_byte)
{
	static const uint8_t bytes[] = {
		192, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 0, 'h', 'i',       /* DATA */
		3,   0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9,   0,   0, 0, /* EXIT */
	};

	start();
	for (size_t i = 0; i < sizeof(bytes); i++) {
		cr_assert_eq(send(agent, bytes + i, 1, MSG_NOSIGNAL), 1);
		usleep(500);
	}
	read_whole(out, got, 2);
	cr_assert_eq(memcmp(got, "hi", 2), 0);
	cr_assert_eq(status(), 9);
}

/* ---- with a terminal ---- */

/* Make a pseudo terminal our standard input, and the session's. Returns its other side. */
static int start_on_terminal(void)
{
	struct winsize ws = { .ws_row = 40, .ws_col = 100 };
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	cr_assert(master >= 0 && !grantpt(master) && !unlockpt(master));
	cr_assert_eq(ioctl(master, TIOCSWINSZ, &ws), 0);
	int fd = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);

	cr_assert_eq(dup2(fd, STDIN_FILENO), STDIN_FILENO);
	close(fd);
	start_with.terminal = true;
	start();
	return master;
}

static void await_size(uint32_t rows, uint32_t cols)
{
	struct kvmbox_winsize size;

	cr_assert_eq(await(KVMBOX_FRAME_WINSIZE), sizeof(size));
	memcpy(&size, got, sizeof(size));
	cr_assert(size.rows == rows && size.cols == cols, "%u x %u", size.rows, size.cols);
}

static void assert_not_raw(void)
{
	struct termios now;

	cr_assert_eq(tcgetattr(STDIN_FILENO, &now), 0);
	cr_assert(now.c_lflag & ICANON);
	cr_assert(now.c_lflag & ECHO);
}

Test(session, terminal)
{
	struct winsize ws = { .ws_row = 50, .ws_col = 132 };
	struct termios now;
	int master = start_on_terminal();

	await_size(40, 100);
	cr_assert_eq(tcgetattr(STDIN_FILENO, &now), 0);
	cr_assert_not(now.c_lflag & (ICANON | ECHO | ISIG));
	cr_assert_eq(write(master, "\x03", 1), 1);
	cr_assert_eq(await_input(), 1);
	cr_assert_eq(got[4], 3);
	cr_assert_eq(ioctl(master, TIOCSWINSZ, &ws), 0);
	kill(child, SIGWINCH);
	await_size(50, 132);
	give_exit(KVMBOX_EXIT_EXITED, 4);
	cr_assert_eq(status(), 4);
	assert_not_raw();
}

/* A signal from elsewhere ends it, and the terminal is as before. */
Test(session, terminal_after_signal)
{
	start_on_terminal();
	await_size(40, 100);
	kill(child, SIGTERM);
	cr_assert_eq(status(), 128 + SIGTERM);
	assert_not_raw();
}

Test(session, terminal_after_lost_connection)
{
	start_on_terminal();
	await_size(40, 100);
	close(agent);
	cr_assert_eq(status(), FAILED);
	assert_not_raw();
}

Test(session, detach)
{
	start_with.detach_keys = true;
	int master = start_on_terminal();

	await_size(40, 100);
	/* Each alone, or in another order, is for the guest. */
	cr_assert_eq(write(master, "\x11", 1), 1);
	cr_assert_eq(await_input(), 1);
	cr_assert_eq(write(master, "\x10", 1), 1);
	cr_assert(is_quiet(agent));
	cr_assert_eq(write(master, "a", 1), 1);
	cr_assert_eq(await_input(), 2);
	cr_assert_eq(memcmp(got + 4,
			    "\x10"
			    "a",
			    2),
		     0);
	cr_assert_eq(write(master, "\x10\x10", 2), 2);
	cr_assert_eq(await_input(), 1);
	cr_assert_eq(write(master, "\x11", 1), 1);
	cr_assert_eq(status(), 0);
	assert_not_raw();
}

/* The other side has to begin in time, and may then be silent as long as it likes. */
Test(session, nobody_begins)
{
	start_with.patience_ms = 200;
	start();
	cr_assert_eq(status(), FAILED);
	start();
	give(KVMBOX_FRAME_STARTED, "12345678", 8);
	usleep(400000);
	give_exit(KVMBOX_EXIT_EXITED, 5);
	cr_assert_eq(status(), 5);
}
