// SPDX-License-Identifier: Apache-2.0
#include "init/link.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define UNKNOWN_TYPE 999

static struct control c;
static int host; /* the other end of c.fd; blocks */
static const void *payload;

static void setup(void)
{
	int pair[2];

	signal(SIGPIPE, SIG_IGN);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	cr_assert_eq(fcntl(pair[1], F_SETFL, 0), 0);
	c.fd = pair[0];
	host = pair[1];
}

static void teardown(void)
{
	close(c.fd);
	close(host);
}

TestSuite(guest_link, .init = setup, .fini = teardown, .timeout = 60);

static void host_sends(const void *data, size_t len)
{
	cr_assert_eq(write(host, data, len), (ssize_t)len);
}

static void host_reads(void *data, size_t len)
{
	cr_assert_eq(recv(host, data, len, MSG_WAITALL), (ssize_t)len);
}

/* Appends a frame to the *len bytes in buf. */
static void frame_put(uint8_t *buf, size_t *len, uint16_t type, const void *data, size_t data_len)
{
	struct kvmbox_frame frame = { .type = type, .len = (uint32_t)data_len };

	memcpy(buf + *len, &frame, sizeof(frame));
	if (data_len)
		memcpy(buf + *len + sizeof(frame), data, data_len);
	*len += sizeof(frame) + data_len;
}

/* The next frame is there and is this one. */
static void receives(uint16_t type, const void *data, size_t len)
{
	cr_assert_eq(control_receive(&c, &payload), 1);
	cr_assert_eq(c.frame.type, type);
	cr_assert_eq(c.frame.len, len);
	if (len)
		cr_assert_eq(memcmp(payload, data, len), 0);
}

static void receives_nothing(int ret)
{
	cr_assert_eq(control_receive(&c, &payload), ret);
}

Test(guest_link, whole)
{
	struct kvmbox_signal s = { .signo = 15 };
	uint8_t buf[64];
	size_t len = 0;

	receives_nothing(0);
	frame_put(buf, &len, KVMBOX_FRAME_SIGNAL, &s, sizeof(s));
	host_sends(buf, len);
	receives(KVMBOX_FRAME_SIGNAL, &s, sizeof(s));
	receives_nothing(0);
	receives_nothing(0);
	len = 0;
	frame_put(buf, &len, KVMBOX_FRAME_SHUTDOWN, NULL, 0);
	host_sends(buf, len);
	receives(KVMBOX_FRAME_SHUTDOWN, NULL, 0);
	receives_nothing(0);
}

/*
 * Three frames come in two pieces, cut at every place there is. Of a type that
 * is not known and of what is longer or shorter than the structure of its type
 * nothing is lost, so that the caller can skip just that.
 */
Test(guest_link, split)
{
	struct kvmbox_winsize w[2] = { { 24, 80 }, { 7, 9 } };
	uint8_t buf[128];
	size_t len = 0;

	frame_put(buf, &len, KVMBOX_FRAME_WINSIZE, w, sizeof(w));
	frame_put(buf, &len, UNKNOWN_TYPE, "what", 4);
	frame_put(buf, &len, KVMBOX_FRAME_SIGNAL, "\x0f", 1);
	for (size_t cut = 0; cut <= len; cut++) {
		int frames = 0;

		for (int half = 0; half < 2; half++) {
			if (half)
				host_sends(buf + cut, len - cut);
			else
				host_sends(buf, cut);
			while (control_receive(&c, &payload) == 1) {
				const void *data[] = { w, "what", "\x0f" };
				uint16_t type[] = { KVMBOX_FRAME_WINSIZE, UNKNOWN_TYPE,
						    KVMBOX_FRAME_SIGNAL };
				size_t data_len[] = { sizeof(w), 4, 1 };

				cr_assert_lt(frames, 3);
				cr_assert_eq(c.frame.type, type[frames], "cut at %zu", cut);
				cr_assert_eq(c.frame.len, data_len[frames], "cut at %zu", cut);
				cr_assert_eq(memcmp(payload, data[frames], data_len[frames]), 0,
					     "cut at %zu", cut);
				frames++;
			}
		}
		cr_assert_eq(frames, 3, "cut at %zu", cut);
	}
}

