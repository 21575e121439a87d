// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-vsock against a guest that does anything: the input is a program of the steps below, run
 * against the real device over a real loop, with socket pairs for the host. What must hold besides
 * not crashing, leaking or hanging: a fault is the guest's only where the program made one, what
 * comes back in a receive chain is a well-formed packet, and a reset always completes.
 */
#include "device/vsock.h"

#include <errno.h>
#include <linux/virtio_vsock.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../unit/guest_driver.h"
#include "input.h"

#define CID       7
#define HDR       ((uint32_t)sizeof(struct virtio_vsock_hdr))
#define HOSTS_MAX 128
#define ASKED_MAX 64 /* resets leave some unanswered; more than the device asks in between */
#define STEPS_MAX 2000

enum step {
	STEP_PACKET,
	STEP_PACKET_RAW, /* the header as it comes */
	STEP_RX,
	STEP_TURN,
	STEP_HOST_WRITE,
	STEP_HOST_READ,
	STEP_HOST_SHUTDOWN,
	STEP_HOST_CLOSE,
	STEP_KICK,
	STEP_RESET,
	STEP_SHORT_PACKET,
	STEP_OFFER,
	STEP_DIAL,
	STEP_ANSWER,
	STEP_COUNT,
};

static struct {
	struct loop *loop;
	struct guest_mem mem;
	struct virtio_device *dev;
	struct guest_transport transport;
	struct guest_clock clock;
	struct guest_queue rx, tx, event;
	uint64_t rx_at[VIRTQ_SIZE_MAX]; /* of a head */
	uint64_t tx_at, rx_next, rx_begin, rx_end, payload_at;
	bool may_break;
	uint64_t asked[ASKED_MAX];
	unsigned int nasked;
	int host_fd[HOSTS_MAX];
	unsigned int nhost;
} w;

/* A socket for the device, whose other end is the host's; -1 where the host has enough. */
static int host_socket(void)
{
	int fds[2];

	if (w.nhost == HOSTS_MAX)
		return -1;
	guest_require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
	w.host_fd[w.nhost++] = fds[0];
	return fds[1];
}

static int host_connect(void *ctx, uint64_t id, uint32_t port)
{
	(void)ctx;
	if (port % 8 == 7)
		return -ECONNREFUSED;
	guest_require(w.nasked < ASKED_MAX);
	w.asked[w.nasked++] = id;
	return 0;
}

static void host_answer(bool refuse)
{
	if (w.nasked)
		vsock_answer(w.dev, w.asked[--w.nasked], refuse ? -1 : host_socket());
}

static const struct vsock_host_ops host_ops = { .connect = host_connect };

static void device_start(bool event_idx)
{
	uint64_t at = 1 << 20;

	at = guest_queue_init(&w.rx, &w.mem, at, 64);
	at = guest_queue_init(&w.tx, &w.mem, at, 64);
	at = guest_queue_init(&w.event, &w.mem, at, 16);
	w.tx_at = at;
	w.payload_at = at + 64ull * 64;
	w.rx_begin = w.payload_at + (128 << 10);
	w.rx_next = w.rx_begin;
	w.rx_end = 16 << 20;
	w.may_break = false;
	guest_require(guest_queue_enable(&w.rx, &w.dev->queues[0], event_idx) == 0);
	guest_require(guest_queue_enable(&w.tx, &w.dev->queues[1], event_idx) == 0);
	guest_require(guest_queue_enable(&w.event, &w.dev->queues[2], event_idx) == 0);
	virtio_device_start(w.dev);
}

static void world_init(void)
{
	guest_require(guest_mem_init(&w.mem, GUEST_RAM_MIN) == 0);
	guest_require(loop_new(&w.loop, 64) == 0);
	guest_require(vsock_new(w.loop, &w.mem, CID, &host_ops, NULL, &w.dev) == 0);
	guest_transport_attach(&w.transport, w.dev);
	guest_clock_init(&w.clock, w.loop);
}

static void hosts_close(void)
{
	for (unsigned int i = 0; i < w.nhost; i++) {
		if (w.host_fd[i] >= 0)
			close(w.host_fd[i]);
	}
	w.nhost = 0;
}

