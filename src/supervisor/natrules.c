// SPDX-License-Identifier: Apache-2.0
/*
 * The rules of a guest behind NAT, one table for each, in the way of a packet that has passed its
 * edge (edgerules.c):
 *
 *   guard        from the guest: only with its own source address, and never to the host's 127/8,
 *                which the tap would let in (route_localnet, for published ports and DNS)
 *   connections  from the guest: no more new ones than the host can bear
 *   to_guest,    to a published port of the host, from outside or from the host itself: to the
 *   to_guest_own guest instead
 *   dns_source   DNS queries for a resolver that only answers 127.0.0.1
 *   to_host      from the guest to the host: echo, neighbours, DNS; nothing else
 *   forward      to the guest: answers, published ports, and the guests that are allowed to;
 *                nothing else
 *   from_guest   leaves with the host's address; so do packets from the host's 127/8 and from the
 *                guest itself that a published port has turned around; to a guest that may talk to
 *                this one it leaves as it is
 *
 * An "accept" here only ends this table's say: the host's own tables can still drop.
 */
#include "supervisor/natrules.h"

#include <string.h>

/* Apart from what Docker, libvirt, Podman and Kubernetes are known to use. */
static const struct {
	uint32_t base;
	unsigned int slots;
} pools[] = {
	{ 0x0ad50000, 16384 }, /* 10.213.0.0/16 */
	{ 0xac1d0000, 16384 }, /* 172.29.0.0/16 */
	{ 0xc0a8d500, 64 },    /* 192.168.213.0/24 */
};

void nat_link_of(unsigned int slot, struct nat_link *link)
{
	unsigned int pool = 0, i = slot;

	while (i >= pools[pool].slots)
		i -= pools[pool++].slots;
	*link = (struct nat_link){
		.host4 = ip_v4(pools[pool].base + 4 * i + 1, 30),
		.guest4 = ip_v4(pools[pool].base + 4 * i + 2, 30),
	};
	snprintf(link->name, sizeof(link->name), "kvmbox%u", slot);
}

/* Where @publish answers, in one family. */
static void write_publish(FILE *f, const struct publish_config *publish,
			  const struct ip_addr *guest)
{
	bool v4 = guest->family == AF_INET;

	if (!guest->family || (publish->address.family && publish->address.family != guest->family))
		return;
	if (publish->address.family && !ip_is_any(&publish->address))
		fprintf(f, "\t\t%s daddr %s", v4 ? "ip" : "ip6", ip_show(&publish->address).text);
	else
		fprintf(f, "\t\tmeta nfproto %s fib daddr type local",
			v4 ? "ipv4" : "ipv6 ip6 daddr != ::1");
	fprintf(f, " %s dport %u dnat %s to %s%s%s:%u\n", publish->udp ? "udp" : "tcp",
		publish->host_port, v4 ? "ip" : "ip6", v4 ? "" : "[", ip_show(guest).text,
		v4 ? "" : "]", publish->guest_port);
}

static void write_publishes(FILE *f, const struct nat_link *link,
			    const struct publish_config *publish, size_t npublish)
{
	for (size_t i = 0; i < npublish; i++) {
		write_publish(f, &publish[i], &link->guest4);
		write_publish(f, &publish[i], &link->guest6);
	}
}

static void write_guard(FILE *f, const struct nat_link *link)
{
	fprintf(f,
		"\tchain guard {\n"
		"\t\ttype filter hook prerouting priority raw; policy accept;\n"
		"\t\tiifname != \"%s\" accept\n"
		"\t\tip saddr != %s drop\n"
		"\t\tip daddr 127.0.0.0/8 drop\n",
		link->name, ip_show(&link->guest4).text);
	if (link->guest6.family)
		fprintf(f, "\t\tip6 saddr != { %s, fe80::/10, :: } drop\n",
			ip_show(&link->guest6).text);
	else
		fprintf(f, "\t\tmeta nfproto ipv6 drop\n");
	fprintf(f, "\t}\n");
}

/*
 * The kernel's counter of connections goes through all it has counted at each new one, so there are
 * many with a few each, by bits of the source port (its lowest is the same for most programs). What
 * belongs to one that is there ("confirmed") is not looked at.
 */
