// SPDX-License-Identifier: Apache-2.0
#include "audit/audit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "audit/write.h"
#include "base/log.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/each.h"
#include "cli/show.h"

/* Exit status where something is weaker than the default. */
#define AUDIT_EXIT_WEAKER 1

static const char help[] =
	"Usage: kvmbox audit [--json] VM\n"
	"\n"
	"Read from /proc and /sys what is in force around a VM that runs, and tell what of it\n"
	"is weaker than the default, and why that matters.\n"
	"\n"
	"  --json      print all that was read as JSON\n"
	"  -h, --help  show this help\n"
	"\n"
	"Exit status: 0 if nothing is weaker than the default, 1 if something is, 125 if that\n"
	"could not be found out.\n"
	"\n"
	"More: man kvmbox-audit\n";

struct audit_command {
	bool json;
	int status;
};

static int print(const struct audit_report *report, bool json, struct error *err)
{
	struct json_object *o;

	if (!json) {
		audit_print_page(stdout, report);
		return 0;
	}
	o = audit_to_json(report);
	if (!o)
		return error_set(err, ENOMEM, "out of memory");
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
						       JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
	return 0;
}

static pid_t pid_in(const struct state *s, const char *key)
{
	struct json_object *value = show_find(s->json, key);

	return json_object_is_type(value, json_type_int) ? json_object_get_int(value) : 0;
}

static int read_vm(struct state *s, struct audit_report *report, struct error *err)
{
	struct audit_target target = {
		.name = s->name,
		.supervisor = pid_in(s, "pid"),
		.monitor = pid_in(s, "monitor_pid"),
	};
	struct audit_host host;
	int ret;

	if (!s->alive)
		return error_set(err, ESRCH, "the VM \"%s\" is not running", s->name);
	if (target.supervisor <= 0 || target.monitor <= 0)
		return error_set(err, EAGAIN, "the VM \"%s\" is about to start: try again",
				 s->name);
	ret = audit_host_open(&host);
	if (ret)
		return error_set(err, -ret, "cannot open /: %s", strerror(-ret));
	target.config = show_find(s->json, "config");
	target.directory = json_object_get_string(show_find(s->json, "directory"));
	target.nets = show_find(s->json, "nets");
	ret = audit_read(&host, &target, report, err);
	close(host.root);
	/* Its lock is held by its own processes alone: if it still is, nobody else had their
	 * numbers. */
	if (ret == -ESRCH || state_refresh(s) < 0 || !s->alive ||
	    pid_in(s, "monitor_pid") != target.monitor)
		return error_set(err, ESRCH, "the VM \"%s\" has ended meanwhile", s->name);
	return ret;
}

static int audit_one(struct state *s, void *ctx, struct error *err)
{
	struct audit_command *command = ctx;
	struct audit_report report = { .nprocesses = 0 };
	int ret = read_vm(s, &report, err);

	if (ret == 0)
		ret = print(&report, command->json, err);
	if (ret == 0 && report.nfindings)
		command->status = AUDIT_EXIT_WEAKER;
	else if (ret == 0 && report.nunread)
		ret = error_set(
			err, EACCES,
			"not all of the VM \"%s\" could be read, so this is no verdict: %s: "
			"%s%s",
			s->name, report.unread[0].what, report.unread[0].why,
			geteuid() ? "; run it as root" : "");
	audit_free(&report);
	return ret;
}

int cmd_audit(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct args a = { .command = "audit", .shorts = "", .longs = options, .help = help };
	struct audit_command command = { .json = false };
	int id, status;

	args_begin(&a, argc, argv);
	while ((id = args_next(&a)) > 0)
		command.json |= id == 'j';
	if (!args_done(&a, id, 1, 1, "the name of a VM is missing", &status))
		return status;
	return one_vm(argv[optind], audit_one, &command) < 0 ? CLI_EXIT_FAILED : command.status;
}
