// SPDX-License-Identifier: Apache-2.0
/*
 * A machine for Docker: an ordinary VM in the background, booted with the options that "kvmbox
 * boot" has, of which this command chooses most. The workload is docker-host (guest/images/docker),
 * which says on its output when dockerd answers.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/dirs.h"
#include "base/log.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/each.h"
#include "cli/show.h"
#include "config/config.h"
#include "config/words.h"
#include "control/client.h"
#include "supervisor/datadir.h"
#include "supervisor/supervisor.h"

#define NAME_DEFAULT "docker"
#define CPUS_MOST    4 /* by default: as many as the host has, up to this */
#define MEM_DEFAULT  "2G"
#define DISK_DEFAULT (20ull << 30)
#define DISK_LEAST   (256ull << 20)
#define STOP_S       30 /* for containers and dockerd to end in order */
#define READY        "docker-host: ready\n"
#define GUEST_HOST   "/usr/lib/kvmbox/docker-host"
#define SOCKET       "docker.sock"
#define FORWARD      "docker.sock=unix:/run/docker.sock"

static const char help[] =
	"Usage: kvmbox docker up [OPTION]...\n"
	"       kvmbox docker down [--delete-data] [NAME]\n"
	"       kvmbox docker ls\n"
	"       kvmbox docker inspect [NAME]\n"
	"       kvmbox docker shell [NAME [CMD [ARG]...]]\n"
	"\n"
	"A dockerd in a VM of its own, for the docker command of this host.\n"
	"\n"
	"  up       boot it, wait until dockerd answers, and print the line that points\n"
	"           the docker command to it\n"
	"  down     end it in order; images, containers and volumes stay on its disk\n"
	"  ls       list those that run\n"
	"  inspect  show how it is confined, as JSON\n"
	"  shell    run a command, by default a shell, in the VM itself\n"
	"\n"
	"  --name NAME        its name (default: docker)\n"
	"  --cpus N           virtual CPUs (default: the host's, 4 at most)\n"
	"  --mem SIZE         memory (default: 2G)\n"
	"  --disk SIZE        size of the disk for what Docker keeps, when it is made\n"
	"                     (default: 20G); it takes as much room as is used of it\n"
	"  -p, --publish [ADDR:]HOST:PORT[/tcp|/udp]\n"
	"                     forward a port of this host to one that a container\n"
	"                     publishes; repeatable\n"
	"  --delete-data      with down: delete that disk, too\n"
	"  -h, --help         show this help\n"
	"\n"
	"Example:\n"
	"  $ eval \"$(kvmbox docker up -p 8080:8080)\"\n"
	"  $ docker run -d -p 8080:80 nginx\n"
	"\n"
	"More: man kvmbox-docker\n";

struct docker {
	const char *name;
	const char *cpus, *mem;
	const char *disk; /* size; NULL: not given */
	const char **publish;
	size_t npublish;
	bool delete_data;
};

/* ---- its disk ---- */

/* The file, and with @make its directory. Returns 0 or negative errno with a sentence. */
static int disk_path(const char *name, bool make, char *path, size_t size, struct error *err)
{
	const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
	char dir[PATH_MAX - 128];
	int n;

	if (geteuid() == 0)
		n = snprintf(dir, sizeof(dir), "/var/lib/kvmbox/docker");
	else if (data && data[0] == '/')
		n = snprintf(dir, sizeof(dir), "%s/kvmbox/docker", data);
	else
		n = snprintf(dir, sizeof(dir), "%s/.local/share/kvmbox/docker", home ? home : "");
	if (n >= (int)sizeof(dir))
		return error_set(err, ENAMETOOLONG, "the path of the data directory is too long");
	int ret = make ? dirs_make(dir) : 0;

	if (ret)
		return error_set(err, -ret, "cannot make the directory %s: %s", word_show(dir).text,
				 strerror(-ret));
	snprintf(path, size, "%s/%s.img", dir, name);
	return 0;
}

