// SPDX-License-Identifier: Apache-2.0
#include "device/net.h"

#include <criterion/criterion.h>
#include <linux/virtio_net.h>

#include "fake_port.h"

#define RING   256
#define HDR    NETPORT_HEADER
#define ALL    UINT64_MAX
#define UNSET  0xee
#define BIT(n) (1ull << (n))
#define PLAIN  0u
#define TSO    (NETPORT_CSUM | NETPORT_TSO4 | NETPORT_TSO6 | NETPORT_ECN)
#define BUFFER 2048u /* bytes of a usual receive buffer */
#define ACK    0xaa  /* not an answer */

/* There in a build with the address sanitizer; criterion ends tests without the check at exit. */
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static const uint8_t our_mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };
static const uint8_t other_mac[6] = { 0x52, 0x54, 0, 9, 9, 9 };
static const uint8_t group_mac[6] = { 1, 0, 0x5e, 0, 0, 7 };
static const uint8_t all_macs[6] = { 255, 255, 255, 255, 255, 255 };

static struct {
	struct loop *loop;
	struct guest_mem mem;
	struct fake_port port;
	struct virtio_device *dev;
	struct guest_transport transport;
	struct guest_clock clock;
	struct guest_queue gq[2 * NETPORT_PAIRS_MAX + 1];
	uint16_t ring;
	uint64_t tables;
	uint64_t commands;
	uint64_t frames; /* to be sent */
	uint64_t buffers;
	bool event_idx;
	struct limits rx_limits, tx_limits;
} w;

/* Time as the limiters see it. */
static uint64_t now = 1000000000;

static uint64_t fake_clock(void)
{
	return now;
}

/* The queues of the whole device, whatever is negotiated. */
static void device_start(uint64_t features)
{
	uint64_t at = 1 << 20;

	for (unsigned int i = 0; i < w.dev->nqueues; i++) {
		at = guest_queue_init(&w.gq[i], &w.mem, at, w.ring);
		cr_assert_eq(guest_queue_enable(&w.gq[i], &w.dev->queues[i], w.event_idx), 0);
	}
	w.tables = at;
	w.commands = w.tables + (1 << 20);
	w.frames = w.commands + (1 << 20);
	w.buffers = w.frames + (1 << 20);
	w.dev->features = features & w.dev->features_offered;
	virtio_device_start(w.dev);
}

static void device_make(unsigned int pairs, unsigned int offloads, uint16_t mtu)
{
	struct net_spec spec = { .port = &w.port.port, .mtu = mtu, .name = "net0" };

	memcpy(spec.mac, our_mac, 6);
	w.ring = RING;
	fake_port_init(&w.port, pairs, offloads);
	cr_assert_eq(guest_mem_init(&w.mem, GUEST_RAM_MIN), 0);
	cr_assert_eq(loop_new(&w.loop, 64), 0);
	cr_assert_eq(limiter_new(&w.rx_limits, fake_clock, &spec.rx_limiter), 0);
	cr_assert_eq(limiter_new(&w.tx_limits, fake_clock, &spec.tx_limiter), 0);
	cr_assert_eq(net_new(w.loop, &w.mem, &spec, &w.dev), 0);
	guest_transport_attach(&w.transport, w.dev);
	guest_clock_init(&w.clock, w.loop);
}

static void setup(void)
{
	device_make(1, TSO, 0);
	device_start(ALL);
}

static void setup_pairs(void)
{
	device_make(4, TSO, 1400);
	device_start(ALL);
}

static void teardown(void)
{
	w.port.hold = false;
	fake_port_turn(&w.port);
	guest_device_reset(w.dev);
	w.dev->ops->free(w.dev);
	cr_assert(w.port.freed);
	loop_free(w.loop);
	guest_mem_deinit(&w.mem);
	if (__lsan_do_recoverable_leak_check)
		cr_assert_eq(__lsan_do_recoverable_leak_check(), 0);
}

/* The suite net has a device with a pair of queues, net_pairs one with four, net_made its own. */
TestSuite(net, .init = setup, .fini = teardown, .timeout = 60);
TestSuite(net_pairs, .init = setup_pairs, .fini = teardown, .timeout = 60);
TestSuite(net_made, .fini = teardown, .timeout = 60);

static void restart(uint64_t features)
{
	guest_device_reset(w.dev);
	device_start(features);
}

static bool broken(void)
{
	return atomic_load(&w.dev->broken);
}

static void turn(void)
{
	guest_clock_turn(&w.clock, 2);
}

static void kick(unsigned int i)
{
	guest_queue_publish(&w.gq[i]);
	virtio_device_kick(w.dev, i);
}

static uint8_t *at(uint64_t addr)
{
	return guest_at(&w.mem, addr, 1);
}

static uint16_t avail_event(unsigned int i)
{
	return le16toh(*(const uint16_t *)(const void *)&w.gq[i].vr.used->ring[w.ring]);
}

static bool kicks_wanted(unsigned int i)
{
	return !(le16toh(w.gq[i].vr.used->flags) & VRING_USED_F_NO_NOTIFY);
}

static uint16_t used_idx(unsigned int i)
{
	return le16toh(w.gq[i].vr.used->idx);
}

/* ---- what the driver sees ---- */

static struct virtio_net_config config(void)
{
	struct virtio_net_config c = { 0 };

	cr_assert_eq(w.dev->config_size, 12);
	w.dev->ops->config_read(w.dev, 0, &c, 12);
	return c;
}

#define RING_FEATURES \
	(BIT(32) /* VERSION_1 */ | BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX))
#define BASE_FEATURES                                                                       \
	(RING_FEATURES | BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_MRG_RXBUF) |              \
	 BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) | \
	 BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) | BIT(VIRTIO_NET_F_GUEST_ANNOUNCE))

Test(net_made, config_of_a_plain_port)
{
	device_make(1, PLAIN, 0);
	struct virtio_net_config c = config();
	uint16_t status;

	cr_assert_eq(w.dev->id, 1);
	cr_assert_eq(w.dev->nqueues, 3);
	cr_assert_eq(memcmp(c.mac, our_mac, 6), 0);
	cr_assert_eq(le16toh(c.status), VIRTIO_NET_S_LINK_UP);
	cr_assert_eq(le16toh(c.max_virtqueue_pairs), 1);
	cr_assert_eq(w.dev->features_offered, BASE_FEATURES);
	w.dev->ops->config_read(w.dev, 6, &status, 2);
	cr_assert_eq(le16toh(status), VIRTIO_NET_S_LINK_UP);
	device_start(ALL);
}

Test(net_made, config_of_a_port_that_can_do_everything)
{
	device_make(8, TSO, 9000);
	struct virtio_net_config c = config();

	cr_assert_eq(w.dev->nqueues, 17);
	cr_assert_eq(le16toh(c.max_virtqueue_pairs), 8);
	cr_assert_eq(le16toh(c.mtu), 9000);
	cr_assert_eq(w.dev->features_offered,
		     BASE_FEATURES | BIT(VIRTIO_NET_F_MTU) | BIT(VIRTIO_NET_F_MQ) |
			     BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) |
			     BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | BIT(VIRTIO_NET_F_HOST_TSO4) |
			     BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) |
			     BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_HOST_ECN) |
			     BIT(VIRTIO_NET_F_GUEST_ECN));
	device_start(ALL);
	cr_assert_eq(w.port.offloads, TSO);
	cr_assert_eq(w.port.in_use, 1);
}

/* The port is told of what this driver can do, and not of what an earlier one could. */
Test(net, offloads_are_what_was_negotiated)
{
	restart(BIT(VIRTIO_NET_F_GUEST_CSUM));
	cr_assert_eq(w.port.offloads, NETPORT_CSUM);
	restart(0);
	cr_assert_eq(w.port.offloads, 0);
}

/* ---- transmit ---- */

/* A frame of @len bytes after its header at w.frames, to @mac. */
static void put_frame(const struct virtio_net_hdr_v1 *hdr, const uint8_t *mac, uint32_t len)
{
	uint8_t *p = guest_at(&w.mem, w.frames, HDR + len);

	memcpy(p, hdr, HDR);
	for (uint32_t i = 0; i < len; i++)
		p[HDR + i] = i < 6 ? mac[i] : (uint8_t)(i * 7 + (i >> 8));
}

static const struct virtio_net_hdr_v1 no_offload;

/* Add it to transmit queue @pair in one descriptor, not published. */
static uint16_t add_frame(unsigned int pair, uint32_t len)
{
	struct guest_seg seg = { w.frames, HDR + len, false };

	return guest_queue_add(&w.gq[2 * pair + 1], &seg, 1);
}

static void expect_used(unsigned int queue, uint16_t head, uint32_t len)
{
	uint16_t got;
	uint32_t written;

	cr_assert(guest_queue_used(&w.gq[queue], &got, &written));
	cr_assert_eq(got, head);
	cr_assert_eq(written, len);
}

static void send_frame(const struct virtio_net_hdr_v1 *hdr, uint32_t len)
{
	put_frame(hdr, other_mac, len);
	uint16_t head = add_frame(0, len);

	kick(1);
	turn();
	expect_used(1, head, 0);
}

