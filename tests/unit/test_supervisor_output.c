// SPDX-License-Identifier: Apache-2.0
#include "supervisor/output.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS = 16 };

static struct output *o;
static char written[4 << 20]; /* by the workload, as the log sees it */
static size_t nwritten;
static int signals[16];
static unsigned int nsignals, nsizes;
static uint32_t last_rows, last_cols;
static int guest_in = -1, guest_out = -1, guest_err = -1; /* the guest's ends */

static void on_written(void *ctx, const uint8_t *data, size_t len)
{
	cr_assert_eq(ctx, &o);
	cr_assert_leq(nwritten + len, sizeof(written));
	memcpy(written + nwritten, data, len);
	nwritten += len;
}

static void on_signal(void *ctx, int signo)
{
	(void)ctx;
	signals[nsignals++ % 16] = signo;
}

static void on_winsize(void *ctx, uint32_t rows, uint32_t cols)
{
	(void)ctx;
	nsizes++;
	last_rows = rows;
	last_cols = cols;
}

static const struct output_ops ops = { on_written, on_signal, on_winsize };

static void pair_of(int *ours, int *theirs)
{
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	*ours = fds[0];
	*theirs = fds[1];
}

static void setup(void)
{
	cr_assert_eq(output_new(&ops, &o, &o), 0);
}

static void teardown(void)
{
	output_free(o);
}

TestSuite(supervisor_output, .init = setup, .fini = teardown, .timeout = 60);

static int stream_open(enum kvmbox_stream which, bool terminal)
{
	int ours, theirs;

	pair_of(&ours, &theirs);
	output_stream(o, which, ours, terminal);
	return theirs;
}

static void open_streams(void)
{
	guest_in = stream_open(KVMBOX_STREAM_IN, false);
	guest_out = stream_open(KVMBOX_STREAM_OUT, false);
	guest_err = stream_open(KVMBOX_STREAM_ERR, false);
}

static int attach(void)
{
	int ours, theirs;

	pair_of(&ours, &theirs);
	cr_assert_eq(output_attach(o, ours), 0);
	return theirs;
}

static void run(void)
{
	struct pollfd p = { .fd = output_fd(o), .events = POLLIN };

	for (int i = 0; poll(&p, 1, 0) == 1; i++) {
		cr_assert_lt(i, 100000, "it never comes to rest");
		output_run(o);
	}
}