static void write_connections(FILE *f, const struct nat_link *link, unsigned int max)
{
	fprintf(f,
		"\tset connections {\n"
		"\t\ttype inet_service; size 256; flags dynamic\n"
		"\t}\n"
		"\tchain connections {\n"
		"\t\ttype filter hook prerouting priority mangle; policy accept;\n"
		"\t\tiifname != \"%s\" accept\n"
		"\t\tct state != new accept\n"
		"\t\tct status confirmed accept\n"
		"\t\tlimit rate over 10000/second burst 50000 packets counter drop\n"
		"\t\tmeta l4proto { tcp, udp } add @connections { th sport & 0x1fe ct count over "
		"%u } counter drop\n"
		"\t}\n",
		link->name, max / 256);
}

static void write_dns(FILE *f, const struct nat_link *link, const struct ip_addr *dns)
{
	if (dns->family)
		fprintf(f,
			"\t\tiifname \"%s\" ip daddr %s meta l4proto { tcp, udp } th dport 53 "
			"dnat ip to %s\n",
			link->name, ip_show(&link->host4).text, ip_show(dns).text);
}

static void write_dns_source(FILE *f, const struct nat_link *link, const struct ip_addr *dns)
{
	if (dns->family)
		fprintf(f,
			"\tchain dns_source {\n"
			"\t\ttype nat hook input priority 100; policy accept;\n"
			"\t\tiifname \"%s\" ip daddr %s snat ip to 127.0.0.1\n"
			"\t}\n",
			link->name, ip_show(dns).text);
}

static void write_to_host(FILE *f, const struct nat_link *link, const struct ip_addr *dns)
{
	fprintf(f,
		"\tchain to_host {\n"
		"\t\ttype filter hook input priority filter; policy accept;\n"
		"\t\tiifname != \"%s\" accept\n"
		"\t\tct state established,related accept\n"
		"\t\ticmp type echo-request accept\n"
		"\t\ticmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert } "
		"accept\n",
		link->name);
	if (dns->family)
		fprintf(f, "\t\tip daddr %s meta l4proto { tcp, udp } th dport 53 accept\n",
			ip_show(dns).text);
	fprintf(f, "\t\tdrop\n"
		   "\t}\n");
}

static void write_forward(FILE *f, const struct nat_link *link)
{
	fprintf(f,
		"\tchain forward {\n"
		"\t\ttype filter hook forward priority filter; policy accept;\n"
		"\t\toifname != \"%s\" accept\n"
		"\t\tct state established,related accept\n"
		"\t\tct status dnat accept\n"
		"\t\tiifname \"kvmbox*\" ip saddr @allowed4 accept\n"
		"%s"
		"\t\tdrop\n"
		"\t}\n",
		link->name,
		link->guest6.family ? "\t\tiifname \"kvmbox*\" ip6 saddr @allowed6 accept\n" : "");
}

static void write_from_guest(FILE *f, const struct nat_link *link)
{
	fprintf(f,
		"\tchain from_guest {\n"
		"\t\ttype nat hook postrouting priority srcnat; policy accept;\n"
		"\t\toifname \"kvmbox*\" ip daddr @allowed4 accept\n"
		"\t\tip saddr %s masquerade\n"
		"\t\toifname \"%s\" ip saddr 127.0.0.0/8 masquerade\n",
		ip_show(&link->guest4).text, link->name);
	if (link->guest6.family)
		fprintf(f,
			"\t\toifname \"kvmbox*\" ip6 daddr @allowed6 accept\n"
			"\t\tip6 saddr %s masquerade\n",
			ip_show(&link->guest6).text);
	fprintf(f, "\t}\n");
}

void nat_rules_write(FILE *f, const struct nat_link *link, const struct ip_addr *dns,
		     const struct publish_config *publish, size_t npublish,
		     unsigned int connections)
{
	fprintf(f,
		"add table inet %s\n"
		"delete table inet %s\n"
		"table inet %s {\n"
		"\tset allowed4 {\n"
		"\t\ttype ipv4_addr\n"
		"\t}\n"
		"\tset allowed6 {\n"
		"\t\ttype ipv6_addr\n"
		"\t}\n",
		link->name, link->name, link->name);
	write_guard(f, link);
	write_connections(f, link, connections);
	fprintf(f, "\tchain to_guest {\n"
		   "\t\ttype nat hook prerouting priority dstnat; policy accept;\n");
	write_dns(f, link, dns);
	write_publishes(f, link, publish, npublish);
	fprintf(f, "\t}\n"
		   "\tchain to_guest_own {\n"
		   "\t\ttype nat hook output priority -100; policy accept;\n");
	write_publishes(f, link, publish, npublish);
	fprintf(f, "\t}\n");
	write_dns_source(f, link, dns);
	write_to_host(f, link, dns);
	write_forward(f, link);
	write_from_guest(f, link);
	fprintf(f, "}\n");
}
