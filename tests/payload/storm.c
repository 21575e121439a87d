// SPDX-License-Identifier: Apache-2.0
/*
 * A driver gone mad. In each round one device is the victim: the second CPU does to its registers,
 * rings, descriptors and buffers whatever a random sequence says, while the first drives the same
 * device as a driver does, and all the others, whose answers have to be right all the time. After
 * the round the victim has to work again, after nothing but a reset.
 *
 * Command line: ops=, how many operations in all; seed=, of the sequence. What the second CPU does
 * depends on nothing else. When the first meets it is chance.
 *
 * What a device is told to write to is a matter of chance, too, and must not be this program. So
 * the program lies at addresses which no other bytes lead to than those that guard() changes, and
 * all that a victim is given lies elsewhere, in the arena. Nothing else of memory is used for
 * anything. All of it runs in user mode, for speed.
 */
#include <linux/serial_reg.h>

#include "lib/target.h"
#include "lib/user.h"

#define ARENA_GPA   0x04000000ull
#define ARENA_BYTES (16u << 20)
#define ARENA_DATA  (ARENA_GPA + (4u << 20)) /* DATA_SLOTS of DATA_BYTES */
#define ARENA_LAIR  (ARENA_GPA + (8u << 20)) /* the second CPU's own rings, each with LAIR_BYTES */
#define DATA_SLOTS  32u
#define DATA_BYTES  0x10000u
#define LAIR_BYTES  0x4000u
#define LAIR_RINGS  9u
#define RAM_END     0x10000000ull

/* Bytes that appear in no other address than this program's. */
#define GUARDED_FIRST 0x0a
#define GUARDED_COUNT 3

#define ROUND_OPS   1000u
#define NEWS_ROUNDS 16
#define STUCK       100000u /* looks at a second CPU that does not get on */
#define DISK_BLOCK  4096u
#define STACK       0x8000u

/* ---- the victims ---- */

/* A disk that can be written to; that of target.c cannot. */
static struct {
	struct blk blk;
	uint8_t *out, *in;
	uint32_t writes;
} disk;

static bool find_disk(void)
{
	disk.out = alloc(DISK_BLOCK, DISK_BLOCK);
	disk.in = alloc(DISK_BLOCK, DISK_BLOCK);
	return blk_find(&disk.blk, 1);
}

static bool start_disk(uint64_t features)
{
	return blk_start(&disk.blk, features | FEATURE(VIRTIO_BLK_F_FLUSH), 8);
}

static bool works_disk(void)
{
	uint32_t block = ++disk.writes % 256;
	uint64_t sector = block * (DISK_BLOCK / SECTOR);

	blk_fill(disk.out, disk.writes, DISK_BLOCK);
	return blk_request(&disk.blk, VIRTIO_BLK_T_OUT, sector, disk.out, DISK_BLOCK) ==
		       VIRTIO_BLK_S_OK &&
	       blk_request(&disk.blk, VIRTIO_BLK_T_FLUSH, 0, NULL, 0) == VIRTIO_BLK_S_OK &&
	       blk_request(&disk.blk, VIRTIO_BLK_T_IN, sector, disk.in, DISK_BLOCK) ==
		       VIRTIO_BLK_S_OK &&
	       blk_is_filled(disk.in, disk.writes, DISK_BLOCK);
}

static uint32_t frames;

static void post_frame(void)
{
	struct net *n = &target_net;
	struct vq *tx = &n->tx[0];

	net_frame(n, PEER_ECHO, 100)->number = ++frames;
	*n->out = (struct virtio_net_hdr_v1){ 0 };
	vq_desc(tx, 0, n->out, NET_HDR, VRING_DESC_F_NEXT, 1);
	vq_desc(tx, 1, n->out + 1, 100, 0, 0);
	vq_submit(tx, 0);
}

/* Take one buffer; whether it holds the last frame that was sent. */
static bool take_frame(void)
{
	struct net *n = &target_net;
	struct vq *rx = &n->rx[0];
	uint32_t i = vq_take(rx).id % NET_RING;
	const struct peer_frame *f = (void *)(n->buffers + i * NET_BUFFER + NET_HDR);
	bool ours = f->protocol == PEER_PROTOCOL && f->number == frames;

	net_give(n, 0, (uint16_t)i, NET_BUFFER);
	return ours;
}

