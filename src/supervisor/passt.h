// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "boot/boot.h"
#include "config/config.h"

/* The guest's side of a network by passt, the same for every guest (as slirp has had it). */
struct passt_guest {
	struct ip_list addresses, gateways, dns;
};

#define PASST_MTU 65520u /* what passt itself offers: no network is between it and the guest */

/*
 * passt's arguments for a socket with descriptor @fd, NULL-terminated; the caller frees with
 * passt_args_free(). @ipv4, @ipv6: what the host has a default route for. NULL: out of memory.
 */
char **passt_args(int fd, bool ipv4, bool ipv6, const struct publish_config *publish,
		  size_t npublish);
void passt_args_free(char **args);

/*
 * Start passt, and wait until it is ready. It runs on its own and ends when the last copy of the
 * descriptor in *@fd is closed, which is the caller's. *@guest gets what guest/init is to set up.
 * Returns 0, or negative errno with the sentence in @err.
 */
int passt_start(const struct publish_config *publish, size_t npublish, int *fd,
		struct passt_guest *guest, struct error *err);

/* Once all such descriptors are closed: wait for the end of what passt_start() has started. */
void passt_reap(void);
