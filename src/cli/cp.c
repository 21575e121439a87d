// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/each.h"
#include "common/copy.h"
#include "common/frame.h"
#include "config/words.h"
#include "control/client.h"

#define COPY_FAILED 1
#define SILENCE_S   60 /* for the guest to say nothing, and take nothing */

static const char help[] =
	"Usage: kvmbox cp [OPTION]... VM:SRC DST\n"
	"       kvmbox cp [OPTION]... SRC VM:DST\n"
	"\n"
	"Copy a file or a directory, with all that is in it, out of a VM or into one.\n"
	"If DST is a directory that is there, the copy is made in it. SRC/. stands for what\n"
	"is in the directory SRC.\n"
	"\n"
	"  -L, --follow-link  if SRC is a symbolic link, copy what it leads to\n"
	"  -h, --help         show this help\n"
	"\n"
	"A path of the host with a ':' in it is told from a VM's by a '/' before the ':',\n"
	"as in ./a:b.\n"
	"\n"
	"Exit status: 0, 1 if something could not be copied, 125 for bad usage.\n"
	"\n"
	"More: man kvmbox-cp\n";

/* An argument: a path of the host, or of a VM. */
struct place {
	char vm[64]; /* "" for the host */
	char path[PATH_MAX];
};

struct order {
	struct place src, dst;
	bool follow; /* a symbolic link, if that is what is to be copied */
};

static bool parse_place(const char *arg, struct place *place)
{
	size_t name = strcspn(arg, ":/");
	bool remote = arg[name] == ':' && name > 0;
	const char *path = remote ? arg + name + 1 : arg;

	*place = (struct place){ .vm = "" };
	if (remote && name >= sizeof(place->vm)) {
		log_line("cp: there is no VM called \"%s\"", word_show(arg).text);
		return false;
	}
	if (remote)
		memcpy(place->vm, arg, name);
	if (!*arg || strlen(path) + 2 > sizeof(place->path)) {
		log_line("cp: \"%s\" is not a path", word_show(arg).text);
		return false;
	}
	/* A guest's paths begin at its root: there is no directory there that we are in. */
	snprintf(place->path, sizeof(place->path), "%s%s", remote && path[0] != '/' ? "/" : "",
		 path);
	return true;
}

/* ---- how far it is ---- */

/*
 * Bytes that this process has written, which are those of the copy: to the VM's socket, or to
 * files. 0 where the kernel does not count.
 */
static unsigned long long bytes_written(void)
{
	FILE *f = fopen("/proc/self/io", "re");
	unsigned long long n = 0;
	char line[64];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "wchar: %llu", &n) == 1)
			break;
	if (f)
		fclose(f);
	return n;
}

/* A line every second, until the semaphore @ctx says that it is copied. */
static void *show_progress(void *ctx)
{
	sem_t *copied = ctx;
	struct timespec next;

	clock_gettime(CLOCK_MONOTONIC, &next);
	for (unsigned int s = 1;; s++) {
		next.tv_sec++;
		int ret;

		do
			ret = sem_clockwait(copied, CLOCK_MONOTONIC, &next);
		while (ret < 0 && errno == EINTR);
		if (ret == 0)
			return NULL;
		fprintf(stderr, "\r\033[K%s, %u s", word_show_size(bytes_written()).text, s);
	}
}

/* ---- copying ---- */

static int begin(const struct state *s, uint16_t type, const char *path, uint32_t flags,
		 struct error *err)
{
	struct kvmbox_copy head = { .flags = flags };

	int fd = client_upgrade(s, "/agent", err);

	if (fd < 0)
		return fd;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	int ret = frame_send2(fd, SILENCE_S * 1000, type, &head, sizeof(head), path,
			      strlen(path) + 1);

	if (ret == 0)
		return fd;
	close(fd);
	return error_set(err, -ret, "cannot reach the agent of the VM \"%s\": %s", s->name,
			 strerror(-ret));
}

/* What went wrong; said by the guest, it may not be fit for a terminal. */
static int explain(const struct state *s, int ret, const struct copy_error *why, struct error *err)
{
	struct error shown;

	if (ret == -ETIMEDOUT)
		return error_set(err, ETIMEDOUT,
				 "the guest of the VM \"%s\" does not answer: of the copy, nothing "
				 "has moved for %d s",
				 s->name, SILENCE_S);
	text_keep(shown.text, sizeof(shown.text) - 16, why->text, strlen(why->text));
	return error_set(err, -ret, "%s%s", why->from_peer ? "the guest: " : "", shown.text);
}

