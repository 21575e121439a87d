// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/each.h"
#include "control/client.h"

static const char help[] =
	"Usage: kvmbox rm [OPTION]... VM...\n"
	"\n"
	"Remove what VMs that have ended left behind, their logs above all, and print\n"
	"their names.\n"
	"\n"
	"  -f, --force  end those that run, at once\n"
	"  -h, --help   show this help\n"
	"\n"
	"More: man kvmbox-rm\n";

static int end_one(struct state *s, void *ctx, struct error *err)
{
	const bool *force = ctx;

	if (!*force || !s->alive)
		return 0;
	int ret = client_request(s, "POST", "/kill", NULL, CLIENT_SOON, NULL, err);

	/* One that ended just now is what was asked for. */
	return ret == -ECONNRESET || ret == -ENOTCONN ? 0 : ret;
}

static int remove_one(struct state *s, void *ctx, struct error *err)
{
	const bool *force = ctx;

	int ret = *force ? await_told_end(s, 0, err) : 0;

	if (ret == 0)
		ret = state_remove(s->name, err);

	/* With --force, it may have removed itself. */
	return *force && ret == -ENOENT ? 0 : ret;
}

int cmd_rm(int argc, char **argv)
{
	static const struct option options[] = {
		{ "force", no_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct args a = { .command = "rm", .shorts = "f", .longs = options, .help = help };
	bool force = false;
	int id, status;

	args_begin(&a, argc, argv);
	while ((id = args_next(&a)) > 0)
		force = true;
	if (!args_done(&a, id, 1, argc, "the name of a VM is missing", &status))
		return status;
	return each_vm(&a, end_one, remove_one, &force, true);
}
