// SPDX-License-Identifier: Apache-2.0
/* Attacks on vsock: packets that lie, and connections without end. */
#include "lib/target.h"

#define CONNS_MAX 256 /* that the device holds */

static struct vsock *v = &target_vsock;
static struct target *vsock = &targets[TARGET_VSOCK];

static void require(const char *otherwise, bool good)
{
	if (!good)
		fail("vsock", "%s", otherwise);
}

/* ---- packets ---- */

static void short_header(void)
{
	vsock_header(v, VIRTIO_VSOCK_OP_RW, 1, 0);
	vsock_post(v, sizeof(*v->tx) - 1);
}

static void no_header(void)
{
	vsock_post(v, 0);
}

static void writable_packet(void)
{
	vq_post(&v->q[VSOCK_TX], v->tx, 64, VRING_DESC_F_WRITE);
}

/* Something is to be said, and there is not even room for a header. */
static void short_receive_buffer(void)
{
	vsock_start(v, 0);
	vq_post(&v->q[VSOCK_RX], v->rx, 10, VRING_DESC_F_WRITE);
	vsock_header(v, VIRTIO_VSOCK_OP_RW, 1, 0);
	vsock_post(v, sizeof(*v->tx));
}

static void readable_receive_buffer(void)
{
	vsock_start(v, 0);
	vq_post(&v->q[VSOCK_RX], v->rx, 4096, 0);
	vsock_header(v, VIRTIO_VSOCK_OP_RW, 1, 0);
	vsock_post(v, sizeof(*v->tx));
}

static void receive_buffer_past_ram(void)
{
	vsock_start(v, 0);
	vq_post(&v->q[VSOCK_RX], (void *)(uintptr_t)low_ram_end(), 4096, VRING_DESC_F_WRITE);
	vsock_header(v, VIRTIO_VSOCK_OP_RW, 1, 0);
	vsock_post(v, sizeof(*v->tx));
}

static bool connect(uint32_t conn)
{
	return vsock_send(v, VIRTIO_VSOCK_OP_REQUEST, conn, 0) &&
	       vsock_expect(v, VIRTIO_VSOCK_OP_RESPONSE, conn);
}

static void lying_length(void)
{
	require("no connection", connect(1));
	vsock_header(v, VIRTIO_VSOCK_OP_RW, 1, 0xffffffff);
	require("not taken", vsock_send_raw(v, sizeof(*v->tx) + 8));
	require("a lying length is not the end of the connection",
		vsock_expect(v, VIRTIO_VSOCK_OP_RST, 1));
}

/* From who we are not: no answer, which would go to another guest. */
static void forged_source(void)
{
	vsock_header(v, VIRTIO_VSOCK_OP_REQUEST, 1, 0);
	v->tx->src_cid = 4;
	vsock_send_raw(v, sizeof(*v->tx));
	v->tx->src_cid = VSOCK_HOST;
	vsock_send_raw(v, sizeof(*v->tx));
	v->tx->src_cid = 1ull << 32 | VSOCK_GUEST;
	vsock_send_raw(v, sizeof(*v->tx));
}

static void odd_packets(void)
{
	static const uint16_t ops[] = { VIRTIO_VSOCK_OP_INVALID,
					VIRTIO_VSOCK_OP_RESPONSE,
					VIRTIO_VSOCK_OP_SHUTDOWN,
					VIRTIO_VSOCK_OP_CREDIT_UPDATE,
					VIRTIO_VSOCK_OP_CREDIT_REQUEST,
					8,
					0xffff };

	for (unsigned int i = 0; i < ARRAY_SIZE(ops); i++) {
		vsock_send(v, ops[i], 2, 0);
		require("a packet for no connection is not refused",
			vsock_expect(v, VIRTIO_VSOCK_OP_RST, 2));
	}
	/* An answer to a refusal could go on for ever. */
	vsock_send(v, VIRTIO_VSOCK_OP_RST, 2, 0);
	vsock_header(v, VIRTIO_VSOCK_OP_REQUEST, 3, 0);
	v->tx->type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	vsock_send_raw(v, sizeof(*v->tx));
	require("a type that is not offered is not refused",
		vsock_expect(v, VIRTIO_VSOCK_OP_RST, 3));
	vsock_header(v, VIRTIO_VSOCK_OP_REQUEST, 4, 0);
	v->tx->dst_cid = 99;
	vsock_send_raw(v, sizeof(*v->tx));
	require("a CID that nobody has is not refused", vsock_expect(v, VIRTIO_VSOCK_OP_RST, 4));
	/* The same connection twice. */
	require("no connection", connect(5));
	vsock_send(v, VIRTIO_VSOCK_OP_REQUEST, 5, 0);
	require("a second request is not the end of the connection",
		vsock_expect(v, VIRTIO_VSOCK_OP_RST, 5));
}

