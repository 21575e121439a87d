// SPDX-License-Identifier: Apache-2.0
#include "device/vsock.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <linux/virtio_vsock.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest_driver.h"

#define CID       7
#define HOST      2
#define HDR       ((uint32_t)sizeof(struct virtio_vsock_hdr))
#define CREDIT    (256u << 10) /* that the device gives */
#define RX_BUF    4096u        /* as large as Linux makes them */
#define RX_COUNT  64
#define TX_SLOTS  64
#define TX_MAX    8192u /* payload of one packet here */
#define CONNS_MAX 256
#define ASKED_MAX 16
#define OUR_ALLOC (256u << 10) /* credit that the guest gives */

/* There in a build with the address sanitizer; criterion ends tests without the check at exit. */
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

/* One side's view of a stream whose bytes are a function of their position. */
static uint8_t pattern(uint64_t pos)
{
	return (uint8_t)(pos * 31 + (pos >> 8) * 7 + (pos >> 16));
}

/* The guest's socket. */
struct gsock {
	uint32_t port;
	uint32_t host_port;
	uint32_t alloc; /* credit given to the device */
	uint32_t tx_cnt;
	uint32_t rx_cnt;
	uint32_t told; /* rx_cnt when the device was last told of it for its own sake */
	uint32_t peer_alloc;
	uint32_t peer_fwd;
	uint32_t greeting; /* bytes that the device has sent to the host for us */
	bool requested;    /* by the host */
	bool open;
	bool reset;
	uint32_t shutdown;
	unsigned int updates; /* CREDIT_UPDATE packets seen */
	bool hold;            /* keep received bytes: tell the device of no progress */
	uint32_t held;
};

static struct {
	struct loop *loop;
	struct guest_mem mem;
	struct virtio_device *dev;
	struct guest_transport transport;
	struct guest_clock clock;
	struct guest_queue rx, tx, event;
	uint64_t rx_at, tx_at;
	uint16_t rx_slot[VIRTQ_SIZE_MAX]; /* of a head */
	uint16_t tx_slot[VIRTQ_SIZE_MAX];
	bool tx_busy[TX_SLOTS];
	bool repost; /* give used receive buffers back at once */

	struct asked {
		uint64_t id;
		uint32_t port;
	} asked[ASKED_MAX];
	unsigned int nasked;
	bool slow; /* the host lets the device wait for its answers */

	int host_fd[384];
	uint32_t host_port[384];
	unsigned int nhost;
	bool refuse;

	struct gsock *socks[384];
	unsigned int nsocks;

	/* RSTs for no socket of ours, and the last of them */
	unsigned int stray;
	struct virtio_vsock_hdr last_stray;
} w;

/* A socket for the device; the host's end is the last of w.host_fd. */
static int host_socket(uint32_t port)
{
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	w.host_fd[w.nhost] = fds[0];
	w.host_port[w.nhost++] = port;
	return fds[1];
}

static int host_connect(void *ctx, uint64_t id, uint32_t port)
{
	(void)ctx;
	cr_assert_lt(w.nasked, ASKED_MAX);
	w.asked[w.nasked++] = (struct asked){ id, port };
	return 0;
}

static void host_answer(void)
{
	struct asked a = w.asked[--w.nasked];

	vsock_answer(w.dev, a.id, w.refuse ? -1 : host_socket(a.port));
}

static const struct vsock_host_ops host_ops = { .connect = host_connect };

static void post_rx(uint16_t slot, uint32_t len)
{
	struct guest_seg seg = { w.rx_at + slot * RX_BUF, len, true };

	w.rx_slot[guest_queue_add(&w.rx, &seg, 1)] = slot;
}

static void post_all_rx(void)
{
	for (uint16_t i = 0; i < RX_COUNT; i++)
		post_rx(i, RX_BUF);
	guest_queue_publish(&w.rx);
	virtio_device_kick(w.dev, 0);
}

static void device_start(bool event_idx)
{
	uint64_t at = 1 << 20;

	at = guest_queue_init(&w.rx, &w.mem, at, 128);
	at = guest_queue_init(&w.tx, &w.mem, at, 128);
	at = guest_queue_init(&w.event, &w.mem, at, 16);
	w.rx_at = at;
	w.tx_at = at + RX_COUNT * RX_BUF;
	memset(w.tx_busy, 0, sizeof(w.tx_busy));
	cr_assert_eq(guest_queue_enable(&w.rx, &w.dev->queues[0], event_idx), 0);
	cr_assert_eq(guest_queue_enable(&w.tx, &w.dev->queues[1], event_idx), 0);
	cr_assert_eq(guest_queue_enable(&w.event, &w.dev->queues[2], event_idx), 0);
	w.repost = true;
	virtio_device_start(w.dev);
}

/* Descriptors open in this process. */
static unsigned int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	cr_assert_not_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void setup(void)
{
	cr_assert_eq(guest_mem_init(&w.mem, GUEST_RAM_MIN), 0);
	cr_assert_eq(loop_new(&w.loop, 64), 0);
	cr_assert_eq(vsock_new(w.loop, &w.mem, CID, &host_ops, NULL, &w.dev), 0);
	guest_transport_attach(&w.transport, w.dev);
	guest_clock_init(&w.clock, w.loop);
	device_start(true);
}

static void teardown(void)
{
	guest_device_reset(w.dev);
	w.dev->ops->free(w.dev);
	loop_free(w.loop);
	guest_mem_deinit(&w.mem);
	for (unsigned int i = 0; i < w.nhost; i++) {
		if (w.host_fd[i] >= 0)
			close(w.host_fd[i]);
	}
}

TestSuite(device_vsock, .init = setup, .fini = teardown, .timeout = 60);

static void sock_payload(struct gsock *s, const uint8_t *data, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		cr_assert_eq(data[i], pattern(s->rx_cnt + i), "byte %u", s->rx_cnt + i);
	s->rx_cnt += len;
	if (s->hold)
		s->held += len;
}

