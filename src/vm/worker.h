// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "base/loop.h"

/* A further loop on a thread of its own, for a queue that is to have its own core. */
struct worker {
	struct loop *loop;
	char name[16]; /* of the thread: at most 15 bytes */
	/* Set before the start, and called on the worker's thread. */
	bool (*begin)(void *ctx, struct loop *loop); /* whether the loop is to be run at all */
	void (*broken)(void *ctx, int error); /* the ring broke; @error is a negative errno */
	void *ctx;
	pthread_t thread;
	bool started;
};

/*
 * Make the loop, to be set up by the caller's thread until it is started. @name is cut to what
 * Linux keeps of a thread's name. With @polled, a kernel thread polls for its submissions, and it
 * is that of the worker @share, unless NULL, which lives as long. Returns 0 or negative errno.
 */
int worker_init(struct worker *w, const char *name, bool polled, const struct worker *share);

/* Free the loop. The worker has been stopped, or was never started. */
void worker_deinit(struct worker *w);

/* Start the thread. Returns 0 or negative errno. */
int worker_start(struct worker *w);

/*
 * End the loop and its thread, and wait for that: whoever waits in a call to the loop is let go.
 * Nothing happens where it never began.
 */
void worker_stop(struct worker *w);
