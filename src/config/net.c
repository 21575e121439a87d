// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "config/set.h"
#include "config/words.h"

_Static_assert(sizeof(((struct net_config *)0)->tap) == IFNAMSIZ, "a tap's name is an interface's");

int set_net_mode(struct net_config *net, const char *where, const char *mode, struct error *err)
{
	if (strcmp(mode, "tap") == 0)
		net->mode = NET_TAP;
	else if (strcmp(mode, "nat") == 0)
		net->mode = NET_NAT;
	else if (strcmp(mode, "user") == 0)
		net->mode = NET_USER;
	else
		return error_set(err, EINVAL, "%s: \"%s\" is none of tap, nat and user", where,
				 word_show(mode).text);
	return 0;
}

/* What the kernel takes for an interface's name (dev_valid_name). */
int set_net_tap(struct net_config *net, const char *where, const char *name, struct error *err)
{
	size_t len = strlen(name);
	bool bad = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;

	for (const char *c = name; *c; c++)
		bad |= (unsigned char)*c <= ' ' || *c == 0x7f || *c == '/' || *c == ':';
	if (len == 0)
		return error_set(err, EINVAL, "%s: the name of the tap is empty", where);
	if (len >= IFNAMSIZ)
		return error_set(err, EINVAL,
				 "%s: \"%s\" has %zu characters, an interface's name has at most "
				 "%d",
				 where, word_show(name).text, len, IFNAMSIZ - 1);
	if (bad)
		return error_set(err, EINVAL,
				 "%s: \"%s\" is not an interface's name, which has no space, '/' "
				 "or ':' in it",
				 where, word_show(name).text);
	memcpy(net->tap, name, len + 1);
	return 0;
}

int set_net_mac(struct net_config *net, const char *where, const char *mac, struct error *err)
{
	static const uint8_t zeroes[sizeof(net->mac)];
	uint8_t bytes[sizeof(net->mac)];

	if (mac_parse(mac, bytes))
		return error_set(err, EINVAL,
				 "%s: \"%s\" is not a MAC address such as 02:00:00:00:00:01", where,
				 word_show(mac).text);
	if (bytes[0] & 1)
		return error_set(err, EINVAL,
				 "%s: %s is a multicast address; a card's own has an even first "
				 "byte, such as 02",
				 where, mac);
	if (memcmp(bytes, zeroes, sizeof(bytes)) == 0)
		return error_set(err, EINVAL, "%s: %s is no card's address", where, mac);
	memcpy(net->mac, bytes, sizeof(bytes));
	net->has_mac = true;
	return 0;
}

int set_net_mtu(struct net_config *net, const char *where, int64_t mtu, struct error *err)
{
	if (mtu < CONFIG_MTU_MIN || mtu > CONFIG_MTU_MAX)
		return error_set(err, EINVAL, "%s: %lld is out of range, an MTU is %d to %d", where,
				 (long long)mtu, CONFIG_MTU_MIN, CONFIG_MTU_MAX);
	net->mtu = (unsigned int)mtu;
	return 0;
}

int set_net_queues(struct net_config *net, const char *where, int64_t queues, struct error *err)
{
	if (queues < 1 || queues > CONFIG_PAIRS_MAX)
		return error_set(err, EINVAL,
				 "%s: %lld is out of range, a network card has 1 to %d queues",
				 where, (long long)queues, CONFIG_PAIRS_MAX);
	net->queues = (unsigned int)queues;
	return 0;
}

static bool is_multicast(const struct ip_addr *ip)
{
	return ip->family == AF_INET ? ip->bytes[0] >= 224 : ip->bytes[0] == 0xff;
}

/* An address that a machine may have. */
static int parse_host(const char *where, const char *s, bool prefix, struct ip_addr *out,
		      struct error *err)
{
	struct ip_addr ip;

