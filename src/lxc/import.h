// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "config/config.h"
#include "lxc/items.h"
#include "lxc/report.h"

/*
 * Turn the config of the LXC container @name, as @items has it, into *@cfg, and tell in *@report
 * what became of each key. The CPUs and the memory that *@cfg has already (--cpus, --mem) stay.
 * What else the config names is read through @files: the fstab of lxc.mount.fstab, and what kind of
 * interface a network is linked to. @rootless tells that the VM will be started by another user
 * than root, whose network is passt's. Returns 0; or negative errno with a sentence for what LXC
 * would not start either: a value that is none. *@cfg and *@report are the caller's to deinit both
 * ways.
 */
int lxc_import(struct boot_config *cfg, const char *name, const struct lxc_items *items,
	       const struct lxc_files *files, bool rootless, struct lxc_report *report,
	       struct error *err);
