// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IP_TEXT_MAX (INET6_ADDRSTRLEN + 4) /* "ADDRESS/128" and its NUL */

/* An IPv4 or IPv6 address, with the length of its network's prefix where that matters. */
struct ip_addr {
	int family;        /* AF_INET or AF_INET6; 0: none */
	uint8_t bytes[16]; /* network order; 4 of them for IPv4 */
	uint8_t prefix;    /* bits */
};

/*
 * Read "192.0.2.1" or "2001:db8::1"; the prefix is then that of the address alone, 32 or 128 bits.
 * Returns 0 or -EINVAL.
 */
int ip_parse(const char *s, struct ip_addr *out);

/* Read "192.0.2.1/24" or "2001:db8::1/64"; without a prefix as ip_parse(). Returns 0 or -EINVAL. */
int ip_parse_prefix(const char *s, struct ip_addr *out);

struct ip_text {
	char text[IP_TEXT_MAX];
};

/* The address alone, or with "/PREFIX". */
struct ip_text ip_show(const struct ip_addr *ip);
struct ip_text ip_show_prefix(const struct ip_addr *ip);

struct mac_text {
	char text[sizeof("00:00:00:00:00:00")];
};

/* A MAC address as "02:00:00:00:00:0a". */
struct mac_text mac_show(const uint8_t mac[6]);

/* Read that, in small or capital letters. Returns 0; or -EINVAL, with @out as it was. */
int mac_parse(const char *s, uint8_t out[6]);

/* Whether the networks of @a and @b have an address in common. */
bool ip_overlap(const struct ip_addr *a, const struct ip_addr *b);

/* 127.0.0.0/8 or ::1. */
bool ip_is_loopback(const struct ip_addr *ip);

/* 0.0.0.0 or ::. */
bool ip_is_any(const struct ip_addr *ip);

/* The IPv4 address @host_order. */
struct ip_addr ip_v4(uint32_t host_order, uint8_t prefix);
