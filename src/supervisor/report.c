// SPDX-License-Identifier: Apache-2.0
#include "supervisor/report.h"

#include <json-c/json.h>
#include <stdio.h>

static void add_ms(struct json_object *object, const char *name, uint64_t ns)
{
	double ms = (double)ns / 1e6;
	char text[32];

	snprintf(text, sizeof(text), "%.3f", ms);
	json_object_object_add(object, name, json_object_new_double_s(ms, text));
}

static void add_stage(struct json_object *stages, const char *name, uint64_t from, uint64_t to)
{
	if (from && to && to >= from)
		add_ms(stages, name, to - from);
}

void report_print_json(const struct report *r)
{
	struct json_object *root = json_object_new_object();
	struct json_object *stages = json_object_new_object();
	struct json_object *exits = json_object_new_object();

	json_object_object_add(root, "name", json_object_new_string(r->name));
	json_object_object_add(root, "status", json_object_new_int(r->status));
	json_object_object_add(root, "reason", json_object_new_string(r->reason));
	if (r->error[0])
		json_object_object_add(root, "error", json_object_new_string(r->error));
	add_stage(stages, "setup", r->begin_ns, r->running_ns);
	add_stage(stages, "boot", r->running_ns, r->hello_ns);
	add_stage(stages, "start", r->hello_ns, r->started_ns);
	add_stage(stages, "run", r->started_ns, r->exit_ns);
	add_stage(stages, "end", r->exit_ns ? r->exit_ns : r->running_ns, r->end_ns);
	add_stage(stages, "total", r->begin_ns, r->end_ns);
	json_object_object_add(root, "stages_ms", stages);
	add_ms(root, "setup_cpu_ms", r->stats.setup_cpu_ns);
	add_ms(root, "supervisor_cpu_ms", r->own_cpu_ns);
	json_object_object_add(exits, "all", json_object_new_uint64(r->stats.exits));
	json_object_object_add(exits, "user", json_object_new_uint64(r->stats.user_exits));
	json_object_object_add(exits, "pio", json_object_new_uint64(r->stats.pio_exits));
	json_object_object_add(exits, "mmio", json_object_new_uint64(r->stats.mmio_exits));
	json_object_object_add(root, "exits", exits);
	fprintf(stderr, "%s\n",
		json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN |
							     JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(root);
}
