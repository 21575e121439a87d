// SPDX-License-Identifier: Apache-2.0
/*
 * What a guest may send, at the interface where it arrives and before anything of the host looks at
 * it, be it the host's own network, a bridge or a router:
 *
 *   from_guest   frames with the card's own MAC, of IPv4, IPv6 and ARP; so no VLAN tags, no
 *                spanning tree, nothing that asks a switch for something
 *   from_arp     whole ARP packets about itself: with its own MAC and address as the sender's, or
 *                asking whether somebody else has the address it is about to take
 *   from_ip4     with its own address; no answers of a DHCP server, no redirects, no adverts
 *   from_ip6     likewise; adverts of neighbours about itself only
 *
 * A list of what passes is safer than one of what does not, and IPv6 needs it: what cannot be read
 * must not pass. A header chain that a fragment cuts short hides what follows (RFC 7113), so behind
 * a fragment header there has to be that of the transport; and where the chain cannot be followed,
 * the kernel's filter knows no protocol, so that the rule which asks for one does not match. Of a
 * packet in fragments the first is judged and the others pass, before any rule that would take what
 * is in them for headers.
 *
 * The rates are such that the host's other guests keep their share of what all have in common (the
 * ears of a network, the host's tables), and far beyond what programs that mean well come to.
 */
#include "supervisor/edgerules.h"

#include <string.h>

#define FRAMES_LIMIT     "limit rate over 500000/second burst 250000 packets counter drop"
#define NEIGHBOUR_LIMIT  "limit rate over 2000/second burst 10000 packets counter drop"
#define CONNECTION_LIMIT "limit rate over 10000/second burst 50000 packets counter drop"

/* The part of an IPv6 address that a card makes of its MAC. */
static void interface_id(const uint8_t mac[6], uint8_t id[8])
{
	const uint8_t bytes[8] = {
		mac[0] ^ 0x02, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]
	};

	memcpy(id, bytes, sizeof(bytes));
}

struct ip_addr edge_link_local(const uint8_t mac[6])
{
	struct ip_addr ip = { .family = AF_INET6, .bytes = { 0xfe, 0x80 }, .prefix = 64 };

	interface_id(mac, ip.bytes + 8);
	return ip;
}

static bool has_family(const struct edge *edge, int family)
{
	for (size_t i = 0; i < edge->nips; i++) {
		if (edge->ips[i].family == family)
			return true;
	}
	return false;
}

/* Whether it may have addresses that it makes of a prefix and its MAC. */
static bool makes_addresses(const struct edge *edge)
{
	return edge->shared && !has_family(edge, AF_INET6);
}

static bool has_ip6(const struct edge *edge)
{
	return !edge->nips || edge->shared || has_family(edge, AF_INET6);
}

static void write_bytes(FILE *f, const uint8_t *bytes, size_t n)
{
	fprintf(f, "0x");
	for (size_t i = 0; i < n; i++)
		fprintf(f, "%02x", bytes[i]);
}

/* "{ A, B }", of those of IPv4. */
static void write_ip4s(FILE *f, const struct edge *edge)
{
	const char *before = "{ ";

	for (size_t i = 0; i < edge->nips; i++) {
		if (edge->ips[i].family != AF_INET)
			continue;
		fprintf(f, "%s%s", before, ip_show(&edge->ips[i]).text);
		before = ", ";
	}
	fprintf(f, " }");
}

static void write_from_arp(FILE *f, const struct edge *edge)
{
	fprintf(f,
		"\tchain from_arp {\n"
		"\t\t" NEIGHBOUR_LIMIT "\n"
		"\t\tarp htype 1 arp ptype ip arp hlen 6 arp plen 4 arp saddr ether %s goto "
		"arp_sender\n"
		"\t\tcounter drop\n"
		"\t}\n"
		"\tchain arp_sender {\n",
		mac_show(edge->mac).text);
	if (!edge->nips) {
		fprintf(f, "\t\taccept\n\t}\n");
		return;
	}
	if (has_family(edge, AF_INET)) {
		fprintf(f, "\t\tarp saddr ip ");
		write_ip4s(f, edge);
		fprintf(f, " accept\n"
			   "\t\tarp operation request arp saddr ip 0.0.0.0 arp daddr ip ");
		write_ip4s(f, edge);
		fprintf(f, " accept\n");
	}
	fprintf(f, "\t\tcounter drop\n\t}\n");
}

static void write_from_ip4(FILE *f, const struct edge *edge)
{
	fprintf(f, "\tchain from_ip4 {\n");
	if (!edge->nips)
		fprintf(f, "\t\tgoto own4\n");
	if (has_family(edge, AF_INET)) {
		fprintf(f, "\t\tip saddr ");
		write_ip4s(f, edge);
		fprintf(f, " goto own4\n");
	}
	if (edge->nips && edge->shared)
		fprintf(f,
			"\t\tip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 goto own4\n");
	if (edge->nips)
		fprintf(f, "\t\tcounter drop\n");
	fprintf(f, "\t}\n"
		   "\tchain own4 {\n"
		   "\t\tip frag-off & 0x1fff != 0 accept\n"
		   "\t\tudp sport 67 counter drop\n"
		   "\t\tudp dport 68 counter drop\n"
		   "\t\tudp dport 67 @th,288,48 != ");
	write_bytes(f, edge->mac, sizeof(edge->mac));
	fprintf(f, " counter drop\n"
		   "\t\ticmp type { redirect, router-advertisement } counter drop\n"
		   "\t\tip protocol igmp @th,0,8 0x11 counter drop\n"
		   "\t\ttcp flags & (fin|syn|rst|ack) == syn " CONNECTION_LIMIT "\n"
		   "\t\tmeta l4proto 0-254 accept\n"
		   "\t\tcounter drop\n"
		   "\t}\n");
}