	if ((prefix ? ip_parse_prefix(s, &ip) : ip_parse(s, &ip)) < 0)
		return error_set(err, EINVAL, "%s: \"%s\" is not an %s", where, word_show(s).text,
				 prefix ? "address and prefix such as 192.0.2.2/24 or "
					  "2001:db8::2/64"
					: "address such as 192.0.2.1 or 2001:db8::1");
	if (prefix && !strchr(s, '/'))
		return error_set(err, EINVAL,
				 "%s: %s lacks the length of its network's prefix, as in %s/%d",
				 where, s, s, ip.family == AF_INET ? 24 : 64);
	if (ip_is_any(&ip) || is_multicast(&ip))
		return error_set(err, EINVAL, "%s: %s is not the address of a machine", where, s);
	*out = ip;
	return 0;
}

int add_net_ip(struct net_config *net, const char *where, const char *ip, struct error *err)
{
	if (net->nips == CONFIG_IPS_MAX)
		return error_set(err, EINVAL, "%s: a network card has at most %d addresses", where,
				 CONFIG_IPS_MAX);

	int ret = parse_host(where, ip, true, &net->ips[net->nips], err);

	if (ret == 0)
		net->nips++;
	return ret;
}

int add_net_gateway(struct net_config *net, const char *where, const char *ip, struct error *err)
{
	struct ip_addr gateway;
	int ret = parse_host(where, ip, false, &gateway, err);

	if (ret < 0)
		return ret;
	for (size_t i = 0; i < net->ngateways; i++) {
		if (net->gateways[i].family == gateway.family)
			return error_set(err, EINVAL,
					 "%s: %s is a second gateway for IPv%d, beside %s", where,
					 ip, gateway.family == AF_INET ? 4 : 6,
					 ip_show(&net->gateways[i]).text);
	}
	net->gateways[net->ngateways++] = gateway;
	return 0;
}

int add_net_dns(struct net_config *net, const char *where, const char *ip, struct error *err)
{
	if (net->ndns == CONFIG_DNS_MAX)
		return error_set(err, EINVAL, "%s: a guest has at most %d DNS servers", where,
				 CONFIG_DNS_MAX);

	int ret = parse_host(where, ip, false, &net->dns[net->ndns], err);

	if (ret == 0)
		net->ndns++;
	return ret;
}

static bool has_family(const struct net_config *net, int family)
{
	for (size_t i = 0; i < net->nips; i++) {
		if (net->ips[i].family == family)
			return true;
	}
	return false;
}

int check_net(const struct net_config *net, const char *where, struct error *err)
{
	if (net->mode != NET_TAP && (net->nips || net->ngateways || net->ndns))
		return error_set(
			err, EINVAL,
			"%s: ip, gw and dns are for a tap; %s chooses its addresses itself", where,
			net->mode == NET_NAT ? "nat" : "user");
	if (net->mode != NET_TAP && net->unfiltered)
		return error_set(
			err, EINVAL,
			"%s: only a tap can be left without rules; what %s lets through is "
			"fixed",
			where, net->mode == NET_NAT ? "nat" : "user");
	if (net->mode == NET_USER && net->queues > 1)
		return error_set(err, EINVAL,
				 "%s: passt has one queue; leave queues out, or use nat", where);
	for (size_t i = 0; i < net->ngateways; i++) {
		if (!has_family(net, net->gateways[i].family))
			return error_set(err, EINVAL,
					 "%s: the gateway %s is of no use without an IPv%d address "
					 "(ip=ADDR/PREFIX)",
					 where, ip_show(&net->gateways[i]).text,
					 net->gateways[i].family == AF_INET ? 4 : 6);
	}
	return 0;
}