static void check_packet(uint64_t at, uint32_t used)
{
	struct virtio_vsock_hdr hdr;

	memcpy(&hdr, guest_at(&w.mem, at, HDR), HDR);
	guest_require(used == HDR + hdr.len);
	guest_require(hdr.dst_cid == CID);
	guest_require(hdr.op >= VIRTIO_VSOCK_OP_REQUEST && hdr.op <= VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	guest_require((hdr.op == VIRTIO_VSOCK_OP_RW) == (hdr.len != 0));
	guest_require((hdr.op == VIRTIO_VSOCK_OP_SHUTDOWN) == (hdr.flags != 0));
}

/* Once a head was offered that is not ours, the used ring says nothing we could check. */
static void guest_drain(void)
{
	uint16_t head;
	uint32_t len;

	if (w.may_break)
		return;
	guest_require(!atomic_load(&w.dev->broken));
	while (guest_queue_used(&w.tx, &head, &len))
		guest_require(len == 0);
	while (guest_queue_used(&w.rx, &head, &len))
		check_packet(w.rx_at[head], len);
}

static void send_packet(const void *hdr, uint32_t hdr_len, uint32_t payload)
{
	if (w.tx.nfree < 3)
		return;
	uint64_t at = w.tx_at + 64ull * w.tx.free[w.tx.nfree - 1];
	uint32_t cut = payload % (hdr_len + 1);
	struct guest_seg segs[3] = { { at, cut, false },
				     { at + cut, hdr_len - cut, false },
				     { w.payload_at, payload, false } };

	memcpy(guest_at(&w.mem, at, 64), hdr, hdr_len);
	guest_queue_add(&w.tx, segs, 3);
	guest_queue_publish(&w.tx);
}

static void step_packet(struct input *in)
{
	uint8_t op = input_u8(in);
	uint8_t ports = input_u8(in);
	uint8_t flags = input_u8(in);
	uint16_t len = input_u16(in);
	struct virtio_vsock_hdr hdr = {
		.src_cid = CID,
		.dst_cid = 2,
		.src_port = ports >> 3,
		.dst_port = ports & 7,
		.len = len,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op % 9,
		.flags = flags & 3,
		/* buf_alloc from nothing to all, fwd_cnt mostly possible */
		.buf_alloc = 1u << (flags >> 2 & 31),
		.fwd_cnt = flags & 0x80 ? input_u16(in) : 0,
	};

	send_packet(&hdr, HDR, op & 0x80 ? input_u16(in) : len);
}

static void step_rx(struct input *in)
{
	uint32_t nsegs = input_u8(in) % 4 + 1;
	uint32_t len = HDR + input_u16(in) % 5000;
	struct guest_seg segs[4];

	if (w.rx.nfree < nsegs)
		return;
	if (w.rx_next + len > w.rx_end)
		w.rx_next = w.rx_begin;
	for (uint32_t i = 0, off = 0; i < nsegs; i++) {
		uint32_t part = i + 1 < nsegs ? (len - off) / 3 : len - off;

		segs[i] = (struct guest_seg){ w.rx_next + off, part, true };
		off += part;
	}
	w.rx_at[guest_queue_add(&w.rx, segs, nsegs)] = w.rx_next;
	w.rx_next += len;
	guest_queue_publish(&w.rx);
}

/* Without a socket the host does not dial. */
static void step_dial(struct input *in)
{
	static const uint8_t preamble[VSOCK_PREAMBLE_MAX];
	uint8_t how = input_u8(in);
	uint16_t len = how & 1 ? input_u16(in) % (VSOCK_PREAMBLE_MAX + 1) : 0;
	int fd = host_socket();

	if (fd >= 0)
		vsock_dial(w.dev, how >> 3, fd, preamble, len, how & 2);
}

static int *pick_host(struct input *in)
{
	uint8_t i = input_u8(in);

	return w.nhost && w.host_fd[i % w.nhost] >= 0 ? &w.host_fd[i % w.nhost] : NULL;
}

static void step_host(struct input *in, enum step step)
{
	static uint8_t buf[64 << 10];
	int *fd = pick_host(in);
	ssize_t ret = 0;

	if (!fd)
		return;
	switch (step) {
	case STEP_HOST_WRITE:
		ret = send(*fd, buf, input_u16(in), MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case STEP_HOST_READ:
		ret = recv(*fd, buf, input_u16(in), MSG_DONTWAIT);
		break;
	case STEP_HOST_SHUTDOWN:
		ret = shutdown(*fd, input_u8(in) % 3);
		break;
	default:
		close(*fd);
		*fd = -1;
	}
	(void)ret; /* whether it worked is up to the program */
}

static void run_step(struct input *in)
{
	struct virtio_vsock_hdr hdr;
	enum step step = input_u8(in) % STEP_COUNT;

	switch (step) {
	case STEP_PACKET:
		step_packet(in);
		virtio_device_kick(w.dev, 1);
		break;
	case STEP_PACKET_RAW:
		input_take(in, &hdr, sizeof(hdr));
		send_packet(&hdr, HDR, input_u8(in));
		break;
	case STEP_RX:
		step_rx(in);
		break;
	case STEP_DIAL:
		step_dial(in);
		break;
	case STEP_ANSWER:
		host_answer(input_u8(in) & 1);
		break;
	case STEP_TURN:
		while (w.nasked)
			host_answer(false);
		guest_clock_turn(&w.clock, 1);
		guest_drain();
		break;
	case STEP_KICK:
		virtio_device_kick(w.dev, input_u8(in) % 4);
		break;
	case STEP_RESET:
		guest_device_reset(w.dev);
		device_start(input_u8(in) & 1);
		break;
	case STEP_SHORT_PACKET:
		w.may_break = true;
		memset(&hdr, 0xff, sizeof(hdr));
		send_packet(&hdr, input_u8(in) % HDR, 0);
		break;
	case STEP_OFFER:
		w.may_break = true;
		guest_queue_offer(input_u8(in) & 1 ? &w.tx : &w.rx, input_u16(in));
		guest_queue_publish(&w.rx);
		guest_queue_publish(&w.tx);
		break;
	default:
		step_host(in, step);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	if (!w.dev)
		world_init();
	device_start(input_u8(&in) & 1);
	for (int i = 0; i < STEPS_MAX && in.left; i++)
		run_step(&in);
	guest_clock_turn(&w.clock, 2);
	guest_drain();
	guest_device_reset(w.dev);
	while (w.nasked)
		host_answer(false);
	hosts_close();
	return 0;
}
