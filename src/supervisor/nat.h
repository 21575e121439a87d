// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/netport.h"
#include "boot/boot.h"
#include "supervisor/natrules.h"
#include "supervisor/netstate.h"

/* One guest's wire to the host and the rules around it: --net nat. */
struct nat {
	struct nat_link link;
	struct ip_list dns;    /* servers for the guest */
	struct netport *port;  /* the tap, until it is taken over */
	struct netstate state; /* stands for all of it; without a file there is nothing to remove */
	int held[CONFIG_PUBLISH_MAX];
	size_t nheld;
};

/*
 * Remove what VMs have left that are dead, then make for a card of @cfg with the address @mac a tap
 * of @queues queues and an MTU of @mtu bytes with addresses on a network that collides with no
 * route of the host, and the rules for it. The tap itself goes with its last descriptor.
 *
 * Returns 0, or negative errno with the sentence in @err and nothing left behind.
 */
int nat_open(struct nat *nat, const struct boot_config *cfg, const uint8_t mac[6], unsigned int mtu,
	     unsigned int queues, const struct publish_config *publish, size_t npublish,
	     struct error *err);

/* Remove it all. */
void nat_close(struct nat *nat);