/* A frame comes back, after whatever others there are on their way. */
static bool works_net(void)
{
	const struct vq *tx = &target_net.tx[0], *rx = &target_net.rx[0];
	bool back = false;

	post_frame();
	for (unsigned int i = 0; i < patience; i++) {
		while (rx->used->idx != rx->used_idx)
			back |= take_frame();
		if (back && tx->used->idx != tx->used_idx) {
			vq_take(&target_net.tx[0]);
			return true;
		}
		relax();
	}
	return false;
}

static struct target disk_target = { "disk",    &disk.blk.dev, &disk.blk.q, 2,
				     find_disk, start_disk,    works_disk };

static struct {
	struct target *t;
	bool (*works)(void);
} victims[5];

static uint32_t victim;

static struct heap arena = {
	.base = (uint8_t *)ARENA_GPA,
	.size = (size_t)(ARENA_DATA - ARENA_GPA),
	.dirty = ARENA_BYTES,
};
static size_t found; /* how much of the arena the victim has without its rings */

/* ---- chance ---- */

static uint64_t state;

static uint64_t any(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * 0x2545f4914f6cdd1dull;
}

static uint32_t below(uint32_t n)
{
	return (uint32_t)((any() >> 32) % n);
}

static bool one_in(uint32_t n)
{
	return !below(n);
}

static uint64_t guard(uint64_t v)
{
	for (unsigned int shift = 0; shift < 64; shift += 8)
		if ((uint8_t)((uint8_t)(v >> shift) - GUARDED_FIRST) < GUARDED_COUNT)
			v ^= 0x10ull << shift;
	return v;
}

static uint64_t address(void)
{
	switch (below(12)) {
	case 0:
		return RAM_END - below(8192);
	case 1:
		return DEVICE_BASE + below(0x8000);
	case 2:
		return ~0ull - below(8192);
	case 3:
		return 1ull << below(64);
	case 4:
		return any();
	case 5:
		return ARENA_LAIR + below(LAIR_RINGS * LAIR_BYTES);
	default:
		return ARENA_GPA + below(ARENA_BYTES);
	}
}

static uint32_t length(void)
{
	static const uint32_t some[] = { 0,   1,    2,    12,    16,         44,
					 512, 4095, 4096, 65536, 0x7fffffff, 0xffffffff };

	switch (below(4)) {
	case 0:
		return (uint32_t)any();
	case 1:
		return below(70000);
	default:
		return some[below(ARRAY_SIZE(some))];
	}
}

static uint32_t word(void)
{
	static const uint32_t some[] = { 0, 1, 2, 3, 8, 11, 15, 16, 256, 0x8000, 0xffff, ~0u };

	switch (below(4)) {
	case 0:
		return (uint32_t)any();
	case 1:
		return (uint32_t)address();
	default:
		return some[below(ARRAY_SIZE(some))];
	}
}

/* ---- memory ---- */

/* Wherever the first CPU's structures say that something is, it is in the arena. */
static void store(uint64_t addr, uint64_t v, unsigned int bytes)
{
	addr = ARENA_GPA + (addr - ARENA_GPA) % (ARENA_BYTES - 8);
	v = guard(v);
	switch (bytes) {
	case 1:
		write8(addr, (uint8_t)v);
		break;
	case 2:
		write16(addr, (uint16_t)v);
		break;
	case 4:
		write32(addr, (uint32_t)v);
		break;
	default:
		write64(addr, v);
	}
}

static uint16_t load16(uint64_t addr)
{
	return read16(ARENA_GPA + (addr - ARENA_GPA) % (ARENA_BYTES - 8));
}

struct ring {
	uint64_t desc, avail, used;
	uint16_t size;
};

static struct ring lair[LAIR_RINGS];

/* One of the driver's or of our own. */
static struct ring some_ring(void)
{
	const volatile struct vq *q = victims[victim].t->q;
	uint16_t size = q->size;

	if (one_in(2))
		return lair[below(victims[victim].t->nqueues)];
	return (struct ring){ (uintptr_t)q->desc, (uintptr_t)q->avail, (uintptr_t)q->used,
			      size ? size : 1 };
}

static void scribble(void)
{
	uint64_t at = ARENA_GPA + found + below(0x2000);

	if (one_in(3))
		at = ARENA_LAIR + below(LAIR_RINGS * LAIR_BYTES);
	else if (one_in(3))
		at = ARENA_GPA + below(ARENA_BYTES);
	store(at, any(), 1u << below(4));
}

