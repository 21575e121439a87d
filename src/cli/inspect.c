// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "base/log.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/each.h"
#include "control/client.h"

static const char help[] = "Usage: kvmbox inspect VM...\n"
			   "\n"
			   "Print all that is known of VMs, as an array of JSON objects.\n"
			   "\n"
			   "  -h, --help  show this help\n"
			   "\n"
			   "More: man kvmbox-inspect\n";

static int inspect_one(struct state *s, void *ctx, struct error *err)
{
	struct json_object *o = NULL;

	/* Of one that lives, itself knows best; of one that does not answer, its last word. */
	if (!s->alive || client_request(s, "GET", "/state", NULL, CLIENT_SOON, &o, err) < 0 || !o) {
		state_refresh(s);
		o = json_object_get(s->json);
		json_object_object_add(o, "status", json_object_new_string(state_status(s)));
	}
	json_object_array_add(ctx, o);
	return 0;
}

int cmd_inspect(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct args a = { .command = "inspect", .shorts = "", .longs = options, .help = help };
	struct json_object *array;
	int status;

	args_begin(&a, argc, argv);
	if (!args_done(&a, args_next(&a), 1, argc, "the name of a VM is missing", &status))
		return status;
	array = json_object_new_array();
	if (!array) {
		log_line("out of memory");
		return CLI_EXIT_FAILED;
	}
	status = each_vm(&a, inspect_one, NULL, array, false);

	puts(json_object_to_json_string_ext(array, JSON_C_TO_STRING_PRETTY |
							   JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(array);
	return status;
}
