// SPDX-License-Identifier: Apache-2.0
/*
 * The privileged half of a VM. It opens what has a name, starts the monitor, and then does nothing
 * but move bytes and watch: one poll() over a fixed set of descriptors.
 *
 * The end. In order: the agent reports EXIT, its byte streams end, MESSAGE_STOP goes to the
 * monitor, which ends. A signal or the time limit begins that order by a signal to the workload;
 * whoever does not follow in time is helped along, stage by stage (enum stopping). Whatever the
 * end, bytes that the monitor had handed over are still delivered.
 */
#include "supervisor/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/text.h"
#include "config/set.h"
#include "control/state.h"
#include "supervisor/agent.h"
#include "supervisor/control.h"
#include "supervisor/detach.h"
#include "supervisor/doors.h"
#include "supervisor/logfile.h"
#include "supervisor/output.h"
#include "supervisor/patch.h"
#include "supervisor/record.h"
#include "supervisor/relay.h"
#include "supervisor/report.h"
#include "supervisor/start.h"
#include "supervisor/tail.h"
#include "supervisor/terminal.h"
#include "supervisor/usage.h"

#define GRACE_SIGNAL_NS   (10ull * 1000000000) /* for the workload to act on a signal */
#define GRACE_SHUTDOWN_NS (5ull * 1000000000)  /* for guest/init to end without it */
#define LINGER_NS         (2ull * 1000000000)  /* for who is attached to read what is left */
#define STUCK_NS          (2ull * 1000000000)  /* for the monitor to listen, where others wait */
#define TAIL_LINES        20
#define LOG_READ          4096
#define LOG_WAIT_MS       1000 /* for standard error to take it */

enum stopping {
	NOT_STOPPING,
	STOPPING_SIGNAL,   /* the workload has been signalled */
	STOPPING_SHUTDOWN, /* guest/init has been told to kill it */
	STOPPING_NOW,      /* the monitor has been told to end */
};

struct supervisor {
	struct boot_config *cfg;
	struct launch launch;
	struct report report;
	bool terminal;
	bool timed_out;
	bool killed;        /* the monitor, by us, as it did not stop */
	bool out_of_memory; /* it ended as its cgroup had no more */
	enum stopping stopping;
	int stop_signal;      /* that began it, or 0 */
	uint64_t grace_ns;    /* for the workload to act on a signal */
	uint64_t deadline_ns; /* of the current stage, or 0 */
	uint64_t timeout_ns;  /* when the time limit ends, or 0 */

	struct agent agent;
	struct relay in, out, err;
	int stream_in, stream_out, stream_err; /* -1: not connected */
	struct tail tail;
	struct terminal_escape escape;
	int signal_fd;

	/* what others see of it */
	struct state_dir dir;
	int dir_fd; /* -1: there is no such directory */
	struct record record;
	char directory[PATH_MAX];
	struct control *control; /* NULL without a directory, like the next */
	uint32_t balloon_mib;    /* that the guest is to give up */
	struct doors *doors;
	struct output *output; /* in the background */
	struct logfile output_log, console_log;
	int ready_fd;     /* in the background, until it is ready; then -1 */
	int log_pipe[2];  /* what the monitor says, and in the background all that we would print */
	struct relay log; /* from there to standard error; not in the background */
	bool paused;
	/*
	 * Sending never waits, or a monitor that does not read would stop us with it. While there
	 * is no room, nobody is listened to who would have us send more, but the monitor: it has
	 * only so many questions at a time (device/vsock.c), and goes on reading meanwhile. One
	 * that does not go on is stuck: then those who would end it are listened to again.
	 */
	bool channel_full;
	uint64_t full_ns; /* since when */

	bool gone;     /* the monitor has been reaped */
	bool lingered; /* and who is attached has had the time to read what was left */
	int wait_status;
	bool have_end; /* MESSAGE_ENDED has come */
	struct message end;
	char text[sizeof(((struct message *)0)->text)]; /* what went wrong, for the report */
};

/* ---- what others are told ---- */

static void set_status(struct supervisor *s, const char *status)
{
	s->record.status = status;
	s->record.monitor = s->launch.monitor;
	if (s->dir_fd < 0)
		return;

	struct json_object *state = record_state(&s->record);

	state_write(&s->dir, state);
	json_object_put(state);
}

static bool workload_reachable(const struct supervisor *s)
{
	return s->agent.fd >= 0 && s->agent.started_ns && !s->agent.exit_ns;
}

/* ---- stopping ---- */

static void stop_now(struct supervisor *s)
{
	struct message msg = { .type = MESSAGE_STOP };

	if (s->stopping == STOPPING_NOW)
		return;
	s->stopping = STOPPING_NOW;
	if (s->gone)
		return;
	s->deadline_ns = clock_now_ns() + GRACE_SHUTDOWN_NS;
	channel_send(s->launch.channel, &msg, -1);
}

