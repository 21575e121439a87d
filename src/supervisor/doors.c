// SPDX-License-Identifier: Apache-2.0
#include "supervisor/doors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/accept.h"
#include "base/cleanup.h"
#include "config/words.h"
#include "kvmbox/agent.h"

#define CALLERS_MAX 16 /* that have not said yet which port they want */
#define LINE_MAX    32 /* "CONNECT 4294967295\n" and some more */

#define DOORS_MAX (CONFIG_FORWARDS_MAX + 1)

/* Who has come to vsock.sock; the first in the table has waited longest. */
struct caller {
	int fd;
	char line[LINE_MAX];
	size_t len;
};

struct door {
	struct acceptor acceptor;
	struct sockaddr_un address;
	const char *guest; /* what it leads to, as FORWARD has it; NULL: vsock.sock */
};

struct doors {
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path)];
	doors_dial_fn *dial;
	void *ctx;
	int epoll_fd;
	struct door doors[DOORS_MAX];
	unsigned int ndoors;
	struct caller callers[CALLERS_MAX];
	unsigned int ncallers;
};

static int address_set(struct sockaddr_un *address, const char *dir, const char *path)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	int n = path[0] == '/' ? snprintf(address->sun_path, sizeof(address->sun_path), "%s", path)
			       : snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s",
					  dir, path);

	return n < (int)sizeof(address->sun_path) ? 0 : -ENAMETOOLONG;
}

/* Whether nobody listens at the socket that is there, so that it may go. */
static bool is_deserted(const struct sockaddr_un *address)
{
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	return fd >= 0 && !lstat(address->sun_path, &st) && S_ISSOCK(st.st_mode) &&
	       connect(fd, (const struct sockaddr *)address, sizeof(*address)) &&
	       errno == ECONNREFUSED;
}

static int bind_at(int fd, const struct sockaddr_un *address)
{
	return bind(fd, (const struct sockaddr *)address, sizeof(*address)) ? -errno : 0;
}

static int door_open(struct doors *d, const char *path, const char *guest, struct error *err)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = d->ndoors };
	struct sockaddr_un address;
	int ret = address_set(&address, d->dir, path);

	if (ret)
		return error_set(err, -ret,
				 "the socket %s has too long a path: 107 bytes are the most",
				 word_show(path).text);
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return error_set(err, errno, "cannot make a socket: %s", strerror(errno));
	ret = bind_at(fd, &address);
	if (ret == -EADDRINUSE && is_deserted(&address)) {
		unlink(address.sun_path);
		ret = bind_at(fd, &address);
	}
	if (ret)
		return error_set(err, -ret, "cannot make the socket %s: %s",
				 word_show(address.sun_path).text, strerror(-ret));
	chmod(address.sun_path, 0600);
	if (listen(fd, SOMAXCONN) || epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, fd, &ev)) {
		ret = error_set(err, errno, "cannot listen at the socket %s: %s",
				word_show(address.sun_path).text, strerror(errno));
		unlink(address.sun_path);
		return ret;
	}
	struct door *door = &d->doors[d->ndoors++];

	*door = (struct door){ .address = address, .guest = guest };
	acceptor_init(&door->acceptor, steal_fd(&fd));
	return 0;
}

int doors_new(const char *dir, const struct forward_config *forwards, size_t nforwards,
	      doors_dial_fn *dial, void *ctx, struct doors **out, struct error *err)
{
	struct doors *d = calloc(1, sizeof(*d));

	if (!d)
		return error_set(err, ENOMEM, "out of memory");
	d->dial = dial;
	d->ctx = ctx;
	snprintf(d->dir, sizeof(d->dir), "%s", dir);
	d->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	int ret = d->epoll_fd < 0 ? error_set(err, errno, "cannot poll: %s", strerror(errno)) : 0;

	if (!ret)
		ret = door_open(d, "vsock.sock", NULL, err);
	for (size_t i = 0; i < nforwards && !ret; i++)
		ret = door_open(d, forwards[i].path, forwards[i].guest, err);
	if (ret) {
		doors_free(d);
		return ret;
	}
	*out = d;
	return 0;
}

