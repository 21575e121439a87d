// SPDX-License-Identifier: Apache-2.0
#include "base/loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"

#define SOURCES_MAX  255 /* a source is 8 bits of a tag */
#define FILES_MAX    512
#define CQ_FACTOR    4
#define BUFFER_SIZE  (1ull << 30) /* the most that the kernel takes for one */
#define BUFFERS_MAX  1024
#define POLL_IDLE_MS 20 /* of a polling kernel thread */
/*
 * How long a loop looks for what it has been promised, before it sleeps. To sleep and be woken
 * takes some 5 us on an idle machine and ten times that on a busy or a nested one, twice in each
 * round of a guest's requests: once for the disk, and once for the guest. With 100 us a disk at
 * depth 32 came to 0.83 of fio's reads and 0.81 of its writes, with 30 us to 0.77 and 0.65
 * (tests/bench/native-blk).
 */
#define LOOK_NS 100000
#define NOBODY  UINT64_MAX /* a tag whose source is past the end of any table */

struct loop_call {
	struct loop *loop;
	struct loop_call *next;
	loop_call_fn *fn;
	void *ctx;
	bool started;
	bool done;
	int result;
};

struct loop {
	struct io_uring ring;
	struct {
		loop_handler *handler;
		void *ctx;
	} sources[SOURCES_MAX];
	int nsources;
	int nfiles;
	bool enabled;    /* it has a thread */
	uint8_t *memory; /* registered, in buffers of BUFFER_SIZE; NULL: none */
	size_t memory_size;
	struct loop_turn *turns;
	bool expecting;       /* more to do, soon */
	bool worth_while;     /* to look for it: it came in time when it was last expected */
	uint64_t event_count; /* where eventfd reads put a number nobody needs */

	int wake_fd; /* signalled by loop_call() and loop_stop() */
	int wake_file;
	int wake_source;
	atomic_bool stopping;

	pthread_mutex_t lock; /* the calls, and ended */
	pthread_cond_t call_done;
	struct loop_call *calls;
	bool ended;
};

static const uint64_t event_one = 1;

/* user_data: source 8 | op 8 | index 16 | generation 24 | 8 unused */
void loop_tag(struct io_uring_sqe *sqe, int source, uint8_t op, uint16_t index, uint32_t generation)
{
	sqe->user_data = (uint64_t)(uint8_t)source << 56 | (uint64_t)op << 48 |
			 (uint64_t)index << 32 | (generation & LOOP_GENERATION_MASK);
}

static void run_calls(struct loop *loop)
{
	for (;;) {
		struct loop_call *call;

		pthread_mutex_lock(&loop->lock);
		for (call = loop->calls; call && call->started; call = call->next)
			;
		if (call)
			call->started = true;
		pthread_mutex_unlock(&loop->lock);
		if (!call)
			return;
		call->fn(call->ctx, call);
	}
}

static void handle_wake(void *ctx, const struct loop_event *ev)
{
	struct loop *loop = ctx;

	(void)ev;
	loop_wait_event(loop, loop->wake_file, loop->wake_source, 0, 0, 0);
	run_calls(loop);
}

/*
 * One thread submits and reaps, and completions may wait until it asks for them: with these flags
 * the kernel interrupts nobody. Kernels before 6.1 do not know them and do without. The ring starts
 * disabled, since the kernel takes the thread that enables it for the one.
 */
static int init_ring(struct io_uring *ring, unsigned int entries)
{
	const unsigned int flags = IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED;
	struct io_uring_params p = {
		.flags = flags | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_TASKRUN_FLAG,
		/*
		 * More may be in flight than is submitted at once: every disk's queues, every kick.
		 * What does not fit the kernel keeps for later, and these stay resident.
		 */
		.cq_entries = CQ_FACTOR * entries,
	};
	int ret = io_uring_queue_init_params(entries, ring, &p);

	if (ret == -EINVAL) {
		p = (struct io_uring_params){ .flags = flags, .cq_entries = CQ_FACTOR * entries };
		ret = io_uring_queue_init_params(entries, ring, &p);
	}
	return ret;
}

