// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <json-c/json.h>
#include <sys/types.h>

/*
 * What the monitor takes of the host, as /proc tells it, entered into @stats: "cpu_s" and "memory"
 * ("monitor_bytes"). What cannot be read is left out.
 */
void usage_monitor(pid_t monitor, struct json_object *stats);

struct nets;

/*
 * The traffic of the cards that are attached to an interface of the host, added up as the guest
 * sees it, entered as "net"; nothing if none is.
 */
void usage_nets(const struct nets *nets, struct json_object *stats);