static void resume(struct supervisor *s)
{
	struct message msg = { .type = MESSAGE_RESUME };

	if (!s->paused)
		return;
	s->paused = false;
	channel_send(s->launch.channel, &msg, -1);
	set_status(s, "running");
	control_resumed(s->control);
}

/* Only readers that stall keep us: whoever wants an end does not want to wait for them. */
static void leave_readers(struct supervisor *s)
{
	s->out.ended = s->err.ended = true;
	s->lingered = true;
}

/* Go one stage further than now. @signo is for the workload, should that be the stage. */
static void stop_further(struct supervisor *s, int signo)
{
	if (s->gone) {
		leave_readers(s);
		return;
	}
	resume(s);
	if (!workload_reachable(s)) {
		stop_now(s);
		return;
	}
	switch (s->stopping) {
	case NOT_STOPPING:
		s->stopping = STOPPING_SIGNAL;
		s->deadline_ns = clock_now_ns() + s->grace_ns;
		/* To an init the others mean something else: to reboot, to read its files again. */
		agent_signal(&s->agent, s->cfg->init ? SIGTERM : signo);
		break;
	case STOPPING_SIGNAL:
		s->stopping = STOPPING_SHUTDOWN;
		s->deadline_ns = clock_now_ns() + GRACE_SHUTDOWN_NS;
		agent_shutdown(&s->agent);
		break;
	case STOPPING_SHUTDOWN:
		stop_now(s);
		break;
	case STOPPING_NOW:
		break;
	}
}

static bool is_stuck(const struct supervisor *s)
{
	return s->channel_full && clock_now_ns() >= s->full_ns + STUCK_NS;
}

/* Whether somebody may ask for what could have us send. */
static bool listens(const struct supervisor *s)
{
	return !s->channel_full || is_stuck(s);
}

static void check_clock(struct supervisor *s)
{
	uint64_t now = clock_now_ns();

	if (s->timeout_ns && now >= s->timeout_ns) {
		s->timeout_ns = 0;
		s->timed_out = !s->agent.exit_ns;
		/* One that has said EXIT, and holds its streams open, has no more time than others.
		 */
		if (s->stopping == NOT_STOPPING)
			stop_further(s, SIGTERM);
	}
	if (s->deadline_ns && now >= s->deadline_ns) {
		s->deadline_ns = 0;
		if (s->gone)
			s->lingered = true;
		else if (s->stopping == STOPPING_NOW)
			s->killed = kill(s->launch.monitor, SIGKILL) == 0;
		else
			stop_further(s, SIGKILL);
	}
}

/* Milliseconds until check_clock() has something to do, for poll(). */
static int wait_time(const struct supervisor *s)
{
	uint64_t next = s->deadline_ns;

	if (s->timeout_ns && (!next || s->timeout_ns < next))
		next = s->timeout_ns;
	if (s->channel_full && !is_stuck(s) && (!next || s->full_ns + STUCK_NS < next))
		next = s->full_ns + STUCK_NS;
	if (!next)
		return -1;
	uint64_t now = clock_now_ns();
	if (next <= now)
		return 0;
	uint64_t ms = (next - now) / 1000000 + 1;
	return ms > 3600000 ? 3600000 : (int)ms;
}

/* ---- what arrives ---- */

static void handle_signal(struct supervisor *s)
{
	struct signalfd_siginfo info;
	uint32_t rows, cols;

	if (read(s->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGWINCH) {
		if (s->terminal && terminal_size(&rows, &cols))
			agent_winsize(&s->agent, rows, cols);
		return;
	}
	if (!s->stop_signal)
		s->stop_signal = (int)info.ssi_signo;
	stop_further(s, (int)info.ssi_signo);
}

/* One more stream of the guest's. Each of the known ports is taken once. */
static void take_stream(struct supervisor *s, uint64_t port, int fd)
{
	if (port == KVMBOX_PORT_CONTROL) {
		agent_connect(&s->agent, fd);
	} else if (s->output) {
		output_stream(s->output, (enum kvmbox_stream)(port - KVMBOX_PORT_STDIN), fd,
			      s->terminal);
	} else if (port == KVMBOX_PORT_STDIN && s->stream_in < 0) {
		s->stream_in = fd;
		relay_init(&s->in, STDIN_FILENO, fd);
		if (s->terminal)
			relay_init(&s->out, fd, STDOUT_FILENO);
	} else if (port == KVMBOX_PORT_STDOUT && s->stream_out < 0 && !s->terminal) {
		s->stream_out = fd;
		relay_init(&s->out, fd, STDOUT_FILENO);
	} else if (port == KVMBOX_PORT_STDERR && s->stream_err < 0 && !s->terminal) {
		s->stream_err = fd;
		relay_init(&s->err, fd, STDERR_FILENO);
	} else {
		close(fd);
	}
}

/* The guest wants to connect to a port of ours. */
static void handle_connect(struct supervisor *s, const struct message *msg)
{
	struct message answer = { .type = MESSAGE_ANSWER, .id = msg->id };
	AUTO_CLOSE int fd = -1;
	int pair[2];

	if (msg->value < KVMBOX_PORT_CONTROL || msg->value > KVMBOX_PORT_STDERR) {
		if (s->doors)
			fd = doors_connect(s->doors, (uint32_t)msg->value);
	} else if (!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)) {
		take_stream(s, msg->value, pair[0]);
		fd = pair[1];
	}
	/* Without the socket where that cannot be sent: the guest is not to wait for ever. */
	if (channel_send(s->launch.channel, &answer, fd) && fd >= 0)
		channel_send(s->launch.channel, &answer, -1);
}

