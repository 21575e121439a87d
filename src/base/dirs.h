// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * Make the directory @path and what is missing above it: that for all to enter, the last for its
 * owner alone. Returns 0, also when it is there already, or negative errno.
 */
int dirs_make(const char *path);
