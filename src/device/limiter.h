// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "base/bucket.h"
#include "base/loop.h"

/*
 * What holds the queues of a device to a limit that they share, each on its own loop's thread.
 *
 * A queue has a gate. Before it takes a request off its ring it asks the gate, and if that is
 * closed leaves the rest there: it is called when it is worth while to ask again. What it has taken
 * is charged once its cost is known. Queues that wait have their turn in the order in which they
 * began to, so that none is left out.
 *
 * What the limits are may change while queues run, from none to some and back. As long as there are
 * none, nobody is asked.
 */
struct limiter;

#define LIMITER_GATES_MAX 32

/*
 * A limiter to @limits, which are ok (bucket_spec_ok()), as time goes by @clock: nanoseconds, NULL
 * for clock_now_ns(). On success the caller owns *@out. Returns 0 or negative errno.
 */
int limiter_new(const struct limits *limits, uint64_t (*clock)(void), struct limiter **out);
void limiter_free(struct limiter *limiter);

/*
 * Change what it limits to, to what is ok. A bucket that stays as it was keeps what is in it, any
 * other begins full. Queues that wait follow in at most a tenth of a second. Any thread.
 */
void limiter_set(struct limiter *limiter, const struct limits *limits);

/* One queue's way through a limiter. All but @limiter is the limiter's business. */
struct limiter_gate {
	struct limiter *limiter; /* NULL: none */
	struct loop *loop;
	void (*wake)(void *ctx, unsigned int queue);
	void *ctx;
	unsigned int queue;
	unsigned int number; /* among the limiter's gates */
	int source;
	bool armed; /* a timer is under way */
	bool asked; /* since the timer rang */
	struct __kernel_timespec timer;
};

/*
 * Set up @gate for a queue that @loop serves, and enter it with @limiter, which may be NULL. @gate
 * stays where it is until the loop has ended. @wake(@ctx, @queue) is called there, also when the
 * queue has been reset since. Returns 0 or negative errno (-ENOSPC: too many gates, or sources).
 */
int limiter_gate_init(struct limiter_gate *gate, struct limiter *limiter, struct loop *loop,
		      void (*wake)(void *ctx, unsigned int queue), void *ctx, unsigned int queue);

/* Whether there is a limit, and the gate is to be asked. Any thread. */
bool limiter_limits(const struct limiter_gate *gate);

/*
 * Whether a request may be taken. If not, @wake is called later, in at most a tenth of a second.
 * Thread of the queue's loop.
 */
bool limiter_open(struct limiter_gate *gate);

/* Charge for what was taken: @ops requests with @bytes together. Thread of the queue's loop. */
void limiter_charge(struct limiter_gate *gate, uint64_t ops, uint64_t bytes);
