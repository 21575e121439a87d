// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "config/set.h"
#include "config/words.h"
#include "lxc/steps.h"

/*
 * All the keys lxc.net.N.* of one N make one card, the cards in the order of their N. A guest has
 * no namespace that a host's interface could be moved into: its card ends in a tap, be it one that
 * is there (of type phys) or one that kvmbox makes behind NAT, which is what all else becomes.
 */

#define PREFIX        "lxc.net."
#define INDEX_MAX     999999
#define TUN_FLAGS_TAP 2 /* IFF_TAP in /sys/class/net/NAME/tun_flags */

struct card {
	int64_t index;
	const struct lxc_item *first;
	const struct lxc_item *type;
	const struct lxc_item *link;
	struct net_config net;
};

/* Keys that are the same for all cards. */
static const struct {
	const char *name;
	enum lxc_outcome outcome;
	const char *text;
} subkeys[] = {
	{ "flags", LXC_MEANINGLESS, "a guest's card is up" },
	{ "l2proxy", LXC_MEANINGLESS, "kvmbox sets up what its network needs on the host" },
	{ "veth.mode", LXC_MEANINGLESS, "a guest has no veth pair" },
	{ "veth.pair", LXC_MEANINGLESS, "a guest has no veth pair" },
	{ "veth.n_rxqueues", LXC_MEANINGLESS, "a guest has no veth pair" },
	{ "veth.n_txqueues", LXC_MEANINGLESS, "a guest has no veth pair" },
	{ "veth.ipv4.route", LXC_UNSUPPORTED,
	  "add the route on the host, to a tap of your own (host_dev_name)" },
	{ "veth.ipv6.route", LXC_UNSUPPORTED,
	  "add the route on the host, to a tap of your own (host_dev_name)" },
	{ "veth.vlan.id", LXC_UNSUPPORTED,
	  "make a tap of your own a port of the bridge in that VLAN (host_dev_name)" },
	{ "veth.vlan.tagged.id", LXC_UNSUPPORTED,
	  "make a tap of your own a port of the bridge in that VLAN (host_dev_name)" },
	{ "macvlan.mode", LXC_MEANINGLESS, "a guest's card is no macvlan" },
	{ "ipvlan.mode", LXC_MEANINGLESS, "a guest's card is no ipvlan" },
	{ "ipvlan.isolation", LXC_MEANINGLESS, "a guest's card is no ipvlan" },
	{ "vlan.id", LXC_UNSUPPORTED,
	  "make a tap of your own a port of the bridge in that VLAN (host_dev_name)" },
	{ "script.up", LXC_UNSUPPORTED, "kvmbox runs no scripts; run it yourself" },
	{ "script.down", LXC_UNSUPPORTED, "kvmbox runs no scripts; run it yourself" },
};

static const char *const types[] = { "veth", "macvlan", "ipvlan", "vlan", "phys", "none", "empty" };

/* The index of "lxc.net.INDEX.KEY" in *@index and its KEY in *@subkey, if it is one. */
static int read_key(struct import *im, const struct lxc_item *item, int64_t *index,
		    const char **subkey)
{
	const char *s = item->key + strlen(PREFIX);
	size_t digits = strspn(s, "0123456789");
	char number[sizeof("999999")];

	if (digits == 0 || digits >= sizeof(number) || s[digits] != '.' || !s[digits + 1])
		return import_refuse(im, item,
				     "a network's key is " PREFIX "NUMBER.KEY, such as " PREFIX
				     "0.type");
	memcpy(number, s, digits);
	number[digits] = '\0';
	*subkey = s + digits + 1;
	return parse_integer(number, index);
}

/* Whether the item @i counts as one of a network. */
static bool is_net_item(const struct import *im, size_t i)
{
	const struct lxc_item *item = &im->items->items[i];

	return !im->undone[i] && *item->value && strncmp(item->key, PREFIX, strlen(PREFIX)) == 0;
}

/* Call @enter for each key of @card. */
static int for_each_key(struct import *im, struct card *card,
			int (*enter)(struct import *im, struct card *card,
				     const struct lxc_item *item, const char *subkey))
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < im->items->n; i++) {
		const struct lxc_item *item = &im->items->items[i];
		const char *subkey;
		int64_t index;

		if (!is_net_item(im, i))
			continue;
		ret = read_key(im, item, &index, &subkey);
		if (ret == 0 && index == card->index)
			ret = enter(im, card, item, subkey);
	}
	return ret;
}

/* First reading: what decides what kind of card it will be. */
static int find_type(struct import *im, struct card *card, const struct lxc_item *item,
		     const char *subkey)
{
	(void)im;
	if (!card->first)
		card->first = item;
	if (strcmp(subkey, "type") == 0)
		card->type = item;
	else if (strcmp(subkey, "link") == 0)
		card->link = item;
	return 0;
}

