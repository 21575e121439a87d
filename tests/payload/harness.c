// SPDX-License-Identifier: Apache-2.0
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/disk.h"
#include "backend/passt.h"
#include "backend/tap.h"
#include "base/log.h"
#include "vm/vm.h"

#define EXIT_SKIPPED  77
#define TIMEOUT_MS    170000u /* under a sanitizer, on a busy machine */
#define LAZY_BYTES    256
#define LOCKED_FACTOR 16u /* loops that may lock the guest's memory, each for itself */

#define FAILURES_SHOWN 20 /* the rest is only counted */

static void die(const char *what)
{
	fprintf(stderr, "the test itself failed: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		fprintf(stderr, "skipped: cannot open /dev/kvm: %s\n", strerror(errno));
		exit(EXIT_SKIPPED);
	}
	return fd;
}

void payload_init(struct payload *p, const char *path)
{
	close(open_kvm());
	/* The supervisor ignores it, and its child inherits that. */
	signal(SIGPIPE, SIG_IGN);
	*p = (struct payload){
		.path = path,
		.cmdline = "payload",
		.cpus = 1,
		.mem_bytes = 64u << 20,
		.read_console = true,
	};
}

struct payload_disk *payload_add_disk(struct payload *p, uint64_t size)
{
	struct payload_disk *d = &p->disks[p->ndisks++];
	uint32_t words[1024];
	char path[] = "payload-disk-XXXXXX";

	*d = (struct payload_disk){ .fd = mkstemp(path), .size = size, .queues = 1 };
	if (d->fd < 0)
		die("a disk image");
	unlink(path);
	for (uint64_t off = 0; off < size; off += sizeof(words)) {
		uint64_t n = size - off < sizeof(words) ? size - off : sizeof(words);

		for (uint64_t i = 0; i < 1024; i++)
			words[i] = pattern_disk(off / 4 + i);
		if (pwrite(d->fd, words, n, (off_t)off) != (ssize_t)n)
			die("a disk image");
	}
	return d;
}

static void add_stream_net(struct payload *p, bool echo_only)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) ||
	    passt_port_new(fds[0], &p->net))
		die("a network card");
	p->peer = peer_start(fds[1], true, echo_only);
	close(fds[1]);
}

void payload_add_stream_net(struct payload *p)
{
	add_stream_net(p, false);
}

void payload_add_echo_net(struct payload *p)
{
	add_stream_net(p, true);
}

void payload_add_tap(struct payload *p, unsigned int pairs)
{
	struct error err;

	if (unshare(CLONE_NEWNET)) {
		fprintf(stderr, "skipped: no network namespace: %s\n", strerror(errno));
		exit(EXIT_SKIPPED);
	}
	if (tap_create("payload0", pairs, &p->net, &err)) {
		fprintf(stderr, "skipped: %s\n", err.text);
		exit(EXIT_SKIPPED);
	}

	int fd = peer_open_tap();

	p->peer = peer_start(fd, false, false);
	close(fd);
}

static void open_disks(const struct payload *p, struct vm_spec *spec)
{
	static const char *const serials[PAYLOAD_DISKS_MAX] = { "payload-0", "payload-1",
								"payload-2", "payload-3" };

	for (unsigned int i = 0; i < p->ndisks; i++) {
		const struct payload_disk *d = &p->disks[i];
		struct error err;
		char path[64];
		struct disk_config cfg = {
			.path = path,
			.read_only = d->read_only,
			.direct = d->buffered ? DISK_DIRECT_OFF : DISK_DIRECT_AUTO,
		};

		snprintf(path, sizeof(path), "/proc/self/fd/%d", d->fd);
		if (disk_open(&cfg, &spec->disks[i].disk, &err)) {
			fprintf(stderr, "the test itself failed: %s\n", err.text);
			exit(1);
		}
		spec->disks[i].queues = d->queues;
		spec->disks[i].own_loops = d->own_loops;
		spec->disks[i].sqpoll = d->sqpoll;
		spec->disks[i].fixed_buffers = d->fixed_buffers;
		spec->disks[i].limits = d->limits;
		spec->disks[i].serial = serials[i];
	}
	spec->ndisks = p->ndisks;
}