/* Make the disk if it is not there. One that is there keeps its size. */
static int disk_make(const struct docker *d, const char *path, struct error *err)
{
	uint64_t size = DISK_DEFAULT;
	struct stat st;

	if (d->disk && (parse_size(d->disk, &size) || size < DISK_LEAST || size > INT64_MAX))
		return error_set(
			err, EINVAL,
			"docker: --disk: \"%s\" is not a size of at least 256M, such as 20G",
			word_show(d->disk).text);
	if (!stat(path, &st)) {
		if (d->disk && (uint64_t)st.st_size != size)
			return error_set(err, EEXIST,
					 "docker: --disk: %s is there and has %llu MiB; leave the "
					 "option out, or delete it with kvmbox docker down "
					 "--delete-data",
					 word_show(path).text,
					 (unsigned long long)st.st_size >> 20);
		return 0;
	}
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd >= 0 && !ftruncate(fd, (off_t)size))
		return 0;
	int ret = error_set(err, errno, "cannot make the disk %s: %s", word_show(path).text,
			    strerror(errno));

	if (fd >= 0)
		unlink(path);
	return ret;
}

/* PATH,serial=..., in which a comma of the path is written twice. */
static void disk_option(const char *path, char *option)
{
	while (*path) {
		if (*path == ',')
			*option++ = ',';
		*option++ = *path++;
	}
	strcpy(option, ",serial=docker-data");
}

/* ---- up ---- */

static int boot(const struct docker *d, struct error *err)
{
	char kernel[PATH_MAX], image[PATH_MAX], disk[PATH_MAX] = "", cpus[24];
	char option[2 * PATH_MAX + 32];
	AUTO_FREE const char **argv = calloc(32 + 2 * d->npublish, sizeof(*argv));
	uint64_t begin_ns = clock_now_ns();
	struct boot_config cfg;
	long host_cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int n = 0, ret;

	if (!argv)
		return error_set(err, ENOMEM, "out of memory");
	if ((ret = datadir_require("vmlinux-container", DATADIR_DOCKER_HOST, "", kernel, err)) ||
	    (ret = datadir_require("docker-host.erofs", DATADIR_DOCKER_HOST, "", image, err)) ||
	    (ret = disk_path(d->name, true, disk, sizeof(disk), err)) ||
	    (ret = disk_make(d, disk, err)))
		return ret;
	disk_option(disk, option);
	snprintf(cpus, sizeof(cpus), "%ld", host_cpus < CPUS_MOST ? host_cpus : CPUS_MOST);

	const char *const fixed[] = {
		"boot",      "--detach",
		"--name",    d->name,
		"--cpus",    d->cpus ? d->cpus : cpus,
		"--mem",     d->mem,
		"--kernel",  kernel,
		"--rootfs",  image,
		"--disk",    option,
		"--net",     geteuid() ? "user" : "nat",
		"--forward", FORWARD,
		"--env",     "DOCKER_STOP_SECONDS=20",
	};
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		argv[n++] = fixed[i];
	for (size_t i = 0; i < d->npublish; i++) {
		argv[n++] = "--publish";
		argv[n++] = d->publish[i];
	}
	argv[n++] = "--";
	argv[n++] = GUEST_HOST;

	config_init(&cfg);
	ret = config_parse_boot(&cfg, n, (char **)(uintptr_t)argv, err);
	if (ret == 0 && supervisor_run(&cfg, begin_ns))
		ret = error_set(err, EIO, "the docker host \"%s\" did not start", d->name);
	config_deinit(&cfg);
	return ret;
}

/* What has been seen of the line that is waited for. */
struct ready {
	size_t matched;
	bool at_line; /* at the beginning of a line */
	bool found;
};

/* The output is the guest's, and comes in pieces of any length. */
static int look_for_ready(void *ctx, const void *bytes, size_t len, struct error *err)
{
	struct ready *r = ctx;
	const char *p = bytes;

	(void)err;
	for (size_t i = 0; i < len; i++) {
		if ((r->matched || r->at_line) && p[i] == READY[r->matched]) {
			if (!READY[++r->matched]) {
				r->found = true;
				return -ECANCELED;
			}
		} else {
			r->matched = 0;
		}
		r->at_line = p[i] == '\n';
	}
	return 0;
}

static int await_ready(const struct state *s, struct error *err)
{
	struct ready r = { .at_line = true };

	if (isatty(STDERR_FILENO))
		log_line("waiting for dockerd to answer");
	int ret = client_stream(s, "/logs?follow=true", look_for_ready, &r, err);

	if (r.found)
		return 0;
	return error_set(err, ret ? -ret : EIO,
			 "the docker host \"%s\" ended before dockerd answered; see kvmbox logs %s",
			 s->name, s->name);
}

/* What a user needs to reach it. */
static void print_export(const struct state *s)
{
	printf("export DOCKER_HOST=unix://%s/" SOCKET "\n", s->path);
}

