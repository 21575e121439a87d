// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "config/config.h"
#include "config/set.h"

static struct net_config net;
static struct error err;

static void parse(const char *text)
{
	memset(&net, 0x5a, sizeof(net));
	cr_assert_eq(parse_net(text, &net, &err), 0, "\"%s\": %s", text, err.text);
}

Test(config_net, modes)
{
	parse("nat");
	cr_expect_eq(net.mode, NET_NAT);
	cr_expect_not(net.has_mac);
	cr_expect_eq(net.mtu, 0);
	cr_expect_eq(net.queues, 0);
	cr_expect_str_eq(net.tap, "");
	parse("user,mtu=1280,mac=02:00:00:00:00:0f");
	cr_expect_eq(net.mode, NET_USER);
	cr_expect_eq(net.mtu, 1280);
	cr_expect(net.has_mac);
	cr_expect_eq(memcmp(net.mac, "\x02\0\0\0\0\x0f", 6), 0);
	parse("nat,queues=8,mtu=65521");
	cr_expect_eq(net.queues, 8);
	cr_expect_eq(net.mtu, 65521);
	parse("tap=tap-0123456789a");
	cr_expect_eq(net.mode, NET_TAP);
	cr_expect_str_eq(net.tap, "tap-0123456789a");
}

/* One limit for each direction. */
Test(config_net, limits)
{
	parse("nat,bw=1M,pps-burst=7,pps=200");
	cr_expect_eq(net.tx_limits.bytes.refill, 1 << 20);
	cr_expect_eq(net.tx_limits.bytes.refill_ms, 1000);
	cr_expect_eq(net.tx_limits.bytes.size, (1 << 20) / 10);
	cr_expect_eq(net.tx_limits.ops.refill, 200);
	cr_expect_eq(net.tx_limits.ops.size, 7);
	cr_expect_eq(memcmp(&net.tx_limits, &net.rx_limits, sizeof(net.rx_limits)), 0);
	parse("user,mtu=1280");
	cr_expect_not(bucket_limits(&net.tx_limits.bytes) || bucket_limits(&net.rx_limits.ops));
}

Test(config_net, addresses)
{
	parse("tap=t,ip=192.0.2.2/24,gw=192.0.2.1,ip=2001:db8::2/64,gw=fe80::1,dns=192.0.2.1,"
	      "dns=2001:db8::53,ip=10.0.0.1/31");
	cr_assert_eq(net.nips, 3);
	cr_expect_str_eq(ip_show_prefix(&net.ips[0]).text, "192.0.2.2/24");
	cr_expect_str_eq(ip_show_prefix(&net.ips[1]).text, "2001:db8::2/64");
	cr_expect_str_eq(ip_show_prefix(&net.ips[2]).text, "10.0.0.1/31");
	cr_assert_eq(net.ngateways, 2);
	cr_expect_str_eq(ip_show(&net.gateways[0]).text, "192.0.2.1");
	cr_expect_str_eq(ip_show(&net.gateways[1]).text, "fe80::1");
	cr_assert_eq(net.ndns, 2);
	cr_expect_str_eq(ip_show(&net.dns[1]).text, "2001:db8::53");
}

Test(config_net, filter)
{
	parse("tap=t");
	cr_expect_not(net.unfiltered);
	parse("tap=t,filter=off");
	cr_expect(net.unfiltered);
	parse("tap=t,filter=on");
	cr_expect_not(net.unfiltered);
}

