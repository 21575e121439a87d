// SPDX-License-Identifier: Apache-2.0
/*
 * One poll loop between the host and a command. What comes from the host is
 * taken at once: standard input into a buffer as large as its window. What goes
 * to the host goes through a buffer of one frame, and the command's output is
 * read only when that is empty, so that a host which does not read stalls the
 * output and nothing else.
 *
 * The command's end is not the end of its output, since processes that it leaves
 * behind may hold that open for ever, and may still be about to write what was
 * meant for the host. So what is there is read until nothing has come for a
 * moment.
 */
#include "init/exec.h"

#include "common/frame.h"
#include "init/child.h"
#include "init/clock.h"
#include "init/link.h"
#include "init/message.h"
#include "init/workload.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SEND_TIMEOUT_MS 10000

#define OUTPUT_MAX 16384

/* After the command's end: how long without output is the end of it, ... */
#define SILENCE_MS 100

/*
 * ... and from when on so short a silence is, or, if there is none, so many
 * bytes beyond what a pipe held at the end. A terminal does not tell what it
 * holds, which is less than these.
 */
#define PATIENCE_MS      1000
#define SILENCE_SHORT_MS 10
#define OWED_MIN         (128u << 10)

/* How often output is read before the others have their turn. */
#define READS 8

enum { OUTPUTS = 2 };

struct output {
	int fd;        /* -1: it has ended */
	bool told;     /* so has the host been */
	uint64_t owed; /* once the command has ended: bytes to read whatever happens */
};

struct exec {
	struct control control;
	struct workload command;
	bool terminal;
	bool ended;
	struct kvmbox_exit exit;
	int64_t ended_ms;
	int64_t output_ms; /* when the last output was with the host */

	int in;      /* -1: nobody reads it */
	bool in_end; /* no more comes from the host */
	size_t in_at;
	size_t in_have;
	uint32_t room; /* taken, but not yet given back */
	uint8_t in_buf[KVMBOX_STDIN_WINDOW];

	struct output out[OUTPUTS];
	unsigned int turn; /* which output is looked at first */
	size_t tx_at;
	size_t tx_have;
	struct {
		struct kvmbox_frame frame;
		union {
			struct kvmbox_data data;
			struct kvmbox_room room;
		};
		uint8_t bytes[OUTPUT_MAX];
	} tx;
};

static struct exec exec;

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Takes count strings into list, which has room for them and NULL. */
static bool strings_take(char **list, uint32_t count, char **next, size_t *left)
{
	for (uint32_t i = 0; i < count; i++) {
		list[i] = frame_string(next, left);
		if (!list[i])
			return false;
	}
	list[count] = NULL;
	return true;
}

static bool env_is_good(char **env)
{
	for (; *env; env++)
		if (**env == '=' || !strchr(*env, '='))
			return false;
	return true;
}

int exec_request_init(struct exec_request *r, char *payload, size_t len)
{
	struct kvmbox_exec head;
	char *next = payload + sizeof(head);
	size_t left;
	char **argv;
	char **env;
	char *cwd;

	if (len < sizeof(head))
		return -EPROTO;
	memcpy(&head, payload, sizeof(head));
	left = len - sizeof(head);
	/* Each string has a byte at least, which bounds what is allocated. */
	if (!head.argc || (uint64_t)head.argc + head.envc + 1 > left)
		return -EPROTO;
	argv = calloc((size_t)head.argc + 1 + head.envc + 1, sizeof(*argv));
	if (!argv)
		return -ENOMEM;
	env = argv + head.argc + 1;
	if (!strings_take(argv, head.argc, &next, &left) ||
	    !strings_take(env, head.envc, &next, &left) || !(cwd = frame_string(&next, &left)) ||
	    !env_is_good(env)) {
		free(argv);
		return -EPROTO;
	}
	*r = (struct exec_request){
		.terminal = head.flags & KVMBOX_EXEC_TERMINAL,
		.input = head.flags & KVMBOX_EXEC_STDIN,
		.argv = argv,
		.env = env,
		.cwd = *cwd ? cwd : NULL,
	};
	if (head.rows <= UINT16_MAX && head.cols <= UINT16_MAX) {
		r->rows = (uint16_t)head.rows;
		r->cols = (uint16_t)head.cols;
	}
	return 0;
}

void exec_request_deinit(struct exec_request *r)
{
	free(r->argv);
	*r = (struct exec_request){ 0 };
}

/* With a terminal, its descriptor is the output's as well. */
static void input_close(void)
{
	if (exec.in >= 0 && !exec.terminal)
		close(exec.in);
	exec.in = -1;
	exec.room += (uint32_t)exec.in_have;
	exec.in_have = 0;
}

static void input_write(void)
{
	while (exec.in >= 0 && exec.in_have) {
		size_t straight = sizeof(exec.in_buf) - exec.in_at;
		ssize_t n = write(exec.in, exec.in_buf + exec.in_at,
				  exec.in_have < straight ? exec.in_have : straight);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			input_close();
			return;
		}
		exec.in_at = (exec.in_at + (size_t)n) % sizeof(exec.in_buf);
		exec.in_have -= (size_t)n;
		exec.room += (uint32_t)n;
	}
	/* A terminal has no end of its input but what is typed. */
	if (exec.in_end && !exec.terminal)
		input_close();
}

