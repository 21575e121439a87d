// SPDX-License-Identifier: Apache-2.0
#include "vm/worker.h"

#include <stdio.h>

#include "base/thread.h"

#define RING_ENTRIES 128

int worker_init(struct worker *w, const char *name, bool polled, const struct worker *share)
{
	*w = (struct worker){ 0 };
	snprintf(w->name, sizeof(w->name), "%s", name);
	if (polled)
		return loop_new_polled(&w->loop, RING_ENTRIES, share ? share->loop : NULL);
	return loop_new(&w->loop, RING_ENTRIES);
}

void worker_deinit(struct worker *w)
{
	loop_free(w->loop);
	w->loop = NULL;
}

static void *worker_thread(void *arg)
{
	struct worker *w = arg;

	pthread_setname_np(pthread_self(), w->name);
	if (!w->begin(w->ctx, w->loop))
		return NULL;
	int ret = loop_run(w->loop);
	if (ret)
		w->broken(w->ctx, ret);
	return NULL;
}

int worker_start(struct worker *w)
{
	int ret = thread_start(&w->thread, worker_thread, w);

	w->started = !ret;
	return ret;
}

void worker_stop(struct worker *w)
{
	if (!w->started)
		return;
	loop_stop(w->loop);
	pthread_join(w->thread, NULL);
	w->started = false;
}