static void handle_channel(struct supervisor *s)
{
	struct message msg;
	int fd;
	int ret = channel_receive(s->launch.channel, &msg, &fd);

	if (ret == -EAGAIN)
		return;
	if (ret <= 0) {
		/* Its last word was said or will not be: pidfd tells the rest. */
		close(s->launch.channel);
		s->launch.channel = -1;
		return;
	}
	switch (msg.type) {
	case MESSAGE_RUNNING:
		s->report.running_ns = msg.value;
		s->report.own_cpu_ns = clock_cpu_ns();
		s->launch.jail.left_out |= (unsigned int)msg.id & ((1u << JAIL_LAYERS) - 1);
		s->record.jail = s->launch.spec.jail;
		s->record.running = true;
		break;
	case MESSAGE_CONNECT:
		handle_connect(s, &msg);
		break;
	case MESSAGE_PAUSED:
		if (s->paused && s->control) {
			set_status(s, "paused");
			control_paused(s->control);
		}
		break;
	case MESSAGE_STATS:
		if (s->control)
			control_stats(s->control, msg.id, &msg.stats);
		break;
	case MESSAGE_ENDED:
		s->end = msg;
		s->have_end = true;
		break;
	}
	if (fd >= 0)
		close(fd);
}

static void log_console(struct supervisor *s, const void *data, size_t len)
{
	if (!s->control)
		return;
	logfile_write(&s->console_log, data, len);
	control_logged(s->control, CONTROL_LOG_CONSOLE, data, len);
}

/*
 * In the background, what kvmbox would print goes the way of the guest's console. Returns whether
 * there was any.
 */
static bool handle_log_pipe(struct supervisor *s)
{
	uint8_t buf[LOG_READ];
	ssize_t n = read(s->log_pipe[0], buf, sizeof(buf));

	if (n > 0)
		log_console(s, buf, (size_t)n);
	return n > 0;
}

/* In the foreground the monitor speaks to the user, and has no terminal of his all the same. */
static void run_log(struct supervisor *s, const struct pollfd p[2])
{
	size_t said = relay_run(&s->log, &p[0], &p[1]);

	if (said)
		text_disarm(s->log.buf + s->log.head, said);
}

/* What it had still to say when it ended. */
static void finish_log(struct supervisor *s)
{
	while (!s->cfg->detach) {
		struct pollfd p[2];

		relay_prepare(&s->log, &p[0], &p[1]);
		if (poll(p, 2, s->log.len ? LOG_WAIT_MS : 0) <= 0)
			return;
		run_log(s, p);
	}
}

/* The serial console of a guest with an agent: kept for the worst case. */
static void handle_console(struct supervisor *s)
{
	uint8_t buf[4096];
	ssize_t n = read(s->launch.console, buf, sizeof(buf));

	if (n > 0) {
		tail_add(&s->tail, buf, (size_t)n);
		log_console(s, buf, (size_t)n);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		close(s->launch.console);
		s->launch.console = -1;
	}
}

/* An interface of the host has gone up or down, and the guest is to see that on its card. */
static void handle_link(void *ctx, unsigned int card, bool up)
{
	struct supervisor *s = ctx;
	struct message msg = { .type = MESSAGE_LINK, .value = 2 * card + up };

	if (s->launch.channel >= 0)
		channel_send(s->launch.channel, &msg, -1);
}

static void handle_monitor_gone(struct supervisor *s)
{
	if (waitpid(s->launch.monitor, &s->wait_status, 0) < 0)
		return;
	s->gone = true;
	s->launch.monitor = -1;
	/* At once: another VM that starts removes a cgroup that nobody is in. */
	s->out_of_memory = s->launch.spec.jail && jail_ran_out_of_memory(s->launch.spec.jail);
	if (s->output)
		output_abandon(s->output);
	s->deadline_ns = clock_now_ns() + LINGER_NS;
	s->timeout_ns = 0;
}

