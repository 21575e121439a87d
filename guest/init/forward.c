// SPDX-License-Identifier: Apache-2.0
#include "init/forward.h"

#include "init/relay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 30000

enum { TO_TARGET, TO_HOST, WAYS };

static int port_parse(const char *text)
{
	int port = 0;

	if (!*text || strlen(text) > 5)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		port = port * 10 + (*text - '0');
	}
	return port && port <= UINT16_MAX ? port : -EINVAL;
}

static int tcp_parse(struct sockaddr_storage *addr, char *text)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	char *colon = strrchr(text, ':');
	size_t len;
	int port;

	if (!colon)
		return -EINVAL;
	*colon = '\0';
	port = port_parse(colon + 1);
	if (port < 0)
		return port;
	len = (size_t)(colon - text);
	if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
		in.sin_port = htons((uint16_t)port);
		memcpy(addr, &in, sizeof(in));
		return sizeof(in);
	}
	if (len > 2 && text[0] == '[' && text[len - 1] == ']') {
		text[len - 1] = '\0';
		text++;
	}
	if (inet_pton(AF_INET6, text, &in6.sin6_addr) != 1)
		return -EINVAL;
	in6.sin6_port = htons((uint16_t)port);
	memcpy(addr, &in6, sizeof(in6));
	return sizeof(in6);
}

int forward_parse(struct sockaddr_storage *addr, const char *text, size_t len)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char copy[5 + sizeof(un.sun_path)];

	if (len >= sizeof(copy) || memchr(text, '\0', len))
		return -EINVAL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	memset(addr, 0, sizeof(*addr));
	if (!strncmp(copy, "tcp:", 4))
		return tcp_parse(addr, copy + 4);
	if (strncmp(copy, "unix:", 5) || !copy[5])
		return -EINVAL;
	memcpy(un.sun_path, copy + 5, len - 5);
	memcpy(addr, &un, sizeof(un));
	return sizeof(un);
}

/* Waits for the connection, as long as the host does. Returns 0 or a negative errno. */
static int target_await(int target, int host)
{
	struct pollfd fds[2] = { { .fd = target, .events = POLLOUT }, { .fd = host } };
	socklen_t len = sizeof(int);
	int err = 0;
	int n = poll(fds, 2, CONNECT_TIMEOUT_MS);

	if (n < 0)
		return -errno;
	if (n == 0)
		return -ETIMEDOUT;
	if (!fds[0].revents)
		return -ECONNRESET;
	if (getsockopt(target, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return -errno;
	return -err;
}

/* Returns a connected, non-blocking socket or a negative errno. */
static int target_connect(int host, const struct sockaddr_storage *addr, socklen_t addr_len)
{
	const int on = 1;
	int ret = 0;
	int fd = socket(addr->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)addr, addr_len) < 0)
		ret = errno == EINPROGRESS ? target_await(fd, host) : -errno;
	if (ret < 0) {
		close(fd);
		return ret;
	}
	if (addr->ss_family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

/*
 * Beside what a relay waits for, its reader is watched for being gone, of which
 * a relay without bytes would not know.
 */
static void relays_run(struct relay *relays)
{
	struct pollfd fds[2 * WAYS];

	while (!relay_is_over(&relays[TO_TARGET]) || !relay_is_over(&relays[TO_HOST])) {
		for (int i = 0; i < WAYS; i++) {
			fds[i] = relay_poll(&relays[i]);
			fds[WAYS + i] = (struct pollfd){ .fd = relays[i].to };
		}
		if (poll(fds, 2 * WAYS, -1) < 0)
			continue;
		for (int i = 0; i < WAYS; i++) {
			if (relay_is_over(&relays[i]))
				continue;
			if (fds[WAYS + i].revents)
				relay_drop(&relays[i]);
			else if (fds[i].revents)
				relay_move(&relays[i]);
		}
	}
}

int forward_run(int fd, const struct sockaddr_storage *addr, socklen_t addr_len)
{
	static struct relay relays[WAYS];
	int target = target_connect(fd, addr, addr_len);

	if (target < 0) {
		close(fd);
		return target;
	}
	relay_init(&relays[TO_TARGET], fcntl(fd, F_DUPFD_CLOEXEC, 0),
		   fcntl(target, F_DUPFD_CLOEXEC, 0));
	relay_init(&relays[TO_HOST], target, fd);
	relays_run(relays);
	return 0;
}