static void expect_sent(const struct virtio_net_hdr_v1 *hdr, uint32_t len)
{
	unsigned int before = w.port.pairs[0].sent;

	send_frame(hdr, len);
	cr_assert_eq(w.port.pairs[0].sent, before + 1);
	cr_assert_eq(w.port.last_len, HDR + len);
	cr_assert_eq(memcmp(w.port.last + HDR, at(w.frames) + HDR, len), 0);
}

static void expect_dropped(const struct virtio_net_hdr_v1 *hdr, uint32_t len)
{
	unsigned int before = w.port.pairs[0].sent;

	send_frame(hdr, len);
	cr_assert_eq(w.port.pairs[0].sent, before, "flags %u type %u csum %u+%u hdr_len %u: sent",
		     hdr->flags, hdr->gso_type, le16toh(hdr->csum_start), le16toh(hdr->csum_offset),
		     le16toh(hdr->hdr_len));
	cr_assert_not(broken());
}

Test(net, sends)
{
	expect_sent(&no_offload, 1514);
	cr_assert_eq(memcmp(w.port.last, &no_offload, HDR), 0);
	cr_assert_eq(w.transport.queue_signals[1], 1);
	expect_sent(&no_offload, 14);
	expect_sent(&no_offload, NETPORT_FRAME_MAX);
}

Test(net, frames_too_short_or_too_long)
{
	for (uint32_t len = 0; len < 14; len++)
		expect_dropped(&no_offload, len);
	expect_dropped(&no_offload, NETPORT_FRAME_MAX + 1);
	expect_dropped(&no_offload, 200000);
	expect_sent(&no_offload, 60);
}

/* Not even a header: no driver does that. */
Test(net, no_header)
{
	for (uint32_t len = 0; len < HDR; len++) {
		struct guest_seg seg = { w.frames, len, false };

		restart(ALL);
		guest_queue_add(&w.gq[1], &seg, 1);
		kick(1);
		cr_assert(broken(), "%u bytes", len);
	}
	cr_assert_eq(w.port.pairs[0].sent, 0);
	restart(ALL);
	expect_sent(&no_offload, 60);
}

/* 2.7.4.1: the framing means nothing. */
Test(net, layouts)
{
	for (int indirect = 0; indirect < 2; indirect++) {
		for (uint32_t cut = 0; cut <= HDR + 60; cut++) {
			struct guest_seg segs[] = { { w.frames, cut / 2, false },
						    { w.frames + cut / 2, cut - cut / 2, false },
						    { w.frames + cut, HDR + 60 - cut, false } };

			put_frame(&no_offload, other_mac, 60);
			uint16_t head =
				indirect ? guest_queue_add_indirect(&w.gq[1], w.tables, segs, 3)
					 : guest_queue_add(&w.gq[1], segs, 3);

			memset(w.port.last, 0, 100);
			kick(1);
			turn();
			expect_used(1, head, 0);
			cr_assert_eq(w.port.last_len, HDR + 60);
			cr_assert_eq(memcmp(w.port.last, at(w.frames), HDR + 60), 0, "cut at %u",
				     cut);
		}
	}
}

Test(net, layout_of_crumbs)
{
	struct guest_seg segs[VIRTQ_CHAIN_MAX];

	for (uint32_t i = 0; i < VIRTQ_CHAIN_MAX; i++)
		segs[i] = (struct guest_seg){ w.frames + i, 1, false };
	put_frame(&no_offload, other_mac, VIRTQ_CHAIN_MAX - HDR);
	uint16_t head = guest_queue_add_indirect(&w.gq[1], w.tables, segs, VIRTQ_CHAIN_MAX);

	kick(1);
	turn();
	expect_used(1, head, 0);
	cr_assert_eq(w.port.last_len, VIRTQ_CHAIN_MAX);
	cr_assert_eq(memcmp(w.port.last, at(w.frames), VIRTQ_CHAIN_MAX), 0);
}

/* The header is what it was when it was checked; the frame is the guest's own all the time. */
Test(net, header_changed_after_the_check)
{
	struct virtio_net_hdr_v1 hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					 .csum_start = htole16(34),
					 .csum_offset = htole16(6) };

	w.port.hold = true;
	put_frame(&hdr, other_mac, 60);
	add_frame(0, 60);
	kick(1);
	cr_assert_eq(w.port.pairs[0].nheld, 1);
	memset(at(w.frames), 0xff, HDR);

	const struct netport_io *io = w.port.pairs[0].held[0];

	cr_assert_eq(io->iov[0].iov_len, HDR);
	cr_assert_eq(memcmp(io->iov[0].iov_base, &hdr, HDR), 0);
	cr_assert_eq(io->iov[1].iov_base, at(w.frames) + HDR, "no copy of the frame");
	fake_port_release(&w.port, 0, 1, 0);
}

Test(net, headers)
{
	static const struct {
		struct virtio_net_hdr_v1 hdr;
		bool good;
	} cases[] = {
		{ { .flags = 1, .csum_start = 34, .csum_offset = 16 }, true },
		{ { .flags = 1, .csum_start = 98, .csum_offset = 0 }, true },
		{ { .flags = 1, .csum_start = 0, .csum_offset = 98 }, true },
		{ { .flags = 1, .csum_start = 98, .csum_offset = 1 }, false },
		{ { .flags = 1, .csum_start = 99, .csum_offset = 0 }, false },
		{ { .flags = 1, .csum_start = 65535, .csum_offset = 65535 }, false },
		{ { .flags = 1, .csum_start = 65535, .csum_offset = 1 }, false },
		{ { .csum_start = 65535, .csum_offset = 65535 }, true },
		{ { .hdr_len = 100 }, true },
		{ { .hdr_len = 101 }, false },
		{ { .hdr_len = 65535 }, false },
		{ { .flags = 1, .csum_start = 34, .gso_type = 1, .gso_size = 10, .hdr_len = 54 },
		  true },
		{ { .flags = 1, .csum_start = 54, .gso_type = 4, .gso_size = 10 }, true },
		{ { .flags = 1, .csum_start = 34, .gso_type = 0x81, .gso_size = 10 }, true },
		{ { .flags = 1, .csum_start = 34, .gso_type = 0x84, .gso_size = 10 }, true },
		{ { .flags = 1, .csum_start = 34, .gso_type = 1 }, false },
		{ { .csum_start = 34, .gso_type = 1, .gso_size = 10 }, false },
		{ { .gso_type = 0x80 }, false },
		{ { .flags = 1, .csum_start = 34, .gso_type = 3, .gso_size = 10 }, false },
		{ { .flags = 1, .csum_start = 34, .gso_type = 5, .gso_size = 10 }, false },
		{ { .flags = 1, .csum_start = 34, .gso_type = 2, .gso_size = 10 }, false },
		{ { .flags = 1, .csum_start = 34, .gso_type = 0x7f, .gso_size = 10 }, false },
		{ { .flags = 1, .csum_start = 34, .gso_type = 0xff, .gso_size = 10 }, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (cases[i].good)
			expect_sent(&cases[i].hdr, 100);
		else
			expect_dropped(&cases[i].hdr, 100);
	}
	cr_assert_eq(used_idx(1), sizeof(cases) / sizeof(cases[0]));
}

/* What was not negotiated is refused, whatever the port can do. */
Test(net, headers_not_negotiated)
{
	const struct virtio_net_hdr_v1 csum = { .flags = 1, .csum_start = 34 };
	const struct virtio_net_hdr_v1 tso4 = { .flags = 1, .gso_type = 1, .gso_size = 9 };
	const struct virtio_net_hdr_v1 tso6 = { .flags = 1, .gso_type = 4, .gso_size = 9 };
	const struct virtio_net_hdr_v1 ecn = { .flags = 1, .gso_type = 0x81, .gso_size = 9 };

	restart(0);
	expect_dropped(&csum, 100);
	expect_dropped(&tso4, 100);
	restart(BIT(VIRTIO_NET_F_CSUM));
	expect_sent(&csum, 100);
	expect_dropped(&tso4, 100);
	expect_dropped(&tso6, 100);
	restart(BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4));
	expect_sent(&tso4, 100);
	expect_dropped(&tso6, 100);
	expect_dropped(&ecn, 100);
	restart(BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_HOST_ECN));
	expect_sent(&tso6, 100);
	expect_dropped(&tso4, 100);
	expect_dropped(&ecn, 100);
}

/* Bits that only a device sets, and num_buffers, do not reach the port. */
Test(net, header_without_what_is_not_the_ports)
{
	const struct virtio_net_hdr_v1 hdr = { .flags = 0xfe, .num_buffers = 0xffff };

	expect_sent(&hdr, 60);
	cr_assert_eq(memcmp(w.port.last, &no_offload, HDR), 0);
}

/* ---- transmit, many ---- */

Test(net, as_many_in_flight_as_there_are_slots)
{
	w.port.hold = true;
	put_frame(&no_offload, other_mac, 60);
	for (unsigned int i = 0; i < RING; i++)
		add_frame(0, 60);
	kick(1);
	kick(1);
	guest_clock_turn(&w.clock, 5);
	cr_assert_eq(w.port.pairs[0].nheld, NETPORT_SENDS_MAX);
	cr_assert_eq(used_idx(1), 0);
	/* A slot that comes free is used at once. */
	fake_port_release(&w.port, 0, 1, 0);
	cr_assert_eq(w.port.pairs[0].sent, NETPORT_SENDS_MAX + 1);
	cr_assert_eq(used_idx(1), 1);
	w.port.hold = false;
	fake_port_turn(&w.port);
	guest_clock_turn(&w.clock, 20);
	cr_assert_eq(w.port.pairs[0].sent, RING);
	cr_assert_eq(used_idx(1), RING);
	cr_assert_not(broken());
}