/* The workload runs: say so to whoever waits for that. */
static void handle_started(struct supervisor *s)
{
	s->record.started = record_now();
	set_status(s, "running");
	if (s->ready_fd >= 0 && detach_ready(&s->ready_fd, s->log_pipe[1]))
		stop_now(s);
}

/* ---- what is asked for at the control socket, and at the doors ---- */

static bool ask_stuck(void *ctx)
{
	return is_stuck(ctx);
}

static void ask_stop(void *ctx, uint64_t grace_ms)
{
	struct supervisor *s = ctx;

	if (!s->stop_signal)
		s->stop_signal = SIGTERM;
	s->grace_ns = grace_ms * 1000000;
	stop_further(s, SIGTERM);
}

static int ask_kill(void *ctx, int signo)
{
	struct supervisor *s = ctx;

	if (!signo) {
		s->stop_signal = SIGKILL;
		if (s->gone)
			leave_readers(s);
		else
			stop_now(s);
		return 0;
	}
	if (!workload_reachable(s))
		return -ENOTCONN;
	agent_signal(&s->agent, signo);
	return 0;
}

static void ask_pause(void *ctx, bool pause)
{
	struct supervisor *s = ctx;
	struct message msg = { .type = MESSAGE_PAUSE };

	if (!pause) {
		resume(s);
		return;
	}
	s->paused = true;
	channel_send(s->launch.channel, &msg, -1);
}

static int ask_balloon(void *ctx, int64_t mib, struct error *err)
{
	struct supervisor *s = ctx;
	struct message msg = { .type = MESSAGE_BALLOON };
	int ret;

	if (!vm_has_balloon(&s->launch.spec))
		return error_set(err, EINVAL, "the VM has no balloon");
	ret = set_balloon(&s->balloon_mib, "amount_mib", mib, s->cfg->mem_bytes, err);
	if (ret)
		return ret;
	msg.value = s->balloon_mib;
	channel_send(s->launch.channel, &msg, -1);
	return 0;
}

/* Once it is in @s->cfg: tell the monitor, and all who ask for the configuration. */
static void tell_limits(struct supervisor *s, const struct message *msg)
{
	channel_send(s->launch.channel, msg, -1);
	set_status(s, s->record.status);
}

static int ask_patch_drive(void *ctx, const char *id, struct json_object *body, struct error *err)
{
	struct supervisor *s = ctx;
	struct message msg;
	int ret = patch_drive(s->cfg, id, body, &msg, err);

	if (ret)
		return ret;
	tell_limits(s, &msg);
	ret = launch_limit_disk(&s->launch, (unsigned int)msg.value, &msg.limits[0]);
	if (ret)
		log_line("io.max of the cgroup %s stays as it was: %s", s->launch.jail.cgroup,
			 strerror(-ret));
	return 0;
}

static int ask_patch_net(void *ctx, const char *id, struct json_object *body, struct error *err)
{
	struct supervisor *s = ctx;
	struct message msg;
	int ret = patch_net(s->cfg, id, body, &msg, err);

	if (!ret)
		tell_limits(s, &msg);
	return ret;
}

static struct json_object *ask_balloon_config(void *ctx)
{
	const struct supervisor *s = ctx;
	const struct balloon_config *cfg = &s->cfg->balloon;
	struct json_object *o;

	if (!vm_has_balloon(&s->launch.spec))
		return NULL;
	o = json_object_new_object();
	json_object_object_add(o, "amount_mib", json_object_new_int64(s->balloon_mib));
	json_object_object_add(o, "deflate_on_oom", json_object_new_boolean(!cfg->keep_on_oom));
	json_object_object_add(o, "stats_polling_interval_s", json_object_new_int(0));
	json_object_object_add(o, "free_page_reporting",
			       json_object_new_boolean(!cfg->no_reporting));
	return o;
}

static void ask_stats(void *ctx, uint64_t id)
{
	struct supervisor *s = ctx;
	struct message msg = { .type = MESSAGE_GET_STATS, .id = id };

	channel_send(s->launch.channel, &msg, -1);
}

static void dial(void *ctx, uint32_t port, int fd, const void *preamble, size_t len, bool greet)
{
	struct supervisor *s = ctx;
	struct message msg = { .type = MESSAGE_DIAL, .value = port, .id = greet };

	msg.len = (uint32_t)len;
	if (len)
		memcpy(msg.text, preamble, len);
	channel_send(s->launch.channel, &msg, fd);
	close(fd);
}