static void sock_packet(struct gsock *s, const struct virtio_vsock_hdr *hdr, const uint8_t *data)
{
	cr_assert_eq(hdr->src_cid, HOST);
	cr_assert_eq(hdr->dst_cid, CID);
	cr_assert_eq(hdr->type, VIRTIO_VSOCK_TYPE_STREAM);
	cr_assert_not(s->reset, "a packet after the RST");
	s->peer_alloc = hdr->buf_alloc;
	s->peer_fwd = hdr->fwd_cnt;
	cr_assert_leq(s->tx_cnt - s->peer_fwd, s->tx_cnt + s->greeting);
	switch (hdr->op) {
	case VIRTIO_VSOCK_OP_REQUEST:
		cr_assert_not(s->requested);
		s->requested = true;
		break;
	case VIRTIO_VSOCK_OP_RESPONSE:
		cr_assert_not(s->open);
		s->open = true;
		break;
	case VIRTIO_VSOCK_OP_RST:
		s->reset = true;
		break;
	case VIRTIO_VSOCK_OP_RW:
		cr_assert(s->open);
		cr_assert_not(s->shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND);
		cr_assert_gt(hdr->len, 0);
		sock_payload(s, data, hdr->len);
		cr_assert_leq(s->held, s->alloc, "more than the credit");
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		s->shutdown |= hdr->flags;
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		s->updates++;
		break;
	default:
		cr_assert_fail("op %u from the device", hdr->op);
	}
}

/* Send a packet as it is. False: no slot for it is free. */
static bool send_raw(const struct virtio_vsock_hdr *hdr, const void *data, uint32_t len)
{
	uint16_t slot = 0;

	while (slot < TX_SLOTS && w.tx_busy[slot])
		slot++;
	if (slot == TX_SLOTS)
		return false;
	uint64_t at = w.tx_at + slot * (uint64_t)(HDR + TX_MAX);
	uint8_t *buf = guest_at(&w.mem, at, HDR + TX_MAX);

	memcpy(buf, hdr, HDR);
	memcpy(buf + HDR, data, len);
	/* In three parts, the header cut in two. */
	struct guest_seg segs[3] = { { at, 20, false },
				     { at + 20, HDR - 20, false },
				     { at + HDR, len, false } };

	w.tx_slot[guest_queue_add(&w.tx, segs, len ? 3 : 2)] = slot;
	w.tx_busy[slot] = true;
	guest_queue_publish(&w.tx);
	virtio_device_kick(w.dev, 1);
	return true;
}

static struct virtio_vsock_hdr sock_hdr(const struct gsock *s, uint16_t op)
{
	return (struct virtio_vsock_hdr){
		.src_cid = CID,
		.dst_cid = HOST,
		.src_port = s->port,
		.dst_port = s->host_port,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
		.buf_alloc = s->alloc,
		.fwd_cnt = s->rx_cnt - s->held,
	};
}

static void sock_op(struct gsock *s, uint16_t op, uint32_t flags)
{
	struct virtio_vsock_hdr hdr = sock_hdr(s, op);

	hdr.flags = flags;
	cr_assert(send_raw(&hdr, "", 0));
}

