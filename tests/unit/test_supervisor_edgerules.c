// SPDX-License-Identifier: Apache-2.0
/*
 * The rules around a guest's card, loaded into a network namespace of the test's own: a tap is a
 * port of a bridge, frames are written into the tap as a guest would, and what comes out at the
 * bridge is what has passed. Each lie is sent without the rules first, to see that it would arrive.
 * Needs root, /dev/net/tun and libnftables.
 */
#include "supervisor/edgerules.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "supervisor/nft.h"

#define FRAME_MAX 1514

static const uint8_t own_mac[6] = { 0x02, 0, 0, 0, 0, 1 };

static struct {
	struct ip_addr ips[4];
	struct edge edge;
	char *text;
	int tap, bridge;
} w;

static void know(const char *text)
{
	cr_assert_eq(ip_parse_prefix(text, &w.ips[w.edge.nips++]), 0);
}

static void write_text(void)
{
	size_t size;
	FILE *f;

	free(w.text);
	f = open_memstream(&w.text, &size);
	edge_rules_write(f, &w.edge);
	fclose(f);
}

static void setup(void)
{
	w.edge = (struct edge){
		.table = "kvmbox-edge0", .vm = "web", .device = "tap0", .ips = w.ips, .shared = true
	};
	memcpy(w.edge.mac, own_mac, 6);
	w.tap = w.bridge = -1;
}

static void teardown(void)
{
	free(w.text);
	for (int *fd = &w.tap; fd <= &w.bridge; fd++)
		if (*fd >= 0)
			close(*fd);
}

/* ---- the text ---- */

TestSuite(edgerules, .init = setup, .fini = teardown);

#define EXPECT(words)     cr_expect(strstr(w.text, words), "no \"%s\" in:\n%s", words, w.text)
#define EXPECT_NOT(words) cr_expect_not(strstr(w.text, words), "\"%s\" in:\n%s", words, w.text)

Test(edgerules, link_local)
{
	struct ip_addr ip = edge_link_local((const uint8_t[]){ 0x06, 0, 0xac, 0x10, 0, 2 });

	cr_expect_str_eq(ip_show(&ip).text, "fe80::400:acff:fe10:2");
}

Test(edgerules, known)
{
	know("192.0.2.2/24");
	know("198.51.100.7/32");
	know("2001:db8::2/64");
	write_text();
	/* Made anew in one transaction, whatever was there. */
	cr_expect_eq(strncmp(w.text,
			     "add table netdev kvmbox-edge0\ndelete table netdev kvmbox-edge0\n",
			     63),
		     0);
	EXPECT("comment \"web\"");
	EXPECT("hook ingress device \"tap0\"");
	EXPECT("policy drop");
	EXPECT("ip saddr { 192.0.2.2, 198.51.100.7 } goto own4");
	EXPECT("arp saddr ip { 192.0.2.2, 198.51.100.7 } accept");
	EXPECT("ip6 saddr { fe80::ff:fe00:1, 2001:db8::2 } goto own6");
	EXPECT("@th,64,128 { 0xfe80000000000000000000fffe000001, "
	       "0x20010db8000000000000000000000002 "
	       "} accept");
	/* With an address of its own it makes none. */
	EXPECT_NOT("ffff:ffff");
}

Test(edgerules, only_ipv4_known)
{
	know("192.0.2.2/24");
	write_text();
	EXPECT("ip6 saddr & ::ffff:ffff:ffff:ffff == ::ff:fe00:1 goto own6");
	EXPECT("@th,128,64 0x000000fffe000001");
	/* Alone with the host, it has what it was given. */
	w.edge.shared = false;
	write_text();
	EXPECT_NOT("ip6");
	EXPECT_NOT("0.0.0.0 ip daddr");
	EXPECT_NOT("others");
}

Test(edgerules, unknown)
{
	write_text();
	EXPECT("ether saddr 02:00:00:00:00:01");
	EXPECT("nd-router-advert");
	EXPECT_NOT("ip saddr");
	EXPECT_NOT("ip6 saddr");
}

