// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/show.h"

static const char help[] =
	"Usage: kvmbox ps [OPTION]...\n"
	"\n"
	"List the VMs that run.\n"
	"\n"
	"  -a, --all    those that have ended, too, and left their logs\n"
	"  -q, --quiet  print the names alone\n"
	"  --json       print all that is known of each, as an array of objects\n"
	"  -h, --help   show this help\n"
	"\n"
	"More: man kvmbox-ps\n";

struct choice {
	bool all, quiet, json;
};

/* Returns false, with *status set, when there is nothing more to do. */
static bool parse(struct args *a, struct choice *choice, int *status)
{
	int id;

	while ((id = args_next(a)) > 0) {
		choice->all |= id == 'a';
		choice->quiet |= id == 'q';
		choice->json |= id == 'j';
	}
	return args_done(a, id, 0, 0, "", status);
}

static int print_json(const struct state *list, size_t n)
{
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; i < n; i++) {
		struct json_object *o = json_object_get(list[i].json);

		/* What has died says "running" still. */
		json_object_object_add(o, "status", json_object_new_string(state_status(&list[i])));
		json_object_array_add(array, o);
	}
	puts(json_object_to_json_string_ext(array, JSON_C_TO_STRING_PRETTY |
							   JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(array);
	return 0;
}

static int print_table(const struct state *list, size_t n)
{
	static const char *const heading[] = {
		"NAME", "STATUS", "COMMAND", "CPUS", "MEM", "PORTS"
	};
	enum { COLUMNS = sizeof(heading) / sizeof(heading[0]) };
	AUTO_FREE struct shown *cells = calloc(n * COLUMNS + 1, sizeof(*cells));
	double now = (double)time(NULL);

	if (!cells) {
		log_line("out of memory");
		return CLI_EXIT_FAILED;
	}
	for (size_t i = 0; i < n; i++) {
		struct shown *row = cells + i * COLUMNS;

		snprintf(row[0].text, sizeof(row[0].text), "%s", list[i].name);
		row[1] = show_status(&list[i], now);
		row[2] = show_command(&list[i]);
		row[3] = show_cpus(&list[i]);
		row[4] = show_memory(&list[i]);
		row[5] = show_ports(&list[i]);
	}
	show_table(heading, cells, COLUMNS, n);
	return 0;
}

/* Move those that live to the front, and free the others. Returns how many are left. */
static size_t keep_alive(struct state *list, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		if (list[i].alive)
			list[kept++] = list[i];
		else
			state_deinit(&list[i]);
	}
	return kept;
}

int cmd_ps(int argc, char **argv)
{
	static const struct option options[] = {
		{ "all", no_argument, NULL, 'a' },
		{ "quiet", no_argument, NULL, 'q' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct args a = { .command = "ps", .shorts = "aq", .longs = options, .help = help };
	struct choice choice = { false };
	struct state *list;
	struct error err;
	int status;
	size_t n;

	args_begin(&a, argc, argv);
	if (!parse(&a, &choice, &status))
		return status;
	if (state_list(&list, &n, &err) < 0) {
		log_line("%s", err.text);
		return CLI_EXIT_FAILED;
	}
	if (!choice.all)
		n = keep_alive(list, n);
	status = 0;
	if (choice.json)
		status = print_json(list, n);
	else if (!choice.quiet)
		status = print_table(list, n);
	for (size_t i = 0; choice.quiet && !choice.json && i < n; i++)
		puts(list[i].name);
	state_list_free(list, n);
	return status;
}
