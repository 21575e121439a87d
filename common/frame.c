// SPDX-License-Identifier: Apache-2.0
#include "common/frame.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Waits for fd. Returns 0, -ETIMEDOUT or another negative errno. */
static int fd_wait(int fd, short events, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	int ret = poll(&p, 1, timeout_ms);

	if (ret < 0 && errno != EINTR)
		return -errno;
	return ret == 0 ? -ETIMEDOUT : 0;
}

int frame_send2(int fd, int timeout_ms, uint16_t type, const void *head, size_t head_len,
		const void *body, size_t body_len)
{
	struct kvmbox_frame frame = { .type = type };
	struct iovec parts[3] = {
		{ .iov_base = &frame, .iov_len = sizeof(frame) },
		{ .iov_base = (void *)head, .iov_len = head_len },
		{ .iov_base = (void *)body, .iov_len = body_len },
	};
	int first = 0;

	if (head_len > KVMBOX_FRAME_MAX || body_len > KVMBOX_FRAME_MAX - head_len)
		return -EMSGSIZE;
	frame.len = (uint32_t)(head_len + body_len);
	while (first < 3) {
		ssize_t n = writev(fd, parts + first, 3 - first);
		int ret = 0;

		if (n < 0 && errno == EAGAIN)
			ret = fd_wait(fd, POLLOUT, timeout_ms);
		else if (n < 0 && errno != EINTR)
			ret = -errno;
		if (ret < 0)
			return ret;
		for (size_t done = n < 0 ? 0 : (size_t)n; first < 3; first++) {
			struct iovec *part = &parts[first];

			if (done < part->iov_len) {
				part->iov_base = (char *)part->iov_base + done;
				part->iov_len -= done;
				break;
			}
			done -= part->iov_len;
		}
	}
	return 0;
}

static int read_whole(int fd, int timeout_ms, void *buf, size_t len)
{
	char *next = buf;

	while (len) {
		ssize_t n = read(fd, next, len);
		int ret = 0;

		if (n == 0)
			return -ENOTCONN;
		if (n < 0 && errno == EAGAIN)
			ret = fd_wait(fd, POLLIN, timeout_ms);
		else if (n < 0 && errno != EINTR)
			ret = -errno;
		if (ret < 0)
			return ret;
		if (n > 0) {
			next += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

int frame_receive(int fd, int timeout_ms, struct kvmbox_frame *frame, void *buf, size_t size)
{
	int ret = read_whole(fd, timeout_ms, frame, sizeof(*frame));

	if (ret < 0)
		return ret;
	if (frame->len > KVMBOX_FRAME_MAX)
		return -EPROTO;
	if (frame->len > size)
		return -EMSGSIZE;
	return read_whole(fd, timeout_ms, buf, frame->len);
}

ssize_t frame_fill(struct frame_reader *r, int fd)
{
	ssize_t n;

	memmove(r->buf, r->buf + r->off, r->len);
	r->off = 0;
	do
		n = recv(fd, r->buf + r->len, sizeof(r->buf) - r->len, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	r->len += (size_t)n;
	return n;
}

int frame_next(struct frame_reader *r, struct kvmbox_frame *frame, const uint8_t **payload)
{
	const uint8_t *here = r->buf + r->off;

	if (r->len < sizeof(*frame))
		return 0;
	memcpy(frame, here, sizeof(*frame));
	if (frame->len > KVMBOX_FRAME_MAX)
		return -EPROTO;
	if (r->len < sizeof(*frame) + frame->len)
		return 0;
	*payload = here + sizeof(*frame);
	r->off += sizeof(*frame) + frame->len;
	r->len -= sizeof(*frame) + frame->len;
	return 1;
}

char *frame_string(char **next, size_t *left)
{
	char *string = *next;
	char *end = *left ? memchr(string, '\0', *left) : NULL;

	if (!end)
		return NULL;
	*left -= (size_t)(end + 1 - string);
	*next = end + 1;
	return string;
}