/* ---- a network ---- */

/* Some hosts have bridges check what they pass on. */
static void skip_netfilter(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/sys/net/bridge/%s", name);
	int fd = open(path, O_WRONLY);
	if (fd < 0)
		return;
	cr_assert_eq(write(fd, "0", 1), 1);
	close(fd);
}

/* What the bridge itself would look into, frames for groups, it passes on as well. */
static void make_bridge(void)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };

	if (system("ip link add br0 type bridge mcast_snooping 0 && "
		   "ip link set br0 up promisc on && ip link set tap0 up master br0"))
		cr_skip_test("cannot make a bridge");
	skip_netfilter("bridge-nf-call-iptables");
	skip_netfilter("bridge-nf-call-ip6tables");
	w.bridge = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	address.sll_ifindex = (int)if_nametoindex("br0");
	cr_assert_eq(bind(w.bridge, (struct sockaddr *)&address, sizeof(address)), 0);
}

static void make_network(void)
{
	struct ifreq ifr = { .ifr_name = "tap0", .ifr_flags = IFF_TAP | IFF_NO_PI };
	int large = 64 << 20;

	if (unshare(CLONE_NEWNET))
		cr_skip_test("no network namespace of our own: %s", strerror(errno));
	w.tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (w.tap < 0)
		cr_skip_test("cannot open /dev/net/tun: %s", strerror(errno));
	cr_assert_eq(ioctl(w.tap, TUNSETIFF, &ifr), 0);
	make_bridge();
	/* What is sent at once has to be there to be counted. */
	setsockopt(w.bridge, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof(large));
}

static void load(void)
{
	struct error err;

	write_text();
	cr_assert_eq(nft_run(w.text, &err), 0, "%s", err.text);
}

/* How many frames have come out, the host's own not counted. */
static unsigned int arrived(void)
{
	struct sockaddr_ll from;
	socklen_t len = sizeof(from);
	uint8_t frame[FRAME_MAX];
	unsigned int n = 0;

	while (recvfrom(w.bridge, frame, sizeof(frame), 0, (struct sockaddr *)&from, &len) > 0)
		n += from.sll_pkttype != PACKET_OUTGOING;
	return n;
}

/* ---- frames ---- */

/*
 * Frames in hexadecimal, with names for addresses: M the guest's MAC, X another's, B broadcast; I
 * the guest's IPv4 address, G its gateway's; S the guest's IPv6 address, L its own link-local one,
 * R its router's link-local one, N none, W all nodes; Z eight bytes of zeroes.
 */
static const struct {
	char name;
	const char *hex;
} names[] = {
	{ 'M', "020000000001" },
	{ 'X', "0200000000ee" },
	{ 'B', "ffffffffffff" },
	{ 'I', "c0000202" },
	{ 'G', "c0000201" },
	{ 'S', "20010db8000000000000000000000002" },
	{ 'L', "fe80000000000000000000fffe000001" },
	{ 'R', "fe800000000000000000000000000001" },
	{ 'N', "00000000000000000000000000000000" },
	{ 'W', "ff020000000000000000000000000001" },
	{ 'Z', "0000000000000000" },
};

static size_t read_hex(const char *s, uint8_t *out)
{
	size_t n = 0;

	for (; *s; s++) {
		size_t i = 0;

		while (i < sizeof(names) / sizeof(names[0]) && names[i].name != *s)
			i++;
		if (i < sizeof(names) / sizeof(names[0])) {
			n += read_hex(names[i].hex, out + n);
		} else if (*s != ' ') {
			unsigned int byte = 0;

			cr_assert_eq(sscanf(s, "%2x", &byte), 1, "%s", s);
			out[n++] = (uint8_t)byte;
			s++;
		}
	}
	return n;
}

static void send_frame(const char *hex)
{
	uint8_t frame[FRAME_MAX] = { 0 };
	size_t len = read_hex(hex, frame);

	cr_assert_eq(write(w.tap, frame, len), (ssize_t)len);
}

