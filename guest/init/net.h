/* SPDX-License-Identifier: Apache-2.0 */
/* The network: cards, addresses and routes, and the files that hold names. */
#ifndef KVMBOX_INIT_NET_H
#define KVMBOX_INIT_NET_H

#include "init/description.h"
#include "init/message.h"

/*
 * Sets up lo and the described cards through the kernel (rtnetlink). Goes on
 * after a failure with what is left. Returns 0, or a negative errno with a
 * sentence about the last failure in *why.
 */
int net_setup(const struct description *d, struct message *why);

/* Detached mounts of /etc/hosts and /etc/resolv.conf to be, or -1. */
struct net_files {
	int hosts;
	int resolv;
};

/* Writes the files that d calls for into the initramfs, which is / by now. */
struct net_files net_files_make(const struct description *d);

/*
 * Lays them over those of the root, which is / by now. Where it has none they
 * are made as empty files, and where that is not possible (a read-only root),
 * it stays as it is.
 */
void net_files_lay(struct net_files *files);

#endif
