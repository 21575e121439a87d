// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>

/*
 * Find a file that comes with kvmbox ("vmlinux-micro", "init.cpio", "builtin.erofs"): in guest/
 * beside the running program (a build tree), or in ../lib/kvmbox from it (an installation). Writes
 * its path. Returns 0, -ENOENT, or -ENAMETOOLONG.
 */
int datadir_find(const char *name, char *path, size_t size);