#define ARP(operation, mac, from, to)      "0806 0001 0800 06 04" operation mac from "000000000000" to
#define IP4(len, fragment, next, from, to) "0800 4500" len "0001" fragment "40" next "0000" from to
#define IP6(len, next, from, to)           "86dd 60000000" len next "ff" from to
#define UDP(from, to, len)                 from to len "0000"
#define ICMP6(type)                        type "00 0000"
#define TARGET(address, option)            "00000000" address option
#define FRAGMENT(next, offset)             next "00" offset "00000007"
#define OPTIONS(next)                      next "00 0104 00000000"
#define DHCP(mac)                                   \
	"01010600" Z4 Z4 Z4 Z4 Z4 Z4 mac "00000000" \
	"Z"
#define Z4 "00000000"

struct frame {
	const char *what;
	const char *hex;
};

static const struct frame honest[] = {
	{ "ARP request", "B M" ARP("0001", "M", "I", "G") },
	{ "ARP reply", "X M" ARP("0002", "M", "I", "G") },
	{ "ARP announcement", "B M" ARP("0001", "M", "I", "I") },
	{ "ARP probe", "B M" ARP("0001", "M", "00000000", "I") },
	{ "UDP", "X M" IP4("001c", "4000", "11", "I", "G") UDP("1000", "0035", "0008") },
	{ "TCP SYN", "X M" IP4("0028", "4000", "06", "I", "G") "1000 0050"
							       "Z"
							       "5002 ffff 0000 0000" },
	{ "IPv4 first fragment",
	  "X M" IP4("0024", "2000", "11", "I", "G") UDP("1000", "0035", "0018") "Z" },
	{ "IPv4 last fragment", "X M" IP4("001c", "0002", "11", "I", "G") "Z" },
	{ "IPv6 UDP", "3333 00000001 M" IP6("0008", "11", "S", "W") UDP("1000", "0035", "0008") },
	{ "ND solicitation",
	  "3333 00000001 M" IP6("0018", "3a", "S", "W") ICMP6("87") TARGET("R", "") },
	{ "ND probe", "3333 00000001 M" IP6("0018", "3a", "N", "W") ICMP6("87") TARGET("S", "") },
	{ "ND probe, link-local",
	  "3333 00000001 M" IP6("0018", "3a", "N", "W") ICMP6("87") TARGET("L", "") },
	{ "ND advertisement", "X M" IP6("0018", "3a", "S", "R") ICMP6("88") TARGET("S", "") },
	{ "ND advertisement, link-local",
	  "X M" IP6("0018", "3a", "L", "R") ICMP6("88") TARGET("L", "") },
	{ "router solicitation", "3333 00000002 M" IP6("0008", "3a", "L", "W") ICMP6("85") Z4 },
	{ "multicast report",
	  "3333 00000016 M" IP6("0010", "00", "N", "W") "3a00 0502 0000 0100" ICMP6("8f") Z4 },
	{ "echo", "X M" IP6("0008", "3a", "S", "R") ICMP6("80") Z4 },
	{ "echo, first fragment",
	  "X M" IP6("0018", "2c", "S", "R") FRAGMENT("3a", "0001") ICMP6("80") Z4 "Z" },
	{ "echo, last fragment", "X M" IP6("0010", "2c", "S", "R") FRAGMENT("3a", "0010") "Z" },
	{ "options before UDP",
	  "X M" IP6("0010", "3c", "S", "R") OPTIONS("11") UDP("1000", "0035", "0008") },
	{ "DHCP request, its own", "B M" IP4("004a", "0000", "11", "00000000", "ffffffff")
					   UDP("0044", "0043", "0036") DHCP("M") },
};

