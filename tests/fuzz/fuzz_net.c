// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-net against a guest that does anything: the input is a program of the steps below, run
 * against the real device over a port that does what it is told to. What must hold: the port is
 * only asked for what it promised, and gets no header that was not negotiated (fake_port.h checks,
 * and so does on_send()); what the driver gets are whole frames of the port's; a fault is the
 * guest's only where the program made one, and a reset always completes, writes nothing into the
 * guest, and leaves a device that works.
 */
#include "device/net.h"

#include <linux/virtio_net.h>

#include "../unit/fake_port.h"
#include "input.h"

#define RING      64
#define PAIRS     3
#define QUEUES    (2 * PAIRS + 1)
#define HDR       NETPORT_HEADER
#define STEPS_MAX 1000

enum step {
	STEP_SEND,
	STEP_BUFFERS,
	STEP_FRAME,
	STEP_BURST,
	STEP_COMMAND,
	STEP_KICK,
	STEP_TURN,
	STEP_HOLD,
	STEP_RELEASE,
	STEP_RESULT,
	STEP_RESET,
	STEP_OFFER,
	STEP_ODD_CHAIN,
	STEP_LINK,
	STEP_CHANGE,
	STEP_COUNT,
};

static struct {
	struct loop *loop;
	struct guest_mem mem;
	struct fake_port port;
	struct virtio_device *dev;
	struct guest_transport transport;
	struct guest_clock clock;
	struct guest_queue gq[QUEUES];
	uint64_t tables;
	uint64_t buffers[PAIRS]; /* RING of 8 KiB each */
	uint64_t scratch;
	bool may_break; /* and what is in the rings says nothing to check */
} w;

static uint8_t frame[FAKE_FRAME_ROOM + 4096];

static bool negotiated(unsigned int bit)
{
	return w.dev->features & 1ull << bit;
}

static unsigned int control_queue(void)
{
	return negotiated(VIRTIO_NET_F_MQ) ? QUEUES - 1 : 2;
}

/* No matter what the guest wrote, and when. */
static void on_send(void)
{
	struct virtio_net_hdr_v1 hdr;
	size_t len = w.port.last_len - HDR;

	memcpy(&hdr, w.port.last, HDR);
	guest_require(len <= NETPORT_FRAME_MAX);
	guest_require(!hdr.num_buffers && hdr.hdr_len <= len);
	guest_require(!(hdr.flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM));
	if (hdr.flags)
		guest_require(negotiated(VIRTIO_NET_F_CSUM) &&
			      (size_t)hdr.csum_start + hdr.csum_offset + 2 <= len);
	if (hdr.gso_type)
		guest_require(hdr.flags && hdr.gso_size);
	switch (hdr.gso_type & 0x7f) {
	case VIRTIO_NET_HDR_GSO_NONE:
		guest_require(!hdr.gso_type);
		break;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		guest_require(negotiated(VIRTIO_NET_F_HOST_TSO4));
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		guest_require(negotiated(VIRTIO_NET_F_HOST_TSO6));
		break;
	default:
		abort();
	}
	if (hdr.gso_type & VIRTIO_NET_HDR_GSO_ECN)
		guest_require(negotiated(VIRTIO_NET_F_HOST_ECN));
}

static void device_start(uint8_t shape)
{
	static const uint64_t masks[] = {
		UINT64_MAX,
		0,
		~(1ull << VIRTIO_NET_F_MRG_RXBUF),
		~(1ull << VIRTIO_NET_F_MQ),
		~(1ull << VIRTIO_NET_F_CTRL_RX | 1ull << VIRTIO_NET_F_GUEST_CSUM),
		~(1ull << VIRTIO_NET_F_HOST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_ECN),
		1ull << VIRTIO_NET_F_MRG_RXBUF,
		~(1ull << VIRTIO_NET_F_CSUM),
	};
	uint64_t at = 1 << 20;

	for (unsigned int i = 0; i < QUEUES; i++) {
		at = guest_queue_init(&w.gq[i], &w.mem, at, RING);
		guest_require(guest_queue_enable(&w.gq[i], &w.dev->queues[i], shape & 1) == 0);
	}
	w.tables = at;
	at += QUEUES * RING * 64;
	for (unsigned int i = 0; i < PAIRS; i++) {
		w.buffers[i] = at;
		at += RING * 8192;
	}
	w.scratch = at;
	w.dev->features = w.dev->features_offered & masks[shape >> 1 & 7];
	w.may_break = false;
	virtio_device_start(w.dev);
}

