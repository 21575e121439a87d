// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/read.h"
#include "config/set.h"
#include "config/words.h"

enum option_id {
	OPTION_HELP = 'h',
	OPTION_PUBLISH = 'p',
	OPTION_DETACH = 'd',
	OPTION_INTERACTIVE = 'i',
	OPTION_TTY = 't',
	OPTION_CPUS = 256,
	OPTION_MEM,
	OPTION_NAME,
	OPTION_KERNEL,
	OPTION_INITRD,
	OPTION_APPEND,
	OPTION_ROOTFS,
	OPTION_DISK,
	OPTION_NET,
	OPTION_CONFIG,
	OPTION_ENV,
	OPTION_WORKDIR,
	OPTION_TIMEOUT,
	OPTION_JSON,
	OPTION_FORWARD,
	OPTION_RM,
	OPTION_INIT,
	OPTION_CPU_WEIGHT,
	OPTION_IO_WEIGHT,
	OPTION_UNSAFE_NO_JAIL,
	OPTION_ALLOW,
};

static const struct option options[] = {
	{ "cpus", required_argument, NULL, OPTION_CPUS },
	{ "mem", required_argument, NULL, OPTION_MEM },
	{ "name", required_argument, NULL, OPTION_NAME },
	{ "kernel", required_argument, NULL, OPTION_KERNEL },
	{ "initrd", required_argument, NULL, OPTION_INITRD },
	{ "append", required_argument, NULL, OPTION_APPEND },
	{ "rootfs", required_argument, NULL, OPTION_ROOTFS },
	{ "disk", required_argument, NULL, OPTION_DISK },
	{ "net", required_argument, NULL, OPTION_NET },
	{ "publish", required_argument, NULL, OPTION_PUBLISH },
	{ "allow", required_argument, NULL, OPTION_ALLOW },
	{ "config", required_argument, NULL, OPTION_CONFIG },
	{ "env", required_argument, NULL, OPTION_ENV },
	{ "workdir", required_argument, NULL, OPTION_WORKDIR },
	{ "timeout", required_argument, NULL, OPTION_TIMEOUT },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "detach", no_argument, NULL, OPTION_DETACH },
	{ "interactive", no_argument, NULL, OPTION_INTERACTIVE },
	{ "tty", no_argument, NULL, OPTION_TTY },
	{ "rm", no_argument, NULL, OPTION_RM },
	{ "init", no_argument, NULL, OPTION_INIT },
	{ "forward", required_argument, NULL, OPTION_FORWARD },
	{ "cpu-weight", required_argument, NULL, OPTION_CPU_WEIGHT },
	{ "io-weight", required_argument, NULL, OPTION_IO_WEIGHT },
	{ "unsafe-no-jail", no_argument, NULL, OPTION_UNSAFE_NO_JAIL },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
	"Usage: kvmbox boot [OPTION]... [-- CMD [ARG]...]\n"
	"\n"
	"Boot a micro-VM, run CMD in it (/bin/sh if there is none) and exit with CMD's\n"
	"exit status. Only CMD's own output is written to standard output.\n"
	"\n"
	"What runs:\n"
	"  --rootfs DIR|IMAGE  root file system: a directory, or an image of ext4, erofs\n"
	"                      or squashfs (default: a small built-in root)\n"
	"  --init              CMD is a system's init (default: /sbin/init): it is PID 1,\n"
	"                      and is shut down in its own way\n"
	"  --env NAME[=VALUE]  set a variable for CMD, or pass the caller's; repeatable\n"
	"  --workdir DIR       start CMD in DIR, an absolute path in the guest\n"
	"  --timeout TIME      end the VM after TIME (30s, 500ms, 2m, 1h) with status 124\n"
	"\n"
	"In the background:\n"
	"  -d, --detach        leave the VM running, and print its name; see kvmbox ps,\n"
	"                      logs, attach, exec, stop and rm\n"
	"  -i, --interactive   keep CMD's standard input open, for kvmbox attach\n"
	"  -t, --tty           give CMD a terminal\n"
	"  --rm                keep nothing of the VM when it has ended\n"
	"  --forward SOCKET=unix:PATH|tcp:ADDR:PORT\n"
	"                      a unix socket here that leads to a socket in the guest;\n"
	"                      repeatable\n"
	"\n"
	"The machine:\n"
	"  --cpus N            virtual CPUs, 1 to 32 (default: 1)\n"
	"  --mem SIZE          memory, 32M or more (default: 256M)\n"
	"  --disk PATH[,OPTION]...\n"
	"                      attach a raw image or block device; repeatable, in order;\n"
	"                      OPTION is ro, serial=S, direct=on|off|auto,\n"
	"                      queues=N (each but the first with a thread of its own),\n"
	"                      fixed-buffers=on (pins all of the guest's memory),\n"
	"                      sqpoll=on (a kernel thread polls: it costs a core), or\n"
	"                      iops=N, bw=SIZE (limits, for each second)\n"
	"  --name NAME         name of the VM and host name in it (default: a random one)\n"
	"  --cpu-weight N      its share of CPUs that are busy, 1 to 10000 (default: 100)\n"
	"  --io-weight N       likewise of the host's disks; both need cgroup v2\n"
	"\n"
	"Its network (default: none):\n"
	"  --net nat[,OPTION]...      behind the host, by NAT; needs root\n"
	"  --net user[,OPTION]...     the same with passt, which needs no root\n"
	"  --net tap=NAME[,OPTION]... on a tap interface that is there\n"
	"                      OPTION is mac=M, mtu=N, queues=N, bw=SIZE or pps=N\n"
	"                      (limits for each direction and second), and for a tap\n"
	"                      ip=ADDR/PREFIX, gw=ADDR, dns=ADDR or filter=off (the\n"
	"                      guest may send what it likes); repeatable\n"
	"  -p, --publish [ADDR:]HOST:GUEST[/tcp|/udp]\n"
	"                      forward a port of the host to the guest; repeatable\n"
	"  --allow VM          let this VM and the one called VM talk to each other, as\n"
	"                      VMs may not otherwise; '*' is all of them; repeatable\n"
	"\n"
	"The kernel:\n"
	"  --kernel FILE       boot this vmlinux or bzImage, not kvmbox's own\n"
	"  --initrd FILE       boot the system in this initrd; there is no CMD then\n"
	"  --append TEXT       add TEXT to the kernel's command line\n"
	"\n"
	"kvmbox itself:\n"
	"  --config FILE       read a JSON config file first; options override it\n"
	"  --unsafe-no-jail    leave the monitor all rights of the caller\n"
	"  --json              report status and timings as JSON on standard error\n"
	"  -h, --help          show this help\n"
	"\n"
	"SIZE is bytes, or a number with K, M, G or T (powers of 1024).\n"
	"\n"
	"Exit status: CMD's own, 128+N if signal N ended it, 124 on a timeout, 125 if\n"
	"kvmbox itself failed, 126 if CMD cannot be executed, 127 if it is not found.\n"
	"\n"
	"Examples:\n"
	"  kvmbox boot -- uname -a\n"
	"  kvmbox boot --mem 1G --rootfs ./debian -- apt-get --version\n"
	"  kvmbox boot --net nat -p 8080:80 --rootfs ./web -- /usr/sbin/nginx\n"
	"  kvmbox boot -d --name db --rootfs ./db --disk db.img -- /usr/bin/postgres\n"
	"  kvmbox boot --config vm_config.json\n"
	"\n"
	"More: man kvmbox-boot, man 5 kvmbox-config\n";

