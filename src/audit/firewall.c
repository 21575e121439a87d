// SPDX-License-Identifier: Apache-2.0
/*
 * A table is about a tap if it has its name, or a chain on that device, or a rule in which the name
 * stands (libnftables-json(5)). Of such a table all rules count: the first of a chain often lets
 * through what is of other interfaces, and those behind it name none. They are told, and do not
 * make a guard: that is a chain of the family netdev at the tap's ingress that drops by its policy,
 * as edge_rules_write() makes it. The others come later and see packets of IP alone.
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

/* The table around @tap by state.json's word, or "". */
static const char *own_table(struct json_object *nets, const char *tap)
{
	if (!json_object_is_type(nets, json_type_array))
		return "";
	for (size_t i = 0; i < json_object_array_length(nets); i++) {
		struct json_object *card = json_object_array_get_idx(nets, i);

		if (json_object_is_type(card, json_type_object) &&
		    strcmp(string(card, "interface"), tap) == 0)
			return string(card, "table");
	}
	return "";
}

/*
 * Whether @chain is on the device @tap. Not every nft says in JSON which that is (1.0.6 does not):
 * then it is if it stands in @own, the table that the VM's own rules for the tap are in.
 */
static bool is_at(struct json_object *chain, const char *tap, const char *own)
{
	struct json_object *dev;

	if (json_object_object_get_ex(chain, "dev", &dev))
		return contains(dev, tap);
	return own[0] && string(chain, "hook")[0] && is_in_table(chain, "netdev", own);
}

static bool is_about(struct json_object *list, const char *family, const char *table,
		     const char *tap, const char *own)
{
	if (strcmp(table, tap) == 0)
		return true;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *chain = entry(list, i, "chain"), *rule = entry(list, i, "rule");
		struct json_object *part;

		if (is_in_table(chain, family, table) && is_at(chain, tap, own))
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

/* Whether @chain sees all that comes in by @tap first, and drops what no rule of it accepts. */
static bool is_edge(struct json_object *chain, const char *tap, const char *own)
{
	return chain && strcmp(string(chain, "family"), "netdev") == 0 &&
	       strcmp(string(chain, "hook"), "ingress") == 0 &&
	       strcmp(string(chain, "policy"), "drop") == 0 && is_at(chain, tap, own);
}

static void read_tap(struct json_object *list, struct audit_tap *tap, const char *own)
{
	tap->known = true;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *table = entry(list, i, "table");
		const char *family = table ? string(table, "family") : "";
		const char *name = table ? string(table, "name") : "";

		tap->edge |= is_edge(entry(list, i, "chain"), tap->name, own);
		if (!table || !is_about(list, family, name, tap->name, own))
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

void audit_read_firewall(const struct audit_host *host, struct audit_report *report,
			 struct json_object *nets)
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
			read_tap(list, &report->taps[i], own_table(nets, report->taps[i].name));
	} else if (ret) {
		audit_note_unread(report, "the firewall's rules", err.text);
	} else {
		audit_note_errno(report, "the firewall's rules", EPROTO);
	}
	json_object_put(ruleset);
}