/* Counters that cannot be true. */
static void lying_credit(void)
{
	require("no connection", connect(6));
	vsock_header(v, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 6, 0);
	v->tx->buf_alloc = 0xffffffff;
	v->tx->fwd_cnt = 0xffffffff;
	vsock_send_raw(v, sizeof(*v->tx));
	v->tx->buf_alloc = 0;
	v->tx->fwd_cnt = 0x80000000;
	vsock_send_raw(v, sizeof(*v->tx));
	vsock_send(v, VIRTIO_VSOCK_OP_RST, 6, 0);
}

/* More than the credit that we were given, to a host that does not read. */
static void credit_overrun(void)
{
	bool reset = false;

	require("no connection", connect(7));
	/* The host's socket takes some of it before the ring is full. */
	for (int i = 0; i < 64 && !reset; i++) {
		vsock_send(v, VIRTIO_VSOCK_OP_RW, 7, VSOCK_BUF);
		for (int k = 0; k < 20; k++)
			relax();
		while (v->q[VSOCK_RX].used->idx != v->q[VSOCK_RX].used_idx) {
			const struct virtio_vsock_hdr *h = vsock_receive(v);

			reset |= h && h->op == VIRTIO_VSOCK_OP_RST;
		}
	}
	require("credit does not bound what we may send", reset);
}

/* As many connections as we like; the host holds so many, and refuses the others. */
static void connections(void)
{
	unsigned int accepted = 0, refused = 0;

	for (uint32_t i = 0; i < CONNS_MAX + 16; i++) {
		vsock_send(v, VIRTIO_VSOCK_OP_REQUEST, 100 + i, 0);
		const struct virtio_vsock_hdr *h = vsock_receive(v);

		if (h && h->op == VIRTIO_VSOCK_OP_RESPONSE)
			accepted++;
		else if (h && h->op == VIRTIO_VSOCK_OP_RST)
			refused++;
	}
	require("not as many connections as the device holds", accepted == CONNS_MAX);
	require("connections without bound", refused == 16);
	/* They are free for others again. */
	for (uint32_t i = 0; i < CONNS_MAX; i++)
		vsock_send(v, VIRTIO_VSOCK_OP_RST, 100 + i, 0);
	require("no connection after that", connect(8));
	vsock_send(v, VIRTIO_VSOCK_OP_RST, 8, 0);
}

/* No receive buffers, and more to refuse than the device can remember: it waits, then goes on. */
static void receive_stall(void)
{
	struct vq *tx = &v->q[VSOCK_TX];
	unsigned int sent = 0, answered = 0;

	vsock_start(v, 0);
	vsock_header(v, VIRTIO_VSOCK_OP_RW, 9, 0);
	for (uint16_t i = 0; i < VSOCK_SIZE; i++)
		vq_desc(tx, i, v->tx, sizeof(*v->tx), 0, 0);
	for (int round = 0; round < 8; round++) {
		uint16_t pending = (uint16_t)(tx->avail_idx - tx->used->idx);

		for (uint16_t i = pending; i < VSOCK_SIZE; i++, sent++)
			vq_put(tx, i);
		vq_publish(tx);
		vq_kick(tx);
		for (int k = 0; k < 100; k++)
			relax();
	}
	for (uint16_t i = 0; i < VSOCK_SIZE; i++)
		vsock_give(v, i);
	while (answered < sent && vsock_expect(v, VIRTIO_VSOCK_OP_RST, 9))
		answered++;
	if (answered != sent)
		fail("vsock", "%u of %u answers after a stall", answered, sent);
	tx->used_idx = tx->used->idx;
}