/* Lies that need no knowledge of the guest's addresses to be seen through. */
static const struct frame bad[] = {
	{ "another's MAC", "X X" IP4("001c", "4000", "11", "I", "G") UDP("1000", "0035", "0008") },
	{ "ARP, another's MAC in it", "X M" ARP("0002", "X", "I", "G") },
	{ "ARP, another's MAC around it", "X X" ARP("0002", "M", "I", "G") },
	{ "VLAN tag",
	  "X M 8100 0005" IP4("001c", "4000", "11", "I", "G") UDP("1000", "0035", "0008") },
	{ "two VLAN tags", "X M 88a8 0005 8100 0005" IP4("001c", "4000", "11", "I", "G")
				   UDP("1000", "0035", "0008") },
	{ "VLAN tag before ARP", "B M 8100 0000" ARP("0001", "M", "I", "G") },
	{ "spanning tree", "0180c2000000 M 0026 424203 0000 0000 00 8000 M Z Z Z Z" },
	{ "LLDP", "X M 88cc Z Z Z Z Z Z" },
	{ "PPPoE discovery", "B M 8863 Z Z Z Z Z Z" },
	{ "DHCP offer",
	  "B M" IP4("001c", "0000", "11", "I", "ffffffff") UDP("0043", "0044", "0008") },
	{ "DHCP offer from another port",
	  "B M" IP4("001c", "0000", "11", "I", "ffffffff") UDP("1000", "0044", "0008") },
	{ "DHCP offer in fragments",
	  "B M" IP4("001c", "2000", "11", "I", "ffffffff") UDP("0043", "0044", "0108") },
	{ "DHCP request for another",
	  "B M" IP4("004a", "0000", "11", "I", "ffffffff") UDP("0044", "0043", "0036") DHCP("X") },
	{ "DHCPv6 answer", "X M" IP6("0008", "11", "L", "R") UDP("0223", "0222", "0008") },
	{ "DHCPv6 answer behind options",
	  "X M" IP6("0010", "3c", "L", "R") OPTIONS("11") UDP("1000", "0222", "0008") },
	{ "longer than it is",
	  "X M" IP4("00ff", "0000", "11", "I", "G") UDP("1000", "0035", "0008") },
	{ "redirect", "X M" IP4("001c", "0000", "01", "I", "G") "0501 0000 G" },
	{ "IPv4 router advertisement", "X M" IP4("001c", "0000", "01", "I", "G") "0900 0000" Z4 },
	{ "IGMP query",
	  "0100 5e000001 M" IP4("001c", "0000", "02", "I", "e0000001") "1164 0000" Z4 },
	{ "MLD query", "3333 00000001 M" IP6("0018", "3a", "L", "W") ICMP6("82") TARGET("N", "") },
	{ "router advertisement",
	  "3333 00000001 M" IP6("0010", "3a", "L", "W") ICMP6("86") Z4 "Z" },
	{ "router advertisement behind options",
	  "3333 00000001 M" IP6("0018", "3c", "L", "W") OPTIONS("3a") ICMP6("86") Z4 "Z" },
	{ "router advertisement behind many options",
	  "3333 00000001 M" IP6("0030", "00", "L", "W") OPTIONS("3c")
		  OPTIONS("2b") "3c00 0400 00000000" OPTIONS("3a") ICMP6("86") Z4 "Z" },
	{ "router advertisement in one fragment",
	  "3333 00000001 M" IP6("0018", "2c", "L", "W") FRAGMENT("3a", "0000") ICMP6("86") Z4 "Z" },
	{ "router advertisement, first fragment",
	  "3333 00000001 M" IP6("0018", "2c", "L", "W") FRAGMENT("3a", "0001") ICMP6("86") Z4 "Z" },
	{ "first fragment that ends before the transport",
	  "3333 00000001 M" IP6("0010", "2c", "L", "W")
		  FRAGMENT("3c", "0001") "3a01 010c 00000000" },
	{ "later fragment with headers in it",
	  "3333 00000001 M" IP6("0018", "2c", "L", "W") FRAGMENT("3c", "0008") ICMP6("86") Z4 "Z" },
	{ "fragment within a fragment", "3333 00000001 M" IP6("0018", "2c", "L", "W")
						FRAGMENT("2c", "0000") FRAGMENT("3a", "0008") "Z" },
	{ "redirect, IPv6", "X M" IP6("0028", "3a", "L", "R") ICMP6("89") TARGET("R", "S") },
};

