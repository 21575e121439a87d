// SPDX-License-Identifier: Apache-2.0
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/each.h"

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

	return ask_end(s, *timeout, err);
}

static int await_stopped(struct state *s, void *ctx, struct error *err)
{
	const long *timeout = ctx;

	return await_told_end(s, *timeout, err);
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
	int id, status;

	args_begin(&a, argc, argv);
	while ((id = args_next(&a)) > 0)
		if (!args_number(&a, "--timeout", optarg, 0, TIMEOUT_S_MAX, &timeout))
			return CLI_EXIT_FAILED;
	if (!args_done(&a, id, 1, argc, "the name of a VM is missing", &status))
		return status;
	return each_vm(&a, stop_one, await_stopped, &timeout, true);
}