/* Returns false for more than the window allows. */
static bool input_take(const uint8_t *bytes, size_t len)
{
	if (len > KVMBOX_STDIN_WINDOW - exec.in_have - exec.room)
		return false;
	if (!len)
		exec.in_end = true;
	if (exec.in < 0) {
		exec.room += (uint32_t)len;
		return true;
	}
	while (len) {
		size_t at = (exec.in_at + exec.in_have) % sizeof(exec.in_buf);
		size_t straight = sizeof(exec.in_buf) - at;
		size_t part = len < straight ? len : straight;

		memcpy(exec.in_buf + at, bytes, part);
		exec.in_have += part;
		bytes += part;
		len -= part;
	}
	input_write();
	return true;
}

static void command_signal(uint32_t signo)
{
	pid_t group;

	if (signo < 1 || signo > 64 || exec.ended)
		return;
	if (!exec.terminal)
		kill(exec.command.pid, (int)signo);
	/* The terminal's answer is the command's doing: never PID 1's group or all. */
	else if (ioctl(exec.command.in, TIOCGPGRP, &group) == 0 && group > 1)
		kill(-group, (int)signo);
}

static void terminal_resize(const struct kvmbox_winsize *s)
{
	struct winsize size = { .ws_row = (unsigned short)s->rows,
				.ws_col = (unsigned short)s->cols };

	if (exec.terminal && s->rows && s->cols && s->rows <= UINT16_MAX && s->cols <= UINT16_MAX)
		ioctl(exec.command.in, TIOCSWINSZ, &size);
}

/* Returns false if the session is over. */
static bool host_serve(void)
{
	const void *payload;
	int ret;

	while ((ret = control_receive(&exec.control, &payload)) > 0) {
		const struct kvmbox_frame *frame = &exec.control.frame;
		union {
			struct kvmbox_signal signal;
			struct kvmbox_winsize winsize;
			struct kvmbox_data data;
		} head = { 0 };

		memcpy(&head, payload, frame->len < sizeof(head) ? frame->len : sizeof(head));
		if (frame->type == KVMBOX_FRAME_SIGNAL && frame->len >= sizeof(head.signal))
			command_signal(head.signal.signo);
		if (frame->type == KVMBOX_FRAME_WINSIZE && frame->len >= sizeof(head.winsize))
			terminal_resize(&head.winsize);
		if (frame->type == KVMBOX_FRAME_DATA && frame->len >= sizeof(head.data) &&
		    head.data.stream == KVMBOX_STREAM_IN &&
		    !input_take((const uint8_t *)payload + sizeof(head.data),
				frame->len - sizeof(head.data)))
			return false;
	}
	return ret == 0;
}

static void command_reap(void)
{
	int status;

	if (exec.ended || waitpid(exec.command.pid, &status, WNOHANG) != exec.command.pid)
		return;
	exec.ended = true;
	exec.ended_ms = now_ms();
	exec.output_ms = exec.ended_ms;
	exec.exit = child_exit(status);
	if (exec.command.hold >= 0)
		close(exec.command.hold);
	exec.command.hold = -1;
	input_close();
	for (int i = 0; i < OUTPUTS; i++) {
		int there = 0;

		ioctl(exec.out[i].fd, FIONREAD, &there);
		exec.out[i].owed = (uint64_t)there + OWED_MIN;
	}
}

static void output_end(struct output *o)
{
	if (o->fd >= 0 && !exec.terminal)
		close(o->fd);
	o->fd = -1;
}

/* Makes len bytes of payload behind the header the frame that goes out next. */
static void tx_begin(uint16_t type, size_t len)
{
	exec.tx.frame = (struct kvmbox_frame){ .type = type, .len = (uint32_t)len };
	exec.tx_at = 0;
	exec.tx_have = sizeof(exec.tx.frame) + len;
}

static bool output_read(struct output *o, enum kvmbox_stream stream)
{
	ssize_t n = read(o->fd, exec.tx.bytes, sizeof(exec.tx.bytes));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	/* A pseudo terminal ends in EIO; any error is the end. */
	if (n <= 0) {
		output_end(o);
		return false;
	}
	if (exec.ended) {
		o->owed -= (uint64_t)n < o->owed ? (uint64_t)n : o->owed;
		if (!o->owed && now_ms() - exec.ended_ms >= PATIENCE_MS)
			output_end(o);
	}
	exec.tx.data.stream = stream;
	tx_begin(KVMBOX_FRAME_DATA, sizeof(exec.tx.data) + (size_t)n);
	return true;
}

