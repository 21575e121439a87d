// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/each.h"

static const char help[] =
	"Usage: kvmbox wait VM...\n"
	"\n"
	"Wait until VMs have ended, and print the exit status of each, one a line.\n"
	"\n"
	"  -h, --help  show this help\n"
	"\n"
	"More: man kvmbox-wait\n";

static int wait_one(struct state *s, void *ctx, struct error *err)
{
	int status;

	(void)ctx;
	state_refresh(s); /* it may have ended while others were waited for */
	status = await_end(s);
	if (status < 0)
		return error_set(err, ENODATA, "the VM \"%s\" ended without an exit status",
				 s->name);
	printf("%d\n", status);
	fflush(stdout);
	return 0;
}

int cmd_wait(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct args a = { .command = "wait", .shorts = "", .longs = options, .help = help };
	int status;

	args_begin(&a, argc, argv);
	if (!args_done(&a, args_next(&a), 1, argc, "the name of a VM is missing", &status))
		return status;
	return each_vm(&a, wait_one, NULL, NULL, false);
}
