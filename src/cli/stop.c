// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/each.h"
#include "control/client.h"

#define TIMEOUT_S     10
#define TIMEOUT_S_MAX 3600

static const char help[] =
	"Usage: kvmbox stop [OPTION]... VM...\n"
	"\n"
	"End VMs in order, and print their names when they have ended.\n"
	"\n"
	"  -t, --timeout SECONDS  how long the workload may take after its SIGTERM before\n"
	"                         it is killed (default: 10)\n"
	"  -h, --help             show this help\n"
	"\n"
	"More: man kvmbox-stop\n";

static int stop_one(struct state *s, void *ctx, struct error *err)
{
	const long *timeout = ctx;
	struct json_object *body;

	if (!s->alive)
		return 0;
	body = json_object_new_object();
	json_object_object_add(body, "timeout_s", json_object_new_int64(*timeout));
	int ret = client_request(s, "POST", "/stop", body, CLIENT_SOON, NULL, err);

	json_object_put(body);
	/* One that ended just now is what was asked for. */
	return ret == -ENOTCONN || ret == -ECONNRESET ? 0 : ret;
}

int cmd_stop(int argc, char **argv)
{
	static const struct option options[] = {
		{ "timeout", required_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct args a = { .command = "stop", .shorts = "t:", .longs = options, .help = help };
	long timeout = TIMEOUT_S;
	int id;

	args_begin(&a, argc, argv);
	while ((id = args_next(&a)) != ARGS_END) {
		if (id == ARGS_HELP)
			return 0;
		if (id < 0 || !args_number(&a, "--timeout", optarg, 0, TIMEOUT_S_MAX, &timeout))
			return CLI_EXIT_FAILED;
	}
	if (!args_words(&a, 1, argc, "the name of a VM is missing"))
		return CLI_EXIT_FAILED;
	return each_vm(&a, stop_one, each_await_end, &timeout, true);
}