/* While anything is being sent, its end is enough to look at the queue again. */
Test(net, kicks_of_transmit)
{
	w.port.hold = true;
	put_frame(&no_offload, other_mac, 60);
	for (int round = 0; round < 2; round++) {
		unsigned int before = w.port.pairs[0].sent;

		add_frame(0, 60);
		add_frame(0, 60);
		kick(1);
		cr_assert_not(kicks_wanted(1));
		/* Added meanwhile, without a kick. */
		add_frame(0, 60);
		guest_queue_publish(&w.gq[1]);
		fake_port_release(&w.port, 0, 2, 0);
		cr_assert_eq(w.port.pairs[0].sent, before + 3);
		cr_assert_not(kicks_wanted(1));
		fake_port_release(&w.port, 0, 1, 0);
		turn();
		cr_assert(kicks_wanted(1));
	}
	cr_assert_eq(used_idx(1), 6);
}

Test(net, kicks_of_transmit_by_event_index)
{
	w.event_idx = true;
	w.port.hold = true;
	restart(ALL);
	put_frame(&no_offload, other_mac, 60);
	add_frame(0, 60);
	kick(1);
	cr_assert_neq(avail_event(1), 1, "one that has been passed: no kicks");
	fake_port_release(&w.port, 0, 1, 0);
	turn();
	cr_assert_eq(avail_event(1), 1);
}

static void publish_another(void)
{
	put_frame(&no_offload, other_mac, 60);
	guest_queue_offer(&w.gq[1], 0);
	guest_queue_publish(&w.gq[1]);
}

/* A guest that publishes as fast as it is served keeps the loop from nobody. */
Test(net, endless_transmit)
{
	struct guest_seg seg = { w.frames, HDR + 60, false };

	w.gq[1].vr.desc[0] = guest_desc(&seg, false, 0);
	w.port.on_send = publish_another;
	publish_another();
	virtio_device_kick(w.dev, 1);
	for (int i = 0; i < 10; i++) {
		unsigned int before = w.port.pairs[0].sent;

		guest_clock_turn(&w.clock, 1);
		cr_assert_leq(w.port.pairs[0].sent - before, 4 * NETPORT_SENDS_MAX);
		cr_assert_gt(w.port.pairs[0].sent, before, "but it goes on");
	}
	w.port.on_send = NULL;
	guest_clock_turn(&w.clock, 5);
	cr_assert_not(broken());
}

/* Likewise with frames that are dropped on the spot. */
Test(net, endless_bad_frames)
{
	put_frame(&no_offload, other_mac, 60);
	for (unsigned int i = 0; i < RING; i++)
		add_frame(0, 5);
	kick(1);
	cr_assert_leq(used_idx(1), NETPORT_SENDS_MAX);
	guest_clock_turn(&w.clock, 10);
	cr_assert_eq(used_idx(1), RING);
	cr_assert(kicks_wanted(1));
}

/* What fails at the port is not the driver's concern. */
Test(net, errors_of_sends)
{
	static const int results[] = { -EIO, -EINVAL, -ENOBUFS, -ECANCELED, -EAGAIN, 0, 72 };

	w.port.hold = true;
	put_frame(&no_offload, other_mac, 60);
	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		uint16_t head = add_frame(0, 60);

		kick(1);
		fake_port_release(&w.port, 0, 1, results[i]);
		expect_used(1, head, 0);
	}
	cr_assert_eq(le16toh(config().status), VIRTIO_NET_S_LINK_UP);
	cr_assert_not(broken());
}

/* ---- receive ---- */

/* Buffer number @i of the receive queue, of @len bytes, in @n descriptors; not published. */
static uint64_t buffer_at(unsigned int i)
{
	return w.buffers + (uint64_t)i * 0x2000;
}

static uint16_t add_buffer(unsigned int pair, unsigned int i, uint32_t len)
{
	struct guest_seg seg = { buffer_at(i), len, true };

	memset(guest_at(&w.mem, seg.gpa, len), UNSET, len);
	return guest_queue_add(&w.gq[2 * pair], &seg, 1);
}

static void give(unsigned int pair, unsigned int n, uint32_t len)
{
	for (unsigned int i = 0; i < n; i++)
		add_buffer(pair, i, len);
	kick(2 * pair);
}

static uint8_t frame[HDR + 100000];

/* A frame of @len bytes in all to @mac, unlike one of another @seed. */
static const uint8_t *make_frame(const uint8_t *mac, size_t len, uint8_t seed)
{
	for (size_t i = HDR; i < len; i++)
		frame[i] = i < HDR + 6 ? mac[i - HDR] : (uint8_t)(i * 3 + (i >> 8) + seed);
	memset(frame, 0, HDR);
	return frame;
}

static bool deliver(unsigned int pair, const uint8_t *mac, size_t len, uint8_t seed)
{
	return fake_port_deliver(&w.port, pair, make_frame(mac, len, seed), len);
}

/* The next frame that the driver has got, put together. Returns its length, 0: none. */
static size_t collect(unsigned int pair, uint8_t *buf)
{
	struct guest_queue *gq = &w.gq[2 * pair];
	uint16_t head, num = 1;
	uint32_t len;
	size_t total = 0;

	for (unsigned int i = 0; i < num; i++) {
		if (!guest_queue_used(gq, &head, &len)) {
			cr_assert_eq(i, 0, "%u buffers announced, %u there", num, i);
			return 0;
		}
		size_t left = len;
		uint16_t d = head;

		while (left) {
			size_t part = le32toh(gq->vr.desc[d].len);

			part = part < left ? part : left;
			memcpy(buf + total, at(le64toh(gq->vr.desc[d].addr)), part);
			total += part;
			left -= part;
			d = le16toh(gq->vr.desc[d].next);
		}
		if (!i) {
			cr_assert_geq(total, HDR);
			num = le16toh(((struct virtio_net_hdr_v1 *)(void *)buf)->num_buffers);
			cr_assert_geq(num, 1);
		}
	}
	return total;
}

static uint8_t got[HDR + 100000];

static void expect_frame(unsigned int pair, const uint8_t *mac, size_t len, uint8_t seed)
{
	size_t n = collect(pair, got);

	cr_assert_eq(n, len, "%zu bytes, not %zu", n, len);
	make_frame(mac, len, seed);
	cr_assert_eq(memcmp(got + HDR, frame + HDR, len - HDR), 0, "frame %u", seed);
	cr_assert_eq(memcmp(got, frame, HDR - 2), 0);
}

Test(net, receives)
{
	cr_assert_eq(w.port.pairs[0].nreceives, 0, "none without buffers");
	cr_assert(kicks_wanted(0));
	give(0, RING, BUFFER);
	cr_assert_eq(w.port.pairs[0].nreceives, NETPORT_RECEIVES_MAX);
	cr_assert_not(kicks_wanted(0));
	for (uint8_t i = 0; i < 100; i++) {
		cr_assert(deliver(0, our_mac, HDR + 14 + i * 14u, i));
		turn();
		cr_assert_eq(w.transport.queue_signals[0], i + 1u);
		expect_frame(0, our_mac, HDR + 14 + i * 14u, i);
		cr_assert_eq(le16toh(((struct virtio_net_hdr_v1 *)(void *)got)->num_buffers), 1);
	}
}

Test(net, buffers_merged)
{
	give(0, RING, BUFFER);
	for (uint8_t i = 0; i < 6; i++) {
		cr_assert(deliver(0, our_mac, HDR + NETPORT_FRAME_MAX - i * 10000u, i));
		expect_frame(0, our_mac, HDR + NETPORT_FRAME_MAX - i * 10000u, i);
	}
	/* A frame that just fills its buffers takes no more. */
	cr_assert(deliver(0, our_mac, 3 * BUFFER, 7));
	uint16_t used = used_idx(0);

	expect_frame(0, our_mac, 3 * BUFFER, 7);
	cr_assert_eq(w.gq[0].used_idx, used);
}

/* All the buffers of a frame are seen at once, or none. */
static uint16_t seen_idx;

static void look(void *transport, unsigned int queue)
{
	((struct guest_transport *)transport)->queue_signals[queue]++;
	seen_idx = used_idx(0);
}

static void ignore(void *transport)
{
	(void)transport;
}

Test(net, merged_buffers_appear_at_once)
{
	static const struct virtio_transport_ops ops = { look, ignore, ignore };

	w.dev->transport_ops = &ops;
	give(0, 64, BUFFER);
	cr_assert(deliver(0, our_mac, 5 * BUFFER, 0));
	turn();
	cr_assert_eq(seen_idx, 5);
	cr_assert_eq(w.transport.queue_signals[0], 1);
	guest_transport_attach(&w.transport, w.dev);
}

