// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdlib.h>
#include <unistd.h>

/*
 * Ownership that the compiler looks after: a variable marked with one of these releases what it
 * holds when it goes out of scope, unless it was stolen first.
 */
static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define AUTO_FREE  __attribute__((cleanup(cleanup_free)))
#define AUTO_CLOSE __attribute__((cleanup(cleanup_close)))

/* Take the pointer out of an AUTO_FREE variable; the caller owns it from here. */
#define steal_ptr(p)                       \
	({                                 \
		__auto_type stolen_ = (p); \
		(p) = NULL;                \
		stolen_;                   \
	})

/* Take the descriptor out of an AUTO_CLOSE variable; the caller owns it from here. */
static inline int steal_fd(int *fd)
{
	int stolen = *fd;

	*fd = -1;
	return stolen;
}
