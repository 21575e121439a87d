// SPDX-License-Identifier: Apache-2.0
/* On taps of the test's own, in a network namespace of its own. Needs root and /dev/net/tun. */
#include "backend/tap.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest_driver.h"

#define HDR ((int)NETPORT_HEADER)

/* There in a build with the address sanitizer; criterion ends tests without the check at exit. */
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static struct {
	struct loop *loop;
	struct guest_clock clock;
	struct netport *port;
	int control; /* a socket to speak of interfaces through */
	int packet;  /* all that passes the tap, and a way into it; -1: none */
} w = { .control = -1, .packet = -1 };

static void setup(void)
{
	if (unshare(CLONE_NEWNET))
		cr_skip_test("no network namespace of our own: %s", strerror(errno));
	int tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (tun < 0)
		cr_skip_test("cannot open /dev/net/tun: %s", strerror(errno));
	close(tun);
	w.control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert_geq(w.control, 0);
	cr_assert_eq(loop_new(&w.loop, 64), 0);
	guest_clock_init(&w.clock, w.loop);
}

static void teardown(void)
{
	loop_free(w.loop);
	w.loop = NULL;
	if (w.port)
		w.port->ops->free(w.port);
	w.port = NULL;
	if (w.packet >= 0)
		close(w.packet);
	if (w.control >= 0)
		close(w.control);
	if (__lsan_do_recoverable_leak_check)
		cr_assert_eq(__lsan_do_recoverable_leak_check(), 0);
}

TestSuite(tap, .init = setup, .fini = teardown, .timeout = 60);

/* ---- helpers ---- */

static void set_up(const char *name)
{
	struct ifreq ifr = { 0 };
	/* Nothing of the kernel's own (IPv6, multicast) is to come into the test's frames. */
	char path[96];

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		cr_assert_eq(write(fd, "1", 1), 1);
		close(fd);
	}
	strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
	ifr.ifr_flags = IFF_UP | IFF_NOARP;
	cr_assert_eq(ioctl(w.control, SIOCSIFFLAGS, &ifr), 0);
}

