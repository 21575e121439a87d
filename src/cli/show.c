// SPDX-License-Identifier: Apache-2.0
#include "cli/show.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "config/words.h"

#define COMMAND_MAX 30 /* characters of a command that a table has room for */

struct shown show_age(double seconds)
{
	static const struct {
		double length;
		const char *name;
	} units[] = { { 86400, "d" }, { 3600, "h" }, { 60, "min" }, { 1, "s" } };
	struct shown shown = { "0 s" };

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		/* Two of a unit at least, as 90 min says more than 1 h. */
		if (seconds < (i < 3 ? 2 : 1) * units[i].length)
			continue;
		snprintf(shown.text, sizeof(shown.text), "%.0f %s",
			 (double)(long long)(seconds / units[i].length), units[i].name);
		break;
	}
	return shown;
}

struct json_object *show_find(struct json_object *o, const char *path)
{
	while (o && *path) {
		char key[64];
		size_t len = strcspn(path, ".");

		snprintf(key, sizeof(key), "%.*s", (int)len, path);
		path += len + (path[len] == '.');
		if (!json_object_is_type(o, json_type_object) ||
		    !json_object_object_get_ex(o, key, &o))
			return NULL;
	}
	return o;
}

static double number(const struct state *s, const char *path)
{
	return json_object_get_double(show_find(s->json, path));
}

struct shown show_status(const struct state *s, double now)
{
	const char *status = state_status(s);
	double started = number(s, "started"), finished = number(s, "finished");
	struct shown word = { "" }, shown;

	text_keep(word.text, 32, status, strlen(status));
	if (strcmp(status, "running") == 0 && started > 0)
		snprintf(shown.text, sizeof(shown.text), "running %.32s",
			 show_age(now - started).text);
	else if (finished > 0)
		snprintf(shown.text, sizeof(shown.text), "%.32s (%d) %.32s ago", word.text,
			 json_object_get_int(show_find(s->json, "exit_status")),
			 show_age(now - finished).text);
	else
		shown = word;
	return shown;
}

/* The strings of an array with @between between them, as far as @room characters go. */
static struct shown join(struct json_object *array, const char *between, size_t room)
{
	size_t n =
		json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
	char whole[sizeof(((struct shown *)0)->text)] = "";
	struct shown shown = { "" };
	size_t len = 0;

	for (size_t i = 0; i < n && len < sizeof(whole) - 1; i++)
		len += (size_t)snprintf(
			whole + len, sizeof(whole) - len, "%s%s", i ? between : "",
			json_object_get_string(json_object_array_get_idx(array, i)));
	if (len > sizeof(whole) - 1)
		len = sizeof(whole) - 1;
	if (len <= room) {
		text_keep(shown.text, sizeof(shown.text), whole, len);
		return shown;
	}
	text_keep(shown.text, sizeof(shown.text), whole, room - 3);
	strcat(shown.text, "...");
	return shown;
}

struct shown show_command(const struct state *s)
{
	return join(show_find(s->json, "config.workload.argv"), " ", COMMAND_MAX);
}

struct shown show_ports(const struct state *s)
{
	return join(show_find(s->json, "config.publish"), ", ",
		    sizeof(((struct shown *)0)->text) - 4);
}

struct shown show_cpus(const struct state *s)
{
	int cpus = json_object_get_int(show_find(s->json, "config.machine-config.vcpu_count"));
	struct shown shown = { "" };

	if (cpus > 0)
		snprintf(shown.text, sizeof(shown.text), "%d", cpus);
	return shown;
}

struct shown show_memory(const struct state *s)
{
	double mib = number(s, "config.machine-config.mem_size_mib");
	double bytes = number(s, "config.machine-config.mem_size");
	struct shown shown = { "" };

	bytes = mib > 0 ? mib * 1048576 : bytes;
	if (bytes > 0)
		snprintf(shown.text, sizeof(shown.text), "%.32s",
			 word_show_size((unsigned long long)bytes).text);
	return shown;
}

/* Columns of a terminal that @s takes, if none of its characters is wider than one. */
static size_t width(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

void show_table(const char *const *heading, const struct shown *cells, size_t ncolumns,
		size_t nrows)
{
	size_t widths[16];

	for (size_t i = 0; i < ncolumns; i++)
		widths[i] = width(heading[i]);
	for (size_t i = 0; i < nrows * ncolumns; i++)
		if (width(cells[i].text) > widths[i % ncolumns])
			widths[i % ncolumns] = width(cells[i].text);
	for (size_t row = 0; row <= nrows; row++) {
		size_t blanks = 0;

		for (size_t i = 0; i < ncolumns; i++) {
			const char *text = row ? cells[(row - 1) * ncolumns + i].text : heading[i];

			if (!*text) {
				blanks += widths[i] + 2;
				continue;
			}
			printf("%*s%s", (int)blanks, "", text);
			blanks = widths[i] - width(text) + 2;
		}
		putchar('\n');
	}
}