static int enter_mac(struct import *im, struct card *card, const struct lxc_item *item)
{
	struct error why;

	if (strpbrk(item->value, "xX"))
		return import_note(im, LXC_BECOMES, item,
				   "nothing: it is made up at each start, as kvmbox does");
	if (set_net_mac(&card->net, "the address", item->value, &why) < 0)
		return import_refuse(im, item, "%s", why.text);
	return import_note(im, LXC_BECOMES, item, "network-interfaces[%zu].guest_mac",
			   im->cfg->nnets);
}

static int enter_mtu(struct import *im, struct card *card, const struct lxc_item *item)
{
	struct error why;
	int64_t mtu;

	if (parse_integer(item->value, &mtu) < 0)
		return import_refuse(im, item, "\"%s\" is not a number of bytes such as 1500",
				     word_show(item->value).text);
	if (set_net_mtu(&card->net, "the card", mtu, &why) < 0)
		return import_note(im, LXC_UNSUPPORTED, item, "%s", why.text);
	return import_note(im, LXC_BECOMES, item, "network-interfaces[%zu].mtu", im->cfg->nnets);
}

static int enter_address(struct import *im, struct card *card, const struct lxc_item *item)
{
	char address[IP_TEXT_MAX];
	struct error why;

	if (card->net.mode != NET_TAP)
		return import_note(im, LXC_UNSUPPORTED, item,
				   "the address %s is not kept: kvmbox chooses the guest's; "
				   "\"publish\" lists the ports under which the host passes "
				   "connections on",
				   word_show(item->value).text);
	/* A broadcast address may stand behind it, which follows from the prefix. */
	snprintf(address, sizeof(address), "%.*s", (int)strcspn(item->value, " \t"), item->value);
	if (add_net_ip(&card->net, "the address", address, &why) < 0)
		return import_refuse(im, item, "%s", why.text);
	return import_note(im, LXC_BECOMES, item, "network-interfaces[%zu].ip", im->cfg->nnets);
}

static int enter_gateway(struct import *im, struct card *card, const struct lxc_item *item)
{
	struct error why;

	if (card->net.mode != NET_TAP)
		return import_note(im, LXC_MEANINGLESS, item,
				   "the guest's gateway is the host, through kvmbox's own network");
	if (strcmp(item->value, "auto") == 0 || strcmp(item->value, "dev") == 0)
		return import_note(im, LXC_UNSUPPORTED, item,
				   "add the gateway's address to network-interfaces[%zu].gw",
				   im->cfg->nnets);
	if (add_net_gateway(&card->net, "the gateway", item->value, &why) < 0)
		return import_refuse(im, item, "%s", why.text);
	return import_note(im, LXC_BECOMES, item, "network-interfaces[%zu].gw", im->cfg->nnets);
}

static int note_name(struct import *im, const struct lxc_item *item)
{
	char name[sizeof("eth0") + 20];

	snprintf(name, sizeof(name), "eth%zu", im->cfg->nnets);
	if (strcmp(item->value, name) == 0)
		return import_note(im, LXC_MEANINGLESS, item, "the guest calls it so anyway");
	return import_note(
		im, LXC_UNSUPPORTED, item,
		"the guest calls it %s; let it rename the card itself (ip link set %s name "
		"%s)",
		name, name, word_show(item->value).text);
}

/* Second reading: all but what find_type() has found. */
static int enter_key(struct import *im, struct card *card, const struct lxc_item *item,
		     const char *subkey)
{
	struct word_match match = { 0 };

	if (item == card->type || item == card->link)
		return 0;
	if (strcmp(subkey, "hwaddr") == 0)
		return enter_mac(im, card, item);
	if (strcmp(subkey, "mtu") == 0)
		return enter_mtu(im, card, item);
	if (strcmp(subkey, "name") == 0)
		return note_name(im, item);
	if (strcmp(subkey, "ipv4.address") == 0 || strcmp(subkey, "ipv6.address") == 0)
		return enter_address(im, card, item);
	if (strcmp(subkey, "ipv4.gateway") == 0 || strcmp(subkey, "ipv6.gateway") == 0)
		return enter_gateway(im, card, item);
	for (size_t i = 0; i < sizeof(subkeys) / sizeof(subkeys[0]); i++) {
		if (strcmp(subkey, subkeys[i].name) == 0)
			return import_note(im, subkeys[i].outcome, item, "%s", subkeys[i].text);
		word_match_try(&match, subkey, subkeys[i].name);
	}
	return import_note(im, LXC_UNSUPPORTED, item, "unknown key, of which nothing is made%s",
			   word_show_match(&match).text);
}

/* Whether @card is linked to a tap that is there, whose other end a VM can be. */
static bool is_on_tap(struct import *im, struct card *card)
{
	AUTO_FREE char *path = NULL;
	AUTO_FREE char *flags = NULL;
	struct error ignored;
	size_t len = 0;

	if (!card->link || strcmp(card->type->value, "phys") != 0 ||
	    set_net_tap(&card->net, "", card->link->value, &ignored) < 0)
		return false;
	if (asprintf(&path, "/sys/class/net/%s/tun_flags", card->net.tap) < 0)
		path = NULL;
	if (path && im->files->read(im->files->opaque, path, &flags, &len) == 0 &&
	    strtoul(flags, NULL, 16) & TUN_FLAGS_TAP)
		return true;
	card->net.tap[0] = '\0';
	return false;
}

