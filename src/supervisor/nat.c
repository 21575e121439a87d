// SPDX-License-Identifier: Apache-2.0
#include "supervisor/nat.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <unistd.h>

#include "backend/tap.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "supervisor/edge.h"
#include "supervisor/edgerules.h"
#include "supervisor/ports.h"
#include "supervisor/resolv.h"
#include "supervisor/rtnl.h"

#define CONNECTIONS_MIN 256u
#define CONNECTIONS_MAX 32768u

/* ---- choosing ---- */

static bool slot_is_free(const struct routes *routes, struct nat_link *link, unsigned int slot)
{
	nat_link_of(slot, link);
	return !routes_overlap(routes, &link->host4) && !if_nametoindex(link->name) &&
	       !netstate_exists(link->name);
}

/* A network of the guest's own in fd00::/8, of random number as RFC 4193 wants it. */
static int choose_ipv6(const struct routes *routes, struct nat_link *link)
{
	struct ip_addr net = { .family = AF_INET6, .bytes = { 0xfd }, .prefix = 64 };

	do {
		if (getrandom(net.bytes + 1, 5, 0) != 5)
			return -EIO;
	} while (routes_overlap(routes, &net));
	link->host6 = link->guest6 = net;
	link->host6.bytes[15] = 1;
	link->guest6.bytes[15] = 2;
	return 0;
}

/* With netstate_lock(). Take a free network and its state file. */
static int choose_network(struct nat *nat, struct error *err)
{
	struct routes routes;
	unsigned int slot = 0;
	int ret = routes_init(&routes);

	if (ret)
		return error_set(err, -ret, "cannot read the host's routes: %s", strerror(-ret));
	while (slot < NAT_SLOTS && !slot_is_free(&routes, &nat->link, slot))
		slot++;
	if (slot == NAT_SLOTS)
		ret = error_set(err, ENOSPC,
				"the host has a route for every network that --net nat could use "
				"(10.213.0.0/16, 172.29.0.0/16, 192.168.213.0/24)");
	else if (routes.has_default6 && choose_ipv6(&routes, &nat->link))
		ret = error_set(err, EIO, "the host gives no random numbers");
	routes_deinit(&routes);
	if (ret)
		return ret;
	snprintf(nat->state.table, sizeof(nat->state.table), "%s", nat->link.name);
	nat->state.nat = true;
	nat->state.ip4 = nat->link.guest4;
	nat->state.ip6 = nat->link.guest6;
	ret = netstate_take(&nat->state, err);
	return ret ? ret : netstate_write(&nat->state, err);
}

/* ---- the host's end ---- */

__attribute__((format(printf, 2, 3))) static bool sysctl_set(const char *value, const char *fmt,
							     ...)
{
	char path[128];
	va_list ap;

	va_start(ap, fmt);
	int n = snprintf(path, sizeof(path), "/proc/sys/net/");
	vsnprintf(path + n, sizeof(path) - (size_t)n, fmt, ap);
	va_end(ap);
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);
}

static char sysctl_get(const char *path)
{
	char full[NAME_MAX + 64], value = '\0';

	snprintf(full, sizeof(full), "/proc/sys/net/%s", path);
	AUTO_CLOSE int fd = open(full, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, &value, 1) == 1 ? value : '\0';
}

/*
 * A host that forwards IPv6 no longer listens to router advertisements, from which it may have its
 * own default route, unless it is told to (accept_ra = 2).
 */
static void keep_router_advertisements(void)
{
	DIR *dir = opendir("/proc/sys/net/ipv6/conf");
	const struct dirent *e;
	char path[NAME_MAX + 32];

	while (dir && (e = readdir(dir))) {
		snprintf(path, sizeof(path), "ipv6/conf/%s/accept_ra", e->d_name);
		if (sysctl_get(path) == '1')
			sysctl_set("2", "%s", path);
	}
	if (dir)
		closedir(dir);
}

/* Left on afterwards, as other VMs and container engines may have come to need it. */
static int enable_forwarding(const struct nat_link *link, struct error *err)
{
	if (sysctl_get("ipv4/ip_forward") != '1' && !sysctl_set("1", "ipv4/ip_forward"))
		return error_set(err, errno, "cannot make the host forward packets (%s): %s",
				 "sysctl net.ipv4.ip_forward", strerror(errno));
	if (!link->host6.family || sysctl_get("ipv6/conf/all/forwarding") == '1')
		return 0;
	keep_router_advertisements();
	if (!sysctl_set("1", "ipv6/conf/all/forwarding"))
		return error_set(err, errno, "cannot make the host forward packets (%s): %s",
				 "sysctl net.ipv6.conf.all.forwarding", strerror(errno));
	return 0;
}

