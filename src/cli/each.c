// SPDX-License-Identifier: Apache-2.0
#include "cli/each.h"

#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"
#include "cli/show.h"
#include "control/client.h"

#define LOOK_US 20000 /* between two looks at a VM that is about to end */

int each_vm(const struct args *a, each_fn *fn, void *ctx, bool print)
{
	int status = 0;

	for (int i = optind; i < a->argc; i++) {
		struct error err;
		struct state s;
		int ret = state_read(&s, a->argv[i], &err);

		if (ret == 0) {
			ret = fn(&s, ctx, &err);
			state_deinit(&s);
		}
		if (ret < 0) {
			log_line("%s", err.text);
			status = CLI_EXIT_FAILED;
		} else if (print) {
			puts(a->argv[i]);
		}
	}
	return status;
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
int await_end(struct state *s)
{
	int status = -1;

	while (s->alive) {
		struct json_object *answer = NULL;
		struct error ignored;

		if (client_request(s, "GET", "/wait", NULL, CLIENT_FOREVER, &answer, &ignored) == 0)
			status = status_in(answer);
		json_object_put(answer);
		if (state_refresh(s) < 0)
			return status; /* it has left nothing */
		if (s->alive)
			usleep(LOOK_US);
	}
	return status < 0 ? status_in(s->json) : status;
}
