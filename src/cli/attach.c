// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/each.h"
#include "cli/session.h"
#include "cli/show.h"
#include "control/client.h"

static const char help[] =
	"Usage: kvmbox attach [OPTION]... VM\n"
	"\n"
	"Be where the workload of a VM reads and writes, and exit with its exit status.\n"
	"\n"
	"  --no-stdin  pass nothing on to its standard input\n"
	"  -h, --help  show this help\n"
	"\n"
	"With a terminal, Ctrl-p Ctrl-q leaves it running and ends this with status 0.\n"
	"\n"
	"More: man kvmbox-attach\n";

static int attach(struct state *s, void *ctx, struct error *err)
{
	bool with_stdin = *(const bool *)ctx;
	bool terminal = json_object_get_boolean(show_find(s->json, "terminal")) && with_stdin &&
			isatty(STDIN_FILENO);
	struct session session = {
		.in = with_stdin ? STDIN_FILENO : -1,
		.out = STDOUT_FILENO,
		.err = STDERR_FILENO,
		.terminal = terminal,
		.detach_keys = terminal,
		.name = s->name,
	};

	session.fd = client_upgrade(s, "/attach", err);
	if (session.fd < 0)
		return session.fd;
	int ret = session_run(&session, err);

	close(session.fd);
	if (ret != -ECONNRESET)
		return ret;
	/* The VM ended in another way than by its workload, and has said how. */
	int status = await_end(s);

	return status < 0 ? ret : status;
}

int cmd_attach(int argc, char **argv)
{
	static const struct option options[] = {
		{ "no-stdin", no_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct args a = { .command = "attach", .shorts = "", .longs = options, .help = help };
	bool with_stdin = true;
	int id, status;

	args_begin(&a, argc, argv);
	while ((id = args_next(&a)) > 0)
		with_stdin = false;
	if (!args_done(&a, id, 1, 1, "the name of a VM is missing", &status))
		return status;
	int ret = one_vm(argv[optind], attach, &with_stdin);

	return ret < 0 ? CLI_EXIT_FAILED : ret;
}
