// SPDX-License-Identifier: Apache-2.0
#include "supervisor/patch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "supervisor/start.h"

/* Whether the part with the id @own, which the guest calls @name, is the one that is meant. */
static bool is_meant(const char *own, const char *name, const char *id)
{
	return strcmp(own[0] ? own : name, id) == 0;
}

static int no_such_part(const char *what, const char *id, struct error *err)
{
	char shown[200];

	text_keep(shown, sizeof(shown), id, strlen(id));
	return error_set(err, ENOENT, "the VM has no %s \"%s\"; GET /vm/config shows what it has",
			 what, shown);
}

int patch_drive(struct boot_config *cfg, const char *id, struct json_object *body,
		struct message *msg, struct error *err)
{
	for (size_t i = 0; i < cfg->ndisks; i++) {
		struct disk_config *disk = &cfg->disks[i];
		unsigned int number = launch_disk_number(cfg, i);
		char name[] = { 'v', 'd', (char)('a' + number), '\0' };

		if (!is_meant(disk->id, name, id))
			continue;
		*msg = (struct message){ .type = MESSAGE_DISK_LIMITS, .value = number };

		int ret = config_patch_drive(disk, id, body, err);

		msg->limits[0] = disk->limits;
		return ret;
	}
	return no_such_part("drive", id, err);
}

int patch_net(struct boot_config *cfg, const char *id, struct json_object *body,
	      struct message *msg, struct error *err)
{
	for (size_t i = 0; i < cfg->nnets; i++) {
		struct net_config *net = &cfg->nets[i];
		char name[] = { 'e', 't', 'h', (char)('0' + i), '\0' };

		if (!is_meant(net->id, name, id))
			continue;
		*msg = (struct message){ .type = MESSAGE_NET_LIMITS, .value = i };

		int ret = config_patch_net(net, id, body, err);

		msg->limits[0] = net->rx_limits;
		msg->limits[1] = net->tx_limits;
		return ret;
	}
	return no_such_part("network interface", id, err);
}
