// SPDX-License-Identifier: Apache-2.0
/* virtio-net by a driver that keeps to the rules, over a tap: frames both ways, offloads, queues.
 */
#include "lib/net.h"

#define OFFLOADS                                                              \
	(FEATURE(VIRTIO_NET_F_CSUM) | FEATURE(VIRTIO_NET_F_GUEST_CSUM) |      \
	 FEATURE(VIRTIO_NET_F_HOST_TSO4) | FEATURE(VIRTIO_NET_F_GUEST_TSO4) | \
	 FEATURE(VIRTIO_NET_F_HOST_TSO6) | FEATURE(VIRTIO_NET_F_GUEST_TSO6) | \
	 FEATURE(VIRTIO_NET_F_HOST_ECN) | FEATURE(VIRTIO_NET_F_GUEST_ECN))
#define PLAIN                                                           \
	(FEATURE(VIRTIO_NET_F_MAC) | FEATURE(VIRTIO_NET_F_MRG_RXBUF) |  \
	 FEATURE(VIRTIO_NET_F_STATUS) | FEATURE(VIRTIO_NET_F_CTRL_VQ) | \
	 FEATURE(VIRTIO_NET_F_CTRL_RX) | FEATURE(VIRTIO_NET_F_CTRL_MAC_ADDR))
#define CONFIG(off) (net.dev.base + VIRTIO_MMIO_CONFIG + (off))

static struct net net;

static void check_config(void)
{
	bool mac = true;

	for (unsigned int i = 0; i < 6; i++)
		mac &= read8(CONFIG(i)) == net_mac[i];
	expect("config.mac", mac, "another address");
	expect_eq("config.status", read16(CONFIG(6)), VIRTIO_NET_S_LINK_UP);
	expect_eq("config.pairs", read16(CONFIG(8)), 4);
	expect_eq("config.mtu", read16(CONFIG(10)), 1500);
	expect_eq("config.features",
		  net.dev.offered &
			  (PLAIN | OFFLOADS | FEATURE(VIRTIO_NET_F_MQ) | FEATURE(VIRTIO_NET_F_MTU)),
		  PLAIN | OFFLOADS | FEATURE(VIRTIO_NET_F_MQ) | FEATURE(VIRTIO_NET_F_MTU));
}

static void start(const char *name, uint64_t features, unsigned int pairs)
{
	if (!net_start(&net, features, pairs))
		fail(name, "the device refuses its driver");
}

static void check_echo(const char *name)
{
	static const uint32_t lens[] = { 60, 61, 1514, 2036, 2037, 4000, PEER_MTU };

	for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++) {
		if (!net_echo(&net, 0, lens[i])) {
			fail(name, "%u bytes do not come back", lens[i]);
			return;
		}
	}
	ok(name);
}

/* A frame longer than the buffers that are there waits for more of them. */
static void check_spill(void)
{
	if (!vdev_begin(&net.dev, PLAIN) || !vq_init(&net.rx[0], &net.dev, 0, NET_RING) ||
	    !vq_init(&net.tx[0], &net.dev, 1, NET_RING))
		fail("spill", "the device refuses its driver");
	vdev_go(&net.dev);
	net_give(&net, 0, 0, 500);
	net_frame(&net, PEER_ECHO, 3000);
	net_send(&net, 0, NULL, 3000);
	for (int i = 0; i < 200; i++)
		relax();
	bool early = net.rx[0].used->idx;

	net_give(&net, 0, 1, 500);
	net_give(&net, 0, 2, 2048);
	expect("spill",
	       !early && net_receive(&net, 0) == 3000 &&
		       !memcmp(net.in + NET_HDR + 22, (uint8_t *)(net.out + 1) + 22, 2978),
	       "not the bytes that were sent");
}

/* More frames than buffers: they wait, in order, and none is lost. */
static void check_slow_driver(void)
{
	start("slow", PLAIN, 1);
	struct peer_frame *f = net_frame(&net, PEER_FLOOD, 60);

	f->count = 300;
	f->len = 1500;
	net_send(&net, 0, NULL, 60);
	/* All buffers are full by then. */
	expect("slow.full", vq_wait(&net.rx[0], NET_RING), "not all buffers are used");
	for (int i = 0; i < 2000; i++)
		relax();
	for (uint32_t i = 0; i < 300; i++) {
		uint32_t len = net_receive(&net, 0);

		f = (struct peer_frame *)(net.in + NET_HDR);
		if (len != 1500 || f->number != i || f->op != PEER_DATA) {
			fail("slow.order", "frame %u has %u bytes and is number %u", i, len,
			     f->number);
			return;
		}
	}
	ok("slow.order");
}

