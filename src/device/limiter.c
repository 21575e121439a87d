// SPDX-License-Identifier: Apache-2.0
/*
 * Queues on several threads take from the same buckets, under a lock that is held for some
 * additions and a division, and that a device without a limit never sees.
 *
 * The buckets may be changed at any time. A queue that waits looks at them when its timer rings,
 * and asks anew; so a change reaches it as soon as that, and nobody has to call it.
 *
 * Who finds the gate closed gets a ticket, and while tickets are out only the oldest goes through:
 * it gives its ticket back and may go on until the buckets are empty, when it gets a new one, or
 * until the next one asks. So the queues have their turns one after the other. A queue that has a
 * ticket also has a timer, which never waits for long; if it rings and the queue does not ask,
 * because it was reset, say, the ticket is void.
 */
#include "device/limiter.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/*
 * What is let in meanwhile is taken at once: an io_uring timer costs a few microseconds, and a rate
 * of many a millisecond is not to cost as many of them.
 */
#define BATCH_NS 1000000u
/* The longest that a queue goes without asking: longer waits are cut to pieces. */
#define WAIT_MAX_NS 100000000u

struct limiter {
	uint64_t (*clock)(void);
	unsigned int ngates;
	atomic_bool limits; /* for who has not the lock, that one of the buckets does */

	pthread_mutex_t lock; /* the rest */
	struct bucket ops, bytes;
	uint64_t last_ticket;
	uint64_t tickets[LIMITER_GATES_MAX]; /* by gate; 0: none */
	const struct limiter_gate *turn;     /* whose it is; NULL: nobody's */
};

int limiter_new(const struct limits *limits, uint64_t (*clock)(void), struct limiter **out)
{
	struct limiter *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->clock = clock ? clock : clock_now_ns;
	pthread_mutex_init(&l->lock, NULL);
	limiter_set(l, limits);
	*out = l;
	return 0;
}

static void set_bucket(struct bucket *bucket, const struct bucket_spec *spec, uint64_t now)
{
	if (!bucket_limits(spec))
		*bucket = (struct bucket){ 0 };
	else if (memcmp(&bucket->spec, spec, sizeof(*spec)) != 0)
		bucket_init(bucket, spec, now);
}

void limiter_set(struct limiter *l, const struct limits *limits)
{
	pthread_mutex_lock(&l->lock);
	uint64_t now = l->clock();

	set_bucket(&l->ops, &limits->ops, now);
	set_bucket(&l->bytes, &limits->bytes, now);
	atomic_store_explicit(&l->limits,
			      bucket_limits(&limits->ops) || bucket_limits(&limits->bytes),
			      memory_order_relaxed);
	pthread_mutex_unlock(&l->lock);
}

void limiter_free(struct limiter *limiter)
{
	if (!limiter)
		return;
	pthread_mutex_destroy(&limiter->lock);
	free(limiter);
}

static void timer_rings(void *ctx, const struct loop_event *ev)
{
	struct limiter_gate *g = ctx;
	struct limiter *l = g->limiter;

	if (ev->res == -ECANCELED)
		return; /* the ring is going */
	g->armed = false;
	g->asked = false;
	g->wake(g->ctx, g->queue);
	if (g->asked)
		return;
	pthread_mutex_lock(&l->lock);
	l->tickets[g->number] = 0;
	pthread_mutex_unlock(&l->lock);
}

int limiter_gate_init(struct limiter_gate *gate, struct limiter *limiter, struct loop *loop,
		      void (*wake)(void *ctx, unsigned int queue), void *ctx, unsigned int queue)
{
	*gate = (struct limiter_gate){
		.limiter = limiter, .loop = loop, .wake = wake, .ctx = ctx, .queue = queue
	};
	if (!limiter)
		return 0;
	if (limiter->ngates == LIMITER_GATES_MAX)
		return -ENOSPC;
	gate->number = limiter->ngates++;
	gate->source = loop_add_source(loop, timer_rings, gate);
	return gate->source < 0 ? gate->source : 0;
}

static void set_timer(struct limiter_gate *g, uint64_t ns)
{
	struct io_uring_sqe *sqe;

	if (g->armed)
		return;
	g->armed = true;
	/* Less than a second in any case. */
	g->timer = (struct __kernel_timespec){
		.tv_nsec = (long long)(ns < WAIT_MAX_NS ? ns : WAIT_MAX_NS),
	};
	sqe = loop_sqe(g->loop);
	io_uring_prep_timeout(sqe, &g->timer, 0, 0);
	loop_tag(sqe, g->source, 0, 0, 0);
}

static bool is_first(const struct limiter *l, const struct limiter_gate *gate)
{
	uint64_t own = l->tickets[gate->number];

	if (l->turn == gate)
		return true;
	for (unsigned int i = 0; i < l->ngates; i++)
		if (l->tickets[i] && (!own || l->tickets[i] < own))
			return false;
	return true;
}

/* How long the buckets are closed. */
static uint64_t closed_for(struct limiter *l)
{
	uint64_t now = l->clock();
	uint64_t ops = bucket_limits(&l->ops.spec) ? bucket_wait(&l->ops, now, BATCH_NS) : 0;
	uint64_t bytes = bucket_limits(&l->bytes.spec) ? bucket_wait(&l->bytes, now, BATCH_NS) : 0;

	return ops > bytes ? ops : bytes;
}

bool limiter_limits(const struct limiter_gate *gate)
{
	return gate->limiter && atomic_load_explicit(&gate->limiter->limits, memory_order_relaxed);
}

bool limiter_open(struct limiter_gate *gate)
{
	struct limiter *l = gate->limiter;
	bool open;

	gate->asked = true;
	pthread_mutex_lock(&l->lock);
	uint64_t ns = closed_for(l);

	open = !ns && is_first(l, gate);
	if (open) {
		l->tickets[gate->number] = 0;
		l->turn = gate;
	} else if (!l->tickets[gate->number]) {
		l->tickets[gate->number] = ++l->last_ticket;
	}
	if (ns)
		l->turn = NULL;
	pthread_mutex_unlock(&l->lock);
	if (!open)
		set_timer(gate, ns ? ns : BATCH_NS);
	return open;
}

void limiter_charge(struct limiter_gate *gate, uint64_t ops, uint64_t bytes)
{
	struct limiter *l = gate->limiter;

	pthread_mutex_lock(&l->lock);
	if (bucket_limits(&l->ops.spec))
		bucket_take(&l->ops, ops);
	if (bucket_limits(&l->bytes.spec))
		bucket_take(&l->bytes, bytes);
	pthread_mutex_unlock(&l->lock);
}