/* What a longer frame has left in the buffer is not taken for a part of the next. */
Test(guest_link, byte_by_byte)
{
	static uint8_t data[KVMBOX_FRAME_MAX];
	static uint8_t buf[sizeof(struct kvmbox_frame) + sizeof(data)];
	size_t len = 0;

	memset(data, 0xff, sizeof(data));
	frame_put(buf, &len, UNKNOWN_TYPE, data, sizeof(data));
	host_sends(buf, len);
	receives(UNKNOWN_TYPE, data, sizeof(data));
	len = 0;
	frame_put(buf, &len, KVMBOX_FRAME_SIGNAL, data, 255);
	for (size_t i = 0; i < len; i++) {
		receives_nothing(0);
		host_sends(buf + i, 1);
	}
	receives(KVMBOX_FRAME_SIGNAL, data, 255);
	receives_nothing(0);
}

/* More at once than the buffer holds, frames of the greatest length among them. */
Test(guest_link, several_at_once)
{
	static uint8_t data[KVMBOX_FRAME_MAX];
	static uint8_t buf[4 * (sizeof(struct kvmbox_frame) + KVMBOX_FRAME_MAX)];
	size_t len = 0;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i % 251);
	frame_put(buf, &len, KVMBOX_FRAME_SIGNAL, "abcd", 4);
	frame_put(buf, &len, UNKNOWN_TYPE, data, sizeof(data));
	frame_put(buf, &len, KVMBOX_FRAME_SHUTDOWN, NULL, 0);
	frame_put(buf, &len, UNKNOWN_TYPE + 1, data, sizeof(data));
	frame_put(buf, &len, KVMBOX_FRAME_WINSIZE, data, sizeof(data) - 1);
	frame_put(buf, &len, KVMBOX_FRAME_SIGNAL, "efgh", 4);
	host_sends(buf, len);
	receives(KVMBOX_FRAME_SIGNAL, "abcd", 4);
	receives(UNKNOWN_TYPE, data, sizeof(data));
	receives(KVMBOX_FRAME_SHUTDOWN, NULL, 0);
	receives(UNKNOWN_TYPE + 1, data, sizeof(data));
	receives(KVMBOX_FRAME_WINSIZE, data, sizeof(data) - 1);
	receives(KVMBOX_FRAME_SIGNAL, "efgh", 4);
	receives_nothing(0);
}

/* Ends the stream as soon as the header is there, after the frames before it, for good. */
static void too_long(uint32_t frame_len)
{
	struct kvmbox_frame frame = { .type = KVMBOX_FRAME_SIGNAL, .len = frame_len };
	uint8_t buf[64];
	size_t len = 0;

	frame_put(buf, &len, KVMBOX_FRAME_SIGNAL, "abcd", 4);
	host_sends(buf, len);
	host_sends(&frame, sizeof(frame));
	receives(KVMBOX_FRAME_SIGNAL, "abcd", 4);
	receives_nothing(-EPROTO);
	host_sends(buf, len);
	receives_nothing(-EPROTO);
}

Test(guest_link, too_long_by_one)
{
	too_long(KVMBOX_FRAME_MAX + 1);
}

Test(guest_link, too_long_by_far)
{
	too_long(UINT32_MAX);
}

Test(guest_link, end_of_stream)
{
	uint8_t buf[64];
	size_t len = 0;

	frame_put(buf, &len, KVMBOX_FRAME_SIGNAL, "abcd", 4);
	host_sends(buf, len);
	cr_assert_eq(shutdown(host, SHUT_WR), 0);
	receives(KVMBOX_FRAME_SIGNAL, "abcd", 4);
	receives_nothing(-ENOTCONN);
	receives_nothing(-ENOTCONN);
}

Test(guest_link, end_of_stream_in_header)
{
	host_sends("\x80", 1);
	cr_assert_eq(shutdown(host, SHUT_WR), 0);
	receives_nothing(-ENOTCONN);
}

Test(guest_link, end_of_stream_in_payload)
{
	uint8_t buf[64];
	size_t len = 0;

	frame_put(buf, &len, KVMBOX_FRAME_SIGNAL, "abcd", 4);
	host_sends(buf, len - 1);
	cr_assert_eq(shutdown(host, SHUT_WR), 0);
	receives_nothing(-ENOTCONN);
}

