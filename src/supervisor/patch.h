// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config.h"
#include "vm/channel.h"

struct json_object;

/*
 * What a client asks to change of a part of a machine that runs, as man kvmbox-api has it. A part
 * is known by the id of its configuration, and where that has none by the guest's name for it: vda,
 * vdb and on, eth0 and on.
 *
 * Change @cfg as @body says, and fill in @msg, which tells the monitor. Returns 0, or negative
 * errno with a sentence, and @cfg is as it was.
 */
int patch_drive(struct boot_config *cfg, const char *id, struct json_object *body,
		struct message *msg, struct error *err);
int patch_net(struct boot_config *cfg, const char *id, struct json_object *body,
	      struct message *msg, struct error *err);