/* Whether a copy of @path is one of what is in it, as in cp(1) and docker cp: "." and "DIR/.". */
static bool is_contents(const char *path)
{
	size_t len = strlen(path);

	return strcmp(path, ".") == 0 || (len >= 2 && strcmp(path + len - 2, "/.") == 0);
}

/* Take the last component off @path; NULL if there is none. It is then at the result. */
static char *split(char *path)
{
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		path[--len] = '\0';
	char *slash = strrchr(path, '/');

	if (!slash || !slash[1])
		return NULL;
	*slash = '\0';
	return slash + 1;
}

static int put(const struct state *s, const char *src, struct place *dst, bool follow,
	       struct error *err)
{
	unsigned int flags = (follow ? COPY_FOLLOW : 0) | (geteuid() == 0 ? COPY_OWNERS : 0);
	const char *name = NULL, *path = dst->path;
	struct copy_error why;

	/* What is in a directory goes to another when it is sent by the other's name. */
	if (is_contents(src)) {
		name = split(dst->path);
		if (!name)
			return error_set(err, EINVAL,
					 "what is in %s cannot be copied to the guest's / itself; "
					 "copy its parts one by one",
					 word_show(src).text);
		path = dst->path[0] ? dst->path : "/";
	}
	AUTO_CLOSE int fd = begin(s, KVMBOX_FRAME_PUT, path, 0, err);

	if (fd < 0)
		return fd;
	int ret = copy_send(fd, SILENCE_S * 1000, src, name, flags, &why);

	if (ret == 0)
		ret = copy_await(fd, SILENCE_S * 1000, &why);
	return ret < 0 ? explain(s, ret, &why, err) : 0;
}

static int get(const struct state *s, struct place *src, const char *dst, bool follow,
	       struct error *err)
{
	unsigned int flags = 0;
	struct copy_error why;
	char real[PATH_MAX];

	if (is_contents(src->path)) {
		/* With the "/", as it must be a directory. */
		src->path[strlen(src->path) - 1] = '\0';
		if (strcmp(src->path, "/") == 0)
			return error_set(
				err, EINVAL,
				"the guest's / cannot be copied as a whole; copy its parts "
				"one by one");
		/* A directory that is there has a name even if it is given as "." or "..". */
		if (realpath(dst, real))
			dst = real;
		flags = COPY_INTO;
	}
	AUTO_CLOSE int fd =
		begin(s, KVMBOX_FRAME_GET, src->path, follow ? KVMBOX_COPY_FOLLOW : 0, err);

	if (fd < 0)
		return fd;
	/* Owners are the guest's and mean nothing here: all is the caller's, as with docker. */
	int ret = copy_receive(fd, SILENCE_S * 1000, dst, split(src->path), flags, &why);

	return ret < 0 ? explain(s, ret, &why, err) : 0;
}

static int copy(struct state *s, void *ctx, struct error *err)
{
	struct order *order = ctx;
	struct place *src = &order->src, *dst = &order->dst;
	bool progress = isatty(STDERR_FILENO);
	pthread_t thread;
	sem_t copied;

	signal(SIGPIPE, SIG_IGN);
	sem_init(&copied, 0, 0);
	progress = progress && thread_start(&thread, show_progress, &copied) == 0;
	int ret = src->vm[0] ? get(s, src, dst->path, order->follow, err)
			     : put(s, src->path, dst, order->follow, err);
	if (progress) {
		sem_post(&copied);
		pthread_join(thread, NULL);
		fputs("\r\033[K", stderr);
	}
	return ret;
}

int cmd_cp(int argc, char **argv)
{
	static const struct option options[] = {
		{ "follow-link", no_argument, NULL, 'L' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct args a = { .command = "cp", .shorts = "L", .longs = options, .help = help };
	struct order order = { .follow = false };
	struct place *src = &order.src, *dst = &order.dst;
	int id, status;

	args_begin(&a, argc, argv);
	while ((id = args_next(&a)) > 0)
		order.follow = true;
	if (!args_done(&a, id, 2, 2, "it takes what is to be copied, and where to", &status))
		return status;
	if (!parse_place(argv[optind], src) || !parse_place(argv[optind + 1], dst))
		return CLI_EXIT_FAILED;
	if (!src->vm[0] == !dst->vm[0]) {
		log_line("cp: one of the two paths must be a VM's, as VM:PATH%s",
			 src->vm[0] ? ", and the other the host's" : "");
		return CLI_EXIT_FAILED;
	}
	return one_vm(src->vm[0] ? src->vm : dst->vm, copy, &order) < 0 ? COPY_FAILED : 0;
}
