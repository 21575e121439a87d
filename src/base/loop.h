// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <liburing.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The event loop of a monitor thread, which *is* an io_uring: disk requests, guest kicks (eventfd
 * reads), interrupts (eventfd writes), sockets and timers are all submissions on one ring, and one
 * io_uring_enter() both submits what the last batch of completions asked for and waits for more.
 *
 * A submission is tagged with a 64-bit user_data made of numbers only:
 *
 *   source      who submitted it: an index into the loop's table of sources
 *   op          what it was; the source has one visible switch over its own ops
 *   index       which request, queue or connection of the source
 *   generation  the source's generation when it was submitted, so that a completion that arrives
 *               after the request's slot was given to somebody else is seen as late and dropped
 *
 * Never a pointer: a late completion can then at worst be ignored.
 *
 * A loop belongs to the thread that first runs it, and so do all functions but loop_call() and
 * loop_stop(). Until then one thread, whichever, may set it up: add sources and files, and prepare
 * submissions.
 */
struct loop;

struct loop_event {
	uint8_t op;
	uint16_t index;
	uint32_t generation; /* low 24 bits are kept */
	int32_t res;         /* the operation's result, or negative errno */
	uint32_t flags;      /* IORING_CQE_F_* */
};

typedef void loop_handler(void *ctx, const struct loop_event *ev);

#define LOOP_GENERATION_MASK 0xffffffu

/*
 * Make a loop whose ring has @entries submission slots. On success *@out is owned by the caller.
 * Returns 0 or negative errno (-ENOSYS or -EPERM where the host forbids io_uring).
 */
int loop_new(struct loop **out, unsigned int entries);
/*
 * Likewise, with a kernel thread that polls for submissions: a core is busy as long as there are
 * any, and some milliseconds more. @share, which may be NULL, is a loop of this kind whose thread
 * is to serve this one too, and must live as long.
 */
int loop_new_polled(struct loop **out, unsigned int entries, const struct loop *share);

/* The thread that ran it runs it no more. */
void loop_free(struct loop *loop);

/*
 * Enter @handler(@ctx) into the table of sources. Returns the source's number (>= 0), or -ENOSPC.
 * A source stays for the life of the loop.
 */
int loop_add_source(struct loop *loop, loop_handler *handler, void *ctx);

/*
 * Register @fd with the ring, so that its operations need no descriptor look-up. Returns the fixed
 * file's number, for use with IOSQE_FIXED_FILE, or negative errno. The loop does not own @fd.
 */
int loop_add_file(struct loop *loop, int fd);

/*
 * Register @size bytes at @base as buffers, once, so that requests need not look their pages up:
 * loop_buffer() tells which. This pins the memory, all of it, for the life of the loop. Returns 0
 * or negative errno (-ENOMEM: more than the limit on locked memory).
 */
int loop_add_memory(struct loop *loop, void *base, size_t size);

/* The number of the registered buffer that holds the @len bytes at @p, or -1. */
int loop_buffer(const struct loop *loop, const void *p, size_t len);

/*
 * A free submission entry, tagged; the caller prepares it with io_uring_prep_*() BEFORE calling
 * loop_tag(). Never NULL: a full submission queue is submitted first.
 */
struct io_uring_sqe *loop_sqe(struct loop *loop);

/* Have the next @n entries be submitted together, as linked ones must be. @n is less than entries.
 */
void loop_reserve(struct loop *loop, unsigned int n);

/* How many entries wait for the end of the turn, when they are submitted. */
unsigned int loop_pending(const struct loop *loop);

/* Submit them now: a system call. Not between linked entries. */
void loop_submit(struct loop *loop);

void loop_tag(struct io_uring_sqe *sqe, int source, uint8_t op, uint16_t index,
	      uint32_t generation);

/*
 * Wait for eventfd @file (a fixed file's number) to be signalled, once: completes with op/index at
 * @source, having read the counter into loop-owned memory.
 */
void loop_wait_event(struct loop *loop, int file, int source, uint8_t op, uint16_t index,
		     uint32_t generation);

/* Signal eventfd @file (a fixed file's number), with the next batch; failures are not reported. */
void loop_signal(struct loop *loop, int file);

/*
 * Something to be done when a turn is over, that is, when what had completed has been handled.
 *
 * At LOOP_TURN_ENDS, what the turn has prepared for others is shown to them, all at once. At
 * LOOP_SLEEPS, just before the loop waits, whoever does not signal every change is asked to do so
 * from now on, and looked at for the last time. In between, if the loop has been promised that
 * there will be more soon, and found that to be true lately, it looks for it for some microseconds
 * (LOOP_LOOKS), before it goes to sleep.
 *
 * The function returns whether there was work, which it has then done. Not in every stage it does
 * anything.
 */
enum loop_stage { LOOP_TURN_ENDS, LOOP_LOOKS, LOOP_SLEEPS };

struct loop_turn {
	bool (*fn)(void *ctx, enum loop_stage stage);
	void *ctx;
	struct loop_turn *next; /* the rest is the loop's */
	bool listed;
};

/* Have @turn called, once for the stages of this turn. */
void loop_at_turn(struct loop *loop, struct loop_turn *turn);

/*
 * Likewise, with the promise that there will be more to do soon. Returns whether the loop is going
 * to look for it.
 */
bool loop_expect(struct loop *loop, struct loop_turn *turn);

/* Run until loop_stop(). Returns 0, or the negative errno that broke the ring. */
int loop_run(struct loop *loop);

/*
 * The last of the setting up, on the thread that is going to run the loop: its ring takes what the
 * @n entries of @allowed name and nothing else, and the kernel keeps at most @workers threads for
 * it, for files and for the rest; kernels before 5.15 know no such bound. @workers is changed.
 * Returns 0 or negative errno.
 */
int loop_restrict(struct loop *loop, struct io_uring_restriction *allowed, unsigned int n,
		  unsigned int workers[2]);

/* Submit what is prepared, wait for at least one completion, and handle what has completed. */
int loop_run_once(struct loop *loop);

/* End loop_run() after the batch under way. Any thread. */
void loop_stop(struct loop *loop);

/*
 * Run @fn(@ctx, call) on the loop's thread and wait until loop_call_done() is called for it, by @fn
 * itself or later (when requests in flight have been drained, say). Any thread but the loop's.
 * Returns 0, or -ECANCELED when the loop ended first.
 */
struct loop_call;
typedef void loop_call_fn(void *ctx, struct loop_call *call);
int loop_call(struct loop *loop, loop_call_fn *fn, void *ctx);
void loop_call_done(struct loop_call *call);
