// SPDX-License-Identifier: Apache-2.0
/* The test is passt, at the other end of a socket pair. */
#include "backend/passt.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest_driver.h"

#define HDR    ((int)NETPORT_HEADER)
#define LENGTH 4

/* There in a build with the address sanitizer; criterion ends tests without the check at exit. */
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static struct {
	struct loop *loop;
	struct guest_clock clock;
	struct netport *port;
	int peer;
} w;

static void setup(void)
{
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	w.peer = fds[1];
	fcntl(w.peer, F_SETFL, O_NONBLOCK);
	cr_assert_eq(loop_new(&w.loop, 64), 0);
	guest_clock_init(&w.clock, w.loop);
	cr_assert_eq(passt_port_new(fds[0], &w.port), 0);
	cr_assert_eq(w.port->pairs, 1);
	cr_assert_eq(w.port->offloads, 0);
	cr_assert_eq(w.port->ops->attach(w.port, w.loop), 0);
	w.port->ops->set_offloads(w.port, 0);
	cr_assert_eq(w.port->ops->set_pairs(w.port, 1), 0);
	cr_assert_lt(w.port->ops->set_pairs(w.port, 2), 0);
}

static void teardown(void)
{
	loop_free(w.loop);
	w.port->ops->free(w.port);
	close(w.peer);
	if (__lsan_do_recoverable_leak_check)
		cr_assert_eq(__lsan_do_recoverable_leak_check(), 0);
}

TestSuite(passt, .init = setup, .fini = teardown, .timeout = 60);

/* ---- helpers ---- */

struct job {
	struct netport_io io; /* first */
	struct iovec iov[3];
	bool finished;
	int result;
	uint8_t buf[NETPORT_HEADER + NETPORT_FRAME_MAX];
};

static bool in_call; /* of the port: nothing may be done within */

static void job_done(struct netport_io *io, int result)
{
	struct job *j = (struct job *)io;

	cr_assert_not(in_call);
	cr_assert_not(j->finished, "done twice");
	j->finished = true;
	j->result = result;
}

static struct netport_io *job_init(struct job *j, uint16_t slot, size_t len)
{
	j->finished = false;
	j->iov[0] = (struct iovec){ j->buf, 5 };
	j->iov[1] = (struct iovec){ j->buf + 5, 20 };
	j->iov[2] = (struct iovec){ j->buf + 25, len - 25 };
	j->io = (struct netport_io){ .iov = j->iov, .niov = 3, .slot = slot, .done = job_done };
	return &j->io;
}

static struct job receives[NETPORT_RECEIVES_MAX], sends[NETPORT_SENDS_MAX];

static void receive(unsigned int n)
{
	struct netport_io *ios[NETPORT_RECEIVES_MAX];

	for (unsigned int i = 0; i < n; i++)
		ios[i] = job_init(&receives[i], (uint16_t)i, sizeof(receives[i].buf));
	in_call = true;
	w.port->ops->receive(w.port, 0, ios, n);
	in_call = false;
}

static void turn(void)
{
	guest_clock_turn(&w.clock, 4);
}

static uint8_t byte(size_t i, uint8_t seed)
{
	return (uint8_t)(i * 3 + (i >> 8) + seed);
}

static void start_send(unsigned int slot, size_t len, uint8_t seed)
{
	struct job *j = &sends[slot];

	for (size_t i = 0; i < len; i++)
		j->buf[HDR + i] = byte(i, seed);
	in_call = true;
	w.port->ops->send(w.port, 0, job_init(j, (uint16_t)slot, (size_t)HDR + len));
	in_call = false;
}

static void cancel(void)
{
	in_call = true;
	w.port->ops->cancel(w.port, 0);
	in_call = false;
}

static uint8_t stream[16 << 20];
static size_t stream_len;

/* What the port has written so far, appended to the stream. */
static void peer_reads(size_t max)
{
	ssize_t n;

	while (max && (n = read(w.peer, stream + stream_len, max)) > 0) {
		stream_len += (size_t)n;
		max -= (size_t)n;
	}
}

/* That the stream's next frame, from *@off on, is this. */
static void expect_stream(size_t *off, size_t len, uint8_t seed)
{
	uint32_t length;

	cr_assert_leq(*off + LENGTH + len, stream_len, "a frame is missing");
	memcpy(&length, stream + *off, LENGTH);
	cr_assert_eq(ntohl(length), len);
	for (size_t i = 0; i < len; i++)
		cr_assert_eq(stream[*off + LENGTH + i], byte(i, seed), "byte %zu of frame %u", i,
			     seed);
	*off += LENGTH + len;
}

static size_t put_frame(uint8_t *p, size_t len, uint8_t seed)
{
	uint32_t length = htonl((uint32_t)len);

	memcpy(p, &length, LENGTH);
	for (size_t i = 0; i < len; i++)
		p[LENGTH + i] = byte(i, seed);
	return LENGTH + len;
}

static void peer_writes(const uint8_t *p, size_t len)
{
	cr_assert_eq(write(w.peer, p, len), (ssize_t)len, "%s", strerror(errno));
}