/* What getopt_long() turned down: @index is the argument's place in @argv. */
static int bad_option(int result, char **argv, int index, struct error *err)
{
	const char *arg = argv[index];
	char name[64];

	if (result == ':')
		return error_set(err, EINVAL, "%s needs a value; see kvmbox boot --help",
				 word_show(arg).text);
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(arg, "="), arg);
	if (optopt >= OPTION_CPUS || (optopt && arg[1] == '-'))
		return error_set(err, EINVAL, "%s takes no value", name);

	struct word_match match = { 0 };
	char dashed[64] = "";

	for (const struct option *o = options; o->name; o++)
		word_match_try(&match, name + strspn(name, "-"), o->name);
	if (match.word) {
		snprintf(dashed, sizeof(dashed), "--%s", match.word);
		match.word = dashed;
	}
	return error_set(err, EINVAL, "unknown option %s%s%s", word_show(name).text,
			 word_show_match(&match).text,
			 match.word ? "" : "; see kvmbox boot --help");
}

/*
 * The next option of @argv, into *@id; 0 when there are no more and the workload begins at optind.
 * Returns 0 or negative errno with a sentence.
 */
static int next_option(int argc, char **argv, int *id, struct error *err)
{
	int index = optind ? optind : 1;
	/* '+': what follows the first word that is no option is the workload's affair. */
	int result = getopt_long(argc, argv, "+:hp:dit", options, NULL);

	if (result == '?' || result == ':')
		return bad_option(result, argv, index, err);
	*id = result == -1 ? 0 : result;
	if (result == -1 && optind == index && index < argc)
		return error_set(err, EINVAL,
				 "unexpected argument \"%s\"; if it is the command to run, put -- "
				 "before it",
				 word_show(argv[index]).text);
	return 0;
}

