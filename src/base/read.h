// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>

/*
 * Read from @fd to its end, but no more than @max bytes: into *@text, which has a NUL behind them
 * and is the caller's to free, and their number into *@len. Returns 0, or negative errno and
 * nothing is changed.
 */
int read_whole(int fd, size_t max, char **text, size_t *len);
