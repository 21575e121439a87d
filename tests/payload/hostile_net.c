// SPDX-License-Identifier: Apache-2.0
/* Attacks that only a network card is open to: its three kinds of queues, and floods. */
#include "lib/target.h"

static struct net *n = &target_net;
static struct target *card = &targets[TARGET_NET];
static uint8_t page[4096] __attribute__((aligned(4096)));

#define MERGE FEATURE(VIRTIO_NET_F_MRG_RXBUF)
#define CTRL  (FEATURE(VIRTIO_NET_F_CTRL_VQ) | FEATURE(VIRTIO_NET_F_CTRL_RX))

static void require(const char *otherwise, bool good)
{
	if (!good)
		fail("net", "%s", otherwise);
}

/* Bring it up with empty queues: no buffers. */
static bool start_empty(uint64_t features, uint16_t size)
{
	if (!vdev_begin(&n->dev, features) || !vq_init(&n->rx[0], &n->dev, 0, size) ||
	    !vq_init(&n->tx[0], &n->dev, 1, size) || !vq_init(&n->control, &n->dev, 2, size))
		return false;
	vdev_go(&n->dev);
	return true;
}

/* ---- shapes ---- */

static void no_header(void)
{
	vq_post(&n->tx[0], page, NET_HDR - 1, 0);
}

static void writable_frame(void)
{
	vq_post(&n->tx[0], page, 100, VRING_DESC_F_WRITE);
}

static void short_buffer(void)
{
	start_empty(MERGE, 8);
	vq_post(&n->rx[0], page, NET_HDR - 1, VRING_DESC_F_WRITE);
}

static void readable_buffer(void)
{
	start_empty(MERGE, 8);
	vq_post(&n->rx[0], page, 2048, 0);
}

static void buffer_past_ram(void)
{
	start_empty(MERGE, 8);
	vq_post(&n->rx[0], (void *)(uintptr_t)(low_ram_end() - 8), 2048, VRING_DESC_F_WRITE);
}

static void buffer_loops(void)
{
	start_empty(MERGE, 8);
	vq_post(&n->rx[0], page, 64, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT);
}

static void no_answer(void)
{
	vq_post(&n->control, page, 3, 0);
}

static void no_room_for_an_answer(void)
{
	vq_desc(&n->control, 0, page, 3, VRING_DESC_F_NEXT, 1);
	vq_desc(&n->control, 1, page, 0, VRING_DESC_F_WRITE, 0);
	vq_submit(&n->control, 0);
}

static void bad_control_head(void)
{
	vq_submit(&n->control, 0xfff0);
}

static void attack_shapes(void)
{
	static const struct attack attacks[] = {
		{ "no-header", no_header, BREAKS },
		{ "writable-frame", writable_frame, BREAKS },
		{ "short-buffer", short_buffer, BREAKS },
		{ "readable-buffer", readable_buffer, BREAKS },
		{ "buffer-past-ram", buffer_past_ram, BREAKS },
		{ "buffer-loops", buffer_loops, BREAKS },
		{ "no-answer", no_answer, BREAKS },
		{ "no-room-for-an-answer", no_room_for_an_answer, BREAKS },
		{ "bad-control-head", bad_control_head, BREAKS },
	};

	attack_all(card, attacks, ARRAY_SIZE(attacks), CTRL);
}