int add_net(struct boot_config *cfg, const char *where, const struct net_config *net,
	    struct error *err)
{
	if (cfg->nnets == CONFIG_NETS_MAX)
		return error_set(err, EINVAL, "%s: a VM has at most %d network cards", where,
				 CONFIG_NETS_MAX);
	for (size_t i = 0; i < cfg->nnets; i++) {
		if (net->tap[0] && strcmp(cfg->nets[i].tap, net->tap) == 0)
			return error_set(err, EINVAL, "%s: the tap %s is given twice", where,
					 net->tap);
		if (net->has_mac && cfg->nets[i].has_mac &&
		    memcmp(cfg->nets[i].mac, net->mac, sizeof(net->mac)) == 0)
			return error_set(err, EINVAL, "%s: two network cards have the same MAC",
					 where);
	}
	cfg->nets[cfg->nnets++] = *net;
	return 0;
}

static int parse_number(const char *where, const char *value, const char *what, int64_t *out,
			struct error *err)
{
	if (parse_integer(value, out) < 0)
		return error_set(err, EINVAL, "%s: \"%s\" is not %s", where, word_show(value).text,
				 what);
	return 0;
}

static int parse_mtu(struct net_config *net, const char *where, const char *value,
		     struct error *err)
{
	int64_t n = 0;
	int ret = parse_number(where, value, "a number of bytes", &n, err);

	return ret < 0 ? ret : set_net_mtu(net, where, n, err);
}

static int parse_pairs(struct net_config *net, const char *where, const char *value,
		       struct error *err)
{
	int64_t n = 0;
	int ret = parse_number(where, value, "a number of queues", &n, err);

	return ret < 0 ? ret : set_net_queues(net, where, n, err);
}

/* An option's limit is for each direction; a config file may tell them apart. */
static int parse_bw(struct net_config *net, const char *where, const char *value, struct error *err)
{
	return set_limit_size(&net->tx_limits.bytes.refill, where, value, err);
}

static int parse_bw_burst(struct net_config *net, const char *where, const char *value,
			  struct error *err)
{
	return set_limit_size(&net->tx_limits.bytes.size, where, value, err);
}

static int parse_pps(struct net_config *net, const char *where, const char *value,
		     struct error *err)
{
	return set_limit_count(&net->tx_limits.ops.refill, where, value, err);
}

static int parse_pps_burst(struct net_config *net, const char *where, const char *value,
			   struct error *err)
{
	return set_limit_count(&net->tx_limits.ops.size, where, value, err);
}

static int finish_limits(struct net_config *net, struct error *err)
{
	int ret = limit_finish(&net->tx_limits.bytes, "--net", "bw", err);

	if (ret == 0)
		ret = limit_finish(&net->tx_limits.ops, "--net", "pps", err);
	net->rx_limits = net->tx_limits;
	return ret;
}

static int parse_filter(struct net_config *net, const char *where, const char *value,
			struct error *err)
{
	bool filter = true;
	int ret = set_switch(&filter, where, value, err);

	net->unfiltered = !filter;
	return ret;
}

static const struct {
	const char *name;
	int (*enter)(struct net_config *net, const char *where, const char *value,
		     struct error *err);
} net_options[] = {
	{ "mac", set_net_mac },     { "mtu", parse_mtu },
	{ "queues", parse_pairs },  { "ip", add_net_ip },
	{ "gw", add_net_gateway },  { "dns", add_net_dns },
	{ "bw", parse_bw },         { "bw-burst", parse_bw_burst },
	{ "pps", parse_pps },       { "pps-burst", parse_pps_burst },
	{ "filter", parse_filter },
};

