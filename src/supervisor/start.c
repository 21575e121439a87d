// SPDX-License-Identifier: Apache-2.0
#include "supervisor/start.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fds.h"
#include "supervisor/datadir.h"
#include "supervisor/iomax.h"
#include "supervisor/terminal.h"
#include "vm/channel.h"

#define DEFAULT_CMDLINE "console=ttyS0 quiet reboot=k panic=-1"
#define DISK_QUEUES_MAX 4

static int open_file(const char *path, const char *what, int flags, struct error *err)
{
	int fd = open(path, flags | O_CLOEXEC);

	return fd < 0 ? error_set(err, errno, "cannot open %s %s: %s", what, path, strerror(errno))
		      : fd;
}

static int open_kvm(struct launch *l, struct error *err)
{
	l->spec.kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (l->spec.kvm_fd >= 0)
		return 0;
	return error_set(err, errno,
			 "cannot open /dev/kvm: %s; 'kvmbox check' says what to do about it",
			 strerror(errno));
}

static int open_kernel(struct launch *l, const struct boot_config *cfg, struct error *err)
{
	int ret = 0;

	if (cfg->kernel)
		snprintf(l->kernel_path, sizeof(l->kernel_path), "%s", cfg->kernel);
	else
		/* An init takes namespaces and cgroups, which the small one has not. */
		ret = cfg->init ? datadir_require("vmlinux-container", DATADIR_DOCKER_HOST,
						  ", or give --kernel", l->kernel_path, err)
				: datadir_require("vmlinux-micro", DATADIR_ALWAYS,
						  ", or give --kernel", l->kernel_path, err);
	if (ret)
		return ret;
	l->spec.kernel_path = l->kernel_path;
	l->spec.kernel_fd = open_file(l->kernel_path, "the kernel", O_RDONLY, err);
	return l->spec.kernel_fd < 0 ? l->spec.kernel_fd : 0;
}

static int open_initrd(struct launch *l, const struct boot_config *cfg, struct error *err)
{
	int ret = 0;

	if (cfg->full_system && !cfg->initrd)
		return 0;
	if (cfg->initrd)
		snprintf(l->initrd_path, sizeof(l->initrd_path), "%s", cfg->initrd);
	else
		ret = datadir_require("init.cpio", DATADIR_ALWAYS, "", l->initrd_path, err);
	if (ret)
		return ret;
	l->spec.initrd_path = l->initrd_path;
	l->spec.initrd_fd = open_file(l->initrd_path, "the initrd", O_RDONLY, err);
	return l->spec.initrd_fd < 0 ? l->spec.initrd_fd : 0;
}

static int add_disk(struct launch *l, const struct disk_config *disk, struct error *err)
{
	unsigned int i = l->spec.ndisks;
	unsigned int queues = disk->queues;

	if (i == VM_DISKS_MAX)
		return error_set(err, ENOSPC, "more than %d disks, the root file system included",
				 VM_DISKS_MAX);
	int ret = disk_open(disk, &l->spec.disks[i].disk, err);
	if (ret)
		return ret;
	if (!queues)
		queues = l->spec.cpus < DISK_QUEUES_MAX ? l->spec.cpus : DISK_QUEUES_MAX;
	if (disk->serial[0])
		snprintf(l->serials[i], sizeof(l->serials[i]), "%s", disk->serial);
	else
		snprintf(l->serials[i], sizeof(l->serials[i]), "kvmbox-%u", i);
	l->spec.disks[i].serial = l->serials[i];
	l->spec.disks[i].queues = queues;
	/* Who asks for a number of queues has cores for them; the default is the guest's ease. */
	l->spec.disks[i].own_loops = disk->queues > 1;
	l->spec.disks[i].sqpoll = disk->sqpoll;
	l->spec.disks[i].fixed_buffers = disk->fixed_buffers;
	l->spec.disks[i].limits = disk->limits;
	l->spec.ndisks++;
	return 0;
}

/* Whether one of the disks is to be the root: it is the first then. */
static bool has_own_root(const struct boot_config *cfg)
{
	return cfg->ndisks && cfg->disks[0].root;
}

