// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "base/error.h"

/* A root file system as an image that a guest can mount. */
struct rootfs {
	char path[PATH_MAX];
	const char *fstype; /* "ext4", "erofs" or "squashfs" */
	bool read_only;     /* the format cannot be written: the guest lays an overlay over it */
};

/*
 * Make @source mountable: a directory is packed into an erofs image, kept in the cache and used
 * again while nothing in the directory has changed; an image is looked at for its format.
 * Returns 0, or negative errno with the sentence in @err.
 */
int rootfs_prepare(const char *source, struct rootfs *out, struct error *err);
