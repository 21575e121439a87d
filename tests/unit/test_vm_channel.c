// SPDX-License-Identifier: Apache-2.0
#include "vm/channel.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int pair[2];

static void setup(void)
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static void teardown(void)
{
	for (int i = 0; i < 2; i++)
		if (pair[i] >= 0)
			close(pair[i]);
}

TestSuite(channel, .init = setup, .fini = teardown, .timeout = 60);

/* Descriptors open in this process. */
static unsigned int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	cr_assert_not_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

Test(channel, messages)
{
	struct message in = { .type = MESSAGE_ENDED, .value = 42, .stats = { .exits = 7 } }, out;
	int fd = 5;

	strcpy(in.text, "a text");
	cr_assert_eq(channel_send(pair[0], &in, -1), 0);
	in.value = 43;
	cr_assert_eq(channel_send(pair[0], &in, -1), 0);
	for (uint64_t i = 42; i < 44; i++) {
		cr_assert_eq(channel_receive(pair[1], &out, &fd), 1);
		cr_assert(out.type == MESSAGE_ENDED && out.value == i && out.stats.exits == 7);
		cr_assert_str_eq(out.text, "a text");
		cr_assert_eq(fd, -1);
	}
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
	cr_assert_eq(channel_receive(pair[1], &out, &fd), -EAGAIN);
	close(pair[0]);
	pair[0] = -1;
	cr_assert_eq(channel_receive(pair[1], &out, &fd), 0);
	cr_assert_eq(channel_send(pair[1], &out, -1), -EPIPE);
}

Test(channel, descriptors)
{
	struct message msg = { .type = MESSAGE_CONNECT };
	int pipe_fds[2], fd;
	char byte;

	cr_assert_eq(pipe(pipe_fds), 0);
	cr_assert_eq(channel_send(pair[0], &msg, pipe_fds[1]), 0);
	close(pipe_fds[1]);
	cr_assert_eq(channel_receive(pair[1], &msg, &fd), 1);
	cr_assert_geq(fd, 0);
	cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	cr_assert_eq(write(fd, "x", 1), 1);
	cr_assert_eq(read(pipe_fds[0], &byte, 1), 1);
	close(fd);
	close(pipe_fds[0]);
}

Test(channel, limits)
{
	struct message msg = { .type = MESSAGE_NET_LIMITS };

	cr_assert(channel_limits_ok(&msg));
	msg.limits[1].ops = (struct bucket_spec){ 1, 1, 1, 0 };
	cr_assert(channel_limits_ok(&msg));
	/* Numbers that would overflow, or be divided by. */
	msg.limits[1].ops.refill_ms = 0;
	cr_assert_not(channel_limits_ok(&msg));
	msg.limits[1].ops = (struct bucket_spec){ 1, UINT64_MAX, 1, 0 };
	cr_assert_not(channel_limits_ok(&msg));
	msg.limits[1].ops = (struct bucket_spec){ 0 };
	msg.limits[0].bytes = (struct bucket_spec){ 1, 1, UINT64_MAX, 0 };
	cr_assert_not(channel_limits_ok(&msg));
}

/* What a peer that has been taken over sends instead. */
static void send_raw(const void *data, size_t len, unsigned int nfds)
{
	enum { MOST = 16 };
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(MOST * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)data, len };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fds[MOST];

	cr_assert_leq(nfds, MOST);
	for (unsigned int i = 0; i < MOST; i++)
		fds[i] = pair[0];
	if (nfds) {
		hdr.msg_control = control.buf;
		hdr.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&hdr);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	cr_assert_eq(sendmsg(pair[0], &hdr, 0), (ssize_t)len);
}

Test(channel, messages_of_the_wrong_length)
{
	static const char bytes[sizeof(struct message) + 100];
	static const size_t lens[] = { 1, 4, sizeof(struct message) - 1 };
	unsigned int before = count_fds();
	struct message msg;
	int fd;

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		send_raw(bytes, lens[i], 1);
		cr_assert_eq(channel_receive(pair[1], &msg, &fd), -EPROTO);
		cr_assert_eq(fd, -1);
	}
	cr_assert_eq(count_fds(), before, "what came with them was closed");
	/* The rest of one that is too long is not taken for another. */
	send_raw(bytes, sizeof(bytes), 0);
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
	channel_receive(pair[1], &msg, &fd);
	cr_assert_eq(channel_receive(pair[1], &msg, &fd), -EAGAIN);
}

/* One descriptor comes with a message; more are nobody's, and must not pile up here. */
Test(channel, too_many_descriptors)
{
	struct message msg = { .type = MESSAGE_CONNECT };
	unsigned int before = count_fds();
	int fd;

	for (unsigned int n = 1; n <= 16; n++) {
		send_raw(&msg, sizeof(msg), n);
		cr_assert_eq(channel_receive(pair[1], &msg, &fd), 1);
		cr_assert_geq(fd, 0);
		close(fd);
		cr_assert_eq(count_fds(), before, "%u were sent", n);
	}
}

Test(channel, text_without_an_end)
{
	struct message msg = { .type = MESSAGE_ENDED };
	int fd;

	memset(msg.text, 'x', sizeof(msg.text));
	send_raw(&msg, sizeof(msg), 0);
	cr_assert_eq(channel_receive(pair[1], &msg, &fd), 1);
	cr_assert_eq(strnlen(msg.text, sizeof(msg.text)), sizeof(msg.text) - 1);
}

/* Whoever never waits can rely on what it was promised, however slowly the peer reads. */
Test(channel, never_wait)
{
	struct message msg = { .type = MESSAGE_DIAL }, out;
	unsigned int rounds = 0, under_way = 0;
	int fd;

	channel_never_wait(pair[0]);
	cr_assert(channel_has_room(pair[0]));
	while (rounds < 10) {
		if (channel_has_room(pair[0])) {
			for (int i = 0; i < CHANNEL_BURST; i++)
				cr_assert_eq(channel_send(pair[0], &msg, STDERR_FILENO), 0);
			under_way += CHANNEL_BURST;
			rounds++;
		}
		cr_assert_gt(under_way, 0);
		cr_assert_eq(channel_receive(pair[1], &out, &fd), 1);
		close(fd);
		under_way--;
	}
	while (channel_has_room(pair[0]))
		cr_assert_eq(channel_send(pair[0], &msg, -1), 0);
	cr_assert_eq(channel_receive(pair[0], &out, &fd), -EAGAIN);
	close(pair[1]);
	pair[1] = -1;
	cr_assert(channel_has_room(pair[0]), "a peer that is gone is not waited for");
}

Test(channel, full)
{
	struct message msg = { .type = MESSAGE_CONNECT };
	int ret;

	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	while (!(ret = channel_send(pair[0], &msg, -1)))
		;
	cr_assert_eq(ret, -EAGAIN);
}
