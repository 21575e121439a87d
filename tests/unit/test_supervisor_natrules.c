// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "supervisor/natrules.h"
#include "supervisor/nft.h"

static struct nat_link wire;
static char *rules;

static struct ip_addr ip(const char *text)
{
	struct ip_addr out = { 0 };

	cr_assert_eq(ip_parse_prefix(text, &out), 0);
	return out;
}

static void setup(void)
{
	nat_link_of(1, &wire);
	wire.host6 = ip("fd00::1/64");
	wire.guest6 = ip("fd00::2/64");
}

static void teardown(void)
{
	free(rules);
}

TestSuite(natrules, .init = setup, .fini = teardown);

static void write_rules(const struct ip_addr *dns, const struct publish_config *publish, size_t n)
{
	size_t size;
	FILE *f = open_memstream(&rules, &size);

	nat_rules_write(f, &wire, dns, publish, n, 4096);
	fclose(f);
}

#define EXPECT(text)     cr_expect(strstr(rules, text), "no \"%s\" in:\n%s", text, rules)
#define EXPECT_NOT(text) cr_expect_not(strstr(rules, text), "\"%s\" in:\n%s", text, rules)

Test(natrules, networks)
{
	static const struct {
		unsigned int slot;
		const char *name, *host, *guest;
	} cases[] = {
		{ 0, "kvmbox0", "10.213.0.1/30", "10.213.0.2/30" },
		{ 1, "kvmbox1", "10.213.0.5/30", "10.213.0.6/30" },
		{ 16383, "kvmbox16383", "10.213.255.253/30", "10.213.255.254/30" },
		{ 16384, "kvmbox16384", "172.29.0.1/30", "172.29.0.2/30" },
		{ NAT_SLOTS - 1, "kvmbox32831", "192.168.213.253/30", "192.168.213.254/30" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		nat_link_of(cases[i].slot, &wire);
		cr_expect_str_eq(wire.name, cases[i].name);
		cr_expect_str_eq(ip_show_prefix(&wire.host4).text, cases[i].host);
		cr_expect_str_eq(ip_show_prefix(&wire.guest4).text, cases[i].guest);
		cr_expect_eq(wire.guest6.family, 0);
	}
}

Test(natrules, plain)
{
	struct ip_addr none = { 0 };

	write_rules(&none, NULL, 0);
	/* Made anew in one transaction, whatever was there. */
	cr_expect_eq(strncmp(rules, "add table inet kvmbox1\ndelete table inet kvmbox1\n", 49), 0);
	EXPECT("ip saddr != 10.213.0.6 drop");
	EXPECT("ip daddr 127.0.0.0/8 drop");
	EXPECT("ip6 saddr != { fd00::2, fe80::/10, :: } drop");
	EXPECT("ip saddr 10.213.0.6 masquerade");
	EXPECT("ip6 saddr fd00::2 masquerade");
	EXPECT("ct count over 16 } counter drop");
	/* Nobody is in the sets yet. */
	EXPECT("iifname \"kvmbox*\" ip saddr @allowed4 accept");
	EXPECT("iifname \"kvmbox*\" ip6 saddr @allowed6 accept");
	EXPECT_NOT("elements");
	EXPECT_NOT("dnat ip");
	EXPECT_NOT("dport 53");
	EXPECT_NOT("kvmbox0");
}

Test(natrules, no_ipv6)
{
	struct publish_config publish = { .host_port = 80, .guest_port = 81 };
	struct ip_addr none = { 0 };

	wire.host6 = wire.guest6 = none;
	write_rules(&none, &publish, 1);
	EXPECT("meta nfproto ipv6 drop");
	EXPECT_NOT("ip6 ");
	EXPECT("meta nfproto ipv4 fib daddr type local tcp dport 80 dnat ip to 10.213.0.6:81");
}

Test(natrules, dns_of_the_host)
{
	struct ip_addr dns = ip("127.0.0.53");

	write_rules(&dns, NULL, 0);
	EXPECT("iifname \"kvmbox1\" ip daddr 10.213.0.5 meta l4proto { tcp, udp } th dport 53 dnat "
	       "ip to 127.0.0.53");
	EXPECT("iifname \"kvmbox1\" ip daddr 127.0.0.53 snat ip to 127.0.0.1");
	EXPECT("ip daddr 127.0.0.53 meta l4proto { tcp, udp } th dport 53 accept");
}

Test(natrules, published)
{
	struct publish_config publish[] = {
		{ .host_port = 8080, .guest_port = 80 },
		{ .host_port = 53, .guest_port = 5353, .udp = true, .address = ip("192.0.2.1") },
		{ .host_port = 81, .guest_port = 82, .address = ip("2001:db8::1") },
		{ .host_port = 83, .guest_port = 84, .address = ip("0.0.0.0") },
	};
	struct ip_addr none = { 0 };
	const char *own;

	write_rules(&none, publish, 4);
	EXPECT("meta nfproto ipv4 fib daddr type local tcp dport 8080 dnat ip to 10.213.0.6:80\n");
	EXPECT("meta nfproto ipv6 ip6 daddr != ::1 fib daddr type local tcp dport 8080 dnat ip6 to "
	       "[fd00::2]:80\n");
	EXPECT("ip daddr 192.0.2.1 udp dport 53 dnat ip to 10.213.0.6:5353\n");
	EXPECT("ip6 daddr 2001:db8::1 tcp dport 81 dnat ip6 to [fd00::2]:82\n");
	EXPECT_NOT("ip daddr 2001");
	EXPECT("meta nfproto ipv4 fib daddr type local tcp dport 83 dnat ip to 10.213.0.6:84\n");
	EXPECT_NOT("dport 83 dnat ip6");
	/* For what comes from outside, and for what the host itself sends. */
	own = strstr(rules, "chain to_guest_own");
	cr_assert_not_null(own);
	cr_expect(strstr(own, "dport 8080 dnat ip to 10.213.0.6:80"));
}

/* ---- in a network namespace of the test's own ---- */

static int make_tap(const char *name)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	strcpy(ifr.ifr_name, name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr))
		cr_skip_test("cannot make a tap: %s", strerror(errno));
	return fd;
}