/*
 * To lock memory beyond the limit takes a right that the jail takes away, and for raising the limit
 * not every root has the right: then its machines with fixed buffers are in no jail.
 */
static bool can_lock(const struct payload *p)
{
	struct rlimit limit, wanted;
	bool can;

	for (unsigned int i = 0; i < p->ndisks; i++) {
		if (!p->disks[i].fixed_buffers)
			continue;
		if (getrlimit(RLIMIT_MEMLOCK, &limit))
			return false;
		wanted = limit;
		if (wanted.rlim_max < LOCKED_FACTOR * p->mem_bytes)
			wanted.rlim_max = LOCKED_FACTOR * p->mem_bytes;
		can = !setrlimit(RLIMIT_MEMLOCK, &wanted);
		if (can)
			setrlimit(RLIMIT_MEMLOCK, &limit);
		return can;
	}
	return true;
}

/* As run_monitor() of the supervisor does it; but leave by exit(), where leak checkers look. */
static void run_monitor(const struct vm_spec *spec, struct jail *jail, int log_fd)
{
	struct error err;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(log_fd, STDERR_FILENO);
#ifdef KVMBOX_SANITIZED
	/* Whoever looks for leaks reads /proc at the end: only the rings are closed. */
	(void)jail;
	(void)err;
#else
	if (jail && jail_enter(jail, &err)) {
		log_line("%s", err.text);
		exit(1);
	}
#endif
	vm_run(spec);
	exit(0);
}

struct text {
	char *buf;
	size_t len, room;
};

static void text_grow(struct text *t, size_t n)
{
	if (t->room - t->len > n)
		return;
	t->room = 2 * t->room + n + 1;
	t->buf = realloc(t->buf, t->room);
	if (!t->buf)
		die("memory");
}

/* Append what @fd has; false at its end. */
static bool text_read(struct text *t, int fd, size_t max)
{
	text_grow(t, max);
	ssize_t n = read(fd, t->buf + t->len, max);

	if (n > 0)
		t->len += (size_t)n;
	t->buf[t->len] = '\0';
	return n > 0 || (n < 0 && errno == EAGAIN);
}

/* The harness's ends of what the monitor has. */
struct ends {
	int channel, console, log;
	struct text out, err;
	size_t input_done;
	uint64_t stop_at;  /* ns; 0: not to be stopped */
	uint64_t pause_at; /* ns; 0: not to be paused, or being paused */
	uint64_t tell_at;  /* ns; 0: nothing, or done */
};

static void close_end(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Any port is a socket whose other end we keep. */
static void answer_connect(struct payload *p, const struct ends *e, const struct message *msg)
{
	struct message answer = { .type = MESSAGE_ANSWER, .id = msg->id };
	int pair[2] = { -1, -1 };

	if (p->nconnects < PAYLOAD_CONNECTS_MAX) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
			die("sockets");
		p->connects[p->nconnects++] = pair[0];
	}
	channel_send(e->channel, &answer, pair[1]);
	if (pair[1] >= 0)
		close(pair[1]);
	if (p->on_connect && pair[0] >= 0)
		p->on_connect(p, pair[0], msg->value);
}

static void send_message(const struct ends *e, uint32_t type)
{
	struct message msg = { .type = type };

	channel_send(e->channel, &msg, -1);
}

static void plan_pause(const struct payload *p, struct ends *e)
{
	if (p->pause_every_ms)
		e->pause_at = clock_now_ns() + p->pause_every_ms * 1000000ull;
}

