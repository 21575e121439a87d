// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/each.h"
#include "control/client.h"

static const char help[] =
	"Usage: kvmbox kill [OPTION]... VM...\n"
	"\n"
	"End VMs at once, or send their workloads a signal, and print their names.\n"
	"\n"
	"  -s, --signal SIGNAL  do not end the VM: the workload gets this signal, a name\n"
	"                       such as HUP or SIGHUP or a number\n"
	"  -h, --help           show this help\n"
	"\n"
	"More: man kvmbox-kill\n";

static int kill_one(struct state *s, void *ctx, struct error *err)
{
	const char *signal = ctx;
	struct json_object *body = json_object_new_object();

	if (signal)
		json_object_object_add(body, "signal", json_object_new_string(signal));
	int ret = client_request(s, "POST", "/kill", body, CLIENT_SOON, NULL, err);

	json_object_put(body);
	/* It may be gone before it can answer. */
	return !signal && ret == -ECONNRESET ? 0 : ret;
}

static int await_killed(struct state *s, void *ctx, struct error *err)
{
	(void)ctx;
	return await_told_end(s, 0, err);
}

int cmd_kill(int argc, char **argv)
{
	static const struct option options[] = {
		{ "signal", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct args a = { .command = "kill", .shorts = "s:", .longs = options, .help = help };
	char *signal = NULL;
	int id, status;

	args_begin(&a, argc, argv);
	while ((id = args_next(&a)) > 0)
		signal = optarg;
	if (!args_done(&a, id, 1, argc, "the name of a VM is missing", &status))
		return status;
	return each_vm(&a, kill_one, signal ? NULL : await_killed, signal, true);
}
