// SPDX-License-Identifier: Apache-2.0
#include "supervisor/agent.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct agent a;
static int guest;

static int connect_one(void)
{
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	agent_connect(&a, fds[0]);
	return fds[1];
}

static void setup(void)
{
	agent_init(&a);
	guest = connect_one();
}

static void teardown(void)
{
	agent_close(&a);
	close(guest);
}

TestSuite(agent, .init = setup, .fini = teardown, .timeout = 60);

static void send_bytes(const void *data, size_t len)
{
	cr_assert_eq(send(guest, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void send_frame(uint16_t type, const void *payload, uint32_t len)
{
	struct kvmbox_frame frame = { .type = type, .len = len };

	send_bytes(&frame, sizeof(frame));
	if (len)
		send_bytes(payload, len);
}

/* Let the host read all there is. */
static void digest(void)
{
	char byte;

	while (a.fd >= 0 && recv(a.fd, &byte, 1, MSG_PEEK) >= 0)
		agent_read(&a);
}

static bool is_closed(void)
{
	char byte;

	return a.fd < 0 && recv(guest, &byte, 1, 0) == 0;
}

Test(agent, life)
{
	struct kvmbox_hello hello = { .version = KVMBOX_AGENT_VERSION };
	struct kvmbox_started started = { 0 };
	struct kvmbox_exit end = { KVMBOX_EXIT_EXITED, 42 };

	send_frame(KVMBOX_FRAME_HELLO, &hello, sizeof(hello));
	digest();
	cr_assert(a.hello_ns && !a.started_ns && !a.exit_ns);
	send_frame(KVMBOX_FRAME_STARTED, &started, sizeof(started));
	digest();
	cr_assert(a.started_ns && a.started_ns >= a.hello_ns);
	send_frame(KVMBOX_FRAME_ERROR, "what went wrong", 15);
	send_frame(KVMBOX_FRAME_EXIT, &end, sizeof(end));
	digest();
	cr_assert(a.exit_ns && a.exit.kind == KVMBOX_EXIT_EXITED && a.exit.value == 42);
	cr_assert_str_eq(a.error, "what went wrong");
	cr_assert_geq(a.fd, 0);
	/* The first word counts. */
	uint64_t exit_ns = a.exit_ns;

	end.value = 0;
	send_frame(KVMBOX_FRAME_EXIT, &end, sizeof(end));
	digest();
	cr_assert(a.exit.value == 42 && a.exit_ns == exit_ns);
}

/* However the stream is cut. */
Test(agent, crumbs)
{
	uint8_t stream[200];
	struct kvmbox_frame hello = { KVMBOX_FRAME_HELLO, 0, sizeof(struct kvmbox_hello) };
	struct kvmbox_frame end = { KVMBOX_FRAME_EXIT, 0, sizeof(struct kvmbox_exit) };
	struct kvmbox_hello h = { .version = KVMBOX_AGENT_VERSION };
	struct kvmbox_exit e = { KVMBOX_EXIT_SIGNALED, 9 };
	size_t len = 0;

	memcpy(stream + len, &hello, sizeof(hello));
	len += sizeof(hello);
	memcpy(stream + len, &h, sizeof(h));
	len += sizeof(h);
	memcpy(stream + len, &end, sizeof(end));
	len += sizeof(end);
	memcpy(stream + len, &e, sizeof(e));
	len += sizeof(e);
	for (size_t i = 0; i < len; i++) {
		cr_assert_not(a.exit_ns);
		send_bytes(stream + i, 1);
		agent_read(&a);
	}
	cr_assert(a.hello_ns && a.exit_ns);
	cr_assert_eq(a.exit.value, 9);
}

/* Frames of the largest length, one after the other and in one go. */
Test(agent, large_frames)
{
	static uint8_t payload[KVMBOX_FRAME_MAX];
	struct kvmbox_exit end = { KVMBOX_EXIT_EXITED, 1 };

	/* One at a time, as a socket takes no more of them. */
	for (int i = 0; i < 20; i++) {
		send_frame(77, payload, sizeof(payload));
		digest();
	}
	memcpy(payload, &end, sizeof(end));
	send_frame(KVMBOX_FRAME_EXIT, payload, sizeof(payload));
	digest();
	cr_assert(a.exit_ns && a.exit.value == 1, "bytes past the structure are ignored");
	cr_assert_geq(a.fd, 0);
}

Test(agent, frames_that_are_too_long)
{
	static const uint32_t lens[] = { KVMBOX_FRAME_MAX + 1, 0x20000, 0x80000000, UINT32_MAX,
					 UINT32_MAX - 7 };

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		struct kvmbox_frame frame = { KVMBOX_FRAME_ERROR, 0, lens[i] };

		close(guest);
		agent_close(&a);
		agent_init(&a);
		guest = connect_one();
		send_bytes(&frame, sizeof(frame));
		digest();
		cr_assert(is_closed());
	}
}

Test(agent, frames_without_a_meaning)
{
	struct kvmbox_exit end = { KVMBOX_EXIT_EXITED, 3 };

	send_frame(0, NULL, 0);
	send_frame(5, "12345", 5);
	send_frame(0xffff, "12345", 5);
	send_frame(KVMBOX_FRAME_SIGNAL, "1234", 4);
	send_frame(KVMBOX_FRAME_SHUTDOWN, NULL, 0);
	digest();
	cr_assert(!a.hello_ns && !a.started_ns && !a.exit_ns && a.fd >= 0);
	/* Shorter than their structures. */
	send_frame(KVMBOX_FRAME_HELLO, "", 0);
	send_frame(KVMBOX_FRAME_HELLO, "123", 3);
	send_frame(KVMBOX_FRAME_EXIT, "1234567", 7);
	send_frame(KVMBOX_FRAME_EXIT, "", 0);
	digest();
	cr_assert(!a.hello_ns && !a.exit_ns && a.fd >= 0);
	send_frame(KVMBOX_FRAME_EXIT, &end, sizeof(end));
	digest();
	cr_assert(a.exit_ns && a.exit.value == 3);
}

static void expect_text(const char *sent, size_t len, const char *shown)
{
	send_frame(KVMBOX_FRAME_ERROR, sent, (uint32_t)len);
	digest();
	cr_assert_str_eq(a.error, shown);
}

/* The guest's words come to the user's terminal: nothing in them may steer it. */
Test(agent, texts)
{
	char most[KVMBOX_FRAME_MAX];

	expect_text("", 0, "");
	expect_text("\x1b]0;owned\a\x1b[2J", 14, " ]0;owned  [2J");
	expect_text("two\nlines\r\n", 11, "two lines  ");
	expect_text("a\0b\x7f", 4, "a b ");
	expect_text("na\xc3\xafve \xe2\x82\xac \xf0\x9f\x90\xa7", 15,
		    "na\xc3\xafve \xe2\x82\xac \xf0\x9f\x90\xa7");
	/* Control characters again, as UTF-8 has them, and what is no UTF-8. */
	expect_text("\xc2\x9b"
		    "31m",
		    5, "??31m");
	expect_text("\x9b"
		    "31m\x90",
		    5, "?31m?");
	expect_text("\xe0\x82\x9b|\xc0\x9b|\xf8\x88\x80\x80\x9b|\xc3", 14, "???|??|?????|?");
	expect_text("\xed\xa0\x80|\xf4\x90\x80\x80|\xe2\x82", 11, "???|????|??");
	memset(most, 'x', sizeof(most));
	send_frame(KVMBOX_FRAME_ERROR, most, sizeof(most));
	digest();
	cr_assert_eq(strlen(a.error), sizeof(a.error) - 1);
	/* Cut between characters. */
	for (size_t i = 0; i < sizeof(most); i++)
		most[i] = "\xe2\x82\xac"[i % 3];
	send_frame(KVMBOX_FRAME_ERROR, most, sizeof(most));
	digest();
	cr_assert_str_eq(a.error + strlen(a.error) - 3, "\xe2\x82\xac");
}

/* There is one agent: whoever comes second, or once more, is sent away. */
Test(agent, second_connections)
{
	struct kvmbox_hello hello = { .version = KVMBOX_AGENT_VERSION };
	int first = a.fd, second;
	char byte;

	second = connect_one();
	cr_assert_eq(a.fd, first);
	cr_assert_eq(recv(second, &byte, 1, 0), 0);
	close(second);
	send_frame(KVMBOX_FRAME_HELLO, &hello, sizeof(hello));
	digest();
	close(guest);
	digest();
	cr_assert_eq(a.fd, -1, "it has ended");
	guest = connect_one();
	cr_assert_eq(a.fd, -1);
	cr_assert_eq(recv(guest, &byte, 1, 0), 0);
}

Test(agent, commands)
{
	struct {
		struct kvmbox_frame frame;
		struct kvmbox_signal signal;
	} __attribute__((packed)) s;
	struct {
		struct kvmbox_frame frame;
		struct kvmbox_winsize size;
	} __attribute__((packed)) ws;
	struct kvmbox_frame down;

	agent_signal(&a, 15);
	agent_winsize(&a, 24, 80);
	agent_shutdown(&a);
	cr_assert_eq(recv(guest, &s, sizeof(s), 0), sizeof(s));
	cr_assert(s.frame.type == KVMBOX_FRAME_SIGNAL && s.frame.len == 4 && s.signal.signo == 15);
	cr_assert_eq(recv(guest, &ws, sizeof(ws), 0), sizeof(ws));
	cr_assert(ws.frame.type == KVMBOX_FRAME_WINSIZE && ws.frame.len == 8);
	cr_assert(ws.size.rows == 24 && ws.size.cols == 80);
	cr_assert_eq(recv(guest, &down, sizeof(down), 0), sizeof(down));
	cr_assert(down.type == KVMBOX_FRAME_SHUTDOWN && down.len == 0);
}

/* A guest that does not read holds up nobody, nor one that is gone. */
Test(agent, commands_that_nobody_reads)
{
	for (int i = 0; i < 100000; i++)
		agent_winsize(&a, 24, 80);
	close(guest);
	agent_signal(&a, 9);
	agent_read(&a);
	cr_assert_eq(a.fd, -1);
	agent_signal(&a, 9);
	agent_shutdown(&a);
	guest = -1;
}