static int init_polled_ring(struct io_uring *ring, unsigned int entries, const struct loop *share)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED | IORING_SETUP_SQPOLL,
		.cq_entries = CQ_FACTOR * entries,
		.sq_thread_idle = POLL_IDLE_MS,
	};

	if (share) {
		p.flags |= IORING_SETUP_ATTACH_WQ;
		p.wq_fd = (unsigned int)share->ring.ring_fd;
	}
	return io_uring_queue_init_params(entries, ring, &p);
}

static int init_files(struct io_uring *ring)
{
	int none[FILES_MAX];

	for (int i = 0; i < FILES_MAX; i++)
		none[i] = -1;
	return io_uring_register_files(ring, none, FILES_MAX);
}

static int make_loop(struct loop **out, unsigned int entries, bool polled, const struct loop *share)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int ret;

	if (!loop)
		return -ENOMEM;
	ret = polled ? init_polled_ring(&loop->ring, entries, share)
		     : init_ring(&loop->ring, entries);
	if (ret)
		goto free_loop;
	ret = init_files(&loop->ring);
	if (ret)
		goto exit_ring;
	loop->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (loop->wake_fd < 0) {
		ret = -errno;
		goto exit_ring;
	}
	pthread_mutex_init(&loop->lock, NULL);
	pthread_cond_init(&loop->call_done, NULL);
	loop->wake_file = loop_add_file(loop, loop->wake_fd);
	if (loop->wake_file < 0) {
		ret = loop->wake_file;
		goto close_wake;
	}
	loop->wake_source = loop_add_source(loop, handle_wake, loop);
	loop_wait_event(loop, loop->wake_file, loop->wake_source, 0, 0, 0);
	*out = loop;
	return 0;

close_wake:
	close(loop->wake_fd);
	pthread_mutex_destroy(&loop->lock);
	pthread_cond_destroy(&loop->call_done);
exit_ring:
	io_uring_queue_exit(&loop->ring);
free_loop:
	free(loop);
	return ret;
}

int loop_new(struct loop **out, unsigned int entries)
{
	return make_loop(out, entries, false, NULL);
}

int loop_new_polled(struct loop **out, unsigned int entries, const struct loop *share)
{
	return make_loop(out, entries, true, share);
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	io_uring_queue_exit(&loop->ring);
	close(loop->wake_fd);
	pthread_mutex_destroy(&loop->lock);
	pthread_cond_destroy(&loop->call_done);
	free(loop);
}

int loop_add_source(struct loop *loop, loop_handler *handler, void *ctx)
{
	if (loop->nsources == SOURCES_MAX)
		return -ENOSPC;
	loop->sources[loop->nsources].handler = handler;
	loop->sources[loop->nsources].ctx = ctx;
	return loop->nsources++;
}

int loop_add_file(struct loop *loop, int fd)
{
	if (loop->nfiles == FILES_MAX)
		return -ENOSPC;
	int ret = io_uring_register_files_update(&loop->ring, (unsigned int)loop->nfiles, &fd, 1);
	if (ret < 0)
		return ret;
	return loop->nfiles++;
}

/* liburing 2.3 declares io_uring_enable_rings(), and does not export it. */
static int enable(struct loop *loop)
{
	if (loop->enabled)
		return 0;
	loop->enabled = true;
	return io_uring_register((unsigned int)loop->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS,
				 NULL, 0);
}

int loop_restrict(struct loop *loop, struct io_uring_restriction *allowed, unsigned int n,
		  unsigned int workers[2])
{
	int ret = io_uring_register_iowq_max_workers(&loop->ring, workers);

	if (ret && ret != -EINVAL)
		return ret;
	ret = io_uring_register_restrictions(&loop->ring, allowed, n);
	return ret ? ret : enable(loop);
}

