// SPDX-License-Identifier: Apache-2.0
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/each.h"
#include "control/client.h"

static const char pause_help[] =
	"Usage: kvmbox pause VM...\n"
	"\n"
	"Stop the virtual CPUs of VMs until kvmbox resume, and print their names.\n"
	"\n"
	"  -h, --help  show this help\n"
	"\n"
	"More: man kvmbox-pause\n";

static const char resume_help[] = "Usage: kvmbox resume VM...\n"
				  "\n"
				  "Let VMs run on after kvmbox pause, and print their names.\n"
				  "\n"
				  "  -h, --help  show this help\n"
				  "\n"
				  "More: man kvmbox-resume\n";

static int change_one(struct state *s, void *ctx, struct error *err)
{
	const char *state = ctx;
	struct json_object *body = json_object_new_object();

	json_object_object_add(body, "state", json_object_new_string(state));
	int ret = client_request(s, "PATCH", "/vm", body, CLIENT_SOON, NULL, err);

	json_object_put(body);
	return ret;
}

static int change(int argc, char **argv, const char *help, char *state)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct args a = { .command = argv[0], .shorts = "", .longs = options, .help = help };
	int status;

	args_begin(&a, argc, argv);
	if (!args_done(&a, args_next(&a), 1, argc, "the name of a VM is missing", &status))
		return status;
	return each_vm(&a, change_one, NULL, state, true);
}

int cmd_pause(int argc, char **argv)
{
	char state[] = "Paused";

	return change(argc, argv, pause_help, state);
}

int cmd_resume(int argc, char **argv)
{
	char state[] = "Resumed";

	return change(argc, argv, resume_help, state);
}