/* Enter "NAME=VALUE" into @net. */
static int parse_option(struct net_config *net, char *option, struct error *err)
{
	char *value = strchr(option, '=');
	struct word_match match = { 0 };
	char where[24];

	if (value)
		*value++ = '\0';
	for (size_t i = 0; i < sizeof(net_options) / sizeof(net_options[0]); i++) {
		if (strcmp(option, net_options[i].name) != 0) {
			word_match_try(&match, option, net_options[i].name);
			continue;
		}
		if (!value)
			return error_set(err, EINVAL,
					 "--net: the option %s needs a value, as in %s=...", option,
					 option);
		snprintf(where, sizeof(where), "--net: %s", net_options[i].name);
		return net_options[i].enter(net, where, value, err);
	}
	if (match.word)
		return error_set(err, EINVAL, "--net: unknown option \"%s\"%s",
				 word_show(option).text, word_show_match(&match).text);
	return error_set(err, EINVAL,
			 "--net: unknown option \"%s\", a network's options are mac=M, mtu=N, "
			 "queues=N, ip=ADDR/PREFIX, gw=ADDR, dns=ADDR, filter=on|off, bw=SIZE, "
			 "bw-burst=SIZE, pps=N and pps-burst=N",
			 word_show(option).text);
}

static int parse_mode(struct net_config *net, const char *mode, struct error *err)
{
	if (strncmp(mode, "tap=", 4) == 0)
		return set_net_tap(net, "--net: tap", mode + 4, err);
	if (strcmp(mode, "tap") == 0)
		return error_set(err, EINVAL, "--net: which tap? Write tap=NAME");
	if (strcmp(mode, "nat") != 0 && strcmp(mode, "user") != 0)
		return error_set(err, EINVAL,
				 "--net: \"%s\" is no kind of network; it begins with tap=NAME, "
				 "nat or user",
				 word_show(mode).text);
	return set_net_mode(net, "--net", mode, err);
}

int parse_net(const char *s, struct net_config *net, struct error *err)
{
	struct net_config parsed = { .mode = NET_TAP };
	AUTO_FREE char *copy = strdup(s);
	char *rest = copy;
	char *option;

	if (!copy)
		return error_set(err, ENOMEM, "--net: out of memory");

	int ret = parse_mode(&parsed, next_piece(&rest), err);

	while (ret == 0 && (option = next_piece(&rest)))
		ret = parse_option(&parsed, option, err);
	if (ret == 0)
		ret = finish_limits(&parsed, err);
	if (ret == 0)
		ret = check_net(&parsed, "--net", err);
	if (ret == 0)
		*net = parsed;
	return ret;
}

/* ---- published ports ---- */

static int bad_publish(const char *where, const char *s, struct error *err)
{
	return error_set(err, EINVAL,
			 "%s: \"%s\" is not [ADDR:]HOST:GUEST[/tcp|/udp] with ports from 1 to "
			 "65535, such as 8080:80 or [::1]:5353:53/udp",
			 where, word_show(s).text);
}

static int parse_port(const char *s, uint16_t *port)
{
	int64_t n;

	if (!*s || strlen(s) > 5 || parse_integer(s, &n) < 0 || n < 1 || n > UINT16_MAX)
		return -EINVAL;
	*port = (uint16_t)n;
	return 0;
}

/* Cut the host's address off the front of *@s, if there is one. Returns 0 or -EINVAL. */
static int parse_publish_address(char **s, struct ip_addr *address)
{
	char *text = *s;
	bool brackets = *text == '[';
	char *end;

	if (brackets) {
		end = strstr(++text, "]:");
		if (!end)
			return -EINVAL;
		*s = end + 2;
	} else {
		end = strchr(text, ':');
		if (!end || !strchr(end + 1, ':'))
			return 0;
		*s = end + 1;
	}
	*end = '\0';
	return ip_parse(text, address) || brackets != (address->family == AF_INET6) ? -EINVAL : 0;
}

int parse_publish(const char *where, const char *s, struct publish_config *publish,
		  struct error *err)
{
	struct publish_config parsed = { .udp = false };
	AUTO_FREE char *copy = strdup(s);
	char *rest = copy;
	char *slash, *colon;