/* Whether the VM is a docker host, by the socket that it has. */
static bool is_docker_host(const struct state *s)
{
	struct json_object *list = show_find(s->json, "config.forward");

	for (size_t i = 0; list && json_object_is_type(list, json_type_array) &&
			   i < json_object_array_length(list);
	     i++)
		if (strcmp(json_object_get_string(json_object_array_get_idx(list, i)), FORWARD) ==
		    0)
			return true;
	return false;
}

/* The VM called @name, if it is a docker host. */
static int read_host(const char *name, struct state *s, struct error *err)
{
	int ret = state_read(s, name, err);

	if (ret || is_docker_host(s))
		return ret;
	state_deinit(s);
	return error_set(err, EINVAL, "the VM \"%s\" is not one of kvmbox docker", name);
}

static int up(const struct docker *d, struct error *err)
{
	struct state s;
	int ret = read_host(d->name, &s, err);

	if (ret == 0 && s.alive) {
		log_line("the docker host \"%s\" runs already, as it was started", d->name);
	} else {
		if (ret == 0) {
			state_deinit(&s);
			ret = state_remove(d->name, err);
		}
		if (ret && ret != -ENOENT)
			return ret;
		if ((ret = boot(d, err)) || (ret = state_read(&s, d->name, err)))
			return ret;
	}
	ret = await_ready(&s, err);
	if (!ret)
		print_export(&s);
	state_deinit(&s);
	return ret;
}

/* ---- the others ---- */

/* End the machine of @s, which is freed, and remove what it leaves. */
static int end(struct state *s, struct error *err)
{
	int ret = ask_end(s, STOP_S, err);

	if (ret == 0) {
		ret = await_told_end(s, STOP_S, err);
		if (ret == 0)
			ret = state_remove(s->name, err);
	}
	state_deinit(s);
	return ret == -ENOENT ? 0 : ret;
}

static int down(const struct docker *d, struct error *err)
{
	char disk[PATH_MAX];
	struct state s;
	int ret = read_host(d->name, &s, err);

	if (ret == 0)
		ret = end(&s, err);
	else if (ret == -ENOENT && d->delete_data)
		ret = 0;
	if (ret || !d->delete_data)
		return ret;
	ret = disk_path(d->name, false, disk, sizeof(disk), err);
	if (!ret && unlink(disk))
		ret = error_set(err, errno, "cannot delete the disk %s: %s", word_show(disk).text,
				strerror(errno));
	return ret;
}

static int list(struct error *err)
{
	static const char *const heading[] = { "NAME", "STATUS", "PORTS", "DOCKER_HOST" };
	enum { COLUMNS = sizeof(heading) / sizeof(heading[0]) };
	double now = (double)time(NULL);
	struct state *all;
	size_t n, rows = 0;
	int ret = state_list(&all, &n, err);

	if (ret)
		return ret;
	AUTO_FREE struct shown *cells = calloc(n * COLUMNS + 1, sizeof(*cells));

	if (!cells) {
		state_list_free(all, n);
		return error_set(err, ENOMEM, "out of memory");
	}
	for (size_t i = 0; i < n; i++) {
		struct shown *row = &cells[COLUMNS * rows];

		if (!all[i].alive || !is_docker_host(&all[i]))
			continue;
		snprintf(row[0].text, sizeof(row[0].text), "%s", all[i].name);
		row[1] = show_status(&all[i], now);
		row[2] = show_ports(&all[i]);
		snprintf(row[3].text, sizeof(row[3].text), "unix://%.100s/" SOCKET, all[i].path);
		rows++;
	}
	show_table(heading, cells, COLUMNS, rows);
	state_list_free(all, n);
	return 0;
}

/* What the machine says of itself: the facts of docker-host, as they are, not as they should be. */
static int inspect(const struct docker *d, struct error *err)
{
	struct json_object *request = json_object_new_object(), *argv = json_object_new_array();
	struct json_object *answer = NULL, *facts = NULL, *o;
	char disk[PATH_MAX];
	struct state s;
	int ret = read_host(d->name, &s, err);

	json_object_array_add(argv, json_object_new_string(GUEST_HOST));
	json_object_array_add(argv, json_object_new_string("--facts"));
	json_object_object_add(request, "argv", argv);
	if (ret) {
		json_object_put(request);
		return ret;
	}
	ret = client_request(&s, "POST", "/exec", request, CLIENT_FOREVER, &answer, err);
	json_object_put(request);
	if (!ret)
		facts = json_tokener_parse(
			json_object_get_string(json_object_object_get(answer, "stdout")));
	if (!ret && !facts)
		ret = error_set(err, EPROTO, "the docker host \"%s\" does not tell of itself",
				d->name);
	if (!ret)
		ret = disk_path(d->name, false, disk, sizeof(disk), err);
	if (!ret) {
		o = json_object_new_object();
		json_object_object_add(o, "name", json_object_new_string(d->name));
		json_object_object_add(o, "disk", json_object_new_string(disk));
		json_object_object_add(o, "vm",
				       json_object_get(json_object_object_get(s.json, "config")));
		json_object_object_add(o, "guest", json_object_get(facts));
		puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
							       JSON_C_TO_STRING_NOSLASHESCAPE));
		json_object_put(o);
	}
	json_object_put(facts);
	json_object_put(answer);
	state_deinit(&s);
	return ret;
}

