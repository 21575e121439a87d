// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/each.h"
#include "cli/session.h"
#include "common/frame.h"
#include "config/words.h"
#include "control/client.h"
#include "kvmbox/agent.h"
#include "supervisor/terminal.h"

static const char help[] =
	"Usage: kvmbox exec [OPTION]... VM [--] CMD [ARG]...\n"
	"\n"
	"Run CMD in a VM, beside its workload, and exit with CMD's exit status.\n"
	"\n"
	"  -i, --interactive    pass standard input on to CMD\n"
	"  -t, --tty            give CMD a terminal, which with -i is this one\n"
	"  --env NAME[=VALUE]   set a variable for CMD, or pass the caller's; repeatable\n"
	"  --workdir DIR        start CMD in DIR, an absolute path in the guest\n"
	"  -h, --help           show this help\n"
	"\n"
	"Exit status: CMD's own, 128+N if signal N ended it, 125 if kvmbox itself failed,\n"
	"126 if CMD cannot be executed, 127 if it is not found.\n"
	"\n"
	"Examples:\n"
	"  kvmbox exec web cat /etc/hosts\n"
	"  kvmbox exec -it web sh\n"
	"  tar -c . | kvmbox exec -i web -- tar -C /srv -x\n"
	"\n"
	"More: man kvmbox-exec\n";

#define PATIENCE_MS 30000 /* for the guest to begin */

/* What is asked of the guest: the strings of an EXEC frame, one behind the other. */
struct order {
	bool input, terminal;
	const char *workdir;
	struct kvmbox_exec exec;
	size_t len; /* of payload */
	char payload[KVMBOX_FRAME_MAX];
};

static bool add_string(struct order *order, const char *s)
{
	size_t len = strlen(s) + 1;

	if (len > sizeof(order->payload) - order->len)
		return false;
	memcpy(order->payload + order->len, s, len);
	order->len += len;
	return true;
}

/*
 * NAME=VALUE, or NAME alone for the value that it has here. Whether it fits is seen when all is put
 * together. Returns false with a sentence written.
 */
static bool add_env(const char **env, size_t *nenv, const char *value)
{
	const char *inherited = getenv(value);
	char *assignment;

	if (!*value || *value == '=') {
		log_line("exec: --env: \"%s\" has no name, it must be NAME=VALUE or NAME",
			 word_show(value).text);
		return false;
	}
	if (strchr(value, '=')) {
		env[(*nenv)++] = value;
	} else if (inherited) {
		if (asprintf(&assignment, "%s=%s", value, inherited) < 0) {
			log_line("out of memory");
			return false;
		}
		env[(*nenv)++] = assignment;
	}
	return true;
}

static int put_together(struct order *order, const char *const *env, size_t nenv, char **argv)
{
	bool fits = true;

	order->len = sizeof(order->exec);
	for (; *argv && fits; argv++, order->exec.argc++)
		fits = add_string(order, *argv);
	for (size_t i = 0; i < nenv && fits; i++, order->exec.envc++)
		fits = add_string(order, env[i]);
	fits = fits && add_string(order, order->workdir);
	if (!fits) {
		log_line("exec: the command and its environment are too long, they have room for "
			 "%d bytes",
			 KVMBOX_FRAME_MAX);
		return CLI_EXIT_FAILED;
	}
	order->exec.flags = (order->terminal ? KVMBOX_EXEC_TERMINAL : 0) |
			    (order->input ? KVMBOX_EXEC_STDIN : 0);
	if (order->terminal)
		terminal_size(&order->exec.rows, &order->exec.cols);
	memcpy(order->payload, &order->exec, sizeof(order->exec));
	return 0;
}

static int run(struct state *s, void *ctx, struct error *err)
{
	const struct order *order = ctx;
	struct session session = {
		.in = order->input ? STDIN_FILENO : -1,
		.out = STDOUT_FILENO,
		.err = STDERR_FILENO,
		.terminal = order->terminal && order->input,
		.patience_ms = PATIENCE_MS,
		.name = s->name,
	};

	session.fd = client_upgrade(s, "/agent", err);
	if (session.fd < 0)
		return session.fd;
	signal(SIGPIPE, SIG_IGN);
	int ret = frame_send(session.fd, -1, KVMBOX_FRAME_EXEC, order->payload, order->len);

	ret = ret < 0 ? error_set(err, -ret, "cannot reach the agent of the VM \"%s\": %s", s->name,
				  strerror(-ret))
		      : session_run(&session, err);
	close(session.fd);
	return ret;
}

/* Returns false, with *status set, when there is nothing more to do. */
static bool parse(struct args *a, struct order *order, const char **env, size_t *nenv, int *status)
{
	int id;

	while ((id = args_next(a)) > 0) {
		switch (id) {
		case 'i':
			order->input = true;
			break;
		case 't':
			order->terminal = true;
			break;
		case 'e':
			*status = CLI_EXIT_FAILED;
			if (!add_env(env, nenv, optarg))
				return false;
			break;
		case 'w':
			order->workdir = optarg;
			break;
		}
	}
	if (!args_done(a, id, 1, a->argc, "the name of a VM is missing", status))
		return false;
	*status = CLI_EXIT_FAILED;
	if (*order->workdir && *order->workdir != '/') {
		log_line("exec: --workdir: \"%s\" is not an absolute path",
			 word_show(order->workdir).text);
		return false;
	}
	if (order->input && order->terminal && !isatty(STDIN_FILENO)) {
		log_line("exec: -t with -i wants a terminal, and standard input is none; leave out "
			 "-t");
		return false;
	}
	return true;
}

int cmd_exec(int argc, char **argv)
{
	static const struct option options[] = {
		{ "interactive", no_argument, NULL, 'i' },
		{ "tty", no_argument, NULL, 't' },
		{ "env", required_argument, NULL, 'e' },
		{ "workdir", required_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct args a = {
		.command = "exec",
		.shorts = "it",
		.longs = options,
		.help = help,
		.in_order = true,
	};
	AUTO_FREE struct order *order = calloc(1, sizeof(*order));
	AUTO_FREE const char **env = calloc((size_t)argc, sizeof(*env));
	size_t nenv = 0;
	int status;

	if (!order || !env) {
		log_line("out of memory");
		return CLI_EXIT_FAILED;
	}
	order->workdir = "";
	args_begin(&a, argc, argv);
	if (!parse(&a, order, env, &nenv, &status))
		return status;
	int command = optind + 1;

	if (command < argc && strcmp(argv[command], "--") == 0)
		command++;
	if (command >= argc) {
		log_line("exec: the command to run is missing; see kvmbox exec --help");
		return CLI_EXIT_FAILED;
	}
	status = put_together(order, env, nenv, argv + command);
	if (status)
		return status;
	int ret = one_vm(argv[optind], run, order);

	return ret < 0 ? CLI_EXIT_FAILED : ret;
}
