// SPDX-License-Identifier: Apache-2.0
#include "init/link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define SEND_TIMEOUT_MS 10000
#define BACKLOG         128

static int connect_to(int fd, const struct sockaddr_vm *addr)
{
	int ret = connect(fd, (const struct sockaddr *)addr, sizeof(*addr));

	return ret < 0 && errno == EINPROGRESS ? 0 : ret;
}

static int listen_at(int fd, const struct sockaddr_vm *addr)
{
	int ret = bind(fd, (const struct sockaddr *)addr, sizeof(*addr));

	return ret < 0 ? ret : listen(fd, BACKLOG);
}

/* A socket that begin() has made something of, non-blocking, or a negative errno. */
static int link_open(uint32_t cid, uint32_t port,
		     int (*begin)(int fd, const struct sockaddr_vm *addr))
{
	const struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK,
		.svm_cid = cid,
		.svm_port = port,
	};
	int err;
	int fd;

	fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (begin(fd, &addr) < 0) {
		err = errno;
		close(fd);
		return -err;
	}
	return fd;
}

int link_start(uint32_t port)
{
	return link_open(KVMBOX_HOST_CID, port, connect_to);
}

int link_finish(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	socklen_t len = sizeof(int);
	int err = 0;

	while (poll(&p, 1, -1) < 0)
		if (errno != EINTR)
			return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return -errno;
	return -err;
}

int link_listen(uint32_t port)
{
	return link_open(VMADDR_CID_ANY, port, listen_at);
}

int link_accept(int listener)
{
	struct sockaddr_vm peer = { 0 };
	socklen_t len = sizeof(peer);
	int fd = accept4(listener, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS))
		return -ENOMEM;
	if (fd < 0)
		return -errno;
	if (peer.svm_family != AF_VSOCK || peer.svm_cid != KVMBOX_HOST_CID) {
		close(fd);
		return -EPERM;
	}
	return fd;
}

int control_send(struct control *c, uint16_t type, const void *payload, size_t len)
{
	if (c->fd < 0)
		return -ENOTCONN;
	return frame_send(c->fd, SEND_TIMEOUT_MS, type, payload, len);
}

int control_receive(struct control *c, const void **payload)
{
	for (;;) {
		const uint8_t *bytes;
		int ret = frame_next(&c->reader, &c->frame, &bytes);
		ssize_t n;

		if (ret) {
			*payload = ret > 0 ? bytes : NULL;
			return ret;
		}
		n = frame_fill(&c->reader, c->fd);
		if (n <= 0)
			return n == 0 ? -ENOTCONN : n == -EAGAIN ? 0 : (int)n;
	}
}

void control_linger(struct control *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };

	if (c->fd < 0)
		return;
	for (;;) {
		if (poll(&p, 1, -1) <= 0)
			continue;
		ssize_t n = read(c->fd, c->reader.buf, sizeof(c->reader.buf));

		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return;
	}
}
