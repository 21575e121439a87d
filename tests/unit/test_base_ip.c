// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>

#include "base/ip.h"

static struct ip_addr ip(const char *text)
{
	struct ip_addr out;

	cr_assert_eq(ip_parse_prefix(text, &out), 0, "%s", text);
	return out;
}

Test(base_ip, read_and_shown)
{
	static const char *const texts[] = {
		"0.0.0.0/0", "10.0.0.1/8",     "255.255.255.255/32",
		"::/0",      "2001:db8::1/64", "::1/128",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct ip_addr a = ip(texts[i]);

		cr_expect_str_eq(ip_show_prefix(&a).text, texts[i]);
	}
	struct ip_addr a = ip("192.0.2.1");

	cr_expect_eq(a.prefix, 32);
	cr_expect_str_eq(ip_show(&a).text, "192.0.2.1");
	a = ip("2001:DB8:0:0::1");
	cr_expect_eq(a.prefix, 128);
	cr_expect_str_eq(ip_show(&a).text, "2001:db8::1");
	a = ip_v4(0x0a000002, 30);
	cr_expect_str_eq(ip_show_prefix(&a).text, "10.0.0.2/30");
}

Test(base_ip, refused)
{
	static const char *const texts[] = {
		"",
		"1.2.3",
		"1.2.3.4.5",
		"1.2.3.256",
		"1.2.3.4/",
		"1.2.3.4/33",
		"1.2.3.4/-1",
		"1.2.3.4/1x",
		"::1/129",
		"::1/0064",
		"/8",
		"host",
		"fe80::1%lo",
		"1::2::3",
		"1.2.3.4/8/8",
		"1111:2222:3333:4444:5555:6666:255.255.255.255:77777:88888:99999",
	};
	struct ip_addr a = { .family = 77 };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		cr_expect_eq(ip_parse_prefix(texts[i], &a), -EINVAL, "%s", texts[i]);
	cr_expect_eq(ip_parse("1.2.3.4/8", &a), -EINVAL);
	cr_expect_eq(a.family, 77);
}

Test(base_ip, mac)
{
	static const char *const refused[] = {
		"",
		"02:00:00:00:00",
		"02:00:00:00:00:0g",
		"02:00:00:00:00:1:",
		"2:00:00:00:00:001",
		"02:00:00:00:00:-1",
		"02:00:00:00: 0:01",
		"02:00:00:00:00:01:",
		"02-00-00-00-00-01",
		"0x:00:00:00:00:01",
	};
	uint8_t mac[6];

	cr_assert_eq(mac_parse("02:00:00:aB:Cd:0f", mac), 0);
	cr_expect_str_eq(mac_show(mac).text, "02:00:00:ab:cd:0f");
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		cr_expect_eq(mac_parse(refused[i], mac), -EINVAL, "%s", refused[i]);
	cr_expect_str_eq(mac_show(mac).text, "02:00:00:ab:cd:0f");
}

Test(base_ip, overlap)
{
	static const struct {
		const char *a, *b;
		bool overlap;
	} cases[] = {
		{ "10.0.0.0/8", "10.255.0.0/16", true },
		{ "10.0.0.0/8", "11.0.0.0/8", false },
		{ "10.213.0.0/30", "10.213.0.3/32", true },
		{ "10.213.0.0/30", "10.213.0.4/32", false },
		{ "10.213.0.1/30", "10.213.0.2/30", true },
		{ "0.0.0.0/0", "1.2.3.4/32", true },
		{ "1.2.3.4/32", "1.2.3.4/32", true },
		{ "1.2.3.4/32", "1.2.3.5/32", false },
		{ "fd00::/8", "fd12:3456::/64", true },
		{ "fd00::/8", "fe80::/10", false },
		{ "::1/128", "::1/128", true },
		{ "::/0", "0.0.0.0/0", false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ip_addr a = ip(cases[i].a), b = ip(cases[i].b);

		cr_expect_eq(ip_overlap(&a, &b), cases[i].overlap, "%s %s", cases[i].a, cases[i].b);
		cr_expect_eq(ip_overlap(&b, &a), cases[i].overlap, "%s %s", cases[i].b, cases[i].a);
	}
}

Test(base_ip, kinds)
{
	struct ip_addr a = ip("127.0.0.53");

	cr_expect(ip_is_loopback(&a));
	a = ip("::1");
	cr_expect(ip_is_loopback(&a));
	cr_expect_not(ip_is_any(&a));
	a = ip("::");
	cr_expect_not(ip_is_loopback(&a));
	cr_expect(ip_is_any(&a));
	a = ip("0.0.0.0");
	cr_expect(ip_is_any(&a));
	a = ip("10.0.0.1");
	cr_expect_not(ip_is_loopback(&a) || ip_is_any(&a));
}
