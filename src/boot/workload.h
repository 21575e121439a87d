// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>

#include "boot/boot.h"

/*
 * One property of the workload, encoded as include/kvmbox/agent.h says. @data is valid during the
 * call only. A return value other than 0 ends the walk and becomes its result.
 */
typedef int workload_property_fn(void *ctx, const char *name, const void *data, size_t len);

/*
 * Walk the properties of the workload's node, or of its child "root", or "net0" and so on. Both
 * take them from here, the device tree and the cpio, so that they say the same. Returns 0, -ENOMEM,
 * or what @fn returned.
 */
int workload_properties(const struct machine_workload *w, workload_property_fn *fn, void *ctx);
int workload_root_properties(const struct machine_workload *w, workload_property_fn *fn, void *ctx);
int workload_net_properties(const struct machine_net *net, workload_property_fn *fn, void *ctx);
