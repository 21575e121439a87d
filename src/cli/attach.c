// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <unistd.h>

#include "base/log.h"
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

static int attach(struct state *s, bool with_stdin, struct error *err)
{
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
	struct error err;
	struct state s;
	int id;

	args_begin(&a, argc, argv);
	while ((id = args_next(&a)) != ARGS_END) {
		if (id == ARGS_HELP)
			return 0;
		if (id < 0)
			return CLI_EXIT_FAILED;
		with_stdin = false;
	}
	if (!args_words(&a, 1, 1, "the name of a VM is missing"))
		return CLI_EXIT_FAILED;
	int ret = state_read(&s, argv[optind], &err);

	if (ret == 0) {
		ret = attach(&s, with_stdin, &err);
		state_deinit(&s);
	}
	if (ret < 0)
		log_line("%s", err.text);
	return ret < 0 ? CLI_EXIT_FAILED : ret;
}
