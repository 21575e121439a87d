// SPDX-License-Identifier: Apache-2.0
/*
 * A table is about a tap if it has its name, or a chain on that device, or a rule in which the name
 * stands (libnftables-json(5)). Of such a table all rules count: the first of a chain often lets
 * through what is of other interfaces, and those behind it name none.
 */
#include "audit/firewall.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

/* Whether @word is one of the strings in @o. */
static bool contains(struct json_object *o, const char *word)
{
	if (json_object_is_type(o, json_type_string))
		return strcmp(json_object_get_string(o), word) == 0;
	if (json_object_is_type(o, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(o); i++)
			if (contains(json_object_array_get_idx(o, i), word))
				return true;
	}
	if (json_object_is_type(o, json_type_object)) {
		json_object_object_foreach(o, key, value)
		{
			(void)key;
			if (contains(value, word))
				return true;
		}
	}
	return false;
}

static const char *string(struct json_object *o, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(o, key, &value) &&
			       json_object_is_type(value, json_type_string)
		       ? json_object_get_string(value)
		       : "";
}

/* The entry at @i, if it is a @kind ("rule"), or NULL. */
static struct json_object *entry(struct json_object *list, size_t i, const char *kind)
{
	struct json_object *o = json_object_array_get_idx(list, i), *inner;

	return json_object_is_type(o, json_type_object) &&
			       json_object_object_get_ex(o, kind, &inner) &&
			       json_object_is_type(inner, json_type_object)
		       ? inner
		       : NULL;
}

static bool is_in_table(struct json_object *o, const char *family, const char *table)
{
	return o && strcmp(string(o, "family"), family) == 0 &&
	       strcmp(string(o, "table"), table) == 0;
}

static bool is_about(struct json_object *list, const char *family, const char *table,
		     const char *tap)
{
	if (strcmp(table, tap) == 0)
		return true;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *chain = entry(list, i, "chain"), *rule = entry(list, i, "rule");
		struct json_object *part;

		if (is_in_table(chain, family, table) &&
		    json_object_object_get_ex(chain, "dev", &part) && contains(part, tap))
			return true;
		if (is_in_table(rule, family, table) &&
		    json_object_object_get_ex(rule, "expr", &part) && contains(part, tap))
			return true;
	}
	return false;
}

static bool drops(struct json_object *rule)
{
	struct json_object *expr, *ignored;

	if (!json_object_object_get_ex(rule, "expr", &expr) ||
	    !json_object_is_type(expr, json_type_array))
		return false;
	for (size_t i = 0; i < json_object_array_length(expr); i++) {
		struct json_object *e = json_object_array_get_idx(expr, i);

		if (json_object_is_type(e, json_type_object) &&
		    (json_object_object_get_ex(e, "drop", &ignored) ||
		     json_object_object_get_ex(e, "reject", &ignored)))
			return true;
	}
	return false;
}

static void name_table(struct audit_tap *tap, const char *family, const char *name)
{
	size_t len = strlen(tap->tables);
	char text[96];

	snprintf(text, sizeof(text), "%s%s %s", len ? ", " : "", family, name);
	text_keep(tap->tables + len, sizeof(tap->tables) - len, text, strlen(text));
}

static void read_tap(struct json_object *list, struct audit_tap *tap)
{
	tap->known = true;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *table = entry(list, i, "table");
		const char *family = table ? string(table, "family") : "";
		const char *name = table ? string(table, "name") : "";

		if (!table || !is_about(list, family, name, tap->name))
			continue;
		name_table(tap, family, name);
		for (size_t k = 0; k < json_object_array_length(list); k++) {
			struct json_object *rule = entry(list, k, "rule");
			struct json_object *chain = entry(list, k, "chain");

			if (is_in_table(rule, family, name)) {
				tap->rules++;
				tap->drops += drops(rule);
			}
			tap->drops += is_in_table(chain, family, name) &&
				      strcmp(string(chain, "policy"), "drop") == 0;
		}
	}
}

void audit_read_firewall(const struct audit_host *host, struct audit_report *report)
{
	struct json_object *ruleset = NULL, *list;
	AUTO_FREE char *text = NULL;
	struct error err;
	int ret;

	if (!report->ntaps)
		return;
	ret = host->firewall(&text, &err);
	if (!ret)
		ruleset = json_tokener_parse(text);
	if (json_object_is_type(ruleset, json_type_object) &&
	    json_object_object_get_ex(ruleset, "nftables", &list) &&
	    json_object_is_type(list, json_type_array)) {
		for (size_t i = 0; i < report->ntaps; i++)
			read_tap(list, &report->taps[i]);
	} else {
		audit_note_unread(report, "the firewall's rules", ret ? -ret : EPROTO);
	}
	json_object_put(ruleset);
}