/* Fewer buffers than the frame needs: its rest waits for more. */
Test(net, spill)
{
	for (uint32_t len = 100; len < 8000; len += 777) {
		size_t total = 2 * len + 1 + len / 2;

		give(0, 2, len);
		cr_assert_eq(w.port.pairs[0].nreceives, 1, "%u", w.port.pairs[0].nreceives);
		cr_assert(deliver(0, our_mac, total, 1));
		cr_assert_eq(collect(0, got), 0);
		cr_assert_eq(w.port.pairs[0].nreceives, 0, "others wait meanwhile");
		cr_assert(kicks_wanted(0));
		add_buffer(0, 2, len);
		kick(0);
		expect_frame(0, our_mac, total, 1);
		cr_assert_not(broken());
	}
}

/* One byte at a time, so to say: each buffer that comes is too small again. */
Test(net, spill_over_many_buffers)
{
	struct virtio_net_hdr_v1 *hdr = (void *)got;

	add_buffer(0, 0, HDR);
	kick(0);
	cr_assert(deliver(0, our_mac, HDR + 100, 1));
	for (unsigned int i = 1; i <= 8; i++) {
		cr_assert_eq(used_idx(0), 0);
		cr_assert(kicks_wanted(0));
		add_buffer(0, i, HDR);
		kick(0);
	}
	cr_assert_eq(used_idx(0), 0);
	add_buffer(0, 9, BUFFER);
	kick(0);
	expect_frame(0, our_mac, HDR + 100, 1);
	cr_assert_eq(le16toh(hdr->num_buffers), 10);
	/* The frame's end is in the last one, and nothing behind it. */
	cr_assert_eq(*(at(buffer_at(9)) + 4), UNSET);
}

/* Buffers of many pieces: none of a burst of frames may disturb the rest of another. */
Test(net, spills_of_a_burst)
{
	enum { PIECES = 200 };
	struct guest_seg segs[PIECES];
	static uint8_t copies[NETPORT_RECEIVES_MAX][2000];
	const uint8_t *frames[NETPORT_RECEIVES_MAX];
	size_t lens[NETPORT_RECEIVES_MAX];
	unsigned int come = 0;

	for (int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < 8; i++) {
			for (uint32_t k = 0; k < PIECES; k++)
				segs[k] = (struct guest_seg){ buffer_at(i) + 4 * k, 4, true };
			guest_queue_add_indirect(&w.gq[0], w.tables + i * 0x2000, segs, PIECES);
		}
		kick(0);
		for (unsigned int i = 0; i < NETPORT_RECEIVES_MAX; i++) {
			lens[i] = 1500 + 10 * i;
			memcpy(copies[i], make_frame(our_mac, lens[i], (uint8_t)i), lens[i]);
			frames[i] = copies[i];
		}
		for (unsigned int i = come = 0; i < NETPORT_RECEIVES_MAX; i = come)
			come += fake_port_burst(&w.port, 0, frames + i, lens + i,
						NETPORT_RECEIVES_MAX - i);
		for (unsigned int i = 0; i < NETPORT_RECEIVES_MAX; i++) {
			/* Indirect tables: put together here. */
			uint16_t head;
			uint32_t len, total = 0;
			unsigned int num = 1;

			for (unsigned int k = 0; k < num; k++) {
				cr_assert(guest_queue_used(&w.gq[0], &head, &len), "frame %u", i);
				uint64_t table = le64toh(w.gq[0].vr.desc[head].addr);
				uint64_t addr =
					buffer_at((unsigned int)((table - w.tables) / 0x2000));

				memcpy(got + total, at(addr), len);
				total += len;
				if (!k)
					num = got[10] | got[11] << 8;
			}
			cr_assert_eq(total, lens[i]);
			cr_assert_eq(memcmp(got + HDR, copies[i] + HDR, total - HDR), 0, "frame %u",
				     i);
		}
		restart(ALL);
	}
}

/* More than all the buffers of this ring: it is dropped, and the next one is not. */
Test(net_made, frame_larger_than_the_ring)
{
	device_make(1, TSO, 0);
	w.ring = 8;
	device_start(ALL);
	give(0, 8, 100);
	cr_assert(deliver(0, our_mac, 801, 1));
	turn();
	cr_assert_eq(used_idx(0), 0);
	cr_assert_not(broken());
	cr_assert(deliver(0, our_mac, 800, 2));
	expect_frame(0, our_mac, 800, 2);
}

/* What a frame left over is for the next one, and no buffer is ever lost. */
Test(net, buffers_left_over)
{
	give(0, 64, BUFFER);
	for (uint8_t i = 0; i < 64; i++) {
		cr_assert(deliver(0, our_mac, 200, i), "frame %u", i);
		expect_frame(0, our_mac, 200, i);
	}
	cr_assert_eq(w.port.pairs[0].nreceives, 0, "no receive without a buffer");
	cr_assert(kicks_wanted(0));
	give(0, 1, BUFFER);
	cr_assert(deliver(0, our_mac, 200, 5));
	expect_frame(0, our_mac, 200, 5);
}

/* Every number of buffers: those that a frame, or none, comes into; all are used in the end. */
Test(net, every_number_of_buffers)
{
	for (unsigned int n = 1; n <= RING; n += 5) {
		give(0, n, 300);
		for (unsigned int i = 0; i < n; i++) {
			cr_assert(deliver(0, our_mac, 14, 0), "a runt");
			cr_assert(deliver(0, our_mac, 120, (uint8_t)i), "%u of %u", i, n);
			expect_frame(0, our_mac, 120, (uint8_t)i);
		}
		cr_assert_eq(w.port.pairs[0].nreceives, 0);
	}
}

Test(net, not_mergeable)
{
	restart(ALL & ~BIT(VIRTIO_NET_F_MRG_RXBUF));
	give(0, 32, 1600);
	cr_assert_eq(w.port.pairs[0].nreceives, NETPORT_RECEIVES_MAX);
	cr_assert(deliver(0, our_mac, 1526, 1));
	expect_frame(0, our_mac, 1526, 1);
	cr_assert_eq(le16toh(((struct virtio_net_hdr_v1 *)(void *)got)->num_buffers), 1);
	/* What does not fit is dropped; its buffer is not. */
	cr_assert(deliver(0, our_mac, 1601, 2));
	cr_assert_eq(collect(0, got), 0);
	for (uint8_t i = 0; i < 31; i++) {
		cr_assert(deliver(0, our_mac, 1600, i));
		expect_frame(0, our_mac, 1600, i);
	}
	cr_assert_eq(w.port.pairs[0].nreceives, 0);
	cr_assert_not(broken());
}

/* A header across descriptors, num_buffers of it, too. */
Test(net, headers_in_pieces)
{
	for (uint32_t cut = 1; cut <= HDR + 20; cut++) {
		struct guest_seg segs[] = { { w.buffers, cut, true },
					    { w.buffers + 0x1000, 100, true } };

		guest_queue_add(&w.gq[0], segs, 2);
		kick(0);
		cr_assert(deliver(0, our_mac, 90, (uint8_t)cut));
		expect_frame(0, our_mac, 90, (uint8_t)cut);
	}
}

Test(net, bad_buffers)
{
	for (uint32_t len = 0; len < HDR; len++) {
		restart(ALL);
		give(0, 1, len);
		cr_assert(broken(), "%u bytes", len);
	}
	for (int first = 0; first < 2; first++) {
		struct guest_seg segs[] = { { w.buffers, 100, false }, { w.buffers, 2000, true } };

		restart(ALL);
		guest_queue_add(&w.gq[0], segs, first ? 1 : 2);
		kick(0);
		cr_assert(broken(), "readable");
	}
	restart(ALL);
	/* Behind good ones: the device is broken all the same, and nothing is being received. */
	give(0, 3, BUFFER);
	cr_assert(deliver(0, our_mac, 100, 0));
	expect_frame(0, our_mac, 100, 0);
	cr_assert_not(broken());
	guest_queue_offer(&w.gq[0], RING);
	guest_queue_publish(&w.gq[0]);
	cr_assert(deliver(0, our_mac, 100, 0));
	cr_assert(broken());
	cr_assert_eq(w.port.pairs[0].nreceives, 0);
	restart(ALL);
	give(0, 3, BUFFER);
	cr_assert(deliver(0, our_mac, 100, 0));
	expect_frame(0, our_mac, 100, 0);
}

/* Receives that end with nothing are begun again; none of it is the end of the link. */
Test(net, errors_of_receives)
{
	static const int results[] = {
		-EINVAL, -ENOMEM, -EINTR, -EAGAIN, -EFAULT, 0, 1, 11, 12, 25
	};

	give(0, 1, BUFFER);
	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		fake_port_receives_done(&w.port, 0, &results[i], 1);
		cr_assert_eq(w.port.pairs[0].nreceives, 1);
	}
	cr_assert_eq(le16toh(config().status), VIRTIO_NET_S_LINK_UP);
	cr_assert(deliver(0, our_mac, 100, 0));
	expect_frame(0, our_mac, 100, 0);
}

