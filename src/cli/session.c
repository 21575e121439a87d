// SPDX-License-Identifier: Apache-2.0
/*
 * One poll() over the connection, the three standard streams and signals. Each direction has one
 * buffer and waits for it to be empty: frames are read one at a time, and the output in one is
 * written before the next is looked at; standard input is read when all of it before has been sent,
 * and when its window allows.
 */
#include "cli/session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/signals.h"
#include "base/text.h"
#include "common/frame.h"
#include "kvmbox/agent.h"
#include "supervisor/agent.h"
#include "supervisor/terminal.h"

/* At most PIPE_BUF, so that a pipe that polls writable takes it whole, and nothing blocks. */
#define WRITE_MAX 4096
#define INPUT_MAX 16384
#define SMALL_MAX 1024 /* bytes of signals and sizes that wait to be sent */
#define PATIENCE  3    /* so many signals that are passed on, and one ends the session */

#define KEY_DETACH_1 0x10 /* Ctrl-p */
#define KEY_DETACH_2 0x11 /* Ctrl-q */

struct pump {
	const struct session *s;
	struct error *err;
	int signal_fd;
	uint64_t deadline_ns; /* for the first frame, or 0 */
	bool over;
	int status; /* once it is over: as session_run() returns it */

	/* from the peer: frames, and what of the last one's output is to be written */
	struct frame_reader reader;
	const uint8_t *data;
	size_t data_len;
	int data_fd;
	bool ended[3]; /* by enum kvmbox_stream */

	/* to the peer */
	uint8_t out[SMALL_MAX + sizeof(struct kvmbox_frame) + sizeof(struct kvmbox_data) +
		    INPUT_MAX + 1];
	size_t out_len;
	bool input; /* there is more of it to come */
	uint32_t window;
	char error[512]; /* the last ERROR: said at the end, when the terminal is as it was */
	bool key_held;   /* the first key to detach was typed, and not passed on yet */
	unsigned int signals;
};

static void end(struct pump *p, int status)
{
	if (!p->over)
		p->status = status;
	p->over = true;
}

/* ---- to the peer ---- */

static void send_frame(struct pump *p, uint16_t type, const void *head, size_t head_len,
		       const void *body, size_t body_len)
{
	struct kvmbox_frame frame = { .type = type, .len = (uint32_t)(head_len + body_len) };

	if (sizeof(frame) + frame.len > sizeof(p->out) - p->out_len)
		return; /* a peer that does not read has no need of another signal */
	memcpy(p->out + p->out_len, &frame, sizeof(frame));
	p->out_len += sizeof(frame);
	memcpy(p->out + p->out_len, head, head_len);
	p->out_len += head_len;
	if (body_len)
		memcpy(p->out + p->out_len, body, body_len);
	p->out_len += body_len;
}

static void send_input(struct pump *p, const uint8_t *bytes, size_t len)
{
	struct kvmbox_data data = { .stream = KVMBOX_STREAM_IN };

	send_frame(p, KVMBOX_FRAME_DATA, &data, sizeof(data), bytes, len);
	p->window -= (uint32_t)len;
}

static void end_input(struct pump *p)
{
	p->input = false;
	send_input(p, NULL, 0);
}

static void send_size(struct pump *p)
{
	struct kvmbox_winsize size;

	if (terminal_size(&size.rows, &size.cols))
		send_frame(p, KVMBOX_FRAME_WINSIZE, &size, sizeof(size), NULL, 0);
}

/*
 * What of @keys is to be passed on is moved to @out, which has room for one more. Returns true for
 * the keys to detach.
 */
static bool take_keys(struct pump *p, const uint8_t *keys, size_t len, uint8_t *out, size_t *n)
{
	*n = 0;
	for (size_t i = 0; i < len; i++) {
		bool held = p->key_held;

		p->key_held = false;
		if (held && keys[i] == KEY_DETACH_2)
			return true;
		if (held)
			out[(*n)++] = KEY_DETACH_1;
		if (keys[i] == KEY_DETACH_1)
			p->key_held = true;
		else
			out[(*n)++] = keys[i];
	}
	return false;
}

