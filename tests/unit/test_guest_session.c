// SPDX-License-Identifier: Apache-2.0
/* Sessions in a process of their own, as PID 1 forks them; the host is the test. */
#include "common/copy.h"
#include "common/frame.h"
#include "init/exec.h"
#include "init/forward.h"
#include "init/session.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char dir[] = "/tmp/kvmbox-session-XXXXXX";

static char *workload_env[] = { (char *)"FROM=workload", (char *)"BOTH=workload", NULL };
static const struct description description = {
	.env = workload_env,
	.hostname = (char *)"guest",
	.cwd = dir,
};

/* What the host has of a session. */
struct host {
	int fd;
	pid_t pid;
	bool started;
	bool exited;
	struct kvmbox_exit exit;
	char error[512];
	uint64_t room;
	size_t len[3]; /* of the streams' bytes */
	bool end[3];
	char text[3][1 << 20];
};

static struct host h;

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(chdir(dir), 0);
}

static void teardown(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert_eq(system(command), 0);
}

TestSuite(guest_session, .init = setup, .fini = teardown, .timeout = 120);

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void begin(struct host *s)
{
	int pair[2];

	memset(s, 0, sizeof(*s));
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	s->pid = fork();
	cr_assert_geq(s->pid, 0);
	if (s->pid == 0) {
		/* As PID 1 does: of other sessions nothing is held. */
		dup3(pair[0], 3, O_CLOEXEC);
		close_range(4, ~0u, 0);
		session_run(3, &description);
	}
	close(pair[0]);
	s->fd = pair[1];
}