static void open_packet(const char *name)
{
	struct sockaddr_ll addr = { .sll_family = AF_PACKET,
				    .sll_protocol = htons(ETH_P_ALL),
				    .sll_ifindex = (int)if_nametoindex(name) };
	int on = 1;

	w.packet = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
	cr_assert_geq(w.packet, 0);
	cr_assert_eq(setsockopt(w.packet, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
	cr_assert_eq(setsockopt(w.packet, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)), 0);
	cr_assert_eq(bind(w.packet, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

static void make(unsigned int pairs)
{
	struct error err = { "" };

	cr_assert_eq(tap_create("tap0", pairs, &w.port, &err), 0, "%s", err.text);
	cr_assert_eq(w.port->pairs, pairs);
	cr_assert_eq(w.port->ops->attach(w.port, w.loop), 0);
	set_up("tap0");
	open_packet("tap0");
}

struct job {
	struct netport_io io; /* first */
	struct iovec iov[3];
	bool finished;
	int result;
	unsigned int order;
	uint8_t buf[HDR + 70000];
};

static unsigned int finished;

static void job_done(struct netport_io *io, int result)
{
	struct job *j = (struct job *)io;

	cr_assert_not(j->finished, "done twice");
	j->finished = true;
	j->result = result;
	j->order = finished++;
}

static struct netport_io *job_init(struct job *j, uint16_t slot, size_t len)
{
	j->finished = false;
	j->iov[0] = (struct iovec){ j->buf, 7 };
	j->iov[1] = (struct iovec){ j->buf + 7, HDR };
	j->iov[2] = (struct iovec){ j->buf + 7 + HDR, len - 7 - HDR };
	j->io = (struct netport_io){ .iov = j->iov, .niov = 3, .slot = slot, .done = job_done };
	return &j->io;
}

static struct job receives[NETPORT_RECEIVES_MAX], out;

static void receive(unsigned int pair, unsigned int n)
{
	struct netport_io *ios[NETPORT_RECEIVES_MAX];

	for (unsigned int i = 0; i < n; i++) {
		memset(receives[i].buf, 0xee, 100);
		ios[i] = job_init(&receives[i], (uint16_t)i, sizeof(receives[i].buf));
	}
	w.port->ops->receive(w.port, pair, ios, n);
}

static void wait_for(const struct job *j)
{
	for (int i = 0; i < 10000 && !j->finished; i++)
		guest_clock_turn(&w.clock, 1);
	cr_assert(j->finished);
}

static const uint8_t macs[12] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2 };

static size_t make_frame(uint8_t *p, size_t len, uint8_t seed)
{
	memset(p, 0, HDR);
	memcpy(p + HDR, macs, 12);
	p[HDR + 12] = 0x88;
	p[HDR + 13] = 0xb5; /* for experiments */
	for (size_t i = 14; i < len; i++)
		p[HDR + i] = (uint8_t)(i * 3 + seed);
	return HDR + len;
}

/* Send what is in out.buf, @len bytes with the header. Returns the result. */
static int send_out(unsigned int pair, size_t len)
{
	w.port->ops->send(w.port, pair, job_init(&out, 5, len));
	wait_for(&out);
	return out.result;
}

/* Put a frame into the tap as the host's network would. A packet socket's header has 10 bytes. */
static void host_sends(const uint8_t *frame, size_t len)
{
	struct iovec iov[2] = { { (void *)(uintptr_t)frame, 10 },
				{ (void *)(uintptr_t)(frame + HDR), len - HDR } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	cr_assert_eq(sendmsg(w.packet, &msg, 0), (ssize_t)(len - 2), "%s", strerror(errno));
}

static uint8_t seen[70000];

/* The next frame that came out of the tap, its header's 10 bytes in front; -1: none. */
static ssize_t host_sees(void)
{
	struct pollfd p = { .fd = w.packet, .events = POLLIN };

	poll(&p, 1, 2000);
	return recv(w.packet, seen, sizeof(seen), 0);
}

/* ---- opening ---- */

static void expect_error(int ret, int want, const struct error *err, const char *words)
{
	cr_assert_eq(ret, want, "%d: %s", ret, err->text);
	cr_assert_not_null(strstr(err->text, words), "%s", err->text);
	cr_assert_null(w.port);
}

static int make_tap(const char *name, int flags)
{
	struct ifreq ifr = { .ifr_flags = (short)flags };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
	cr_assert_eq(ioctl(fd, TUNSETIFF, &ifr), 0, "%s", strerror(errno));
	cr_assert_eq(ioctl(fd, TUNSETPERSIST, 1), 0);
	return fd;
}

Test(tap, errors_in_words)
{
	struct error err;

	expect_error(tap_open("tap7", 1, &w.port, &err), -ENODEV, &err, "tap7");
	expect_error(tap_open("lo", 1, &w.port, &err), -EINVAL, &err, "lo is not a tap interface");

	int fd = make_tap("tun7", IFF_TUN | IFF_NO_PI);
	close(fd);
	expect_error(tap_open("tun7", 1, &w.port, &err), -EINVAL, &err, "not a tap interface");

	fd = make_tap("tap7", IFF_TAP | IFF_NO_PI);
	expect_error(tap_open("tap7", 1, &w.port, &err), -EBUSY, &err, "in use");
	close(fd);
	expect_error(tap_open("tap7", 2, &w.port, &err), -EINVAL, &err, "multi_queue");
	expect_error(tap_create("tap7", 1, &w.port, &err), -EBUSY, &err, "tap7");
	expect_error(tap_create("lo", 1, &w.port, &err), -EBUSY, &err, "lo");
	expect_error(tap_create("a/b", 1, &w.port, &err), -EINVAL, &err, "a/b");
}

/* A tap with queues serves an opener of one; and one without header set, too. */
Test(tap, opens_what_is_there)
{
	struct error err = { "" };

	close(make_tap("tap1", IFF_TAP | IFF_NO_PI));
	close(make_tap("tap2", IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE));
	for (unsigned int i = 0; i < 3; i++) {
		static const struct {
			const char *name;
			unsigned int pairs;
		} cases[] = { { "tap1", 1 }, { "tap2", 1 }, { "tap2", 4 } };

		cr_assert_eq(tap_open(cases[i].name, cases[i].pairs, &w.port, &err), 0, "%s",
			     err.text);
		cr_assert_eq(w.port->pairs, cases[i].pairs);
		w.port->ops->free(w.port);
		w.port = NULL;
		cr_assert(if_nametoindex(cases[i].name), "it is not ours to remove");
	}
}

Test(tap, created_one_goes)
{
	struct error err = { "" };

	cr_assert_eq(tap_create("tap3", 4, &w.port, &err), 0, "%s", err.text);
	cr_assert(if_nametoindex("tap3"));
	w.port->ops->free(w.port);
	w.port = NULL;
	cr_assert_not(if_nametoindex("tap3"));
}

/* ---- frames ---- */

Test(tap, sends)
{
	make(1);
	for (size_t len = 14; len <= 1514; len += 100) {
		size_t n = make_frame(out.buf, len, (uint8_t)len);

		cr_assert_eq(send_out(0, n), (int)n);
		cr_assert_eq(host_sees(), (ssize_t)(10 + len));
		cr_assert_eq(memcmp(seen + 10, out.buf + HDR, len), 0);
	}
	/* What it will not take is that frame's concern. */
	cr_assert_eq(send_out(0, HDR + 3), -EINVAL);
	make_frame(out.buf, 60, 0);
	cr_assert_eq(send_out(0, HDR + 60), HDR + 60);
}

Test(tap, sends_many)
{
	static struct job jobs[NETPORT_SENDS_MAX];

	make(1);
	for (uint16_t i = 0; i < NETPORT_SENDS_MAX; i++) {
		size_t n = make_frame(jobs[i].buf, 100, (uint8_t)i);

		w.port->ops->send(w.port, 0, job_init(&jobs[i], i, n));
	}
	for (unsigned int i = 0; i < NETPORT_SENDS_MAX; i++) {
		wait_for(&jobs[i]);
		cr_assert_eq(jobs[i].result, HDR + 100);
		cr_assert_eq(host_sees(), 110);
		cr_assert_eq(memcmp(seen + 10, jobs[i].buf + HDR, 100), 0, "in order");
	}
}

/* With the interface down frames are lost, and that is all. */
Test(tap, down)
{
	struct ifreq ifr = { .ifr_name = "tap0" };

	make(1);
	receive(0, 1);
	cr_assert_eq(ioctl(w.control, SIOCSIFFLAGS, &ifr), 0);
	size_t n = make_frame(out.buf, 60, 0);

	cr_assert_eq(send_out(0, n), -EIO);
	cr_assert_not(receives[0].finished);
	set_up("tap0");
	cr_assert_eq(send_out(0, n), (int)n);
	/* The socket tells once that it was down. */
	cr_assert(host_sees() < 0 && errno == ENETDOWN);
	host_sends(out.buf, n);
	wait_for(&receives[0]);
	cr_assert_eq(receives[0].result, (int)n);
}

static uint8_t frame[HDR + 70000];

Test(tap, receives_a_burst_in_order)
{
	make(1);
	for (int round = 0; round < 3; round++) {
		/* Before the receives begin, after that, and both. */
		for (uint8_t i = 0; i < (round ? 2 : 4); i++)
			host_sends(frame, make_frame(frame, 100 + i * 50u, i));
		finished = 0;
		receive(0, 4);
		for (uint8_t i = round ? 2 : 4; i < 4; i++) {
			if (round == 2)
				guest_clock_turn(&w.clock, 3);
			host_sends(frame, make_frame(frame, 100 + i * 50u, i));
		}
		for (uint8_t i = 0; i < 4; i++) {
			wait_for(&receives[i]);
			cr_assert_eq(receives[i].order, i);
			cr_assert_eq(receives[i].result, (int)make_frame(frame, 100 + i * 50u, i));
			cr_assert_eq(memcmp(receives[i].buf + HDR, frame + HDR, 100 + i * 50u), 0);
		}
	}
}

/* A frame for each of more than a ring of receives; none is lost on the way. */
Test(tap, receives_many)
{
	unsigned int sent = 0, got = 0;

	make(1);
	while (got < 1000) {
		receive(0, 4);
		for (unsigned int i = 0; i < 4; i++) {
			while (sent < 1000 && sent < got + 3) {
				host_sends(frame, make_frame(frame, 64, (uint8_t)sent));
				sent++;
			}
			wait_for(&receives[i]);
			make_frame(frame, 64, (uint8_t)got);
			cr_assert_eq(memcmp(receives[i].buf + HDR, frame + HDR, 64), 0, "frame %u",
				     got);
			got++;
		}
	}
}

/* Longer than its memory: cut. The frame behind it comes whole. */
Test(tap, frame_that_is_cut)
{
	struct netport_io *ios[2];

	make(1);
	ios[0] = job_init(&receives[0], 0, 200);
	ios[1] = job_init(&receives[1], 1, sizeof(receives[1].buf));
	host_sends(frame, make_frame(frame, 1000, 1));
	host_sends(frame, make_frame(frame, 1000, 2));
	w.port->ops->receive(w.port, 0, ios, 2);
	wait_for(&receives[1]);
	cr_assert_eq(receives[0].result, 200);
	cr_assert_eq(receives[1].result, HDR + 1000);
	cr_assert_eq(memcmp(receives[1].buf + HDR, frame + HDR, 1000), 0);
}

/* ---- offloads ---- */

/* An IPv4 packet with a UDP datagram whose checksum is left out, but for the pseudo-header. */
static size_t make_udp(uint8_t *p)
{
	static const uint8_t ip[] = { 0x45, 0, 0, 48, 0, 1, 0, 0,    64, 17,   0x66, 0xba, 10,
				      0,    0, 1, 10, 0, 0, 2, 0x10, 0,  0x20, 0,    0,    28 };
	struct virtio_net_hdr_v1 hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					 .csum_start = 34,
					 .csum_offset = 6 };
	uint32_t pseudo = 0x0a00 + 1 + 0x0a00 + 2 + 17 + 28;

	make_frame(p, 62, 0);
	p[HDR + 12] = 0x08;
	p[HDR + 13] = 0;
	memcpy(p, &hdr, sizeof(hdr));
	memcpy(p + HDR + 14, ip, sizeof(ip));
	p[HDR + 40] = (uint8_t)(pseudo >> 8);
	p[HDR + 41] = (uint8_t)pseudo;
	return HDR + 62;
}

/* What the sum over pseudo-header and datagram comes to: 0xffff where the checksum is right. */
static uint32_t udp_sum(const uint8_t *eth)
{
	uint32_t sum = 0x0a00 + 1 + 0x0a00 + 2 + 17 + 28;

	for (int i = 34; i < 62; i += 2)
		sum += (uint32_t)(eth[i] << 8 | eth[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

Test(tap, header_of_a_sent_frame)
{
	const struct virtio_net_hdr *hdr = (const void *)seen;

	make(1);
	cr_assert_eq(send_out(0, make_udp(out.buf)), HDR + 62);
	cr_assert_eq(host_sees(), 72);
	/* The host's network has been told that the sum is missing. */
	cr_assert(hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM);
	cr_assert_eq(hdr->csum_start, 34);
	cr_assert_eq(hdr->csum_offset, 6);
	/* A sum beyond the frame is refused. */
	((struct virtio_net_hdr_v1 *)(void *)out.buf)->csum_start = 100;
	cr_assert_eq(send_out(0, HDR + 62), -EINVAL);
}

static void receive_udp(void)
{
	receive(0, 1);
	host_sends(frame, make_udp(frame));
	wait_for(&receives[0]);
	cr_assert_eq(receives[0].result, HDR + 62);
}

Test(tap, offloads_of_received_frames)
{
	const struct virtio_net_hdr_v1 *hdr = (const void *)receives[0].buf;

	make(1);
	/* Nothing is left to us as long as nobody has said so. */
	receive_udp();
	cr_assert_eq(hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, 0);
	cr_assert_eq(udp_sum(receives[0].buf + HDR), 0xffff);

	w.port->ops->set_offloads(w.port, w.port->offloads);
	receive_udp();
	cr_assert(hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM);
	cr_assert_eq(hdr->csum_start, 34);
	cr_assert_neq(udp_sum(receives[0].buf + HDR), 0xffff);

	/* Segmentation without checksums is no choice that there is: then none of it. */
	w.port->ops->set_offloads(w.port, NETPORT_TSO4 | NETPORT_ECN);
	receive_udp();
	cr_assert_eq(hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, 0);
	w.port->ops->set_offloads(w.port, NETPORT_CSUM | NETPORT_ECN);
	receive_udp();
	cr_assert(hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, "but checksums, without segmentation");
	w.port->ops->set_offloads(w.port, 0);
	receive_udp();
	cr_assert_eq(hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, 0);
}

/* ---- ends ---- */

Test(tap, cancel)
{
	make(1);
	w.port->ops->cancel(w.port, 0);
	for (unsigned int n = 1; n <= 4; n++) {
		/* At once, when they wait, and after a frame has come. */
		for (int when = 0; when < 3; when++) {
			receive(0, n);
			if (when)
				guest_clock_turn(&w.clock, 3);
			if (when == 2) {
				host_sends(frame, make_frame(frame, 100, 0));
				wait_for(&receives[0]);
			}
			w.port->ops->cancel(w.port, 0);
			w.port->ops->cancel(w.port, 0);
			for (unsigned int i = 0; i < n; i++) {
				wait_for(&receives[i]);
				cr_assert_eq(receives[i].result,
					     when == 2 && !i ? HDR + 100 : -ECANCELED);
			}
		}
	}
	/* A cancel is of those that are in flight, and of none that begin later. */
	receive(0, 4);
	guest_clock_turn(&w.clock, 10);
	for (unsigned int i = 0; i < 4; i++) {
		cr_assert_not(receives[i].finished);
		host_sends(frame, make_frame(frame, 100, 0));
		wait_for(&receives[i]);
		cr_assert_eq(receives[i].result, HDR + 100);
	}
}

static void delete_tap(void)
{
	cr_assert_eq(system("ip link delete tap0"), 0);
}

Test(tap, deleted_while_receives_wait)
{
	unsigned int before;

	make(4);
	cr_assert_eq(w.port->ops->set_pairs(w.port, 4), 0);
	receive(2, 4);
	guest_clock_turn(&w.clock, 3);
	delete_tap();
	for (unsigned int i = 0; i < 4; i++) {
		wait_for(&receives[i]);
		cr_assert_eq(receives[i].result, -ENODEV);
	}
	make_frame(out.buf, 60, 0);
	before = finished;
	cr_assert_eq(send_out(0, HDR + 60), -ENODEV);
	cr_assert_eq(finished, before + 1);
	receive(0, 4);
	for (unsigned int i = 0; i < 4; i++) {
		wait_for(&receives[i]);
		cr_assert_eq(receives[i].result, -ENODEV);
	}
	w.port->ops->set_offloads(w.port, 0);
	cr_assert_lt(w.port->ops->set_pairs(w.port, 1), 0);
}

/* Frames go to the queues that are in use; which of them is the host's choice. */
static unsigned int queues_that_receive(unsigned int pairs)
{
	static struct job jobs[4];
	unsigned int mask = 0;

	for (unsigned int i = 0; i < pairs; i++) {
		struct netport_io *io = job_init(&jobs[i], 0, sizeof(jobs[i].buf));

		w.port->ops->receive(w.port, i, &io, 1);
	}
	for (unsigned int i = 0; i < 64; i++) {
		make_udp(frame);
		frame[HDR + 34] = (uint8_t)i; /* another flow */
		host_sends(frame, HDR + 62);
	}
	guest_clock_turn(&w.clock, 20);
	for (unsigned int i = 0; i < pairs; i++) {
		mask |= jobs[i].finished ? 1u << i : 0;
		w.port->ops->cancel(w.port, i);
	}
	for (unsigned int i = 0; i < pairs; i++)
		wait_for(&jobs[i]);
	return mask;
}

/* Empty queue @pair of what is left there. */
static void drain(unsigned int pair)
{
	do {
		receive(pair, 1);
		guest_clock_turn(&w.clock, 3);
		w.port->ops->cancel(w.port, pair);
		wait_for(&receives[0]);
	} while (receives[0].result > 0);
}

Test(tap, pairs)
{
	static const unsigned int numbers[] = { 4, 1, 3, 2, 4, 4, 1 };

	make(4);
	cr_assert_eq(queues_that_receive(4), 1, "one is in use to begin with");
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		for (unsigned int k = 0; k < 4; k++)
			drain(k);
		cr_assert_eq(w.port->ops->set_pairs(w.port, numbers[i]), 0);
		cr_assert_eq(queues_that_receive(4), (1u << numbers[i]) - 1);
	}
}

/* A queue that rests while its receives wait: that is no end of the port. */
Test(tap, pairs_taken_while_receives_wait)
{
	make(2);
	for (int round = 0; round < 3; round++) {
		cr_assert_eq(w.port->ops->set_pairs(w.port, 2), 0);
		receive(1, 4);
		guest_clock_turn(&w.clock, round);
		w.port->ops->cancel(w.port, 1);
		cr_assert_eq(w.port->ops->set_pairs(w.port, 1), 0);
		for (unsigned int i = 0; i < 4; i++) {
			wait_for(&receives[i]);
			cr_assert_eq(receives[i].result, -ECANCELED);
		}
		/* And what is sent there meanwhile is at worst lost. */
		make_frame(out.buf, 60, 0);
		cr_assert_neq(send_out(1, HDR + 60), -ENODEV);
	}
}