int loop_add_memory(struct loop *loop, void *base, size_t size)
{
	struct iovec buffers[BUFFERS_MAX];
	unsigned int n = 0;

	if (loop->memory)
		return loop->memory == base && loop->memory_size == size ? 0 : -EBUSY;
	for (size_t at = 0; at < size; at += BUFFER_SIZE) {
		size_t left = size - at;

		if (n == BUFFERS_MAX)
			return -ENOSPC;
		buffers[n++] = (struct iovec){ (uint8_t *)base + at,
					       left < BUFFER_SIZE ? left : BUFFER_SIZE };
	}
	int ret = io_uring_register_buffers(&loop->ring, buffers, n);
	if (ret)
		return ret;
	loop->memory = base;
	loop->memory_size = size;
	return 0;
}

int loop_buffer(const struct loop *loop, const void *p, size_t len)
{
	size_t off = (uintptr_t)p - (uintptr_t)loop->memory;

	if (!loop->memory || !len || off >= loop->memory_size || len > loop->memory_size - off ||
	    off / BUFFER_SIZE != (off + len - 1) / BUFFER_SIZE)
		return -1;
	return (int)(off / BUFFER_SIZE);
}

void loop_reserve(struct loop *loop, unsigned int n)
{
	while (io_uring_sq_space_left(&loop->ring) < n) {
		enable(loop);
		io_uring_submit(&loop->ring);
		io_uring_sqring_wait(&loop->ring);
	}
}

struct io_uring_sqe *loop_sqe(struct loop *loop)
{
	loop_reserve(loop, 1);
	return io_uring_get_sqe(&loop->ring);
}

unsigned int loop_pending(const struct loop *loop)
{
	return io_uring_sq_ready(&loop->ring);
}

void loop_submit(struct loop *loop)
{
	if (loop->enabled)
		io_uring_submit(&loop->ring);
}

void loop_wait_event(struct loop *loop, int file, int source, uint8_t op, uint16_t index,
		     uint32_t generation)
{
	struct io_uring_sqe *sqe = loop_sqe(loop);

	io_uring_prep_read(sqe, file, &loop->event_count, sizeof(loop->event_count), 0);
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	loop_tag(sqe, source, op, index, generation);
}

void loop_signal(struct loop *loop, int file)
{
	struct io_uring_sqe *sqe = loop_sqe(loop);

	io_uring_prep_write(sqe, file, &event_one, sizeof(event_one), 0);
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS);
	sqe->user_data = NOBODY; /* a failed write completes all the same */
}

static void dispatch(struct loop *loop, const struct io_uring_cqe *cqe)
{
	uint64_t tag = cqe->user_data;
	unsigned int source = (unsigned int)(tag >> 56);
	struct loop_event ev = {
		.op = (uint8_t)(tag >> 48),
		.index = (uint16_t)(tag >> 32),
		.generation = (uint32_t)tag & LOOP_GENERATION_MASK,
		.res = cqe->res,
		.flags = cqe->flags,
	};

	if (source < (unsigned int)loop->nsources)
		loop->sources[source].handler(loop->sources[source].ctx, &ev);
}

void loop_at_turn(struct loop *loop, struct loop_turn *turn)
{
	if (turn->listed)
		return;
	turn->listed = true;
	turn->next = loop->turns;
	loop->turns = turn;
}

bool loop_expect(struct loop *loop, struct loop_turn *turn)
{
	loop_at_turn(loop, turn);
	loop->expecting = true;
	return loop->worth_while;
}

/* Whether there are completions, be it such that only io_uring_enter() brings. */
static bool kernel_has_work(const struct loop *loop)
{
	return io_uring_cq_ready(&loop->ring) ||
	       __atomic_load_n(loop->ring.sq.kflags, __ATOMIC_RELAXED) & IORING_SQ_TASKRUN;
}

/* Look for what is expected until @deadline. Returns whether it, or something else, has come. */
static bool look(struct loop *loop, uint64_t deadline)
{
	io_uring_submit(&loop->ring);
	do {
		for (struct loop_turn *t = loop->turns; t; t = t->next)
			if (t->fn(t->ctx, LOOP_LOOKS))
				return true;
		if (kernel_has_work(loop))
			return true;
		__builtin_ia32_pause();
	} while (clock_now_ns() < deadline);
	return false;
}

