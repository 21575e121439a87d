// SPDX-License-Identifier: Apache-2.0
#include "harness.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer.h"

#define FRAME_ROOM 70000u

/* With a tap, a packet socket's virtio_net_hdr is in front; with a stream, the length. */
struct peer {
	int fd;
	bool stream;
	bool echo_only;
	union {
		struct virtio_net_hdr hdr;
		uint32_t length;
	};
	uint8_t frame[FRAME_ROOM];
};

static bool read_all(int fd, void *buf, size_t len)
{
	for (size_t n = 0; n < len;) {
		ssize_t k = read(fd, (uint8_t *)buf + n, len - n);

		if (k <= 0)
			return false;
		n += (size_t)k;
	}
	return true;
}

/* The next frame. Returns its length, 0 at the end of all. */
static size_t peer_read(struct peer *p)
{
	if (p->stream) {
		if (!read_all(p->fd, &p->length, 4))
			return 0;
		size_t len = ntohl(p->length);

		memset(&p->hdr, 0, sizeof(p->hdr));
		return len <= FRAME_ROOM && read_all(p->fd, p->frame, len) ? len : 0;
	}

	struct iovec iov[2] = { { &p->hdr, sizeof(p->hdr) }, { p->frame, FRAME_ROOM } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n = recvmsg(p->fd, &msg, 0);

	return n < 0 ? 1 : (size_t)n - sizeof(p->hdr);
}

static void peer_write(struct peer *p, size_t len)
{
	struct iovec iov[2] = { { &p->hdr, p->stream ? 4 : sizeof(p->hdr) }, { p->frame, len } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	if (p->stream)
		p->length = htonl((uint32_t)len);
	/* A stream socket takes all of it, if it has to wait for that. A full tap takes nothing. */
	if (sendmsg(p->fd, &msg, MSG_NOSIGNAL) < 0 && p->stream)
		exit(0);
}

static void flood(struct peer *p, struct peer_frame *f)
{
	unsigned int count = f->count;
	size_t len = f->len;

	f->op = PEER_DATA;
	memset(f + 1, 0x77, FRAME_ROOM - sizeof(*f));
	for (f->number = 0; f->number < count; f->number++)
		peer_write(p, len);
}

static void answer(struct peer *p, size_t len)
{
	struct peer_frame *f = (struct peer_frame *)p->frame;
	uint8_t mac[6];
	uint8_t op = f->op;

	if (len < sizeof(*f) || f->protocol != PEER_PROTOCOL || (p->echo_only && op != PEER_ECHO))
		return;
	memcpy(mac, f->dst, 6);
	memcpy(f->dst, f->src, 6);
	memcpy(f->src, mac, 6);
	f->flags = p->hdr.flags;
	memset(&p->hdr, 0, sizeof(p->hdr));
	if (op == PEER_LEAVE)
		p->hdr = (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
						  .csum_start = PEER_CSUM_START,
						  .csum_offset = PEER_CSUM - PEER_CSUM_START };
	switch (op) {
	case PEER_ECHO:
	case PEER_LEAVE:
		peer_write(p, len);
		break;
	case PEER_FLOOD:
		flood(p, f);
		break;
	case PEER_DELETE:
		if (system("ip link delete payload0"))
			exit(1);
		break;
	}
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* Nothing of the kernel's own is to come into the frames. */
static void disable_ipv6(void)
{
	int fd = open("/proc/sys/net/ipv6/conf/payload0/disable_ipv6", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return; /* there is none */
	if (write(fd, "1", 1) != 1)
		die("disable_ipv6");
	close(fd);
}

int peer_open_tap(void)
{
	struct sockaddr_ll addr = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	struct ifreq ifr = { .ifr_name = "payload0", .ifr_mtu = PEER_MTU };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
	int on = 1, bytes = 64 << 20;

	disable_ipv6();
	addr.sll_ifindex = (int)if_nametoindex(ifr.ifr_name);
	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) ||
	    ioctl(fd, SIOCSIFMTU, &ifr) || bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		die("a packet socket");
	ifr.ifr_flags = IFF_UP | IFF_NOARP;
	if (ioctl(fd, SIOCSIFFLAGS, &ifr))
		die("payload0");
	return fd;
}

pid_t peer_start(int fd, bool stream, bool echo_only)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);

	struct peer *p = calloc(1, sizeof(*p));

	if (!p)
		die("memory");
	p->stream = stream;
	p->echo_only = echo_only;
	p->fd = fd;
	for (size_t len; (len = peer_read(p));)
		answer(p, len);
	_exit(0);
}
