// SPDX-License-Identifier: Apache-2.0
#include "supervisor/rtnl.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"

#define DUMP_MAX (64 * 1024) /* the kernel's own limit for one datagram of a dump is 32 KiB */

static int add_route(struct routes *routes, const struct ip_addr *net)
{
	struct ip_addr *grown = reallocarray(routes->list, routes->n + 1, sizeof(*routes->list));

	if (!grown)
		return -ENOMEM;
	grown[routes->n++] = *net;
	routes->list = grown;
	return 0;
}

/* Enter one RTM_NEWROUTE. */
static int digest_route(struct routes *routes, const struct nlmsghdr *h)
{
	const struct rtmsg *m = NLMSG_DATA(h);
	struct ip_addr net = { .family = m->rtm_family, .prefix = m->rtm_dst_len };
	int len = (int)RTM_PAYLOAD(h);

	if (h->nlmsg_type != RTM_NEWROUTE || m->rtm_flags & RTM_F_CLONED)
		return 0;
	if (!m->rtm_dst_len) {
		/* Linux has an "unreachable default" of its own for IPv6. */
		if (m->rtm_type == RTN_UNICAST && m->rtm_family == AF_INET)
			routes->has_default4 = true;
		if (m->rtm_type == RTN_UNICAST && m->rtm_family == AF_INET6)
			routes->has_default6 = true;
		return 0;
	}
	for (const struct rtattr *a = RTM_RTA(m); RTA_OK(a, len); a = RTA_NEXT(a, len)) {
		if (a->rta_type == RTA_DST && RTA_PAYLOAD(a) <= sizeof(net.bytes))
			memcpy(net.bytes, RTA_DATA(a), RTA_PAYLOAD(a));
	}
	return add_route(routes, &net);
}

/* Returns 1 at the end of the dump, 0 before it, or negative errno. */
static int digest_dump(struct routes *routes, const uint8_t *buf, size_t size)
{
	unsigned int len = (unsigned int)size;

	for (const struct nlmsghdr *h = (const void *)buf; NLMSG_OK(h, len);
	     h = NLMSG_NEXT(h, len)) {
		if (h->nlmsg_type == NLMSG_DONE)
			return 1;
		if (h->nlmsg_type == NLMSG_ERROR)
			return ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
		int ret = digest_route(routes, h);
		if (ret)
			return ret;
	}
	return 0;
}

static int dump_routes(struct routes *routes, int fd, uint8_t family)
{
	struct {
		struct nlmsghdr h;
		struct rtmsg m;
	} request = {
		.h = { .nlmsg_len = sizeof(request),
		       .nlmsg_type = RTM_GETROUTE,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.m = { .rtm_family = family },
	};
	AUTO_FREE uint8_t *buf = malloc(DUMP_MAX);
	int ret = 0;

	if (!buf)
		return -ENOMEM;
	if (send(fd, &request, sizeof(request), 0) < 0)
		return -errno;
	while (ret == 0) {
		ssize_t n = recv(fd, buf, DUMP_MAX, 0);

		if (n < 0 && errno == EINTR)
			continue;
		ret = n < 0 ? -errno : digest_dump(routes, buf, (size_t)n);
	}
	return ret < 0 ? ret : 0;
}

int routes_init(struct routes *routes)
{
	AUTO_CLOSE int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	int ret;

	*routes = (struct routes){ 0 };
	if (fd < 0)
		return -errno;
	ret = dump_routes(routes, fd, AF_INET);
	if (!ret)
		ret = dump_routes(routes, fd, AF_INET6);
	if (ret)
		routes_deinit(routes);
	return ret;
}

void routes_deinit(struct routes *routes)
{
	free(routes->list);
	*routes = (struct routes){ 0 };
}

bool routes_overlap(const struct routes *routes, const struct ip_addr *net)
{
	for (size_t i = 0; i < routes->n; i++) {
		if (ip_overlap(&routes->list[i], net))
			return true;
	}
	return false;
}

int rtnl_delete_link(const char *name)
{
	AUTO_CLOSE int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct {
		struct nlmsghdr h;
		struct ifinfomsg m;
	} request = {
		.h = { .nlmsg_len = sizeof(request),
		       .nlmsg_type = RTM_DELLINK,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
		.m = { .ifi_index = (int)if_nametoindex(name) },
	};
	struct {
		struct nlmsghdr h;
		struct nlmsgerr e;
		uint8_t request[64];
	} answer;

	if (fd < 0)
		return -errno;
	if (!request.m.ifi_index)
		return 0;
	if (send(fd, &request, sizeof(request), 0) < 0 || recv(fd, &answer, sizeof(answer), 0) < 0)
		return -errno;
	return answer.e.error == -ENODEV ? 0 : answer.e.error;
}
