// SPDX-License-Identifier: Apache-2.0
#include "init/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LOOPBACK_INDEX 1
#define CARD_INDEX_MAX 64
#define CARD_WAIT_MS   2000

/* ---- rtnetlink ---- */

struct request {
	struct nlmsghdr header;
	uint8_t data[128]; /* the message of that type, attributes */
};

/* Starts a request and returns its message, size bytes, to be filled in. */
static void *request_init(struct request *r, uint16_t type, uint16_t flags, size_t size)
{
	*r = (struct request){ .header = {
				       .nlmsg_len = (uint32_t)NLMSG_LENGTH(size),
				       .nlmsg_type = type,
				       .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags),
			       } };
	return r->data;
}

static void request_put(struct request *r, unsigned short type, const void *data, size_t len)
{
	struct rtattr attribute = { .rta_type = type, .rta_len = (unsigned short)RTA_LENGTH(len) };
	uint8_t *end = (uint8_t *)r + NLMSG_ALIGN(r->header.nlmsg_len);

	memcpy(end, &attribute, sizeof(attribute));
	memcpy(end + RTA_LENGTH(0), data, len);
	r->header.nlmsg_len = NLMSG_ALIGN(r->header.nlmsg_len) + (uint32_t)RTA_SPACE(len);
}

/* Returns 0, or the kernel's negative errno. */
static int request_send(int fd, const struct request *r)
{
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		uint8_t request[sizeof(struct request)];
	} answer;
	ssize_t n;

	if (send(fd, r, r->header.nlmsg_len, 0) < 0)
		return -errno;
	do
		n = recv(fd, &answer, sizeof(answer), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return answer.header.nlmsg_type == NLMSG_ERROR ? answer.error.error : -EPROTO;
}

/* ---- addresses ---- */

struct ip {
	uint8_t family;
	uint8_t prefix;
	uint8_t len; /* of bytes */
	uint8_t bytes[16];
};

/* Reads ADDRESS or ADDRESS/PREFIX. Returns whether it is one. */
static bool ip_read(const char *s, struct ip *ip)
{
	char text[INET6_ADDRSTRLEN];
	size_t len = strcspn(s, "/");
	unsigned long prefix;
	char *end;

	*ip = (struct ip){ .family = AF_INET, .len = 4 };
	if (strchr(s, ':'))
		*ip = (struct ip){ .family = AF_INET6, .len = 16 };
	if (len >= sizeof(text))
		return false;
	memcpy(text, s, len);
	text[len] = '\0';
	if (inet_pton(ip->family, text, ip->bytes) != 1)
		return false;
	prefix = s[len] ? strtoul(s + len + 1, &end, 10) : ip->len * 8u;
	if (prefix > ip->len * 8u || (s[len] && (end == s + len + 1 || *end)))
		return false;
	ip->prefix = (uint8_t)prefix;
	return true;
}

static int address_add(int fd, int card, const char *text)
{
	struct request r;
	struct ip ip;
	struct ifaddrmsg *m =
		request_init(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*m));

	if (!ip_read(text, &ip))
		return -EINVAL;
	m->ifa_family = ip.family;
	m->ifa_prefixlen = ip.prefix;
	m->ifa_index = (uint32_t)card;
	/* The host has chosen it: nothing is to wait until the kernel has asked around. */
	m->ifa_flags = ip.family == AF_INET6 ? IFA_F_NODAD : 0;
	request_put(&r, IFA_LOCAL, ip.bytes, ip.len);
	request_put(&r, IFA_ADDRESS, ip.bytes, ip.len);
	return request_send(fd, &r);
}

static int gateway_add(int fd, int card, const char *text, uint32_t metric)
{
	struct request r;
	struct ip ip;
	struct rtmsg *m = request_init(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*m));

	if (!ip_read(text, &ip))
		return -EINVAL;
	m->rtm_family = ip.family;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = RTPROT_BOOT;
	m->rtm_scope = RT_SCOPE_UNIVERSE;
	m->rtm_type = RTN_UNICAST;
	m->rtm_flags = RTNH_F_ONLINK; /* whether or not an address has it in its network */
	request_put(&r, RTA_GATEWAY, ip.bytes, ip.len);
	request_put(&r, RTA_OIF, &card, sizeof(card));
	if (metric)
		request_put(&r, RTA_PRIORITY, &metric, sizeof(metric));
	return request_send(fd, &r);
}

/* ---- cards ---- */

/* Returns the index of the interface with this MAC, or -ENODEV. */
static int card_find(const uint8_t *mac)
{
	struct ifreq ifr = { 0 };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int found = -ENODEV;

	for (int i = LOOPBACK_INDEX + 1; found < 0 && i <= CARD_INDEX_MAX; i++) {
		ifr.ifr_ifindex = i;
		if (ioctl(fd, SIOCGIFNAME, &ifr) == 0 && ioctl(fd, SIOCGIFHWADDR, &ifr) == 0 &&
		    memcmp(ifr.ifr_hwaddr.sa_data, mac, 6) == 0)
			found = i;
	}
	close(fd);
	return found;
}

