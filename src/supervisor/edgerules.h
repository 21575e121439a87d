// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/ip.h"

/* What is known of a guest at one of its network cards. */
struct edge {
	const char *table;  /* a name of nft's */
	const char *vm;     /* its name, for people who read the rules */
	const char *device; /* the interface that its frames come from */
	uint8_t mac[6];
	const struct ip_addr *ips; /* its addresses */
	size_t nips;               /* 0: they are not known, and it may have any */
	/*
	 * There may be others on its network: it may ask for an address by DHCP, it may have
	 * addresses of its MAC and a router's prefix if none of IPv6 is in @ips, and it is kept
	 * from the guests that are in the set "others".
	 */
	bool shared;
};

/*
 * Write the rules for all that comes from the guest, as commands of nft(8): a table of the family
 * netdev, made anew. Only what the guest may send passes; edgerules.c tells what that is.
 */
void edge_rules_write(FILE *f, const struct edge *edge);

/* The link-local address that a card of this MAC makes for itself (RFC 4291, appendix A). */
struct ip_addr edge_link_local(const uint8_t mac[6]);
