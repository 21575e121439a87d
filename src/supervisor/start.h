// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include "config/config.h"
#include "jail/jail.h"
#include "supervisor/net.h"
#include "supervisor/rootfs.h"
#include "vm/vm.h"

/*
 * Everything a monitor is handed: made here, with the user's names and rights, and owned until
 * launch_deinit(); the disks and network ports go to the monitor's process.
 */
struct launch {
	struct vm_spec spec;
	struct rootfs rootfs;
	struct nets nets;
	char kernel_path[PATH_MAX];
	char initrd_path[PATH_MAX];
	char *cmdline;
	char serials[VM_DISKS_MAX][CONFIG_SERIAL_MAX + 1];
	const char **env;
	struct jail jail;
	pid_t monitor;
	int monitor_fd; /* pidfd */
	int channel;    /* our ends */
	int console;
};

/* How a monitor is started. */
struct launch_way {
	bool terminal; /* the workload gets one */
	int log_fd;    /* where the monitor says what there is to be said */
	int lock_fd;   /* a lock that is held as long as the monitor lives, too; -1: none */
};

/* The place of @cfg->disks[@i] among the machine's disks, of which the root is the first. */
unsigned int launch_disk_number(const struct boot_config *cfg, size_t i);

/*
 * The machine's disk @number is held to @limits from now on: what the kernel enforces of that,
 * beside the monitor. Returns 0 or negative errno.
 */
int launch_limit_disk(struct launch *l, unsigned int number, const struct limits *limits);

/*
 * Resolve and open all that @cfg names and start the monitor, which then runs on its own. Returns
 * 0, or negative errno with the sentence in @err and nothing left behind.
 */
int launch_start(struct launch *l, const struct boot_config *cfg, const struct launch_way *way,
		 struct error *err);
void launch_deinit(struct launch *l);
