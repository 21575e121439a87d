// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "control/client.h"
#include "supervisor/logfile.h"

static const char help[] =
	"Usage: kvmbox logs [OPTION]... VM\n"
	"\n"
	"Print what a VM's workload has written.\n"
	"\n"
	"  -f, --follow       go on with what it writes from now on, until it ends\n"
	"  -n, --tail LINES   begin with the last LINES lines (default: all)\n"
	"  --console          the log of the guest's serial console instead\n"
	"  -h, --help         show this help\n"
	"\n"
	"More: man kvmbox-logs\n";

struct choice {
	bool follow, console;
	long tail; /* lines; -1: all */
};

/* Standard output may be a pipe whose reader has had enough, which is no failure. */
static int write_out(void *ctx, const void *bytes, size_t len, struct error *err)
{
	(void)ctx;
	while (len) {
		ssize_t n = write(STDOUT_FILENO, bytes, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, errno, "cannot write to standard output: %s",
					 strerror(errno));
		bytes = (const char *)bytes + n;
		len -= (size_t)n;
	}
	return 0;
}

static int print_alive(const struct state *s, const struct choice *choice, struct error *err)
{
	char path[96], tail[32] = "";

	if (choice->tail >= 0)
		snprintf(tail, sizeof(tail), "&tail=%ld", choice->tail);
	snprintf(path, sizeof(path), "/logs?follow=%s&source=%s%s",
		 choice->follow ? "true" : "false", choice->console ? "console" : "output", tail);
	return client_stream(s, path, write_out, NULL, err);
}

static int print_dead(const struct state *s, const struct choice *choice, struct error *err)
{
	struct logfile log = {
		.dir_fd = s->dir_fd,
		.name = choice->console ? "console.log" : "output.log",
		.fd = -1,
	};
	size_t len, from = 0;
	AUTO_FREE char *text = logfile_read(&log, &len);

	if (!text)
		return error_set(err, ENOMEM, "out of memory");
	if (choice->tail >= 0)
		from = logfile_tail(text, len, (unsigned long)choice->tail);
	return write_out(NULL, text + from, len - from, err);
}

static int print_logs(const char *name, const struct choice *choice)
{
	struct error err;
	struct state s;
	int ret = state_read(&s, name, &err);

	if (ret < 0) {
		log_line("%s", err.text);
		return CLI_EXIT_FAILED;
	}
	if (s.alive)
		ret = print_alive(&s, choice, &err);
	if (!s.alive || ret == -ENOTCONN)
		ret = print_dead(&s, choice, &err);
	state_deinit(&s);
	if (ret == -EPIPE)
		return 128 + SIGPIPE;
	if (ret < 0)
		log_line("%s", err.text);
	return ret < 0 ? CLI_EXIT_FAILED : 0;
}

int cmd_logs(int argc, char **argv)
{
	static const struct option options[] = {
		{ "follow", no_argument, NULL, 'f' },
		{ "tail", required_argument, NULL, 'n' },
		{ "console", no_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct args a = { .command = "logs", .shorts = "fn:", .longs = options, .help = help };
	struct choice choice = { .tail = -1 };
	int id, status;

	args_begin(&a, argc, argv);
	while ((id = args_next(&a)) > 0) {
		choice.follow |= id == 'f';
		choice.console |= id == 'c';
		if (id == 'n' && !args_number(&a, "--tail", optarg, 0, LONG_MAX, &choice.tail))
			return CLI_EXIT_FAILED;
	}
	if (!args_done(&a, id, 1, 1, "the name of a VM is missing", &status))
		return status;
	signal(SIGPIPE, SIG_IGN);
	return print_logs(argv[optind], &choice);
}
