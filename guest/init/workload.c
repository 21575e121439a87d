// SPDX-License-Identifier: Apache-2.0
#include "init/workload.h"

#include "init/system.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* What a container engine gives when the image says nothing else. */
static const char default_path[] =
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#define WORKLOAD_NONE ((struct workload){ .in = -1, .out = -1, .err = -1, .hold = -1 })

#define NOFILE_SOFT 1024
#define NOFILE_HARD 524288

/* What the child could not do; it tells over a pipe that execve() closes. */
struct failure {
	enum { STEP_TERMINAL, STEP_MOUNT, STEP_CWD, STEP_EXEC } step;
	int err;
};

static void environment_put(char **env, size_t *count, char *entry)
{
	size_t name = strcspn(entry, "=") + 1;

	for (size_t i = 0; i < *count; i++) {
		if (!strncmp(env[i], entry, name)) {
			env[i] = entry;
			return;
		}
	}
	env[(*count)++] = entry;
}

/* Returns the defaults with c->env over them, or NULL. Lives as long as this process. */
static char **environment_build(const struct command *c)
{
	size_t entries = 0;
	size_t count = 0;
	char *hostname;
	char **env;

	for (int i = 0; i < 2; i++)
		for (char **entry = c->env[i]; *entry; entry++)
			entries++;
	env = calloc(entries + 6, sizeof(*env));
	if (!env)
		return NULL;
	environment_put(env, &count, (char *)default_path);
	environment_put(env, &count, (char *)"HOME=/root");
	if (c->terminal)
		environment_put(env, &count, (char *)"TERM=xterm");
	if (c->system)
		environment_put(env, &count, (char *)"container=kvmbox");
	if (c->hostname) {
		size_t size = sizeof("HOSTNAME=") + strlen(c->hostname);

		hostname = malloc(size);
		if (!hostname) {
			free(env);
			return NULL;
		}
		memcpy(hostname, "HOSTNAME=", 9);
		memcpy(hostname + 9, c->hostname, size - 9);
		environment_put(env, &count, hostname);
	}
	for (int i = 0; i < 2; i++)
		for (char **entry = c->env[i]; *entry; entry++)
			environment_put(env, &count, *entry);
	return env;
}

static void limits_set(void)
{
	const struct rlimit files = { NOFILE_SOFT, NOFILE_HARD };
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };

	setrlimit(RLIMIT_NOFILE, &files);
	setrlimit(RLIMIT_NPROC, &unlimited);
}