static void check_offloads(void)
{
	const struct virtio_net_hdr_v1 csum = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
						.csum_start = PEER_CSUM_START,
						.csum_offset = PEER_CSUM - PEER_CSUM_START };
	const struct virtio_net_hdr_v1 *hdr = (struct virtio_net_hdr_v1 *)net.in;
	const struct peer_frame *f = (struct peer_frame *)(net.in + NET_HDR);

	for (int on = 0; on < 2; on++) {
		start("offloads", PLAIN | (on ? OFFLOADS : 0), 1);
		/* What the host's side got to see. */
		net_frame(&net, PEER_ECHO, 100);
		net_send(&net, 0, on ? &csum : NULL, 100);
		expect(on ? "offloads.sent" : "no-offloads.sent",
		       net_receive(&net, 0) == 100 &&
			       f->flags == (on ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0),
		       "other flags");
		net_frame(&net, PEER_LEAVE, 100);
		net_send(&net, 0, NULL, 100);
		expect(on ? "offloads.received" : "no-offloads.received",
		       net_receive(&net, 0) == 100 && hdr->flags == csum.flags * on &&
			       (!on || hdr->csum_start == PEER_CSUM_START),
		       "other flags");
	}
	/* Asked for, but not negotiated: dropped. The next one is not. */
	start("offloads.refused", PLAIN, 1);
	net_frame(&net, PEER_ECHO, 100);
	expect("offloads.refused", net_send(&net, 0, &csum, 100) && net_echo(&net, 0, 60),
	       "the queue is stuck");
}

static void check_filter(void)
{
	uint8_t on = 1;
	struct peer_frame *f;

	start("filter", PLAIN, 1);
	for (int promisc = 0; promisc < 2; promisc++) {
		if (promisc)
			expect_eq("filter.command",
				  net_command(&net, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC,
					      &on, 1),
				  VIRTIO_NET_OK);
		/* The answer goes to somebody else; what comes after it to us. */
		f = net_frame(&net, PEER_ECHO, 77);
		f->src[5] = 99;
		net_send(&net, 0, NULL, 77);
		net_frame(&net, PEER_ECHO, 78);
		net_send(&net, 0, NULL, 78);
		expect_eq(promisc ? "filter.promiscuous" : "filter.others", net_receive(&net, 0),
			  promisc ? 77 : 78);
	}
}

/* What is sent by a pair comes back by one of those in use. */
static void check_pairs(void)
{
	uint16_t pairs = 4;
	uint32_t back = 0;

	start("pairs", PLAIN | FEATURE(VIRTIO_NET_F_MQ), 4);
	expect_eq("pairs.set",
		  net_command(&net, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs, 2),
		  VIRTIO_NET_OK);
	for (unsigned int i = 0; i < 4; i++) {
		net_frame(&net, PEER_ECHO, 100 + i);
		if (!net_send(&net, i, NULL, 100 + i))
			fail("pairs.send", "pair %u", i);
	}
	for (unsigned int look = 0; look < PATIENCE && back < 4; look++) {
		for (unsigned int i = 0; i < 4; i++)
			if (net.rx[i].used->idx != net.rx[i].used_idx && net_receive(&net, i))
				back++;
		relax();
	}
	expect_eq("pairs.back", back, 4);
	pairs = 1;
	expect_eq("pairs.one",
		  net_command(&net, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs, 2),
		  VIRTIO_NET_OK);
	check_echo("pairs.one-echo");
}

/* The host deletes the tap under us. */
static void check_lost(void)
{
	start("lost", PLAIN, 1);
	net_frame(&net, PEER_DELETE, 60);
	net_send(&net, 0, NULL, 60);
	for (unsigned int i = 0; i < PATIENCE && read16(CONFIG(6)); i++)
		relax();
	expect_eq("lost.status", read16(CONFIG(6)), 0);
	expect("lost.interrupt",
	       reg_read(&net.dev, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG,
	       "no interrupt says so");
	/* What is sent is swallowed. */
	expect("lost.send", net_send(&net, 0, NULL, 60) && net_send(&net, 0, NULL, 60),
	       "the queue is stuck");
	start("lost.restart", PLAIN, 1);
	expect_eq("lost.for-good", read16(CONFIG(6)), 0);
}

void payload_main(void)
{
	if (!net_find(&net)) {
		fail("devices", "no network card");
		return;
	}
	check_config();
	start("start", PLAIN, 1);
	check_echo("echo");
	start("start.offloads", PLAIN | OFFLOADS, 1);
	check_echo("echo.offloads");
	start("start.event-index", PLAIN | F_EVENT_IDX | F_INDIRECT, 1);
	check_echo("echo.event-index");
	check_spill();
	check_slow_driver();
	check_offloads();
	check_filter();
	check_pairs();
	check_lost();
}
