// SPDX-License-Identifier: Apache-2.0
/*
 * PID 1 of the guest. It lies alone in the initramfs, mounts the root that the
 * machine description names, runs one workload in it, and is the host's hand in
 * the guest while that lasts (kvmbox/agent.h has the protocol).
 *
 * The streams to the host are opened without waiting, the control stream before
 * anything else, and the mounts are made while the host answers. From the
 * workload's start on there is one loop that only waits in ppoll(): SIGCHLD is
 * blocked but there, so no exit is missed between a look and the wait. What the
 * host asks for beside the workload is served by a process for each session.
 *
 * The end is in order: the workload is gone (or SHUTDOWN came, or the host went
 * away), everything else is killed and reaped, the output is written out to its
 * end, the file systems are made clean, and only then EXIT is sent. PID 1 must
 * not end itself, so every failure ends in the machine's reset as well.
 */
#include "init/child.h"
#include "init/clock.h"
#include "init/description.h"
#include "init/link.h"
#include "init/message.h"
#include "init/mount.h"
#include "init/net.h"
#include "init/relay.h"
#include "init/session.h"
#include "init/system.h"
#include "init/workload.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* How long connections wait after one could not be taken. */
#define LISTENER_REST_NS 100000000

enum { STREAM_IN, STREAM_OUT, STREAM_ERR, STREAMS };

struct init {
	struct control control;
	struct description description;
	int streams[STREAMS]; /* sockets until the relays take them, or -1 */
	struct relay relays[STREAMS];
	struct workload workload;
	int listener;                 /* for sessions, or -1 */
	bool resting;                 /* the listener is not looked at for a moment */
	pid_t sessions[SESSIONS_MAX]; /* 0: none */
	bool ending;                  /* all are killed: the rest is to reap and to drain */
	bool abandoned;               /* the host is gone: nothing is to be drained for it */
	bool reaped;                  /* no child is left */
	struct kvmbox_exit exit;
};

/* PID 1 has no use for a heap of its own that could fail. */
static struct init init;