static void handle_message(struct payload *p, struct ends *e)
{
	struct message msg;
	int fd;
	int ret = channel_receive(e->channel, &msg, &fd);

	if (ret <= 0) {
		close_end(&e->channel);
		return;
	}
	switch (msg.type) {
	case MESSAGE_RUNNING:
		p->running = true;
		if (p->close_console)
			close_end(&e->console);
		if (p->stop_after_ms)
			e->stop_at = clock_now_ns() + p->stop_after_ms * 1000000ull;
		if (p->ntell)
			e->tell_at = clock_now_ns() + p->tell_after_ms * 1000000ull;
		plan_pause(p, e);
		if (p->on_running)
			p->on_running(p);
		break;
	case MESSAGE_PAUSED:
		p->pauses++;
		send_message(e, MESSAGE_RESUME);
		plan_pause(p, e);
		break;
	case MESSAGE_CONNECT:
		answer_connect(p, e, &msg);
		break;
	case MESSAGE_ENDED:
		p->ended = true;
		p->message = msg;
		break;
	}
	if (fd >= 0)
		close(fd);
}

static void feed_input(const struct payload *p, struct ends *e)
{
	const char *input = p->input;
	ssize_t n = send(e->console, input + e->input_done, p->input_len - e->input_done,
			 MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n > 0)
		e->input_done += (size_t)n;
	else if (n < 0 && errno != EAGAIN)
		e->input_done = p->input_len;
}

static void stop(const struct payload *p, struct ends *e)
{
	e->stop_at = 0;
	if (p->hang_up)
		close_end(&e->channel);
	else
		send_message(e, MESSAGE_STOP);
}

static void tell(const struct payload *p, struct ends *e)
{
	e->tell_at = 0;
	for (unsigned int i = 0; i < p->ntell; i++)
		channel_send(e->channel, &p->tell[i], -1);
}

static unsigned int timeout_ms(const struct payload *p)
{
	return p->timeout_ms ? p->timeout_ms : TIMEOUT_MS;
}

/* Serve the ends until the monitor has closed all of them. */
static void serve(struct payload *p, struct ends *e)
{
	uint64_t deadline = clock_now_ns() + timeout_ms(p) * 1000000ull;
	bool console_open = true;

	/* The log's end is the last that a process which ends lets go of. */
	while (e->log >= 0) {
		uint64_t now = clock_now_ns();

		if (now >= deadline) {
			p->timed_out = true;
			return;
		}
		if (e->stop_at && now >= e->stop_at)
			stop(p, e);
		if (e->tell_at && now >= e->tell_at)
			tell(p, e);
		if (e->pause_at && now >= e->pause_at) {
			e->pause_at = 0;
			send_message(e, MESSAGE_PAUSE);
		}
		short console = p->read_console && console_open ? POLLIN : 0;
		if (e->input_done < p->input_len)
			console |= POLLOUT;
		struct pollfd fds[] = {
			{ .fd = e->channel, .events = POLLIN },
			{ .fd = console ? e->console : -1, .events = console },
			{ .fd = e->log, .events = POLLIN },
		};
		if (poll(fds, 3, e->stop_at || e->pause_at || e->tell_at ? 20 : 200) < 0 &&
		    errno != EINTR)
			die("poll");
		if (fds[0].revents)
			handle_message(p, e);
		if (fds[1].revents & POLLOUT)
			feed_input(p, e);
		if (fds[1].revents & (POLLIN | POLLHUP))
			console_open = text_read(&e->out, e->console,
						 p->lazy_console ? LAZY_BYTES : 65536);
		if (fds[2].revents && !text_read(&e->err, e->log, 65536))
			close_end(&e->log);
		if (p->lazy_console)
			usleep(2000);
	}
}