static int add_net_option(struct boot_config *cfg, const char *value, struct error *err)
{
	struct net_config net;
	int ret = parse_net(value, &net, err);

	return ret < 0 ? ret : add_net(cfg, "--net", &net, err);
}

static int add_disk_option(struct boot_config *cfg, const char *value, struct error *err)
{
	struct disk_config disk;
	int ret = parse_disk(value, &disk, err);

	if (ret < 0)
		return ret;
	ret = add_disk(cfg, "--disk", &disk, err);
	if (ret < 0)
		free(disk.path);
	return ret;
}

/* NAME=VALUE, or NAME alone for the value it has here; one that is not set here is not set there.
 */
static int add_env_option(struct boot_config *cfg, const char *value, struct error *err)
{
	AUTO_FREE char *assignment = NULL;
	const char *inherited;

	if (strchr(value, '='))
		return add_env(cfg, "--env", value, err);
	if (!*value)
		return error_set(err, EINVAL,
				 "--env: the name is empty, it must be NAME=VALUE or NAME");
	inherited = getenv(value);
	if (!inherited)
		return 0;

	size_t size = strlen(value) + 1 + strlen(inherited) + 1;

	assignment = malloc(size);
	if (!assignment)
		return error_set(err, ENOMEM, "--env: out of memory");
	snprintf(assignment, size, "%s=%s", value, inherited);
	return add_env(cfg, "--env", assignment, err);
}