/* Lies about addresses, where the guest's own are known. */
static const struct frame lies[] = {
	{ "another's address",
	  "X M" IP4("001c", "4000", "11", "c0000209", "G") UDP("1000", "0035", "0008") },
	{ "another's address in a fragment", "X M" IP4("001c", "0002", "11", "c0000209", "G") "Z" },
	{ "no address",
	  "X M" IP4("001c", "4000", "11", "00000000", "G") UDP("1000", "0035", "0008") },
	{ "ARP reply for the gateway", "X M" ARP("0002", "M", "G", "I") },
	{ "ARP announcement of the gateway", "B M" ARP("0001", "M", "G", "G") },
	{ "ARP probe for the gateway", "B M" ARP("0001", "M", "00000000", "G") },
	{ "another's IPv6 address", "X M" IP6("0008", "11", "20010db8 00000000 00000000 00000009",
					      "R") UDP("1000", "0035", "0008") },
	{ "the router's link-local address", "X M" IP6("0008", "3a", "R", "W") ICMP6("80") Z4 },
	{ "IPv6, no address", "X M" IP6("0008", "3a", "N", "W") ICMP6("80") Z4 },
	{ "ND advertisement of the router",
	  "3333 00000001 M" IP6("0018", "3a", "S", "W") ICMP6("88") TARGET("R", "") },
	{ "ND advertisement of the router behind options",
	  "3333 00000001 M" IP6("0020", "3c", "S", "W") OPTIONS("3a") ICMP6("88") TARGET("R", "") },
	{ "ND advertisement of the router by itself",
	  "3333 00000001 M" IP6("0018", "3a", "R", "W") ICMP6("88") TARGET("R", "") },
	{ "ND probe for the router",
	  "3333 00000001 M" IP6("0018", "3a", "N", "W") ICMP6("87") TARGET("R", "") },
};

#define EACH(frames, times)                                                                       \
	for (size_t i = 0; i < sizeof(frames) / sizeof((frames)[0]); i++) {                       \
		send_frame((frames)[i].hex);                                                      \
		cr_expect_eq(arrived(), times, "%s: not %d of it have arrived", (frames)[i].what, \
			     times);                                                              \
	}

TestSuite(edge, .init = setup, .fini = teardown);

Test(edge, without_rules_all_arrives)
{
	make_network();
	EACH(honest, 1);
	EACH(bad, 1);
	EACH(lies, 1);
}

Test(edge, addresses_known)
{
	make_network();
	know("192.0.2.2/24");
	know("2001:db8::2/64");
	load();
	EACH(honest, 1);
	EACH(bad, 0);
	EACH(lies, 0);
}

Test(edge, addresses_unknown)
{
	make_network();
	load();
	EACH(honest, 1);
	EACH(bad, 0);
	EACH(lies, 1);
}

/* Of a router's prefix and its MAC, and no other. */
Test(edge, addresses_it_makes)
{
	static const struct frame own[] = {
		{ "UDP", "X M" IP6("0008", "11", "20010db8 00010000 000000ff fe000001", "R")
				 UDP("1000", "0035", "0008") },
		{ "ND probe", "3333 00000001 M" IP6("0018", "3a", "N", "W") ICMP6("87")
				      TARGET("20010db8 00010000 000000ff fe000001", "") },
		{ "ND advertisement", "X M" IP6("0018", "3a", "L", "R") ICMP6("88")
					      TARGET("20010db8 00010000 000000ff fe000001", "") },
	};
	static const struct frame others[] = {
		{ "another's", "X M" IP6("0008", "11", "S", "R") UDP("1000", "0035", "0008") },
		{ "ND probe",
		  "3333 00000001 M" IP6("0018", "3a", "N", "W") ICMP6("87") TARGET("S", "") },
		{ "ND advertisement",
		  "X M" IP6("0018", "3a", "L", "R") ICMP6("88") TARGET("S", "") },
	};

	make_network();
	know("192.0.2.2/24");
	load();
	EACH(own, 1);
	EACH(others, 0);
	EACH(bad, 0);
}