void doors_free(struct doors *d)
{
	if (!d)
		return;
	for (unsigned int i = 0; i < d->ndoors; i++) {
		acceptor_deinit(&d->doors[i].acceptor);
		unlink(d->doors[i].address.sun_path);
	}
	for (unsigned int i = 0; i < d->ncallers; i++)
		close(d->callers[i].fd);
	if (d->epoll_fd >= 0)
		close(d->epoll_fd);
	free(d);
}

int doors_fd(const struct doors *d)
{
	return d->epoll_fd;
}

/* Forget the caller; the socket is somebody else's by now. */
static void caller_remove(struct doors *d, unsigned int i)
{
	d->ncallers--;
	memmove(&d->callers[i], &d->callers[i + 1], (d->ncallers - i) * sizeof(d->callers[0]));
}

static void caller_add(struct doors *d, int fd)
{
	/* Its number in the table changes: it is known by its descriptor. */
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = DOORS_MAX + (uint32_t)fd };

	if (d->ncallers == CALLERS_MAX) {
		close(d->callers[0].fd);
		caller_remove(d, 0);
	}
	if (epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, fd, &ev)) {
		close(fd);
		return;
	}
	d->callers[d->ncallers++] = (struct caller){ .fd = fd };
}

static void door_answer(struct doors *d, struct door *door)
{
	int fd = acceptor_take(&door->acceptor);

	if (fd < 0)
		return;
	if (!door->guest) {
		caller_add(d, fd);
		return;
	}
	struct {
		struct kvmbox_frame frame;
		char address[CONFIG_FORWARD_MAX];
	} request = { .frame = { .type = KVMBOX_FRAME_FORWARD,
				 .len = (uint32_t)strlen(door->guest) } };

	memcpy(request.address, door->guest, request.frame.len);
	d->dial(d->ctx, KVMBOX_PORT_AGENT, fd, &request, sizeof(request.frame) + request.frame.len,
		false);
}

/* "CONNECT PORT\n"; false for anything else. */
static bool line_parse(char *line, uint32_t *port)
{
	unsigned long long value;
	char *end;

	if (strncmp(line, "CONNECT ", 8) != 0 || line[8] < '0' || line[8] > '9')
		return false;
	errno = 0;
	value = strtoull(line + 8, &end, 10);
	if (errno || *end != '\n' || value > UINT32_MAX)
		return false;
	*port = (uint32_t)value;
	return true;
}

static void caller_read(struct doors *d, unsigned int i)
{
	struct caller *c = &d->callers[i];
	uint32_t port;
	char *end = NULL;

	/* Byte by byte: what comes after the line is for the guest, and stays in the socket. */
	while (!end) {
		ssize_t n = recv(c->fd, c->line + c->len, 1, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0)
			break;
		if (c->line[c->len++] == '\n')
			end = c->line + c->len;
		else if (c->len == LINE_MAX - 1)
			break;
	}
	int fd = c->fd;
	bool good = end && line_parse(c->line, &port);

	caller_remove(d, i);
	if (!good) {
		close(fd);
		return;
	}
	epoll_ctl(d->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	d->dial(d->ctx, port, fd, NULL, 0, true);
}

void doors_run(struct doors *d)
{
	struct epoll_event events[16];
	int n = epoll_wait(d->epoll_fd, events, 16, 0);

	for (int i = 0; i < n; i++) {
		uint32_t what = events[i].data.u32;

		if (what < DOORS_MAX) {
			door_answer(d, &d->doors[what]);
			continue;
		}
		for (unsigned int k = 0; k < d->ncallers; k++) {
			if (d->callers[k].fd == (int)(what - DOORS_MAX)) {
				caller_read(d, k);
				break;
			}
		}
	}
}

int doors_connect(const struct doors *d, uint32_t port)
{
	struct sockaddr_un address;
	char name[32];

	snprintf(name, sizeof(name), "vsock.sock_%u", port);
	if (address_set(&address, d->dir, name))
		return -ENAMETOOLONG;
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)))
		return -errno;
	return steal_fd(&fd);
}
