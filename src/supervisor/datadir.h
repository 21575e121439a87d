// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>

#include "base/error.h"

/*
 * Find a file that comes with kvmbox ("vmlinux-micro", "init.cpio", "builtin.erofs"): in guest/
 * beside the running program (a build tree), or in ../lib/kvmbox from it (an installation). Writes
 * its path. Returns 0, -ENOENT, or -ENAMETOOLONG.
 */
int datadir_find(const char *name, char *path, size_t size);

/* How a file comes to be there. */
#define DATADIR_ALWAYS      "scripts/quickstart"
#define DATADIR_DOCKER_HOST "meson configure -Ddocker_host=true build && ninja -C build"

/*
 * Likewise, into the PATH_MAX bytes at @path, for a file that is needed. Returns 0; or negative
 * errno with the sentence in @err, which says to build it with @how, followed by @instead (what
 * else could be done, or "").
 */
int datadir_require(const char *name, const char *how, const char *instead, char *path,
		    struct error *err);
