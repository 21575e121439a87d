// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/show.h"
#include "config/words.h"
#include "control/client.h"

static const char help[] =
	"Usage: kvmbox stats [OPTION]... [VM]...\n"
	"\n"
	"Show what VMs take of the host: those that are named, or all that run. On a\n"
	"terminal that goes on every second.\n"
	"\n"
	"  --no-stream  show it once\n"
	"  --json       print the counters once, as an array of objects\n"
	"  -h, --help   show this help\n"
	"\n"
	"More: man kvmbox-stats\n";

/* Between two looks, of which a share of the CPU or a rate is made. */
#define INTERVAL_US 1000000

/* The counters of VMs at a time: an object for each, by name. */
typedef struct json_object *sample;

/* ---- looking ---- */

static int look_at(struct state *s, sample all, struct error *err)
{
	struct json_object *stats = NULL;

	int ret = client_request(s, "GET", "/stats", NULL, CLIENT_SOON, &stats, err);

	if (ret < 0)
		return ret;
	if (json_object_is_type(stats, json_type_object)) {
		json_object_object_add(stats, "name", json_object_new_string(s->name));
		json_object_object_add(all, s->name, stats);
		return 0;
	}
	json_object_put(stats);
	return error_set(err, EPROTO, "the VM \"%s\" has no counters", s->name);
}

/* One that ends meanwhile is no failure where it was not asked for by name. */
static int look_at_all(sample all, struct error *err)
{
	struct state *list;
	size_t n;
	int ret = state_list(&list, &n, err);

	if (ret < 0)
		return ret;
	for (size_t i = 0; i < n; i++)
		(void)look_at(&list[i], all, err);
	state_list_free(list, n);
	return 0;
}

static int look_at_named(char **names, sample all, struct error *err)
{
	int ret = 0;

	for (; *names && ret == 0; names++) {
		struct state s;

		ret = state_read(&s, *names, err);
		if (ret < 0)
			break;
		ret = look_at(&s, all, err);
		state_deinit(&s);
	}
	return ret;
}

/* NULL, with the sentence written, where that cannot be. */
static sample look(char **names)
{
	sample all = json_object_new_object();
	struct error err;
	int ret = !all     ? error_set(&err, ENOMEM, "out of memory")
		  : *names ? look_at_named(names, all, &err)
			   : look_at_all(all, &err);

	if (ret == 0)
		return all;
	log_line("%s", err.text);
	json_object_put(all);
	return NULL;
}

/* ---- showing ---- */

/* Whether @o has a number at @path, which is then *@value. */
static bool number(struct json_object *o, const char *path, double *value)
{
	struct json_object *found = show_find(o, path);

	if (!json_object_is_type(found, json_type_int) &&
	    !json_object_is_type(found, json_type_double))
		return false;
	*value = json_object_get_double(found);
	return true;
}

static struct shown size(double bytes)
{
	struct shown shown;

	snprintf(shown.text, sizeof(shown.text), "%.32s",
		 word_show_size(bytes < 0 ? 0 : (unsigned long long)bytes).text);
	return shown;
}

/* How much more there is at @path now, for each second since @before; @path may be "cpu_s". */
static bool rate(struct json_object *before, struct json_object *now, const char *path, double *out)
{
	double a, b, t0, t1;

	if (!number(before, path, &a) || !number(now, path, &b) || !number(before, "time_s", &t0) ||
	    !number(now, "time_s", &t1) || t1 <= t0)
		return false;
	*out = (b - a) / (t1 - t0);
	return true;
}

static struct shown pair(struct json_object *o, const char *one, const char *other)
{
	struct shown shown = { "-" };
	double a, b;

	if (number(o, one, &a) && number(o, other, &b))
		snprintf(shown.text, sizeof(shown.text), "%.40s / %.40s", size(a).text,
			 size(b).text);
	return shown;
}

static struct shown guest_memory(struct json_object *o)
{
	struct shown shown = { "-" };
	double all, unused;

	if (number(o, "memory.guest_total_bytes", &all) &&
	    number(o, "memory.guest_free_bytes", &unused))
		snprintf(shown.text, sizeof(shown.text), "%.40s / %.40s", size(all - unused).text,
			 size(all).text);
	return shown;
}

static void fill_row(struct shown *row, const char *name, struct json_object *before,
		     struct json_object *now)
{
	double value;

	for (size_t i = 0; i < 7; i++)
		strcpy(row[i].text, "-");
	snprintf(row[0].text, sizeof(row[0].text), "%s", name);
	if (rate(before, now, "cpu_s", &value))
		snprintf(row[1].text, sizeof(row[1].text), "%.1f%%", value * 100);
	if (number(now, "memory.monitor_bytes", &value))
		row[2] = size(value);
	row[3] = guest_memory(now);
	row[4] = pair(now, "disk.read_bytes", "disk.written_bytes");
	row[5] = pair(now, "net.received_bytes", "net.sent_bytes");
	if (rate(before, now, "exits.all", &value))
		snprintf(row[6].text, sizeof(row[6].text), "%.0f", value);
}

static int print_table(sample before, sample now)
{
	static const char *const heading[] = {
		"NAME", "CPU", "MEM", "GUEST MEM", "DISK READ / WRITTEN", "NET IN / OUT", "EXITS/S"
	};
	enum { COLUMNS = sizeof(heading) / sizeof(heading[0]) };
	size_t n = (size_t)json_object_object_length(now), row = 0;
	AUTO_FREE struct shown *cells = calloc(n * COLUMNS + 1, sizeof(*cells));

	if (!cells) {
		log_line("out of memory");
		return CLI_EXIT_FAILED;
	}
	json_object_object_foreach(now, name, stats)
	{
		fill_row(cells + row * COLUMNS, name, show_find(before, name), stats);
		row++;
	}
	show_table(heading, cells, COLUMNS, n);
	fflush(stdout);
	return 0;
}

static int print_json(char **names)
{
	sample now = look(names);
	struct json_object *array = json_object_new_array();

	if (!now || !array) {
		json_object_put(now);
		json_object_put(array);
		return CLI_EXIT_FAILED;
	}
	json_object_object_foreach(now, name, stats)
	{
		(void)name;
		json_object_array_add(array, json_object_get(stats));
	}
	puts(json_object_to_json_string_ext(array, JSON_C_TO_STRING_PRETTY |
							   JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(array);
	json_object_put(now);
	return 0;
}

/* Show one table after the other, or the first alone. */
static int print_tables(char **names, bool stream)
{
	sample before = look(names);
	int status = before ? 0 : CLI_EXIT_FAILED;

	while (status == 0) {
		usleep(INTERVAL_US);
		sample now = look(names);

		if (!now) {
			status = CLI_EXIT_FAILED;
			break;
		}
		if (stream)
			fputs("\033[H\033[J", stdout);
		status = print_table(before, now);
		json_object_put(before);
		before = now;
		if (!stream || ferror(stdout))
			break;
	}
	json_object_put(before);
	return status;
}

int cmd_stats(int argc, char **argv)
{
	static const struct option options[] = {
		{ "no-stream", no_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct args a = { .command = "stats", .shorts = "", .longs = options, .help = help };
	bool stream = isatty(STDOUT_FILENO);
	bool json = false;
	int id, status;

	args_begin(&a, argc, argv);
	while ((id = args_next(&a)) > 0) {
		json |= id == 'j';
		stream &= id != 'n';
	}
	if (!args_done(&a, id, 0, argc, "", &status))
		return status;
	return json ? print_json(argv + optind) : print_tables(argv + optind, stream);
}
