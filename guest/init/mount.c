// SPDX-License-Identifier: Apache-2.0
#include "init/mount.h"

#include "kvmbox/agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/swap.h>
#include <time.h>
#include <unistd.h>

/* Directories of init.cpio. */
#define NEW_ROOT "/mnt/root"
#define IMAGE    "/mnt/image"
#define SCRATCH  "/mnt/scratch"

#define DEVICE_WAIT_MS 2000

int mount_kernel(struct message *why)
{
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return message_set(why, errno, "/proc cannot be mounted");
	if (mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return message_set(why, errno, "/sys cannot be mounted");
	if (mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID | MS_NOEXEC, "mode=755") < 0)
		return message_set(why, errno, "/dev cannot be mounted");
	return 0;
}

/* A kernel that probes its devices late may not have made the node yet. */
static int device_wait(const char *device)
{
	const struct timespec tick = { .tv_nsec = 5000000 };
	struct stat st;

	for (int ms = 0; stat(device, &st) < 0; ms += 5) {
		if (errno != ENOENT || ms >= DEVICE_WAIT_MS)
			return -errno;
		nanosleep(&tick, NULL);
	}
	return S_ISBLK(st.st_mode) ? 0 : -ENOTBLK;
}

/*
 * The overlay keeps mounts of its own of what it lies on, so the two are
 * detached again: nothing but the root is to be seen of it later.
 */
static int overlay_mount(struct message *why)
{
	if (mount("tmpfs", SCRATCH, "tmpfs", MS_NODEV, "mode=755") < 0)
		return message_set(why, errno, "the root's writable layer cannot be mounted");
	if (mkdir(SCRATCH "/upper", 0755) < 0 || mkdir(SCRATCH "/work", 0755) < 0)
		return message_set(why, errno, "the root's writable layer cannot be prepared");
	if (mount("overlay", NEW_ROOT, "overlay", 0,
		  "lowerdir=" IMAGE ",upperdir=" SCRATCH "/upper,workdir=" SCRATCH "/work") < 0)
		return message_set(why, errno, "the root's overlay cannot be mounted");
	umount2(SCRATCH, MNT_DETACH);
	umount2(IMAGE, MNT_DETACH);
	return 0;
}

static int image_mount(const struct description *d, struct message *why)
{
	bool read_only = d->root.read_only || d->root.overlay;
	int ret = device_wait(d->root.device);

	if (ret < 0)
		return message_set(why, -ret, "the root device %s", d->root.device);
	if (mount(d->root.device, d->root.overlay ? IMAGE : NEW_ROOT, d->root.fstype,
		  read_only ? MS_RDONLY : 0, NULL) < 0)
		return message_set(why, errno, "the root device %s cannot be mounted as %s",
				   d->root.device, d->root.fstype);
	return d->root.overlay ? overlay_mount(why) : 0;
}

/* Paths from here on are below the new root, which is the working directory. */

static bool directory_is_empty(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	int count = 0;

	if (!dir)
		return false;
	while (count <= 2 && (e = readdir(dir)))
		count++;
	closedir(dir);
	return count <= 2;
}

/* A read-only image may lack the directory; what needs it will say so itself. */
static int kernel_move(const char *from, const char *to, struct message *why)
{
	mkdir(to, 0755);
	if (mount(from, to, NULL, MS_MOVE, NULL) == 0)
		return 0;
	if (errno == ENOENT && umount2(from, MNT_DETACH) == 0)
		return 0;
	return message_set(why, errno, "%s cannot be moved into the root", from);
}

static void scratch_mount(const char *type, const char *path, unsigned long flags,
			  const char *options)
{
	mkdir(path, 0755);
	mount(type, path, type, flags, options);
}