/* Behind NAT nobody gives addresses away. */
Test(edge, alone_with_the_host)
{
	static const struct frame dhcp[] = {
		{ "DHCP request", "B M" IP4("004a", "0000", "11", "00000000", "ffffffff")
					  UDP("0044", "0043", "0036") DHCP("M") },
		{ "IPv6", "X M" IP6("0008", "3a", "L", "R") ICMP6("80") Z4 },
	};

	make_network();
	know("192.0.2.2/30");
	w.edge.shared = false;
	load();
	send_frame(honest[0].hex);
	send_frame(honest[4].hex);
	cr_expect_eq(arrived(), 2);
	EACH(dhcp, 0);
	EACH(bad, 0);
}

/* A frame to the guest from one that it may not talk to, and from one that it may. */
Test(edge, between_guests)
{
	struct pollfd readable = { .events = POLLIN };
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_halen = 6 };
	uint8_t frame[FRAME_MAX], read_back[FRAME_MAX];
	struct error err;
	size_t len;

	make_network();
	load();
	cr_assert_eq(nft_run("add element netdev kvmbox-edge0 others { 02:00:00:00:00:ee }", &err),
		     0, "%s", err.text);
	to.sll_ifindex = (int)if_nametoindex("tap0");
	readable.fd = w.tap;
	fcntl(w.tap, F_SETFL, O_NONBLOCK);
	while (read(w.tap, read_back, sizeof(read_back)) > 0)
		;
	for (int own = 0; own < 2; own++) {
		len = read_hex(own ? "M 0200000000dd" IP4("001c", "4000", "11", "G", "I")
					       UDP("1000", "0035", "0008")
				   : "M X" IP4("001c", "4000", "11", "G", "I")
					       UDP("1000", "0035", "0008"),
			       frame);
		sendto(w.bridge, frame, len, 0, (struct sockaddr *)&to, sizeof(to));
	}
	/* What the host itself has to say to the network comes in between. */
	do
		cr_assert_eq(poll(&readable, 1, 5000), 1);
	while (read(w.tap, read_back, sizeof(read_back)) > 0 && read_back[0] != 0x02);
	cr_expect_eq(read_back[11], 0xdd);
}

/* Of many at once there come no more than the burst and what the time allows for. */
static void expect_rate(const char *hex, unsigned int sent, unsigned int burst, unsigned int rate)
{
	struct timespec a, b;
	unsigned int came = 0;
	uint8_t frame[FRAME_MAX];
	size_t len = read_hex(hex, frame);
	double seconds;

	clock_gettime(CLOCK_MONOTONIC, &a);
	for (unsigned int i = 0; i < sent; i++) {
		cr_assert_eq(write(w.tap, frame, len), (ssize_t)len);
		if (i % 1000 == 999)
			came += arrived();
	}
	came += arrived();
	clock_gettime(CLOCK_MONOTONIC, &b);
	seconds = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	cr_expect_geq(came, burst < sent ? burst : sent, "%u of %u have arrived", came, sent);
	cr_expect_leq((double)came, burst + rate * seconds + 1, "%u of %u have arrived in %f s",
		      came, sent, seconds);
}

Test(edge, rates)
{
	make_network();
	know("192.0.2.2/24");
	know("2001:db8::2/64");
	load();
	expect_rate(honest[1].hex, 20000, 10000, 2000);
	expect_rate(honest[9].hex, 20000, 10000, 2000);
	expect_rate(honest[5].hex, 100000, 50000, 10000);
	/* And still the others pass. */
	send_frame(honest[4].hex);
	cr_expect_eq(arrived(), 1);
}