void payload_run(struct payload *p)
{
	static char *const argv[] = { (char *)(uintptr_t) "/bin/true", NULL };
	struct vm_spec spec = {
		.kvm_fd = open_kvm(),
		.cpus = p->cpus,
		.mem_bytes = p->mem_bytes,
		.kernel_fd = open(p->path, O_RDONLY | O_CLOEXEC),
		.kernel_path = p->path,
		.initrd_fd = -1,
		.cmdline = p->cmdline,
		.balloon = { .deflate_on_oom = true, .reporting = true },
	};
	struct ends e = { 0 };
	/* All of the jail that needs no namespaces, in which nobody could look for leaks. */
	struct jail jail = {
		.wish.file_max = RLIM_INFINITY,
		.wish.locked_bytes = LOCKED_FACTOR * p->mem_bytes,
		.cgroup_fd = -1,
		.cgroup_lock = -1,
	};
	int channel[2], console[2], log[2];

	if (spec.kernel_fd < 0)
		die(p->path);
	if (p->workload)
		spec.workload.argv = argv;
	open_disks(p, &spec);
	if (p->net) {
		static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };

		spec.nets[0].port = p->net;
		memcpy(spec.nets[0].mac, mac, sizeof(mac));
		spec.nets[0].mtu = 1500;
		spec.nnets = 1;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, console) || pipe2(log, O_CLOEXEC))
		die("sockets");
	spec.channel = channel[1];
	spec.console = console[1];
	spec.jail = can_lock(p) ? &jail : NULL;

	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		close(channel[0]);
		close(console[0]);
		close(log[0]);
		run_monitor(&spec, spec.jail ? &jail : NULL, log[1]);
	}
	p->monitor = pid;
	close(channel[1]);
	close(console[1]);
	close(log[1]);
	close(spec.kvm_fd);
	close(spec.kernel_fd);
	for (unsigned int i = 0; i < spec.ndisks; i++)
		spec.disks[i].disk->ops->free(spec.disks[i].disk);
	if (p->net)
		p->net->ops->free(p->net);

	e.channel = channel[0];
	e.console = console[0];
	e.log = log[0];
	text_grow(&e.out, 0);
	text_grow(&e.err, 0);
	e.out.buf[0] = e.err.buf[0] = '\0';
	serve(p, &e);
	if (p->timed_out)
		kill(pid, SIGKILL);
	waitpid(pid, &p->status, 0);
	if (p->peer) {
		kill(p->peer, SIGKILL);
		waitpid(p->peer, NULL, 0);
	}
	/* What came in the same instant as the end. */
	while (e.channel >= 0 && !p->ended)
		handle_message(p, &e);
	while (p->read_console && e.console >= 0 && text_read(&e.out, e.console, 65536))
		;
	close_end(&e.channel);
	close_end(&e.console);
	close_end(&e.log);
	p->console = e.out.buf;
	p->console_len = e.out.len;
	p->log = e.err.buf;
	p->log_len = e.err.len;
	if (p->timed_out)
		payload_expect(p, false, "the machine did not end within %u s",
			       timeout_ms(p) / 1000);
}

