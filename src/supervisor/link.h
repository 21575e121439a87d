// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>

#include "config/config.h"

/*
 * Watches the host's interfaces that a VM's network cards are attached to, so that the guest sees a
 * link that is down where the host's administrator has set it down or deleted it.
 */
struct link_watch {
	int fd; /* rtnetlink, for poll(); -1: there is nothing to watch */
	struct {
		unsigned int ifindex; /* 0: none */
		bool up;
	} links[CONFIG_NETS_MAX]; /* by card */
};

void link_watch_init(struct link_watch *w);
void link_watch_deinit(struct link_watch *w);

/*
 * Watch the interface @name for network card @card, which is taken to be up until link_watch_read()
 * says otherwise. Returns 0 or negative errno.
 */
int link_watch_add(struct link_watch *w, unsigned int card, const char *name);

/* Call @changed for each card whose link has gone up or down since it was last asked. */
void link_watch_read(struct link_watch *w, void (*changed)(void *ctx, unsigned int card, bool up),
		     void *ctx);
