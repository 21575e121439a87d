// SPDX-License-Identifier: Apache-2.0
#include "supervisor/link.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

void link_watch_init(struct link_watch *w)
{
	*w = (struct link_watch){ .fd = -1 };
}

void link_watch_deinit(struct link_watch *w)
{
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

static int watch(struct link_watch *w)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };

	w->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (w->fd < 0)
		return -errno;
	if (bind(w->fd, (struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	return 0;
}

int link_watch_add(struct link_watch *w, unsigned int card, const char *name)
{
	int ret = w->fd < 0 ? watch(w) : 0;

	if (ret)
		return ret;
	w->links[card].ifindex = if_nametoindex(name);
	w->links[card].up = true;
	return w->links[card].ifindex ? 0 : -ENODEV;
}

/* Whether interface @ifindex is there and set up now. */
static bool is_up(const struct link_watch *w, unsigned int ifindex)
{
	struct ifreq ifr = { 0 };

	return if_indextoname(ifindex, ifr.ifr_name) && !ioctl(w->fd, SIOCGIFFLAGS, &ifr) &&
	       ifr.ifr_flags & IFF_UP;
}

void link_watch_read(struct link_watch *w, void (*changed)(void *ctx, unsigned int card, bool up),
		     void *ctx)
{
	char buf[8192];

	/*
	 * That something has changed is all that is taken from the messages, of which some may be
	 * lost when there are many.
	 */
	while (recv(w->fd, buf, sizeof(buf), 0) > 0 || errno == ENOBUFS || errno == EINTR)
		;
	for (unsigned int i = 0; i < CONFIG_NETS_MAX; i++) {
		if (!w->links[i].ifindex)
			continue;
		bool up = is_up(w, w->links[i].ifindex);

		if (up != w->links[i].up)
			changed(ctx, i, up);
		w->links[i].up = up;
	}
}
