// SPDX-License-Identifier: Apache-2.0
/*
 * The monitor's cgroup (Documentation/admin-guide/cgroup-v2.rst): kvmbox/NAME.PID, below the
 * highest directory above our own place that we may write to. For root that is the root of the
 * hierarchy; for others what has been delegated to them, if anything has.
 *
 * Whoever makes or removes one has a lock on the directory kvmbox. So an empty one that is found
 * with the lock is what a dead VM has left.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "jail/stages.h"

#define PERIOD_US    100000u
#define REMOVE_TRIES 200 /* every 5 ms, until the kernel has let go of the last threads */

/*
 * What a monitor may take besides the guest's memory: its own, page tables, sockets' buffers, and
 * room for pages of files on their way to a disk.
 */
#define MEMORY_OWN   (128ull << 20)
#define MEMORY_SHARE 8 /* of the guest's, one part in so many */

#define PIDS_SPARE 16u /* what KVM runs for a VM, and threads that are ending */

enum { CPU = 1, IO = 2, MEMORY = 4, PIDS = 8 };

static const struct {
	const char *name;
	unsigned int bit;
} controllers[] = { { "cpu", CPU }, { "io", IO }, { "memory", MEMORY }, { "pids", PIDS } };

#define NCONTROLLERS (sizeof(controllers) / sizeof(controllers[0]))

/* ---- files ---- */

static int read_at(int dir, const char *name, char *text, size_t size)
{
	AUTO_CLOSE int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (n < 0)
		return -errno;
	text[n] = '\0';
	return 0;
}

__attribute__((format(printf, 3, 4))) static int write_at(int dir, const char *name,
							  const char *fmt, ...)
{
	AUTO_CLOSE int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
	char text[160];
	va_list ap;

	if (fd < 0)
		return -errno;
	va_start(ap, fmt);
	int len = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return write(fd, text, (size_t)len) == len ? 0 : -errno;
}

static int open_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* ---- where ---- */

/* Where the hierarchy is mounted, whole. Returns 0 or -ENOENT. */
static int find_mount(char *path, size_t size)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[2 * PATH_MAX], root[PATH_MAX], where[PATH_MAX];
	int ret = -ENOENT;

	while (f && ret && fgets(line, sizeof(line), f)) {
		const char *type = strstr(line, " - ");

		if (!type || strncmp(type, " - cgroup2 ", 11) != 0 ||
		    sscanf(line, "%*d %*d %*s %4095s %4095s", root, where) != 2 ||
		    strcmp(root, "/") != 0)
			continue;
		snprintf(path, size, "%s", where);
		ret = 0;
	}
	if (f)
		fclose(f);
	return ret;
}

/* Our own place in it, as a path from its root. */
static int find_own(char *path, size_t size)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[PATH_MAX];
	int ret = -ENOENT;

	while (f && ret && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "0::/", 4) != 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(path, size, "%s", line + 3);
		ret = strstr(path, "..") ? -ENOENT : 0;
	}
	if (f)
		fclose(f);
	return ret;
}

/* Whether processes may be moved about below @dir by us. */
static bool is_ours(const char *dir)
{
	char procs[2 * PATH_MAX + 16];

	snprintf(procs, sizeof(procs), "%s/cgroup.procs", dir);
	return faccessat(AT_FDCWD, dir, W_OK, AT_EACCESS) == 0 &&
	       faccessat(AT_FDCWD, procs, W_OK, AT_EACCESS) == 0;
}

/* The highest of our own place and those above it that are ours. Returns 0 or -ENOENT. */
static int find_place(char *place, size_t size)
{
	char mount[PATH_MAX], own[PATH_MAX], dir[2 * PATH_MAX];
	int ret = -ENOENT;

	if (find_mount(mount, sizeof(mount)) || find_own(own, sizeof(own)))
		return -ENOENT;
	snprintf(dir, sizeof(dir), "%s%s", mount, strcmp(own, "/") == 0 ? "" : own);
	while (is_ours(dir)) {
		if (strlen(dir) >= size)
			return -ENOENT;
		snprintf(place, size, "%s", dir);
		ret = 0;
		if (strlen(dir) <= strlen(mount))
			break;
		*strrchr(dir, '/') = '\0';
	}
	return ret;
}

/* ---- controllers ---- */

/* The controllers that @dir gives to what is below it. */
static unsigned int enabled_controllers(int dir)
{
	char list[256] = "";
	unsigned int enabled = 0;

	(void)read_at(dir, "cgroup.subtree_control", list, sizeof(list));
	for (size_t i = 0; i < NCONTROLLERS; i++)
		if (text_has_word(list, controllers[i].name))
			enabled |= controllers[i].bit;
	return enabled;
}

