// SPDX-License-Identifier: Apache-2.0
#include "supervisor/ports.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

static int bind_port(const struct publish_config *publish, int family, bool dual)
{
	int type = (publish->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC;
	AUTO_CLOSE int fd = socket(family, type, 0);
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(publish->host_port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
				   .sin6_port = htons(publish->host_port) };
	int only_v6 = !dual;

	if (fd < 0)
		return -errno;
	memcpy(&v4.sin_addr, publish->address.bytes, sizeof(v4.sin_addr));
	memcpy(&v6.sin6_addr, publish->address.bytes, sizeof(v6.sin6_addr));
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, sizeof(only_v6));
	if (family == AF_INET ? bind(fd, (struct sockaddr *)&v4, sizeof(v4))
			      : bind(fd, (struct sockaddr *)&v6, sizeof(v6)))
		return -errno;
	return steal_fd(&fd);
}

int port_hold(const struct publish_config *publish, struct error *err)
{
	int fd;

	if (publish->address.family) {
		fd = bind_port(publish, publish->address.family, false);
	} else {
		fd = bind_port(publish, AF_INET6, true);
		if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)
			fd = bind_port(publish, AF_INET, false); /* a host without IPv6 */
	}
	if (fd >= 0)
		return fd;
	if (fd == -EADDRINUSE)
		return error_set(err, EADDRINUSE,
				 "--publish %s: port %u of the host is in use; end what uses it, "
				 "or publish at another",
				 publish_show(publish).text, publish->host_port);
	if (fd == -EADDRNOTAVAIL)
		return error_set(err, EADDRNOTAVAIL, "--publish %s: this host has no address %s",
				 publish_show(publish).text, ip_show(&publish->address).text);
	if (fd == -EACCES)
		return error_set(err, EACCES,
				 "--publish %s: only root may use port %u of the host; publish at "
				 "one from 1024 on",
				 publish_show(publish).text, publish->host_port);
	return error_set(err, -fd, "--publish %s: %s", publish_show(publish).text, strerror(-fd));
}