static int apply_option(struct boot_config *cfg, int id, const char *value, struct error *err)
{
	switch (id) {
	case OPTION_CPUS:
		return set_cpus_word(cfg, "--cpus", value, err);
	case OPTION_MEM:
		return set_mem(cfg, "--mem", value, err);
	case OPTION_NAME:
		return set_name(cfg, "--name", value, err);
	case OPTION_KERNEL:
		return set_path(&cfg->kernel, "--kernel", value, err);
	case OPTION_INITRD:
		return set_path(&cfg->initrd, "--initrd", value, err);
	case OPTION_APPEND:
		return set_kernel_words(&cfg->append, "--append", value, err);
	case OPTION_ROOTFS:
		return set_path(&cfg->rootfs, "--rootfs", value, err);
	case OPTION_DISK:
		return add_disk_option(cfg, value, err);
	case OPTION_NET:
		return add_net_option(cfg, value, err);
	case OPTION_PUBLISH:
		return add_publish(cfg, "--publish", value, err);
	case OPTION_ALLOW:
		return add_allow(cfg, "--allow", value, err);
	case OPTION_ENV:
		return add_env_option(cfg, value, err);
	case OPTION_WORKDIR:
		return set_workdir(cfg, "--workdir", value, err);
	case OPTION_TIMEOUT:
		return set_timeout(cfg, "--timeout", value, err);
	case OPTION_FORWARD:
		return add_forward(cfg, "--forward", value, err);
	case OPTION_JSON:
		cfg->json = true;
		return 0;
	case OPTION_DETACH:
		cfg->detach = true;
		return 0;
	case OPTION_INTERACTIVE:
		cfg->interactive = true;
		return 0;
	case OPTION_TTY:
		cfg->terminal = true;
		return 0;
	case OPTION_RM:
		cfg->remove = true;
		return 0;
	case OPTION_INIT:
		cfg->init = true;
		return 0;
	case OPTION_CPU_WEIGHT:
		return set_weight_word(&cfg->cpu_weight, "--cpu-weight", value, err);
	case OPTION_IO_WEIGHT:
		return set_weight_word(&cfg->io_weight, "--io-weight", value, err);
	case OPTION_UNSAFE_NO_JAIL:
		cfg->unsafe_no_jail = true;
		return 0;
	default: /* --config, which was read before */
		return 0;
	}
}

static int file_error(const char *path, int error, struct error *err)
{
	return error_set(err, error, "--config: cannot read %s: %s", word_show(path).text,
			 strerror(error));
}

static int read_config_file(struct boot_config *cfg, const char *path, struct error *err)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	AUTO_FREE char *text = NULL;
	size_t len;

	if (fd < 0)
		return file_error(path, errno, err);
	int ret = read_whole(fd, CONFIG_FILE_MAX, &text, &len);

	if (ret)
		return file_error(path, -ret, err);
	return config_parse_json(cfg, text, len, path, err);
}

/* First reading of the arguments: is help asked for (returns 1), and which file comes first? */
static int find_config_file(int argc, char **argv, const char **path, struct error *err)
{
	int id;

	optind = 0; /* GNU: begin afresh */
	for (;;) {
		int ret = next_option(argc, argv, &id, err);

		if (ret < 0)
			return ret;
		if (id == 0)
			return 0;
		if (id == OPTION_HELP)
			return 1;
		if (id != OPTION_CONFIG)
			continue;
		if (*path)
			return error_set(err, EINVAL, "--config is given twice: %s and %s",
					 word_show(*path).text, word_show(optarg).text);
		*path = optarg;
	}
}

/* Second reading: every option over what the file said. */
static int apply_options(struct boot_config *cfg, int argc, char **argv, struct error *err)
{
	int ret = 0;
	int id;

	optind = 0;
	while (ret == 0) {
		ret = next_option(argc, argv, &id, err);
		if (ret == 0 && id == 0)
			break;
		if (ret == 0)
			ret = apply_option(cfg, id, optarg, err);
	}
	if (ret < 0 || optind >= argc)
		return ret;
	return set_argv(cfg, "--", (const char *const *)argv + optind, (size_t)(argc - optind),
			err);
}

int config_parse_boot(struct boot_config *cfg, int argc, char **argv, struct error *err)
{
	const char *path = NULL;
	int ret = find_config_file(argc, argv, &path, err);

	if (ret > 0)
		fputs(help, stdout);
	if (ret != 0)
		return ret;
	if (path)
		ret = read_config_file(cfg, path, err);
	if (ret == 0)
		ret = apply_options(cfg, argc, argv, err);
	if (ret == 0)
		ret = config_finish(cfg, err);
	if (ret == 0)
		ret = config_check_paths(cfg, err);
	return ret;
}