static void world_init(void)
{
	struct net_spec spec = {
		.port = &w.port.port, .mac = { 2, 0, 0, 0, 0, 1 }, .mtu = 1500, .name = "net0"
	};

	fake_port_init(&w.port, PAIRS, NETPORT_CSUM | NETPORT_TSO4 | NETPORT_TSO6 | NETPORT_ECN);
	w.port.on_send = on_send;
	guest_require(guest_mem_init(&w.mem, GUEST_RAM_MIN) == 0);
	guest_require(loop_new(&w.loop, 64) == 0);
	guest_require(net_new(w.loop, &w.mem, &spec, &w.dev) == 0);
	guest_transport_attach(&w.transport, w.dev);
	guest_clock_init(&w.clock, w.loop);
}

/* Bytes of the chain with @head, as the driver laid it out. */
static uint64_t chain_bytes(const struct guest_queue *gq, uint16_t head)
{
	uint64_t sum = 0;

	for (uint16_t d = head;;) {
		sum += le32toh(gq->vr.desc[d].len);
		if (!(le16toh(gq->vr.desc[d].flags) & VRING_DESC_F_NEXT))
			return sum;
		d = le16toh(gq->vr.desc[d].next);
	}
}

/* Frames in the receive queue are whole, in as many buffers as their headers say. */
static void drain_receive(unsigned int pair)
{
	struct guest_queue *gq = &w.gq[2 * pair];
	uint16_t head;
	uint32_t len;

	while (guest_queue_used(gq, &head, &len)) {
		struct virtio_net_hdr_v1 hdr;
		uint64_t at = le64toh(gq->vr.desc[head].addr);
		uint64_t room = chain_bytes(gq, head);

		guest_require(len <= room && len >= HDR);
		/* A header never goes over more than one buffer of a chain of ours. */
		memcpy(&hdr, guest_at(&w.mem, at, HDR), HDR);
		guest_require(hdr.num_buffers >= 1 && hdr.num_buffers <= RING);
		if (!negotiated(VIRTIO_NET_F_MRG_RXBUF))
			guest_require(hdr.num_buffers == 1);
		for (unsigned int i = 1; i < hdr.num_buffers; i++) {
			guest_require(len == room);
			guest_require(guest_queue_used(gq, &head, &len));
			room = chain_bytes(gq, head);
			guest_require(len && len <= room);
		}
	}
}

static void drain(void)
{
	uint16_t head;
	uint32_t len;

	if (w.may_break)
		return;
	guest_require(!atomic_load(&w.dev->broken));
	for (unsigned int i = 0; i < PAIRS; i++) {
		if (2 * i != control_queue())
			drain_receive(i);
		while (guest_queue_used(&w.gq[2 * i + 1], &head, &len))
			guest_require(!len);
	}
	while (guest_queue_used(&w.gq[control_queue()], &head, &len))
		guest_require(len == 1);
}

/* ---- steps ---- */

static void send_frame(struct input *in, uint8_t how)
{
	unsigned int pair = how % PAIRS;
	struct guest_queue *gq = &w.gq[2 * pair + 1];
	struct virtio_net_hdr_v1 hdr = { 0 };
	uint32_t len = input_u16(in), cut = input_u8(in);

	if (how & 0x80)
		input_take(in, &hdr, sizeof(hdr));
	if (how & 0x40) {
		hdr.flags &= 1;
		hdr.gso_type &= 0x85;
		hdr.csum_start %= 64;
		hdr.csum_offset %= 32;
		hdr.hdr_len %= 64;
	}
	if (how & 0x20)
		len += 65000;
	cut = cut > HDR + len ? HDR + len : cut;
	if (gq->nfree < 3)
		return;

	struct guest_seg segs[] = { { w.scratch, cut / 2, false },
				    { w.scratch + cut / 2, cut - cut / 2, false },
				    { w.scratch + cut, HDR + len - cut, false } };
	memcpy(guest_at(&w.mem, w.scratch, HDR), &hdr, HDR);
	if (how & 0x10)
		guest_queue_add_indirect(
			gq, w.tables + ((2 * pair + 1) * RING + gq->free[gq->nfree - 1]) * 64ull,
			segs, 3);
	else
		guest_queue_add(gq, segs, 3);
	guest_queue_publish(gq);
}