/* With frames at hand the loop is asked for nothing when there are no buffers. */
Test(net, nothing_happens_without_buffers)
{
	unsigned int batches = w.port.pairs[0].batches;

	for (int i = 0; i < 5; i++) {
		kick(0);
		turn();
	}
	cr_assert_eq(w.port.pairs[0].batches, batches);
	give(0, 1, 100);
	cr_assert(deliver(0, our_mac, 1000, 0));
	batches = w.port.pairs[0].batches;
	for (int i = 0; i < 5; i++) {
		kick(0);
		turn();
	}
	cr_assert_eq(w.port.pairs[0].batches, batches,
		     "while a frame waits for its rest's buffers");
}

Test(net, kicks_of_receive_by_event_index)
{
	w.event_idx = true;
	restart(ALL);
	cr_assert_eq(avail_event(0), 0);
	give(0, 2, BUFFER);
	cr_assert_neq(avail_event(0), 2, "a receive is under way: no kicks");
	cr_assert(deliver(0, our_mac, 100, 0));
	cr_assert(deliver(0, our_mac, 100, 0));
	cr_assert_eq(avail_event(0), 2);
}

/* 5.1.6.4.1: what the port still held from before a reset may need what is not negotiated now. */
Test(net, frames_that_need_what_was_not_negotiated)
{
	static const struct virtio_net_hdr_v1 hdrs[] = {
		{ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34 },
		{ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 },
		{ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = VIRTIO_NET_HDR_GSO_TCPV6 },
		{ .gso_type = VIRTIO_NET_HDR_GSO_UDP },
	};
	struct virtio_net_hdr_v1 hdr = { .flags = VIRTIO_NET_HDR_F_DATA_VALID };

	restart(BIT(VIRTIO_NET_F_MRG_RXBUF));
	give(0, 4, BUFFER);
	for (size_t i = 0; i < sizeof(hdrs) / sizeof(hdrs[0]); i++) {
		make_frame(our_mac, 100, 0);
		memcpy(frame, &hdrs[i], HDR);
		cr_assert(fake_port_deliver(&w.port, 0, frame, 100));
		cr_assert_eq(used_idx(0), 0, "header %zu", i);
	}
	make_frame(our_mac, 100, 0);
	memcpy(frame, &hdr, HDR);
	cr_assert(fake_port_deliver(&w.port, 0, frame, 100));
	cr_assert_eq(collect(0, got), 100);
	cr_assert_eq(got[0], 0, "no flags without GUEST_CSUM");

	restart(ALL);
	give(0, 4, BUFFER);
	for (size_t i = 0; i < 3; i++) {
		make_frame(our_mac, 100, 0);
		memcpy(frame, &hdrs[i], HDR);
		cr_assert(fake_port_deliver(&w.port, 0, frame, 100));
		cr_assert_eq(collect(0, got), 100);
		cr_assert_eq(memcmp(got, frame, HDR - 2), 0);
	}
}

/* ---- the control queue ---- */

static unsigned int control_queue(void)
{
	return w.dev->features & BIT(VIRTIO_NET_F_MQ) ? w.dev->nqueues - 1 : 2;
}

/* A command with @len bytes of @data. Returns the answer. */
static uint8_t command(uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
	unsigned int q = control_queue();
	struct virtio_net_ctrl_hdr hdr = { class, cmd };
	struct guest_seg segs[] = { { w.commands, 2, false },
				    { w.commands + 2, len, false },
				    { w.commands + len + 2, 1, true } };
	uint8_t *p = guest_at(&w.mem, w.commands, len + 3);

	memcpy(p, &hdr, 2);
	if (len)
		memcpy(p + 2, data, len);
	p[len + 2] = ACK;
	uint16_t head = guest_queue_add(&w.gq[q], segs, 3);

	kick(q);
	expect_used(q, head, 1);
	return p[len + 2];
}

static uint8_t command_u8(uint8_t class, uint8_t cmd, uint8_t value)
{
	return command(class, cmd, &value, 1);
}

static uint8_t set_pairs(uint16_t pairs)
{
	pairs = htole16(pairs);
	return command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs, 2);
}

/* Whether a frame to @mac reaches the driver. */
static bool reaches(const uint8_t *mac)
{
	if (!w.port.pairs[0].nreceives)
		give(0, 1, BUFFER);
	cr_assert(deliver(0, mac, 100, 0));
	return collect(0, got) == 100;
}

Test(net, filter)
{
	cr_assert(reaches(our_mac));
	cr_assert(reaches(all_macs));
	cr_assert_not(reaches(other_mac));
	cr_assert_not(reaches(group_mac));

	cr_assert_eq(command_u8(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, 1), VIRTIO_NET_OK);
	cr_assert(reaches(group_mac));
	cr_assert_not(reaches(other_mac));
	cr_assert_eq(command_u8(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, 0), VIRTIO_NET_OK);
	cr_assert_not(reaches(group_mac));

	cr_assert_eq(command_u8(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 1), VIRTIO_NET_OK);
	cr_assert(reaches(other_mac));
	cr_assert(reaches(group_mac));
	cr_assert_eq(command_u8(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	cr_assert_not(reaches(other_mac));
	/* A reset forgets. */
	command_u8(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 1);
	restart(ALL);
	cr_assert_not(reaches(other_mac));
}

/* A driver that cannot say what it wants gets everything. */
Test(net, no_filter)
{
	restart(ALL & ~BIT(VIRTIO_NET_F_CTRL_RX));
	cr_assert(reaches(other_mac));
	cr_assert(reaches(group_mac));
	cr_assert_eq(command_u8(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_ERR);
	cr_assert(reaches(other_mac));
}

Test(net, commands_of_receive_modes)
{
	static const uint8_t nothing[2];

	cr_assert_eq(command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, nothing, 0),
		     VIRTIO_NET_ERR);
	cr_assert_eq(command_u8(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 2), VIRTIO_NET_ERR);
	for (unsigned int cmd = 2; cmd < 256; cmd += 1)
		cr_assert_eq(command_u8(VIRTIO_NET_CTRL_RX, (uint8_t)cmd, 1), VIRTIO_NET_ERR);
}

static uint32_t put_table(uint8_t *to, uint32_t entries, const uint8_t *mac)
{
	uint32_t le = htole32(entries);

	memcpy(to, &le, 4);
	for (uint32_t i = 0; i < entries; i++) {
		memcpy(to + 4 + 6 * i, mac, 6);
		to[4 + 6 * i + 4] ^= (uint8_t)(i >> 8);
		to[4 + 6 * i + 5] ^= (uint8_t)i;
	}
	return 4 + 6 * entries;
}

static uint8_t set_tables(uint32_t unicast, uint32_t multicast)
{
	static uint8_t buf[64 << 10];
	uint32_t len = put_table(buf, unicast, other_mac);

	len += put_table(buf + len, multicast, group_mac);
	return command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, buf, len);
}

Test(net, mac_tables)
{
	uint8_t last[6], beyond[6];

	for (uint32_t n = 1; n <= 64; n += 21) {
		memcpy(last, group_mac, 6);
		memcpy(beyond, group_mac, 6);
		last[5] ^= (uint8_t)(n - 1);
		beyond[5] ^= (uint8_t)n;
		cr_assert_eq(set_tables(n, n), VIRTIO_NET_OK);
		cr_assert(reaches(other_mac));
		cr_assert(reaches(group_mac));
		cr_assert(reaches(last));
		cr_assert_not(reaches(beyond));
		cr_assert(reaches(our_mac));
	}
	/* More than are kept of one kind: all of that kind. */
	cr_assert_eq(set_tables(0, 65), VIRTIO_NET_OK);
	cr_assert(reaches(beyond));
	cr_assert_not(reaches(other_mac));
	cr_assert_eq(set_tables(1000, 1), VIRTIO_NET_OK);
	cr_assert(reaches((const uint8_t[]){ 2, 2, 2, 2, 2, 2 }));
	cr_assert(reaches(group_mac));
	cr_assert_not(reaches(beyond));
	cr_assert_eq(set_tables(0, 0), VIRTIO_NET_OK);
	cr_assert_not(reaches(group_mac));
	cr_assert_not(reaches(other_mac));
}

/* Counts that are not true change nothing. */
Test(net, mac_tables_that_lie)
{
	static const uint32_t lies[] = {
		2, 3, 1000, 0x2aaaaaab, 0x2aaaaaac, 0x80000000, UINT32_MAX
	};
	uint8_t buf[4 + 6 + 4 + 6];

	cr_assert_eq(set_tables(1, 1), VIRTIO_NET_OK);
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		for (int second = 0; second < 2; second++) {
			uint32_t lie = htole32(lies[i]);

			put_table(buf, 1, our_mac);
			put_table(buf + 10, 1, our_mac);
			memcpy(buf + (second ? 10 : 0), &lie, 4);
			cr_assert_eq(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET,
					     buf, sizeof(buf)),
				     VIRTIO_NET_ERR, "%u in %d", lies[i], second);
			cr_assert(reaches(other_mac));
			cr_assert(reaches(group_mac));
		}
	}
	for (uint32_t len = 0; len < sizeof(buf); len++) {
		put_table(buf, 1, our_mac);
		put_table(buf + 10, 1, our_mac);
		cr_assert_eq(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, buf, len),
			     VIRTIO_NET_ERR, "%u bytes", len);
	}
	cr_assert(reaches(group_mac));
}

/* As many as fit into nearly 4 GiB, all of it the same memory: they are not looked at one by one.
 */
