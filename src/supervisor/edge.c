// SPDX-License-Identifier: Apache-2.0
#include "supervisor/edge.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "config/words.h"
#include "supervisor/edgerules.h"
#include "supervisor/nft.h"
#include "supervisor/rtnl.h"

/* ---- who may talk to whom ---- */

/* @out: take it out, whether or not it is in. */
static void write_element(FILE *f, const char *set, const char *element, bool out)
{
	fprintf(f, "add element %s { %s }\n", set, element);
	if (out)
		fprintf(f, "delete element %s { %s }\n", set, element);
}

/* What the table of @card has to know of @other: as commands. */
static void write_meeting(FILE *f, const struct netstate *card, const struct netstate *other,
			  bool out)
{
	char set[NETSTATE_TABLE_MAX + 24];

	if (card->nat != other->nat || netstate_allowed(card, other) != card->nat)
		return;
	if (!card->nat) {
		snprintf(set, sizeof(set), "netdev %s others", card->table);
		write_element(f, set, mac_show(other->mac).text, out);
		return;
	}
	snprintf(set, sizeof(set), "inet %s allowed4", card->table);
	write_element(f, set, ip_show(&other->ip4).text, out);
	snprintf(set, sizeof(set), "inet %s allowed6", card->table);
	if (card->ip6.family && other->ip6.family)
		write_element(f, set, ip_show(&other->ip6).text, out);
}

/* @commands, and what lets the @n cards of @list know of @own, as one transaction. */
static int run(const char *commands, const struct netstate *own, const struct netstate *list,
	       long n, bool out, struct error *err)
{
	AUTO_FREE char *all = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&all, &size);

	if (!f)
		return error_set(err, ENOMEM, "out of memory");
	fputs(commands, f);
	for (long i = 0; i < n; i++)
		write_meeting(f, &list[i], own, out);
	if (fclose(f))
		return error_set(err, ENOMEM, "out of memory");
	return size ? nft_run(all, err) : 0;
}

/*
 * Carry out @commands and let the @n cards of @list know of @own. Somebody may have removed the
 * rules of one of them: then @commands are carried out by themselves, and the cards told one by
 * one, of which only -ENOMEM counts. Returns 0, or negative errno with the sentence.
 */
static int run_and_tell(const char *commands, const struct netstate *own,
			const struct netstate *list, long n, bool out, struct error *err)
{
	struct error why;
	int ret = run(commands, own, list, n, out, err);

	if (!ret || n <= 0)
		return ret;
	ret = nft_run(commands, err);
	if (ret)
		return ret;
	for (long i = 0; i < n; i++)
		if (run("", own, &list[i], 1, out, &why) == -ENOMEM)
			ret = -ENOMEM;
	return ret ? error_set(err, ENOMEM, "out of memory") : 0;
}

/*
 * Remove the tables, and with NAT the tap, of @card, and what the tables of others have of it.
 * Returns 0, or negative errno with the sentence.
 */
static int remove_card(const struct netstate *card, struct error *err)
{
	AUTO_FREE struct netstate *others = NULL;
	long n = card->vm[0] ? netstate_others(card, &others) : 0;
	char commands[4 * (NETSTATE_TABLE_MAX + 24)];
	const char *t = card->table;
	int len = snprintf(commands, sizeof(commands),
			   "add table netdev %s\ndelete table netdev %s\n", t, t);
	int ret;

	if (card->nat)
		snprintf(commands + len, sizeof(commands) - (size_t)len,
			 "add table inet %s\ndelete table inet %s\n", t, t);
	ret = run_and_tell(commands, card, others, n, true, err);
	if (ret)
		return ret;
	ret = card->nat ? rtnl_delete_link(t) : 0;
	if (ret)
		return error_set(err, -ret, "cannot remove the interface %s: %s", t,
				 strerror(-ret));
	return n < 0 ? error_set(err, ENOMEM, "out of memory") : 0;
}

