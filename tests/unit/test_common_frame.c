// SPDX-License-Identifier: Apache-2.0
#include "common/frame.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int ours;
static int theirs;
static struct kvmbox_frame frame;
static char buf[KVMBOX_FRAME_MAX];

static void setup(void)
{
	int pair[2];

	signal(SIGPIPE, SIG_IGN);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ours = pair[0];
	theirs = pair[1];
}

TestSuite(common_frame, .init = setup, .timeout = 60);

static void theirs_sends(const void *data, size_t len)
{
	cr_assert_eq(write(theirs, data, len), (ssize_t)len);
}

Test(common_frame, whole_and_no_more)
{
	cr_assert_eq(frame_send2(theirs, -1, 7, "ab", 2, "cde", 3), 0);
	cr_assert_eq(frame_send(theirs, -1, 8, NULL, 0), 0);
	theirs_sends("tail", 4);
	cr_assert_eq(frame_receive(ours, -1, &frame, buf, sizeof(buf)), 0);
	cr_assert_eq(frame.type, 7);
	cr_assert_eq(frame.len, 5);
	cr_assert_eq(memcmp(buf, "abcde", 5), 0);
	cr_assert_eq(frame_receive(ours, -1, &frame, buf, 0), 0);
	cr_assert_eq(frame.type, 8);
	cr_assert_eq(frame.len, 0);
	cr_assert_eq(read(ours, buf, sizeof(buf)), 4);
	cr_assert_eq(memcmp(buf, "tail", 4), 0);
}

Test(common_frame, too_long)
{
	frame.len = KVMBOX_FRAME_MAX + 1;
	theirs_sends(&frame, sizeof(frame));
	cr_assert_eq(frame_receive(ours, -1, &frame, buf, sizeof(buf)), -EPROTO);
	frame.len = UINT32_MAX;
	theirs_sends(&frame, sizeof(frame));
	cr_assert_eq(frame_receive(ours, -1, &frame, buf, sizeof(buf)), -EPROTO);
	frame.len = 5;
	theirs_sends(&frame, sizeof(frame));
	cr_assert_eq(frame_receive(ours, -1, &frame, buf, 4), -EMSGSIZE);
	cr_assert_eq(frame_send2(ours, -1, 1, buf, 1, buf, KVMBOX_FRAME_MAX), -EMSGSIZE);
	cr_assert_eq(frame_send2(ours, -1, 1, buf, SIZE_MAX, buf, SIZE_MAX), -EMSGSIZE);
	cr_assert_eq(recv(theirs, buf, 1, MSG_DONTWAIT), -1, "nothing was sent");
}

Test(common_frame, end_of_stream)
{
	frame.len = 4;
	theirs_sends(&frame, sizeof(frame));
	theirs_sends("abc", 3);
	close(theirs);
	cr_assert_eq(frame_receive(ours, -1, &frame, buf, sizeof(buf)), -ENOTCONN);
	cr_assert_eq(frame_receive(ours, -1, &frame, buf, sizeof(buf)), -ENOTCONN);
	cr_assert_eq(frame_send(ours, -1, 1, NULL, 0), -EPIPE);
}

Test(common_frame, timeout)
{
	int ret;

	cr_assert_eq(fcntl(ours, F_SETFL, O_NONBLOCK), 0);
	cr_assert_eq(frame_receive(ours, 10, &frame, buf, sizeof(buf)), -ETIMEDOUT);
	theirs_sends("abc", 3);
	cr_assert_eq(frame_receive(ours, 10, &frame, buf, sizeof(buf)), -ETIMEDOUT);
	while ((ret = frame_send(ours, 10, 1, buf, sizeof(buf))) == 0)
		;
	cr_assert_eq(ret, -ETIMEDOUT);
}

#define FRAMES 200

static void *send_all(void *arg)
{
	static char data[KVMBOX_FRAME_MAX];

	for (int i = 0; i < FRAMES; i++) {
		memset(data, i, sizeof(data));
		if (frame_send2(*(int *)arg, -1, (uint16_t)i, data, 3, data, sizeof(data) - 3))
			return arg;
	}
	return NULL;
}

/* Many more bytes than the socket holds, which is waited for. */
Test(common_frame, many)
{
	pthread_t thread;
	void *failed;

	cr_assert_eq(fcntl(ours, F_SETFL, O_NONBLOCK), 0);
	cr_assert_eq(pthread_create(&thread, NULL, send_all, &ours), 0);
	for (int i = 0; i < FRAMES; i++) {
		cr_assert_eq(frame_receive(theirs, -1, &frame, buf, sizeof(buf)), 0);
		cr_assert_eq(frame.type, i);
		cr_assert_eq(frame.len, sizeof(buf));
		for (size_t k = 0; k < sizeof(buf); k++)
			cr_assert_eq((uint8_t)buf[k], i);
	}
	cr_assert_eq(pthread_join(thread, &failed), 0);
	cr_assert_null(failed);
}

Test(common_frame, strings)
{
	char text[] = "one\0\0three\0cut";
	char *next = text;
	size_t left = sizeof(text) - 1;

	cr_assert_str_eq(frame_string(&next, &left), "one");
	cr_assert_str_eq(frame_string(&next, &left), "");
	cr_assert_str_eq(frame_string(&next, &left), "three");
	cr_assert_eq(left, 3);
	cr_assert_null(frame_string(&next, &left));
	left = 0;
	cr_assert_null(frame_string(&next, &left));
}