/* A descriptor, in pieces and in any order. */
static void write_desc(uint64_t at, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	uint64_t half[2] = { addr, (uint64_t)next << 48 | (uint64_t)flags << 32 | len };
	uint32_t first = below(8);

	if (one_in(2)) {
		store(at, half[0], 8);
		store(at + 8, half[1], 8);
		return;
	}
	for (uint32_t i = 0; i < 8; i++) {
		uint32_t k = (first + 5 * i) % 8;

		store(at + 2 * k, half[k / 4] >> 16 * (k % 4), 2);
	}
}

static uint16_t some_flags(void)
{
	return (uint16_t)(one_in(8) ? any() : below(8));
}

static void tear_descriptor(void)
{
	struct ring r = some_ring();

	write_desc(r.desc + 16 * below(r.size), address(), length(), some_flags(),
		   (uint16_t)(one_in(4) ? any() : below(r.size)));
}

static void move_index(void)
{
	static const uint16_t steps[] = { 1, 1, 1, 2, 8, 9, 0x8000, 0xffff };
	struct ring r = some_ring();
	uint16_t step = one_in(8) ? (uint16_t)any() : steps[below(ARRAY_SIZE(steps))];

	store(r.avail + 2, (uint16_t)(load16(r.avail + 2) + step), 2);
}

static void change_head(void)
{
	struct ring r = some_ring();

	store(r.avail + 4 + 2 * below(r.size + 1), one_in(4) ? any() : below(r.size), 2);
}

static void change_used(void)
{
	struct ring r = some_ring();

	store(one_in(2) ? r.avail : r.used + below(6 + 8 * r.size), word(), 2);
}

/* ---- requests that are almost right ---- */

static void write_words(uint64_t at, const uint32_t *words, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		store(at + 4 * i, words[i], 4);
}

static uint32_t write_blk_header(uint64_t at)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN,      VIRTIO_BLK_T_OUT,
					  VIRTIO_BLK_T_FLUSH,   VIRTIO_BLK_T_GET_ID,
					  VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };
	uint32_t type = one_in(8) ? word() : types[below(ARRAY_SIZE(types))];
	uint32_t words[] = { type, 0, one_in(8) ? word() : below(20000), one_in(8) ? word() : 0 };
	uint32_t range[] = { below(20000), 0, below(300), below(2) };

	write_words(at, words, 4);
	write_words(at + 4096, range, 4);
	return sizeof(words);
}

static uint32_t write_net_header(uint64_t at)
{
	/* Flags, GSO type, header's length; segments' size, checksum's start and offset; buffers.
	 */
	uint32_t words[] = { one_in(2) ? word() : 0, one_in(4) ? word() : 0, 0 };
	/* To one peer, from another, as peer.h has it. */
	uint32_t frame[] = { 2, 0x52000900, 0x03020154, PEER_PROTOCOL, 0, below(2) };

	write_words(at, words, 3);
	write_words(at + 12, frame, 6);
	write_words(at + 4096, frame, 6);
	return one_in(4) ? 12 + below(100) : 12;
}

static uint32_t write_vsock_header(uint64_t at)
{
	uint32_t op = one_in(8) ? word() : below(9);
	uint32_t words[] = {
		VSOCK_GUEST,
		0,
		VSOCK_HOST,
		0,
		VSOCK_PORT + below(300),
		1,
		length(),
		(op & 0xffff) << 16 | VIRTIO_VSOCK_TYPE_STREAM,
		one_in(4) ? word() : 0,
		one_in(4) ? word() : VSOCK_BUF,
		one_in(4) ? word() : 0,
	};

	write_words(at, words, 11);
	return 44;
}

static uint32_t write_header(uint64_t at)
{
	switch (victims[victim].t->dev->id) {
	case VIRTIO_ID_BLOCK:
		return write_blk_header(at);
	case VIRTIO_ID_NET:
		/* A command for the control queue, or a packet. */
		if (one_in(4)) {
			store(at, below(6) | (uint64_t)below(3) << 8 | any() << 16, 8);
			return 2 + below(12);
		}
		return write_net_header(at);
	case VIRTIO_ID_VSOCK:
		return write_vsock_header(at);
	default:
		return 16;
	}
}