static __attribute__((noreturn)) void machine_reset(void)
{
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

/* Tells the host, and the console, which is there even where no host answers. */
static void say(const char *sentence)
{
	control_send(&init.control, KVMBOX_FRAME_ERROR, sentence, strlen(sentence));
	dprintf(STDERR_FILENO, "kvmbox init: %s\n", sentence);
	/* A reset may follow, and it does not wait for the console. */
	tcdrain(STDERR_FILENO);
}

static __attribute__((noreturn)) void finish(void)
{
	control_send(&init.control, KVMBOX_FRAME_EXIT, &init.exit, sizeof(init.exit));
	control_linger(&init.control);
	machine_reset();
}

/* Nothing was run: ends the machine. err is a negative errno. */
static __attribute__((noreturn)) void give_up(int err, const char *sentence)
{
	struct message ignored;

	say(sentence);
	init.exit.kind = KVMBOX_EXIT_NOT_STARTED;
	init.exit.value = (uint32_t)-err;
	for (int i = 0; i < STREAMS; i++)
		if (init.streams[i] >= 0)
			close(init.streams[i]);
	mount_finish(&ignored);
	finish();
}

static void control_open(uint64_t start_ns)
{
	struct kvmbox_hello hello = {
		.version = KVMBOX_AGENT_VERSION,
		.boot_ns = start_ns,
	};
	struct message why;
	int fd = init.control.fd;
	int ret = fd < 0 ? fd : link_finish(fd);

	if (ret == 0) {
		ret = control_send(&init.control, KVMBOX_FRAME_HELLO, &hello, sizeof(hello));
		if (ret == 0)
			return;
	}
	init.control.fd = -1;
	if (ret == -EAFNOSUPPORT)
		message_set(&why, 0, "this kernel has no vsock, so the host cannot be reached");
	else
		message_set(&why, -ret, "the host does not answer on vsock port %d",
			    KVMBOX_PORT_CONTROL);
	give_up(ret, why.text);
}

static void description_open(void)
{
	const char *base = KVMBOX_DESCRIPTION_FDT;
	struct message why;
	int ret;

	if (access(base, F_OK) < 0)
		base = KVMBOX_DESCRIPTION_CPIO;
	ret = description_init(&init.description, base, &why);
	if (ret < 0)
		give_up(ret, why.text);
}

static void streams_start(void)
{
	static const uint32_t ports[STREAMS] = { KVMBOX_PORT_STDIN, KVMBOX_PORT_STDOUT,
						 KVMBOX_PORT_STDERR };

	for (int i = 0; i < STREAMS; i++)
		if (i == STREAM_IN || !init.description.terminal)
			init.streams[i] = link_start(ports[i]);
}

/* A stream that the host does not take is closed to the workload. */
static void streams_finish(void)
{
	for (int i = 0; i < STREAMS; i++) {
		if (init.streams[i] < 0 || link_finish(init.streams[i]) == 0)
			continue;
		close(init.streams[i]);
		init.streams[i] = -1;
	}
}

static void system_prepare(void)
{
	const char *hostname = init.description.hostname;
	struct message why;

	if (hostname && sethostname(hostname, strlen(hostname)) < 0) {
		message_set(&why, errno, "the hostname %s cannot be set", hostname);
		say(why.text);
	}
	/* A workload may do without, and finds out by itself if not. */
	if (net_setup(&init.description, &why) < 0)
		say(why.text);
}

static int fd_dup(int fd)
{
	return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static void relays_start(void)
{
	struct workload *w = &init.workload;
	int *streams = init.streams;

	if (init.description.terminal) {
		relay_init(&init.relays[STREAM_OUT], fd_dup(w->in), fd_dup(streams[STREAM_IN]));
		relay_init(&init.relays[STREAM_ERR], -1, -1);
	} else if (init.description.init) {
		relay_init(&init.relays[STREAM_OUT], fd_dup(w->in), streams[STREAM_OUT]);
		relay_init(&init.relays[STREAM_ERR], -1, streams[STREAM_ERR]);
	} else {
		relay_init(&init.relays[STREAM_OUT], w->out, streams[STREAM_OUT]);
		relay_init(&init.relays[STREAM_ERR], w->err, streams[STREAM_ERR]);
	}
	relay_init(&init.relays[STREAM_IN], streams[STREAM_IN], w->in);
}

static void workload_open(void)
{
	const struct description *d = &init.description;
	static char *nothing[] = { NULL };
	const struct command command = {
		.argv = d->argv,
		.env = { d->env, nothing },
		.hostname = d->hostname,
		.cwd = d->cwd,
		.system = d->init,
		.terminal = d->terminal,
		.rows = d->rows,
		.cols = d->cols,
	};
	struct kvmbox_started started;
	struct message why;
	int ret = workload_start(&init.workload, &command, &why);

	if (ret < 0)
		give_up(ret, why.text);
	relays_start();
	if (ret > 0) {
		say(why.text);
		init.exit.kind = KVMBOX_EXIT_EXITED;
		init.exit.value = (uint32_t)ret;
		init.ending = true;
		return;
	}
	started.boot_ns = clock_boot_ns();
	control_send(&init.control, KVMBOX_FRAME_STARTED, &started, sizeof(started));
}

static void listener_close(void)
{
	if (init.listener >= 0)
		close(init.listener);
	init.listener = -1;
}

/* Kills all that is left; what the workload has written is still delivered. */
static void end_begin(void)
{
	if (init.ending)
		return;
	init.ending = true;
	listener_close();
	kill(-1, SIGKILL);
	if (init.workload.hold >= 0)
		close(init.workload.hold);
	init.workload.hold = -1;
	relay_deinit(&init.relays[STREAM_IN]);
}

/* In the new process: leaves all that is PID 1's to PID 1. */
static __attribute__((noreturn)) void session_begin(int fd)
{
	listener_close();
	close(init.control.fd);
	for (int i = 0; i < STREAMS; i++)
		relay_deinit(&init.relays[i]);
	if (init.workload.hold >= 0)
		close(init.workload.hold);
	if (init.description.init && system_enter(init.workload.pid) < 0)
		_exit(1);
	session_run(fd, &init.description);
}

static void session_start(int fd)
{
	pid_t *slot = init.sessions;

	while (slot < init.sessions + SESSIONS_MAX && *slot)
		slot++;
	if (slot < init.sessions + SESSIONS_MAX) {
		pid_t pid = fork();

		if (pid == 0)
			session_begin(fd);
		if (pid > 0)
			*slot = pid;
	}
	close(fd);
}

static void listener_serve(void)
{
	int fd = link_accept(init.listener);

	if (fd >= 0)
		session_start(fd);
	else
		init.resting = fd == -ENOMEM;
}

static void session_forget(pid_t pid)
{
	for (int i = 0; i < SESSIONS_MAX; i++)
		if (init.sessions[i] == pid)
			init.sessions[i] = 0;
}

static void children_reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		session_forget(pid);
		if (pid != init.workload.pid)
			continue;
		init.workload.pid = 0;
		/* A reboot(2) in a PID namespace is one of these to its init, and nothing else is.
		 */
		if (init.description.init && WIFSIGNALED(status) &&
		    (WTERMSIG(status) == SIGHUP || WTERMSIG(status) == SIGINT))
			status = 0;
		init.exit = child_exit(status);
		end_begin();
	}
	init.reaped = pid < 0;
}