static void put(int fd, const void *data, size_t len)
{
	cr_assert_eq(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void put_frame(int fd, uint16_t type, const void *payload, size_t len)
{
	struct kvmbox_frame f = { .type = type, .len = (uint32_t)len };

	put(fd, &f, sizeof(f));
	if (len)
		put(fd, payload, len);
}

static void type(int fd, const char *text, size_t len)
{
	static char buf[sizeof(struct kvmbox_data) + KVMBOX_FRAME_MAX];
	struct kvmbox_data d = { KVMBOX_STREAM_IN };

	memcpy(buf, &d, sizeof(d));
	memcpy(buf + sizeof(d), text, len);
	put_frame(fd, KVMBOX_FRAME_DATA, buf, sizeof(d) + len);
}

/* What a client has been sent: the streams' bytes, the room it got back, and the end. */
struct heard {
	char out[2 << 20], err[4096];
	size_t out_len, err_len;
	uint32_t room;
	bool exited;
	struct kvmbox_exit end;
	bool gone;
	size_t after_exit;
	uint8_t buf[2 * KVMBOX_FRAME_MAX];
	size_t len;
};

static void hear_frame(struct heard *h, const struct kvmbox_frame *f, const uint8_t *data)
{
	struct kvmbox_data d;
	struct kvmbox_room r;

	if (h->exited)
		h->after_exit += f->len;
	switch (f->type) {
	case KVMBOX_FRAME_DATA:
		memcpy(&d, data, sizeof(d));
		size_t n = f->len - sizeof(d);

		if (d.stream == KVMBOX_STREAM_OUT) {
			memcpy(h->out + h->out_len, data + sizeof(d), n);
			h->out_len += n;
		} else {
			cr_assert_eq(d.stream, KVMBOX_STREAM_ERR);
			memcpy(h->err + h->err_len, data + sizeof(d), n);
			h->err_len += n;
		}
		break;
	case KVMBOX_FRAME_ROOM:
		memcpy(&r, data, sizeof(r));
		h->room += r.bytes;
		break;
	case KVMBOX_FRAME_EXIT:
		memcpy(&h->end, data, sizeof(h->end));
		h->exited = true;
		break;
	default:
		cr_assert_fail("a frame of type %u", f->type);
	}
}

static void hear(int fd, struct heard *h)
{
	for (;;) {
		struct kvmbox_frame f;
		ssize_t n = recv(fd, h->buf + h->len, sizeof(h->buf) - h->len, MSG_DONTWAIT);

		if (n <= 0) {
			h->gone = n == 0 || errno == ECONNRESET;
			return;
		}
		h->len += (size_t)n;
		while (h->len >= sizeof(f)) {
			memcpy(&f, h->buf, sizeof(f));
			if (h->len < sizeof(f) + f.len)
				break;
			hear_frame(h, &f, h->buf + sizeof(f));
			h->len -= sizeof(f) + f.len;
			memmove(h->buf, h->buf + sizeof(f) + f.len, h->len);
		}
	}
}

static struct heard *hear_new(void)
{
	return calloc(1, sizeof(struct heard));
}

static bool is_gone(int fd)
{
	struct heard *h = hear_new();

	hear(fd, h);
	bool gone = h->gone;

	free(h);
	return gone;
}

static size_t read_input(char *buf, size_t size)
{
	ssize_t n = recv(guest_in, buf, size, MSG_DONTWAIT);

	return n > 0 ? (size_t)n : 0;
}

Test(supervisor_output, log_and_clients)
{
	struct heard *h[3];
	int fds[3];

	open_streams();
	put(guest_out, "early ", 6);
	run();
	for (int i = 0; i < 3; i++) {
		h[i] = hear_new();
		fds[i] = attach();
	}
	put(guest_out, "out", 3);
	put(guest_err, "err", 3);
	run();
	cr_assert_eq(nwritten, 12);
	cr_assert_eq(memcmp(written, "early ", 6), 0);
	for (int i = 0; i < 3; i++) {
		hear(fds[i], h[i]);
		cr_assert_eq(h[i]->out_len, 3);
		cr_assert_eq(memcmp(h[i]->out, "out", 3), 0);
		cr_assert_eq(h[i]->err_len, 3);
		cr_assert_eq(memcmp(h[i]->err, "err", 3), 0);
		free(h[i]);
	}
	/* One leaves, and the others do not notice. */
	close(fds[0]);
	put(guest_out, "more", 4);
	run();
	cr_assert_eq(nwritten, 16);
	cr_assert_not(is_gone(fds[1]));
}

Test(supervisor_output, input_and_its_window)
{
	static char text[KVMBOX_FRAME_MAX - sizeof(struct kvmbox_data)];
	static char got[2 * KVMBOX_STDIN_WINDOW];
	struct heard *h = hear_new();
	int fd = attach();
	size_t total = 0, n;

	/* Before the guest has opened it, input waits. */
	type(fd, "abc", 3);
	run();
	hear(fd, h);
	cr_assert_eq(h->room, 0);
	open_streams();
	run();
	cr_assert_eq(read_input(got, sizeof(got)), 3);
	hear(fd, h);
	cr_assert_eq(h->room, 3);

	/* A workload that takes nothing: what fits into its socket, and a window, and no more. */
	h->room = 0;
	for (;;) {
		uint32_t before = h->room;

		type(fd, text, sizeof(text));
		run();
		total += sizeof(text);
		hear(fd, h);
		cr_assert_leq(total - h->room, KVMBOX_STDIN_WINDOW);
		if (h->room - before < sizeof(text))
			break;
		cr_assert_lt(total, sizeof(text) * 100);
	}
	cr_assert_not(h->gone);
	/* It is taken after all. */
	for (size_t left = total; left; left -= n) {
		n = read_input(got, sizeof(got));
		cr_assert(n);
		run();
	}
	hear(fd, h);
	cr_assert_eq(h->room, total);
	free(h);
}

/* More than the window is more than was promised. */
Test(supervisor_output, window_overrun)
{
	static char text[40000];
	int fd = attach(), other = attach();

	type(fd, text, sizeof(text));
	run();
	cr_assert_not(is_gone(fd));
	type(fd, text, sizeof(text));
	run();
	cr_assert(is_gone(fd));
	cr_assert_not(is_gone(other));
}

Test(supervisor_output, end_of_input)
{
	char buf[8];
	int fd = attach();

	open_streams();
	type(fd, "x", 1);
	type(fd, "", 0);
	run();
	cr_assert_eq(recv(guest_in, buf, sizeof(buf), 0), 1);
	cr_assert_eq(recv(guest_in, buf, sizeof(buf), 0), 0);
	/* Still a client; but after the end there is no more. */
	put(guest_out, "y", 1);
	run();
	cr_assert_not(is_gone(fd));
	type(fd, "z", 1);
	run();
	cr_assert(is_gone(fd));
}

/* Nobody types for ever while another waits. */
Test(supervisor_output, typists_take_turns)
{
	static char text[30000], got[4096];
	int fds[2] = { attach(), attach() };
	struct heard *h = hear_new();
	size_t under_way = 0, from_second = 0;
	int ours, small = 4096;

	/* A workload that takes little at a time. */
	pair_of(&ours, &guest_in);
	setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	output_stream(o, KVMBOX_STREAM_IN, ours, false);
	memset(text, 'b', sizeof(text));
	type(fds[1], text, sizeof(text));
	memset(text, 'a', sizeof(text));
	for (int i = 0; i < 200; i++) {
		/* The first has always something to be taken. */
		while (under_way + sizeof(text) <= KVMBOX_STDIN_WINDOW) {
			type(fds[0], text, sizeof(text));
			under_way += sizeof(text);
		}
		run();
		hear(fds[0], h);
		under_way -= h->room;
		h->room = 0;
		size_t n = read_input(got, sizeof(got));

		for (size_t k = 0; k < n; k++)
			from_second += got[k] == 'b';
	}
	cr_assert_eq(from_second, sizeof(text));
	free(h);
}

/* Without --interactive input goes nowhere, and comes back as taken. */
Test(supervisor_output, no_input)
{
	struct heard *h = hear_new();
	int fd = attach();

	output_close_input(o);
	open_streams();
	type(fd, "abc", 3);
	run();
	hear(fd, h);
	cr_assert_eq(h->room, 3);
	char byte;
	cr_assert_eq(recv(guest_in, &byte, 1, 0), 0);
	free(h);
}

/* A workload that has closed its input, or whose guest has. */
Test(supervisor_output, input_refused)
{
	struct heard *h = hear_new();
	int fd = attach();

	open_streams();
	close(guest_in);
	run();
	type(fd, "abc", 3);
	run();
	hear(fd, h);
	cr_assert_eq(h->room, 3);
	cr_assert_not(h->gone);
	free(h);
}

Test(supervisor_output, signals_and_sizes)
{
	struct kvmbox_signal s = { 15 };
	struct kvmbox_winsize w = { 24, 80 };
	static const uint32_t bad[] = { 0, 65, 0x80000000u, UINT32_MAX };
	int fd = attach();

	put_frame(fd, KVMBOX_FRAME_SIGNAL, &s, sizeof(s));
	put_frame(fd, KVMBOX_FRAME_WINSIZE, &w, sizeof(w));
	run();
	cr_assert(nsignals == 1 && signals[0] == 15);
	cr_assert(nsizes == 1 && last_rows == 24 && last_cols == 80);
	/* What makes no sense is skipped: 0 would be more than a signal. */
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		s.signo = bad[i];
		w.rows = bad[i] == 65 ? 65536 : bad[i];
		put_frame(fd, KVMBOX_FRAME_SIGNAL, &s, sizeof(s));
		put_frame(fd, KVMBOX_FRAME_WINSIZE, &w, sizeof(w));
	}
	put_frame(fd, KVMBOX_FRAME_SIGNAL, &s, 3);
	put_frame(fd, KVMBOX_FRAME_WINSIZE, &w, 7);
	put_frame(fd, 9999, "abc", 3);
	run();
	cr_assert(nsignals == 1 && nsizes == 1);
	cr_assert_not(is_gone(fd));
	/* What it says last, before it goes, counts. */
	s.signo = 2;
	put_frame(fd, KVMBOX_FRAME_SIGNAL, &s, sizeof(s));
	close(fd);
	run();
	cr_assert(nsignals == 2 && signals[1] == 2);
}

Test(supervisor_output, clients_that_break_the_protocol)
{
	struct kvmbox_frame long_one = { KVMBOX_FRAME_DATA, 0, KVMBOX_FRAME_MAX + 1 };
	struct kvmbox_data wrong = { KVMBOX_STREAM_OUT };
	int good = attach(), fd;

	open_streams();
	fd = attach();
	put(fd, &long_one, sizeof(long_one));
	run();
	cr_assert(is_gone(fd));
	fd = attach();
	put_frame(fd, KVMBOX_FRAME_DATA, &wrong, sizeof(wrong));
	run();
	cr_assert(is_gone(fd));
	fd = attach();
	put_frame(fd, KVMBOX_FRAME_DATA, &wrong, 3);
	run();
	cr_assert(is_gone(fd));
	cr_assert_not(is_gone(good));
	put(guest_out, "x", 1);
	run();
	cr_assert_eq(nwritten, 1);
}

Test(supervisor_output, frames_byte_by_byte)
{
	struct {
		struct kvmbox_frame f;
		struct kvmbox_data d;
		char text[5];
	} __attribute__((packed)) whole = { { KVMBOX_FRAME_DATA, 0, 9 }, { KVMBOX_STREAM_IN }, "" };
	char buf[8];
	int fd = attach();

	memcpy(whole.text, "hello", 5);
	open_streams();
	for (size_t i = 0; i < sizeof(whole); i++) {
		put(fd, (const char *)&whole + i, 1);
		run();
	}
	cr_assert_eq(read_input(buf, sizeof(buf)), 5);
	cr_assert_eq(memcmp(buf, "hello", 5), 0);
}

/* One that does not read is left behind; the log and the others get all there is. */
Test(supervisor_output, a_client_that_lags)
{
	static char piece[8192];
	struct heard *h = hear_new();
	int lags = attach(), reads = attach();

	open_streams();
	memset(piece, 'x', sizeof(piece));
	for (int i = 0; i < 250; i++) {
		put(guest_out, piece, sizeof(piece));
		run();
		hear(reads, h);
	}
	cr_assert_eq(nwritten, 250 * sizeof(piece));
	cr_assert_eq(h->out_len, 250 * sizeof(piece));
	cr_assert_not(h->gone);
	cr_assert(is_gone(lags));
	free(h);
}

/* Who has closed its half listens on, and is let go in the end. */
Test(supervisor_output, half_close)
{
	struct kvmbox_exit e = { KVMBOX_EXIT_EXITED, 3 };
	struct heard *h = hear_new();
	char buf[8];
	int fd = attach();

	open_streams();
	type(fd, "abc", 3);
	shutdown(fd, SHUT_WR);
	run();
	cr_assert_eq(read_input(buf, sizeof(buf)), 3);
	put(guest_out, "out", 3);
	run();
	output_exit(o, &e);
	run();
	hear(fd, h);
	cr_assert_eq(h->out_len, 3);
	cr_assert(h->exited && h->gone);
	free(h);
	/* And when it goes, it is gone. */
	fd = attach();
	shutdown(fd, SHUT_WR);
	run();
	close(fd);
	run();
}

Test(supervisor_output, exit_after_all_output)
{
	static char piece[8192];
	struct kvmbox_exit e = { KVMBOX_EXIT_SIGNALED, 9 };
	struct heard *h = hear_new();
	int fd = attach();

	open_streams();
	/* More than its socket takes. */
	for (int i = 0; i < 64; i++) {
		put(guest_out, piece, sizeof(piece));
		run();
	}
	cr_assert_not(output_ended(o));
	close(guest_out);
	close(guest_err);
	run();
	cr_assert(output_ended(o));
	output_exit(o, &e);
	cr_assert_not(output_sent(o));
	for (int i = 0; i < 16; i++) {
		run();
		hear(fd, h);
	}
	cr_assert(output_sent(o));
	cr_assert_eq(h->out_len, 64 * sizeof(piece));
	cr_assert(h->exited && h->gone && !h->after_exit);
	cr_assert(h->end.kind == KVMBOX_EXIT_SIGNALED && h->end.value == 9);
	free(h);
}

/* A guest that could not start the workload has opened no streams, and nobody waits for them. */
Test(supervisor_output, no_streams)
{
	cr_assert(output_ended(o));
	output_abandon(o);
	cr_assert(output_ended(o));
}

Test(supervisor_output, guest_gone)
{
	struct heard *h = hear_new();
	int fd = attach();

	open_streams();
	put(guest_out, "last", 4);
	put(guest_err, "words", 5);
	output_abandon(o);
	cr_assert(output_ended(o));
	cr_assert_eq(nwritten, 9);
	hear(fd, h);
	cr_assert(h->out_len == 4 && h->err_len == 5);
	free(h);
}

/* Each stream is opened once. */
Test(supervisor_output, streams_again)
{
	char byte;
	int again;

	open_streams();
	again = stream_open(KVMBOX_STREAM_OUT, false);
	cr_assert_eq(recv(again, &byte, 1, 0), 0);
	close(guest_out);
	run();
	again = stream_open(KVMBOX_STREAM_OUT, false);
	cr_assert_eq(recv(again, &byte, 1, 0), 0);
}

Test(supervisor_output, terminal)
{
	struct heard *h = hear_new();
	char buf[8];
	int fd = attach(), tty = stream_open(KVMBOX_STREAM_IN, true), other;

	/* There is but this one. */
	other = stream_open(KVMBOX_STREAM_OUT, true);
	cr_assert_eq(recv(other, buf, 1, 0), 0);
	put(tty, "prompt", 6);
	type(fd, "keys", 4);
	run();
	cr_assert_eq(recv(tty, buf, sizeof(buf), 0), 4);
	hear(fd, h);
	cr_assert_eq(h->out_len, 6);
	cr_assert_eq(h->room, 4);
	cr_assert_eq(memcmp(written, "prompt", 6), 0);
	/* The end of input is not the end of the terminal. */
	type(fd, "", 0);
	run();
	cr_assert_not(output_ended(o));
	put(tty, "more", 4);
	run();
	hear(fd, h);
	cr_assert_eq(h->out_len, 10);
	close(tty);
	run();
	cr_assert(output_ended(o));
	free(h);
}

/* A guest that floods keeps nobody from being heard. */
Test(supervisor_output, flood)
{
	static char piece[65536];
	struct kvmbox_signal s = { 15 };
	int fd = attach();

	open_streams();
	while (send(guest_out, piece, sizeof(piece), MSG_NOSIGNAL) > 0)
		;
	put_frame(fd, KVMBOX_FRAME_SIGNAL, &s, sizeof(s));
	output_run(o);
	cr_assert_eq(nsignals, 1);
}

Test(supervisor_output, more_clients_than_slots)
{
	int fds[CLIENTS], ours, theirs;

	for (int i = 0; i < CLIENTS; i++) {
		cr_assert_not(output_is_full(o));
		fds[i] = attach();
	}
	cr_assert(output_is_full(o));
	pair_of(&ours, &theirs);
	cr_assert_eq(output_attach(o, ours), -ENOSPC);
	cr_assert(is_gone(theirs));
	close(fds[5]);
	run();
	cr_assert_not(output_is_full(o));
	attach();
	cr_assert(output_is_full(o));
}