static int ask_dial(void *ctx, int fd)
{
	struct supervisor *s = ctx;

	if (!workload_reachable(s)) {
		if (fd >= 0)
			close(fd);
		return -ENOTCONN;
	}
	if (fd >= 0)
		dial(s, KVMBOX_PORT_AGENT, fd, NULL, 0, false);
	return 0;
}

static int ask_attach(void *ctx, int fd)
{
	struct supervisor *s = ctx;
	int ret = !s->output                  ? -ENOTSUP
		  : !workload_reachable(s)    ? -ENOTCONN
		  : output_is_full(s->output) ? -ENOSPC
					      : 0;

	if (fd < 0)
		return ret;
	if (!ret)
		return output_attach(s->output, fd);
	close(fd);
	return ret;
}

static struct json_object *ask_state(void *ctx)
{
	return record_state(&((const struct supervisor *)ctx)->record);
}

static struct json_object *ask_config(void *ctx)
{
	return record_config(&((const struct supervisor *)ctx)->record);
}

static void ask_usage(void *ctx, struct json_object *stats)
{
	const struct supervisor *s = ctx;

	json_object_object_add(stats, "name", json_object_new_string(s->cfg->name));
	usage_monitor(s->launch.monitor, stats);
	usage_nets(&s->launch.nets, stats);
}

static const struct control_ops control_ops = {
	.is_stuck = ask_stuck,
	.stop = ask_stop,
	.kill = ask_kill,
	.pause = ask_pause,
	.set_balloon = ask_balloon,
	.patch_drive = ask_patch_drive,
	.patch_net = ask_patch_net,
	.balloon = ask_balloon_config,
	.get_stats = ask_stats,
	.dial = ask_dial,
	.attach = ask_attach,
	.state = ask_state,
	.config = ask_config,
	.usage = ask_usage,
};

static void output_written(void *ctx, const uint8_t *data, size_t len)
{
	struct supervisor *s = ctx;

	logfile_write(&s->output_log, data, len);
	control_logged(s->control, CONTROL_LOG_OUTPUT, data, len);
}

static void output_signal(void *ctx, int signo)
{
	ask_kill(ctx, signo);
}

static void output_winsize(void *ctx, uint32_t rows, uint32_t cols)
{
	struct supervisor *s = ctx;

	agent_winsize(&s->agent, rows, cols);
}

static const struct output_ops output_ops = { output_written, output_signal, output_winsize };

/* ---- the loop ---- */

static bool all_written(const struct supervisor *s)
{
	return s->output ? output_ended(s->output) : s->out.ended && s->err.ended;
}

/* Asked only when somebody may want to send: a step of bytes alone has no need of it. */
static void look_for_room(struct supervisor *s)
{
	bool full = s->launch.channel >= 0 && !channel_has_room(s->launch.channel);

	if (full && !s->channel_full)
		s->full_ns = clock_now_ns();
	s->channel_full = full;
}

/* All that is left has been said: the monitor is gone, and nothing is unread or unwritten. */
static bool finished(const struct supervisor *s)
{
	return s->gone && s->launch.channel < 0 && all_written(s) &&
	       (s->cfg->full_system || s->launch.console < 0) &&
	       (!s->output || s->lingered || output_sent(s->output));
}

