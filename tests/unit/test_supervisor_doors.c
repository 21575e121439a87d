// SPDX-License-Identifier: Apache-2.0
#include "supervisor/doors.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "kvmbox/agent.h"

static char dir[] = "/tmp/kvmbox-test-XXXXXX";
static char outside[64];
static struct doors *d;
static struct error err;

/* What was dialled. */
static unsigned int ndials;
static uint32_t dial_port;
static int dial_fd = -1;
static uint8_t dial_preamble[1024];
static size_t dial_len;
static bool dial_greet;

static void dial(void *ctx, uint32_t port, int fd, const void *preamble, size_t len, bool greet)
{
	cr_assert_eq(ctx, dir);
	cr_assert_leq(len, sizeof(dial_preamble));
	if (dial_fd >= 0)
		close(dial_fd);
	ndials++;
	dial_port = port;
	dial_fd = fd;
	dial_len = len;
	dial_greet = greet;
	if (len)
		memcpy(dial_preamble, preamble, len);
}

static char forward_name[] = "web.sock", forward_guest[] = "tcp:127.0.0.1:80";
static char forward_docker[] = "unix:/var/run/docker.sock";
static struct forward_config forwards[2] = { { forward_name, forward_guest },
					     { outside, forward_docker } };

static void setup(void)
{
	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(chdir(dir), 0);
	snprintf(outside, sizeof(outside), "%s/outside.sock", dir);
	cr_assert_eq(doors_new(dir, forwards, 2, dial, dir, &d, &err), 0, "%s", err.text);
}

static void teardown(void)
{
	doors_free(d);
	unlink("file");
	cr_assert_eq(rmdir(dir), 0, "something was left behind");
}

TestSuite(supervisor_doors, .init = setup, .fini = teardown, .timeout = 60);

static int knock(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", name);
	cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0, "%s: %s", name,
		     strerror(errno));
	return fd;
}

static void run(void)
{
	struct pollfd p = { .fd = doors_fd(d), .events = POLLIN };

	for (int i = 0; poll(&p, 1, 0) == 1; i++) {
		cr_assert_lt(i, 10000, "the doors never come to rest");
		doors_run(d);
	}
}

static void say(int fd, const char *text)
{
	cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
	run();
}

static bool is_closed(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);

	return n == 0 || (n < 0 && errno == ECONNRESET);
}

Test(supervisor_doors, connect_line)
{
	static const struct {
		const char *line;
		uint32_t port;
	} good[] = { { "CONNECT 5\n", 5 },
		     { "CONNECT 0\n", 0 },
		     { "CONNECT 4294967295\n", UINT32_MAX },
		     { "CONNECT 00000000000000000052\n", 52 } };

	for (unsigned int i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		int fd = knock("vsock.sock");

		say(fd, good[i].line);
		cr_assert_eq(ndials, i + 1, "%s", good[i].line);
		cr_assert_eq(dial_port, good[i].port);
		cr_assert(dial_greet);
		cr_assert_eq(dial_len, 0);
		cr_assert(fcntl(dial_fd, F_GETFL) & O_NONBLOCK);
		close(fd);
	}
}

Test(supervisor_doors, lines_that_are_wrong)
{
	static const char *const bad[] = {
		"CONNECT\n",
		"CONNECT \n",
		"CONNECT -1\n",
		"CONNECT +1\n",
		"CONNECT  1\n",
		"CONNECT 1 \n",
		"CONNECT 1\r\n",
		"CONNECT 4294967296\n",
		"CONNECT 99999999999999999999\n",
		"CONNECT 0x10\n",
		"connect 1\n",
		"\n",
		"GET / HTTP/1.1\r\n\r\n",
		"CONNECT 000000000000000000000000001\n",
		"0123456789012345678901234567890123456789012345678901234567890123456789",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int fd = knock("vsock.sock");

		say(fd, bad[i]);
		cr_assert(is_closed(fd), "%s", bad[i]);
		close(fd);
	}
	int fd = knock("vsock.sock");

	cr_assert_eq(send(fd, "CONNECT 1\0\n", 11, 0), 11);
	run();
	cr_assert(is_closed(fd));
	close(fd);
	cr_assert_eq(ndials, 0);
}

/* What stands behind the line is for the guest. */
Test(supervisor_doors, bytes_behind_the_line)
{
	int fd = knock("vsock.sock");
	char buf[32] = "";

	say(fd, "CONNECT 7\nhello\nCONNECT 8\n");
	cr_assert_eq(ndials, 1);
	cr_assert_eq(dial_port, 7);
	cr_assert_eq(recv(dial_fd, buf, sizeof(buf) - 1, 0), 16);
	cr_assert_str_eq(buf, "hello\nCONNECT 8\n");
	/* And what comes later does not concern the doors. */
	say(fd, "more");
	cr_assert_eq(ndials, 1);
	close(fd);
}

Test(supervisor_doors, byte_by_byte)
{
	int fd = knock("vsock.sock"), other = knock("vsock.sock");

	for (const char *p = "CONNECT 1024\n"; *p; p++) {
		char one[2] = { *p, '\0' };

		cr_assert_eq(ndials, 0);
		say(fd, one);
	}
	cr_assert_eq(ndials, 1);
	cr_assert_eq(dial_port, 1024);
	say(other, "CONNECT 2\n");
	cr_assert_eq(dial_port, 2);
	close(fd);
	close(other);
}

Test(supervisor_doors, callers_who_leave)
{
	for (int i = 0; i < 100; i++) {
		int fd = knock("vsock.sock");

		if (i % 2)
			say(fd, "CONN");
		close(fd);
		run();
	}
	cr_assert_eq(ndials, 0);
}