/* One datagram of the guest's, from a port of its to one beyond the host. */
static void send_datagram(int tap, uint16_t from, uint16_t to)
{
	struct {
		uint8_t ethernet[14];
		struct iphdr ip;
		struct udphdr udp;
	} __attribute__((packed)) frame = {
		.ethernet = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0 },
		.ip = { .version = 4,
			.ihl = 5,
			.tot_len = htons(28),
			.ttl = 64,
			.protocol = IPPROTO_UDP,
			.saddr = inet_addr("10.213.0.6"),
			.daddr = inet_addr("198.51.100.2") },
		.udp = { .source = htons(from), .dest = htons(to), .len = htons(8) },
	};
	uint16_t words[10];
	uint32_t sum = 0;

	memcpy(words, &frame.ip, sizeof(words));
	for (size_t i = 0; i < 10; i++)
		sum += words[i];
	sum = (sum >> 16) + (sum & 0xffff);
	frame.ip.check = (uint16_t) ~(sum + (sum >> 16));
	cr_assert_eq(write(tap, &frame, sizeof(frame)), (ssize_t)sizeof(frame));
}

static unsigned int datagrams(int tap)
{
	uint8_t frame[2048];
	unsigned int n = 0;
	ssize_t len;

	while ((len = read(tap, frame, sizeof(frame))) > 0)
		n += len == 42 && frame[12] == 8 && frame[13] == 0 && frame[23] == IPPROTO_UDP;
	return n;
}

/* Of those that a counter is shared by no more than its part is let through, and the rest of
 * others. */
Test(natrules, connections_are_bounded)
{
	struct ip_addr none = { 0 };
	struct error err;

	if (unshare(CLONE_NEWNET))
		cr_skip_test("no network namespace of our own: %s", strerror(errno));
	int guest = make_tap("kvmbox1"), out = make_tap("out");

	if (system("ip link set kvmbox1 address 02:00:00:00:00:02 up && "
		   "ip addr add 10.213.0.5/30 dev kvmbox1 && ip link set out up && "
		   "ip addr add 198.51.100.1/24 dev out && "
		   "ip neigh add 198.51.100.2 lladdr 02:00:00:00:00:99 dev out && "
		   "echo 1 >/proc/sys/net/ipv4/ip_forward"))
		cr_skip_test("cannot make a network");
	write_rules(&none, NULL, 0);
	cr_assert_eq(nft_run(rules, &err), 0, "%s", err.text);
	for (uint16_t i = 0; i < 100; i++)
		send_datagram(guest, 5000, (uint16_t)(1000 + i));
	cr_expect_eq(datagrams(out), 16);
	/* Those that there are go on, and there is room for others. */
	send_datagram(guest, 5000, 1000);
	send_datagram(guest, 5002, 1000);
	cr_expect_eq(datagrams(out), 2);
}
