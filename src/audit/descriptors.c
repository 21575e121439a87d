// SPDX-License-Identifier: Apache-2.0
#include "audit/descriptors.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "audit/files.h"
#include "audit/process.h"
#include "base/cleanup.h"
#include "base/text.h"

#define INFO_MAX (64u << 10)

/* include/uapi/linux/major.h, and the ptys of Unix98 */
#define MAJOR_TTY      4
#define MAJOR_CONSOLE  5
#define MAJOR_PTS      136
#define MAJOR_PTS_LAST 143

/* Documentation/admin-guide/devices.txt: of the miscellaneous ones */
#define MAJOR_MISC 10
#define MINOR_TUN  200
#define MINOR_KVM  232

/* ---- one descriptor ---- */

static enum audit_fd_kind kind_by_name(const char *target)
{
	static const struct {
		const char *begin;
		enum audit_fd_kind kind;
	} names[] = {
		{ "socket:", AUDIT_FD_SOCKET },
		{ "pipe:", AUDIT_FD_PIPE },
		{ "/dev/kvm", AUDIT_FD_KVM },
		{ "anon_inode:kvm-", AUDIT_FD_KVM },
		{ "/dev/net/tun", AUDIT_FD_TAP },
		{ "anon_inode:[io_uring]", AUDIT_FD_RING },
		{ "anon_inode:[event", AUDIT_FD_EVENT },
		{ "anon_inode:[timerfd]", AUDIT_FD_EVENT },
		{ "anon_inode:[signalfd]", AUDIT_FD_EVENT },
		{ "anon_inode:[pidfd]", AUDIT_FD_EVENT },
		{ "pidfd:", AUDIT_FD_EVENT },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(target, names[i].begin, strlen(names[i].begin)) == 0)
			return names[i].kind;
	return AUDIT_FD_OTHER;
}

static bool is_terminal(dev_t dev)
{
	unsigned int number = major(dev);

	return number == MAJOR_TTY || (number == MAJOR_CONSOLE && minor(dev) < 2) ||
	       (number >= MAJOR_PTS && number <= MAJOR_PTS_LAST);
}

static enum audit_fd_kind kind_by_file(const struct stat *st, const char *info)
{
	switch (st->st_mode & S_IFMT) {
	case S_IFDIR:
		return AUDIT_FD_DIRECTORY;
	case S_IFCHR:
		/* Whatever they are called where the monitor has them from. */
		if (st->st_rdev == makedev(MAJOR_MISC, MINOR_KVM))
			return AUDIT_FD_KVM;
		if (st->st_rdev == makedev(MAJOR_MISC, MINOR_TUN))
			return AUDIT_FD_TAP;
		return is_terminal(st->st_rdev) ? AUDIT_FD_TERMINAL : AUDIT_FD_DEVICE;
	case S_IFREG:
		return st->st_size == 0 && files_value(info, "lock:") ? AUDIT_FD_LOCK
								      : AUDIT_FD_FILE;
	case S_IFBLK:
		return AUDIT_FD_FILE;
	case S_IFIFO:
		return AUDIT_FD_PIPE;
	default:
		return AUDIT_FD_OTHER;
	}
}

static void identify(struct audit_fd *fd, const struct stat *st)
{
	fd->known = true;
	fd->dev = S_ISBLK(st->st_mode) ? st->st_rdev : st->st_dev;
	fd->ino = S_ISBLK(st->st_mode) ? 0 : st->st_ino;
}

/* A socket's protocol is the value of an attribute that the kernel makes up. */
static void read_protocol(const struct audit_host *host, const char *path, struct audit_fd *fd)
{
	struct files_path full = files_path("/proc/self/fd/%d/%s", host->root, path);
	char value[32];
	ssize_t len = getxattr(full.text, "system.sockprotoname", value, sizeof(value));

	if (len > 0)
		text_keep(fd->detail, sizeof(fd->detail), value, strnlen(value, (size_t)len));
}

static void read_tap_name(struct audit_fd *fd, const char *info)
{
	const char *name = files_value(info, "iff:");

	if (name)
		text_keep(fd->detail, sizeof(fd->detail), name, strcspn(name, "\n"));
}

static int read_fd(const struct audit_host *host, struct audit_process *p, const char *number,
		   struct audit_fd *fd)
{
	struct files_path path = files_path("proc/%d/fd/%s", p->pid, number);
	AUTO_FREE char *info = NULL;
	struct stat st;
	int ret = files_link(host->root, path.text, fd->target, sizeof(fd->target));

	if (!ret)
		ret = files_read(host->root, files_path("proc/%d/fdinfo/%s", p->pid, number).text,
				 INFO_MAX, &info);
	if (ret)
		return ret;
	uint64_t flags = (uint64_t)files_number(info, "flags:", 8, 0);