static void step(struct supervisor *s)
{
	bool console_is_ours = !s->cfg->full_system;
	bool room = !s->channel_full;
	enum {
		SIGNAL,
		MONITOR,
		CHANNEL,
		AGENT,
		CONSOLE,
		LINKS,
		CONTROL,
		DOORS,
		OUTPUT,
		LOG_PIPE,
		IN,
		OUT = IN + 2,
		ERR = OUT + 2,
		LOG = ERR + 2,
		NPOLL = LOG + 2
	};
	struct pollfd p[NPOLL] = {
		[SIGNAL] = { .fd = s->signal_fd, .events = POLLIN },
		[MONITOR] = { .fd = s->gone ? -1 : s->launch.monitor_fd, .events = POLLIN },
		[CHANNEL] = { .fd = s->launch.channel,
			      .events = (short)(POLLIN | (room ? 0 : POLLOUT)) },
		[AGENT] = { .fd = s->agent.fd, .events = POLLIN },
		[CONSOLE] = { .fd = console_is_ours ? s->launch.console : -1, .events = POLLIN },
		[LINKS] = { .fd = room ? s->launch.nets.links.fd : -1, .events = POLLIN },
		[CONTROL] = { .fd = s->control && listens(s) ? control_fd(s->control) : -1,
			      .events = POLLIN },
		[DOORS] = { .fd = room && s->doors ? doors_fd(s->doors) : -1, .events = POLLIN },
		[OUTPUT] = { .fd = s->output ? output_fd(s->output) : -1, .events = POLLIN },
		[LOG_PIPE] = { .fd = s->cfg->detach ? s->log_pipe[0] : -1, .events = POLLIN },
	};

	relay_prepare(&s->in, &p[IN], &p[IN + 1]);
	relay_prepare(&s->out, &p[OUT], &p[OUT + 1]);
	relay_prepare(&s->err, &p[ERR], &p[ERR + 1]);
	relay_prepare(&s->log, &p[LOG], &p[LOG + 1]);
	if (poll(p, NPOLL, wait_time(s)) < 0)
		return; /* EINTR; every other error would be ours */

	if (p[SIGNAL].revents)
		handle_signal(s);
	if (p[CHANNEL].revents & ~POLLOUT)
		handle_channel(s);
	if (p[LINKS].revents || p[CONTROL].revents || p[DOORS].revents || !room)
		look_for_room(s);
	if (p[AGENT].revents && p[AGENT].fd == s->agent.fd)
		agent_read(&s->agent);
	if (p[CONSOLE].revents)
		handle_console(s);
	if (p[LINKS].revents && !s->channel_full)
		link_watch_read(&s->launch.nets.links, handle_link, s);
	if (p[CONTROL].revents && listens(s))
		control_run(s->control);
	if (p[DOORS].revents && !s->channel_full)
		doors_run(s->doors);
	if (p[OUTPUT].revents)
		output_run(s->output);
	if (p[LOG_PIPE].revents)
		handle_log_pipe(s);
	if (s->agent.started_ns && s->record.started == 0)
		handle_started(s);
	size_t typed = relay_run(&s->in, &p[IN], &p[IN + 1]);
	if (typed && s->terminal &&
	    terminal_escaped(&s->escape, s->in.buf + s->in.head, typed, clock_now_ns())) {
		s->stop_signal = SIGKILL;
		s->stopping = s->stopping < STOPPING_SIGNAL ? STOPPING_SIGNAL : s->stopping;
		stop_further(s, SIGKILL);
	}
	relay_run(&s->out, &p[OUT], &p[OUT + 1]);
	relay_run(&s->err, &p[ERR], &p[ERR + 1]);
	run_log(s, &p[LOG]);
	if (p[MONITOR].revents)
		handle_monitor_gone(s);
	if (s->agent.exit_ns && all_written(s)) {
		if (s->output && s->stopping != STOPPING_NOW)
			output_exit(s->output, &s->agent.exit);
		stop_now(s);
	}
	check_clock(s);
}

/* ---- the verdict ---- */

static int failed(struct supervisor *s, const char *reason, char *text, size_t size,
		  const char *fmt, ...) __attribute__((format(printf, 5, 6)));

static int failed(struct supervisor *s, const char *reason, char *text, size_t size,
		  const char *fmt, ...)
{
	va_list ap;

	s->report.reason = reason;
	va_start(ap, fmt);
	vsnprintf(text, size, fmt, ap);
	va_end(ap);
	return STATUS_ERROR;
}

/* How the workload ended, by the agent's word. */
static int verdict_of_agent(struct supervisor *s, char *text, size_t size)
{
	const struct kvmbox_exit *e = &s->agent.exit;

	snprintf(text, size, "%s", s->agent.error);
	switch (e->kind) {
	case KVMBOX_EXIT_EXITED:
		s->report.reason = "exited";
		break;
	case KVMBOX_EXIT_SIGNALED:
		s->report.reason = "signaled";
		break;
	default:
		s->report.reason = "not-started";
		if (!text[0])
			snprintf(text, size, "the guest could not start the workload");
	}
	return agent_exit_status(e);
}

/* What has ended the monitor by signal @signo: its jail, the kernel or whoever else. */
static int verdict_of_signal(struct supervisor *s, int signo, char *text, size_t size)
{
	const struct jail *jail = s->launch.spec.jail;

	if (signo == SIGSYS && jail)
		return failed(s, "forbidden-call", text, size,
			      "the monitor was killed as it made a system call that its jail "
			      "forbids: either the guest had taken it over, or kvmbox is at fault "
			      "(the host's kernel log may say which call)");
	if (signo == SIGKILL && s->out_of_memory)
		return failed(s, "out-of-memory", text, size,
			      "the monitor was killed because it had more memory than --mem "
			      "accounts for, or the host had none left");
	return failed(s, "monitor-killed", text, size, "the monitor was killed by signal %d",
		      signo);
}

static int verdict_of_stop(struct supervisor *s)
{
	s->report.reason = "stopped";
	return s->stop_signal ? 128 + s->stop_signal : 128 + SIGKILL;
}