/* The root that guest/init mounts is always the first disk. */
static int add_root(struct launch *l, const struct boot_config *cfg, struct error *err)
{
	struct machine_workload *w = &l->spec.workload;
	struct disk_config disk = { 0 };
	int ret;

	if (cfg->rootfs) {
		ret = rootfs_prepare(cfg->rootfs, &l->rootfs, err);
	} else if (has_own_root(cfg)) {
		ret = rootfs_prepare(cfg->disks[0].path, &l->rootfs, err);
	} else {
		l->rootfs.fstype = "erofs";
		l->rootfs.read_only = true;
		ret = datadir_require("builtin.erofs", DATADIR_ALWAYS, ", or give --rootfs",
				      l->rootfs.path, err);
	}
	if (ret)
		return ret;
	if (has_own_root(cfg))
		disk = cfg->disks[0];
	disk.path = l->rootfs.path;
	disk.read_only |= l->rootfs.read_only;
	w->root_device = "/dev/vda";
	w->root_fstype = l->rootfs.fstype;
	/* A root that cannot be written gets an overlay; one that the user wants read-only does
	 * not. */
	w->root_overlay = l->rootfs.read_only;
	w->root_read_only = disk.read_only && !w->root_overlay;
	return add_disk(l, &disk, err);
}

unsigned int launch_disk_number(const struct boot_config *cfg, size_t i)
{
	return (unsigned int)i + (!cfg->full_system && !has_own_root(cfg));
}

static int add_disks(struct launch *l, const struct boot_config *cfg, struct error *err)
{
	size_t first = 0;
	int ret;

	if (!cfg->full_system) {
		ret = add_root(l, cfg, err);
		if (ret)
			return ret;
		first = has_own_root(cfg);
	}
	for (size_t i = first; i < cfg->ndisks; i++) {
		ret = add_disk(l, &cfg->disks[i], err);
		if (ret)
			return ret;
	}
	return 0;
}

/* Whether the kernel parameter @name ("root=") stands in @cmdline. */
static bool has_parameter(const char *cmdline, const char *name)
{
	for (const char *p = cmdline; (p = strstr(p, name)); p++)
		if (p == cmdline || p[-1] == ' ')
			return true;
	return false;
}

static int build_cmdline(struct launch *l, const struct boot_config *cfg, struct error *err)
{
	const char *base = cfg->boot_args ? cfg->boot_args : DEFAULT_CMDLINE;
	const char *root = "";

	if (cfg->full_system && has_own_root(cfg) && !has_parameter(base, "root="))
		root = cfg->disks[0].read_only ? " root=/dev/vda ro" : " root=/dev/vda rw";
	if (asprintf(&l->cmdline, "%s%s%s%s", base, root, cfg->append ? " " : "",
		     cfg->append ? cfg->append : "") < 0)
		return error_set(err, ENOMEM, "out of memory");
	l->spec.cmdline = l->cmdline;
	return 0;
}

static int describe_workload(struct launch *l, const struct boot_config *cfg, bool terminal,
			     struct error *err)
{
	static char *const shell[] = { (char *)(uintptr_t) "/bin/sh", NULL };
	struct machine_workload *w = &l->spec.workload;
	const char *term = getenv("TERM");
	static char term_entry[128];
	size_t n = 0;

	if (cfg->full_system)
		return 0;
	while (cfg->env && cfg->env[n])
		n++;
	l->env = calloc(n + 2, sizeof(*l->env));
	if (!l->env)
		return error_set(err, ENOMEM, "out of memory");
	/* First, so that the user's own --env TERM=... comes later and wins. */
	size_t k = 0;
	if (terminal && term && strlen(term) < sizeof(term_entry) - 5) {
		snprintf(term_entry, sizeof(term_entry), "TERM=%s", term);
		l->env[k++] = term_entry;
	}
	for (size_t i = 0; i < n; i++)
		l->env[k++] = cfg->env[i];
	w->argv = cfg->argv ? cfg->argv : shell;
	w->env = (char *const *)(uintptr_t)l->env;
	w->cwd = cfg->workdir;
	w->hostname = cfg->name;
	w->init = cfg->init;
	w->terminal = terminal;
	if (terminal && !terminal_size(&w->rows, &w->cols))
		w->rows = w->cols = 0;
	return 0;
}

