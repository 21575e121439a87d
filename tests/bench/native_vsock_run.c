// SPDX-License-Identifier: Apache-2.0
/*
 * Moves bytes between this process and a guest (native_vsock_guest.c), or from this process through
 * a proxy back to it, and prints the CPU time that whoever stands between took, as a line of JSON:
 * the loop's thread of the monitor, or the proxy's process. Or what a monitor takes, all its
 * threads together, whose guest has nothing to do.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "../payload/harness.h"

#define BLOCK (64u << 10)

/* The guest's ports. */
enum { PORT_SINK = 1, PORT_SOURCE = 2 };

static double sink_seconds = -1, source_seconds = -1, idle_seconds;
static bool apart; /* whoever moves the bytes has CPU 1, all others CPU 0 */
static struct timespec idle_for;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void pin(pid_t thread, unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (apart && sched_setaffinity(thread, sizeof(set), &set))
		die("pinning to a CPU");
}

/* CPU seconds of the thread that began process @pid. */
static double thread_seconds(pid_t pid)
{
	char path[64];
	unsigned long long ns;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", pid, pid);
	FILE *f = fopen(path, "re");
	if (!f || fscanf(f, "%llu", &ns) != 1)
		die(path);
	fclose(f);
	return (double)ns / 1e9;
}

static double process_seconds(pid_t pid)
{
	clockid_t clock;
	struct timespec ts;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &ts))
		die("the monitor's clock");
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint64_t mib(const char *word)
{
	return (uint64_t)strtoul(word, NULL, 10) << 20;
}

static void put_all(int fd, uint64_t bytes)
{
	static char block[BLOCK];

	for (uint64_t left = bytes; left;) {
		ssize_t n = write(fd, block, left < BLOCK ? left : BLOCK);

		if (n <= 0)
			die("writing");
		left -= (uint64_t)n;
	}
}

static void take_all(int fd, uint64_t bytes)
{
	static char block[BLOCK];

	for (uint64_t left = bytes; left;) {
		ssize_t n = read(fd, block, BLOCK);

		if (n <= 0 || (uint64_t)n > left)
			die("reading");
		left -= (uint64_t)n;
	}
}

/* A connection of the guest's; it lasts until the guest has shut it. */
struct job {
	int fd;
	pid_t monitor;
	uint64_t port;
	uint64_t bytes;
};

static uint64_t bytes_from, bytes_to; /* the guest */

static void *serve(void *arg)
{
	struct job *job = arg;

	pin(job->monitor, 1);
	double begin = thread_seconds(job->monitor);
	char byte;

	if (job->port == PORT_SINK)
		take_all(job->fd, job->bytes);
	else
		put_all(job->fd, job->bytes);
	if (read(job->fd, &byte, 1))
		die("the guest's end");
	*(job->port == PORT_SINK ? &sink_seconds : &source_seconds) =
		thread_seconds(job->monitor) - begin;
	free(job);
	return NULL;
}

static void start(void *(*fn)(void *), void *arg)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, fn, arg))
		die("a thread");
	pthread_detach(thread);
}

static void on_connect(struct payload *p, int fd, uint64_t port)
{
	struct job *job = malloc(sizeof(*job));

	if (!job)
		die("memory");
	*job = (struct job){ .fd = fd,
			     .monitor = p->monitor,
			     .port = port,
			     .bytes = port == PORT_SINK ? bytes_from : bytes_to };
	start(serve, job);
}

static void *watch(void *arg)
{
	struct payload *p = arg;
	const struct timespec settle = { .tv_sec = 1 };
	double begin;

	nanosleep(&settle, NULL);
	begin = process_seconds(p->monitor);
	nanosleep(&idle_for, NULL);
	idle_seconds = process_seconds(p->monitor) - begin;
	return NULL;
}

static void on_running(struct payload *p)
{
	start(watch, p);
}

static int run_guest(char **argv)
{
	unsigned int tx_kicks, rx_kicks;
	struct payload p;
	char cmdline[256];

	snprintf(cmdline, sizeof(cmdline), "from=%s to=%s piece=%s", argv[1], argv[2], argv[3]);
	bytes_from = mib(argv[1]);
	bytes_to = mib(argv[2]);
	payload_init(&p, argv[0]);
	p.cmdline = cmdline;
	p.workload = true;
	p.on_connect = on_connect;
	payload_run(&p);
	const char *line = strstr(p.console, "bench ");
	if (!line || sscanf(line, "bench kicks %u and %u", &tx_kicks, &rx_kicks) != 2 ||
	    sink_seconds < 0 || source_seconds < 0) {
		fprintf(stderr, "the guest did not do its work: %s%s%s\n", p.console, p.log,
			p.message.text);
		return 1;
	}
	printf("{\"from guest\": %.6f, \"to guest\": %.6f, \"kicks from\": %u, \"kicks to\": %u}\n",
	       sink_seconds, source_seconds, tx_kicks, rx_kicks);
	return 0;
}

static int run_idle(const char *path, unsigned int seconds)
{
	struct payload p;

	idle_for.tv_sec = seconds;
	payload_init(&p, path);
	p.cmdline = "idle";
	p.workload = true;
	p.on_running = on_running;
	p.stop_after_ms = (seconds + 2) * 1000;
	payload_run(&p);
	if (!p.ended || p.console_len) {
		fprintf(stderr, "the guest did not idle: %s%s%s\n", p.console, p.log,
			p.message.text);
		return 1;
	}
	printf("{\"idle\": %.9f}\n", idle_seconds / seconds);
	return 0;
}

static void *feed(void *arg)
{
	const struct job *job = arg;

	put_all(job->fd, job->bytes);
	return NULL;
}

/* @argv is a program that copies what it reads from descriptor 3 to descriptor 4, and back. */
static int run_proxy(uint64_t bytes, char **argv)
{
	int front[2], back[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, front) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, back))
		die("sockets");
	pid_t pid = fork();
	if (!pid) {
		int in = fcntl(front[1], F_DUPFD, 10), out = fcntl(back[1], F_DUPFD, 10);

		if (dup2(in, 3) < 0 || dup2(out, 4) < 0 || close(in) || close(out))
			die("descriptors");
		execvp(argv[0], argv);
		die(argv[0]);
	}
	close(front[1]);
	close(back[1]);
	/* It has started once a byte has come through. */
	char byte = 0;

	if (write(front[0], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
		die("the proxy");
	pin(pid, 1);
	double begin = thread_seconds(pid);
	struct job job = { .fd = front[0], .bytes = bytes };

	start(feed, &job);
	take_all(back[0], bytes);
	printf("{\"proxy\": %.6f}\n", thread_seconds(pid) - begin);
	close(front[0]);
	close(back[0]);
	waitpid(pid, NULL, 0);
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: native_vsock_run [apart] guest GUEST MIB-FROM MIB-TO PIECE\n"
			"       native_vsock_run [apart] proxy MIB COMMAND...\n"
			"       native_vsock_run idle GUEST SECONDS\n");
	return 2;
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "apart")) {
		apart = true;
		pin(0, 0);
		argc--;
		argv++;
	}
	if (argc == 6 && !strcmp(argv[1], "guest"))
		return run_guest(argv + 2);
	if (argc == 4 && !strcmp(argv[1], "idle"))
		return run_idle(argv[2], (unsigned int)strtoul(argv[3], NULL, 10));
	if (argc >= 4 && !strcmp(argv[1], "proxy"))
		return run_proxy(mib(argv[2]), argv + 3);
	return usage();
}