/* The VM ended, and no agent has told how. */
static int verdict_of_monitor(struct supervisor *s, char *text, size_t size)
{
	char line[256];

	if (!s->have_end && s->killed)
		return verdict_of_stop(s);
	if (!s->have_end && WIFSIGNALED(s->wait_status))
		return verdict_of_signal(s, WTERMSIG(s->wait_status), text, size);
	if (!s->have_end)
		return failed(s, "monitor-died", text, size,
			      "the monitor ended without a word (status %d)",
			      WEXITSTATUS(s->wait_status));
	switch (s->end.value) {
	case VM_END_STOPPED:
		return verdict_of_stop(s);
	case VM_END_RESET:
		s->report.reason = "reset";
		if (s->cfg->full_system)
			return 0;
		return failed(s, "reset", text, size,
			      "the guest reset or powered off before the workload had ended%s%s",
			      s->agent.error[0] ? ": " : "", s->agent.error);
	case VM_END_PANIC:
		if (!tail_find(&s->tail, "Kernel panic", line, sizeof(line)))
			line[0] = '\0';
		return failed(s, "panic", text, size, "the guest's kernel panicked%s%s",
			      line[0] ? ": " : "", line);
	default:
		return failed(s, s->end.value == VM_END_CRASH ? "crash" : "error", text, size, "%s",
			      s->end.text);
	}
}

static int verdict(struct supervisor *s, char *text, size_t size)
{
	int status = s->agent.exit_ns ? verdict_of_agent(s, text, size)
				      : verdict_of_monitor(s, text, size);

	if (s->timed_out) {
		s->report.reason = "timeout";
		snprintf(text, size, "the time limit of %g s is over",
			 (double)s->cfg->timeout_ms / 1000);
		return STATUS_TIMEOUT;
	}
	return status;
}

static int conclude(struct supervisor *s)
{
	char *text = s->text;
	int status = verdict(s, text, sizeof(s->text));

	s->report.status = status;
	s->report.error = text;
	s->report.hello_ns = s->agent.hello_ns;
	s->report.started_ns = s->agent.started_ns;
	s->report.exit_ns = s->agent.exit_ns;
	s->report.end_ns = clock_now_ns();
	s->report.stats = s->end.stats;
	if (s->cfg->json)
		report_print_json(&s->report);
	else if (text[0])
		log_line("%s", text);
	if (status == STATUS_ERROR && !s->agent.exit_ns)
		tail_print(&s->tail, TAIL_LINES);
	return status;
}

/* ---- set-up ---- */

static void close_streams(struct supervisor *s)
{
	int *fds[] = { &s->stream_in, &s->stream_out,  &s->stream_err,  &s->signal_fd,
		       &s->dir_fd,    &s->log_pipe[0], &s->log_pipe[1], &s->ready_fd };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (*fds[i] >= 0)
			close(*fds[i]);
	agent_close(&s->agent);
}

static void begin_relays(struct supervisor *s)
{
	relay_init(&s->in, -1, -1);
	relay_init(&s->out, -1, -1);
	relay_init(&s->err, -1, -1);
	relay_init(&s->log, s->cfg->detach ? -1 : s->log_pipe[0], STDERR_FILENO);
	fcntl(s->launch.console, F_SETFL, O_NONBLOCK);
	if (s->cfg->full_system) {
		relay_init(&s->in, STDIN_FILENO, s->launch.console);
		relay_init(&s->out, s->launch.console, STDOUT_FILENO);
	}
}

/*
 * Make the VM known on this host, by its directory. One in the foreground does without where that
 * cannot be made (for another user than root who has no session, say), unless its name is taken.
 */