/* What the monitor may have of what is open here. */
static void close_the_rest(const struct launch *l, const struct launch_way *way)
{
	const struct vm_spec *spec = &l->spec;
	int kept[9 + VM_DISKS_MAX * DISK_FILES_MAX + CONFIG_NETS_MAX * (NETPORT_PAIRS_MAX + 1)] = {
		STDIN_FILENO,    STDOUT_FILENO, STDERR_FILENO, spec->kvm_fd, spec->kernel_fd,
		spec->initrd_fd, spec->channel, spec->console, way->lock_fd,
	};
	size_t n = 9;

	for (unsigned int i = 0; i < spec->ndisks; i++)
		n += spec->disks[i].disk->ops->files(spec->disks[i].disk, kept + n);
	for (unsigned int i = 0; i < spec->nnets; i++)
		n += spec->nets[i].port->ops->files(spec->nets[i].port, kept + n);
	/* Locks, too. */
	for (size_t i = 0; i < l->nets.nnats; i++)
		kept[n++] = l->nets.nats[i].state.fd;
	for (size_t i = 0; i < l->nets.nedges; i++)
		kept[n++] = l->nets.edges[i].fd;
	fds_close_others(kept, n);
}

static void fail_monitor(const struct launch *l, const struct error *err)
{
	struct message msg = { .type = MESSAGE_ENDED, .value = VM_END_ERROR };

	snprintf(msg.text, sizeof(msg.text), "%s", err->text);
	channel_send(l->spec.channel, &msg, -1);
}

/* The child: nothing of ours but what the specification names, then the machine until it ends. */
static void run_monitor(struct launch *l, const struct launch_way *way)
{
	struct error err;
	sigset_t none;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	prctl(PR_SET_NAME, "kvmbox-vmm");
	/* Ctrl-C at the terminal is for the supervisor, which knows how to stop in order. */
	setpgid(0, 0);
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(way->log_fd, STDERR_FILENO);
	close_the_rest(l, way);
	if (!l->spec.jail)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	else if (jail_enter(&l->jail, &err)) {
		fail_monitor(l, &err);
		_exit(1);
	}
	vm_run(&l->spec);
	_exit(0);
}

/* Returns as fork() does, or negative errno with the sentence in @err. */
static pid_t fork_monitor(struct launch *l, struct error *err)
{
	if (l->spec.jail)
		return jail_fork(&l->jail, &l->monitor_fd, err);

	pid_t pid = fork();

	if (pid > 0)
		l->monitor_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pid < 0 || (pid > 0 && l->monitor_fd < 0))
		return error_set(err, errno, "cannot start the monitor: %s", strerror(errno));
	return pid;
}

static int start_monitor(struct launch *l, const struct launch_way *way, struct error *err)
{
	int channel[2], console[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel))
		return error_set(err, errno, "cannot make a socket: %s", strerror(errno));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, console)) {
		int ret = error_set(err, errno, "cannot make a socket: %s", strerror(errno));

		close(channel[0]);
		close(channel[1]);
		return ret;
	}
	l->channel = channel[0];
	l->console = console[0];
	l->spec.channel = channel[1];
	l->spec.console = console[1];
	channel_never_wait(channel[0]);
	pid_t pid = fork_monitor(l, err);
	if (!pid)
		run_monitor(l, way);
	close(channel[1]);
	close(console[1]);
	if (pid < 0)
		return pid;
	l->monitor = pid;
	return 0;
}

/* ---- the jail ---- */

