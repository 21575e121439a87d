// SPDX-License-Identifier: Apache-2.0
#include "vm/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEND_BUFFER (208 << 10) /* the most that may be asked for, by default */

int channel_send(int sock, const struct message *msg, int fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)msg, sizeof(*msg) };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		hdr.msg_control = control.buf;
		hdr.msg_controllen = sizeof(control.buf);
		struct cmsghdr *c = CMSG_FIRSTHDR(&hdr);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	ssize_t n;
	do {
		n = sendmsg(sock, &hdr, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

void channel_never_wait(int sock)
{
	int room = SEND_BUFFER;

	fcntl(sock, F_SETFL, O_NONBLOCK);
	setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
}

bool channel_has_room(int sock)
{
	struct pollfd p = { .fd = sock, .events = POLLOUT };

	/* The kernel says so while less than a quarter of the buffer is taken. */
	return poll(&p, 1, 0) == 1;
}

bool channel_limits_ok(const struct message *msg)
{
	for (size_t i = 0; i < sizeof(msg->limits) / sizeof(msg->limits[0]); i++)
		if (!bucket_spec_ok(&msg->limits[i].bytes) || !bucket_spec_ok(&msg->limits[i].ops))
			return false;
	return true;
}

int channel_receive(int sock, struct message *msg, int *fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { msg, sizeof(*msg) };
	struct msghdr hdr = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.buf,
			      /* Less than the buffer, whose padding has room for a second one. */
			      .msg_controllen = CMSG_LEN(sizeof(int)) };
	ssize_t n;

	*fd = -1;
	do {
		n = recvmsg(sock, &hdr, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&hdr); c; c = CMSG_NXTHDR(&hdr, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			memcpy(fd, CMSG_DATA(c), sizeof(int));
	if (n == 0)
		return 0;
	if ((size_t)n != sizeof(*msg)) {
		if (*fd >= 0)
			close(*fd);
		*fd = -1;
		return -EPROTO;
	}
	msg->text[sizeof(msg->text) - 1] = '\0';
	return 1;
}