static void notify(void)
{
	uint32_t queue = one_in(16) ? word() : below(victims[victim].t->nqueues);

	reg_write(victims[victim].t->dev, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

/* Header, data, a byte for the answer; or part of that. */
static void write_request(void)
{
	struct ring r = some_ring();
	uint64_t data = ARENA_DATA + below(DATA_SLOTS) * (uint64_t)DATA_BYTES;
	uint32_t header = write_header(data), shape = below(4);
	uint16_t head = (uint16_t)below(r.size), idx = load16(r.avail + 2);
	uint16_t write = one_in(2) ? VRING_DESC_F_WRITE : 0;
	uint64_t table = r.desc, first = head, entries = r.size;

	if (one_in(4)) {
		/* Nothing asks for an aligned one. */
		table = data + 0x8000 + below(16);
		first = 0;
		entries = 16;
		write_desc(r.desc + 16ull * head, table, 48, VRING_DESC_F_INDIRECT, 0);
	}
	uint16_t second = (uint16_t)((first + 1) % entries), third = (second + 1) % entries;

	if (shape == 0) {
		write_desc(table + 16 * first, data, 1 + below(8192), VRING_DESC_F_WRITE, 0);
	} else {
		write_desc(table + 16 * first, data, header, VRING_DESC_F_NEXT, second);
		write_desc(table + 16 * second, data + 4096, one_in(2) ? 512 : length() % 0x20000,
			   shape == 1 ? write : VRING_DESC_F_NEXT | write, third);
		write_desc(table + 16 * third, data + 0x7000, 1, VRING_DESC_F_WRITE, 0);
	}
	if (one_in(8))
		store(table + 16 * (one_in(2) ? first : second) + below(16), any(), 2);
	if (one_in(8))
		write_desc(table + 16 * (one_in(2) ? first : third), address(), length(),
			   one_in(2) ? VRING_DESC_F_WRITE : some_flags(), second);
	/* Once, or as often as the queue has room. */
	if (one_in(16))
		for (uint32_t i = 1; i < r.size; i++)
			store(r.avail + 4 + 2 * (idx++ % r.size), head, 2);
	store(r.avail + 4 + 2 * (idx % r.size), head, 2);
	store(r.avail + 2, (uint16_t)(idx + 1), 2);
	if (one_in(2))
		notify();
}

/* ---- registers ---- */

static void write_some_register(void)
{
	reg_write(victims[victim].t->dev, 4 * below(one_in(4) ? 0x40 : 0x30),
		  (uint32_t)guard(word()));
}

/* Of any width, at any place. What crosses the page's end is zeroes: pvpanic may come next. */
static void access_oddly(void)
{
	uint64_t off = one_in(2) ? below(0x140) : below(0x1000), v = guard(any());
	uint64_t at = victims[victim].t->dev->base + off;

	if (off > 0xff8)
		v = 0;
	switch (below(8)) {
	case 0:
		write8(at, (uint8_t)v);
		break;
	case 1:
		write16(at, (uint16_t)v);
		break;
	case 2:
		write32(at, (uint32_t)v);
		break;
	case 3:
		write64(at, v);
		break;
	case 4:
		read8(at);
		break;
	case 5:
		read16(at);
		break;
	case 6:
		read32(at);
		break;
	default:
		read64(at);
	}
}

static void access_config(void)
{
	uint64_t at = victims[victim].t->dev->base + VIRTIO_MMIO_CONFIG + below(96);

	switch (below(4)) {
	case 0:
		write8(at, (uint8_t)any());
		break;
	case 1:
		write32(at, (uint32_t)any());
		break;
	case 2:
		read16(at);
		break;
	default:
		read64(at);
	}
}

static void write_status(void)
{
	static const uint32_t some[] = { 0, 1, 3, 0xb, 0xf, 0x8f, 0x4f, 0xff };

	vdev_set_status(victims[victim].t->dev,
			one_in(4) ? (uint32_t)any() : some[below(ARRAY_SIZE(some))]);
}

static void write_wide(const struct vdev *d, uint32_t reg, uint64_t v)
{
	v = guard(v);
	reg_write(d, reg, (uint32_t)v);
	reg_write(d, reg + 4, (uint32_t)(v >> 32));
}

/* One of our rings, its size and its addresses now and then any. */
static void set_queue_up(uint32_t queue)
{
	const struct vdev *d = victims[victim].t->dev;
	struct ring *r = &lair[queue % LAIR_RINGS];
	bool wrong = one_in(8);

	r->size = (uint16_t)(1u << below(9));
	reg_write(d, VIRTIO_MMIO_QUEUE_SEL, one_in(16) ? word() : queue);
	reg_write(d, VIRTIO_MMIO_QUEUE_NUM, wrong && one_in(2) ? word() : r->size);
	write_wide(d, VIRTIO_MMIO_QUEUE_DESC_LOW, wrong && one_in(2) ? address() : r->desc);
	write_wide(d, VIRTIO_MMIO_QUEUE_AVAIL_LOW, wrong && one_in(2) ? address() : r->avail);
	write_wide(d, VIRTIO_MMIO_QUEUE_USED_LOW, wrong && one_in(2) ? address() : r->used);
	reg_write(d, VIRTIO_MMIO_QUEUE_READY, one_in(16) ? word() : 1);
}

static void set_some_queue_up(void)
{
	set_queue_up(below(victims[victim].t->nqueues));
}

/* As a driver does, with features of our choice and rings of our own. */
static void bring_up(void)
{
	const struct target *t = victims[victim].t;

	vdev_begin(t->dev, t->dev->offered & (one_in(2) ? ~0ull : any()));
	for (uint32_t i = 0; i < t->nqueues; i++) {
		set_queue_up(i);
		store(lair[i % LAIR_RINGS].avail, 0, 4);
	}
	vdev_go(t->dev);
}

/* ---- ports ---- */

static void access_port(uint16_t port, uint32_t v)
{
	switch (below(6)) {
	case 0:
	case 1:
		outb(port, (uint8_t)v);
		break;
	case 2:
		one_in(2) ? outw(port, (uint16_t)v) : outl(port, v);
		break;
	case 3:
		one_in(2) ? inw(port) : (uint16_t)inl(port);
		break;
	default:
		inb(port);
	}
}

/* Of the serial port, the clock, the keyboard controller (but for what resets), and nobody's. */
static void access_ports(void)
{
	uint32_t v = (uint32_t)any();
	uint16_t port;

	switch (below(8)) {
	case 0:
		access_port((uint16_t)(0x70 + below(2)), v);
		break;
	case 1:
		port = (uint16_t)(0x60 + below(5));
		/* The commands to reset, and to write the port with the reset line. */
		if (port == 0x64 && ((uint8_t)v == 0xfe || (uint8_t)v == 0xd1))
			v ^= 1;
		access_port(port, v);
		break;
	case 2:
		access_port((uint16_t)(0x1000 + below(0xe000)), v);
		break;
	case 3:
		write32(0xd0800000 + below(0x1000), v);
		break;
	default:
		access_port((uint16_t)(SERIAL_PORT + below(8)), v);
	}
}

/* ---- the second CPU ---- */

static const struct {
	void (*attack)(void);
	uint32_t weight;
} attacks[] = {
	{ scribble, 6 },     { tear_descriptor, 6 },
	{ move_index, 8 },   { change_head, 6 },
	{ change_used, 4 },  { write_request, 36 },
	{ notify, 12 },      { write_some_register, 4 },
	{ access_oddly, 6 }, { access_config, 4 },
	{ write_status, 1 }, { set_some_queue_up, 1 },
	{ access_ports, 5 }, { bring_up, 1 },
};
#define WEIGHTS 100u

static volatile uint32_t rounds_begun, rounds_done;
static volatile uint32_t operation;
static uint32_t operations;

static bool victim_lives(void)
{
	uint32_t status = vdev_status(victims[victim].t->dev);

	return status & VIRTIO_CONFIG_S_DRIVER_OK && !(status & VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void attack(void)
{
	uint32_t n = below(WEIGHTS);
	unsigned int i = 0;

	/* What a dead device is told goes nowhere. */
	if (!victim_lives() && one_in(16)) {
		bring_up();
		return;
	}
	while (n >= attacks[i].weight)
		n -= attacks[i++].weight;
	attacks[i].attack();
}

static void second_cpu(void)
{
	for (;;) {
		if (rounds_done == rounds_begun) {
			relax();
			continue;
		}
		for (uint32_t i = 0; i < ROUND_OPS; i++) {
			attack();
			operation++;
		}
		rounds_done = rounds_begun;
	}
}

/* ---- the first CPU ---- */

static uint32_t seed, answers, pokes;

/* What the second CPU did to the port is undone, as far as printing needs it. */
static void begin_line(void)
{
	outb(SERIAL_PORT + UART_LCR, UART_LCR_WLEN8);
	outb(SERIAL_PORT + UART_MCR, 0);
	outb(SERIAL_PORT + UART_IER, 0);
	print("\n");
}

static void give_up(uint32_t i, const char *what)
{
	begin_line();
	fail("storm", "seed %u operation %u: %s: %s", seed, operation, victims[i].t->name, what);
	payload_done();
}

/* The victim's memory is the arena's, everybody else's the program's. */
static void bring_all_up(uint32_t whose_turn)
{
	static size_t mark;
	struct heap *own = alloc_from(&arena);

	arena.used = 0;
	victims[whose_turn].t->find();
	found = arena.used;
	if (!victims[whose_turn].t->start(0))
		give_up(whose_turn, "the device cannot be started");
	alloc_from(own);
	if (!mark)
		mark = own->used;
	own->used = mark;
	for (uint32_t i = 0; i < ARRAY_SIZE(victims); i++)
		if (i != whose_turn && !(victims[i].t->find() && victims[i].t->start(0)))
			give_up(i, "the device cannot be started");
}

static void expect_all_work(void)
{
	for (uint32_t i = 0; i < ARRAY_SIZE(victims); i++) {
		if (!victims[i].works())
			give_up(i, "the device does not work after a reset");
		if (vdev_status(victims[i].t->dev) & VIRTIO_CONFIG_S_NEEDS_RESET)
			give_up(i, "the device asks for a reset after one");
	}
}

/* Drive the victim, whatever comes of it, and without waiting long for that. */
static void poke(void)
{
	static const uint64_t features[] = { 0, F_INDIRECT, F_EVENT_IDX, F_INDIRECT | F_EVENT_IDX };
	const struct target *t = victims[victim].t;
	struct heap *own = alloc_from(&arena);

	patience = 20;
	if (pokes % 4 == 0) {
		arena.used = found;
		t->start(features[pokes / 4 % 4]);
	}
	/* Received frames are not to be trusted now. */
	if (t->dev->id == VIRTIO_ID_NET)
		post_frame();
	else
		victims[victim].works();
	patience = PATIENCE;
	alloc_from(own);
	pokes++;
}

static void run_round(void)
{
	uint32_t before = operation, still = 0;

	bring_all_up(victim);
	expect_all_work();
	rounds_begun++;
	while (rounds_done != rounds_begun) {
		uint32_t i = answers++ % ARRAY_SIZE(victims);

		if (i == victim)
			poke();
		else if (!victims[i].works())
			give_up(i, "the device does not work while another is attacked");
		still = operation == before ? still + 1 : 0;
		before = operation;
		if (still > STUCK)
			give_up(victim, "the attacking CPU does not come back");
	}
	/* The victim's requests and buffers are elsewhere then. */
	bring_all_up((victim + 1) % ARRAY_SIZE(victims));
	expect_all_work();
}

static void first_cpu(void)
{
	for (uint32_t round = 0; operation < operations; round++) {
		run_round();
		victim = (victim + 1) % ARRAY_SIZE(victims);
		if (round % NEWS_ROUNDS == 0) {
			begin_line();
			print("at operation %u\n", operation);
		}
	}
	begin_line();
	print("ok storm seed %u: %u operations, %u answers of others, %u of the victim's "
	      "requests\n",
	      seed, operation, answers - pokes, pokes);
	payload_done();
}

static uint64_t user_table;
static uint8_t stacks[2][STACK];

static void start_second_cpu(void)
{
	user_map(user_table);
	user_enter(second_cpu, stacks[1] + STACK);
}

void payload_main(void)
{
	seed = cmdline_number("seed", 1);
	operations = cmdline_number("ops", 10000);
	state = (seed + 1) * 0x9e3779b97f4a7c15ull;
	for (uint32_t i = 0; i < LAIR_RINGS; i++) {
		uint64_t at = ARENA_LAIR + i * LAIR_BYTES;

		lair[i] = (struct ring){ at, at + 0x2000, at + 0x3000, 8 };
	}
	for (uint32_t i = 0; i < ARRAY_SIZE(victims); i++) {
		/* Not the balloon, which would give up this guest's own pages. */
		victims[i].t = i < TARGET_BALLOON ? &targets[i] : &disk_target;
		victims[i].works = i == TARGET_NET ? works_net : victims[i].t->works;
		if (!victims[i].t->find()) {
			fail("storm", "not all devices are there");
			return;
		}
	}
	user_table = user_make_map();
	ap_start(start_second_cpu);
	user_map(user_table);
	user_enter(first_cpu, stacks[0] + STACK);
}