/* The guest is not to talk the host into anything: redirects, routers, other addresses. */
static void harden_tap(const char *name)
{
	sysctl_set("0", "ipv4/conf/%s/accept_redirects", name);
	sysctl_set("0", "ipv4/conf/%s/send_redirects", name);
	sysctl_set("0", "ipv6/conf/%s/accept_redirects", name);
	sysctl_set("0", "ipv6/conf/%s/accept_ra", name);
	sysctl_set("0", "ipv6/conf/%s/autoconf", name);
	/* The network is new, so there is no duplicate to wait for. */
	sysctl_set("0", "ipv6/conf/%s/accept_dad", name);
	/* Published ports on 127.0.0.1, and DNS; natrules.c guards it. */
	sysctl_set("1", "ipv4/conf/%s/route_localnet", name);
}

static void put_ipv4(struct ifreq *ifr, const void *bytes)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };

	memcpy(&addr.sin_addr, bytes, sizeof(addr.sin_addr));
	memcpy(&ifr->ifr_addr, &addr, sizeof(addr));
}

static int start_tap(const struct nat_link *link, unsigned int mtu)
{
	AUTO_CLOSE int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_mtu = (int)mtu };
	uint32_t mask = htonl(~0u << (32 - link->host4.prefix));

	memcpy(ifr.ifr_name, link->name, sizeof(ifr.ifr_name));
	if (fd < 0 || ioctl(fd, SIOCSIFMTU, &ifr))
		return -errno;
	put_ipv4(&ifr, link->host4.bytes);
	if (ioctl(fd, SIOCSIFADDR, &ifr))
		return -errno;
	put_ipv4(&ifr, &mask);
	if (ioctl(fd, SIOCSIFNETMASK, &ifr))
		return -errno;
	ifr.ifr_flags = IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &ifr) ? -errno : 0;
}

static int start_tap_ipv6(const struct nat_link *link)
{
	AUTO_CLOSE int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct in6_ifreq ifr = { .ifr6_prefixlen = link->host6.prefix,
				 .ifr6_ifindex = (int)if_nametoindex(link->name) };

	memcpy(&ifr.ifr6_addr, link->host6.bytes, sizeof(ifr.ifr6_addr));
	return fd < 0 || ioctl(fd, SIOCSIFADDR, &ifr) ? -errno : 0;
}

static int make_wire(struct nat *nat, unsigned int mtu, unsigned int queues, struct error *err)
{
	const struct nat_link *link = &nat->link;
	int ret = tap_create(link->name, queues, &nat->port, err);

	if (ret)
		return ret;
	harden_tap(link->name);
	ret = start_tap(link, mtu);
	if (!ret && link->host6.family)
		ret = start_tap_ipv6(link);
	if (ret)
		return error_set(err, -ret, "cannot give the tap %s its addresses: %s", link->name,
				 strerror(-ret));
	return 0;
}

/* ---- rules ---- */

/*
 * How many connections of the guest the host keeps track of: a quarter of what it is able to at
 * most, so that no guest keeps the host from having any. The host tells only once it tracks some.
 */
static unsigned int connections_max(void)
{
	FILE *f = fopen("/proc/sys/net/netfilter/nf_conntrack_max", "re");
	unsigned int all;

	if (!f || fscanf(f, "%u", &all) != 1)
		all = 4 * CONNECTIONS_MAX;
	if (f)
		fclose(f);
	if (all < 4 * CONNECTIONS_MIN)
		return CONNECTIONS_MIN;
	return all / 4 < CONNECTIONS_MAX ? all / 4 : CONNECTIONS_MAX;
}