/* Have @dir give its controllers to what is below it, as far as it can. Returns which it does. */
static unsigned int enable_controllers(int dir)
{
	unsigned int enabled = enabled_controllers(dir);
	bool written = false;

	/* To write what is there already is not for nothing: the kernel waits for dying groups. */
	for (size_t i = 0; i < NCONTROLLERS; i++)
		if (!(enabled & controllers[i].bit))
			written |= !write_at(dir, "cgroup.subtree_control", "+%s",
					     controllers[i].name);
	return written ? enabled_controllers(dir) : enabled;
}

/* ---- limits ---- */

unsigned int jail_tasks_max(const struct jail *jail)
{
	const struct jail_wish *w = &jail->wish;
	/* Each ring has threads of the kernel's; one that is polled has another. */
	unsigned int rings = 2 + w->workers;

	return 1 + w->cpus + w->workers + rings * (1 + JAIL_RING_BOUNDED + JAIL_RING_UNBOUNDED) +
	       PIDS_SPARE;
}

static int set_io_weight(const struct jail *jail, struct error *err)
{
	const char *what = "io.weight";
	int ret = write_at(jail->cgroup_fd, what, "default %u", jail->wish.io_weight);

	if (ret == -ENOENT)
		ret = write_at(jail->cgroup_fd, what = "io.bfq.weight", "default %u",
			       jail->wish.io_weight);
	if (ret == -ENOENT)
		return error_set(err, ENOTSUP,
				 "--io-weight: the host's kernel has no weights for I/O (neither "
				 "io.weight nor io.bfq.weight is in %s)",
				 jail->cgroup);
	return ret ? error_set(err, -ret, "cannot set %s of the cgroup %s: %s", what, jail->cgroup,
			       strerror(-ret))
		   : 0;
}

/* " KEY=VALUE" of io.max. */
struct io_word {
	char text[40];
};

static struct io_word io_word(const char *key, uint64_t value)
{
	struct io_word w;

	if (value)
		snprintf(w.text, sizeof(w.text), " %s=%llu", key, (unsigned long long)value);
	else
		snprintf(w.text, sizeof(w.text), " %s=max", key);
	return w;
}

int jail_limit_io(const struct jail *jail, const struct jail_io *io, unsigned int n)
{
	int ret = 0;

	if (jail->cgroup_fd < 0)
		return 0;
	for (unsigned int i = 0; !ret && i < n; i++) {
		ret = write_at(jail->cgroup_fd, "io.max", "%u:%u%s%s%s%s", major(io[i].device),
			       minor(io[i].device), io_word("rbps", io[i].read_bytes).text,
			       io_word("wbps", io[i].written_bytes).text,
			       io_word("riops", io[i].reads).text,
			       io_word("wiops", io[i].writes).text);
		/* A kernel without it, or a device that has gone or has no queue to hold up. */
		if (ret == -ENOENT || ret == -ENODEV || ret == -ENXIO || ret == -EOPNOTSUPP)
			ret = 0;
	}
	return ret;
}

static int set_limits(const struct jail *jail, unsigned int has, struct error *err)
{
	const struct jail_wish *w = &jail->wish;
	/* A loop works while the vCPU that has asked it goes on. */
	unsigned long long cpus = w->cpus + 1ull + w->workers;
	unsigned long long memory =
		w->mem_bytes + w->mem_bytes / MEMORY_SHARE + MEMORY_OWN + w->file_memory;
	int dir = jail->cgroup_fd;
	const char *what = "cpu.max";
	int ret = 0;

	if (has & CPU)
		ret = write_at(dir, what, "%llu %u", cpus * PERIOD_US, PERIOD_US);
	if (!ret && has & PIDS)
		ret = write_at(dir, what = "pids.max", "%u", jail_tasks_max(jail));
	if (!ret && has & MEMORY)
		ret = write_at(dir, what = "memory.max", "%llu", memory);
	if (!ret && has & MEMORY)
		/* Where memory runs out, the machine ends, and not a thread of it. */
		ret = write_at(dir, what = "memory.oom.group", "1");
	if (!ret && has & MEMORY) {
		ret = write_at(dir, what = "memory.swap.max", "%llu",
			       (unsigned long long)w->mem_bytes);
		/* A kernel without swap. */
		ret = ret == -ENOENT ? 0 : ret;
	}
	if (!ret && w->cpu_weight)
		ret = write_at(dir, what = "cpu.weight", "%u", w->cpu_weight);
	if (!ret) {
		what = "io.max";
		ret = jail_limit_io(jail, w->io, w->nio);
	}
	if (ret)
		return error_set(err, -ret, "cannot set %s of the cgroup %s: %s", what,
				 jail->cgroup, strerror(-ret));
	return w->io_weight ? set_io_weight(jail, err) : 0;
}