void payload_expect(struct payload *p, bool good, const char *fmt, ...)
{
	va_list ap;

	if (good)
		return;
	if (++p->failures > FAILURES_SHOWN)
		return;
	fprintf(stderr, "FAIL (host) ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
}

char *payload_console_tail(const struct payload *p, size_t len)
{
	size_t from = p->console_len > len ? p->console_len - len : 0;
	char *tail = calloc(1, len + 1), *to = tail;

	if (!tail)
		die("memory");
	for (size_t i = from; i < p->console_len; i++)
		if (p->console[i] == '\n' || (p->console[i] >= ' ' && p->console[i] < 0x7f))
			*to++ = p->console[i];
	return tail;
}

static const char *end_name(uint64_t why)
{
	static const char *const names[] = {
		[VM_END_STOPPED] = "stopped", [VM_END_RESET] = "reset", [VM_END_PANIC] = "panic",
		[VM_END_CRASH] = "crash",     [VM_END_ERROR] = "error",
	};

	return why < sizeof(names) / sizeof(names[0]) ? names[why] : "unknown";
}

/* The monitor speaks in lines of its own; a sanitizer's are not. */
static void expect_own_lines(struct payload *p)
{
	for (const char *line = p->log; *line;) {
		const char *end = strchr(line, '\n');

		if (strncmp(line, "kvmbox: ", 8)) {
			payload_expect(p, false,
				       "the log has a line that is not the monitor's: %.*s",
				       end ? (int)(end - line) : (int)strlen(line), line);
			return;
		}
		line = end ? end + 1 : line + strlen(line);
	}
}

void payload_expect_end(struct payload *p, enum vm_end why)
{
	expect_own_lines(p);
	payload_expect(p, p->running, "the monitor never said that it runs");
	payload_expect(p, WIFEXITED(p->status) && WEXITSTATUS(p->status) == 0,
		       "the monitor ended with wait status %#x", (unsigned int)p->status);
	if (p->hang_up)
		return;
	payload_expect(p, p->ended, "the monitor never said how the machine ended");
	payload_expect(p, !p->ended || p->message.value == why,
		       "the machine ended by %s, not %s: %s", end_name(p->message.value),
		       end_name(why), p->message.text);
}

unsigned int payload_count_log(const struct payload *p, const char *text)
{
	unsigned int n = 0;

	for (const char *s = p->log; (s = strstr(s, text)); s++)
		n++;
	return n;
}

void payload_expect_log(struct payload *p, const char *text)
{
	payload_expect(p, payload_count_log(p, text) > 0, "the log does not say \"%s\"", text);
}

void payload_expect_disk(struct payload *p, unsigned int i, uint64_t off, const void *want,
			 size_t len)
{
	uint8_t *got = malloc(len);
	const uint8_t *expected = want;

	if (!got || pread(p->disks[i].fd, got, len, (off_t)off) != (ssize_t)len)
		die("reading a disk image");
	for (size_t k = 0; k < len; k++) {
		uint32_t word = pattern_disk((off + k) / 4);
		uint8_t w = expected ? expected[k] : (uint8_t)(word >> 8 * ((off + k) % 4));

		if (got[k] == w)
			continue;
		payload_expect(p, false, "disk %u has %#x at byte %llu, not %#x", i, got[k],
			       (unsigned long long)(off + k), w);
		break;
	}
	free(got);
}

void payload_expect_block(struct payload *p, unsigned int i, uint64_t off, uint32_t seed,
			  size_t len)
{
	uint32_t words[1024];

	for (uint32_t k = 0; k < len / 4; k++)
		words[k] = pattern_block(seed, k);
	payload_expect_disk(p, i, off, words, len);
}

/* The payload's own lines: at least one "ok", no "FAIL", and "done" at the end. */
static void judge_console(struct payload *p)
{
	unsigned int good = 0;
	char *save = NULL;
	const char *last = "";

	for (char *line = strtok_r(p->console, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		last = line;
		if (!strncmp(line, "ok ", 3))
			good++;
		else if (!strncmp(line, "FAIL ", 5))
			p->failures++;
		else if (!strcmp(line, "done") || !strncmp(line, "skip ", 5))
			;
		else
			payload_expect(p, false, "the payload printed \"%s\"", line);
	}
	payload_expect(p, good > 0, "the payload checked nothing");
	payload_expect(p, !strcmp(last, "done"), "the payload did not come to its end");
}

bool payload_verdict(struct payload *p)
{
	if (!p->partial) {
		printf("%s", p->console);
		fflush(stdout);
		judge_console(p);
	}
	if (p->failures) {
		if (p->ended && p->message.text[0])
			fprintf(stderr, "the machine's end: %s\n", p->message.text);
		fprintf(stderr, "%u failures; the monitor's log:\n%s", p->failures, p->log);
	}
	for (unsigned int i = 0; i < p->nconnects; i++)
		close(p->connects[i]);
	for (unsigned int i = 0; i < p->ndisks; i++)
		close(p->disks[i].fd);
	free(p->console);
	free(p->log);
	return !p->failures;
}
