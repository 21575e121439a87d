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
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "supervisor/agent.h"
#include "supervisor/relay.h"
#include "supervisor/report.h"
#include "supervisor/start.h"
#include "supervisor/tail.h"
#include "supervisor/terminal.h"

#define GRACE_SIGNAL_NS   (10ull * 1000000000) /* for the workload to act on a signal */
#define GRACE_SHUTDOWN_NS (5ull * 1000000000)  /* for guest/init to end without it */
#define TAIL_LINES        20

enum stopping {
	NOT_STOPPING,
	STOPPING_SIGNAL,   /* the workload has been signalled */
	STOPPING_SHUTDOWN, /* guest/init has been told to kill it */
	STOPPING_NOW,      /* the monitor has been told to end */
};

struct supervisor {
	const struct boot_config *cfg;
	struct launch launch;
	struct report report;
	bool terminal;
	bool timed_out;
	enum stopping stopping;
	int stop_signal;      /* that began it, or 0 */
	uint64_t deadline_ns; /* of the current stage, or 0 */
	uint64_t timeout_ns;  /* when the time limit ends, or 0 */

	struct agent agent;
	struct relay in, out, err;
	int stream_in, stream_out, stream_err; /* -1: not connected */
	struct tail tail;
	struct terminal_escape escape;
	int signal_fd;

	bool gone; /* the monitor has been reaped */
	int wait_status;
	bool have_end; /* MESSAGE_ENDED has come */
	struct message end;
	char text[sizeof(((struct message *)0)->text)]; /* what went wrong, for the report */
};

/* ---- stopping ---- */

static void stop_now(struct supervisor *s)
{
	struct message msg = { .type = MESSAGE_STOP };

	if (s->stopping == STOPPING_NOW)
		return;
	s->stopping = STOPPING_NOW;
	s->deadline_ns = clock_now_ns() + GRACE_SHUTDOWN_NS;
	channel_send(s->launch.channel, &msg, -1);
}