/* The session's process ends by itself. */
static void ends(struct host *s)
{
	int status;

	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	cr_assert_eq(waitpid(s->pid, &status, 0), s->pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", status);
}

static void sends(struct host *s, uint16_t type, const void *payload, size_t len)
{
	cr_assert_eq(frame_send(s->fd, -1, type, payload, len), 0);
}

/* argv, and behind it env, each ending in NULL; from payload's @at on. */
static size_t strings_put(char *payload, size_t at, char *const *strings, uint32_t *count)
{
	for (*count = 0; strings[*count]; ++*count)
		at += (size_t)sprintf(payload + at, "%s", strings[*count]) + 1;
	return at;
}

static void exec_send(struct host *s, uint32_t flags, char *const *argv, char *const *env,
		      const char *cwd)
{
	struct kvmbox_exec head = { .flags = flags, .rows = 31, .cols = 77 };
	static char payload[KVMBOX_FRAME_MAX];
	size_t len = strings_put(payload, sizeof(head), argv, &head.argc);

	len = strings_put(payload, len, env, &head.envc);
	len += (size_t)sprintf(payload + len, "%s", cwd) + 1;
	memcpy(payload, &head, sizeof(head));
	sends(s, KVMBOX_FRAME_EXEC, payload, len);
}

static void shell(struct host *s, uint32_t flags, const char *script)
{
	char *argv[] = { (char *)"sh", (char *)"-c", (char *)script, NULL };

	begin(s);
	exec_send(s, flags, argv, (char *[]){ NULL }, "");
}

/* Takes one frame. Returns false at the end of the stream. */
static bool take(struct host *s)
{
	static char payload[KVMBOX_FRAME_MAX];
	struct kvmbox_frame frame;
	struct kvmbox_data data;
	struct kvmbox_room room;

	if (frame_receive(s->fd, -1, &frame, payload, sizeof(payload)) < 0)
		return false;
	cr_assert_not(s->exited, "a frame after EXIT");
	switch (frame.type) {
	case KVMBOX_FRAME_STARTED:
		s->started = true;
		break;
	case KVMBOX_FRAME_EXIT:
		s->exited = true;
		memcpy(&s->exit, payload, sizeof(s->exit));
		break;
	case KVMBOX_FRAME_ERROR:
		memcpy(s->error, payload, frame.len);
		break;
	case KVMBOX_FRAME_ROOM:
		memcpy(&room, payload, sizeof(room));
		s->room += room.bytes;
		break;
	case KVMBOX_FRAME_DATA:
		memcpy(&data, payload, sizeof(data));
		cr_assert(data.stream == KVMBOX_STREAM_OUT || data.stream == KVMBOX_STREAM_ERR);
		cr_assert_not(s->end[data.stream], "bytes after the end");
		frame.len -= sizeof(data);
		cr_assert_leq(frame.len, 16384);
		s->end[data.stream] = !frame.len;
		cr_assert_lt(s->len[data.stream] + frame.len, sizeof(s->text[0]));
		memcpy(s->text[data.stream] + s->len[data.stream], payload + sizeof(data),
		       frame.len);
		s->len[data.stream] += frame.len;
		break;
	default:
		cr_assert_fail("frame type %u", frame.type);
	}
	return true;
}

static void take_until(struct host *s, const char *text)
{
	while (!strstr(s->text[KVMBOX_STREAM_OUT], text))
		cr_assert(take(s), "no %s in %s", text, s->text[KVMBOX_STREAM_OUT]);
}

static void exits(struct host *s, uint32_t kind, uint32_t value)
{
	while (take(s))
		;
	cr_assert(s->exited);
	cr_assert_eq(s->exit.kind, kind);
	cr_assert_eq(s->exit.value, value, "%u is not %u", s->exit.value, value);
	cr_assert_eq(s->end[KVMBOX_STREAM_OUT], s->started);
	ends(s);
}

static void input(struct host *s, const void *bytes, size_t len)
{
	struct kvmbox_data head = { .stream = KVMBOX_STREAM_IN };

	cr_assert_eq(frame_send2(s->fd, -1, KVMBOX_FRAME_DATA, &head, sizeof(head), bytes, len), 0);
}

static void signals(struct host *s, uint32_t signo)
{
	struct kvmbox_signal signal = { .signo = signo };

	sends(s, KVMBOX_FRAME_SIGNAL, &signal, sizeof(signal));
}

static bool terminals_are_there(void)
{
	int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static pid_t pid_read(const char *path)
{
	long pid = 0;
	FILE *f = fopen(path, "r");

	cr_assert_not_null(f, "%s", path);
	cr_assert_eq(fscanf(f, "%ld", &pid), 1);
	fclose(f);
	cr_assert_gt(pid, 1);
	return (pid_t)pid;
}

Test(guest_session, output_and_status)
{
	shell(&h, 0, "echo out; echo err >&2; exit 7");
	exits(&h, KVMBOX_EXIT_EXITED, 7);
	cr_assert(h.started);
	cr_assert(h.end[KVMBOX_STREAM_ERR]);
	cr_assert_str_eq(h.text[KVMBOX_STREAM_OUT], "out\n");
	cr_assert_str_eq(h.text[KVMBOX_STREAM_ERR], "err\n");
	shell(&h, 0, "kill -9 $$");
	exits(&h, KVMBOX_EXIT_SIGNALED, SIGKILL);
	shell(&h, 0, "head -c 1000000 /dev/zero");
	exits(&h, KVMBOX_EXIT_EXITED, 0);
	cr_assert_eq(h.len[KVMBOX_STREAM_OUT], 1000000);
}

Test(guest_session, environment)
{
	char *argv[] = { (char *)"sh", (char *)"-c",
			 (char *)"echo $FROM $BOTH $MINE $HOSTNAME ${TERM-none} $PWD; umask; "
				 "ls /proc/self/fd | wc -l",
			 NULL };
	char *env[] = { (char *)"BOTH=exec", (char *)"MINE=a=b", NULL };

	begin(&h);
	exec_send(&h, 0, argv, env, "/usr");
	exits(&h, KVMBOX_EXIT_EXITED, 0);
	cr_assert(strstr(h.text[1], "workload exec a=b guest none /usr\n"), "%s", h.text[1]);
	/* The three, and ls's own. */
	cr_assert(strstr(h.text[1], "\n4\n"), "%s", h.text[1]);
}

Test(guest_session, not_started)
{
	char *argv[] = { (char *)"no-such-command", NULL };

	begin(&h);
	exec_send(&h, 0, argv, (char *[]){ NULL }, "");
	exits(&h, KVMBOX_EXIT_EXITED, 127);
	cr_assert_not(h.started);
	cr_assert(strstr(h.error, "no-such-command is not in the PATH"), "%s", h.error);
	argv[0] = (char *)"/etc/passwd";
	begin(&h);
	exec_send(&h, 0, argv, (char *[]){ NULL }, "");
	exits(&h, KVMBOX_EXIT_EXITED, 126);
	cr_assert(strstr(h.error, "/etc/passwd cannot be executed"), "%s", h.error);
	argv[0] = (char *)"true";
	begin(&h);
	exec_send(&h, 0, argv, (char *[]){ NULL }, "/no/where");
	exits(&h, KVMBOX_EXIT_NOT_STARTED, ENOENT);
	cr_assert(strstr(h.error, "/no/where"), "%s", h.error);
}

Test(guest_session, signal)
{
	shell(&h, 0, "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.05; done");
	take_until(&h, "ready");
	signals(&h, 0);
	signals(&h, 65);
	signals(&h, SIGTERM);
	exits(&h, KVMBOX_EXIT_EXITED, 3);
	cr_assert(strstr(h.text[1], "got it"));
}

/* Standard input comes back whole and in order, with no more than the window under way. */
Test(guest_session, echo_more_than_the_window)
{
	static char bytes[12 * KVMBOX_STDIN_WINDOW + 17];
	size_t sent = 0;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i % 251);
	shell(&h, KVMBOX_EXEC_STDIN, "cat");
	while (sent < sizeof(bytes)) {
		size_t window = KVMBOX_STDIN_WINDOW - (sent - h.room);
		size_t len = sizeof(bytes) - sent;

		len = len > window ? window : len;
		len = len > 60000 ? 60000 : len;
		if (len)
			input(&h, bytes + sent, len);
		else
			cr_assert(take(&h));
		sent += len;
	}
	input(&h, NULL, 0);
	exits(&h, KVMBOX_EXIT_EXITED, 0);
	cr_assert_eq(h.len[1], sizeof(bytes));
	cr_assert_eq(memcmp(h.text[1], bytes, sizeof(bytes)), 0);
	cr_assert_eq(h.room, sizeof(bytes));
}

/* Input that nobody reads: it is taken and dropped, and holds up nothing. */
Test(guest_session, input_unread)
{
	static char bytes[60000];

	shell(&h, KVMBOX_EXEC_STDIN, "exec 0<&-; echo ready; sleep 0.3; echo done");
	take_until(&h, "ready");
	for (size_t sent = sizeof(bytes); sent < 10 * sizeof(bytes); sent += sizeof(bytes)) {
		input(&h, bytes, sizeof(bytes));
		while (h.room < sent)
			cr_assert(take(&h));
	}
	exits(&h, KVMBOX_EXIT_EXITED, 0);
	cr_assert(strstr(h.text[1], "done"));
	shell(&h, 0, "cat; echo empty");
	exits(&h, KVMBOX_EXIT_EXITED, 0);
	cr_assert_str_eq(h.text[1], "empty\n");
}

/* A full input and a host that reads no output stall neither signals nor each other. */
Test(guest_session, stalled)
{
	static char bytes[60000];

	shell(&h, KVMBOX_EXEC_STDIN,
	      "trap 'echo >signalled; exit 5' USR1; yes & while :; do sleep 0.05; done");
	input(&h, bytes, sizeof(bytes));
	usleep(300000);
	signals(&h, SIGUSR1);
	for (int i = 0; i < 100 && access("signalled", F_OK) < 0; i++)
		usleep(50000);
	cr_assert_eq(access("signalled", F_OK), 0);
	while (!h.exited) {
		cr_assert(take(&h));
		h.len[1] = 0;
	}
	cr_assert_eq(h.exit.value, 5);
	ends(&h);
}

static bool session_breaks(void)
{
	while (take(&h))
		;
	cr_assert_not(h.exited);
	ends(&h);
	return true;
}

Test(guest_session, window_overrun)
{
	static char bytes[60000];

	shell(&h, KVMBOX_EXEC_STDIN, "exec sleep 5");
	/* A pipe takes some; then the window is full. */
	for (int i = 0; i < 4; i++)
		frame_send(h.fd, -1, KVMBOX_FRAME_DATA, bytes, sizeof(bytes));
	session_breaks();
}

static void frame_huge(uint16_t type)
{
	struct kvmbox_frame frame = { .type = type, .len = KVMBOX_FRAME_MAX + 1 };

	cr_assert_eq(write(h.fd, &frame, sizeof(frame)), (ssize_t)sizeof(frame));
}

Test(guest_session, huge_frames)
{
	begin(&h);
	frame_huge(KVMBOX_FRAME_EXEC);
	session_breaks();
	shell(&h, 0, "exec sleep 5");
	frame_huge(KVMBOX_FRAME_SIGNAL);
	session_breaks();
}

static void exec_malformed(uint32_t argc, uint32_t envc, const char *strings, size_t len)
{
	struct kvmbox_exec head = { .argc = argc, .envc = envc };
	struct exec_request r;
	char *payload = malloc(sizeof(head) + len);

	cr_assert_not_null(payload);
	memcpy(payload, &head, sizeof(head));
	memcpy(payload + sizeof(head), strings, len);
	cr_assert_eq(exec_request_init(&r, payload, sizeof(head) + len), -EPROTO);
	begin(&h);
	sends(&h, KVMBOX_FRAME_EXEC, payload, sizeof(head) + len);
	session_breaks();
	cr_assert_not(h.started);
	free(payload);
}

Test(guest_session, malformed)
{
	exec_malformed(0, 0, "\0\0", 2);
	exec_malformed(1, 0, "true", 4);
	exec_malformed(1, 0, "true", 5);
	exec_malformed(2, 0, "true\0", 6);
	exec_malformed(1, 1, "true\0A=b", 9);
	exec_malformed(1, 1, "true\0A=b\0x", 10);
	exec_malformed(1, 1, "true\0A\0", 8);
	exec_malformed(1, 1, "true\0=A\0", 9);
	exec_malformed(UINT32_MAX, UINT32_MAX, "true\0", 6);
	exec_malformed(UINT32_MAX, 1, "true\0A=b\0", 10);
	begin(&h);
	sends(&h, KVMBOX_FRAME_EXEC, "short", 5);
	session_breaks();
}

/* Frames that are not known, or shorter than they should be, are skipped. */
Test(guest_session, skipped)
{
	begin(&h);
	sends(&h, 999, "what", 4);
	sends(&h, KVMBOX_FRAME_GET, "abc", 3);
	sends(&h, KVMBOX_FRAME_HEALTH, NULL, 0);
	cr_assert_eq(shutdown(h.fd, SHUT_WR), 0);

	struct kvmbox_health health;
	struct kvmbox_frame frame;

	cr_assert_eq(frame_receive(h.fd, -1, &frame, &health, sizeof(health)), 0);
	cr_assert_eq(frame.type, KVMBOX_FRAME_HEALTH);
	cr_assert_eq(frame.len, sizeof(health));
	cr_assert_gt(health.boot_ns, 0);
	cr_assert_gt(health.memory_total, health.memory_free);
	cr_assert_gt(health.memory_free, 1 << 20);
	cr_assert_gt(health.processes, 1);
	cr_assert_lt(health.load_hundredths, 100000);
	ends(&h);

	shell(&h, KVMBOX_EXEC_STDIN, "cat");
	sends(&h, 999, "what", 4);
	sends(&h, KVMBOX_FRAME_SIGNAL, "abc", 3);
	sends(&h, KVMBOX_FRAME_DATA, "ab", 2);
	input(&h, "text", 4);
	input(&h, NULL, 0);
	exits(&h, KVMBOX_EXIT_EXITED, 0);
	cr_assert_str_eq(h.text[1], "text");
}

/* The host goes; the session does, and the command finds its pipes closed. */
Test(guest_session, disconnect)
{
	shell(&h, KVMBOX_EXEC_STDIN,
	      "echo $$ >pid; echo ready; cat; echo gone >gone; exec sleep 1000");
	take_until(&h, "ready");
	ends(&h);
	for (int i = 0; i < 100 && access("gone", F_OK) < 0; i++)
		usleep(50000);
	cr_assert_eq(access("gone", F_OK), 0);
	cr_assert_eq(kill(pid_read("pid"), SIGKILL), 0, "it lives on");
	begin(&h);
	cr_assert_eq(write(h.fd, "\xa0\0\0", 3), 3);
	ends(&h);
}

/* Processes that are left behind hold the streams open, but not the session. */
Test(guest_session, left_behind)
{
	int64_t before = now_ms();

	shell(&h, 0, "sleep 1000 & echo $! >pid; echo first");
	exits(&h, KVMBOX_EXIT_EXITED, 0);
	cr_assert(strstr(h.text[1], "first"));
	cr_assert(h.end[KVMBOX_STREAM_ERR]);
	cr_assert_lt(now_ms() - before, 5000);
	cr_assert_eq(kill(pid_read("pid"), SIGKILL), 0);

	shell(&h, 0, "yes & echo $! >pid");
	while (!h.exited) {
		cr_assert(take(&h));
		h.len[1] = 0;
	}
	cr_assert_lt(now_ms() - before, 20000);
	ends(&h);
	shell(&h, 0, "while :; do echo drip; sleep 0.05; done & echo $! >pid");
	exits(&h, KVMBOX_EXIT_EXITED, 0);
	kill(pid_read("pid"), SIGKILL);
}

Test(guest_session, many_at_once)
{
	enum { MANY = 20 };
	static struct host many[MANY];
	char script[64];

	for (int i = 0; i < MANY; i++) {
		snprintf(script, sizeof(script), "read x; echo %d $x; exit %d", i, i);
		shell(&many[i], KVMBOX_EXEC_STDIN, script);
	}
	for (int i = MANY - 1; i >= 0; i--)
		input(&many[i], "in\n", 3);
	for (int i = 0; i < MANY; i++) {
		exits(&many[i], KVMBOX_EXIT_EXITED, (uint32_t)i);
		snprintf(script, sizeof(script), "%d in\n", i);
		cr_assert_str_eq(many[i].text[1], script);
	}
}

static void terminal(const char *script)
{
	if (!terminals_are_there())
		cr_skip_test("there are no pseudo terminals here: %s", strerror(errno));
	shell(&h, KVMBOX_EXEC_TERMINAL | KVMBOX_EXEC_STDIN, script);
}

Test(guest_session, terminal_size)
{
	struct kvmbox_winsize size = { 12, 34 };
	struct kvmbox_winsize bad = { 70000, 34 };

	terminal("stty -echo; echo $TERM; stty size; tty; read x; stty size; exit 4");
	take_until(&h, "/dev/pts/");
	cr_assert(strstr(h.text[1], "xterm\r\n31 77\r\n"), "%s", h.text[1]);
	sends(&h, KVMBOX_FRAME_WINSIZE, &size, sizeof(size));
	sends(&h, KVMBOX_FRAME_WINSIZE, &bad, sizeof(bad));
	input(&h, "\n", 1);
	exits(&h, KVMBOX_EXIT_EXITED, 4);
	cr_assert(strstr(h.text[1], "12 34\r\n"), "%s", h.text[1]);
	cr_assert_not(h.end[KVMBOX_STREAM_ERR]);
}

/* The last that is written before the end is not lost, even with the terminal held open. */
Test(guest_session, terminal_output)
{
	terminal("seq 20000; echo last >&2");
	exits(&h, KVMBOX_EXIT_EXITED, 0);
	cr_assert(strstr(h.text[1], "\r\n20000\r\nlast\r\n"));
	terminal("trap '' HUP; sleep 1000 & echo $! >pid; seq 20000; echo last");
	exits(&h, KVMBOX_EXIT_EXITED, 0);
	cr_assert(strstr(h.text[1], "\r\n20000\r\nlast\r\n"));
	cr_assert_eq(kill(pid_read("pid"), SIGKILL), 0);
}

Test(guest_session, terminal_keys_and_signals)
{
	terminal("trap 'echo interrupted' INT; echo ready; read x; echo ready2; read x; echo $x");
	take_until(&h, "ready");
	input(&h, "\x03", 1);
	take_until(&h, "interrupted");
	signals(&h, SIGKILL);
	exits(&h, KVMBOX_EXIT_SIGNALED, SIGKILL);

	/* To the foreground group, which is not the command's here. */
	terminal("set -m; (trap 'echo inner; exit 0' USR1; echo ready; while :; do sleep 0.05; "
		 "done); "
		 "echo outer");
	take_until(&h, "ready");
	signals(&h, SIGUSR1);
	exits(&h, KVMBOX_EXIT_EXITED, 0);
	cr_assert(strstr(h.text[1], "inner\r\nouter"), "%s", h.text[1]);
}

Test(guest_session, terminal_disconnect)
{
	terminal("trap 'echo hup >hup; exit' HUP; echo ready; while :; do sleep 0.05; done");
	take_until(&h, "ready");
	ends(&h);
	for (int i = 0; i < 100 && access("hup", F_OK) < 0; i++)
		usleep(50000);
	cr_assert_eq(access("hup", F_OK), 0);
}

/* A server that sends back what it gets, and "end" behind its end. */
static void *echo_run(void *arg)
{
	int fd = accept(*(int *)arg, NULL, NULL);
	static char bytes[1 << 16];
	ssize_t n;

	while ((n = read(fd, bytes, sizeof(bytes))) > 0)
		for (ssize_t at = 0; at < n;) {
			ssize_t part = write(fd, bytes + at, (size_t)(n - at));

			if (part < 0)
				break;
			at += part;
		}
	if (write(fd, "end", 3) < 0)
		perror("write");
	close(fd);
	return NULL;
}

#define BIG (64u << 20)

static void *big_run(void *arg)
{
	static uint32_t words[16384];
	uint32_t next = 0;

	for (size_t sent = 0; sent < BIG; sent += sizeof(words)) {
		for (size_t i = 0; i < 16384; i++)
			words[i] = next++;
		for (size_t at = 0; at < sizeof(words);) {
			ssize_t n = write(*(int *)arg, (char *)words + at, sizeof(words) - at);

			if (n < 0)
				return arg;
			at += (size_t)n;
		}
	}
	shutdown(*(int *)arg, SHUT_WR);
	return NULL;
}

static void forward_to(const char *address)
{
	begin(&h);
	sends(&h, KVMBOX_FRAME_FORWARD, address, strlen(address));
}

/* A big transfer both ways, a half-close, and what comes after it. */
static void forwards(int listener, const char *address)
{
	static uint32_t words[16384];
	pthread_t server, sender;
	uint32_t next = 0;
	char end[4] = "";

	cr_assert_eq(pthread_create(&server, NULL, echo_run, &listener), 0);
	forward_to(address);
	cr_assert_eq(pthread_create(&sender, NULL, big_run, &h.fd), 0);
	for (size_t got = 0; got < BIG; got += sizeof(words)) {
		cr_assert_eq(recv(h.fd, words, sizeof(words), MSG_WAITALL), (ssize_t)sizeof(words));
		for (size_t i = 0; i < 16384; i++)
			cr_assert_eq(words[i], next++);
	}
	cr_assert_eq(recv(h.fd, end, sizeof(end), MSG_WAITALL), 3);
	cr_assert_str_eq(end, "end");
	pthread_join(server, NULL);
	pthread_join(sender, NULL);
	ends(&h);
	close(listener);
}

static int unix_listen(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(un.sun_path, path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	cr_assert_eq(listen(fd, 5), 0);
	return fd;
}

Test(guest_session, forward_unix)
{
	char address[128];

	snprintf(address, sizeof(address), "unix:%s/socket", dir);
	forwards(unix_listen("socket"), address);
}

Test(guest_session, forward_tcp)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(in);
	char address[64];

	cr_assert_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	cr_assert_eq(listen(fd, 5), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	snprintf(address, sizeof(address), "tcp:127.0.0.1:%d", ntohs(in.sin_port));
	forwards(fd, address);
	/* Nobody is there any more. */
	forward_to(address);
	cr_assert_eq(read(h.fd, address, 1), 0);
	ends(&h);
}

/* Whichever side goes, the other is told though nothing moves. */
Test(guest_session, forward_gone)
{
	int listener = unix_listen("socket");
	char address[128], byte;
	int fd;

	snprintf(address, sizeof(address), "unix:%s/socket", dir);
	forward_to(address);
	fd = accept(listener, NULL, NULL);
	close(h.fd);
	h.fd = -1;
	cr_assert_eq(read(fd, &byte, 1), 0);
	ends(&h);
	close(fd);

	forward_to(address);
	fd = accept(listener, NULL, NULL);
	cr_assert_eq(write(fd, "x", 1), 1);
	close(fd);
	cr_assert_eq(recv(h.fd, address, 2, MSG_WAITALL), 1);
	while (write(h.fd, "y", 1) == 1)
		usleep(1000);
	cr_assert_eq(errno, EPIPE);
	ends(&h);
}

Test(guest_session, forward_addresses)
{
	const char *bad[] = { "",
			      "unix:",
			      "tcp:",
			      "tcp:1.2.3.4",
			      "tcp:1.2.3.4:",
			      "tcp:1.2.3.4:0",
			      "tcp:1.2.3.4:65536",
			      "tcp:1.2.3.4:+1",
			      "tcp:host:80",
			      "tcp:[1.2.3.4]:1",
			      "udp:1.2.3.4:1",
			      "tcp:[::1:80",
			      "tcp::80",
			      "tcp:[]:80",
			      "tcp:1.2.3.4:000080" };
	struct sockaddr_storage addr;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&addr;
	char path[200] = "unix:/";

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(forward_parse(&addr, bad[i], strlen(bad[i])), -EINVAL, "%s", bad[i]);
	cr_assert_eq(forward_parse(&addr, "tcp:[::1]:80", 12), sizeof(*in6));
	cr_assert_eq(in6->sin6_family, AF_INET6);
	cr_assert_eq(ntohs(in6->sin6_port), 80);
	cr_assert(IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr));
	cr_assert_eq(forward_parse(&addr, "tcp:::1:80", 10), sizeof(*in6));
	cr_assert_eq(forward_parse(&addr, "tcp:10.1.2.3:65535", 18), sizeof(struct sockaddr_in));
	cr_assert_eq(forward_parse(&addr, "unix:/a\0b", 9), -EINVAL);
	memset(path + 5, 'a', sizeof(path) - 5);
	cr_assert_eq(forward_parse(&addr, path, 5 + 108), -EINVAL);
	cr_assert_eq(forward_parse(&addr, path, 5 + 107), sizeof(struct sockaddr_un));
}

static void copy_begin(uint16_t type, uint32_t flags, const char *path)
{
	struct kvmbox_copy head = { .flags = flags };

	begin(&h);
	cr_assert_eq(frame_send2(h.fd, -1, type, &head, sizeof(head), path, strlen(path) + 1), 0);
}

Test(guest_session, put_and_get)
{
	struct copy_error why;
	char path[128];

	cr_assert_eq(system("mkdir -p tree/sub; head -c 300000 /dev/urandom >tree/sub/file; "
			    "ln -s file tree/sub/link; ln -s sub tree/dirlink"),
		     0);
	snprintf(path, sizeof(path), "%s/put", dir);
	copy_begin(KVMBOX_FRAME_PUT, 0, path);
	cr_assert_eq(copy_send(h.fd, -1, "tree", NULL, 0, &why), 0, "%s", why.text);
	cr_assert_eq(copy_await(h.fd, -1, &why), 0, "%s", why.text);
	ends(&h);
	cr_assert_eq(system("diff -r --no-dereference tree put"), 0);

	copy_begin(KVMBOX_FRAME_GET, 0, path);
	cr_assert_eq(copy_receive(h.fd, -1, "got", "put", 0, &why), 0, "%s", why.text);
	ends(&h);
	cr_assert_eq(system("diff -r --no-dereference tree got"), 0);

	strcat(path, "/dirlink");
	copy_begin(KVMBOX_FRAME_GET, KVMBOX_COPY_FOLLOW, path);
	cr_assert_eq(copy_receive(h.fd, -1, "followed", "dirlink", 0, &why), 0, "%s", why.text);
	ends(&h);
	cr_assert_eq(system("diff -r --no-dereference tree/sub followed"), 0);
}

Test(guest_session, put_and_get_fail)
{
	struct copy_error why;
	char path[128];

	cr_assert_eq(system("truncate -s 200M big"), 0);
	snprintf(path, sizeof(path), "%s/no/where", dir);
	copy_begin(KVMBOX_FRAME_PUT, 0, path);
	cr_assert_lt(copy_send(h.fd, -1, "big", NULL, 0, &why), 0);
	cr_assert(why.from_peer);
	cr_assert(strstr(why.text, "no/where"), "%s", why.text);
	ends(&h);
	copy_begin(KVMBOX_FRAME_GET, 0, path);
	cr_assert_lt(copy_receive(h.fd, -1, "got", "where", 0, &why), 0);
	cr_assert(why.from_peer);
	cr_assert(strstr(why.text, "where"), "%s", why.text);
	ends(&h);
	copy_begin(KVMBOX_FRAME_GET, 0, "relative");
	session_breaks();
}
