// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "boot/boot.h"
#include "supervisor/natrules.h"

/* One guest's wire to the host and the rules around it: --net nat. */
struct nat {
	struct nat_link link;
	struct ip_list dns; /* servers for the guest */
	int state_fd;       /* -1: there is nothing to remove */
	int held[CONFIG_PUBLISH_MAX];
	size_t nheld;
};

/*
 * Remove what VMs have left that are dead, then make a tap with addresses on a network that
 * collides with no route of the host, and the rules for it; the tap is persistent, with @queues
 * queues (IFF_MULTI_QUEUE if more than one) and an MTU of @mtu bytes.
 *
 * A state file in /run/kvmbox/net, named as the tap, stands for all of it. It is locked for as long
 * as a process lives that has nat->state_fd (the supervisor, and the monitor as its child): one
 * that can be locked is a dead VM's.
 *
 * Returns 0, or negative errno with the sentence in @err and nothing left behind.
 */
int nat_open(struct nat *nat, unsigned int mtu, unsigned int queues,
	     const struct publish_config *publish, size_t npublish, struct error *err);

/* Remove it all. The tap may still be open: it is gone for whoever has it open. */
void nat_close(struct nat *nat);