/* A reset takes the connections along. */
static void reset_connected(void)
{
	for (uint32_t i = 0; i < 8; i++) {
		require("no connection", connect(10 + i));
		vsock_send(v, VIRTIO_VSOCK_OP_RW, 10 + i, 4096);
	}
	vsock->start(0);
	for (uint32_t i = 0; i < 8; i++) {
		vsock_send(v, VIRTIO_VSOCK_OP_RW, 10 + i, 0);
		require("a connection outlives a reset",
			vsock_expect(v, VIRTIO_VSOCK_OP_RST, 10 + i));
	}
}

/* ---- memory that changes while the device works with it ---- */

enum job { NOTHING, HEADER, DESCRIPTOR };

static volatile enum job job;
static volatile uint32_t rounds;

static void ap_main(void)
{
	volatile struct virtio_vsock_hdr *h = v->tx;
	volatile struct vring_desc *d;

	for (uint32_t i = 0;; i++) {
		switch (job) {
		case HEADER:
			h->op = (uint16_t)(i % 9);
			h->len = i % 3 ? 64 : 0xffffffff;
			h->src_cid = i % 5 ? VSOCK_GUEST : i;
			h->src_port = VSOCK_PORT + i % 16;
			h->type = i % 7 ? VIRTIO_VSOCK_TYPE_STREAM : (uint16_t)i;
			h->buf_alloc = i % 2 ? VSOCK_BUF : 0;
			h->fwd_cnt = i;
			break;
		case DESCRIPTOR:
			d = v->q[VSOCK_TX].desc;
			d->len = i % 3 ? sizeof(*v->tx) + 64 : i;
			d->addr = i % 5 ? (uintptr_t)v->tx : ~0ull;
			d->flags = i % 7 ? 0 : VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT;
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

static void take_answers(void)
{
	while (v->q[VSOCK_RX].used->idx != v->q[VSOCK_RX].used_idx)
		vsock_receive(v);
}

/* Whatever the device takes the packet for, it is one that it refuses or deals with. */
static void header_changes(void)
{
	ap_do(HEADER);
	for (int i = 0; i < 200; i++) {
		vsock_header(v, VIRTIO_VSOCK_OP_RW, 1, 64);
		require("a packet is not taken", vsock_send_raw(v, sizeof(*v->tx) + 64));
		take_answers();
	}
	ap_do(NOTHING);
	require("the device asks for a reset",
		!(vdev_status(&v->dev) & VIRTIO_CONFIG_S_NEEDS_RESET));
	vsock->start(0);
}

static void descriptor_changes(void)
{
	vsock->start(F_INDIRECT);
	ap_do(DESCRIPTOR);
	for (int i = 0; i < 100; i++) {
		vsock_header(v, VIRTIO_VSOCK_OP_RW, 1, 64);
		vsock_post(v, sizeof(*v->tx) + 64);
		for (int k = 0; k < 3; k++)
			relax();
		if (vdev_status(&v->dev) & VIRTIO_CONFIG_S_NEEDS_RESET)
			vsock->start(F_INDIRECT);
	}
	ap_do(NOTHING);
}

static const struct attack attacks[] = {
	{ "short-header", short_header, BREAKS },
	{ "no-header", no_header, BREAKS },
	{ "writable-packet", writable_packet, BREAKS },
	{ "short-receive-buffer", short_receive_buffer, BREAKS },
	{ "readable-receive-buffer", readable_receive_buffer, BREAKS },
	{ "receive-buffer-past-ram", receive_buffer_past_ram, BREAKS },
	{ "lying-length", lying_length, HARMLESS },
	{ "forged-source", forged_source, HARMLESS },
	{ "odd-packets", odd_packets, HARMLESS },
	{ "lying-credit", lying_credit, HARMLESS },
	{ "credit-overrun", credit_overrun, HARMLESS },
	{ "connections", connections, HARMLESS },
	{ "receive-stall", receive_stall, HARMLESS },
	{ "reset-connected", reset_connected, HARMLESS },
	{ "header-changes", header_changes, HARMLESS },
	{ "descriptor-changes", descriptor_changes, ANYTHING },
};

void payload_main(void)
{
	if (!targets_init())
		return;
	ap_start(ap_main);
	attack_all(vsock, attacks, ARRAY_SIZE(attacks), 0);
}
