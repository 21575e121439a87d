// SPDX-License-Identifier: Apache-2.0
/*
 * passt is run as it is meant to be: it goes into the background when it is ready, with a status
 * that tells whether it is, puts itself into a sandbox (and away from root), and ends with its
 * socket (--fd implies --one-off). So no end of ours, however sudden, leaves it behind. It then
 * becomes our child, since we are a subreaper, so that no zombie is left where PID 1 reaps none.
 */
#include "supervisor/passt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "supervisor/ports.h"
#include "supervisor/rtnl.h"

#define GUEST4       "10.0.2.15"
#define GATEWAY4     "10.0.2.2"
#define DNS4         "10.0.2.3"
#define PREFIX4      "24"
#define GUEST6       "fd6b:766d:626f::15"
#define GATEWAY6     "fd6b:766d:626f::2"
#define PREFIX6      "64"
#define ARGS_MAX     (32 + 2 * CONFIG_PUBLISH_MAX)
#define REAP_MS      1000
#define REAP_TICK_MS 5

/* ---- arguments ---- */

struct args {
	char **list;
	size_t n;
	bool failed;
};

static void add(struct args *args, const char *word)
{
	char *copy = strdup(word);

	args->failed |= !copy;
	args->list[args->n++] = copy;
}

static void add_pair(struct args *args, const char *option, const char *value)
{
	add(args, option);
	add(args, value);
}

/* -t and -u take [ADDRESS/]HOST:GUEST. */
static void add_ports(struct args *args, bool udp, const struct publish_config *publish,
		      size_t npublish)
{
	const char *option = udp ? "-u" : "-t";
	bool any = false;

	for (size_t i = 0; i < npublish; i++) {
		const struct publish_config *p = &publish[i];
		char spec[IP_TEXT_MAX + 16];

		if (p->udp != udp)
			continue;
		snprintf(spec, sizeof(spec), "%s%s%u:%u",
			 p->address.family ? ip_show(&p->address).text : "",
			 p->address.family ? "/" : "", p->host_port, p->guest_port);
		add_pair(args, option, spec);
		any = true;
	}
	/* Said, because passt forwards UDP wherever it forwards TCP unless told. */
	if (!any)
		add_pair(args, option, "none");
}

char **passt_args(int fd, bool ipv4, bool ipv6, const struct publish_config *publish,
		  size_t npublish)
{
	struct args args = { .list = calloc(ARGS_MAX + 1, sizeof(*args.list)) };
	char number[16];

	if (!args.list)
		return NULL;
	snprintf(number, sizeof(number), "%d", fd);
	add(&args, "passt");
	add(&args, "--quiet");
	add_pair(&args, "--fd", number);
	/* The gateway would otherwise be the host's 127.0.0.1, with all that listens there. */
	add(&args, "--no-map-gw");
	if (ipv4) {
		add_pair(&args, "--address", GUEST4);
		add_pair(&args, "--netmask", PREFIX4);
		add_pair(&args, "--gateway", GATEWAY4);
		add_pair(&args, "--dns-forward", DNS4);
	}
	if (ipv6) {
		add_pair(&args, "--address", GUEST6);
		add_pair(&args, "--gateway", GATEWAY6);
	}
	if (!ipv6)
		add(&args, "--ipv4-only");
	if (!ipv4)
		add(&args, "--ipv6-only");
	add_ports(&args, false, publish, npublish);
	add_ports(&args, true, publish, npublish);
	if (args.failed) {
		for (size_t i = 0; i < args.n; i++)
			free(args.list[i]);
		free(args.list);
		return NULL;
	}
	return args.list;
}

void passt_args_free(char **args)
{
	for (size_t i = 0; args && args[i]; i++)
		free(args[i]);
	free(args);
}

/* ---- the process ---- */

static void run_passt(char **args, int fd, int words)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(words, STDERR_FILENO);
	fcntl(fd, F_SETFD, 0);
	execvp("passt", args);
	_exit(127);
}