static void read_input(struct pump *p)
{
	/* One byte of the window is for a key that is held back. */
	size_t room = p->window - 1 < INPUT_MAX ? p->window - 1 : INPUT_MAX;
	uint8_t typed[INPUT_MAX], passed[INPUT_MAX + 1];
	ssize_t n = read(p->s->in, typed, room);
	size_t len;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	/* A terminal that has hung up fails with EIO. */
	if (n <= 0) {
		end_input(p);
		return;
	}
	if (!p->s->detach_keys) {
		send_input(p, typed, (size_t)n);
		return;
	}
	if (take_keys(p, typed, (size_t)n, passed, &len))
		end(p, 0);
	else if (len)
		send_input(p, passed, len);
}

static void flush(struct pump *p)
{
	ssize_t n = send(p->s->fd, p->out, p->out_len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		/* It reads no more; what it has still said is told by its end. */
		p->input = false;
		p->out_len = 0;
		return;
	}
	memmove(p->out, p->out + n, p->out_len - (size_t)n);
	p->out_len -= (size_t)n;
}

static void handle_signal(struct pump *p)
{
	struct signalfd_siginfo info;
	struct kvmbox_signal sig;

	if (read(p->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	sig.signo = info.ssi_signo;
	if (sig.signo == SIGWINCH) {
		if (p->s->terminal)
			send_size(p);
	} else if (p->s->terminal || ++p->signals > PATIENCE) {
		end(p, 128 + (int)sig.signo);
	} else {
		send_frame(p, KVMBOX_FRAME_SIGNAL, &sig, sizeof(sig), NULL, 0);
	}
}

/* ---- from the peer, of which nothing is to be believed ---- */

static void take_data(struct pump *p, const uint8_t *payload, size_t len)
{
	struct kvmbox_data data;

	if (len < sizeof(data))
		return;
	memcpy(&data, payload, sizeof(data));
	if (data.stream != KVMBOX_STREAM_OUT && data.stream != KVMBOX_STREAM_ERR)
		return;
	if (len == sizeof(data))
		p->ended[data.stream] = true;
	if (p->ended[data.stream])
		return;
	p->data = payload + sizeof(data);
	p->data_len = len - sizeof(data);
	p->data_fd = data.stream == KVMBOX_STREAM_OUT ? p->s->out : p->s->err;
}

static void take_frame(struct pump *p, uint16_t type, const uint8_t *payload, size_t len)
{
	struct kvmbox_room room;
	struct kvmbox_exit ex;

	switch (type) {
	case KVMBOX_FRAME_DATA:
		take_data(p, payload, len);
		break;
	case KVMBOX_FRAME_ROOM:
		if (len < sizeof(room))
			break;
		memcpy(&room, payload, sizeof(room));
		if (room.bytes > KVMBOX_STDIN_WINDOW - p->window)
			p->window = KVMBOX_STDIN_WINDOW;
		else
			p->window += room.bytes;
		break;
	case KVMBOX_FRAME_ERROR:
		text_keep(p->error, sizeof(p->error), payload, len);
		break;
	case KVMBOX_FRAME_EXIT:
		if (len < sizeof(ex))
			break;
		memcpy(&ex, payload, sizeof(ex));
		end(p, agent_exit_status(&ex));
		break;
	}
}

/* Look at frames that are whole, up to one with output, which is then to be written first. */
static void take_frames(struct pump *p)
{
	struct kvmbox_frame frame;
	const uint8_t *payload;
	int ret = 1;

	while (ret > 0 && !p->over && !p->data_len) {
		ret = frame_next(&p->reader, &frame, &payload);
		if (ret > 0)
			take_frame(p, frame.type, payload, frame.len);
	}
	if (ret < 0)
		end(p, error_set(p->err, EPROTO,
				 "the guest of the VM \"%s\" does not keep to the agent's protocol",
				 p->s->name));
}

static void read_peer(struct pump *p)
{
	ssize_t n = frame_fill(&p->reader, p->s->fd);

	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		end(p,
		    error_set(p->err, ECONNRESET,
			      "the VM \"%s\" ended the connection before an exit status had come",
			      p->s->name));
		return;
	}
	p->deadline_ns = 0;
	take_frames(p);
}

/* Milliseconds for poll() to wait. */
static int wait_time(const struct pump *p)
{
	uint64_t now = clock_now_ns();

	if (!p->deadline_ns)
		return -1;
	return now < p->deadline_ns ? (int)((p->deadline_ns - now) / 1000000 + 1) : 0;
}

static void check_clock(struct pump *p)
{
	if (p->deadline_ns && clock_now_ns() >= p->deadline_ns)
		end(p,
		    error_set(p->err, ETIMEDOUT,
			      "the guest of the VM \"%s\" does not answer: after %g s it has not "
			      "begun",
			      p->s->name, p->s->patience_ms / 1000.0));
}

static void write_output(struct pump *p)
{
	size_t len = p->data_len < WRITE_MAX ? p->data_len : WRITE_MAX;
	ssize_t n = write(p->data_fd, p->data, len);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0 && p->data_fd == p->s->out) {
		/* Nobody reads it any more: as if a command here had written. */
		end(p, errno == EPIPE
			       ? 128 + SIGPIPE
			       : error_set(p->err, errno, "cannot write to standard output: %s",
					   strerror(errno)));
		return;
	}
	if (n < 0) {
		p->ended[KVMBOX_STREAM_ERR] = true;
		n = (ssize_t)p->data_len;
	}
	p->data += n;
	p->data_len -= (size_t)n;
	take_frames(p);
}

