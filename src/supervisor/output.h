// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvmbox/agent.h"

/*
 * The streams of a workload that runs in the background: what it writes goes to a log and to
 * whoever is attached, and what those type goes to its standard input. Somebody attached who does
 * not read is left behind; the workload waits for nobody.
 *
 * An attached client, which may close its half, speaks as in an EXEC session of
 * include/kvmbox/agent.h, after its EXEC: DATA of standard input with its window, SIGNAL and
 * WINSIZE; it is sent DATA, ROOM, and EXIT at the end.
 */
struct output;

struct output_ops {
	/* The workload wrote @len bytes. */
	void (*written)(void *ctx, const uint8_t *data, size_t len);
	void (*signal)(void *ctx, int signo);
	void (*winsize)(void *ctx, uint32_t rows, uint32_t cols);
};

/* On success *@out is freed by output_free(). Returns 0 or negative errno. */
int output_new(const struct output_ops *ops, void *ctx, struct output **out);

void output_free(struct output *o);

/* To be polled for POLLIN, and what is to be done then. */
int output_fd(const struct output *o);
void output_run(struct output *o);

/*
 * The guest's end of a stream, which is taken: a non-blocking socket. With a terminal the one of
 * standard input is both ways, and the others do not come.
 */
void output_stream(struct output *o, enum kvmbox_stream which, int fd, bool terminal);

/* Without a standard input: what is sent for it is dropped. */
void output_close_input(struct output *o);

/* Take a client, a non-blocking socket. Returns 0, or negative errno (-ENOSPC), and @fd is closed.
 */
int output_attach(struct output *o, int fd);

/* Whether there is no room for another client. */
bool output_is_full(const struct output *o);

/* Whether all clients have been sent all that there was for them. */
bool output_sent(const struct output *o);

/*
 * No stream of output is open: once the workload has ended, or the guest is gone, all of it was
 * read. A guest that could not start the workload may not have opened any.
 */
bool output_ended(const struct output *o);

/* The guest is gone: what streams there still are have ended with what they hold now. */
void output_abandon(struct output *o);

/* The workload has ended, and all of its output was read. */
void output_exit(struct output *o, const struct kvmbox_exit *e);