/* ---- making and removing ---- */

/* With the lock on @parent. Whatever has a process in it is busy. */
static void remove_dead(int parent)
{
	int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (e->d_type == DT_DIR && e->d_name[0] != '.')
			(void)unlinkat(parent, e->d_name, AT_REMOVEDIR);
	if (dir)
		closedir(dir);
}

static int lock(int fd)
{
	while (flock(fd, LOCK_EX))
		if (errno != EINTR)
			return -errno;
	return 0;
}

static int make_own(struct jail *jail, const char *parent, int parent_fd, unsigned int has,
		    struct error *err)
{
	int len = snprintf(jail->cgroup, sizeof(jail->cgroup), "%s/%s.%d", parent, jail->wish.name,
			   getpid());
	int ret = len < 0 || (size_t)len >= sizeof(jail->cgroup) ? -ENAMETOOLONG : lock(parent_fd);

	if (!ret) {
		remove_dead(parent_fd);
		ret = mkdir(jail->cgroup, 0755) ? -errno : open_dir(jail->cgroup);
	}
	if (ret < 0) {
		ret = error_set(err, -ret, "cannot make the cgroup %s: %s", jail->cgroup,
				strerror(-ret));
		jail->cgroup[0] = '\0';
		return ret;
	}
	jail->cgroup_fd = ret;
	return set_limits(jail, has, err);
}

/* What was asked for by name is not left out. */
static int check_wish(const struct jail *jail, unsigned int has, struct error *err)
{
	if ((jail->wish.cpu_weight && !(has & CPU)) || (jail->wish.io_weight && !(has & IO)))
		return error_set(err, ENOTSUP,
				 "%s needs the %s controller of cgroup v2, which this host does "
				 "not have for us",
				 jail->wish.cpu_weight && !(has & CPU) ? "--cpu-weight"
								       : "--io-weight",
				 jail->wish.cpu_weight && !(has & CPU) ? "cpu" : "io");
	return 0;
}

int cgroup_make(struct jail *jail, struct error *err)
{
	char place[PATH_MAX - 128], parent[PATH_MAX - 64];
	unsigned int has = 0;
	AUTO_CLOSE int place_fd = find_place(place, sizeof(place)) ? -1 : open_dir(place);
	AUTO_CLOSE int parent_fd = -1;

	if (place_fd >= 0 && enable_controllers(place_fd)) {
		snprintf(parent, sizeof(parent), "%s/kvmbox", place);
		(void)mkdir(parent, 0755);
		parent_fd = open_dir(parent);
	}
	if (parent_fd >= 0)
		has = enable_controllers(parent_fd);
	if ((has & (CPU | MEMORY | PIDS)) != (CPU | MEMORY | PIDS))
		jail_leave_out(jail, JAIL_CGROUP);
	int ret = check_wish(jail, has, err);
	if (ret || !has)
		return ret;
	ret = make_own(jail, parent, parent_fd, has, err);
	jail->cgroup_lock = steal_fd(&parent_fd);
	if (ret)
		cgroup_remove(jail);
	return ret;
}

void cgroup_move(struct jail *jail, pid_t pid)
{
	if (write_at(jail->cgroup_fd, "cgroup.procs", "%d", pid))
		jail_leave_out(jail, JAIL_CGROUP);
}

/* Explicitly, for a child has the same lock. */
void cgroup_populated(struct jail *jail)
{
	if (jail->cgroup_lock < 0)
		return;
	flock(jail->cgroup_lock, LOCK_UN);
	close(jail->cgroup_lock);
	jail->cgroup_lock = -1;
}

void cgroup_remove(struct jail *jail)
{
	const struct timespec nap = { .tv_nsec = 5 * 1000 * 1000 };

	cgroup_populated(jail);
	if (jail->cgroup_fd >= 0)
		close(jail->cgroup_fd);
	jail->cgroup_fd = -1;
	if (!jail->cgroup[0])
		return;
	for (int i = 0; rmdir(jail->cgroup) && errno == EBUSY; i++) {
		if (i == REMOVE_TRIES) {
			log_line("the VM's cgroup is still there: %s is busy", jail->cgroup);
			break;
		}
		nanosleep(&nap, NULL);
	}
	jail->cgroup[0] = '\0';
}

bool jail_ran_out_of_memory(const struct jail *jail)
{
	char text[512];
	const char *count;

	if (jail->cgroup_fd < 0 || read_at(jail->cgroup_fd, "memory.events", text, sizeof(text)))
		return false;
	count = strstr(text, "oom_kill ");
	return count && strtoul(count + strlen("oom_kill "), NULL, 10) > 0;
}