/* Fills the empty buffer with what is to be sent next, if there is anything. */
static bool tx_fill(int *reads)
{
	if (exec.room) {
		exec.tx.room.bytes = exec.room;
		exec.room = 0;
		tx_begin(KVMBOX_FRAME_ROOM, sizeof(exec.tx.room));
		return true;
	}
	for (int i = 0; i < OUTPUTS; i++) {
		unsigned int which = exec.turn++ % OUTPUTS;
		struct output *o = &exec.out[which];
		enum kvmbox_stream stream = which ? KVMBOX_STREAM_ERR : KVMBOX_STREAM_OUT;

		if (o->fd >= 0 && (*reads)-- > 0 && output_read(o, stream))
			return true;
		if (o->fd < 0 && !o->told) {
			o->told = true;
			exec.tx.data.stream = stream;
			tx_begin(KVMBOX_FRAME_DATA, sizeof(exec.tx.data));
			return true;
		}
	}
	return false;
}

/* Sends what can be sent. Returns false if the host is gone. */
static bool tx_move(void)
{
	int reads = READS;

	while (exec.tx_have || tx_fill(&reads)) {
		ssize_t n = write(exec.control.fd, (uint8_t *)&exec.tx + exec.tx_at, exec.tx_have);

		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0) {
			exec.tx_at += (size_t)n;
			exec.tx_have -= (size_t)n;
		}
		if (exec.ended && !exec.tx_have)
			exec.output_ms = now_ms();
	}
	return true;
}

static bool outputs_are_over(void)
{
	for (int i = 0; i < OUTPUTS; i++)
		if (exec.out[i].fd >= 0 || !exec.out[i].told)
			return false;
	return !exec.tx_have;
}

/* How long to wait for output; a time only when the command has ended. */
static int silence_left(void)
{
	int64_t now = now_ms();
	int64_t silence = now - exec.ended_ms < PATIENCE_MS ? SILENCE_MS : SILENCE_SHORT_MS;
	int64_t left = exec.output_ms + silence - now;

	/* Before the host has taken the last of it there is no silence. */
	if (!exec.ended || exec.tx_have)
		return -1;
	return left < 0 ? 0 : (int)left;
}

/* Returns true when the command and its output have ended. */
static bool loop(void)
{
	sigset_t none;

	sigemptyset(&none);
	for (;;) {
		struct pollfd fds[2 + OUTPUTS];
		struct timespec wait;
		int ms;
		int n;

		command_reap();
		if (!tx_move())
			return false;
		if (exec.ended && outputs_are_over())
			return true;
		fds[0] = (struct pollfd){ .fd = exec.control.fd, .events = POLLIN };
		if (exec.tx_have)
			fds[0].events |= POLLOUT;
		fds[1] = (struct pollfd){ .fd = exec.in_have ? exec.in : -1, .events = POLLOUT };
		for (int i = 0; i < OUTPUTS; i++)
			fds[2 + i] = (struct pollfd){ .fd = exec.tx_have ? -1 : exec.out[i].fd,
						      .events = POLLIN };
		ms = silence_left();
		wait = (struct timespec){ .tv_sec = 0, .tv_nsec = (long)ms * 1000000 };
		n = ppoll(fds, 2 + OUTPUTS, ms < 0 ? NULL : &wait, &none);
		if (n == 0)
			for (int i = 0; i < OUTPUTS; i++)
				output_end(&exec.out[i]);
		if (n <= 0)
			continue;
		if (fds[0].revents & ~POLLOUT && !host_serve())
			return false;
		if (fds[1].revents)
			input_write();
	}
}

static void fd_unblock(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void streams_begin(const struct exec_request *r)
{
	struct workload *c = &exec.command;

	exec.in = c->in;
	exec.out[0].fd = exec.terminal ? c->in : c->out;
	exec.out[1].fd = c->err;
	exec.out[1].told = exec.terminal;
	fd_unblock(c->in);
	fd_unblock(c->out);
	fd_unblock(c->err);
	if (!r->input)
		input_close();
}

void exec_run(int fd, const struct exec_request *r, const struct description *d)
{
	const struct command command = {
		.argv = r->argv,
		.env = { d->env, r->env },
		.hostname = d->hostname,
		.cwd = r->cwd ? r->cwd : d->cwd,
		.terminal = r->terminal,
		.rows = r->rows,
		.cols = r->cols,
	};
	struct kvmbox_started started;
	struct message why;
	int ret;

	exec.control.fd = fd;
	exec.terminal = r->terminal;
	child_watch();
	/* The command may hang the terminal up, of which this process is the leader. */
	signal(SIGHUP, SIG_IGN);
	ret = workload_start(&exec.command, &command, &why);
	if (ret) {
		control_send(&exec.control, KVMBOX_FRAME_ERROR, why.text, strlen(why.text));
		exec.exit.kind = ret < 0 ? KVMBOX_EXIT_NOT_STARTED : KVMBOX_EXIT_EXITED;
		exec.exit.value = (uint32_t)(ret < 0 ? -ret : ret);
	} else {
		started.boot_ns = clock_boot_ns();
		control_send(&exec.control, KVMBOX_FRAME_STARTED, &started, sizeof(started));
		streams_begin(r);
		if (!loop())
			return;
	}
	control_send(&exec.control, KVMBOX_FRAME_EXIT, &exec.exit, sizeof(exec.exit));
}
