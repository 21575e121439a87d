// SPDX-License-Identifier: Apache-2.0
#include "supervisor/record.h"

#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "config/write.h"

double record_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void add_string(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, json_object_new_string(value));
}

static void add_bool(struct json_object *o, const char *key, bool value)
{
	json_object_object_add(o, key, json_object_new_boolean(value));
}

static void add_time(struct json_object *o, const char *key, double seconds)
{
	if (seconds > 0)
		json_object_object_add(o, key, json_object_new_double(seconds));
}

/* What stands on the host for each network card. */
static void add_nets(struct json_object *o, const struct nets *nets)
{
	struct json_object *list = nets->ncards ? json_object_new_array() : NULL;

	for (unsigned int i = 0; i < nets->ncards; i++) {
		struct json_object *card = json_object_new_object();

		if (nets->cards[i].interface)
			add_string(card, "interface", nets->cards[i].interface);
		if (nets->cards[i].table)
			add_string(card, "table", nets->cards[i].table);
		json_object_array_add(list, card);
	}
	if (list)
		json_object_object_add(o, "nets", list);
}

struct json_object *record_config(const struct record *r)
{
	AUTO_FREE char *text = config_to_json(r->cfg);

	return text ? json_tokener_parse(text) : NULL;
}

/* What the jail is without, for want of it on this host. */
static void add_jail(struct json_object *o, const struct record *r)
{
	struct json_object *jail, *left_out;

	if (!r->running)
		return;
	jail = json_object_new_object();
	left_out = json_object_new_array();
	for (int layer = 0; r->jail && layer < JAIL_LAYERS; layer++)
		if (r->jail->left_out & 1u << layer)
			json_object_array_add(left_out,
					      json_object_new_string(jail_layer_name(layer)));
	add_bool(jail, "on", r->jail);
	json_object_object_add(jail, "left_out", left_out);
	if (r->jail && r->jail->cgroup[0])
		add_string(jail, "cgroup", r->jail->cgroup);
	json_object_object_add(o, "jail", jail);
}

struct json_object *record_state(const struct record *r)
{
	struct json_object *o = json_object_new_object();

	add_string(o, "name", r->cfg->name);
	add_string(o, "status", r->status);
	json_object_object_add(o, "pid", json_object_new_int(getpid()));
	if (r->monitor > 0)
		json_object_object_add(o, "monitor_pid", json_object_new_int(r->monitor));
	if (r->directory)
		add_string(o, "directory", r->directory);
	add_bool(o, "detached", r->cfg->detach);
	add_bool(o, "auto_remove", !r->cfg->detach || r->cfg->remove);
	add_bool(o, "terminal", r->terminal);
	add_time(o, "created", r->created);
	add_time(o, "started", r->started);
	add_time(o, "finished", r->finished);
	if (r->finished > 0) {
		json_object_object_add(o, "exit_status", json_object_new_int(r->exit_status));
		add_string(o, "reason", r->reason);
		if (r->error[0])
			add_string(o, "error", r->error);
	}
	add_jail(o, r);
	add_nets(o, r->nets);
	json_object_object_add(o, "config", record_config(r));
	return o;
}
