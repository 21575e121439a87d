// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pthread.h>

/*
 * Start @fn(@ctx) on a thread with a small stack: nothing in the monitor recurses, and the largest
 * frames are log lines. The C library's 8 MiB would be an invitation to a host that gives huge
 * pages to everybody: 2 MiB of memory for the first word pushed. Returns 0 or negative errno.
 */
int thread_start(pthread_t *thread, void *(*fn)(void *ctx), void *ctx);