Test(config_net, refused)
{
	static const struct {
		const char *text;
		const char *sentence;
	} cases[] = {
		{ "", "\"\" is no kind of network" },
		{ "bridge",
		  "\"bridge\" is no kind of network; it begins with tap=NAME, nat or user" },
		{ "nat=x", "\"nat=x\" is no kind of network" },
		{ "tap", "which tap? Write tap=NAME" },
		{ "tap=", "the name of the tap is empty" },
		{ "tap=0123456789abcdef", "has 16 characters, an interface's name has at most 15" },
		{ "tap=a/b", "is not an interface's name" },
		{ "tap=a b", "is not an interface's name" },
		{ "tap=..", "is not an interface's name" },
		{ "nat,", "unknown option \"\"" },
		{ "nat,mtx=1500", "unknown option \"mtx\"; did you mean mtu?" },
		{ "nat,bridge=x", "a network's options are mac=M" },
		{ "nat,mtu", "the option mtu needs a value" },
		{ "nat,mtu=x", "mtu: \"x\" is not a number of bytes" },
		{ "nat,mtu=1279", "mtu: 1279 is out of range, an MTU is 1280 to 65521" },
		{ "nat,mtu=65522", "mtu: 65522 is out of range" },
		{ "nat,queues=0", "queues: 0 is out of range, a network card has 1 to 8 queues" },
		{ "nat,queues=9", "queues: 9 is out of range" },
		{ "nat,bw=x", "bw: \"x\" is not a size such as" },
		{ "nat,pps=x", "pps: \"x\" is not a number such as" },
		{ "nat,bw-burst=1", "bw-burst is of no use without bw" },
		{ "nat,pps-burst=1", "pps-burst is of no use without pps" },
		{ "user,queues=2", "passt has one queue" },
		{ "nat,mac=02:00:00:00:00", "is not a MAC address such as" },
		{ "nat,mac=02:00:00:00:00:0g", "is not a MAC address" },
		{ "nat,mac=02:00:00:00:00:1:", "is not a MAC address" },
		{ "nat,mac=02-00-00-00-00-01", "is not a MAC address" },
		{ "nat,mac=01:00:00:00:00:01", "is a multicast address" },
		{ "nat,mac=00:00:00:00:00:00", "is no card's address" },
		{ "tap=t,ip=192.0.2.2",
		  "lacks the length of its network's prefix, as in 192.0.2.2/24" },
		{ "tap=t,ip=192.0.2.2/33", "is not an address and prefix such as" },
		{ "tap=t,ip=0.0.0.0/8", "is not the address of a machine" },
		{ "tap=t,ip=224.0.0.1/8", "is not the address of a machine" },
		{ "tap=t,ip=ff02::1/64", "is not the address of a machine" },
		{ "tap=t,gw=192.0.2.1/24", "is not an address such as" },
		{ "tap=t,gw=192.0.2.1",
		  "the gateway 192.0.2.1 is of no use without an IPv4 address" },
		{ "tap=t,ip=192.0.2.2/24,gw=fe80::1", "of no use without an IPv6 address" },
		{ "tap=t,ip=1.2.3.4/8,gw=1.0.0.1,gw=1.0.0.2",
		  "a second gateway for IPv4, beside 1.0.0.1" },
		{ "tap=t,dns=1.1.1.1,dns=1.1.1.2,dns=1.1.1.3,dns=1.1.1.4",
		  "at most 3 DNS servers" },
		{ "nat,ip=192.0.2.2/24", "ip, gw and dns are for a tap; nat chooses" },
		{ "tap=t,filter=no", "filter: \"no\" is neither on nor off" },
		{ "nat,filter=off", "only a tap can be left without rules" },
		{ "user,dns=192.0.2.2", "ip, gw and dns are for a tap; user chooses" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		err.text[0] = '\0';
		cr_expect_eq(parse_net(cases[i].text, &net, &err), -EINVAL, "\"%s\"",
			     cases[i].text);
		cr_expect(strstr(err.text, cases[i].sentence), "\"%s\" says: %s", cases[i].text,
			  err.text);
	}
}

Test(config_net, publish)
{
	static const struct {
		const char *text, *shown;
	} cases[] = {
		{ "8080:80", "8080:80/tcp" },
		{ "1:65535/tcp", "1:65535/tcp" },
		{ "53:53/udp", "53:53/udp" },
		{ "127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp" },
		{ "0.0.0.0:8080:80", "0.0.0.0:8080:80/tcp" },
		{ "[::1]:5353:53/udp", "[::1]:5353:53/udp" },
		{ "[2001:db8::1]:80:80", "[2001:db8::1]:80:80/tcp" },
	};
	static const char *const refused[] = {
		"",
		"80",
		":80",
		"80:",
		"0:80",
		"80:0",
		"65536:80",
		"80:65536",
		"80:80/sctp",
		"80:80/",
		"80:80tcp",
		"-1:80",
		"host:80:80",
		"::1:80:80",
		"[::1]80:80",
		"[::1:80:80",
		"[]:80:80",
		"[1.2.3.4]:80:80",
		"1.2.3:80:80",
		"80:80:80:80",
		"1.2.3.4:80",
		"8080-8090:80",
		"80:80/tcp/udp",
		"[::1]:80",
		"000080:80",
	};
	struct publish_config publish;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_assert_eq(parse_publish("-p", cases[i].text, &publish, &err), 0, "%s: %s",
			     cases[i].text, err.text);
		cr_expect_str_eq(publish_show(&publish).text, cases[i].shown);
	}
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		cr_expect_eq(parse_publish("-p", refused[i], &publish, &err), -EINVAL, "\"%s\"",
			     refused[i]);
		cr_expect(strstr(err.text, "is not [ADDR:]HOST:GUEST[/tcp|/udp]"), "%s", err.text);
	}
}