static void expect_received(const struct job *j, size_t len, uint8_t seed)
{
	static const uint8_t zeroes[NETPORT_HEADER];

	cr_assert(j->finished);
	cr_assert_eq(j->result, HDR + (int)len);
	cr_assert_eq(memcmp(j->buf, zeroes, NETPORT_HEADER), 0);
	for (size_t i = 0; i < len; i++)
		cr_assert_eq(j->buf[HDR + i], byte(i, seed), "byte %zu of frame %u", i, seed);
}

/* ---- to passt ---- */

Test(passt, sends)
{
	size_t off = 0;

	for (unsigned int i = 0; i < 5; i++) {
		size_t len = i < 4 ? 14 + 500 * i : NETPORT_FRAME_MAX;

		start_send(0, len, (uint8_t)i);
		turn();
		cr_assert(sends[0].finished);
		cr_assert_geq(sends[0].result, 0);
		peer_reads(1 << 20);
		expect_stream(&off, len, (uint8_t)i);
		cr_assert_eq(off, stream_len);
	}
}

/* Frames that come while another is being sent go together, in order. */
Test(passt, coalesces)
{
	size_t off = 0;

	for (unsigned int i = 0; i < NETPORT_SENDS_MAX; i++)
		start_send(i, 100 + i, (uint8_t)i);
	turn();
	peer_reads(1 << 20);
	for (unsigned int i = 0; i < NETPORT_SENDS_MAX; i++) {
		cr_assert(sends[i].finished);
		expect_stream(&off, 100 + i, (uint8_t)i);
	}
	cr_assert_eq(off, stream_len);
}

/* A passt that does not read holds what two buffers and its socket hold, and the rest waits. */
Test(passt, back_pressure)
{
	unsigned int next = 0, waiting = 0;
	size_t off = 0;

	/* Until nothing is done any more. */
	for (unsigned int i = 0; i < NETPORT_SENDS_MAX; i++)
		sends[i].finished = true;
	for (waiting = 0; waiting < NETPORT_SENDS_MAX && next < 200;) {
		unsigned int slot = next % NETPORT_SENDS_MAX;

		if (!sends[slot].finished)
			break;
		start_send(slot, 30000, (uint8_t)next++);
		turn();
		waiting = 0;
		for (unsigned int i = 0; i < NETPORT_SENDS_MAX; i++)
			waiting += !sends[i].finished;
	}
	cr_assert_gt(waiting, 40);
	cr_assert_lt(next, 150, "%u frames are somewhere", next);
	turn();
	/* In crumbs, so that what is sent is sent in parts. */
	while (stream_len < next * (size_t)30004) {
		peer_reads(7777);
		turn();
	}
	for (unsigned int i = 0; i < next; i++)
		expect_stream(&off, 30000, (uint8_t)i);
	for (unsigned int i = 0; i < NETPORT_SENDS_MAX; i++) {
		cr_assert(sends[i].finished);
		cr_assert_geq(sends[i].result, 0);
	}
}

/* ---- from passt ---- */

Test(passt, receives)
{
	size_t n = 0;

	for (unsigned int i = 0; i < 4; i++)
		n += put_frame(stream + n, 60 + i * 1000, (uint8_t)i);
	receive(4);
	turn();
	cr_assert_not(receives[0].finished);
	peer_writes(stream, n);
	turn();
	for (unsigned int i = 0; i < 4; i++)
		expect_received(&receives[i], 60 + i * 1000, (uint8_t)i);
}

Test(passt, receives_in_pieces)
{
	for (size_t piece = 1; piece < 40; piece += 3) {
		size_t n = put_frame(stream, 61, 1);

		n += put_frame(stream + n, 14, 2);
		receive(2);
		for (size_t off = 0; off < n; off += piece) {
			peer_writes(stream + off, n - off < piece ? n - off : piece);
			guest_clock_turn(&w.clock, 2);
		}
		turn();
		expect_received(&receives[0], 61, 1);
		expect_received(&receives[1], 14, 2);
	}
	size_t n = put_frame(stream, NETPORT_FRAME_MAX, 3);

	receive(1);
	for (size_t off = 0; off < n; off += 5000) {
		peer_writes(stream + off, n - off < 5000 ? n - off : 5000);
		turn();
	}
	expect_received(&receives[0], NETPORT_FRAME_MAX, 3);
}

/* Longer than its memory: cut; the next is where it belongs. */
Test(passt, frame_that_is_cut)
{
	struct netport_io *ios[2] = { job_init(&receives[0], 0, 100),
				      job_init(&receives[1], 1, sizeof(receives[1].buf)) };
	size_t n = put_frame(stream, 500, 1);

	n += put_frame(stream + n, 70, 2);
	w.port->ops->receive(w.port, 0, ios, 2);
	peer_writes(stream, n);
	turn();
	expect_received(&receives[0], 100 - NETPORT_HEADER, 1);
	expect_received(&receives[1], 70, 2);
}

