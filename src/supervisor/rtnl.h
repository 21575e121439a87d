// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/ip.h"

/*
 * What the host's routing tables lead to: networks of its interfaces, its own addresses, routes of
 * any table; but not default routes, which are counted apart.
 */
struct routes {
	struct ip_addr *list;
	size_t n;
	bool has_default4, has_default6;
};

/* Read them by rtnetlink. On success the caller frees with routes_deinit(). Negative errno. */
int routes_init(struct routes *routes);
void routes_deinit(struct routes *routes);

/* Whether any of them has an address of @net. */
bool routes_overlap(const struct routes *routes, const struct ip_addr *net);

/* Remove the interface @name. Returns 0, also when there is none; or negative errno. */
int rtnl_delete_link(const char *name);