/* Headers that say anything but the truth: dropped, and the queue goes on. */
static void attack_headers(void)
{
	static const struct virtio_net_hdr_v1 headers[] = {
		{ .flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff },
		{ .flags = 1, .csum_start = 99, .csum_offset = 2 },
		{ .flags = 0xff, .gso_type = 0xff, .hdr_len = 0xffff, .gso_size = 0xffff },
		{ .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 },
		{ .gso_type = VIRTIO_NET_HDR_GSO_TCPV6, .gso_size = 1 },
		{ .gso_type = VIRTIO_NET_HDR_GSO_UDP, .gso_size = 1 },
		{ .gso_type = VIRTIO_NET_HDR_GSO_ECN },
		{ .hdr_len = 101 },
	};
	uint64_t offered =
		n->dev.offered & (FEATURE(VIRTIO_NET_F_CSUM) | FEATURE(VIRTIO_NET_F_HOST_TSO4) |
				  FEATURE(VIRTIO_NET_F_HOST_TSO6));

	for (int all = 0; all < 2; all++) {
		const char *name = all ? "headers-negotiated" : "headers";

		if (!attack_begin(card, name, all ? offered : 0))
			return;
		for (unsigned int i = 0; i < ARRAY_SIZE(headers); i++) {
			net_frame(n, PEER_DATA, 100);
			require("a bad header is not taken", net_send(n, 0, &headers[i], 100));
		}
		for (uint32_t len = 0; len < 14; len++)
			require("a short frame is not taken", net_send(n, 0, NULL, len));
		/* Nearly all the memory that there is. */
		require("a huge frame is not taken", net_send(n, 0, NULL, 16u << 20));
		attack_end(card, name, HARMLESS);
	}
}

/* ---- the control queue ---- */

static void attack_control(void)
{
	static const uint32_t counts[] = { 1, 2, 300, 0x2aaaaaab, 0x80000000, 0xffffffff };
	uint32_t table[2];
	uint16_t pairs[] = { 0, 5, 0x8000, 0xffff };

	if (!attack_begin(card, "control", CTRL))
		return;
	for (unsigned int i = 0; i < ARRAY_SIZE(counts); i++) {
		table[0] = counts[i];
		table[1] = counts[i];
		require("a table that lies is taken",
			net_command(n, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table,
				    8) == VIRTIO_NET_ERR);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(pairs); i++)
		require("pairs that are not there are taken",
			net_command(n, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
				    &pairs[i], 2) == VIRTIO_NET_ERR);
	for (unsigned int class = 2; class < 256; class += 7)
		require("a command that there is none of is taken",
			net_command(n, (uint8_t) class, 77, page, 16) == VIRTIO_NET_ERR);
	require("nothing is taken for a command",
		net_command(n, VIRTIO_NET_CTRL_RX, 0, NULL, 0) == VIRTIO_NET_ERR);
	attack_end(card, "control", HARMLESS);

	/* A table of all the memory there is, again and again. */
	if (!attack_begin(card, "control-huge", CTRL))
		return;
	n->command[0] = VIRTIO_NET_CTRL_MAC;
	n->command[1] = VIRTIO_NET_CTRL_MAC_TABLE_SET;
	*(volatile uint32_t *)(void *)(n->command + 2) = 50u * (30u << 20) / 6;
	vq_desc(&n->control, 0, n->command, 6, VRING_DESC_F_NEXT, 1);
	for (uint16_t i = 1; i < 60; i++)
		vq_desc(&n->control, i, (void *)(uintptr_t)(32u << 20), 30u << 20,
			VRING_DESC_F_NEXT, (uint16_t)(i + 1));
	vq_desc(&n->control, 60, n->command + 4095, 1, VRING_DESC_F_WRITE, 0);
	for (int i = 0; i < 10; i++) {
		vq_submit(&n->control, 0);
		require("no answer", vq_wait(&n->control, 1));
		vq_take(&n->control);
	}
	attack_end(card, "control-huge", HARMLESS);
}