/* Take what the device has used of both queues. */
static void guest_drain(void)
{
	uint16_t head;
	uint32_t len;

	while (guest_queue_used(&w.tx, &head, &len)) {
		cr_assert_eq(len, 0);
		w.tx_busy[w.tx_slot[head]] = false;
	}
	bool posted = false;

	while (guest_queue_used(&w.rx, &head, &len)) {
		const uint8_t *buf = guest_at(&w.mem, w.rx_at + w.rx_slot[head] * RX_BUF, RX_BUF);
		struct virtio_vsock_hdr hdr;
		struct gsock *s = NULL;

		memcpy(&hdr, buf, sizeof(hdr));
		cr_assert_eq(len, HDR + hdr.len);
		for (unsigned int i = 0; i < w.nsocks; i++) {
			/* The host has chosen a port of its own. */
			if (hdr.op == VIRTIO_VSOCK_OP_REQUEST && w.socks[i]->port == hdr.dst_port)
				w.socks[i]->host_port = hdr.src_port;
			if (!w.socks[i]->reset && w.socks[i]->port == hdr.dst_port &&
			    w.socks[i]->host_port == hdr.src_port && hdr.src_cid == HOST &&
			    hdr.type == VIRTIO_VSOCK_TYPE_STREAM)
				s = w.socks[i];
		}
		if (s) {
			sock_packet(s, &hdr, buf + HDR);
		} else {
			cr_assert_eq(hdr.op, VIRTIO_VSOCK_OP_RST);
			w.stray++;
			w.last_stray = hdr;
		}
		if (w.repost) {
			post_rx(w.rx_slot[head], RX_BUF);
			posted = true;
		}
	}
	if (posted) {
		guest_queue_publish(&w.rx);
		virtio_device_kick(w.dev, 0);
	}
	for (unsigned int i = 0; i < w.nsocks; i++) {
		struct gsock *s = w.socks[i];

		if (!s->reset && !s->hold && s->rx_cnt - s->told >= s->alloc / 2) {
			sock_op(s, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
			s->told = s->rx_cnt;
		}
	}
}

/* Let everything happen that can. */
static void settle(void)
{
	for (int i = 0; i < 8; i++) {
		while (w.nasked && !w.slow)
			host_answer();
		guest_clock_turn(&w.clock, 2);
		guest_drain();
	}
}

static uint32_t sock_credit(const struct gsock *s)
{
	return s->peer_alloc - (s->tx_cnt - s->peer_fwd);
}

/* Send @len bytes of the pattern, credit or not. */
static bool sock_send(struct gsock *s, uint32_t len)
{
	struct virtio_vsock_hdr hdr = sock_hdr(s, VIRTIO_VSOCK_OP_RW);
	uint8_t data[TX_MAX];

	cr_assert_leq(len, TX_MAX);
	for (uint32_t i = 0; i < len; i++)
		data[i] = pattern(s->tx_cnt + i);
	hdr.len = len;
	if (!send_raw(&hdr, data, len))
		return false;
	s->tx_cnt += len;
	return true;
}

static void sock_request(struct gsock *s, uint32_t port, uint32_t host_port)
{
	*s = (struct gsock){ .port = port, .host_port = host_port, .alloc = OUR_ALLOC };
	w.socks[w.nsocks++] = s;
	sock_op(s, VIRTIO_VSOCK_OP_REQUEST, 0);
}

/* Connect; returns the host's end. */
static int sock_connect(struct gsock *s, uint32_t port, uint32_t host_port)
{
	sock_request(s, port, host_port);
	settle();
	cr_assert(s->open);
	cr_assert_eq(s->peer_alloc, CREDIT);
	cr_assert_eq(w.host_port[w.nhost - 1], host_port);
	return w.host_fd[w.nhost - 1];
}

/* Send the pattern until the credit is used up and nothing moves. Returns the bytes sent. */
static uint32_t sock_fill(struct gsock *s)
{
	uint32_t before = s->tx_cnt;

	while (sock_credit(s)) {
		uint32_t n = sock_credit(s) < TX_MAX ? sock_credit(s) : TX_MAX;

		cr_assert(sock_send(s, n));
		settle();
	}
	return s->tx_cnt - before;
}

/* Read what is there, check it against the pattern at *@pos. Returns 0 at the end, else -EAGAIN. */
static int host_read(int fd, uint64_t *pos)
{
	static uint8_t buf[64 << 10];

	for (;;) {
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

		if (n <= 0)
			return n ? -errno : 0;
		for (ssize_t i = 0; i < n; i++)
			cr_assert_eq(buf[i], pattern(*pos + (uint64_t)i));
		*pos += (uint64_t)n;
	}
}

/* Write what fits of the pattern up to position @end. */
static void host_write(int fd, uint64_t *pos, uint64_t end)
{
	uint8_t buf[3000];

	while (*pos < end) {
		size_t len = end - *pos < sizeof(buf) ? end - *pos : sizeof(buf);

		for (size_t i = 0; i < len; i++)
			buf[i] = pattern(*pos + i);
		ssize_t n = send(fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			return;
		*pos += (uint64_t)n;
	}
}

static bool host_sees_end(int fd)
{
	char c;
	ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK);

	return n == 0 || (n < 0 && errno == ECONNRESET);
}

Test(device_vsock, config)
{
	uint8_t config[8] = { 0 };

	w.dev->ops->config_read(w.dev, 0, config, 8);
	cr_assert_eq(config[0], CID);
	w.dev->ops->config_read(w.dev, 4, config, 1);
	cr_assert_eq(config[0], 0);
	cr_assert_eq(w.dev->id, 19);
	cr_assert_eq(w.dev->config_size, 8);
}

Test(device_vsock, reserved_cids)
{
	static const uint64_t bad[] = { 0, 1, 2, 0xffffffff, 1ull << 32, UINT64_MAX };
	struct virtio_device *dev;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(vsock_new(w.loop, &w.mem, bad[i], &host_ops, NULL, &dev), -EINVAL);
}

Test(device_vsock, connect)
{
	struct gsock s;
	unsigned int before = w.transport.queue_signals[0];

	post_all_rx();
	sock_connect(&s, 1000, 1024);
	cr_assert_eq(w.nhost, 1);
	cr_assert_gt(w.transport.queue_signals[0], before);
	cr_assert_eq(w.transport.config_signals, 0);
}

Test(device_vsock, refused)
{
	struct gsock s, t;

	w.refuse = true;
	post_all_rx();
	sock_request(&s, 1000, 1024);
	settle();
	cr_assert(s.reset);
	cr_assert_not(s.open);

	/* The same ports may be tried again. */
	w.refuse = false;
	sock_connect(&t, 1000, 1024);
}

/* A guest that sends to a host which sends everything back, @total bytes. */
static void echo(struct gsock *s, int fd, uint32_t total)
{
	uint64_t host_in = 0, host_out = 0;
	uint32_t len = 1;

	for (int round = 0; s->rx_cnt < total; round++) {
		cr_assert_lt(round, 100000, "stuck after %u", s->rx_cnt);
		while (s->tx_cnt < total && sock_credit(s) && !w.tx_busy[TX_SLOTS / 2]) {
			uint32_t n = len;

			len = len * 3 % TX_MAX + 1;
			if (n > sock_credit(s))
				n = sock_credit(s);
			if (n > total - s->tx_cnt)
				n = total - s->tx_cnt;
			if (!sock_send(s, n))
				break;
		}
		guest_clock_turn(&w.clock, 1);
		guest_drain();
		cr_assert_eq(host_read(fd, &host_in), -EAGAIN);
		host_write(fd, &host_out, host_in);
	}
	cr_assert_eq(s->rx_cnt, total);
	cr_assert_not(s->reset);
}

Test(device_vsock, echo)
{
	struct gsock s;

	post_all_rx();
	int fd = sock_connect(&s, 1000, 1024);

	echo(&s, fd, 3 << 20);
	cr_assert_not(atomic_load(&w.dev->broken));
}

Test(device_vsock, echo_without_event_index)
{
	struct gsock s;

	guest_device_reset(w.dev);
	device_start(false);
	post_all_rx();
	int fd = sock_connect(&s, 1000, 1024);

	echo(&s, fd, 1 << 20);
}

Test(device_vsock, many_streams)
{
	struct gsock s[8];
	int fd[8];

	post_all_rx();
	for (uint32_t i = 0; i < 8; i++)
		fd[i] = sock_connect(&s[i], 1000 + i, 1024 + i % 3);
	for (int i = 0; i < 8; i++)
		echo(&s[i], fd[i], 300000);
}

/* Headers in a segment of their own or cut in two, and no room for payload at all. */
Test(device_vsock, receive_buffers_of_all_shapes)
{
	static const uint32_t shapes[][4] = {
		{ RX_BUF }, { HDR, RX_BUF - HDR }, { 20, HDR - 20, 900 },
		{ HDR },    { 50, 1, 2, 1000 },
	};
	struct gsock s;
	uint64_t out = 0;

	for (uint16_t i = 0; i < 4; i++)
		post_rx(i, RX_BUF);
	guest_queue_publish(&w.rx);
	int fd = sock_connect(&s, 1000, 1024);

	w.repost = false;
	for (unsigned int i = 0; i < 200; i++) {
		struct guest_seg segs[4];
		uint16_t slot = (uint16_t)(4 + i % 32);
		uint64_t at = w.rx_at + slot * RX_BUF;
		unsigned int n = 0;

		for (const uint32_t *len = shapes[i % 5]; n < 4 && *len; len++) {
			segs[n++] = (struct guest_seg){ at, *len, true };
			at += *len;
		}
		w.rx_slot[guest_queue_add(&w.rx, segs, n)] = slot;
		guest_queue_publish(&w.rx);
		virtio_device_kick(w.dev, 0);
		/* One by one, and several at once. */
		if (i % 4 == 3 || i > 100) {
			host_write(fd, &out, s.rx_cnt + 20000);
			settle();
		}
	}
	w.repost = true;
	for (uint16_t i = 40; i < 60; i++)
		post_rx(i, RX_BUF);
	guest_queue_publish(&w.rx);
	virtio_device_kick(w.dev, 0);
	settle();
	cr_assert_gt(s.updates, 0);
	cr_assert_eq(s.rx_cnt, out);
}

/* Where the first part ends, memory does. */
Test(device_vsock, receive_header_cut_at_the_end_of_ram)
{
	struct virtio_vsock_hdr hdr;
	struct gsock s;
	uint64_t out = 0;
	uint16_t head;
	uint32_t len;

	w.repost = false;
	post_rx(0, RX_BUF);
	guest_queue_publish(&w.rx);
	int fd = sock_connect(&s, 1000, 1024);

	host_write(fd, &out, 100);
	settle();
	cr_assert_eq(s.rx_cnt, 0);

	uint64_t end = GUEST_RAM_MIN - 20, rest = w.rx_at + RX_BUF;
	struct guest_seg segs[] = { { end, 20, true }, { rest, 200, true } };

	guest_queue_add(&w.rx, segs, 2);
	guest_queue_publish(&w.rx);
	virtio_device_kick(w.dev, 0);
	guest_clock_turn(&w.clock, 4);
	cr_assert(guest_queue_used(&w.rx, &head, &len));
	cr_assert_eq(len, HDR + 100);
	memcpy(&hdr, guest_at(&w.mem, end, 20), 20);
	memcpy((uint8_t *)&hdr + 20, guest_at(&w.mem, rest, HDR - 20), HDR - 20);
	cr_assert_eq(hdr.len, 100);
	sock_packet(&s, &hdr, guest_at(&w.mem, rest + HDR - 20, 100));
	cr_assert_eq(s.rx_cnt, 100);
}

/* A receive that brings little leaves the chains that it does not need where they were. */
Test(device_vsock, many_small_packets)
{
	struct gsock s;
	uint64_t out = 0;

	post_all_rx();
	int fd = sock_connect(&s, 1000, 1024);

	for (uint32_t i = 1; i <= 200; i++) {
		host_write(fd, &out, i * 100);
		settle();
		cr_assert_eq(s.rx_cnt, i * 100);
	}
	/* All of them are there still, for one large one. */
	w.repost = false;
	host_write(fd, &out, out + RX_COUNT / 2 * RX_BUF);
	settle();
	cr_assert_eq(s.rx_cnt, out);
}

Test(device_vsock, stalled_host_reader)
{
	struct gsock stalled, control;
	uint64_t pos = 0;

	post_all_rx();
	int fd = sock_connect(&stalled, 1000, 1026);
	int control_fd = sock_connect(&control, 1001, 1024);
	uint32_t sent = sock_fill(&stalled);

	cr_assert_geq(sent, CREDIT);
	cr_assert_not(stalled.reset);
	echo(&control, control_fd, 1 << 20);

	/* The reader wakes up: all is there, and there is credit again. */
	while (pos < sent) {
		cr_assert_eq(host_read(fd, &pos), -EAGAIN);
		settle();
	}
	cr_assert_eq(pos, sent);
	cr_assert_geq(sock_credit(&stalled), CREDIT / 2);
	cr_assert_gt(stalled.updates, 0);
}

Test(device_vsock, stalled_guest_reader)
{
	struct gsock s, other;
	uint64_t out = 0;

	post_all_rx();
	int fd = sock_connect(&s, 1000, 1025);
	int other_fd = sock_connect(&other, 1001, 1024);

	s.hold = true;
	for (int i = 0; i < 50; i++) {
		host_write(fd, &out, 4 << 20);
		settle();
	}
	cr_assert_eq(s.held, s.alloc);
	echo(&other, other_fd, 1 << 20);

	/* It reads at last. */
	s.hold = false;
	s.held = 0;
	while (s.rx_cnt < 4 << 20) {
		sock_op(&s, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
		host_write(fd, &out, 4 << 20);
		settle();
	}
	cr_assert_eq(s.rx_cnt, 4 << 20);
}

Test(device_vsock, no_credit_from_the_start)
{
	struct gsock s = { .port = 1000, .host_port = 1024 };
	uint64_t out = 0;

	post_all_rx();
	w.socks[w.nsocks++] = &s;
	sock_op(&s, VIRTIO_VSOCK_OP_REQUEST, 0);
	settle();
	cr_assert(s.open);
	host_write(w.host_fd[0], &out, 100);
	settle();
	cr_assert_eq(s.rx_cnt, 0);
	s.alloc = 60;
	s.hold = true;
	sock_op(&s, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	settle();
	cr_assert_eq(s.rx_cnt, 60);
	s.held = 0;
	sock_op(&s, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	settle();
	cr_assert_eq(s.rx_cnt, 100);
}

Test(device_vsock, credit_taken_back)
{
	struct gsock s;
	uint64_t out = 0;

	post_all_rx();
	int fd = sock_connect(&s, 1000, 1024);

	/* The device has a receive under way; a guest that counts nonsense gets nothing of it. */
	struct virtio_vsock_hdr hdr = sock_hdr(&s, VIRTIO_VSOCK_OP_CREDIT_UPDATE);

	hdr.fwd_cnt = 1;
	hdr.buf_alloc = 10;
	cr_assert(send_raw(&hdr, "", 0));
	settle();
	host_write(fd, &out, 1000);
	settle();
	cr_assert_eq(s.rx_cnt, 0);
	sock_op(&s, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	settle();
	cr_assert_eq(s.rx_cnt, 1000);
}

Test(device_vsock, credit_request)
{
	struct gsock s;

	post_all_rx();
	sock_connect(&s, 1000, 1024);
	cr_assert_eq(s.updates, 0);
	sock_op(&s, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
	settle();
	cr_assert_eq(s.updates, 1);
}

Test(device_vsock, credit_violation)
{
	struct gsock bad, good;
	uint64_t pos = 0;

	post_all_rx();
	int fd = sock_connect(&bad, 1000, 1026);
	int good_fd = sock_connect(&good, 1001, 1024);
	uint32_t sent = sock_fill(&bad);

	/* There may be room that the guest has not been told of yet. */
	for (uint32_t over = 0; over < CREDIT && !bad.reset; over += 4096) {
		cr_assert(sock_send(&bad, 4096));
		sent += 4096;
		settle();
	}
	cr_assert(bad.reset);
	cr_assert_not(atomic_load(&w.dev->broken));
	cr_assert_eq(host_read(fd, &pos), 0);
	cr_assert_leq(pos, sent);
	echo(&good, good_fd, 200000);
}

Test(device_vsock, guest_half_closes)
{
	struct gsock s;
	uint64_t in = 0, out = 0;

	post_all_rx();
	int fd = sock_connect(&s, 1000, 1024);

	cr_assert(sock_send(&s, 5000));
	sock_op(&s, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
	settle();
	cr_assert_eq(host_read(fd, &in), 0);
	cr_assert_eq(in, 5000);
	cr_assert_not(s.reset);

	/* The other direction goes on, to its end. */
	host_write(fd, &out, 100000);
	settle();
	host_write(fd, &out, 100000);
	shutdown(fd, SHUT_WR);
	settle();
	cr_assert_eq(s.rx_cnt, 100000);
	cr_assert_eq(s.shutdown, VIRTIO_VSOCK_SHUTDOWN_SEND);
	cr_assert_not(s.reset);
	sock_op(&s, VIRTIO_VSOCK_OP_SHUTDOWN,
		VIRTIO_VSOCK_SHUTDOWN_SEND | VIRTIO_VSOCK_SHUTDOWN_RCV);
	settle();
	cr_assert(s.reset);
	sock_op(&s, VIRTIO_VSOCK_OP_RST, 0);
	settle();
	cr_assert_eq(w.stray, 0, "an RST was answered");
}

Test(device_vsock, host_half_closes)
{
	struct gsock s;
	uint64_t in = 0, out = 0;

	post_all_rx();
	int fd = sock_connect(&s, 1000, 1024);

	host_write(fd, &out, 777);
	shutdown(fd, SHUT_WR);
	settle();
	cr_assert_eq(s.rx_cnt, 777);
	cr_assert_eq(s.shutdown, VIRTIO_VSOCK_SHUTDOWN_SEND);

	/* More than the credit still goes the other way. */
	while (s.tx_cnt < 300000) {
		if (sock_credit(&s) >= 5000)
			cr_assert(sock_send(&s, 5000));
		settle();
		cr_assert_eq(host_read(fd, &in), -EAGAIN);
	}
	sock_op(&s, VIRTIO_VSOCK_OP_SHUTDOWN,
		VIRTIO_VSOCK_SHUTDOWN_SEND | VIRTIO_VSOCK_SHUTDOWN_RCV);
	settle();
	cr_assert_eq(host_read(fd, &in), 0);
	cr_assert_eq(in, 300000);
	cr_assert(s.reset);
}

Test(device_vsock, guest_stops_reading)
{
	struct gsock s;
	uint64_t in = 0;

	post_all_rx();
	int fd = sock_connect(&s, 1000, 1024);

	sock_op(&s, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_RCV);
	settle();
	cr_assert_eq(send(fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL), -1);
	cr_assert_eq(errno, EPIPE);
	cr_assert(sock_send(&s, 100));
	settle();
	cr_assert_eq(host_read(fd, &in), -EAGAIN);
	cr_assert_eq(in, 100);
	cr_assert_eq(s.shutdown, 0);
	cr_assert_not(s.reset);
}

Test(device_vsock, host_closes)
{
	struct gsock s;

	post_all_rx();
	sock_connect(&s, 1000, 1026);
	close(w.host_fd[0]);
	w.host_fd[0] = -1;
	settle();
	cr_assert_eq(s.shutdown, VIRTIO_VSOCK_SHUTDOWN_SEND);

	/* A write finds out that nobody reads either; what is on its way by then is dropped. */
	for (int i = 0; i < 4; i++)
		cr_assert(sock_send(&s, TX_MAX));
	settle();
	cr_assert_eq(s.shutdown, VIRTIO_VSOCK_SHUTDOWN_SEND | VIRTIO_VSOCK_SHUTDOWN_RCV);
	for (int i = 0; i < 40; i++) {
		cr_assert(sock_credit(&s) >= TX_MAX);
		cr_assert(sock_send(&s, TX_MAX));
		settle();
	}
	cr_assert_not(s.reset);
	sock_op(&s, VIRTIO_VSOCK_OP_RST, 0);
	settle();
	cr_assert_eq(w.stray, 0);
}

Test(device_vsock, close_waits_for_the_host)
{
	struct gsock s;
	uint64_t in = 0;

	post_all_rx();
	int fd = sock_connect(&s, 1000, 1026);
	uint32_t sent = sock_fill(&s);

	sock_op(&s, VIRTIO_VSOCK_OP_SHUTDOWN,
		VIRTIO_VSOCK_SHUTDOWN_SEND | VIRTIO_VSOCK_SHUTDOWN_RCV);
	settle();
	cr_assert_not(s.reset, "confirmed before the host had all");
	while (in < sent) {
		host_read(fd, &in);
		settle();
	}
	cr_assert(s.reset);
	cr_assert_eq(host_read(fd, &in), 0);
}

Test(device_vsock, guest_resets)
{
	struct gsock s, again;

	post_all_rx();
	int fd = sock_connect(&s, 1000, 1024);

	sock_op(&s, VIRTIO_VSOCK_OP_RST, 0);
	settle();
	cr_assert(host_sees_end(fd));
	cr_assert_eq(w.stray, 0);
	s.reset = true;
	cr_assert_neq(sock_connect(&again, 1000, 1024), fd);
}

Test(device_vsock, reset_after_close_keeps_the_rest)
{
	struct gsock s, again;
	uint64_t in = 0;

	post_all_rx();
	int fd = sock_connect(&s, 1000, 1026);
	uint32_t sent = sock_fill(&s);

	sock_op(&s, VIRTIO_VSOCK_OP_SHUTDOWN,
		VIRTIO_VSOCK_SHUTDOWN_SEND | VIRTIO_VSOCK_SHUTDOWN_RCV);
	sock_op(&s, VIRTIO_VSOCK_OP_RST, 0);
	settle();
	s.reset = true;

	/* The ports are the guest's again, while the host still reads the old stream. */
	int again_fd = sock_connect(&again, 1000, 1026);

	echo(&again, again_fd, 100000);
	while (host_read(fd, &in))
		settle();
	cr_assert_eq(in, sent);
	cr_assert_eq(w.stray, 0);
}

Test(device_vsock, table_is_full)
{
	static struct gsock s[CONNS_MAX + 2];

	post_all_rx();
	for (uint32_t i = 0; i < CONNS_MAX; i++)
		sock_connect(&s[i], 1000 + i, 1024);
	sock_request(&s[CONNS_MAX], 2000, 1024);
	settle();
	cr_assert(s[CONNS_MAX].reset);
	cr_assert_eq(w.nhost, CONNS_MAX);

	sock_op(&s[5], VIRTIO_VSOCK_OP_RST, 0);
	settle();
	s[5].reset = true;
	sock_connect(&s[CONNS_MAX + 1], 2001, 1024);
	echo(&s[0], w.host_fd[0], 100000);
}

Test(device_vsock, no_receive_buffers)
{
	struct gsock nobody = { .port = 5, .host_port = 6 };
	unsigned int sent = 0;

	/* The device holds so many refusals, and then takes no more. */
	for (int i = 0; i < 60; i++) {
		sock_op(&nobody, VIRTIO_VSOCK_OP_RW, 0);
		sent++;
		settle();
	}
	unsigned int left = 0;

	for (int i = 0; i < TX_SLOTS; i++)
		left += w.tx_busy[i];
	cr_assert_gt(left, 0);
	cr_assert_lt(left, sent);
	cr_assert_eq(w.stray, 0);

	post_all_rx();
	settle();
	cr_assert_eq(w.stray, sent);
	for (int i = 0; i < TX_SLOTS; i++)
		cr_assert_not(w.tx_busy[i]);
}

Test(device_vsock, replies_wait_for_receive_buffers)
{
	struct gsock s;
	uint64_t in = 0, out = 0;

	w.repost = false;
	sock_request(&s, 1000, 1024);
	settle();
	cr_assert_eq(w.nhost, 1);
	cr_assert_not(s.open);
	s.peer_alloc = CREDIT; /* it knows */
	for (int i = 0; i < 20; i++)
		sock_op(&s, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
	cr_assert(sock_send(&s, 100));
	host_write(w.host_fd[0], &out, 5000);
	settle();
	cr_assert_eq(host_read(w.host_fd[0], &in), -EAGAIN);
	cr_assert_eq(in, 100);

	/* Twenty requests, one answer, which rides on the RESPONSE. */
	post_rx(0, RX_BUF);
	guest_queue_publish(&w.rx);
	virtio_device_kick(w.dev, 0);
	settle();
	cr_assert(s.open);
	cr_assert_eq(s.peer_fwd, 100);
	cr_assert_eq(s.rx_cnt, 0);
	post_rx(1, HDR + 10);
	post_rx(2, HDR);
	post_rx(3, HDR + 1);
	guest_queue_publish(&w.rx);
	virtio_device_kick(w.dev, 0);
	settle();
	cr_assert_eq(s.rx_cnt, 11);
	cr_assert_eq(s.updates, 1, "for the chain without room");

	/* One chain in many parts. */
	struct guest_seg segs[5];

	for (uint32_t i = 0; i < 5; i++)
		segs[i] = (struct guest_seg){ w.rx_at + 4 * RX_BUF + i * 40, 40, true };
	w.rx_slot[guest_queue_add_indirect(&w.rx, w.rx_at + 10 * RX_BUF, segs, 5)] = 4;
	guest_queue_publish(&w.rx);
	virtio_device_kick(w.dev, 0);
	settle();
	cr_assert_eq(s.rx_cnt, 11 + 200 - HDR);
}

Test(device_vsock, reset_with_io_in_flight)
{
	static struct gsock s[10], again;
	uint64_t out = 0;

	post_all_rx();
	for (uint32_t i = 0; i < 10; i++)
		sock_connect(&s[i], 1000 + i, 1024);
	for (int i = 0; i < 5; i++)
		sock_fill(&s[i]); /* a send that waits for the host */
	for (int i = 3; i < 7; i++) {
		out = 0;
		host_write(w.host_fd[i], &out, 100000);
	}
	sock_send(&s[9], 100); /* not even submitted yet */

	unsigned int fds = count_fds();
	uint8_t *ram = malloc(4 << 20);

	guest_device_reset(w.dev);
	cr_assert_eq(count_fds(), fds - 10, "stopped before its I/O had come to an end");
	memcpy(ram, w.mem.base, 4 << 20);
	guest_clock_turn(&w.clock, 8);
	cr_assert_eq(memcmp(ram, w.mem.base, 4 << 20), 0, "guest memory changed after the reset");
	free(ram);
	uint64_t in = 0;

	for (int i = 0; i < 10; i++, in = 0)
		cr_assert_neq(host_read(w.host_fd[i], &in), -EAGAIN);

	w.nsocks = 0;
	device_start(true);
	post_all_rx();
	echo(&again, sock_connect(&again, 1000, 1024), 300000);
}

Test(device_vsock, garbage)
{
	struct gsock good, dead;
	struct virtio_vsock_hdr hdr;

	post_all_rx();
	int fd = sock_connect(&good, 1000, 1024);
	struct gsock nobody = { .port = 1, .host_port = 2 };

	/* To somebody else: the refusal comes from there. */
	hdr = sock_hdr(&good, VIRTIO_VSOCK_OP_RW);
	hdr.dst_cid = 0x123456789;
	send_raw(&hdr, "", 0);
	settle();
	cr_assert_eq(w.stray, 1);
	cr_assert_eq(w.last_stray.src_cid, 0x123456789);
	cr_assert_eq(w.last_stray.dst_cid, CID);
	cr_assert_eq(w.last_stray.src_port, 1024);
	cr_assert_eq(w.last_stray.dst_port, 1000);

	/* From somebody else. */
	hdr = sock_hdr(&good, VIRTIO_VSOCK_OP_RST);
	hdr.src_cid = CID + 1;
	send_raw(&hdr, "", 0);
	settle();
	cr_assert_eq(w.stray, 1);

	/* 5.10.6.4.2: an unknown type is refused. */
	hdr = sock_hdr(&good, VIRTIO_VSOCK_OP_RW);
	hdr.type = 77;
	send_raw(&hdr, "", 0);
	settle();
	cr_assert_eq(w.stray, 2);
	cr_assert_eq(w.last_stray.type, 77);
	hdr = sock_hdr(&nobody, VIRTIO_VSOCK_OP_REQUEST);
	hdr.type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	send_raw(&hdr, "", 0);
	settle();
	cr_assert_eq(w.stray, 3);

	/* Everything to no connection, but REQUEST, and RST which is never answered. */
	for (uint16_t op = 0; op < 12; op++) {
		if (op != VIRTIO_VSOCK_OP_REQUEST)
			sock_op(&nobody, op, 0);
	}
	settle();
	cr_assert_eq(w.stray, 13);
	cr_assert_eq(w.nhost, 1);

	/* The connection is none the worse for all that. */
	echo(&good, fd, 100000);

	/* What ends a connection. */
	static const uint16_t bad_ops[] = { 0, VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RESPONSE, 8,
					    0xffff };
	for (size_t i = 0; i < sizeof(bad_ops) / sizeof(bad_ops[0]); i++) {
		int dead_fd = sock_connect(&dead, 1001, 1024);

		sock_op(&dead, bad_ops[i], 0);
		settle();
		cr_assert(dead.reset, "op %u", bad_ops[i]);
		cr_assert(host_sees_end(dead_fd));
		w.nsocks--;
	}

	/* More payload promised than there is. */
	sock_connect(&dead, 1001, 1024);
	hdr = sock_hdr(&dead, VIRTIO_VSOCK_OP_RW);
	hdr.len = 11;
	send_raw(&hdr, "0123456789", 10);
	settle();
	cr_assert(dead.reset);
	w.nsocks--;
	sock_connect(&dead, 1001, 1024);
	hdr = sock_hdr(&dead, VIRTIO_VSOCK_OP_RW);
	hdr.len = UINT32_MAX;
	send_raw(&hdr, "0123456789", 10);
	settle();
	cr_assert(dead.reset);
	w.nsocks--;

	/* Data after the end of data. */
	sock_connect(&dead, 1001, 1024);
	sock_op(&dead, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
	sock_send(&dead, 10);
	settle();
	cr_assert(dead.reset);

	cr_assert_not(atomic_load(&w.dev->broken));
	cr_assert_eq(w.transport.config_signals, 0);
}

/* Less payload than the buffers have room for is no lie (5.10.6). */
Test(device_vsock, payload_shorter_than_chain)
{
	struct virtio_vsock_hdr hdr;
	struct gsock s;
	char buf[20];

	post_all_rx();
	int fd = sock_connect(&s, 1000, 1024);

	hdr = sock_hdr(&s, VIRTIO_VSOCK_OP_RW);
	hdr.len = 4;
	send_raw(&hdr, "0123456789", 10);
	settle();
	cr_assert_eq(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 4);
	cr_assert_eq(memcmp(buf, "0123", 4), 0);
}

static void expect_broken(int fd)
{
	cr_assert(atomic_load(&w.dev->broken));
	cr_assert_eq(w.transport.config_signals, 1);
	cr_assert(host_sees_end(fd));
	guest_clock_turn(&w.clock, 8);
}

Test(device_vsock, header_cut_short_out)
{
	struct gsock s;

	post_all_rx();
	int fd = sock_connect(&s, 1000, 1024);
	struct guest_seg seg = { w.tx_at, HDR - 1, false };

	guest_queue_add(&w.tx, &seg, 1);
	guest_queue_publish(&w.tx);
	virtio_device_kick(w.dev, 1);
	expect_broken(fd);
}

Test(device_vsock, header_cut_short_in)
{
	struct gsock s;

	w.repost = false;
	post_rx(0, RX_BUF);
	post_rx(1, HDR - 1);
	guest_queue_publish(&w.rx);
	int fd = sock_connect(&s, 1000, 1024);

	/* Only what has to be said makes the device look at the next chain. */
	cr_assert_not(atomic_load(&w.dev->broken));
	sock_op(&s, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
	expect_broken(fd);
}

Test(device_vsock, bad_ring)
{
	struct gsock s;

	post_all_rx();
	int fd = sock_connect(&s, 1000, 1024);

	guest_queue_offer(&w.tx, 500);
	guest_queue_publish(&w.tx);
	virtio_device_kick(w.dev, 1);
	expect_broken(fd);
	guest_device_reset(w.dev);
	w.nsocks = 0;
	device_start(true);
	post_all_rx();
	sock_connect(&s, 1000, 1024);
}

/* Every way a connection ends gives back what it held. */
Test(device_vsock, nothing_leaks)
{
	static struct gsock s[6];
	unsigned int fds = count_fds();
	uint64_t in = 0;

	post_all_rx();
	for (uint32_t i = 0; i < 6; i++)
		sock_connect(&s[i], 1000 + i, 1024);
	sock_op(&s[0], VIRTIO_VSOCK_OP_RST, 0);
	sock_op(&s[1], VIRTIO_VSOCK_OP_RESPONSE, 0);
	sock_op(&s[2], VIRTIO_VSOCK_OP_SHUTDOWN,
		VIRTIO_VSOCK_SHUTDOWN_SEND | VIRTIO_VSOCK_SHUTDOWN_RCV);
	uint32_t sent = sock_fill(&s[3]);

	sock_op(&s[3], VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
	sock_op(&s[3], VIRTIO_VSOCK_OP_RST, 0);
	settle();
	while (in < sent) {
		host_read(w.host_fd[3], &in);
		settle();
	}
	cr_assert_eq(count_fds(), fds + 6 + 2, "the host's ends, and two that are open");
	guest_device_reset(w.dev);
	cr_assert_eq(count_fds(), fds + 6);
	if (__lsan_do_recoverable_leak_check)
		cr_assert_eq(__lsan_do_recoverable_leak_check(), 0);
}

/* More chains at once than one turn takes, and nobody kicks again. */
Test(device_vsock, long_batch)
{
	struct gsock nobody = { .port = 5, .host_port = 6 };
	struct virtio_vsock_hdr hdr = sock_hdr(&nobody, VIRTIO_VSOCK_OP_CREDIT_REQUEST);

	post_all_rx();
	post_all_rx();
	w.repost = false;
	memcpy(guest_at(&w.mem, w.tx_at, HDR), &hdr, HDR);
	for (int i = 0; i < 128; i++) {
		struct guest_seg seg = { w.tx_at, HDR, false };

		w.tx_slot[guest_queue_add(&w.tx, &seg, 1)] = 0;
	}
	guest_queue_publish(&w.tx);
	virtio_device_kick(w.dev, 1);
	guest_clock_turn(&w.clock, 20);
	guest_drain();
	cr_assert_eq(w.stray, 128);
}

/* A turn that has nothing to do with what the guest sends leaves it free to say when it sends. */
Test(device_vsock, kicks_stay_wanted)
{
	const uint16_t *avail_event =
		(const uint16_t *)(const void *)&w.tx.vr.used->ring[w.tx.vr.num];

	virtio_device_kick(w.dev, 1);
	virtio_device_kick(w.dev, 0);
	cr_assert_eq(*avail_event, 0);
}

/* ---- connections that the host opens, and answers that take their time ---- */

/* The guest's socket for the host's connection, once its REQUEST has come: see guest_drain(). */
static void dialed(struct gsock *s, uint32_t port, const void *preamble, size_t len, bool greet)
{
	int fd = host_socket(0);

	*s = (struct gsock){ .port = port,
			     .alloc = OUR_ALLOC,
			     .greeting = greet ? sizeof("OK 1073741824") : 0 };
	w.socks[w.nsocks++] = s;
	vsock_dial(w.dev, port, fd, preamble, len, greet);
	settle();
}

static void accept_dialed(struct gsock *s)
{
	s->open = true;
	sock_op(s, VIRTIO_VSOCK_OP_RESPONSE, 0);
}

Test(device_vsock, dial)
{
	static uint8_t buf[64];
	struct gsock s;
	char ok[32];

	post_all_rx();
	dialed(&s, 77, NULL, 0, true);
	cr_assert(s.requested);
	cr_assert_geq(s.host_port, 1u << 30);
	int host = w.host_fd[w.nhost - 1];

	cr_assert_eq(recv(host, buf, sizeof(buf), MSG_DONTWAIT), -1, "not before it is accepted");
	accept_dialed(&s);
	/* The greeting is in the way of as many bytes, and so much less does the guest get. */
	cr_assert_lt(sock_credit(&s), CREDIT);
	settle();
	snprintf(ok, sizeof(ok), "OK %u\n", s.host_port);
	ssize_t n = recv(host, buf, sizeof(buf), MSG_DONTWAIT);

	cr_assert_eq(n, (ssize_t)strlen(ok));
	cr_assert(!memcmp(buf, ok, (size_t)n));

	uint64_t pos = 0;

	cr_assert_gt(sock_fill(&s), CREDIT);
	cr_assert_eq(host_read(host, &pos), -EAGAIN);
	settle();
	cr_assert(!s.reset);
}

Test(device_vsock, dial_preamble)
{
	struct gsock s;
	uint8_t bytes[] = { pattern(0), pattern(1), pattern(2) };

	post_all_rx();
	dialed(&s, 78, bytes, 2, false);
	cr_assert_eq(send(w.host_fd[w.nhost - 1], bytes + 2, 1, 0), 1);
	settle();
	cr_assert_eq(s.rx_cnt, 0);
	accept_dialed(&s);
	settle();
	/* guest_drain() has compared them with the pattern. */
	cr_assert_eq(s.rx_cnt, 3);
}

Test(device_vsock, dial_refused)
{
	struct gsock s;

	post_all_rx();
	dialed(&s, 79, "x", 1, true);
	sock_op(&s, VIRTIO_VSOCK_OP_RST, 0);
	settle();
	cr_assert(host_sees_end(w.host_fd[w.nhost - 1]));
	/* An answer that is none. */
	dialed(&s, 79, "x", 1, true);
	sock_op(&s, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	settle();
	cr_assert(s.reset);
	cr_assert(host_sees_end(w.host_fd[w.nhost - 1]));
}

Test(device_vsock, dial_in_vain)
{
	struct gsock s;

	post_all_rx();
	dialed(&s, 80, NULL, 0, false);
	close(w.host_fd[w.nhost - 1]);
	w.host_fd[w.nhost - 1] = -1;
	settle();
	cr_assert(s.reset, "the guest hears that nobody waits for it any more");
	/* Too late, and nobody's. */
	s.reset = false;
	sock_op(&s, VIRTIO_VSOCK_OP_RESPONSE, 0);
	settle();
	cr_assert(s.reset);
}

Test(device_vsock, dial_before_the_driver)
{
	struct gsock s;

	guest_device_reset(w.dev);
	dialed(&s, 81, NULL, 0, false);
	cr_assert(!s.requested);
	device_start(false);
	post_all_rx();
	settle();
	cr_assert(s.requested);
	guest_device_reset(w.dev);
	cr_assert(host_sees_end(w.host_fd[w.nhost - 1]), "a reset takes it along");
}

Test(device_vsock, dial_more_than_there_are_slots)
{
	static struct gsock s[CONNS_MAX + 1];

	post_all_rx();
	for (uint32_t i = 0; i < CONNS_MAX; i++)
		dialed(&s[i], 1000 + i, NULL, 0, false);
	cr_assert(!host_sees_end(w.host_fd[w.nhost - 1]));
	dialed(&s[CONNS_MAX], 2000, NULL, 0, false);
	cr_assert(host_sees_end(w.host_fd[w.nhost - 1]));
	cr_assert(!s[CONNS_MAX].requested);
}

Test(device_vsock, slow_answer)
{
	struct gsock s;

	post_all_rx();
	w.slow = true;
	sock_request(&s, 90, 1024);
	settle();
	cr_assert(!s.open && !s.reset);
	host_answer();
	settle();
	cr_assert(s.open);
	cr_assert(sock_send(&s, 100));
	settle();
	uint64_t pos = 0;

	host_read(w.host_fd[w.nhost - 1], &pos);
	cr_assert_eq(pos, 100);
}

Test(device_vsock, answer_too_late)
{
	struct gsock s, other;

	post_all_rx();
	w.slow = true;
	sock_request(&s, 91, 1024);
	settle();
	sock_op(&s, VIRTIO_VSOCK_OP_RST, 0);
	settle();
	/* The slot is another's by now, which this answer is not for. */
	sock_request(&other, 92, 1024);
	settle();
	struct asked first = w.asked[0];

	vsock_answer(w.dev, first.id, host_socket(first.port));
	settle();
	cr_assert(host_sees_end(w.host_fd[w.nhost - 1]));
	cr_assert(!other.open && !other.reset);
	w.asked[0] = w.asked[--w.nasked];
	host_answer();
	settle();
	cr_assert(other.open);
}

Test(device_vsock, more_questions_than_the_host_is_asked)
{
	static struct gsock s[ASKED_MAX + 1];

	post_all_rx();
	w.slow = true;
	for (uint32_t i = 0; i <= ASKED_MAX; i++)
		sock_request(&s[i], 100 + i, 1024);
	settle();
	cr_assert_eq(w.nasked, ASKED_MAX);
	cr_assert(s[ASKED_MAX].reset);
	/* Taking them back makes no room: each is still to be answered. */
	for (uint32_t i = 0; i < ASKED_MAX; i++)
		sock_op(&s[i], VIRTIO_VSOCK_OP_RST, 0);
	settle();
	sock_request(&s[0], 200, 1024);
	settle();
	cr_assert(s[0].reset);
	while (w.nasked)
		host_answer();
	sock_request(&s[1], 201, 1024);
	settle();
	host_answer();
	settle();
	cr_assert(s[1].open);
}
