// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "kvmbox/agent.h"

/*
 * Short sessions with the guest's agent that the supervisor has itself, for those who speak nothing
 * but HTTP with it. What the guest answers is hostile, bounded, and waited for only so long.
 */
struct calls;

struct calls_ops {
	/* Connect @fd, which is taken, to the agent in the guest. Returns 0 or negative errno. */
	int (*dial)(void *ctx, int fd);
	/* Whether there is anybody yet to be given the answer to @id. */
	bool (*wanted)(void *ctx, uint64_t id);
	/* The answer to calls_health(); NULL: there was none. */
	void (*health)(void *ctx, uint64_t id, const struct kvmbox_health *health);
	/* The answer to calls_exec(), which is taken; or NULL and a sentence. */
	void (*exec)(void *ctx, uint64_t id, struct json_object *answer, const char *fault);
};

/* On success *@out is freed by calls_free(). Returns 0 or negative errno. */
int calls_new(const struct calls_ops *ops, void *ctx, struct calls **out);

/* What is under way is dropped without an answer. */
void calls_free(struct calls *c);

/* To be polled for POLLIN, and what is to be done then. */
int calls_fd(const struct calls *c);
void calls_run(struct calls *c);

/* Ask for the guest's health. @id is the caller's, and comes with the answer. */
void calls_health(struct calls *c, uint64_t id);

/*
 * Run a command to its end: @request is {"argv": [...], "env": [...], "workdir": ..., "stdin":
 * ...}, all but the first optional; the answer is {"exit_status", "stdout", "stderr"}, and
 * "truncated" where either is longer than CALLS_OUTPUT_MAX. What is not printable UTF-8 in the
 * output, line ends and tabs aside, is U+FFFD in the answer.
 */
#define CALLS_OUTPUT_MAX (1u << 20)
void calls_exec(struct calls *c, uint64_t id, struct json_object *request);
