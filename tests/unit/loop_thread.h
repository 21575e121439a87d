// SPDX-License-Identifier: Apache-2.0
#pragma once

/* A loop on a thread of its own, for tests that stand where a vCPU does. */

#include <poll.h>

#include "guest_driver.h"

struct loop_thread {
	struct loop *loop;
	pthread_t thread;
};

static inline void *loop_thread_main(void *arg)
{
	struct loop_thread *t = arg;

	guest_require(loop_run(t->loop) == 0);
	return NULL;
}

/* Make the loop, to be set up here; then run it there. */
static inline void loop_thread_init(struct loop_thread *t)
{
	guest_require(loop_new(&t->loop, 64) == 0);
}

static inline void loop_thread_run(struct loop_thread *t)
{
	guest_require(pthread_create(&t->thread, NULL, loop_thread_main, t) == 0);
}

/* Both, with what @setup does to the loop in between. */
static inline void loop_thread_start(struct loop_thread *t, void (*setup)(struct loop *loop))
{
	loop_thread_init(t);
	setup(t->loop);
	loop_thread_run(t);
}

static inline void loop_thread_end(struct loop_thread *t)
{
	loop_stop(t->loop);
	pthread_join(t->thread, NULL);
}

static inline void loop_thread_stop(struct loop_thread *t)
{
	loop_thread_end(t);
	loop_free(t->loop);
}

static inline void loop_thread_noop(void *ctx, struct loop_call *call)
{
	(void)ctx;
	loop_call_done(call);
}

/* Wait until the loop has handled whatever was signalled to it before. */
static inline void loop_thread_settle(struct loop_thread *t)
{
	for (int i = 0; i < 3; i++)
		guest_require(loop_call(t->loop, loop_thread_noop, NULL) == 0);
}

/* Take the count of eventfd @fd; 0 at once where nothing has come. */
static inline uint64_t event_take(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

/* Likewise, but wait for it: what never comes ends the test. */
static inline uint64_t event_wait(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	guest_require(poll(&p, 1, 30000) == 1);
	return event_take(fd);
}

static inline void event_signal(int fd)
{
	static const uint64_t one = 1;

	guest_require(write(fd, &one, sizeof(one)) == sizeof(one));
}