int edge_load(const struct netstate *own, const char *rules, struct error *err)
{
	AUTO_FREE struct netstate *others = NULL;
	AUTO_FREE char *commands = NULL;
	size_t size = 0;
	long n = netstate_others(own, &others);
	FILE *f = n < 0 ? NULL : open_memstream(&commands, &size);
	struct error why;
	int ret;

	if (!f)
		return error_set(err, ENOMEM, "out of memory");
	fputs(rules, f);
	for (long i = 0; i < n; i++)
		write_meeting(f, own, &others[i], false);
	if (fclose(f))
		return error_set(err, ENOMEM, "out of memory");
	ret = run_and_tell(commands, own, others, n, false, err);
	if (ret == -ENOMEM) /* the rules may be there, without all others knowing */
		remove_card(own, &why);
	return ret;
}

void edge_drop(struct netstate *card, const char *failed)
{
	struct error err;

	if (card->fd < 0)
		return;
	if (remove_card(card, &err)) {
		log_line("%s: %s", failed, err.text);
		netstate_leave(card);
	} else {
		netstate_forget(card);
	}
}

static void drop_dead(struct netstate *dead)
{
	edge_drop(dead, "a dead VM's network is still there");
}

void edge_remove_dead(void)
{
	netstate_remove_dead(drop_dead);
}

/* ---- a tap of the user's ---- */

static void choose_table(struct netstate *state)
{
	unsigned int n = 0;

	do
		snprintf(state->table, sizeof(state->table), "kvmbox-edge%u", n++);
	while (netstate_exists(state->table));
}

static char *rules_of(const struct netstate *state, const struct net_config *net)
{
	struct edge edge = {
		.table = state->table,
		.vm = state->vm,
		.device = net->tap,
		.ips = net->ips,
		.nips = net->nips,
		.shared = true,
	};
	char *rules = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&rules, &size);

	memcpy(edge.mac, state->mac, sizeof(edge.mac));
	if (!f)
		return NULL;
	edge_rules_write(f, &edge);
	if (fclose(f)) {
		free(rules);
		return NULL;
	}
	return rules;
}

/* The kernel takes more for an interface's name than can be written in a rule. */
static bool is_writable(const char *name)
{
	for (; *name; name++) {
		if ((unsigned char)*name >= 0x7f || strchr("\"\\*", *name))
			return false;
	}
	return true;
}

static int load(const struct netstate *state, const char *tap, const char *rules, struct error *err)
{
	struct error why;
	int ret = edge_load(state, rules, &why);

	return ret ? error_set(err, -ret, "%s; to use the tap %s without rules, add filter=off",
			       why.text, tap)
		   : 0;
}

int edge_open(struct netstate *state, const struct boot_config *cfg, const struct net_config *net,
	      const uint8_t mac[6], struct error *err)
{
	AUTO_CLOSE int lock = netstate_lock(err);
	AUTO_FREE char *rules = NULL;
	int ret;

	netstate_init(state, cfg, mac);
	if (lock < 0)
		return lock;
	if (!is_writable(net->tap))
		return error_set(
			err, EINVAL,
			"--net: no rules can be written for a tap with the name %s; rename "
			"it, or leave it without rules (filter=off)",
			word_show(net->tap).text);
	edge_remove_dead();
	choose_table(state);
	rules = rules_of(state, net);
	if (!rules)
		return error_set(err, ENOMEM, "out of memory");
	ret = netstate_take(state, err);
	if (!ret)
		ret = netstate_write(state, err);
	if (!ret)
		ret = load(state, net->tap, rules, err);
	if (ret && state->fd >= 0)
		netstate_forget(state); /* the rules are all there or none of them */
	return ret;
}

void edge_close(struct netstate *state)
{
	struct error err;
	AUTO_CLOSE int lock = netstate_lock(&err);

	if (lock < 0)
		log_line("%s", err.text);
	edge_drop(state, "the rules around the VM's tap are still there");
}
