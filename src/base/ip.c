// SPDX-License-Identifier: Apache-2.0
#include "base/ip.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static uint8_t bits(int family)
{
	return family == AF_INET ? 32 : 128;
}

int ip_parse(const char *s, struct ip_addr *out)
{
	struct ip_addr ip = { .family = strchr(s, ':') ? AF_INET6 : AF_INET };

	if (inet_pton(ip.family, s, ip.bytes) != 1)
		return -EINVAL;
	ip.prefix = bits(ip.family);
	*out = ip;
	return 0;
}

int ip_parse_prefix(const char *s, struct ip_addr *out)
{
	const char *slash = strchr(s, '/');
	char text[INET6_ADDRSTRLEN];
	struct ip_addr ip;
	size_t digits;

	if (!slash)
		return ip_parse(s, out);
	digits = strspn(slash + 1, "0123456789");
	if ((size_t)(slash - s) >= sizeof(text) || digits < 1 || digits > 3 || slash[1 + digits])
		return -EINVAL;
	memcpy(text, s, (size_t)(slash - s));
	text[slash - s] = '\0';
	if (ip_parse(text, &ip) < 0)
		return -EINVAL;

	unsigned long prefix = strtoul(slash + 1, NULL, 10);

	if (prefix > ip.prefix)
		return -EINVAL;
	ip.prefix = (uint8_t)prefix;
	*out = ip;
	return 0;
}

struct ip_text ip_show(const struct ip_addr *ip)
{
	struct ip_text t = { "" };

	inet_ntop(ip->family, ip->bytes, t.text, sizeof(t.text));
	return t;
}

struct ip_text ip_show_prefix(const struct ip_addr *ip)
{
	struct ip_text t = ip_show(ip);
	size_t len = strlen(t.text);

	snprintf(t.text + len, sizeof(t.text) - len, "/%u", ip->prefix);
	return t;
}

struct mac_text mac_show(const uint8_t mac[6])
{
	struct mac_text t;

	snprintf(t.text, sizeof(t.text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	return t;
}

int mac_parse(const char *s, uint8_t out[6])
{
	const size_t len = sizeof("00:00:00:00:00:00") - 1;
	uint8_t mac[6];
	int end = -1;

	if (strlen(s) != len || strspn(s, "0123456789abcdefABCDEF:") != len ||
	    sscanf(s, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2], &mac[3],
		   &mac[4], &mac[5], &end) != 6 ||
	    end != (int)len)
		return -EINVAL;
	memcpy(out, mac, sizeof(mac));
	return 0;
}

bool ip_overlap(const struct ip_addr *a, const struct ip_addr *b)
{
	unsigned int common = a->prefix < b->prefix ? a->prefix : b->prefix;
	unsigned int whole = common / 8;
	uint8_t mask = (uint8_t)(0xff00u >> (common % 8));

	if (a->family != b->family || memcmp(a->bytes, b->bytes, whole) != 0)
		return false;
	return !mask || ((a->bytes[whole] ^ b->bytes[whole]) & mask) == 0;
}

bool ip_is_loopback(const struct ip_addr *ip)
{
	if (ip->family == AF_INET)
		return ip->bytes[0] == 127;
	return memcmp(ip->bytes, &in6addr_loopback, sizeof(in6addr_loopback)) == 0;
}

bool ip_is_any(const struct ip_addr *ip)
{
	static const uint8_t zeroes[16];

	return memcmp(ip->bytes, zeroes, ip->family == AF_INET ? 4 : 16) == 0;
}

struct ip_addr ip_v4(uint32_t host_order, uint8_t prefix)
{
	struct ip_addr ip = { .family = AF_INET, .prefix = prefix };
	uint32_t be = htonl(host_order);

	memcpy(ip.bytes, &be, sizeof(be));
	return ip;
}