/* Returns whether there was work. It may have made those who found it be called again. */
static bool sleep_stage(struct loop *loop)
{
	struct loop_turn *next, *turns = loop->turns;
	bool work = false;

	loop->turns = NULL;
	for (struct loop_turn *t = turns; t; t = next) {
		next = t->next;
		t->listed = false;
		work |= t->fn(t->ctx, LOOP_SLEEPS);
	}
	return work;
}

/* End a turn: submit, and wait unless there is work already. Returns 0 or negative errno. */
static int end_turn(struct loop *loop)
{
	bool expecting = loop->expecting, found, work;
	uint64_t begin = expecting ? clock_now_ns() : 0;
	int ret;

	loop->expecting = false;
	for (struct loop_turn *t = loop->turns; t; t = t->next)
		t->fn(t->ctx, LOOP_TURN_ENDS);
	found = expecting && loop->worth_while && look(loop, begin + LOOK_NS);
	work = sleep_stage(loop);
	/* Once more, as what was found is mostly all; and no more than that, for others' sake. */
	if (work)
		work = sleep_stage(loop);
	if (work)
		ret = io_uring_submit_and_get_events(&loop->ring);
	else
		ret = io_uring_submit_and_wait(&loop->ring, 1);
	if (expecting)
		loop->worth_while = found || clock_now_ns() - begin < LOOK_NS;
	return ret;
}

int loop_run_once(struct loop *loop)
{
	int ret = enable(loop);

	if (ret)
		return ret;
	ret = end_turn(loop);
	if (ret < 0 && ret != -EINTR && ret != -EAGAIN && ret != -EBUSY)
		return ret;

	struct io_uring_cqe *cqe;
	/*
	 * What had completed by now. A handler that finds the submission queue full submits it, and
	 * then more may complete at once: that is for the next round, or the busiest could keep the
	 * loop from all that only completes while it waits.
	 */
	for (unsigned int n = io_uring_cq_ready(&loop->ring); n; n--) {
		if (io_uring_peek_cqe(&loop->ring, &cqe))
			break;

		struct io_uring_cqe copy = { .user_data = cqe->user_data,
					     .res = cqe->res,
					     .flags = cqe->flags };

		io_uring_cqe_seen(&loop->ring, cqe);
		dispatch(loop, &copy);
	}
	return 0;
}

/* From here on nobody will serve a call: let go of everyone who waits for one. */
static void cancel_calls(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	loop->ended = true;
	for (struct loop_call *call = loop->calls; call; call = call->next) {
		call->result = -ECANCELED;
		call->done = true;
	}
	loop->calls = NULL;
	pthread_cond_broadcast(&loop->call_done);
	pthread_mutex_unlock(&loop->lock);
}

int loop_run(struct loop *loop)
{
	int ret = 0;

	while (!ret && !atomic_load(&loop->stopping))
		ret = loop_run_once(loop);
	cancel_calls(loop);
	return ret;
}

static void wake(struct loop *loop)
{
	ssize_t ret = write(loop->wake_fd, &event_one, sizeof(event_one));

	(void)ret; /* fails only when the counter is full: then the wake-up is on its way */
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stopping, true);
	wake(loop);
}

int loop_call(struct loop *loop, loop_call_fn *fn, void *ctx)
{
	struct loop_call call = { .loop = loop, .fn = fn, .ctx = ctx };
	struct loop_call **tail;

	pthread_mutex_lock(&loop->lock);
	if (loop->ended) {
		pthread_mutex_unlock(&loop->lock);
		return -ECANCELED;
	}
	for (tail = &loop->calls; *tail; tail = &(*tail)->next)
		;
	*tail = &call;
	wake(loop);
	while (!call.done)
		pthread_cond_wait(&loop->call_done, &loop->lock);
	pthread_mutex_unlock(&loop->lock);
	return call.result;
}

void loop_call_done(struct loop_call *call)
{
	struct loop *loop = call->loop;

	pthread_mutex_lock(&loop->lock);
	for (struct loop_call **p = &loop->calls; *p; p = &(*p)->next) {
		if (*p != call)
			continue;
		*p = call->next;
		call->done = true;
		pthread_cond_broadcast(&loop->call_done);
		break;
	}
	pthread_mutex_unlock(&loop->lock);
}
