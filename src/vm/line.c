// SPDX-License-Identifier: Apache-2.0
#include "vm/line.h"

void start_line_init(struct start_line *line)
{
	*line = (struct start_line){ .state = LINE_CLOSED };
	pthread_mutex_init(&line->lock, NULL);
	pthread_cond_init(&line->changed, NULL);
}

void start_line_deinit(struct start_line *line)
{
	pthread_cond_destroy(&line->changed);
	pthread_mutex_destroy(&line->lock);
}

bool start_line_reach(struct start_line *line, int error)
{
	pthread_mutex_lock(&line->lock);
	line->ready++;
	if (!line->error)
		line->error = error;
	pthread_cond_broadcast(&line->changed);
	while (line->state == LINE_CLOSED)
		pthread_cond_wait(&line->changed, &line->lock);

	bool go = line->state == LINE_OPEN && !error;

	pthread_mutex_unlock(&line->lock);
	return go;
}

int start_line_wait(struct start_line *line, unsigned int n)
{
	pthread_mutex_lock(&line->lock);
	while (line->ready < n)
		pthread_cond_wait(&line->changed, &line->lock);

	int error = line->error;

	pthread_mutex_unlock(&line->lock);
	return error;
}

static void set_state(struct start_line *line, int state)
{
	pthread_mutex_lock(&line->lock);
	if (line->state == LINE_CLOSED)
		line->state = state;
	pthread_cond_broadcast(&line->changed);
	pthread_mutex_unlock(&line->lock);
}

void start_line_open(struct start_line *line)
{
	set_state(line, LINE_OPEN);
}

void start_line_cancel(struct start_line *line)
{
	set_state(line, LINE_CANCELLED);
}
