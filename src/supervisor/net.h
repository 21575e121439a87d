// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config.h"
#include "supervisor/edge.h"
#include "supervisor/link.h"
#include "supervisor/nat.h"
#include "vm/vm.h"

/* What stands on the host for the network cards of a VM. */
struct nets {
	struct nat nats[CONFIG_NETS_MAX];
	size_t nnats;
	struct netstate edges[CONFIG_NETS_MAX]; /* around taps of the user's */
	size_t nedges;
	bool passt; /* one was started */
	/* What there is on the host for each card: NULL where there is none. */
	struct {
		const char *interface;
		const char *table; /* of nftables, family netdev */
	} cards[CONFIG_NETS_MAX];
	unsigned int ncards;
	struct link_watch links;
};

void nets_init(struct nets *nets);

/*
 * Open a port for each network card of @cfg, making what it needs on the host, and enter it into
 * *@spec, with what guest/init is to know of it. Returns 0; or negative errno with the sentence in
 * @err, and then nets_close() has what was made so far.
 */
int nets_open(struct nets *nets, const struct boot_config *cfg, struct vm_spec *spec,
	      struct error *err);

/* Close the ports in *@spec and remove what nets_open() has made on the host. */
void nets_close(struct nets *nets, struct vm_spec *spec);