Test(config_net, publish_conflicts)
{
	static const struct {
		const char *a, *b;
		bool conflict;
	} cases[] = {
		{ "80:80", "80:81", true },
		{ "80:80", "81:80", false },
		{ "80:80/tcp", "80:80/udp", false },
		{ "80:80", "127.0.0.1:80:80", true },
		{ "80:80", "[::1]:80:80", true },
		{ "127.0.0.1:80:80", "127.0.0.2:80:80", false },
		{ "127.0.0.1:80:80", "127.0.0.1:80:82", true },
		{ "0.0.0.0:80:80", "127.0.0.1:80:80", true },
		{ "0.0.0.0:80:80", "[::]:80:80", false },
		{ "[::]:80:80", "[::1]:80:80", true },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct boot_config cfg;

		config_init(&cfg);
		cr_assert_eq(add_publish(&cfg, "-p", cases[i].a, &err), 0);
		int ret = add_publish(&cfg, "-p", cases[i].b, &err);

		cr_expect_eq(ret, cases[i].conflict ? -EINVAL : 0, "%s %s", cases[i].a, cases[i].b);
		if (ret)
			cr_expect(strstr(err.text, "are the same port of the host"), "%s",
				  err.text);
		config_deinit(&cfg);
	}
}

static int add(struct boot_config *cfg, const char *text)
{
	parse(text);
	return add_net(cfg, "--net", &net, &err);
}

Test(config_net, together)
{
	struct boot_config cfg;

	config_init(&cfg);
	cr_assert_eq(add_publish(&cfg, "-p", "80:80", &err), 0);
	cr_expect_eq(check_nets(&cfg, &err), -EINVAL);
	cr_expect(strstr(err.text, "80:80/tcp cannot be published"), "%s", err.text);
	cr_assert_eq(add(&cfg, "tap=a,mac=02:00:00:00:00:01"), 0);
	cr_expect_eq(check_nets(&cfg, &err), -EINVAL);
	cr_expect_eq(add(&cfg, "tap=a"), -EINVAL);
	cr_expect(strstr(err.text, "the tap a is given twice"), "%s", err.text);
	cr_expect_eq(add(&cfg, "nat,mac=02:00:00:00:00:01"), -EINVAL);
	cr_expect(strstr(err.text, "the same MAC"), "%s", err.text);
	cr_assert_eq(add(&cfg, "nat"), 0);
	cr_expect_eq(check_nets(&cfg, &err), 0);
	cr_assert_eq(add(&cfg, "nat"), 0);
	cr_assert_eq(add(&cfg, "user"), 0);
	cr_expect_eq(add(&cfg, "nat"), -EINVAL);
	cr_expect(strstr(err.text, "at most 4 network cards"), "%s", err.text);
	config_deinit(&cfg);
}

Test(config_net, allow)
{
	static const char *const refused[] = { "", "-a", "a b", "a*", "**", "../x" };
	struct boot_config cfg;

	config_init(&cfg);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		cr_expect_eq(add_allow(&cfg, "--allow", refused[i], &err), -EINVAL, "\"%s\"",
			     refused[i]);
	cr_assert_eq(add_allow(&cfg, "--allow", "db.1", &err), 0);
	cr_expect_eq(check_nets(&cfg, &err), -EINVAL);
	cr_expect(strstr(err.text, "cannot talk to db.1"), "%s", err.text);
	cr_assert_eq(add(&cfg, "user"), 0);
	cr_expect_eq(check_nets(&cfg, &err), -EINVAL);
	cr_assert_eq(add(&cfg, "tap=a"), 0);
	cr_expect_eq(check_nets(&cfg, &err), 0);
	while (cfg.nallow < CONFIG_ALLOWS_MAX)
		cr_assert_eq(add_allow(&cfg, "--allow", "*", &err), 0);
	cr_expect_eq(add_allow(&cfg, "--allow", "more", &err), -EINVAL);
	cr_expect_str_eq(cfg.allow[0], "db.1");
	config_deinit(&cfg);
}
