// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pthread.h>
#include <stdbool.h>

/*
 * The line that a machine's threads start from: each says that it is ready, or why it is not, and
 * waits until all of them are let go, or none.
 */
struct start_line {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int ready;
	int error; /* the first thread's that has one */
	enum { LINE_CLOSED, LINE_OPEN, LINE_CANCELLED } state;
};

void start_line_init(struct start_line *line);
void start_line_deinit(struct start_line *line);

/* A thread is there, with 0 or negative errno as @error. Returns whether to go on. */
bool start_line_reach(struct start_line *line, int error);

/* Wait until @n threads are there. Returns 0, or the first one's negative errno. */
int start_line_wait(struct start_line *line, unsigned int n);

/* Let them go on; or have them end, those too that are still to come. */
void start_line_open(struct start_line *line);
void start_line_cancel(struct start_line *line);