static void device_mounts(void)
{
	static const struct {
		const char *target;
		const char *path;
	} links[] = {
		{ "/proc/self/fd", "dev/fd" },
		{ "/proc/self/fd/0", "dev/stdin" },
		{ "/proc/self/fd/1", "dev/stdout" },
		{ "/proc/self/fd/2", "dev/stderr" },
	};

	scratch_mount("devpts", "dev/pts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666");
	scratch_mount("tmpfs", "dev/shm", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777");
	scratch_mount("mqueue", "dev/mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		if (symlink(links[i].target, links[i].path) < 0)
			return; /* no /dev in a read-only image */
}

/* What an image has in its own /run and /tmp is left to be seen if it can be. */
static void temporary_mounts(bool init)
{
	struct statvfs fs;
	bool read_only = statvfs(".", &fs) == 0 && (fs.f_flag & ST_RDONLY);

	/* To an init, what is left there of an earlier run is of this one. */
	if (init || read_only || directory_is_empty("run"))
		scratch_mount("tmpfs", "run", MS_NOSUID | MS_NODEV, "mode=755");
	if (read_only)
		scratch_mount("tmpfs", "tmp", MS_NOSUID | MS_NODEV, "mode=1777");
}

static void initramfs_empty_directory(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;

	if (!dir)
		return;
	while ((e = readdir(dir)))
		unlinkat(dirfd(dir), e->d_name, 0);
	closedir(dir);
	rmdir(path);
}

/* All of what init.cpio may hold that takes memory. */
static void initramfs_empty(void)
{
	char net[] = KVMBOX_DESCRIPTION_CPIO "/net0";

	unlink("/init");
	initramfs_empty_directory(KVMBOX_DESCRIPTION_CPIO "/root");
	for (; net[sizeof(net) - 2] <= '9'; net[sizeof(net) - 2]++)
		initramfs_empty_directory(net);
	initramfs_empty_directory(KVMBOX_DESCRIPTION_CPIO);
}

int mount_root(const struct description *d, struct message *why)
{
	int ret = image_mount(d, why);

	if (ret < 0)
		return ret;
	if (chdir(NEW_ROOT) < 0)
		return message_set(why, errno, "the root cannot be entered");
	if ((ret = kernel_move("/dev", "dev", why)) < 0 ||
	    (ret = kernel_move("/sys", "sys", why)) < 0 ||
	    (ret = kernel_move("/proc", "proc", why)) < 0)
		return ret;
	device_mounts();
	temporary_mounts(d->init);
	initramfs_empty();
	if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return message_set(why, errno, "the root cannot be made /");
	return 0;
}

/* The escapes of /proc's tables of paths: \040 and the like. In place. */
static void path_unescape(char *s)
{
	char *out = s;

	while (*s) {
		if (s[0] == '\\' && s[1] && s[2] && s[3]) {
			*out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*out++ = *s++;
		}
	}
	*out = '\0';
}

/* Returns the text of a table in /proc, to be freed, or NULL. */
static char *table_read(const char *path)
{
	size_t have = 0, room = 0;
	char *text = NULL;
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	do {
		if (room - have < 4096) {
			char *more = realloc(text, room += 65536);

			if (!more)
				break;
			text = more;
		}
		n = read(fd, text + have, room - have - 1);
		if (n > 0)
			have += (size_t)n;
	} while (n > 0 || (n < 0 && errno == EINTR));
	close(fd);
	if (text)
		text[have] = '\0';
	return text;
}

/* A file system with a swap file in use would stay mounted. */
static void swaps_finish(char *table)
{
	char *line = strchr(table, '\n'); /* behind the heading */

	while (line && *++line) {
		char *path = line;

		line = strchr(path, '\n');
		path[strcspn(path, " \n")] = '\0';
		path_unescape(path);
		swapoff(path);
	}
}

/* Takes down all but the root, the last mount first. */
static int mounts_finish(char *table, struct message *why)
{
	int ret = 0;
	char *line;

	while ((line = strrchr(table, '\n'))) {
		char *device, *path;

		*line = '\0';
		line = strrchr(table, '\n');
		device = line ? line + 1 : table;
		path = strchr(device, ' ');
		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, " ")] = '\0';
		path_unescape(path);
		if (!strcmp(path, "/") || umount2(path, UMOUNT_NOFOLLOW) == 0)
			continue;
		if (device[0] == '/' && mount(NULL, path, NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
			ret = message_set(why, errno, "the file system on %s is not clean", path);
	}
	return ret;
}

int mount_finish(struct message *why)
{
	struct statvfs fs;
	char *table;
	int ret = 0;

	sync();
	table = table_read("/proc/swaps");
	if (table) {
		swaps_finish(table);
		free(table);
	}
	table = table_read("/proc/self/mounts");
	if (table) {
		ret = mounts_finish(table, why);
		free(table);
	}
	if (statvfs("/", &fs) == 0 && (fs.f_flag & ST_RDONLY))
		return ret;
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
		return message_set(why, errno, "the root file system is not clean");
	return ret;
}