static int open_directory(struct supervisor *s, struct error *err)
{
	struct json_object *state;

	s->record.status = "starting";
	s->record.created = record_now();
	state = record_state(&s->record);
	int ret = state_create(&s->dir, s->cfg->name, state, err);

	json_object_put(state);
	if (ret)
		return ret == -EEXIST || s->cfg->detach ? ret : 0;
	s->dir_fd = open(s->dir.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return 0;
}

/* What is said has to go to a place that is bounded, and never blocks. */
static int open_log_pipe(struct supervisor *s, struct error *err)
{
	if (pipe2(s->log_pipe, O_CLOEXEC | O_NONBLOCK))
		return error_set(err, errno, "cannot make a pipe: %s", strerror(errno));
	return 0;
}

/* What is served to others; after the monitor has been started, which is not to have it. */
static int open_services(struct supervisor *s, struct error *err)
{
	const struct logfile *logs[CONTROL_LOGS] = { s->cfg->detach ? &s->output_log : NULL,
						     &s->console_log };
	char path[PATH_MAX];
	int ret;

	if (s->dir_fd < 0)
		return 0;
	snprintf(path, sizeof(path), "%s/control.sock", s->dir.path);
	ret = logfile_open(&s->console_log, s->dir_fd, "console.log");
	if (!ret && s->cfg->detach)
		ret = logfile_open(&s->output_log, s->dir_fd, "output.log");
	if (!ret && s->cfg->detach)
		ret = output_new(&output_ops, s, &s->output);
	if (!ret)
		ret = control_new(path, &control_ops, s, logs, &s->control);
	if (ret)
		return error_set(err, -ret, "the VM's control socket %s cannot be made: %s", path,
				 strerror(-ret));
	if (s->output && !s->cfg->interactive)
		output_close_input(s->output);
	return doors_new(s->dir.path, s->cfg->forwards, s->cfg->nforwards, dial, s, &s->doors, err);
}

/* Nothing more is served, and whoever waits for the end hears of it when all is cleaned up. */
static void close_services(struct supervisor *s)
{
	bool remove = !s->cfg->detach || s->cfg->remove || s->ready_fd >= 0;
	struct json_object *state;

	while (s->cfg->detach && s->log_pipe[0] >= 0 && handle_log_pipe(s))
		;
	doors_free(s->doors);
	s->record.finished = record_now();
	s->record.exit_status = s->report.status;
	s->record.reason = s->report.reason;
	s->record.error = s->report.error;
	set_status(s, s->agent.exit_ns ? "exited" : "failed");
	state = record_state(&s->record);
	if (s->control)
		unlinkat(s->dir_fd, "control.sock", 0);
	if (s->dir_fd >= 0 && remove)
		state_remove_own(&s->dir);
	else if (s->dir_fd >= 0)
		state_close(&s->dir);
	control_free(s->control, state);
	output_free(s->output);
	logfile_close(&s->output_log);
	logfile_close(&s->console_log);
	json_object_put(state);
}

static int begin(struct supervisor *s, struct error *err)
{
	struct launch_way way = { .terminal = s->terminal, .log_fd = -1 };
	int ret = open_directory(s, err);

	if (!ret)
		ret = open_log_pipe(s, err);
	if (ret)
		return ret;
	way.log_fd = s->log_pipe[1];
	way.lock_fd = s->dir_fd >= 0 ? s->dir.lock_fd : -1;
	ret = launch_start(&s->launch, s->cfg, &way, err);
	if (ret)
		return ret;
	ret = open_services(s, err);
	if (ret)
		launch_deinit(&s->launch);
	else
		set_status(s, "starting");
	return ret;
}

static int supervise(struct supervisor *s)
{
	struct error err;

	agent_init(&s->agent);
	s->signal_fd = signals_watch();
	s->launch = (struct launch){ .monitor = -1 };
	if (begin(s, &err)) {
		s->report.status = STATUS_ERROR;
		s->report.reason = "error";
		s->report.error = err.text;
		s->report.end_ns = clock_now_ns();
		if (s->cfg->json)
			report_print_json(&s->report);
		else
			log_line("%s", err.text);
		close_services(s);
		close_streams(s);
		return STATUS_ERROR;
	}
	begin_relays(s);
	if (s->terminal && !s->output)
		terminal_make_raw();
	if (s->cfg->timeout_ms)
		s->timeout_ns = s->report.begin_ns + s->cfg->timeout_ms * 1000000;
	while (!finished(s))
		step(s);
	finish_log(s);
	terminal_restore();
	int status = conclude(s);
	launch_deinit(&s->launch);
	s->record.running = false;
	close_services(s);
	close_streams(s);
	return status;
}

int supervisor_run(struct boot_config *cfg, uint64_t begin_ns)
{
	struct supervisor s = {
		.cfg = cfg,
		.balloon_mib = cfg->balloon.amount_mib,
		.report = { .name = cfg->name, .begin_ns = begin_ns, .error = "" },
		.stream_in = -1,
		.stream_out = -1,
		.stream_err = -1,
		.terminal = cfg->detach ? cfg->terminal : terminal_present(),
		.grace_ns = GRACE_SIGNAL_NS,
		.dir_fd = -1,
		.ready_fd = -1,
		.log_pipe = { -1, -1 },
		.output_log.fd = -1,
		.console_log.fd = -1,
	};
	int status, ret;

	/* Whoever started us may have it ignored, and then no child could be waited for. */
	signal(SIGCHLD, SIG_DFL);
	s.record = (struct record){
		.cfg = cfg, .nets = &s.launch.nets, .terminal = s.terminal, .error = ""
	};
	s.record.directory = getcwd(s.directory, sizeof(s.directory));
	if (cfg->detach) {
		ret = detach(&s.ready_fd, &status);
		if (ret < 0) {
			log_line("cannot go into the background: %s", strerror(-ret));
			return STATUS_ERROR;
		}
		if (ret > 0)
			return status;
		/* The caller's affairs are the first process's. */
		exit(supervise(&s));
	}
	return supervise(&s);
}