/* Go one stage further than now. @signo is for the workload, should that be the stage. */
static void stop_further(struct supervisor *s, int signo)
{
	bool reachable = s->agent.fd >= 0 && s->agent.started_ns && !s->agent.exit_ns;

	if (!reachable) {
		stop_now(s);
		return;
	}
	switch (s->stopping) {
	case NOT_STOPPING:
		s->stopping = STOPPING_SIGNAL;
		s->deadline_ns = clock_now_ns() + GRACE_SIGNAL_NS;
		agent_signal(&s->agent, signo);
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

static void check_clock(struct supervisor *s)
{
	uint64_t now = clock_now_ns();

	if (s->timeout_ns && now >= s->timeout_ns) {
		s->timeout_ns = 0;
		s->timed_out = !s->agent.exit_ns;
		if (s->timed_out && s->stopping == NOT_STOPPING)
			stop_further(s, SIGTERM);
	}
	if (s->deadline_ns && now >= s->deadline_ns) {
		s->deadline_ns = 0;
		if (s->stopping == STOPPING_NOW)
			kill(s->launch.monitor, SIGKILL);
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
	if (s->gone)
		/* Only a reader that stalls keeps us: whoever signals does not want to wait for it.
		 */
		s->out.ended = s->err.ended = true;
	else
		stop_further(s, (int)info.ssi_signo);
}

/* One more stream of the guest's. Each of the known ports is taken once. */
static void take_stream(struct supervisor *s, uint64_t port, int fd)
{
	if (port == KVMBOX_PORT_CONTROL) {
		agent_connect(&s->agent, fd);
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
	int pair[2] = { -1, -1 };

	if (msg->value >= KVMBOX_PORT_CONTROL && msg->value <= KVMBOX_PORT_STDERR &&
	    !socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		take_stream(s, msg->value, pair[0]);
	channel_send(s->launch.channel, &answer, pair[1]);
	if (pair[1] >= 0)
		close(pair[1]);
}

static void handle_channel(struct supervisor *s)
{
	struct message msg;
	int fd;
	int ret = channel_receive(s->launch.channel, &msg, &fd);

	if (ret <= 0) {
		/* Its last word was said or will not be: pidfd tells the rest. */
		close(s->launch.channel);
		s->launch.channel = -1;
		return;
	}
	switch (msg.type) {
	case MESSAGE_RUNNING:
		s->report.running_ns = msg.value;
		break;
	case MESSAGE_CONNECT:
		handle_connect(s, &msg);
		break;
	case MESSAGE_ENDED:
		s->end = msg;
		s->have_end = true;
		break;
	}
	if (fd >= 0)
		close(fd);
}

/* The serial console of a guest with an agent: kept for the worst case, shown to nobody. */
static void handle_console(struct supervisor *s)
{
	uint8_t buf[4096];
	ssize_t n = read(s->launch.console, buf, sizeof(buf));

	if (n > 0) {
		tail_add(&s->tail, buf, (size_t)n);
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
	s->deadline_ns = 0;
	s->timeout_ns = 0;
}

/* ---- the loop ---- */

static bool output_ended(const struct supervisor *s)
{
	return s->out.ended && s->err.ended;
}

/* All that is left has been said: the monitor is gone, and nothing is unread or unwritten. */
static bool finished(const struct supervisor *s)
{
	return s->gone && s->launch.channel < 0 && output_ended(s) &&
	       (s->cfg->full_system || s->launch.console < 0);
}

static void step(struct supervisor *s)
{
	bool console_is_ours = !s->cfg->full_system;
	enum {
		SIGNAL,
		MONITOR,
		CHANNEL,
		AGENT,
		CONSOLE,
		LINKS,
		IN,
		OUT = IN + 2,
		ERR = OUT + 2,
		NPOLL = ERR + 2
	};
	struct pollfd p[NPOLL] = {
		[SIGNAL] = { .fd = s->signal_fd, .events = POLLIN },
		[MONITOR] = { .fd = s->gone ? -1 : s->launch.monitor_fd, .events = POLLIN },
		[CHANNEL] = { .fd = s->launch.channel, .events = POLLIN },
		[AGENT] = { .fd = s->agent.fd, .events = POLLIN },
		[CONSOLE] = { .fd = console_is_ours ? s->launch.console : -1, .events = POLLIN },
		[LINKS] = { .fd = s->launch.nets.links.fd, .events = POLLIN },
	};

	relay_prepare(&s->in, &p[IN], &p[IN + 1]);
	relay_prepare(&s->out, &p[OUT], &p[OUT + 1]);
	relay_prepare(&s->err, &p[ERR], &p[ERR + 1]);
	if (poll(p, NPOLL, wait_time(s)) < 0)
		return; /* EINTR; every other error would be ours */

	if (p[SIGNAL].revents)
		handle_signal(s);
	if (p[CHANNEL].revents)
		handle_channel(s);
	if (p[AGENT].revents && p[AGENT].fd == s->agent.fd)
		agent_read(&s->agent);
	if (p[CONSOLE].revents)
		handle_console(s);
	if (p[LINKS].revents)
		link_watch_read(&s->launch.nets.links, handle_link, s);
	size_t typed = relay_run(&s->in, &p[IN], &p[IN + 1]);
	if (typed && s->terminal &&
	    terminal_escaped(&s->escape, s->in.buf + s->in.head, typed, clock_now_ns())) {
		s->stop_signal = SIGKILL;
		s->stopping = s->stopping < STOPPING_SIGNAL ? STOPPING_SIGNAL : s->stopping;
		stop_further(s, SIGKILL);
	}
	relay_run(&s->out, &p[OUT], &p[OUT + 1]);
	relay_run(&s->err, &p[ERR], &p[ERR + 1]);
	if (p[MONITOR].revents)
		handle_monitor_gone(s);
	if (s->agent.exit_ns && output_ended(s))
		stop_now(s);
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
		return (int)(e->value & 0xff);
	case KVMBOX_EXIT_SIGNALED:
		s->report.reason = "signaled";
		return 128 + (int)(e->value & 0x7f);
	default:
		s->report.reason = "not-started";
		if (!text[0])
			snprintf(text, size, "the guest could not start the workload");
		return STATUS_ERROR;
	}
}

/* The VM ended, and no agent has told how. */
static int verdict_of_monitor(struct supervisor *s, char *text, size_t size)
{
	char line[256];

	if (!s->have_end && WIFSIGNALED(s->wait_status))
		return failed(s, "monitor-killed", text, size,
			      "the monitor was killed by signal %d", WTERMSIG(s->wait_status));
	if (!s->have_end)
		return failed(s, "monitor-died", text, size,
			      "the monitor ended without a word (status %d)",
			      WEXITSTATUS(s->wait_status));
	switch (s->end.value) {
	case VM_END_STOPPED:
		s->report.reason = "stopped";
		return s->stop_signal ? 128 + s->stop_signal : 128 + SIGKILL;
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

static int watch_signals(void)
{
	static const int wanted[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		sigaddset(&set, wanted[i]);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void close_streams(struct supervisor *s)
{
	int *fds[] = { &s->stream_in, &s->stream_out, &s->stream_err, &s->signal_fd };

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
	fcntl(s->launch.console, F_SETFL, O_NONBLOCK);
	if (s->cfg->full_system) {
		relay_init(&s->in, STDIN_FILENO, s->launch.console);
		relay_init(&s->out, s->launch.console, STDOUT_FILENO);
	}
}

int supervisor_run(const struct boot_config *cfg, uint64_t begin_ns)
{
	struct supervisor s = {
		.cfg = cfg,
		.report = { .name = cfg->name, .begin_ns = begin_ns, .error = "" },
		.stream_in = -1,
		.stream_out = -1,
		.stream_err = -1,
		.terminal = terminal_present(),
	};
	struct error err;

	agent_init(&s.agent);
	s.signal_fd = watch_signals();
	if (launch_start(&s.launch, cfg, s.terminal, &err)) {
		s.report.status = STATUS_ERROR;
		s.report.reason = "error";
		s.report.error = err.text;
		s.report.end_ns = clock_now_ns();
		if (cfg->json)
			report_print_json(&s.report);
		else
			log_line("%s", err.text);
		close_streams(&s);
		return STATUS_ERROR;
	}
	begin_relays(&s);
	if (s.terminal)
		terminal_make_raw();
	if (cfg->timeout_ms)
		s.timeout_ns = begin_ns + cfg->timeout_ms * 1000000;
	while (!finished(&s))
		step(&s);
	terminal_restore();
	int status = conclude(&s);
	launch_deinit(&s.launch);
	close_streams(&s);
	return status;
}