/* Pairs come and go as fast as can be, with receives in flight in all of them. */
static void attack_pairs(void)
{
	uint16_t pairs;

	if (!(n->dev.offered & FEATURE(VIRTIO_NET_F_MQ))) {
		skip("net.pairs", "the card has one pair");
		return;
	}
	require("the device refuses its driver",
		net_start(n, MERGE | CTRL | FEATURE(VIRTIO_NET_F_MQ), 4));
	for (int i = 0; i < 60; i++) {
		pairs = (uint16_t)(i % 4 + 1);
		require("pairs are refused",
			net_command(n, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs,
				    2) == VIRTIO_NET_OK);
	}
	pairs = 1;
	net_command(n, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs, 2);
	attack_end(card, "pairs", HARMLESS);

	/* Without MQ, the bells of queues that are nobody's. */
	vdev_begin(&n->dev, MERGE);
	for (uint16_t i = 0; i < 9; i++)
		vq_init(&n->rx[i % 4], &n->dev, i, 8);
	vdev_go(&n->dev);
	for (uint32_t i = 0; i < 9; i++)
		reg_write(&n->dev, VIRTIO_MMIO_QUEUE_NOTIFY, i);
	attack_end(card, "bells", ANYTHING);
}

/* ---- memory that changes while the device works with it ---- */

enum job { NOTHING, HEADERS, DESCRIPTORS, RECEIVE };

static volatile enum job job;
static volatile uint32_t rounds;

static void ap_main(void)
{
	for (uint32_t i = 0;; i++) {
		volatile struct virtio_net_hdr_v1 *h = n->out;
		volatile struct vring_desc *d = &n->tx[0].desc[1];

		switch (job) {
		case HEADERS:
			h->flags = (uint8_t)(i & 1);
			h->csum_start = (uint16_t)(i & 2 ? 0xffff : 34);
			h->gso_type = (uint8_t)(i & 4 ? 1 : 0);
			h->gso_size = (uint16_t)(i & 8 ? 0 : 1000);
			h->hdr_len = (uint16_t)(i & 16 ? 0xffff : 54);
			break;
		case DESCRIPTORS:
			d->len = i % 3 ? 100 : 0xffffffff;
			d->addr = i % 5 ? (uintptr_t)page : ~0ull;
			d->flags = i % 7 ? 0 : VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT;
			break;
		case RECEIVE:
			/* Frames as they come in: their lengths and addresses, before we look. */
			memset(n->buffers + i % NET_RING * NET_BUFFER, (int)i, 32);
			n->rx[0].desc[i % NET_RING].len = i;
			break;
		default:
			relax();
		}
		rounds++;
	}
}

static void ap_do(enum job what)
{
	uint32_t before = rounds;

	job = what;
	while (rounds - before < 3)
		relax();
}

static void flood(uint16_t count, uint16_t len)
{
	struct peer_frame *f = net_frame(n, PEER_FLOOD, 60);

	f->count = count;
	f->len = len;
	require("the request for a flood is not taken", net_send(n, 0, NULL, 60));
}

static void attack_changes(void)
{
	uint64_t offered =
		n->dev.offered & (FEATURE(VIRTIO_NET_F_CSUM) | FEATURE(VIRTIO_NET_F_HOST_TSO4));

	if (attack_begin(card, "header-changes", offered)) {
		ap_do(HEADERS);
		for (int i = 0; i < 200; i++) {
			net_frame(n, PEER_DATA, 100);
			require("a frame is not taken", net_send(n, 0, NULL, 100));
		}
		ap_do(NOTHING);
		attack_end(card, "header-changes", HARMLESS);
	}
	if (attack_begin(card, "descriptor-changes", F_INDIRECT)) {
		ap_do(DESCRIPTORS);
		for (int i = 0; i < 100; i++) {
			net_frame(n, PEER_DATA, 100);
			vq_desc(&n->tx[0], 0, n->out, NET_HDR, VRING_DESC_F_NEXT, 1);
			vq_submit(&n->tx[0], 0);
			for (int k = 0; k < 3; k++)
				relax();
			if (vdev_status(&n->dev) & VIRTIO_CONFIG_S_NEEDS_RESET)
				card->start(F_INDIRECT);
		}
		ap_do(NOTHING);
		attack_end(card, "descriptor-changes", ANYTHING);
	}
	if (attack_begin(card, "receive-changes", 0)) {
		flood(200, 1000);
		ap_do(RECEIVE);
		for (int i = 0; i < 300; i++) {
			for (uint16_t k = 0; k < 4; k++)
				vq_put(&n->rx[0], (uint16_t)((4 * i + k) % NET_RING));
			vq_publish(&n->rx[0]);
			vq_kick(&n->rx[0]);
		}
		ap_do(NOTHING);
		attack_end(card, "receive-changes", ANYTHING);
	}
}