/* A chain for which the 16 bytes behind an ICMPv6 header have to be an address of the guest's. */
static void write_target6(FILE *f, const struct edge *edge)
{
	struct ip_addr own = edge_link_local(edge->mac);

	fprintf(f, "\tchain target6 {\n");
	if (!edge->nips) {
		fprintf(f, "\t\taccept\n\t}\n");
		return;
	}
	fprintf(f, "\t\t@th,64,128 { ");
	write_bytes(f, own.bytes, 16);
	for (size_t i = 0; i < edge->nips; i++) {
		if (edge->ips[i].family != AF_INET6)
			continue;
		fprintf(f, ", ");
		write_bytes(f, edge->ips[i].bytes, 16);
	}
	fprintf(f, " } accept\n");
	if (makes_addresses(edge)) {
		fprintf(f, "\t\t@th,128,64 ");
		write_bytes(f, own.bytes + 8, 8);
		fprintf(f, " accept\n");
	}
	fprintf(f, "\t\tcounter drop\n\t}\n");
}

/* From :: it asks whether an address is free, for routers, and tells what groups it listens to. */
static void write_sources6(FILE *f, const struct edge *edge)
{
	struct ip_addr own = edge_link_local(edge->mac);

	fprintf(f, "\t\tip6 saddr { %s", ip_show(&own).text);
	for (size_t i = 0; i < edge->nips; i++) {
		if (edge->ips[i].family == AF_INET6)
			fprintf(f, ", %s", ip_show(&edge->ips[i]).text);
	}
	fprintf(f, " } goto own6\n");
	if (makes_addresses(edge)) {
		memset(own.bytes, 0, 8);
		fprintf(f, "\t\tip6 saddr & ::ffff:ffff:ffff:ffff == %s goto own6\n",
			ip_show(&own).text);
	}
	fprintf(f, "\t\texthdr frag exists counter drop\n"
		   "\t\tip6 saddr :: icmpv6 type { mld-listener-report, mld2-listener-report, "
		   "nd-router-solicit } accept\n"
		   "\t\tip6 saddr :: icmpv6 type nd-neighbor-solicit goto target6\n"
		   "\t\tcounter drop\n");
}

static void write_from_ip6(FILE *f, const struct edge *edge)
{
	fprintf(f, "\tchain from_ip6 {\n"
		   "\t\tfrag nexthdr { hopopt, ipv6-route, ipv6-frag, ipv6-opts } counter drop\n"
		   "\t\ticmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, "
		   "mld-listener-report, mld2-listener-report } " NEIGHBOUR_LIMIT "\n");
	if (edge->nips)
		write_sources6(f, edge);
	else
		fprintf(f, "\t\tgoto own6\n");
	fprintf(f, "\t}\n"
		   "\tchain own6 {\n"
		   "\t\tfrag frag-off != 0 accept\n"
		   "\t\tmeta l4proto icmpv6 goto own_icmp6\n"
		   "\t\tudp sport 547 counter drop\n"
		   "\t\tudp dport 546 counter drop\n"
		   "\t\ttcp flags & (fin|syn|rst|ack) == syn " CONNECTION_LIMIT "\n"
		   "\t\tmeta l4proto 0-254 accept\n"
		   "\t\tcounter drop\n"
		   "\t}\n"
		   "\tchain own_icmp6 {\n"
		   "\t\ticmpv6 type nd-neighbor-advert goto target6\n"
		   "\t\ticmpv6 type { mld-listener-query, nd-router-advert, nd-redirect, "
		   "router-renumbering } counter drop\n"
		   "\t\ticmpv6 type 0-255 accept\n"
		   "\t\tcounter drop\n"
		   "\t}\n");
	write_target6(f, edge);
}

/* Guests of the same network are told apart by their MACs, which each is held to. */
static void write_to_guest(FILE *f, const struct edge *edge)
{
	if (edge->shared)
		fprintf(f,
			"\tset others {\n"
			"\t\ttype ether_addr\n"
			"\t}\n"
			"\tchain to_guest {\n"
			"\t\ttype filter hook egress device \"%s\" priority filter; policy "
			"accept;\n"
			"\t\tether saddr @others counter drop\n"
			"\t}\n",
			edge->device);
}

void edge_rules_write(FILE *f, const struct edge *edge)
{
	fprintf(f,
		"add table netdev %s\n"
		"delete table netdev %s\n"
		"table netdev %s {\n"
		"\tcomment \"%s\"\n",
		edge->table, edge->table, edge->table, edge->vm);
	write_from_arp(f, edge);
	write_from_ip4(f, edge);
	if (has_ip6(edge))
		write_from_ip6(f, edge);
	write_to_guest(f, edge);
	fprintf(f,
		"\tchain from_guest {\n"
		"\t\ttype filter hook ingress device \"%s\" priority filter; policy drop;\n"
		"\t\t" FRAMES_LIMIT "\n"
		"\t\tmeta pkttype broadcast " NEIGHBOUR_LIMIT "\n"
		"\t\tether saddr %s ether type vmap { arp : goto from_arp, ip : goto from_ip4%s }\n"
		"\t\tcounter drop\n"
		"\t}\n"
		"}\n",
		edge->device, mac_show(edge->mac).text,
		has_ip6(edge) ? ", ip6 : goto from_ip6" : "");
}