Test(net, mac_tables_without_end)
{
	struct virtio_net_ctrl_hdr hdr = { VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET };
	const uint32_t part = 16 << 20;
	struct guest_seg segs[256];
	uint32_t entries = htole32(250u * part / 6);
	uint8_t *p = guest_at(&w.mem, w.commands, 7);

	memcpy(p, &hdr, 2);
	memcpy(p + 2, &entries, 4);
	p[6] = ACK;
	segs[0] = (struct guest_seg){ w.commands, 6, false };
	for (unsigned int i = 1; i < 255; i++)
		segs[i] = (struct guest_seg){ w.buffers, part, false };
	segs[255] = (struct guest_seg){ w.commands + 6, 1, true };
	for (int i = 0; i < 20; i++) {
		guest_queue_add_indirect(&w.gq[2], w.tables, segs, 256);
		kick(2);
		turn();
		cr_assert_neq(p[6], ACK);
	}
}

Test(net, mac_address)
{
	static const uint8_t longer[7];

	cr_assert_eq(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other_mac, 6),
		     VIRTIO_NET_OK);
	cr_assert(reaches(other_mac));
	cr_assert_not(reaches(our_mac));
	/* 5.1.6.5.2.1: the configuration has it, too. */
	cr_assert_eq(memcmp(config().mac, other_mac, 6), 0);
	cr_assert_eq(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, our_mac, 5),
		     VIRTIO_NET_ERR);
	cr_assert_eq(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, longer, 7),
		     VIRTIO_NET_ERR);
	cr_assert_eq(command(VIRTIO_NET_CTRL_MAC, 2, our_mac, 6), VIRTIO_NET_ERR);
	cr_assert(reaches(other_mac));
	/* The next driver finds what the host gave the card. */
	guest_device_reset(w.dev);
	cr_assert_eq(memcmp(config().mac, our_mac, 6), 0);
	device_start(ALL);
	cr_assert(reaches(our_mac));
	cr_assert_not(reaches(other_mac));
	restart(ALL & ~BIT(VIRTIO_NET_F_CTRL_MAC_ADDR));
	cr_assert_eq(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other_mac, 6),
		     VIRTIO_NET_ERR);
}

static uint8_t set_offloads(uint64_t bits)
{
	bits = htole64(bits);
	return command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &bits,
		       8);
}

Test(net, offloads)
{
	uint64_t bits = 0;

	cr_assert_eq(w.port.offloads, TSO);
	cr_assert_eq(set_offloads(BIT(VIRTIO_NET_F_GUEST_CSUM)), VIRTIO_NET_OK);
	cr_assert_eq(w.port.offloads, NETPORT_CSUM);
	cr_assert_eq(set_offloads(0), VIRTIO_NET_OK);
	cr_assert_eq(w.port.offloads, 0);
	cr_assert_eq(set_offloads(BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) |
				  BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_GUEST_ECN)),
		     VIRTIO_NET_OK);
	cr_assert_eq(w.port.offloads, TSO);
	cr_assert_eq(set_offloads(BIT(VIRTIO_NET_F_GUEST_UFO)), VIRTIO_NET_ERR);
	cr_assert_eq(set_offloads(UINT64_MAX), VIRTIO_NET_ERR);
	cr_assert_eq(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET,
			     &bits, 7),
		     VIRTIO_NET_ERR);
	cr_assert_eq(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 1, &bits, 8), VIRTIO_NET_ERR);
	cr_assert_eq(w.port.offloads, TSO);
	/* Only what was negotiated can be turned on. */
	restart(BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | BIT(VIRTIO_NET_F_GUEST_CSUM));
	cr_assert_eq(set_offloads(BIT(VIRTIO_NET_F_GUEST_TSO4)), VIRTIO_NET_ERR);
	restart(ALL & ~BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS));
	cr_assert_eq(set_offloads(0), VIRTIO_NET_ERR);
}

Test(net, commands_that_are_none)
{
	uint8_t zero[16] = { 0 };

	for (unsigned int class = 0; class < 256; class += 1) {
		if (class <= VIRTIO_NET_CTRL_MAC)
			continue;
		cr_assert_eq(command((uint8_t) class, 9, zero, 16), VIRTIO_NET_ERR, "class %u",
			     class);
	}
	cr_assert_eq(set_pairs(1), VIRTIO_NET_ERR, "MQ was not offered");
	cr_assert_eq(command(VIRTIO_NET_CTRL_ANNOUNCE, 1, zero, 0), VIRTIO_NET_ERR);
	cr_assert_not(broken());
}

/* Too short for a header; an answer all the same. */
Test(net, commands_too_short)
{
	for (uint32_t len = 0; len < 2; len++) {
		struct guest_seg segs[] = { { w.commands, len, false },
					    { w.commands + 8, 1, true } };

		*at(w.commands + 8) = ACK;
		uint16_t head = guest_queue_add(&w.gq[2], segs, 2);

		kick(2);
		expect_used(2, head, 1);
		cr_assert_eq(*at(w.commands + 8), VIRTIO_NET_ERR);
	}
}

Test(net, no_room_for_an_answer)
{
	struct guest_seg segs[] = { { w.commands, 3, false }, { w.commands, 0, true } };

	for (unsigned int n = 1; n <= 2; n++) {
		guest_queue_add(&w.gq[2], segs, n);
		kick(2);
		cr_assert(broken());
		restart(ALL);
	}
	cr_assert_eq(set_offloads(0), VIRTIO_NET_OK);
}

Test(net, many_commands)
{
	struct guest_seg segs[] = { { w.commands, 3, false }, { w.commands + 8, 1, true } };

	memset(at(w.commands), 0, 3);
	for (unsigned int i = 0; i < RING / 2; i++)
		guest_queue_add(&w.gq[2], segs, 2);
	kick(2);
	cr_assert_leq(used_idx(2), 64, "others have their turn");
	guest_clock_turn(&w.clock, 5);
	cr_assert_eq(used_idx(2), RING / 2);
	cr_assert_not(broken());
}

/* ---- several pairs ---- */

Test(net_pairs, control_queue_is_behind_the_pairs)
{
	cr_assert_eq(le16toh(config().mtu), 1400);
	cr_assert_eq(control_queue(), 8);
	cr_assert_eq(command_u8(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 1), VIRTIO_NET_OK);
	/* Without MQ it follows the first pair (5.1.2), whatever else there is. */
	restart(ALL & ~BIT(VIRTIO_NET_F_MQ));
	cr_assert_eq(control_queue(), 2);
	cr_assert_eq(command_u8(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 1), VIRTIO_NET_OK);
	cr_assert_eq(set_pairs(2), VIRTIO_NET_ERR);
	cr_assert(reaches(other_mac));
	/* Then the last queue is none of anybody's. */
	add_buffer(4, 0, 100);
	kick(8);
	cr_assert_not(broken());
}

static void give_all(void)
{
	for (unsigned int i = 0; i < 4; i++)
		give(i, 8, BUFFER);
}

Test(net_pairs, numbers_of_pairs)
{
	uint8_t byte = 1;

	give_all();
	cr_assert_eq(w.port.pairs[1].nreceives, 0, "only the first pair is in use");
	cr_assert_eq(set_pairs(0), VIRTIO_NET_ERR);
	cr_assert_eq(set_pairs(5), VIRTIO_NET_ERR);
	cr_assert_eq(set_pairs(0x8000), VIRTIO_NET_ERR);
	cr_assert_eq(command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &byte, 1),
		     VIRTIO_NET_ERR);
	cr_assert_eq(command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, &byte, 1),
		     VIRTIO_NET_ERR);
	cr_assert_eq(w.port.in_use, 1);
	cr_assert_eq(set_pairs(4), VIRTIO_NET_OK);
	cr_assert_eq(w.port.in_use, 4);
	for (unsigned int i = 0; i < 4; i++) {
		cr_assert(deliver(i, our_mac, 100, (uint8_t)i));
		expect_frame(i, our_mac, 100, (uint8_t)i);
		put_frame(&no_offload, other_mac, 60);
		uint16_t head = add_frame(i, 60);

		kick(2 * i + 1);
		turn();
		expect_used(2 * i + 1, head, 0);
		cr_assert_eq(w.port.pairs[i].sent, 1);
		cr_assert_gt(w.transport.queue_signals[2 * i], 0);
	}
	/* The next driver begins with one. */
	restart(ALL);
	cr_assert_eq(w.port.in_use, 1);
}

/* Receives that are ended so are not the end of the link; what they held is used again. */
Test(net_pairs, shrink_and_grow)
{
	give_all();
	for (int round = 0; round < 5; round++) {
		cr_assert_eq(set_pairs(4), VIRTIO_NET_OK);
		cr_assert_eq(set_pairs(1), VIRTIO_NET_OK);
		if (round % 2)
			turn();
		cr_assert_eq(set_pairs(3), VIRTIO_NET_OK);
		turn();
		cr_assert_eq(w.port.pairs[3].nreceives, 0);
		cr_assert_gt(w.port.pairs[0].nreceives, 0);
		cr_assert_gt(w.port.pairs[1].nreceives, 0);
		cr_assert_gt(w.port.pairs[2].nreceives, 0);
	}
	cr_assert_eq(le16toh(config().status), VIRTIO_NET_S_LINK_UP);
	cr_assert_eq(set_pairs(4), VIRTIO_NET_OK);
	turn();
	for (unsigned int i = 0; i < 4; i++) {
		for (uint8_t k = 0; k < 8; k++) {
			cr_assert(deliver(i, our_mac, 100, k));
			expect_frame(i, our_mac, 100, k);
		}
	}
	cr_assert_not(broken());
}