/* ---- the loop ---- */

static void step(struct pump *p)
{
	bool typing = p->input && !p->out_len && p->window > 1;
	enum { PEER, IN, OUT, SIGNAL, NPOLL };
	struct pollfd polls[NPOLL] = {
		[PEER] = { .fd = p->s->fd,
			   .events = (short)((p->data_len ? 0 : POLLIN) |
					     (p->out_len ? POLLOUT : 0)) },
		[IN] = { .fd = typing ? p->s->in : -1, .events = POLLIN },
		[OUT] = { .fd = p->data_len ? p->data_fd : -1, .events = POLLOUT },
		[SIGNAL] = { .fd = p->signal_fd, .events = POLLIN },
	};

	/* A peer that has hung up would be told of without end while its output is written. */
	if (!polls[PEER].events)
		polls[PEER].fd = -1;
	if (poll(polls, NPOLL, wait_time(p)) < 0)
		return; /* EINTR */
	if (polls[SIGNAL].revents)
		handle_signal(p);
	if (polls[OUT].revents)
		write_output(p);
	if (polls[IN].revents)
		read_input(p);
	if (p->out_len)
		flush(p);
	if (polls[PEER].revents & (POLLIN | POLLHUP | POLLERR) && !p->data_len && !p->over)
		read_peer(p);
	check_clock(p);
}

int session_run(const struct session *session, struct error *err)
{
	struct pump p = {
		.s = session,
		.err = err,
		.input = session->in >= 0,
		.window = KVMBOX_STDIN_WINDOW,
	};

	p.signal_fd = signals_watch();
	if (p.signal_fd < 0)
		return error_set(err, errno, "cannot watch for signals: %s", strerror(errno));
	if (session->terminal) {
		terminal_make_raw();
		send_size(&p);
	}
	if (session->patience_ms)
		p.deadline_ns = clock_now_ns() + (uint64_t)session->patience_ms * 1000000;
	while (!p.over)
		step(&p);
	terminal_restore();
	if (p.error[0])
		log_line("%s", p.error);
	close(p.signal_fd);
	return p.status;
}