/* Who says nothing makes room for those who come after. */
Test(supervisor_doors, silent_callers)
{
	int fds[100], fd;

	for (int i = 0; i < 100; i++) {
		fds[i] = knock("vsock.sock");
		run();
	}
	fd = knock("vsock.sock");
	say(fd, "CONNECT 3\n");
	cr_assert_eq(ndials, 1);
	cr_assert(is_closed(fds[0]));
	cr_assert_not(is_closed(fds[99]));
	say(fds[99], "CONNECT 4\n");
	cr_assert_eq(dial_port, 4);
	for (int i = 0; i < 100; i++)
		close(fds[i]);
	close(fd);
}

Test(supervisor_doors, forwards)
{
	static const char *const names[] = { "web.sock", "outside.sock" };

	for (unsigned int i = 0; i < 2; i++) {
		const char *guest = forwards[i].guest;
		struct kvmbox_frame frame;
		int fd = knock(names[i]);
		struct stat st;

		run();
		cr_assert_eq(ndials, i + 1);
		cr_assert_eq(dial_port, KVMBOX_PORT_AGENT);
		cr_assert_not(dial_greet);
		cr_assert_eq(dial_len, sizeof(frame) + strlen(guest));
		memcpy(&frame, dial_preamble, sizeof(frame));
		cr_assert_eq(frame.type, KVMBOX_FRAME_FORWARD);
		cr_assert_eq(frame.len, strlen(guest));
		cr_assert_eq(memcmp(dial_preamble + sizeof(frame), guest, frame.len), 0);
		cr_assert_eq(stat(names[i], &st), 0);
		cr_assert_eq(st.st_mode & 0777, 0600);
		close(fd);
	}
}

static int open_another(const char *path, struct doors **another)
{
	char other_dir[] = "/tmp/kvmbox-test-XXXXXX", address[] = "tcp:10.0.0.1:1";
	struct forward_config f = { (char *)(uintptr_t)path, address };

	cr_assert_not_null(mkdtemp(other_dir));
	int ret = doors_new(other_dir, &f, 1, dial, dir, another, &err);

	if (!ret)
		doors_free(*another);
	cr_assert_eq(rmdir(other_dir), 0, "something was left behind");
	return ret;
}

/* A socket whose owner was killed is replaced; one where somebody listens is not. */
Test(supervisor_doors, sockets_that_are_there)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char path[64];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct doors *another = NULL;

	snprintf(path, sizeof(path), "%s/there.sock", dir);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	cr_assert_eq(listen(fd, 1), 0);
	cr_assert_eq(open_another(path, &another), -EADDRINUSE);
	cr_assert(strstr(err.text, path) && strstr(err.text, "in use"), "%s", err.text);
	cr_assert_eq(access(path, F_OK), 0);
	/* Nor is one that is busy. */
	int busy[8];

	for (int i = 0; i < 8; i++) {
		busy[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)!connect(busy[i], (struct sockaddr *)&a, sizeof(a));
	}
	cr_assert_eq(open_another(path, &another), -EADDRINUSE);
	cr_assert_eq(access(path, F_OK), 0);
	for (int i = 0; i < 8; i++)
		close(busy[i]);
	close(fd);
	cr_assert_eq(open_another(path, &another), 0, "%s", err.text);
	cr_assert_eq(access(path, F_OK), -1);

	/* What is no socket is somebody's file. */
	fd = open("file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	close(fd);
	snprintf(path, sizeof(path), "%s/file", dir);
	cr_assert_eq(open_another(path, &another), -EADDRINUSE);
	cr_assert_eq(access(path, F_OK), 0);
}

Test(supervisor_doors, paths_that_are_wrong)
{
	struct doors *another = NULL;
	char path[200];

	cr_assert_eq(open_another("/no/such/directory/a.sock", &another), -ENOENT);
	cr_assert(strstr(err.text, "/no/such/directory/a.sock"), "%s", err.text);
	memset(path, 'a', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	cr_assert_eq(open_another(path, &another), -ENAMETOOLONG);
	cr_assert(strstr(err.text, "107 bytes"), "%s", err.text);
}

/* A port of the host is where somebody has made the socket for it. */
Test(supervisor_doors, guest_connects)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd, client;

	cr_assert_eq(doors_connect(d, 5), -ENOENT);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/vsock.sock_5", dir);
	cr_assert_eq(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	cr_assert_eq(doors_connect(d, 5), -ECONNREFUSED);
	cr_assert_eq(listen(listener, 1), 0);
	fd = doors_connect(d, 5);
	cr_assert_geq(fd, 0);
	cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	client = accept(listener, NULL, NULL);
	cr_assert_eq(send(fd, "x", 1, 0), 1);
	cr_assert_eq(doors_connect(d, 6), -ENOENT);
	close(client);
	close(fd);

	/* One that accepts nobody is not waited for. */
	int fds[16];

	for (int i = 0; i < 16; i++)
		fds[i] = doors_connect(d, 5);
	cr_assert_eq(fds[15], -EAGAIN);
	for (int i = 0; i < 16; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	close(listener);
	unlink(a.sun_path);
}

Test(supervisor_doors, no_descriptors)
{
	struct rlimit limit, old;
	int fds[8];

	for (unsigned int i = 0; i < 8; i++)
		fds[i] = knock(i % 2 ? "web.sock" : "vsock.sock");
	getrlimit(RLIMIT_NOFILE, &old);
	limit = old;
	limit.rlim_cur = (rlim_t)fds[7] + 1;
	setrlimit(RLIMIT_NOFILE, &limit);
	run();
	setrlimit(RLIMIT_NOFILE, &old);
	cr_assert_eq(ndials, 0);
	for (unsigned int i = 0; i < 8; i++)
		close(fds[i]);
	int fd = knock("web.sock");

	run();
	cr_assert_eq(ndials, 1);
	close(fd);
}