static int load_rules(const struct nat *nat, const struct ip_addr *dns,
		      const struct publish_config *publish, size_t npublish,
		      unsigned int connections, struct error *err)
{
	const struct nat_link *link = &nat->link;
	struct ip_addr ips[] = { link->guest4, link->guest6 };
	struct edge edge = {
		.table = link->name,
		.vm = nat->state.vm,
		.device = link->name,
		.ips = ips,
		.nips = link->guest6.family ? 2 : 1,
	};
	AUTO_FREE char *rules = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&rules, &size);

	if (!f)
		return error_set(err, ENOMEM, "out of memory");
	memcpy(edge.mac, nat->state.mac, sizeof(edge.mac));
	nat_rules_write(f, link, dns, publish, npublish, connections);
	edge_rules_write(f, &edge);
	if (fclose(f))
		return error_set(err, ENOMEM, "out of memory");
	return edge_load(&nat->state, rules, err);
}

static int make_rules(const struct nat *nat, const struct ip_addr *dns,
		      const struct publish_config *publish, size_t npublish, struct error *err)
{
	unsigned int before = connections_max();
	int ret = load_rules(nat, dns, publish, npublish, before, err);

	/* The first of these rules have the host track connections. */
	if (!ret && connections_max() != before)
		ret = load_rules(nat, dns, publish, npublish, connections_max(), err);
	return ret;
}

/* Servers of a family that the guest has not are of no use to it. */
static void choose_dns(struct nat *nat, struct ip_addr *loopback)
{
	struct ip_list servers;

	resolv_read(&servers, loopback);
	nat->dns.n = 0;
	if (loopback->family)
		nat->dns.ips[nat->dns.n++] = nat->link.host4;
	for (unsigned int i = 0; i < servers.n; i++) {
		if (servers.ips[i].family == AF_INET || nat->link.guest6.family)
			nat->dns.ips[nat->dns.n++] = servers.ips[i];
	}
}

/* Take the host's ports, having checked that the guest is reached through them. */
static int hold_ports(struct nat *nat, const struct publish_config *publish, size_t npublish,
		      struct error *err)
{
	for (size_t i = 0; i < npublish; i++) {
		const struct ip_addr *address = &publish[i].address;

		if (address->family == AF_INET6 && ip_is_loopback(address))
			return error_set(err, EINVAL,
					 "--publish %s: NAT does not reach ::1; publish at "
					 "127.0.0.1, or use --net user",
					 publish_show(&publish[i]).text);
		if (address->family == AF_INET6 && !nat->link.guest6.family)
			return error_set(err, EINVAL,
					 "--publish %s: the host has no IPv6 default route, so the "
					 "guest has no IPv6",
					 publish_show(&publish[i]).text);

		int fd = port_hold(&publish[i], err);

		if (fd < 0)
			return fd;
		nat->held[nat->nheld++] = fd;
	}
	return 0;
}

static void release_ports(struct nat *nat)
{
	while (nat->nheld)
		close(nat->held[--nat->nheld]);
}

/* With netstate_lock(). */
static void remove_own(struct nat *nat)
{
	release_ports(nat);
	if (nat->port)
		nat->port->ops->free(nat->port);
	nat->port = NULL;
	edge_drop(&nat->state, "the VM's network is still there");
}

int nat_open(struct nat *nat, const struct boot_config *cfg, const uint8_t mac[6], unsigned int mtu,
	     unsigned int queues, const struct publish_config *publish, size_t npublish,
	     struct error *err)
{
	struct ip_addr dns;
	int ret;

	*nat = (struct nat){ .nheld = 0 };
	netstate_init(&nat->state, cfg, mac);
	if (geteuid() != 0)
		return error_set(err, EPERM,
				 "--net nat makes an interface and firewall rules, which only root "
				 "may do; --net user needs no root");

	AUTO_CLOSE int lock = netstate_lock(err);

	if (lock < 0)
		return lock;
	edge_remove_dead();
	ret = choose_network(nat, err);
	if (!ret) {
		choose_dns(nat, &dns);
		ret = hold_ports(nat, publish, npublish, err);
	}
	if (!ret)
		ret = make_wire(nat, mtu, queues, err);
	if (!ret)
		ret = make_rules(nat, &dns, publish, npublish, err);
	if (!ret)
		ret = enable_forwarding(&nat->link, err);
	if (ret)
		remove_own(nat);
	return ret;
}

void nat_close(struct nat *nat)
{
	struct error err;
	AUTO_CLOSE int lock = netstate_lock(&err);

	if (lock < 0)
		log_line("%s", err.text);
	remove_own(nat);
}
