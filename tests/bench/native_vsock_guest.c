// SPDX-License-Identifier: Apache-2.0
/*
 * A guest that sends so many MiB to the host's port 1 and receives so many from its port 2, on a
 * connection each, in packets as Linux has them: to send, a header and up to 64 KiB of payload in
 * one chain; to receive, buffers of 4 KiB, given back when half of them are used; and an update of
 * the credit that it gives when less than 64 KiB of what it has last told of are left.
 *
 * What Linux copies from and to its processes is copied here, too. This guest polls the used rings
 * and leaves the interrupts that it asks for, as Linux asks for them, alone.
 */
#include "../payload/lib/vsock.h"
#include "native_guest.h"

#define QUEUE_SIZE 128
#define TX_BYTES   65536u
#define TX_SLOTS   (QUEUE_SIZE / 2)
#define BUF_ALLOC  (256u << 10)
#define HDR        ((uint32_t)sizeof(struct virtio_vsock_hdr))

static struct vdev dev;
static struct vq queues[VSOCK_QUEUES];
static struct virtio_vsock_hdr headers[TX_SLOTS];
static uint8_t *payloads[TX_SLOTS], *rx_buffers;
static uint8_t program[TX_BYTES]; /* what the guest's program has, or gets */
static uint16_t slots[TX_SLOTS];  /* the free ones */
static unsigned int nslots;

static unsigned int rx_taken; /* buffers to be given back */
static uint64_t to_send, to_receive;
static uint32_t piece; /* of a write of the program's */

/* the connection */
static uint32_t port;
static uint32_t tx_cnt, fwd_cnt, told_cnt;
static uint32_t peer_buf_alloc, peer_fwd_cnt;
static uint64_t received;
static bool answered, ended;

static void require(bool good, const char *otherwise)
{
	if (good)
		return;
	fail("bench", "%s", otherwise);
	payload_done();
}

/* What the device has sent is free again. */
static void tx_reap(void)
{
	struct vq *q = &queues[VSOCK_TX];
	uint16_t used = __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE);

	while (q->used_idx != used)
		slots[nslots++] = (uint16_t)(vq_take(q).id / 2);
	*vq_used_event(q) = q->used_idx;
}

static void send(uint16_t op, uint32_t flags, uint32_t len)
{
	struct vq *q = &queues[VSOCK_TX];
	uint16_t old = q->avail_idx;

	while (!nslots)
		tx_reap();
	uint16_t i = slots[--nslots];

	headers[i] = (struct virtio_vsock_hdr){
		.src_cid = VSOCK_GUEST,
		.dst_cid = VSOCK_HOST,
		.src_port = VSOCK_PORT + port,
		.dst_port = port,
		.len = len,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
		.flags = flags,
		.buf_alloc = BUF_ALLOC,
		.fwd_cnt = fwd_cnt,
	};
	told_cnt = fwd_cnt;
	memcpy(payloads[i], program, len);
	vq_desc(q, 2 * i, &headers[i], HDR, len ? VRING_DESC_F_NEXT : 0, 2 * i + 1);
	vq_desc(q, 2 * i + 1, payloads[i], len, 0, 0);
	vq_put(q, 2 * i);
	publish(q, old);
}

static void rx_packet(const struct virtio_vsock_hdr *hdr)
{
	peer_buf_alloc = hdr->buf_alloc;
	peer_fwd_cnt = hdr->fwd_cnt;
	require(hdr->dst_port == VSOCK_PORT + port, "a packet of another connection");
	switch (hdr->op) {
	case VIRTIO_VSOCK_OP_RESPONSE:
		answered = true;
		break;
	case VIRTIO_VSOCK_OP_RW:
		memcpy(program, hdr + 1, hdr->len);
		received += hdr->len;
		fwd_cnt += hdr->len;
		if (BUF_ALLOC - (fwd_cnt - told_cnt) < TX_BYTES)
			send(VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, 0);
		break;
	case VIRTIO_VSOCK_OP_RST:
		ended = true;
		break;
	}
}

static void rx_take(void)
{
	struct vq *q = &queues[VSOCK_RX];
	uint16_t used = __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE);

	for (; q->used_idx != used; rx_taken++) {
		uint16_t i = (uint16_t)vq_take(q).id;

		rx_packet((const void *)(rx_buffers + i * VSOCK_RX_BYTES));
		vq_put(q, i);
	}
	*vq_used_event(q) = q->used_idx;
	if (rx_taken <= QUEUE_SIZE / 2)
		return;
	publish(q, (uint16_t)(q->avail_idx - rx_taken));
	rx_taken = 0;
}

static void turn(void)
{
	tx_reap();
	rx_take();
	asm volatile("pause");
}

static void open(uint32_t to)
{
	port = to;
	tx_cnt = fwd_cnt = told_cnt = 0;
	received = 0;
	answered = ended = false;
	send(VIRTIO_VSOCK_OP_REQUEST, 0, 0);
	while (!answered && !ended)
		turn();
	require(answered, "the connection was refused");
}

static void close(void)
{
	send(VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND, 0);
	while (!ended)
		turn();
}

static void run(void)
{
	uint64_t left = to_send;
	uint32_t in_piece = piece;

	open(1);
	while (left) {
		uint32_t room = peer_buf_alloc - (tx_cnt - peer_fwd_cnt);
		uint32_t len = room < in_piece ? room : in_piece;

		require(!ended, "the connection has ended");
		if (len) {
			send(VIRTIO_VSOCK_OP_RW, 0, len);
			tx_cnt += len;
			left -= len;
			in_piece -= len;
			if (!in_piece)
				in_piece = left < piece ? (uint32_t)left : piece;
		}
		turn();
	}
	close();
	uint32_t tx_kicks = kicks;

	open(2);
	while (received < to_receive) {
		require(!ended, "the connection has ended");
		turn();
	}
	close();
	print("bench kicks %u and %u\n", tx_kicks, kicks - tx_kicks);
	payload_done();
}

static void idle(void)
{
	for (;;)
		asm volatile("cli; hlt");
}

void payload_main(void)
{
	bool good = vdev_find(&dev, VIRTIO_ID_VSOCK, 0) && vdev_begin(&dev, F_EVENT_IDX);

	for (uint16_t i = 0; good && i < VSOCK_QUEUES; i++)
		good = vq_init(&queues[i], &dev, i, QUEUE_SIZE);
	require(good, "no vsock");
	vdev_go(&dev);
	rx_buffers = alloc(QUEUE_SIZE * VSOCK_RX_BYTES, VSOCK_RX_BYTES);
	for (uint16_t i = 0; i < QUEUE_SIZE; i++) {
		vq_desc(&queues[VSOCK_RX], i, rx_buffers + i * VSOCK_RX_BYTES, VSOCK_RX_BYTES,
			VRING_DESC_F_WRITE, 0);
		vq_put(&queues[VSOCK_RX], i);
	}
	publish(&queues[VSOCK_RX], 0);
	if (cmdline_has("idle"))
		idle();
	for (; nslots < TX_SLOTS; nslots++) {
		payloads[nslots] = alloc(TX_BYTES, 4096);
		slots[nslots] = (uint16_t)nslots;
	}
	to_send = (uint64_t)cmdline_number("from", 1) << 20;
	to_receive = (uint64_t)cmdline_number("to", 1) << 20;
	piece = cmdline_number("piece", TX_BYTES);
	require(piece && piece <= TX_BYTES && !(to_send % piece), "a piece that cannot be sent");
	run_in_user_mode(run);
}