/* A frame whose rest waits for buffers survives that its pair rests. */
Test(net_pairs, shrink_with_a_spill)
{
	cr_assert_eq(set_pairs(2), VIRTIO_NET_OK);
	give(1, 1, 100);
	cr_assert(deliver(1, our_mac, 150, 3));
	cr_assert_eq(set_pairs(1), VIRTIO_NET_OK);
	give(1, 1, 100);
	turn();
	cr_assert_eq(used_idx(2), 0);
	cr_assert_eq(set_pairs(2), VIRTIO_NET_OK);
	cr_assert_eq(used_idx(2), 2);
}

Test(net_pairs, port_that_cannot_change_its_pairs)
{
	give_all();
	w.port.set_pairs_fails = EIO;
	cr_assert_eq(set_pairs(2), VIRTIO_NET_ERR);
	turn();
	cr_assert_eq(w.port.pairs[1].nreceives, 0);
	w.port.set_pairs_fails = 0;
	cr_assert_eq(set_pairs(2), VIRTIO_NET_OK);
	w.port.set_pairs_fails = EIO;
	cr_assert_eq(set_pairs(1), VIRTIO_NET_ERR);
	turn();
	cr_assert_gt(w.port.pairs[1].nreceives, 0, "it goes on as it was");
}

/* Queues that the driver did not set up are left alone. */
Test(net_pairs, queues_that_are_not_there)
{
	guest_device_reset(w.dev);
	for (unsigned int i = 0; i < 9; i++) {
		uint64_t end = guest_queue_init(&w.gq[i], &w.mem, (1 << 20) + i * 0x10000, RING);

		cr_assert_lt(end, w.commands);
		if (i < 2 || i == 8)
			guest_queue_enable(&w.gq[i], &w.dev->queues[i], false);
	}
	w.dev->features = w.dev->features_offered;
	virtio_device_start(w.dev);
	cr_assert_eq(set_pairs(4), VIRTIO_NET_OK);
	for (unsigned int i = 0; i < 12; i++)
		virtio_device_kick(w.dev, i);
	turn();
	cr_assert_eq(w.port.pairs[1].batches, 0);
	cr_assert_not(broken());
}

/* ---- the link ---- */

Test(net, link)
{
	net_set_link(w.dev, true);
	cr_assert_eq(w.transport.config_signals, 0, "it is up");
	net_set_link(w.dev, false);
	cr_assert_eq(le16toh(config().status), 0);
	cr_assert_eq(w.transport.config_signals, 1);
	net_set_link(w.dev, false);
	cr_assert_eq(w.transport.config_signals, 1);
	net_set_link(w.dev, true);
	cr_assert_eq(le16toh(config().status), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	cr_assert_eq(command(VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, NULL, 0),
		     VIRTIO_NET_OK);
	cr_assert_eq(le16toh(config().status), VIRTIO_NET_S_LINK_UP);
	/* A reset takes an announcement back that nobody has acknowledged. */
	net_set_link(w.dev, false);
	net_set_link(w.dev, true);
	guest_device_reset(w.dev);
	cr_assert_eq(le16toh(config().status), VIRTIO_NET_S_LINK_UP);
	device_start(ALL & ~BIT(VIRTIO_NET_F_GUEST_ANNOUNCE));
	net_set_link(w.dev, false);
	net_set_link(w.dev, true);
	cr_assert_eq(le16toh(config().status), VIRTIO_NET_S_LINK_UP);
	cr_assert_eq(command(VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, NULL, 0),
		     VIRTIO_NET_ERR);
}

Test(net_pairs, port_lost)
{
	give_all();
	cr_assert_eq(set_pairs(4), VIRTIO_NET_OK);
	unsigned int signals = w.transport.config_signals;

	fake_port_lose(&w.port);
	turn();
	cr_assert_eq(le16toh(config().status), 0);
	cr_assert_eq(w.transport.config_signals, signals + 1, "said once");
	unsigned int batches = w.port.pairs[0].batches;

	/* Nothing is received any more; what is sent is swallowed. */
	for (int i = 0; i < 3; i++) {
		put_frame(&no_offload, other_mac, 60);
		uint16_t head = add_frame(0, 60);

		kick(0);
		kick(1);
		turn();
		expect_used(1, head, 0);
	}
	cr_assert_eq(w.port.pairs[0].batches, batches);
	cr_assert_eq(w.port.pairs[0].sent, 0);
	/* For good. */
	net_set_link(w.dev, true);
	cr_assert_eq(le16toh(config().status), 0);
	restart(ALL);
	cr_assert_eq(le16toh(config().status), 0);
	give(0, 8, BUFFER);
	cr_assert_eq(w.port.pairs[0].batches, batches);
	cr_assert_not(broken());
}

Test(net, port_lost_while_sending)
{
	w.port.hold = true;
	put_frame(&no_offload, other_mac, 60);
	for (unsigned int i = 0; i < RING; i++)
		add_frame(0, 60);
	kick(1);
	fake_port_release(&w.port, 0, 1, -ENODEV);
	cr_assert_eq(le16toh(config().status), 0);
	w.port.hold = false;
	fake_port_turn(&w.port);
	guest_clock_turn(&w.clock, 10);
	cr_assert_eq(used_idx(1), RING);
	cr_assert_leq(w.port.pairs[0].sent, NETPORT_SENDS_MAX);
}

/* ---- resets and faults ---- */

/* A reset is over when nothing can touch the guest's memory any more; nothing of it is told. */
Test(net_pairs, reset_with_everything_in_flight)
{
	for (int round = 0; round < 4; round++) {
		struct guest_reset reset = { .dev = w.dev };
		pthread_t thread;

		give_all();
		cr_assert_eq(set_pairs(4), VIRTIO_NET_OK);
		/* One of them is in the middle of a spill. */
		add_buffer(3, 9, 100);
		guest_queue_publish(&w.gq[6]);
		w.port.hold = true;
		put_frame(&no_offload, other_mac, 60);
		for (unsigned int i = 0; i < 4; i++) {
			for (int k = 0; k < 100; k++)
				add_frame(i, 60);
			kick(2 * i + 1);
		}
		while (round % 2 && w.port.pairs[3].nreceives)
			cr_assert(deliver(3, our_mac, HDR + NETPORT_FRAME_MAX, 0));
		cr_assert_eq(pthread_create(&thread, NULL, guest_reset_thread, &reset), 0);
		while (w.dev->running)
			guest_clock_turn(&w.clock, 1);
		uint16_t used[9];

		for (unsigned int i = 0; i < 9; i++)
			used[i] = used_idx(i);
		for (unsigned int i = 0; i < 4; i++) {
			guest_clock_turn(&w.clock, 2);
			cr_assert_not(reset.finished, "pair %u is sending", i);
			fake_port_release(&w.port, i, 1000, i % 2 ? -EIO : 0);
		}
		while (!reset.finished)
			cr_assert_eq(loop_run_once(w.loop), 0);
		pthread_join(thread, NULL);
		for (unsigned int i = 0; i < 9; i++)
			cr_assert_eq(used_idx(i), used[i]);
		for (unsigned int i = 0; i < w.dev->nqueues; i++)
			virtq_reset(&w.dev->queues[i]);
		w.port.hold = false;
		device_start(ALL);
		give_all();
		for (uint8_t k = 0; k < 8; k++) {
			cr_assert(deliver(0, our_mac, 100, k));
			expect_frame(0, our_mac, 100, k);
		}
		expect_sent(&no_offload, 60);
		restart(ALL);
	}
}

/* Whatever a life does with its buffers, the next one has room for a whole ring of them. */
Test(net, no_life_costs_the_next)
{
	for (int round = 0; round < 40; round++) {
		give(0, round % 3 ? 20 : RING, 100);
		cr_assert(deliver(0, our_mac, 90 + 400u * (round % 10), 0));
		restart(round % 4 ? ALL : ALL & ~BIT(VIRTIO_NET_F_MRG_RXBUF));
	}
	restart(ALL);
	give(0, RING, BUFFER);
	for (unsigned int i = 0; i < RING; i++) {
		cr_assert(deliver(0, our_mac, 100, (uint8_t)i), "only %u of %u buffers", i, RING);
		expect_frame(0, our_mac, 100, (uint8_t)i);
	}
}

/* A lie in any queue while the others' receives and sends are in flight. */
Test(net_pairs, faults)
{
	for (unsigned int q = 0; q < 9; q++) {
		give_all();
		cr_assert_eq(set_pairs(4), VIRTIO_NET_OK);
		w.port.hold = true;
		put_frame(&no_offload, other_mac, 60);
		add_frame(1, 60);
		kick(3);
		guest_queue_offer(&w.gq[q], RING);
		kick(q);
		/* A receive that is under way asks for no more buffers than it has. */
		for (int i = 0; q % 2 == 0 && q < 8 && i < 8 && !broken(); i++)
			deliver(q / 2, our_mac, 100, 0);
		if (q == 3) /* sees it when the send is done */
			fake_port_release(&w.port, 1, 1, 0);
		cr_assert(broken(), "queue %u", q);
		uint16_t used = used_idx(0);

		while (w.port.pairs[0].nreceives)
			deliver(0, our_mac, 100, 0);
		cr_assert_eq(used_idx(0), used, "a broken device goes on");
		kick(0);
		kick(1);
		cr_assert_eq(w.port.pairs[0].nreceives, 0);
		w.port.hold = false;
		fake_port_turn(&w.port);
		restart(ALL);
	}
	give_all();
	cr_assert(deliver(0, our_mac, 100, 0));
	expect_frame(0, our_mac, 100, 0);
	expect_sent(&no_offload, 60);
}

/* The same head again and again cannot make us hold more than the ring has entries. */
Test(net, resubmitted_heads)
{
	/* The frame's end will lie over its beginning: all zeroes, and to whomever it may be. */
	restart(ALL & ~BIT(VIRTIO_NET_F_CTRL_RX));
	uint16_t head = add_buffer(0, 0, 100);

	for (unsigned int i = 1; i < RING; i++)
		guest_queue_offer(&w.gq[0], head);
	kick(0);
	cr_assert_not(broken());
	cr_assert(fake_port_deliver(&w.port, 0, memset(frame, 0, 250), 250));
	cr_assert_eq(used_idx(0), 3);
	for (unsigned int i = 0; i < 4; i++)
		guest_queue_offer(&w.gq[0], head);
	guest_queue_publish(&w.gq[0]);
	kick(0);
	for (unsigned int i = 3; i < RING + 4; i++) {
		cr_assert_eq(used_idx(0), i);
		cr_assert(deliver(0, our_mac, 100, 0));
	}
	cr_assert_eq(used_idx(0), RING + 4);
	cr_assert_eq(w.port.pairs[0].nreceives, 0);
	cr_assert_not(broken());
}

/* ---- limits ---- */

#define MS 1000000ull

static void limited_make(unsigned int pairs)
{
	device_make(pairs, TSO, 0);
	device_start(ALL);
}

/* Turn the loop until @n frames of @pair have been sent, which is by a timer. */
static void await_sent(unsigned int pair, unsigned int n)
{
	while (w.port.pairs[pair].sent < n)
		cr_assert_eq(loop_run_once(w.loop), 0);
	cr_assert_eq(w.port.pairs[pair].sent, n);
}

Test(net_made, limit_of_packets_sent)
{
	w.tx_limits.ops = (struct bucket_spec){ 10, 1000, 3, 0 };
	limited_make(1);
	put_frame(&no_offload, other_mac, 60);
	for (int i = 0; i < 6; i++)
		add_frame(0, 60);
	kick(1);
	turn();
	cr_assert_eq(w.port.pairs[0].sent, 3);
	cr_assert_eq(used_idx(1), 3);
	kick(1);
	turn();
	cr_assert_eq(w.port.pairs[0].sent, 3);
	now += 100 * MS;
	await_sent(0, 4);
	now += 1000 * MS;
	await_sent(0, 6);
	turn();
	cr_assert_eq(used_idx(1), 6);
	cr_assert(kicks_wanted(1));
	/* The other direction is free. */
	give(0, 8, BUFFER);
	for (int i = 0; i < 8; i++)
		cr_assert(deliver(0, our_mac, HDR + 60, 0));
}

Test(net_made, limit_of_bytes_sent)
{
	w.tx_limits.bytes = (struct bucket_spec){ 10000, 1000, 100, 0 };
	limited_make(1);
	put_frame(&no_offload, other_mac, 1100);
	for (int i = 0; i < 2; i++)
		add_frame(0, 1100);
	kick(1);
	turn();
	cr_assert_eq(w.port.pairs[0].sent, 1, "more than the bucket holds");
	now += 100 * MS;
	kick(1);
	cr_assert_eq(w.port.pairs[0].sent, 1);
	now += 1 * MS;
	kick(1);
	cr_assert_eq(w.port.pairs[0].sent, 2);
	turn();
}

/* What others cut to pieces counts as those. */
Test(net_made, segments_are_packets)
{
	struct virtio_net_hdr_v1 tso = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					 .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
					 .csum_start = htole16(34),
					 .csum_offset = htole16(16),
					 .gso_size = htole16(1000) };

	w.tx_limits.ops = (struct bucket_spec){ 10, 1000, 1, 0 };
	limited_make(1);
	put_frame(&tso, other_mac, 4001);
	add_frame(0, 4001);
	add_frame(0, 4001);
	kick(1);
	turn();
	cr_assert_eq(w.port.pairs[0].sent, 1);
	now += 499 * MS;
	kick(1);
	cr_assert_eq(w.port.pairs[0].sent, 1, "five packets: a debt of four");
	now += 1 * MS;
	kick(1);
	cr_assert_eq(w.port.pairs[0].sent, 2);
	turn();
}

