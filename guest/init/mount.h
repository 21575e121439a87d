/* SPDX-License-Identifier: Apache-2.0 */
/* Mounts: the kernel's own file systems, the root, and taking it all down. */
#ifndef KVMBOX_INIT_MOUNT_H
#define KVMBOX_INIT_MOUNT_H

#include "init/description.h"
#include "init/message.h"

/*
 * Mounts /proc, /sys and /dev in the initramfs. Returns 0, or a negative errno
 * with a sentence in *why.
 */
int mount_kernel(struct message *why);

/*
 * Mounts the described root, makes it / and this process's directory, gives it
 * /proc, /sys, /dev, /dev/pts, /dev/shm, /dev/mqueue and, where the image
 * cannot be written or left them empty, /run and /tmp; empties the initramfs.
 * Returns 0, or a negative errno with a sentence in *why.
 */
int mount_root(const struct description *d, struct message *why);

/*
 * Writes everything to the disks, ends swapping, and unmounts what can be
 * unmounted, else makes it read-only, the root at last, so that every file
 * system on a disk is clean. No process but this one may be left. Returns 0, or
 * a negative errno with a sentence in *why if one is not clean.
 */
int mount_finish(struct message *why);

#endif