/* When nobody receives, passt comes to a halt; nothing of it is lost. */
Test(passt, back_pressure_of_receives)
{
	size_t total = 0, off = 0;
	unsigned int frames = 0;

	for (; frames < 500; frames++)
		total += put_frame(stream + total, 20000, (uint8_t)frames);
	receive(1);
	for (int idle = 0; idle < 10; idle++) {
		ssize_t n = write(w.peer, stream + off, total - off);

		if (n > 0) {
			off += (size_t)n;
			idle = 0;
		}
		turn();
	}
	cr_assert_lt(off, total, "all of it went somewhere");
	expect_received(&receives[0], 20000, 0);
	for (unsigned int i = 1; i < frames;) {
		unsigned int n = frames - i < 3 ? frames - i : 3;

		receive(n);
		while (!receives[n - 1].finished) {
			ssize_t k = off < total ? write(w.peer, stream + off, total - off) : 0;

			off += k > 0 ? (size_t)k : 0;
			turn();
		}
		for (unsigned int k = 0; k < n; k++)
			expect_received(&receives[k], 20000, (uint8_t)(i + k));
		i += n;
	}
}

static void expect_lost(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		cr_assert(receives[i].finished);
		cr_assert_eq(receives[i].result, -ENODEV);
	}
	/* And whatever comes later. */
	receive(2);
	start_send(0, 60, 0);
	turn();
	cr_assert(receives[1].finished && sends[0].finished);
	cr_assert_eq(receives[1].result, -ENODEV);
	cr_assert_eq(sends[0].result, -ENODEV);
	cancel();
	turn();
}

/* A length that no frame has is the end: where the next one begins is not to be known. */
Test(passt, bad_lengths)
{
	static const uint32_t lengths[] = { 0, NETPORT_FRAME_MAX + 1, 0x7fffffff, 0xffffffff };

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint32_t length = htonl(lengths[i]);

		receive(2);
		turn();
		peer_writes((uint8_t *)&length, 4);
		turn();
		expect_lost();
		if (i + 1 < sizeof(lengths) / sizeof(lengths[0])) {
			teardown();
			setup();
		}
	}
}

/* ---- ends ---- */

Test(passt, cancel)
{
	cancel();
	for (unsigned int n = 1; n <= 4; n++) {
		for (int waits = 0; waits < 2; waits++) {
			receive(n);
			if (waits)
				turn();
			cancel();
			cancel();
			turn();
			for (unsigned int i = 0; i < n; i++) {
				cr_assert(receives[i].finished);
				cr_assert_eq(receives[i].result, -ECANCELED);
			}
		}
	}
	/* Not the ones that begin later; and of the stream nothing is lost, half a frame included.
	 */
	size_t n = put_frame(stream, 200, 9);

	receive(2);
	peer_writes(stream, 100);
	turn();
	cancel();
	turn();
	cr_assert_eq(receives[0].result, -ECANCELED);
	receive(2);
	peer_writes(stream + 100, n - 100);
	turn();
	expect_received(&receives[0], 200, 9);
	cr_assert_not(receives[1].finished);
}

Test(passt, cancel_of_sends)
{
	unsigned int slot, done = 0, cancelled = 0;
	size_t off = 0;

	for (slot = 0; slot < NETPORT_SENDS_MAX; slot++)
		start_send(slot, 60000, (uint8_t)slot);
	turn();
	cancel();
	turn();
	for (slot = 0; slot < NETPORT_SENDS_MAX; slot++) {
		cr_assert(sends[slot].finished);
		cancelled += sends[slot].result == -ECANCELED;
		done += sends[slot].result >= 0;
	}
	cr_assert_eq(done + cancelled, NETPORT_SENDS_MAX);
	cr_assert(done && cancelled);
	/* What is on its way goes in whole frames, and so does the next one. */
	start_send(0, 100, 77);
	for (int i = 0; i < 300; i++) {
		peer_reads(1 << 20);
		turn();
	}
	for (slot = 0; slot < done; slot++)
		expect_stream(&off, 60000, (uint8_t)slot);
	expect_stream(&off, 100, 77);
	cr_assert_eq(off, stream_len);
}

Test(passt, peer_closes)
{
	size_t n = put_frame(stream, 80, 1);

	/* What it said before is not lost. */
	receive(3);
	peer_writes(stream, n);
	shutdown(w.peer, SHUT_RDWR);
	turn();
	expect_received(&receives[0], 80, 1);
	cr_assert_eq(receives[1].result, -ENODEV);
	cr_assert_eq(receives[2].result, -ENODEV);
	receives[0].result = -ENODEV;
	expect_lost();
}

Test(passt, peer_closes_while_sends_wait)
{
	for (unsigned int i = 0; i < NETPORT_SENDS_MAX; i++)
		start_send(i, 60000, 0);
	turn();
	shutdown(w.peer, SHUT_RDWR);
	turn();
	for (unsigned int i = 0; i < NETPORT_SENDS_MAX; i++)
		cr_assert(sends[i].finished);
	cr_assert_eq(sends[NETPORT_SENDS_MAX - 1].result, -ENODEV);
	receive(2);
	turn();
	expect_lost();
}