/* What is bad is dropped as ever, and costs nothing. */
Test(net_made, limit_and_bad_frames)
{
	w.tx_limits.ops = (struct bucket_spec){ 10, 1000, 1, 0 };
	limited_make(1);
	for (int i = 0; i < 5; i++)
		expect_dropped(&no_offload, 5);
	expect_sent(&no_offload, 60);
}

/* What is to come waits in the port; receives that are under way still bring something. */
Test(net_made, limit_of_packets_received)
{
	unsigned int delivered = 0;

	w.rx_limits.ops = (struct bucket_spec){ 10, 1000, 2, 0 };
	limited_make(1);
	give(0, 200, BUFFER);
	while (deliver(0, our_mac, HDR + 60, 0))
		delivered++;
	cr_assert_geq(delivered, 2);
	cr_assert_leq(delivered, 2 + NETPORT_RECEIVES_MAX);
	cr_assert_eq(used_idx(0), delivered);
	kick(0);
	turn();
	cr_assert_not(deliver(0, our_mac, HDR + 60, 0));
	now += 1000 * MS;
	while (!w.port.pairs[0].nreceives)
		cr_assert_eq(loop_run_once(w.loop), 0);
	cr_assert(deliver(0, our_mac, HDR + 60, 0));
	/* Sending is free. */
	for (int i = 0; i < 8; i++)
		expect_sent(&no_offload, 60);
}

Test(net_made, limit_of_bytes_received)
{
	w.rx_limits.bytes = (struct bucket_spec){ 1000, 1000, 100, 0 };
	limited_make(1);
	give(0, 1, BUFFER);
	cr_assert(deliver(0, our_mac, HDR + 1100, 0));
	add_buffer(0, 1, BUFFER);
	kick(0);
	cr_assert_eq(w.port.pairs[0].nreceives, 0);
	now += 1000 * MS;
	kick(0);
	cr_assert_eq(w.port.pairs[0].nreceives, 0, "in debt to the last byte");
	now += 1 * MS;
	kick(0);
	cr_assert_eq(w.port.pairs[0].nreceives, 1);
}

/* A reset waits for no limit, and is no way around one. */
Test(net_made, reset_of_a_limited_card)
{
	w.tx_limits.ops = (struct bucket_spec){ 10, 1000, 1, 0 };
	w.rx_limits.ops = (struct bucket_spec){ 10, 1000, 1, 0 };
	limited_make(1);
	put_frame(&no_offload, other_mac, 60);
	for (int round = 0; round < 3; round++) {
		unsigned int before = w.port.pairs[0].sent;

		for (int i = 0; i < 3; i++)
			add_frame(0, 60);
		kick(1);
		turn();
		cr_assert_eq(w.port.pairs[0].sent, before + 1);
		give(0, 20, BUFFER);
		while (deliver(0, our_mac, HDR + 60, 0))
			;
		restart(ALL);
		turn();
		add_frame(0, 60);
		kick(1);
		give(0, 20, BUFFER);
		cr_assert_eq(w.port.pairs[0].sent, before + 1);
		cr_assert_not(deliver(0, our_mac, HDR + 60, 0));
		now += 10000 * MS;
		await_sent(0, before + 2);
		while (!w.port.pairs[0].nreceives)
			cr_assert_eq(loop_run_once(w.loop), 0);
		restart(ALL);
		now += 10000 * MS;
	}
}

/* Two pairs that always have more to send get the same. */
Test(net_made, pairs_share_a_limit)
{
	w.tx_limits.ops = (struct bucket_spec){ 10, 1000, 1, 0 };
	limited_make(4);
	put_frame(&no_offload, other_mac, 60);
	for (unsigned int pair = 0; pair < 2; pair++)
		for (int i = 0; i < 20; i++)
			add_frame(pair, 60);
	kick(1);
	kick(3);
	for (unsigned int n = 1; n < 11; n++) {
		now += 100 * MS;
		while (w.port.pairs[0].sent + w.port.pairs[1].sent <= n)
			cr_assert_eq(loop_run_once(w.loop), 0);
	}
	turn();
	/* The first had what was in the bucket besides. */
	cr_assert_eq(w.port.pairs[0].sent, 6);
	cr_assert_eq(w.port.pairs[1].sent, 5);
}
