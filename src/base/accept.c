// SPDX-License-Identifier: Apache-2.0
#include "base/accept.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_spare(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

void acceptor_init(struct acceptor *a, int listen_fd)
{
	*a = (struct acceptor){ .fd = listen_fd, .spare = open_spare() };
}

void acceptor_deinit(struct acceptor *a)
{
	if (a->fd >= 0)
		close(a->fd);
	if (a->spare >= 0)
		close(a->spare);
	*a = (struct acceptor){ .fd = -1, .spare = -1 };
}

int acceptor_take(struct acceptor *a)
{
	int fd = accept4(a->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0 || (errno != EMFILE && errno != ENFILE))
		return fd;
	if (a->spare >= 0)
		close(a->spare);
	fd = accept4(a->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		close(fd);
	a->spare = open_spare();
	return -1;
}