/* A kernel that probes its devices late may not have it yet. */
static int card_wait(const uint8_t *mac)
{
	const struct timespec tick = { .tv_nsec = 5000000 };
	int card;

	for (int ms = 0; (card = card_find(mac)) < 0 && ms < CARD_WAIT_MS; ms += 5)
		nanosleep(&tick, NULL);
	return card;
}

static int card_start(int fd, int card, uint32_t mtu)
{
	struct request r;
	struct ifinfomsg *m = request_init(&r, RTM_NEWLINK, 0, sizeof(*m));

	m->ifi_index = card;
	m->ifi_flags = IFF_UP;
	m->ifi_change = IFF_UP;
	if (mtu)
		request_put(&r, IFLA_MTU, &mtu, sizeof(mtu));
	return request_send(fd, &r);
}

static int net_setup_card(int fd, const struct net_description *net, uint32_t metric,
			  struct message *why)
{
	const uint8_t *mac = net->mac;
	int card = card_wait(mac);
	int ret;

	if (card < 0)
		return message_set(why, 0,
				   "this kernel sees no network card %02x:%02x:%02x:%02x:%02x:%02x",
				   mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	ret = card_start(fd, card, net->mtu);
	if (ret < 0)
		return message_set(why, -ret, "the network card cannot be started");
	for (char **a = net->addresses; *a; a++) {
		ret = address_add(fd, card, *a);
		if (ret < 0)
			return message_set(why, -ret, "the address %s cannot be set", *a);
	}
	for (char **g = net->gateways; *g; g++) {
		ret = gateway_add(fd, card, *g, metric);
		if (ret < 0)
			return message_set(why, -ret, "the route to %s cannot be set", *g);
	}
	return 0;
}

int net_setup(const struct description *d, struct message *why)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	int ret = 0;

	if (fd < 0)
		return d->nnets ? message_set(why, errno, "this kernel has no network") : 0;
	card_start(fd, LOOPBACK_INDEX, 0);
	for (unsigned int i = 0; i < d->nnets; i++) {
		/* Of two default routes the first is the better one. */
		int failed = net_setup_card(fd, &d->nets[i], i * 100, why);

		if (failed < 0)
			ret = failed;
	}
	close(fd);
	return ret;
}

/* ---- names ---- */

/*
 * Returns the file at path as a detached mount, or -1. The file keeps its name,
 * since one without cannot be mounted.
 */
static int file_detach(int fd, const char *path)
{
	close(fd);
	return (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

static int hosts_make(const struct description *d)
{
	static const char path[] = "/hosts";
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	bool named = false;

	if (fd < 0)
		return -1;
	dprintf(fd, "127.0.0.1\tlocalhost\n"
		    "::1\tlocalhost ip6-localhost ip6-loopback\n"
		    "ff02::1\tip6-allnodes\n"
		    "ff02::2\tip6-allrouters\n");
	for (unsigned int i = 0; d->hostname && i < d->nnets; i++) {
		for (char **a = d->nets[i].addresses; *a; a++) {
			dprintf(fd, "%.*s\t%s\n", (int)strcspn(*a, "/"), *a, d->hostname);
			named = true;
		}
	}
	if (d->hostname && !named)
		dprintf(fd, "127.0.1.1\t%s\n", d->hostname);
	return file_detach(fd, path);
}

static int resolv_make(const struct description *d)
{
	static const char path[] = "/resolv.conf";
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
		return -1;
	for (char **s = d->dns; *s; s++)
		dprintf(fd, "nameserver %s\n", *s);
	return file_detach(fd, path);
}

struct net_files net_files_make(const struct description *d)
{
	return (struct net_files){
		.hosts = d->nnets ? hosts_make(d) : -1,
		.resolv = d->dns[0] ? resolv_make(d) : -1,
	};
}

/*
 * Many a root has a link to what its own init would make below /run: the
 * directories on the way to that are made.
 */
static void link_prepare(const char *path)
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);

	if (n <= 0 || chdir("/etc") < 0)
		return;
	target[n] = '\0';
	for (char *slash = target + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(target, 0755);
		*slash = '/';
	}
	if (chdir("/") < 0)
		return;
}

static void file_lay(int *tree, const char *path)
{
	const int flags = O_RDONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	int fd;

	if (*tree < 0)
		return;
	fd = open(path, flags, 0644);
	if (fd < 0 && errno == ENOENT) {
		link_prepare(path);
		fd = open(path, flags, 0644);
	}
	if (fd >= 0)
		close(fd);
	syscall(SYS_move_mount, *tree, "", AT_FDCWD, path,
		MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS);
	close(*tree);
	*tree = -1;
}

void net_files_lay(struct net_files *files)
{
	if (files->hosts >= 0 || files->resolv >= 0)
		mkdir("/etc", 0755);
	file_lay(&files->hosts, "/etc/hosts");
	file_lay(&files->resolv, "/etc/resolv.conf");
}
