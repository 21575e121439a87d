// SPDX-License-Identifier: Apache-2.0
#include "init/session.h"

#include "common/copy.h"
#include "common/frame.h"
#include "init/clock.h"
#include "init/exec.h"
#include "init/forward.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST_FRAME_MS 10000
#define SEND_MS        10000
#define LINGER_MS      10000

/* The first frame, of which EXEC uses the strings as long as it runs. */
static char payload[KVMBOX_FRAME_MAX];

/*
 * Ends the stream after all that was sent, and waits for the host to close it:
 * closing it with bytes of the host's unread would be a reset, which may
 * overtake what was sent.
 */
static void linger(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char dropped[4096];

	shutdown(fd, SHUT_WR);
	for (;;) {
		ssize_t n = read(fd, dropped, sizeof(dropped));

		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return;
		if (n < 0 && poll(&p, 1, LINGER_MS) == 0)
			return;
	}
}

static void exec_serve(int fd, size_t len, const struct description *d)
{
	struct exec_request r;

	if (exec_request_init(&r, payload, len) < 0)
		return;
	exec_run(fd, &r, d);
	exec_request_deinit(&r);
	linger(fd);
}

static void forward_serve(int fd, size_t len)
{
	struct sockaddr_storage addr;
	int addr_len = forward_parse(&addr, payload, len);

	if (addr_len > 0)
		forward_run(fd, &addr, (socklen_t)addr_len);
}

static void copy_serve(int fd, uint16_t type, size_t len)
{
	struct kvmbox_copy head;
	struct copy_error why;
	char *next = payload + sizeof(head);
	size_t left = len - sizeof(head);
	const char *path = frame_string(&next, &left);
	unsigned int flags = COPY_OWNERS;
	int ret;

	memcpy(&head, payload, sizeof(head));
	if (!path || path[0] != '/')
		return;
	if (head.flags & KVMBOX_COPY_FOLLOW)
		flags |= COPY_FOLLOW;
	if (type == KVMBOX_FRAME_GET)
		ret = copy_send(fd, -1, path, NULL, flags, &why);
	else
		ret = copy_receive(fd, -1, path, NULL, flags, &why);
	if (ret < 0 && !why.from_peer)
		frame_send(fd, SEND_MS, KVMBOX_FRAME_ERROR, why.text, strlen(why.text));
	else if (ret == 0 && type == KVMBOX_FRAME_PUT)
		frame_send(fd, SEND_MS, KVMBOX_FRAME_END, NULL, 0);
	linger(fd);
}

/* Reads a file of /proc as a string; an empty one if it cannot be read. */
static void proc_read(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	buf[n < 0 ? 0 : n] = '\0';
	if (fd >= 0)
		close(fd);
}

/* A line of /proc/meminfo, in bytes. */
static uint64_t memory_read(const char *meminfo, const char *name)
{
	const char *line = strstr(meminfo, name);

	return line ? strtoull(line + strlen(name), NULL, 10) * 1024 : 0;
}

/* "0.42 0.13 0.05 1/87 1234": the load of a minute first, "/" before the processes. */
static void load_read(struct kvmbox_health *h, const char *loadavg)
{
	const char *slash = strchr(loadavg, '/');
	char *point;

	h->load_hundredths = (uint32_t)strtoul(loadavg, &point, 10) * 100;
	if (*point == '.')
		h->load_hundredths += (uint32_t)strtoul(point + 1, NULL, 10);
	if (slash)
		h->processes = strtoull(slash + 1, NULL, 10);
}

static void health_serve(int fd)
{
	struct kvmbox_health h = { 0 };
	char buf[4096];

	h.boot_ns = clock_boot_ns();
	proc_read("/proc/meminfo", buf, sizeof(buf));
	h.memory_total = memory_read(buf, "MemTotal:");
	h.memory_free = memory_read(buf, "MemAvailable:");
	proc_read("/proc/loadavg", buf, sizeof(buf));
	load_read(&h, buf);
	frame_send(fd, SEND_MS, KVMBOX_FRAME_HEALTH, &h, sizeof(h));
	linger(fd);
}

static void serve(int fd, const struct description *d)
{
	struct kvmbox_frame frame;

	for (;;) {
		if (frame_receive(fd, FIRST_FRAME_MS, &frame, payload, sizeof(payload)) < 0)
			return;
		switch (frame.type) {
		case KVMBOX_FRAME_EXEC:
			exec_serve(fd, frame.len, d);
			return;
		case KVMBOX_FRAME_FORWARD:
			forward_serve(fd, frame.len);
			return;
		case KVMBOX_FRAME_PUT:
		case KVMBOX_FRAME_GET:
			if (frame.len < sizeof(struct kvmbox_copy))
				break;
			copy_serve(fd, frame.type, frame.len);
			return;
		case KVMBOX_FRAME_HEALTH:
			health_serve(fd);
			return;
		}
	}
}

void session_run(int fd, const struct description *d)
{
	sigset_t none;

	for (int signo = 1; signo < NSIG; signo++)
		signal(signo, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* Out of the workload's terminal, if that has one. */
	setsid();
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	serve(fd, d);
	_exit(0);
}
