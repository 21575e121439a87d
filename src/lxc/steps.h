// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lxc/import.h"

/* What the parts of lxc_import() share. All functions return 0, or negative errno with a sentence.
 */

struct import {
	struct boot_config *cfg;
	const char *name;
	const struct lxc_items *items;
	const struct lxc_files *files;
	bool rootless;
	struct lxc_report *report;
	struct error *err;

	/* For each item the one that clears or replaces it, or NULL. */
	const struct lxc_item **undone;

	/* Items of which several together become one thing of the VM's; NULL: not there. */
	const struct lxc_item *rootfs;
	const struct lxc_item *rootfs_options;
	const struct lxc_item *init_cmd;
	const struct lxc_item *execute_cmd;
	const struct lxc_item *memory_max;   /* cgroup v2 */
	const struct lxc_item *memory_limit; /* cgroup v1 */
	const struct lxc_item *cpu_max;
	const struct lxc_item *cpu_quota; /* cgroup v1 */
	const struct lxc_item *cpu_period;
	const struct lxc_item *cpuset;
	const struct lxc_item *cpuset_v1;
};

/* Note what became of @item, or, where it is NULL, something of the container as a whole. */
int import_note(struct import *im, enum lxc_outcome outcome, const struct lxc_item *item,
		const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Fail with "FILE:LINE: KEY: ..." */
int import_refuse(struct import *im, const struct lxc_item *item, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* lxc.mount.entry, and lxc.mount.fstab, a file of such entries. */
int import_mount_entry(struct import *im, const struct lxc_item *item);
int import_mount_fstab(struct import *im, const struct lxc_item *item);

/* All of lxc.net. */
int import_nets(struct import *im);

/* lxc.rootfs.path, lxc.rootfs.options and lxc.idmap. */
int import_rootfs(struct import *im);

/* The limits of cgroups that make the machine's size. */
int import_size(struct import *im);