static void give_buffers(struct input *in, uint8_t how)
{
	static const uint16_t sizes[] = { 12, 13, 20, 64, 300, 1526, 2048, 8192 };
	unsigned int pair = how % PAIRS;
	struct guest_queue *gq = &w.gq[2 * pair];
	unsigned int n = input_u8(in) % 32;
	uint32_t len = sizes[how >> 5];

	if (2 * pair == control_queue())
		return;
	/* The header in one piece, for drain_receive(). */
	uint32_t cut = how & 8 && len > 2 * HDR ? len - len / 3 : len;
	unsigned int nsegs = how & 16 || cut < len ? 2 : 1;

	for (unsigned int i = 0; i < n && gq->nfree >= nsegs; i++) {
		uint64_t at = w.buffers[pair] + gq->free[gq->nfree - 1] * 8192ull;
		struct guest_seg segs[] = { { at, cut, true }, { at + cut, len - cut, true } };

		guest_queue_add(gq, segs, nsegs);
	}
	guest_queue_publish(gq);
	virtio_device_kick(w.dev, 2 * pair);
}

static size_t make_frame(struct input *in)
{
	uint8_t how = input_u8(in);
	size_t len = input_u16(in) + (how & 1 ? 0u : 60000u);

	memset(frame, how, sizeof(frame));
	memset(frame, 0, HDR);
	if (how & 2)
		memset(frame + HDR, 0xff, 6);
	if (how & 4)
		input_take(in, frame, HDR + 6);
	if (how & 8)
		len %= 2000;
	return len < sizeof(frame) ? len : sizeof(frame);
}

static void burst(struct input *in, uint8_t how)
{
	const uint8_t *frames[NETPORT_RECEIVES_MAX];
	size_t lens[NETPORT_RECEIVES_MAX];
	size_t len = make_frame(in);

	for (unsigned int i = 0; i < NETPORT_RECEIVES_MAX; i++) {
		frames[i] = frame;
		lens[i] = len - len / (i + 2);
	}
	fake_port_burst(&w.port, how % PAIRS, frames, lens, how / PAIRS % 5);
}

static void command(struct input *in, uint8_t how)
{
	unsigned int queue = how & 1 ? 2 : control_queue();
	struct guest_queue *gq = &w.gq[queue];
	uint32_t len = input_u8(in);
	uint8_t *p = guest_at(&w.mem, w.scratch, 1024);
	struct guest_seg segs[] = { { w.scratch, len, false },
				    { w.scratch + len, (how & 2) * 2000u, false },
				    { w.scratch + 512, 1, true } };

	/* A receive queue in its place takes no such chains. */
	if (queue != control_queue())
		w.may_break = true;
	if (gq->nfree < 3)
		return;
	input_take(in, p, len);
	guest_queue_add(gq, segs, 3);
	guest_queue_publish(gq);
	virtio_device_kick(w.dev, queue);
}

/* A reset with whatever is in flight, which is done while the reset waits. */
static void device_reset(uint8_t result)
{
	struct guest_reset reset = { .dev = w.dev };
	uint16_t used[QUEUES];
	pthread_t thread;

	guest_require(pthread_create(&thread, NULL, guest_reset_thread, &reset) == 0);
	while (w.dev->running)
		guest_require(loop_run_once(w.loop) == 0);
	for (unsigned int i = 0; i < QUEUES; i++)
		used[i] = w.gq[i].vr.used->idx;
	for (unsigned int i = 0; i < PAIRS; i++)
		fake_port_release(&w.port, i, RING, result & 1 ? -EIO : 0);
	while (!reset.finished)
		guest_require(loop_run_once(w.loop) == 0);
	pthread_join(thread, NULL);
	for (unsigned int i = 0; i < QUEUES; i++) {
		guest_require(w.gq[i].vr.used->idx == used[i]);
		virtq_reset(&w.dev->queues[i]);
	}
	w.dev->features = 0;
	atomic_store(&w.dev->broken, false);
	w.port.hold = false;
	w.port.set_pairs_fails = 0;
}