	if (!copy)
		return error_set(err, ENOMEM, "%s: out of memory", where);
	slash = strrchr(copy, '/');
	if (slash) {
		*slash = '\0';
		parsed.udp = strcmp(slash + 1, "udp") == 0;
		if (!parsed.udp && strcmp(slash + 1, "tcp") != 0)
			return bad_publish(where, s, err);
	}
	if (parse_publish_address(&rest, &parsed.address) < 0)
		return bad_publish(where, s, err);
	colon = strchr(rest, ':');
	if (!colon)
		return bad_publish(where, s, err);
	*colon = '\0';
	if (parse_port(rest, &parsed.host_port) < 0 ||
	    parse_port(colon + 1, &parsed.guest_port) < 0)
		return bad_publish(where, s, err);
	*publish = parsed;
	return 0;
}

struct publish_text publish_show(const struct publish_config *publish)
{
	struct publish_text t;
	bool v6 = publish->address.family == AF_INET6;

	snprintf(t.text, sizeof(t.text), "%s%s%s%s%u:%u/%s", v6 ? "[" : "",
		 publish->address.family ? ip_show(&publish->address).text : "", v6 ? "]" : "",
		 publish->address.family ? ":" : "", publish->host_port, publish->guest_port,
		 publish->udp ? "udp" : "tcp");
	return t;
}

/* Whether both would answer at the same address and port of the host. */
static bool publish_collides(const struct publish_config *a, const struct publish_config *b)
{
	if (a->udp != b->udp || a->host_port != b->host_port)
		return false;
	if (!a->address.family || !b->address.family)
		return true;
	if (a->address.family != b->address.family)
		return false;
	return ip_is_any(&a->address) || ip_is_any(&b->address) ||
	       memcmp(a->address.bytes, b->address.bytes, sizeof(a->address.bytes)) == 0;
}

int add_publish(struct boot_config *cfg, const char *where, const char *text, struct error *err)
{
	struct publish_config publish;
	int ret = parse_publish(where, text, &publish, err);

	if (ret < 0)
		return ret;
	if (cfg->npublish == CONFIG_PUBLISH_MAX)
		return error_set(err, EINVAL, "%s: a VM has at most %d published ports", where,
				 CONFIG_PUBLISH_MAX);
	for (size_t i = 0; i < cfg->npublish; i++) {
		if (publish_collides(&cfg->publish[i], &publish))
			return error_set(err, EINVAL, "%s: %s and %s are the same port of the host",
					 where, publish_show(&cfg->publish[i]).text,
					 publish_show(&publish).text);
	}
	cfg->publish[cfg->npublish++] = publish;
	return 0;
}

int add_allow(struct boot_config *cfg, const char *where, const char *name, struct error *err)
{
	int ret = strcmp(name, "*") == 0 ? 0 : check_vm_name(where, name, err);

	if (ret < 0)
		return ret;
	if (cfg->nallow == CONFIG_ALLOWS_MAX)
		return error_set(err, EINVAL,
				 "%s: a VM names at most %d others that it may talk to", where,
				 CONFIG_ALLOWS_MAX);
	snprintf(cfg->allow[cfg->nallow++], sizeof(cfg->allow[0]), "%s", name);
	return 0;
}

/* Whether any card of @cfg is other than @mode. */
static bool has_other(const struct boot_config *cfg, enum net_mode mode)
{
	for (size_t i = 0; i < cfg->nnets; i++) {
		if (cfg->nets[i].mode != mode)
			return true;
	}
	return false;
}

int check_nets(const struct boot_config *cfg, struct error *err)
{
	if (cfg->nallow && !has_other(cfg, NET_USER))
		return error_set(
			err, EINVAL,
			"this VM cannot talk to %s: it has no --net nat and no --net tap=, "
			"where VMs may meet",
			cfg->allow[0]);
	if (!cfg->npublish || has_other(cfg, NET_TAP))
		return 0;
	return error_set(err, EINVAL,
			 "%s cannot be published: kvmbox forwards ports to a guest with --net nat "
			 "or --net user, %s",
			 publish_show(&cfg->publish[0]).text,
			 cfg->nnets ? "what is on a tap is reached as the tap's network has it"
				    : "and this one has no network");
}