/* The last line that comes from @fd until its end: why passt has given up, if it has. */
static void read_last_line(int fd, char *line, size_t size)
{
	char text[2048];
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(text) - 1 && ((n = read(fd, text + len, sizeof(text) - 1 - len)) > 0 ||
					  (n < 0 && errno == EINTR)))
		len += n > 0 ? (size_t)n : 0;
	while (len && text[len - 1] == '\n')
		len--;
	text[len] = '\0';
	const char *newline = strrchr(text, '\n');

	snprintf(line, size, "%.*s", (int)size - 1, newline ? newline + 1 : text);
}

static int explain(int status, const char *line, struct error *err)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return error_set(err, ENOENT,
				 "passt is missing, which --net user needs: install passt");
	if (WIFSIGNALED(status))
		return error_set(err, EINTR,
				 "passt, which --net user needs, was killed by signal %d",
				 WTERMSIG(status));
	return error_set(err, EIO, "passt, which --net user needs, does not start: %s",
			 line[0] ? line : "it does not say why");
}

static int spawn(char **args, int fd, struct error *err)
{
	char line[256];
	int words[2];
	int status;

	if (pipe2(words, O_CLOEXEC))
		return error_set(err, errno, "cannot make a pipe: %s", strerror(errno));
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid_t pid = fork();

	if (!pid)
		run_passt(args, fd, words[1]);
	int fork_errno = errno;

	close(words[1]);
	/* It lets go of its standard error when it goes into the background. */
	if (pid > 0)
		read_last_line(words[0], line, sizeof(line));
	close(words[0]);
	if (pid < 0)
		return error_set(err, fork_errno, "cannot start passt: %s", strerror(fork_errno));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return error_set(err, errno, "passt is lost: %s", strerror(errno));
	return explain(status, line, err);
}

static void put(struct ip_list *list, const char *text)
{
	if (ip_parse_prefix(text, &list->ips[list->n]) == 0)
		list->n++;
}

static void describe(struct passt_guest *guest, bool ipv4, bool ipv6)
{
	*guest = (struct passt_guest){ .addresses.n = 0 };
	if (ipv4) {
		put(&guest->addresses, GUEST4 "/" PREFIX4);
		put(&guest->gateways, GATEWAY4);
		put(&guest->dns, DNS4);
	}
	if (ipv6) {
		put(&guest->addresses, GUEST6 "/" PREFIX6);
		put(&guest->gateways, GATEWAY6);
	}
}

/* passt says less clearly why it cannot have a port. */
static int check_ports(const struct publish_config *publish, size_t npublish, struct error *err)
{
	for (size_t i = 0; i < npublish; i++) {
		int fd = port_hold(&publish[i], err);

		if (fd < 0)
			return fd;
		close(fd);
	}
	return 0;
}

int passt_start(const struct publish_config *publish, size_t npublish, int *fd,
		struct passt_guest *guest, struct error *err)
{
	struct routes routes;
	int pair[2];
	int ret = routes_init(&routes);

	if (ret)
		return error_set(err, -ret, "cannot read the host's routes: %s", strerror(-ret));
	bool ipv4 = routes.has_default4, ipv6 = routes.has_default6;

	routes_deinit(&routes);
	if (!ipv4 && !ipv6)
		return error_set(err, ENETUNREACH,
				 "--net user needs a network on the host: it has no default route");
	ret = check_ports(publish, npublish, err);
	if (ret)
		return ret;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return error_set(err, errno, "cannot make a socket: %s", strerror(errno));
	char **args = passt_args(pair[1], ipv4, ipv6, publish, npublish);

	ret = args ? spawn(args, pair[1], err) : error_set(err, ENOMEM, "out of memory");
	passt_args_free(args);
	close(pair[1]);
	if (ret) {
		close(pair[0]);
		return ret;
	}
	describe(guest, ipv4, ipv6);
	*fd = pair[0];
	return 0;
}

void passt_reap(void)
{
	const struct timespec tick = { .tv_nsec = REAP_TICK_MS * 1000000 };

	for (int ms = 0; waitpid(-1, NULL, WNOHANG) >= 0 && ms < REAP_MS; ms += REAP_TICK_MS)
		nanosleep(&tick, NULL);
}
