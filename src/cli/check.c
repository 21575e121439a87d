// SPDX-License-Identifier: Apache-2.0
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>

#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/host.h"
#include "config/words.h"

#define TABLE_WIDTH  80
#define FOUND_COLUMN 21 /* after "warn  nested paging  " */

static const char help[] =
	"Usage: kvmbox check [--json]\n"
	"\n"
	"Tell whether this host can run micro-VMs, and what to do where it cannot.\n"
	"\n"
	"  --json      print the result as JSON\n"
	"  -h, --help  show this help\n"
	"\n"
	"Exit status: 0 if a VM can run here, 1 if not, 125 if kvmbox itself failed.\n";

static const struct {
	const char *word;
	const char *colour;
} states[] = {
	[CHECK_OK] = { "ok", "\033[32m" },
	[CHECK_WARN] = { "warn", "\033[33m" },
	[CHECK_FAIL] = { "fail", "\033[1;31m" },
};

static bool wants_colour(void)
{
	const char *no_colour = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	if (no_colour && *no_colour)
		return false;
	return isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0;
}

static void print_table(const struct host_report *report)
{
	bool colour = wants_colour();
	size_t failures = host_failures(report);

	for (size_t i = 0; i < report->n; i++) {
		const struct check *check = &report->checks[i];

		printf("%s%-4s%s  %-13s  ", colour ? states[check->state].colour : "",
		       states[check->state].word, colour ? "\033[0m" : "", check->name);
		text_print_wrapped(stdout, FOUND_COLUMN, TABLE_WIDTH - 1, check->found);
		if (!check->advice[0])
			continue;
		printf("%*s", FOUND_COLUMN, "");
		text_print_wrapped(stdout, FOUND_COLUMN, TABLE_WIDTH - 1, check->advice);
	}
	if (failures)
		printf("\nThis host cannot run micro-VMs: %zu check%s failed.\n", failures,
		       failures == 1 ? "" : "s");
	else
		printf("\nThis host can run micro-VMs.\n");
}

static int print_json(const struct host_report *report)
{
	struct json_object *root = json_object_new_object();
	struct json_object *checks = json_object_new_array();

	if (!root || !checks) {
		json_object_put(root);
		json_object_put(checks);
		log_line("out of memory");
		return CLI_EXIT_FAILED;
	}
	json_object_object_add(root, "version", json_object_new_string(KVMBOX_VERSION));
	json_object_object_add(root, "can_run", json_object_new_boolean(!host_failures(report)));
	json_object_object_add(root, "checks", checks);
	for (size_t i = 0; i < report->n; i++) {
		const struct check *check = &report->checks[i];
		struct json_object *entry = json_object_new_object();

		json_object_object_add(entry, "name", json_object_new_string(check->name));
		json_object_object_add(entry, "state",
				       json_object_new_string(states[check->state].word));
		json_object_object_add(entry, "found", json_object_new_string(check->found));
		json_object_object_add(entry, "advice", json_object_new_string(check->advice));
		json_object_array_add(checks, entry);
	}
	puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY |
							  JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(root);
	return 0;
}

int cmd_check(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct host_report report;
	bool json = false;
	int id;

	optind = 0;
	opterr = 0;
	while ((id = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (id == 'h') {
			fputs(help, stdout);
			return 0;
		}
		if (id != 'j') {
			log_line("check: unknown option %s; see kvmbox check --help",
				 word_show(argv[optind - 1]).text);
			return CLI_EXIT_FAILED;
		}
		json = true;
	}
	if (optind < argc) {
		log_line("check: unexpected argument \"%s\"; see kvmbox check --help",
			 word_show(argv[optind]).text);
		return CLI_EXIT_FAILED;
	}
	host_inspect("", &report);
	if (!json)
		print_table(&report);
	else if (print_json(&report) != 0)
		return CLI_EXIT_FAILED;
	return host_failures(&report) ? 1 : 0;
}