static void workload_signal(const struct kvmbox_signal *s)
{
	pid_t pid = init.workload.pid;

	if (pid <= 0 || s->signo < 1 || s->signo > 64)
		return;
	if (init.description.init)
		system_signal(pid, (int)s->signo);
	else
		kill(init.description.terminal ? -pid : pid, (int)s->signo);
}

static void terminal_resize(const struct kvmbox_winsize *s)
{
	struct winsize size = { .ws_row = (unsigned short)s->rows,
				.ws_col = (unsigned short)s->cols };

	if (!s->rows || !s->cols || s->rows > UINT16_MAX || s->cols > UINT16_MAX)
		return;
	/* The master's side, as an init's children may hang the other one up. */
	if (init.description.terminal)
		ioctl(init.relays[STREAM_OUT].from, TIOCSWINSZ, &size);
}

static void control_serve(void)
{
	const void *payload;
	int ret;

	while ((ret = control_receive(&init.control, &payload)) > 0) {
		const struct kvmbox_frame *frame = &init.control.frame;
		struct kvmbox_signal signal;
		struct kvmbox_winsize size;

		switch (frame->type) {
		case KVMBOX_FRAME_SIGNAL:
			if (frame->len < sizeof(signal))
				break;
			memcpy(&signal, payload, sizeof(signal));
			workload_signal(&signal);
			break;
		case KVMBOX_FRAME_WINSIZE:
			if (frame->len < sizeof(size))
				break;
			memcpy(&size, payload, sizeof(size));
			terminal_resize(&size);
			break;
		case KVMBOX_FRAME_SHUTDOWN:
			end_begin();
			break;
		}
	}
	if (ret < 0) {
		init.abandoned = true;
		init.control.fd = -1;
		end_begin();
	}
}

static bool output_is_over(void)
{
	return relay_is_over(&init.relays[STREAM_OUT]) && relay_is_over(&init.relays[STREAM_ERR]);
}

static void loop(void)
{
	const struct timespec rest = { .tv_nsec = LISTENER_REST_NS };
	struct pollfd fds[2 + STREAMS];
	sigset_t none;
	int ret;

	sigemptyset(&none);
	for (;;) {
		children_reap();
		if (init.ending && init.reaped && (init.abandoned || output_is_over()))
			return;
		fds[0] = (struct pollfd){ .fd = init.control.fd, .events = POLLIN };
		fds[1] = (struct pollfd){ .fd = init.resting || init.ending ? -1 : init.listener,
					  .events = POLLIN };
		for (int i = 0; i < STREAMS; i++)
			fds[2 + i] = relay_poll(&init.relays[i]);
		ret = ppoll(fds, 2 + STREAMS, init.resting ? &rest : NULL, &none);
		init.resting = false;
		if (ret <= 0)
			continue;
		if (fds[0].revents)
			control_serve();
		if (fds[1].revents && init.listener >= 0)
			listener_serve();
		for (int i = 0; i < STREAMS; i++)
			if (fds[2 + i].revents && !relay_is_over(&init.relays[i]))
				relay_move(&init.relays[i]);
	}
}

int main(void)
{
	uint64_t start_ns = clock_boot_ns();
	struct message unreachable;
	struct net_files files;
	struct message why;
	int ret;

	if (getpid() != 1) {
		dprintf(STDERR_FILENO, "kvmbox init: this is PID 1 of a kvmbox guest, "
				       "it does nothing elsewhere\n");
		return 1;
	}
	for (int i = 0; i < STREAMS; i++)
		init.streams[i] = -1;
	init.control.fd = link_start(KVMBOX_PORT_CONTROL);
	init.listener = link_listen(KVMBOX_PORT_AGENT);
	child_watch();
	signal(SIGPIPE, SIG_IGN);
	ret = mount_kernel(&why);
	control_open(start_ns);
	if (init.listener < 0) {
		message_set(&unreachable, -init.listener,
			    "the guest cannot listen on vsock port %d, so it takes no sessions",
			    KVMBOX_PORT_AGENT);
		say(unreachable.text);
	}
	if (ret < 0)
		give_up(ret, why.text);
	description_open();
	streams_start();
	files = net_files_make(&init.description);
	ret = mount_root(&init.description, &why);
	if (ret < 0)
		give_up(ret, why.text);
	net_files_lay(&files);
	system_prepare();
	streams_finish();
	workload_open();
	loop();
	for (int i = 0; i < STREAMS; i++)
		relay_deinit(&init.relays[i]);
	if (mount_finish(&why) < 0)
		say(why.text);
	finish();
}
