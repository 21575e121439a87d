// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <json-c/json.h>
#include <sys/types.h>

/*
 * What the monitor takes of the host, as /proc tells it, entered into @stats: "cpu_s" and "memory"
 * ("monitor_bytes"). What cannot be read is left out.
 */
void usage_monitor(pid_t monitor, struct json_object *stats);

/* The traffic of the interfaces @taps, added up as the guest sees it, entered as "net". */
void usage_nets(const char *const *taps, unsigned int n, struct json_object *stats);