static void receive_result(uint8_t how)
{
	static const int results[] = { -EINVAL, -ENOMEM, -EAGAIN, 0, 5, 12, 13, 26, 2000 };
	unsigned int pair = how % PAIRS;

	if (w.port.pairs[pair].nreceives)
		fake_port_receives_done(&w.port, pair, &results[how / PAIRS % 9], 1);
}

/* Whatever lies in the guest's memory, from the rings on, is the guest's to change. */
static void change(struct input *in)
{
	uint8_t bytes[16];
	uint32_t off = input_u32(in) % (2 << 20);

	w.may_break = true;
	input_take(in, bytes, sizeof(bytes));
	memcpy(guest_at(&w.mem, (1 << 20) + off, sizeof(bytes)), bytes, sizeof(bytes));
}

static void odd_chain(struct input *in, uint8_t how)
{
	struct guest_queue *gq = &w.gq[how % QUEUES];
	struct guest_seg segs[2] = {
		{ w.scratch + input_u16(in), input_u16(in), how & 0x80 },
		{ how & 0x20 ? input_u64(in) : w.scratch, input_u32(in) >> (how & 31), how & 0x40 },
	};

	w.may_break = true;
	if (gq->nfree >= 2)
		guest_queue_add(gq, segs, 2);
	guest_queue_publish(gq);
}

static void run_step(struct input *in)
{
	enum step step = input_u8(in) % STEP_COUNT;
	uint8_t how = input_u8(in);

	switch (step) {
	case STEP_SEND:
		send_frame(in, how);
		break;
	case STEP_BUFFERS:
		give_buffers(in, how);
		break;
	case STEP_FRAME:
		fake_port_deliver(&w.port, how % PAIRS, frame, make_frame(in));
		break;
	case STEP_BURST:
		burst(in, how);
		break;
	case STEP_COMMAND:
		command(in, how);
		break;
	case STEP_KICK:
		virtio_device_kick(w.dev, how % (QUEUES + 1));
		break;
	case STEP_TURN:
		guest_clock_turn(&w.clock, 1);
		drain();
		break;
	case STEP_HOLD:
		w.port.hold = how & 1;
		w.port.set_pairs_fails = how & 2 ? EIO : 0;
		fake_port_turn(&w.port);
		break;
	case STEP_RELEASE:
		fake_port_release(&w.port, how % PAIRS, how / PAIRS, how & 1 ? -EIO : 0);
		break;
	case STEP_RESULT:
		receive_result(how);
		break;
	case STEP_RESET:
		device_reset(how);
		device_start(how);
		break;
	case STEP_OFFER:
		w.may_break = true;
		guest_queue_offer(&w.gq[how % QUEUES], input_u16(in));
		guest_queue_publish(&w.gq[how % QUEUES]);
		break;
	case STEP_ODD_CHAIN:
		odd_chain(in, how);
		break;
	case STEP_LINK:
		net_set_link(w.dev, how & 1);
		break;
	default:
		change(in);
	}
}

/* After whatever it was, a new driver gets every buffer of its ring filled. */
static void expect_sound(void)
{
	static const struct virtio_net_hdr_v1 none;
	static const uint8_t most = 31;

	device_start(0);
	for (unsigned int i = 0; i < RING / most + 1u; i++) {
		struct input in = { &most, 1 };

		give_buffers(&in, 0x81);
	}
	memcpy(frame, &none, HDR);
	memset(frame + HDR, 0xff, 100);
	for (unsigned int i = 0; i < RING; i++)
		guest_require(fake_port_deliver(&w.port, 0, frame, 100));
	guest_require(le16toh(w.gq[0].vr.used->idx) == RING);
	drain();
	device_reset(0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	if (!w.dev)
		world_init();
	device_start(input_u8(&in));
	for (int i = 0; i < STEPS_MAX && in.left; i++)
		run_step(&in);
	guest_clock_turn(&w.clock, 2);
	drain();
	device_reset(0);
	net_set_link(w.dev, true);
	expect_sound();
	return 0;
}