	fd->number = atoi(number);
	fd->reads = !(flags & O_PATH) && (flags & O_ACCMODE) != O_WRONLY;
	fd->writes = !(flags & O_PATH) && (flags & O_ACCMODE) != O_RDONLY;
	fd->direct = flags & O_DIRECT;
	fd->kind = kind_by_name(fd->target);
	if (fd->kind == AUDIT_FD_OTHER && fstatat(host->root, path.text, &st, 0) == 0) {
		fd->kind = kind_by_file(&st, info);
		identify(fd, &st);
	}
	if (fd->kind == AUDIT_FD_SOCKET)
		read_protocol(host, path.text, fd);
	if (fd->kind == AUDIT_FD_TAP)
		read_tap_name(fd, info);
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const struct audit_fd *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

/* A card with several queues has as many descriptors. */
static void add_tap(struct audit_report *report, const char *name)
{
	for (size_t i = 0; i < report->ntaps; i++)
		if (strcmp(report->taps[i].name, name) == 0)
			return;
	struct audit_tap *grown =
		audit_grow(report, report->taps, &report->ntaps, sizeof(*report->taps));

	if (!grown)
		return;
	report->taps = grown;
	snprintf(grown[report->ntaps - 1].name, sizeof(grown->name), "%s", name);
}

void audit_read_descriptors(const struct audit_host *host, struct audit_report *report,
			    struct audit_process *p)
{
	const struct dirent *e;
	DIR *dir;
	int ret = files_dir(host->root, files_path("proc/%d/fd", p->pid).text, &dir);

	if (ret) {
		audit_note_monitor(report, p, "the descriptors", -ret);
		return;
	}
	p->fds_known = true;
	while ((e = readdir(dir))) {
		struct audit_fd one = { 0 };

		/* It may have been closed since. */
		if (e->d_name[0] == '.' || read_fd(host, p, e->d_name, &one) != 0)
			continue;
		struct audit_fd *grown = audit_grow(report, p->fds, &p->nfds, sizeof(*p->fds));

		if (!grown)
			break;
		p->fds = grown;
		p->fds[p->nfds - 1] = one;
		if (audit_is_monitor(p) && one.kind == AUDIT_FD_TAP && one.detail[0])
			add_tap(report, one.detail);
	}
	closedir(dir);
	if (p->nfds)
		qsort(p->fds, p->nfds, sizeof(*p->fds), by_number);
}

/* ---- disks ---- */

static bool same_file(const struct audit_fd *a, const struct audit_fd *b)
{
	return a->known && b->known && a->dev == b->dev && a->ino == b->ino;
}

/* The file at @path, as a descriptor of it would be shown. */
static void find_asked(const struct audit_host *host, const char *path, struct audit_fd *asked)
{
	struct stat st;

	if (fstatat(host->root, path + strspn(path, "/"), &st, 0) == 0)
		identify(asked, &st);
	text_keep(asked->target, sizeof(asked->target), path, strlen(path));
}

/* Whether it is shown by that name, behind which the kernel tells of a file that is gone. */
static bool same_name(const struct audit_fd *fd, const struct audit_fd *asked)
{
	size_t len = strlen(asked->target);

	return len && strncmp(fd->target, asked->target, len) == 0 &&
	       (!fd->target[len] || strcmp(fd->target + len, " (deleted)") == 0);
}

/* The whole of @path, which begins at @directory if it is relative; "": not known. */
static struct files_path whole_path(const char *directory, const char *path)
{
	if (path[0] == '/')
		return files_path("%s", path);
	if (!directory)
		return files_path("%s", "");
	return files_path("%s/%s", strcmp(directory, "/") ? directory : "", path);
}

/* A root that is no image has been packed into one, which is nobody's disk. */
static void find_disk(const struct audit_host *host, struct audit_report *report,
		      const char *directory, const char *path, bool read_only, bool if_open)
{
	struct audit_disk disk = { .read_only = read_only };
	struct audit_fd asked = { 0 };

	find_asked(host, whole_path(directory, path).text, &asked);
	text_keep(disk.path, sizeof(disk.path), path, strlen(path));
	for (size_t i = 0; i < report->processes[0].nfds; i++) {
		struct audit_fd *fd = &report->processes[0].fds[i];

		/* By its name where its file is replaced or gone. */
		if (fd->kind != AUDIT_FD_FILE || !(same_file(fd, &asked) || same_name(fd, &asked)))
			continue;
		fd->is_disk = true;
		disk.open = true;
		disk.writes |= fd->writes;
		disk.direct |= fd->direct;
	}
	if (if_open && !disk.open)
		return;
	struct audit_disk *grown =
		audit_grow(report, report->disks, &report->ndisks, sizeof(*report->disks));

	if (!grown)
		return;
	report->disks = grown;
	grown[report->ndisks - 1] = disk;
}

void audit_find_disks(const struct audit_host *host, struct audit_report *report,
		      struct json_object *config, const char *directory)
{
	struct json_object *drives = NULL, *value;

	if (!json_object_is_type(config, json_type_object))
		return;
	if (json_object_object_get_ex(config, "rootfs", &value) &&
	    json_object_is_type(value, json_type_string))
		find_disk(host, report, directory, json_object_get_string(value), false, true);
	if (!json_object_object_get_ex(config, "drives", &drives) ||
	    !json_object_is_type(drives, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(drives); i++) {
		struct json_object *drive = json_object_array_get_idx(drives, i);

		if (!json_object_is_type(drive, json_type_object) ||
		    !json_object_object_get_ex(drive, "path_on_host", &value) ||
		    !json_object_is_type(value, json_type_string))
			continue;
		const char *path = json_object_get_string(value);
		bool read_only = json_object_object_get_ex(drive, "is_read_only", &value) &&
				 json_object_get_boolean(value);

		find_disk(host, report, directory, path, read_only, false);
	}
}
