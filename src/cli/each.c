// SPDX-License-Identifier: Apache-2.0
#include "cli/each.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/show.h"
#include "control/client.h"

#define END_S   60    /* that an end may take the kernel and a supervisor on a busy host */
#define LOOK_US 20000 /* between two looks at a VM that is about to end */

struct each {
	struct state s;
	int ret; /* of what was done for it last */
};

static void each_do(struct each *e, each_fn *fn, void *ctx)
{
	struct error err;

	e->ret = fn(&e->s, ctx, &err);
	if (e->ret < 0)
		log_line("%s", err.text);
}

static void each_open(struct each *e, const char *name)
{
	struct error err;

	e->ret = state_read(&e->s, name, &err);
	if (e->ret < 0)
		log_line("%s", err.text);
}

int each_vm(const struct args *a, each_fn *first, each_fn *then, void *ctx, bool print)
{
	size_t n = (size_t)(a->argc - optind);
	AUTO_FREE struct each *all = calloc(n, sizeof(*all));
	char **names = a->argv + optind;
	int status = 0;

	if (!all) {
		log_line("out of memory");
		return CLI_EXIT_FAILED;
	}
	for (size_t i = 0; i < n; i++) {
		each_open(&all[i], names[i]);
		if (all[i].ret == 0) {
			each_do(&all[i], first, ctx);
			if (all[i].ret < 0)
				state_deinit(&all[i].s);
		}
	}
	for (size_t i = 0; i < n; i++) {
		if (all[i].ret == 0) {
			if (then)
				each_do(&all[i], then, ctx);
			state_deinit(&all[i].s);
		}
		if (all[i].ret < 0)
			status = CLI_EXIT_FAILED;
		else if (print)
			puts(names[i]);
	}
	return status;
}

int one_vm(const char *name, each_fn *fn, void *ctx)
{
	struct each e;

	each_open(&e, name);
	if (e.ret == 0) {
		each_do(&e, fn, ctx);
		state_deinit(&e.s);
	}
	return e.ret;
}

int ask_end(struct state *s, long timeout_s, struct error *err)
{
	struct json_object *body;

	if (!s->alive)
		return 0;
	body = json_object_new_object();
	json_object_object_add(body, "timeout_s", json_object_new_int64(timeout_s));
	int ret = client_request(s, "POST", "/stop", body, CLIENT_SOON, NULL, err);

	json_object_put(body);
	/* One that ended just now is what was asked for. */
	return ret == -ENOTCONN || ret == -ECONNRESET ? 0 : ret;
}

static int status_in(struct json_object *o)
{
	struct json_object *value = show_find(o, "exit_status");

	return json_object_is_type(value, json_type_int) ? json_object_get_int(value) : -1;
}

/*
 * The answer to the wait is the supervisor's last but one: what it holds is free when its lock is.
 * One that does not listen is about to begin, or to end.
 */
static int await_until(struct state *s, uint64_t deadline_ns)
{
	enum client_patience patience = deadline_ns ? CLIENT_SOON : CLIENT_FOREVER;
	int status = -1;

	while (s->alive && (!deadline_ns || clock_now_ns() < deadline_ns)) {
		struct json_object *answer = NULL;
		struct error ignored;

		if (client_request(s, "GET", "/wait", NULL, patience, &answer, &ignored) == 0)
			status = status_in(answer);
		json_object_put(answer);
		if (state_refresh(s) < 0) {
			s->alive = false;
			return status; /* it has left nothing */
		}
		if (s->alive)
			usleep(LOOK_US);
	}
	return status < 0 ? status_in(s->json) : status;
}

int await_end(struct state *s)
{
	return await_until(s, 0);
}

int await_told_end(struct state *s, long grace_s, struct error *err)
{
	int monitor = json_object_get_int(show_find(s->json, "monitor_pid"));

	await_until(s, clock_now_ns() + (uint64_t)(grace_s + END_S) * 1000000000);
	if (!s->alive)
		return 0;
	return error_set(err, ETIMEDOUT,
			 "the VM \"%s\" was told to end and does not: its monitor, process %d, may "
			 "be waiting for a disk of the host",
			 s->name, monitor);
}