/* The host goes with bytes unread, which the socket says with an error. */
Test(guest_link, reset)
{
	cr_assert_eq(control_send(&c, KVMBOX_FRAME_ERROR, "x", 1), 0);
	close(host);
	host = -1;
	cr_assert_lt(control_receive(&c, &payload), 0);
	cr_assert_eq(control_send(&c, KVMBOX_FRAME_ERROR, "x", 1), -EPIPE);
}

Test(guest_link, send)
{
	struct kvmbox_exit out = { KVMBOX_EXIT_SIGNALED, 9 }, in;
	struct kvmbox_frame frame;

	cr_assert_eq(control_send(&c, KVMBOX_FRAME_EXIT, &out, sizeof(out)), 0);
	host_reads(&frame, sizeof(frame));
	cr_assert_eq(frame.type, KVMBOX_FRAME_EXIT);
	cr_assert_eq(frame.flags, 0);
	cr_assert_eq(frame.len, sizeof(out));
	host_reads(&in, sizeof(in));
	cr_assert_eq(memcmp(&in, &out, sizeof(in)), 0);

	cr_assert_eq(control_send(&c, KVMBOX_FRAME_ERROR, NULL, 0), 0);
	host_reads(&frame, sizeof(frame));
	cr_assert_eq(frame.type, KVMBOX_FRAME_ERROR);
	cr_assert_eq(frame.len, 0);
}

Test(guest_link, send_too_long)
{
	static uint8_t data[KVMBOX_FRAME_MAX + 1];
	uint8_t byte;

	cr_assert_eq(control_send(&c, KVMBOX_FRAME_ERROR, data, sizeof(data)), -EMSGSIZE);
	cr_assert_eq(recv(host, &byte, 1, MSG_DONTWAIT), -1, "nothing was sent");
	cr_assert_eq(control_send(&c, KVMBOX_FRAME_ERROR, data, sizeof(data) - 1), 0);
}

Test(guest_link, send_unconnected)
{
	struct control none = { .fd = -1 };

	cr_assert_eq(control_send(&none, KVMBOX_FRAME_ERROR, "x", 1), -ENOTCONN);
	control_linger(&none);
}

#define SENT_FRAMES 100

struct reader {
	FILE *in;
	int good; /* frames that were as they should be */
};

static void *reader_run(void *arg)
{
	struct reader *reader = arg;
	uint8_t data[KVMBOX_FRAME_MAX], want[KVMBOX_FRAME_MAX];
	struct kvmbox_frame frame;

	while (fread(&frame, sizeof(frame), 1, reader->in) == 1 && frame.type == UNKNOWN_TYPE &&
	       frame.len == sizeof(data) && fread(data, sizeof(data), 1, reader->in) == 1) {
		memset(want, reader->good, sizeof(want));
		if (memcmp(data, want, sizeof(data)))
			break;
		reader->good++;
	}
	fclose(reader->in);
	return NULL;
}

/* A pipe of a page has not room for one whole frame. */
Test(guest_link, send_waits_for_room)
{
	uint8_t data[KVMBOX_FRAME_MAX];
	struct reader reader = { 0 };
	struct control out = { 0 };
	pthread_t thread;
	int fds[2];

	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	cr_assert_eq(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
	cr_assert_eq(fcntl(fds[1], F_SETPIPE_SZ, 4096), 4096);
	out.fd = fds[1];
	reader.in = fdopen(fds[0], "r");
	cr_assert_not_null(reader.in);
	cr_assert_eq(pthread_create(&thread, NULL, reader_run, &reader), 0);
	for (int i = 0; i < SENT_FRAMES; i++) {
		memset(data, i, sizeof(data));
		cr_assert_eq(control_send(&out, UNKNOWN_TYPE, data, sizeof(data)), 0);
	}
	close(fds[1]);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert_eq(reader.good, SENT_FRAMES);
}

/* Whatever the host still sends is dropped, frame or not. */
Test(guest_link, linger)
{
	static uint8_t data[3 * KVMBOX_FRAME_MAX];

	memset(data, 0xff, sizeof(data));
	host_sends(data, sizeof(data));
	cr_assert_eq(shutdown(host, SHUT_WR), 0);
	control_linger(&c);
	receives_nothing(-ENOTCONN);
}

Test(guest_link, finish)
{
	cr_assert_eq(link_finish(c.fd), 0);
	cr_assert_eq(fcntl(c.fd, F_GETFD), FD_CLOEXEC, "it stays open");
}