static int note_link(struct import *im, struct card *card)
{
	if (!card->link)
		return 0;
	if (card->net.mode == NET_TAP)
		return import_note(im, LXC_BECOMES, card->link,
				   "network-interfaces[%zu].host_dev_name %s", im->cfg->nnets,
				   card->net.tap);
	return import_note(
		im, LXC_UNSUPPORTED, card->link,
		"the guest is behind kvmbox's own NAT and not on %s; to have it there, make "
		"a tap (ip tuntap add NAME mode tap), add it to a bridge (ip link set NAME "
		"master BRIDGE), and give it as host_dev_name instead of mode",
		word_show(card->link->value).text);
}

static int note_type(struct import *im, struct card *card)
{
	const char *type = card->type->value;
	const char *mode = card->net.mode == NET_NAT ? "nat" : "user";

	if (card->net.mode == NET_TAP)
		return import_note(im, LXC_BECOMES, card->type,
				   "network-interfaces[%zu], on the tap it is linked to",
				   im->cfg->nnets);
	if (strcmp(type, "veth") == 0)
		return import_note(im, LXC_BECOMES, card->type,
				   "network-interfaces[%zu], mode %s: behind the host, with an "
				   "address of kvmbox's choice",
				   im->cfg->nnets, mode);
	return import_note(im, LXC_UNSUPPORTED, card->type,
			   "a guest has no part in the host's own interfaces, as %s would give it; "
			   "network-interfaces[%zu], mode %s, is behind the host instead",
			   word_show(type).text, im->cfg->nnets, mode);
}

static int check_type(struct import *im, const struct card *card)
{
	struct word_match match = { 0 };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strcmp(card->type->value, types[i]) == 0)
			return 0;
		word_match_try(&match, card->type->value, types[i]);
	}
	return import_refuse(
		im, card->type, "\"%s\" is no kind of network%s", word_show(card->type->value).text,
		match.word ? word_show_match(&match).text
			   : ", as veth, macvlan, ipvlan, vlan, phys, none and empty are");
}

static int finish_card(struct import *im, struct card *card)
{
	struct error why;
	int ret;

	/* Only a gateway can be wrong, one without an address. */
	if (check_net(&card->net, "the gateway is left out", &why) < 0) {
		card->net.ngateways = 0;
		ret = import_note(im, LXC_UNSUPPORTED, card->first, "%s", why.text);
		if (ret < 0)
			return ret;
	}
	if (add_net(im->cfg, "the card is left out", &card->net, &why) < 0)
		return import_note(im, LXC_UNSUPPORTED, card->type, "%s", why.text);
	return 0;
}

static int import_card(struct import *im, struct card *card)
{
	int ret = for_each_key(im, card, find_type);

	if (ret < 0)
		return ret;
	if (!card->type)
		return import_note(im, LXC_UNSUPPORTED, card->first,
				   PREFIX "%lld has no type, so that nothing is made of it",
				   (long long)card->index);
	ret = check_type(im, card);
	if (ret < 0)
		return ret;
	if (strcmp(card->type->value, "empty") == 0)
		return import_note(im, LXC_BECOMES, card->type,
				   "no network card, and the guest has its own loopback");
	if (im->cfg->nnets == CONFIG_NETS_MAX)
		return import_note(im, LXC_UNSUPPORTED, card->type,
				   "the card is left out: a VM has at most %d", CONFIG_NETS_MAX);
	card->net.mode = im->rootless ? NET_USER : NET_NAT;
	if (is_on_tap(im, card))
		card->net.mode = NET_TAP;
	ret = note_type(im, card);
	if (ret == 0)
		ret = note_link(im, card);
	if (ret == 0)
		ret = for_each_key(im, card, enter_key);
	return ret == 0 ? finish_card(im, card) : ret;
}

/* The least index behind @after into *@next, or INDEX_MAX + 1 if there is none. */
static int next_index(struct import *im, int64_t after, int64_t *next)
{
	*next = INDEX_MAX + 1;
	for (size_t i = 0; i < im->items->n; i++) {
		const char *subkey;
		int64_t index = 0;
		int ret;

		if (!is_net_item(im, i))
			continue;
		ret = read_key(im, &im->items->items[i], &index, &subkey);
		if (ret < 0)
			return ret;
		if (index > after && index < *next)
			*next = index;
	}
	return 0;
}

int import_nets(struct import *im)
{
	int64_t index = 0;
	int ret = next_index(im, -1, &index);

	if (ret == 0 && index > INDEX_MAX)
		return import_note(
			im, LXC_BECOMES, NULL,
			"no lxc.net: the VM has no network card; --net nat or --net user "
			"of kvmbox boot gives it one");
	while (ret == 0 && index <= INDEX_MAX) {
		struct card card = { .index = index };

		ret = import_card(im, &card);
		if (ret == 0)
			ret = next_index(im, index, &index);
	}
	return ret;
}