/* kvmbox docker shell [NAME [CMD [ARG]...]]: exec, with a terminal if there is one. */
static int shell(int argc, char **argv)
{
	static char exec_word[] = "exec", name_word[] = NAME_DEFAULT, sh[] = "/bin/sh";
	static char terminal_flags[] = "-it", input_flag[] = "-i", end[] = "--";
	AUTO_FREE char **words = calloc((size_t)argc + 8, sizeof(*words));
	int n = 0;

	if (!words) {
		log_line("out of memory");
		return CLI_EXIT_FAILED;
	}
	words[n++] = exec_word;
	words[n++] = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) ? terminal_flags : input_flag;
	words[n++] = argc > 0 ? argv[0] : name_word;
	words[n++] = end;
	for (int i = 1; i < argc; i++)
		words[n++] = argv[i];
	if (argc < 2)
		words[n++] = sh;
	return cmd_exec(n, words);
}

static int parse_options(const struct args *a, struct docker *d)
{
	int id;

	while ((id = args_next(a)) > 0) {
		switch (id) {
		case 'n':
			d->name = optarg;
			break;
		case 'c':
			d->cpus = optarg;
			break;
		case 'm':
			d->mem = optarg;
			break;
		case 'k':
			d->disk = optarg;
			break;
		case 'p':
			d->publish[d->npublish++] = optarg;
			break;
		case 'D':
			d->delete_data = true;
			break;
		}
	}
	return id;
}

int cmd_docker(int argc, char **argv)
{
	static const struct option options[] = {
		{ "name", required_argument, NULL, 'n' },
		{ "cpus", required_argument, NULL, 'c' },
		{ "mem", required_argument, NULL, 'm' },
		{ "disk", required_argument, NULL, 'k' },
		{ "publish", required_argument, NULL, 'p' },
		{ "delete-data", no_argument, NULL, 'D' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	static const char *const verbs[] = { "up", "down", "ls", "inspect", "shell" };
	struct args a = { .command = "docker", .shorts = "p:", .longs = options, .help = help };
	AUTO_FREE const char **publish = calloc((size_t)argc, sizeof(*publish));
	struct docker d = { .name = NAME_DEFAULT, .mem = MEM_DEFAULT, .publish = publish };
	struct word_match match = { 0 };
	struct error err;
	size_t verb = 0;
	int ret, status;

	if (argc < 2 || !publish) {
		fputs(help, stderr);
		return CLI_EXIT_FAILED;
	}
	if (argv[1][0] == '-') {
		args_begin(&a, argc, argv);
		(void)args_done(&a, parse_options(&a, &d), INT_MAX, INT_MAX,
				"the word for what to do comes first", &status);
		return status;
	}
	while (verb < 5 && strcmp(argv[1], verbs[verb]) != 0)
		word_match_try(&match, argv[1], verbs[verb++]);
	if (verb == 4)
		return shell(argc - 2, argv + 2);
	if (verb == 5) {
		log_line("docker: unknown word \"%s\"%s", word_show(argv[1]).text,
			 match.word ? word_show_match(&match).text : "; see kvmbox docker --help");
		return CLI_EXIT_FAILED;
	}
	args_begin(&a, argc - 1, argv + 1);
	if (!args_done(&a, parse_options(&a, &d), 0, verb == 2 ? 0 : 1, "", &status))
		return status;
	if (optind < a.argc)
		d.name = a.argv[optind];
	switch (verb) {
	case 0:
		ret = up(&d, &err);
		break;
	case 1:
		ret = down(&d, &err);
		break;
	case 2:
		ret = list(&err);
		break;
	default:
		ret = inspect(&d, &err);
	}
	if (ret)
		log_line("%s", err.text);
	return ret ? CLI_EXIT_FAILED : 0;
}
