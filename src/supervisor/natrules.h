// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdio.h>

#include "config/config.h"

/* The two ends of the wire between the host and one guest. */
struct nat_link {
	char name[16];                /* of the tap on the host */
	struct ip_addr host4, guest4; /* prefix: that of the network both are in */
	struct ip_addr host6, guest6; /* family 0: no IPv6 */
};

/* How many networks there are to choose from. */
#define NAT_SLOTS (2 * 16384 + 64)

/*
 * The IPv4 network (a /30) of @slot, below NAT_SLOTS: the host has its first address, the guest the
 * second. *@link gets name, host4 and guest4.
 */
void nat_link_of(unsigned int slot, struct nat_link *link);

/*
 * The rules of one guest, as commands of nft(8): a table named as the tap, made anew. @dns: where
 * queries that the guest sends to the host's end go, an address in 127.0.0.0/8; family 0: nowhere.
 * @connections: how many of those that the guest begins are kept track of at a time, at least 256.
 */
void nat_rules_write(FILE *f, const struct nat_link *link, const struct ip_addr *dns,
		     const struct publish_config *publish, size_t npublish,
		     unsigned int connections);