/* ---- floods ---- */

/* A ring full of buffers with hardly room for a header, and frames of 9000 bytes. */
static void attack_crumbs(void)
{
	if (!start_empty(MERGE, 256))
		return;
	for (uint16_t i = 0; i < 256; i++) {
		vq_desc(&n->rx[0], i, page + i % 16 * NET_HDR, NET_HDR, VRING_DESC_F_WRITE, 0);
		vq_put(&n->rx[0], i);
	}
	vq_publish(&n->rx[0]);
	vq_kick(&n->rx[0]);
	flood(50, 9000);
	for (int i = 0; i < 500; i++)
		relax();
	attack_end(card, "crumbs", ANYTHING);
}

/* Far more than anybody takes, and no buffer; then each buffer gets its frame. */
static void attack_no_buffers(void)
{
	if (!start_empty(MERGE, NET_RING))
		return;
	flood(400, 100);
	for (int i = 0; i < 500; i++)
		relax();
	require("frames came into no buffers", !n->rx[0].used->idx);
	for (uint16_t i = 0; i < NET_RING; i++)
		net_give(n, 0, i, NET_BUFFER);
	require("frames do not wait for buffers", vq_wait(&n->rx[0], NET_RING));
	ok("net.no-buffers");
}

/* Once a reset has returned, memory is the driver's alone. */
static void attack_reset(void)
{
	const char *wrong = NULL;

	for (unsigned int round = 0; round < 10 && !wrong; round++) {
		uint8_t mark = (uint8_t)(0x50 + round);

		if (!net_start(n, MERGE, 1)) {
			wrong = "the device cannot be started";
			break;
		}
		flood(40, 1500);
		for (unsigned int i = 0; i < round; i++)
			relax();
		vdev_reset(&n->dev);
		uint16_t used = n->rx[0].used->idx;

		for (uint32_t i = 0; i < NET_RING; i++)
			memset(n->buffers + i * NET_BUFFER, mark, 64);
		require("another device does not work any more", targets[TARGET_RNG].works());
		for (int i = 0; i < 30; i++)
			relax();
		for (uint32_t i = 0; i < NET_RING; i++)
			if (n->buffers[i * NET_BUFFER] != mark ||
			    n->buffers[i * NET_BUFFER + 63] != mark)
				wrong = "memory was written after the reset had returned";
		if (n->rx[0].used->idx != used)
			wrong = "the used ring went on after the reset had returned";
	}
	if (wrong)
		fail("net.reset-under-flood", "%s", wrong);
	else
		ok("net.reset-under-flood");
}

/* Take what floods have left behind, unseen. */
static void drain(void)
{
	struct vq *q = &n->rx[0];

	net_start(n, MERGE, 1);
	for (int quiet = 0; quiet < 100; quiet++) {
		for (; q->used->idx != q->used_idx; quiet = 0)
			vq_put(q, (uint16_t)vq_take(q).id);
		vq_publish(q);
		vq_kick(q);
		relax();
	}
}

void payload_main(void)
{
	if (!targets_init())
		return;
	ap_start(ap_main);
	attack_shapes();
	attack_headers();
	attack_control();
	attack_pairs();
	attack_changes();
	drain();
	attack_crumbs();
	drain();
	attack_no_buffers();
	drain();
	attack_reset();
	drain();
	if (attack_begin(card, "after-all", 0))
		attack_end(card, "after-all", HARMLESS);
	/* The machine ends with frames on their way, too. */
	net_start(n, MERGE, 1);
	flood(500, 1500);
}