/* As iomax_of() has it. */
static unsigned int io_limits(const struct launch *l, bool all, struct jail_io io[JAIL_IO_MAX])
{
	struct iomax_disk disks[VM_DISKS_MAX];

	for (unsigned int i = 0; i < l->spec.ndisks; i++)
		disks[i] = (struct iomax_disk){ l->spec.disks[i].disk->device,
						l->spec.disks[i].disk->read_only,
						l->spec.disks[i].limits };
	return iomax_of(disks, l->spec.ndisks, all, io);
}

int launch_limit_disk(struct launch *l, unsigned int number, const struct limits *limits)
{
	struct jail_io io[JAIL_IO_MAX];

	l->spec.disks[number].limits = *limits;
	return l->spec.jail ? jail_limit_io(l->spec.jail, io, io_limits(l, true, io)) : 0;
}

static int make_jail(struct launch *l, const struct boot_config *cfg, struct error *err)
{
	struct jail_wish wish = {
		.name = cfg->name,
		.cpus = cfg->cpus,
		.mem_bytes = cfg->mem_bytes,
		.workers = vm_count_workers(&l->spec),
		.cpu_weight = cfg->cpu_weight,
		.io_weight = cfg->io_weight,
	};

	if (cfg->unsafe_no_jail)
		return 0;
	for (unsigned int i = 0; i < l->spec.ndisks; i++) {
		const struct disk *disk = l->spec.disks[i].disk;

		if (disk->is_file && disk->capacity > wish.file_max)
			wish.file_max = disk->capacity;
		if (disk->in_memory && !disk->read_only)
			wish.file_memory += disk->capacity;
		/* Each loop pins the guest's memory for itself. */
		if (l->spec.disks[i].fixed_buffers)
			wish.locked_bytes = (1 + wish.workers) * cfg->mem_bytes;
	}
	wish.nio = io_limits(l, false, wish.io);
	int ret = jail_prepare(&l->jail, &wish, err);

	if (!ret)
		l->spec.jail = &l->jail;
	return ret;
}

int launch_start(struct launch *l, const struct boot_config *cfg, const struct launch_way *way,
		 struct error *err)
{
	int ret;

	*l = (struct launch){ .monitor = -1, .monitor_fd = -1, .channel = -1, .console = -1 };
	l->spec.kvm_fd = l->spec.kernel_fd = l->spec.initrd_fd = -1;
	nets_init(&l->nets);
	l->spec.cpus = cfg->cpus;
	l->spec.mem_bytes = cfg->mem_bytes;
	l->spec.balloon = (struct balloon_spec){
		.target_mib = cfg->balloon.amount_mib,
		.deflate_on_oom = !cfg->balloon.keep_on_oom,
		.reporting = !cfg->balloon.no_reporting,
	};
	if ((ret = open_kvm(l, err)) || (ret = open_kernel(l, cfg, err)) ||
	    (ret = open_initrd(l, cfg, err)) || (ret = add_disks(l, cfg, err)) ||
	    (ret = build_cmdline(l, cfg, err)) ||
	    (ret = describe_workload(l, cfg, way->terminal, err)) ||
	    (ret = nets_open(&l->nets, cfg, &l->spec, err)) || (ret = make_jail(l, cfg, err)) ||
	    (ret = start_monitor(l, way, err)))
		launch_deinit(l);
	return ret;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void launch_deinit(struct launch *l)
{
	if (l->monitor > 0) {
		kill(l->monitor, SIGKILL);
		waitpid(l->monitor, NULL, 0);
		l->monitor = -1;
	}
	if (l->spec.jail)
		jail_release(&l->jail);
	l->spec.jail = NULL;
	close_fd(&l->monitor_fd);
	close_fd(&l->channel);
	close_fd(&l->console);
	close_fd(&l->spec.kvm_fd);
	close_fd(&l->spec.kernel_fd);
	close_fd(&l->spec.initrd_fd);
	for (unsigned int i = 0; i < l->spec.ndisks; i++)
		l->spec.disks[i].disk->ops->free(l->spec.disks[i].disk);
	l->spec.ndisks = 0;
	nets_close(&l->nets, &l->spec);
	free(l->cmdline);
	free(l->env);
	l->cmdline = NULL;
	l->env = NULL;
}