static void signals_restore(void)
{
	sigset_t none;

	for (int signo = 1; signo < NSIG; signo++)
		signal(signo, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static __attribute__((noreturn)) void child_fail(int report, int step, int err)
{
	struct failure f = { .step = step, .err = err };

	while (write(report, &f, sizeof(f)) < 0 && errno == EINTR)
		;
	_exit(127);
}

static __attribute__((noreturn)) void child_run(const struct workload *w, const struct command *c,
						char **env, const int stdio[3], int report)
{
	pid_t pid = getpid();
	int ret;

	if (c->terminal && !c->system) {
		/* Not yet in the foreground, so it would be stopped for this. */
		signal(SIGTTOU, SIG_IGN);
		if (setpgid(0, 0) < 0 || ioctl(stdio[0], TIOCSPGRP, &pid) < 0)
			child_fail(report, STEP_TERMINAL, errno);
	} else {
		setsid();
	}
	for (int fd = 0; fd < 3; fd++)
		dup2(stdio[fd], fd);
	limits_set();
	ret = c->system ? system_mount(w->in) : 0;
	if (ret < 0)
		child_fail(report, STEP_MOUNT, -ret);
	if (chdir(c->cwd ? c->cwd : "/") < 0)
		child_fail(report, STEP_CWD, errno);
	signals_restore();
	/* The command is looked up in the PATH that it is going to have. */
	environ = env;
	execvp(c->argv[0], c->argv);
	child_fail(report, STEP_EXEC, errno);
}

static int failure_explain(const struct failure *f, const struct command *c, struct message *why)
{
	const char *command = c->argv[0];

	switch (f->step) {
	case STEP_TERMINAL:
		return message_set(why, f->err, "the terminal cannot be the command's");
	case STEP_MOUNT:
		return message_set(why, f->err, "/proc or /dev/console of the init's namespace");
	case STEP_CWD:
		return message_set(why, f->err, "the working directory %s cannot be entered",
				   c->cwd ? c->cwd : "/");
	case STEP_EXEC:
		break;
	}
	if (f->err != ENOENT && f->err != ENOTDIR) {
		message_set(why, f->err, "the command %s cannot be executed", command);
		return 126;
	}
	if (!strchr(command, '/'))
		message_set(why, 0, "the command %s is not in the PATH of the root file system",
			    command);
	else if (access(command, F_OK) == 0)
		message_set(why, 0,
			    "the command %s is there, but the interpreter or loader it names is "
			    "not in the root file system",
			    command);
	else
		message_set(why, 0, "the command %s is not in the root file system", command);
	return 127;
}

/*
 * This process leads the terminal's session and the command is its foreground
 * group: a leader's exit hangs the terminal up, which throws away what is not read yet.
 * Not so with an init, whose own children want to lead a session there.
 */
static int terminal_open(struct workload *w, int stdio[3], const struct command *c)
{
	const struct winsize size = { .ws_row = c->rows, .ws_col = c->cols };
	int unlock = 0;

	w->in = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (w->in < 0)
		return -errno;
	if (ioctl(w->in, TIOCSPTLCK, &unlock) < 0)
		return -errno;
	w->hold = ioctl(w->in, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (w->hold < 0)
		return -errno;
	if (!c->system) {
		setsid();
		if (ioctl(w->hold, TIOCSCTTY, 0) < 0)
			return -errno;
	}
	if (c->rows && c->cols)
		ioctl(w->in, TIOCSWINSZ, &size);
	for (int fd = 0; fd < 3; fd++)
		stdio[fd] = w->hold;
	return 0;
}

static int pipes_open(struct workload *w, int stdio[3])
{
	int *const ours[3] = { &w->in, &w->out, &w->err };
	int fds[2];

	for (int fd = 0; fd < 3; fd++) {
		if (pipe2(fds, O_CLOEXEC) < 0)
			return -errno;
		/* The command reads the first and writes the other two. */
		stdio[fd] = fds[fd == 0 ? 0 : 1];
		*ours[fd] = fds[fd == 0 ? 1 : 0];
	}
	return 0;
}

static void fds_close(int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

static void workload_close(struct workload *w)
{
	int fds[4] = { w->in, w->out, w->err, w->hold };

	fds_close(fds, 4);
	*w = WORKLOAD_NONE;
}

/* Waits for the child's execve() or its report. */
static int child_await(struct workload *w, int report, const struct command *c, struct message *why)
{
	struct failure f;
	ssize_t n;

	do
		n = read(report, &f, sizeof(f));
	while (n < 0 && errno == EINTR);
	if (n != sizeof(f))
		return 0;
	while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
		;
	return failure_explain(&f, c, why);
}

int workload_start(struct workload *w, const struct command *c, struct message *why)
{
	int stdio[3] = { -1, -1, -1 };
	bool terminal = c->terminal || c->system;
	int report[2];
	char **env;
	int ret;

	*w = WORKLOAD_NONE;
	env = environment_build(c);
	if (!env)
		return message_set(why, ENOMEM, "the command's environment");
	ret = terminal ? terminal_open(w, stdio, c) : pipes_open(w, stdio);
	if (ret < 0) {
		message_set(why, -ret, "the command's standard streams cannot be opened");
		goto err_close;
	}
	if (pipe2(report, O_CLOEXEC) < 0) {
		ret = message_set(why, errno, "the command cannot be watched");
		goto err_close;
	}
	w->pid = c->system ? system_fork() : fork();
	if (w->pid == 0)
		child_run(w, c, env, stdio, report[1]);
	close(report[1]);
	if (w->pid < 0 && c->system && errno == EINVAL)
		ret = message_set(why, EINVAL, "this kernel has no namespaces for an init");
	else if (w->pid < 0)
		ret = message_set(why, errno, "the command's process cannot be made");
	else
		ret = child_await(w, report[0], c, why);
	close(report[0]);
	if (ret)
		goto err_close;
	if (!terminal)
		fds_close(stdio, 3);
	return 0;

err_close:
	if (!terminal)
		fds_close(stdio, 3);
	workload_close(w);
	return ret;
}
