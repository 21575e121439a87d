// SPDX-License-Identifier: Apache-2.0
#include "supervisor/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/dirs.h"
#include "base/log.h"

/* FNV-1a, 64 bit: it tells changes by accident apart, which is all that is asked of it here. */
static uint64_t hash(uint64_t h, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3ull;
	return h;
}

#define HASH_START 0xcbf29ce484222325ull

/* The state of a tree: what changes when any file, directory or attribute in it does. */
static int hash_tree(const char *dir, uint64_t *out)
{
	char *const roots[] = { (char *)(uintptr_t)dir, NULL };
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	uint64_t sum = 0;
	FTSENT *e;
	int ret = 0;

	if (!fts)
		return -errno;
	while ((e = fts_read(fts))) {
		if (e->fts_info == FTS_DP)
			continue;
		if (e->fts_info == FTS_ERR || e->fts_info == FTS_DNR || e->fts_info == FTS_NS) {
			ret = -e->fts_errno;
			break;
		}
		const struct stat *st = e->fts_statp;
		const uint64_t facts[] = {
			st->st_dev,
			st->st_ino,
			st->st_mode,
			st->st_uid,
			st->st_gid,
			(uint64_t)st->st_size,
			st->st_rdev,
			(uint64_t)st->st_mtim.tv_sec,
			(uint64_t)st->st_mtim.tv_nsec,
			(uint64_t)st->st_ctim.tv_sec,
			(uint64_t)st->st_ctim.tv_nsec,
		};
		uint64_t h = hash(HASH_START, e->fts_path, e->fts_pathlen);

		/* A sum, because the order in which a directory is read means nothing. */
		sum += hash(h, facts, sizeof(facts));
	}
	fts_close(fts);
	*out = sum;
	return ret;
}

static int cache_dir(char *path, size_t size, struct error *err)
{
	const char *own = getenv("KVMBOX_CACHE"), *xdg = getenv("XDG_CACHE_HOME"),
		   *home = getenv("HOME");
	int n;

	if (own && *own)
		n = snprintf(path, size, "%s/rootfs", own);
	else if (geteuid() == 0)
		n = snprintf(path, size, "/var/lib/kvmbox/cache/rootfs");
	else if (xdg && *xdg)
		n = snprintf(path, size, "%s/kvmbox/rootfs", xdg);
	else
		n = snprintf(path, size, "%s/.cache/kvmbox/rootfs", home ? home : "/tmp");
	if (n < 0 || (size_t)n >= size)
		return error_set(err, ENAMETOOLONG, "the cache directory's name is too long");
	int ret = dirs_make(path);
	return ret ? error_set(err, -ret, "cannot make the cache directory %s: %s", path,
			       strerror(-ret))
		   : 0;
}

/*
 * Wait for @pid, and say what takes so long once it has taken a second. Returns its status, as
 * wait() has it, or negative errno.
 */
static int wait_with_progress(pid_t pid, const char *dir)
{
	AUTO_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	int status;

	if (pidfd >= 0 && poll(&p, 1, 1000) == 0)
		log_line("packing %s into a root image (again only when it changes) ...", dir);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status;
}

static int run_mkfs(const char *dir, const char *image, struct error *err)
{
	AUTO_CLOSE int log = open("/dev/null", O_RDWR | O_CLOEXEC);
	pid_t pid = fork();

	if (pid < 0)
		return error_set(err, errno, "cannot start mkfs.erofs: %s", strerror(errno));
	if (!pid) {
		sigset_t none;

		/* Without us, nobody would rename what it makes, or remove it. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		dup2(log, STDIN_FILENO);
		dup2(log, STDOUT_FILENO);
		execlp("mkfs.erofs", "mkfs.erofs", "-d1", image, dir, NULL);
		_exit(127);
	}
	int status = wait_with_progress(pid, dir);
	if (status < 0)
		return error_set(err, -status, "mkfs.erofs is lost: %s", strerror(-status));
	if (WIFSIGNALED(status))
		return error_set(err, EINTR,
				 "mkfs.erofs was killed by signal %d while it packed %s",
				 WTERMSIG(status), dir);
	if (WEXITSTATUS(status) == 127)
		return error_set(err, ENOENT,
				 "mkfs.erofs is missing, which packs a directory into a root "
				 "image: install erofs-utils, or give --rootfs an image");
	if (status)
		return error_set(err, EIO,
				 "mkfs.erofs could not pack %s (its status is %d): see its message "
				 "above, and whether the disk of %s is full",
				 dir, WEXITSTATUS(status), image);
	return 0;
}

/*
 * Give the image @temp its name, once it is on the disk: under that name, it is whole or not there,
 * also when the host has crashed.
 */
static int keep_image(const char *temp, const char *path, struct error *err)
{
	AUTO_CLOSE int fd = open(temp, O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && !fsync(fd) && !rename(temp, path))
		return 0;
	int why = errno;

	/* Whoever packed the same at the same time may have dropped ours for stale. */
	return access(path, R_OK) ? error_set(err, why, "cannot keep the root image %s: %s", path,
					      strerror(why))
				  : 0;
}

/* Earlier images of the same directory. A VM that still runs on one keeps it open. */
static void drop_stale(const char *cache, const char *prefix, const char *keep)
{
	char *const roots[] = { (char *)(uintptr_t)cache, NULL };
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_NOSTAT, NULL);
	FTSENT *e;

	if (!fts)
		return;
	while ((e = fts_read(fts)))
		if (e->fts_level == 1 && !strncmp(e->fts_name, prefix, strlen(prefix)) &&
		    strcmp(e->fts_path, keep) && strstr(e->fts_name, ".erofs"))
			unlink(e->fts_path);
	fts_close(fts);
}

static int pack_directory(const char *source, struct rootfs *out, struct error *err)
{
	char dir[PATH_MAX], cache[PATH_MAX - 128], prefix[32], temp[PATH_MAX + 16];
	uint64_t state = 0;

	if (!realpath(source, dir))
		return error_set(err, errno, "--rootfs %s: %s", source, strerror(errno));
	int ret = cache_dir(cache, sizeof(cache), err);
	if (ret)
		return ret;
	ret = hash_tree(dir, &state);
	if (ret)
		return error_set(err, -ret, "cannot read all of --rootfs %s: %s", dir,
				 strerror(-ret));
	snprintf(prefix, sizeof(prefix), "%016llx-",
		 (unsigned long long)hash(HASH_START, dir, strlen(dir)));
	snprintf(out->path, sizeof(out->path), "%s/%s%016llx.erofs", cache, prefix,
		 (unsigned long long)state);
	out->fstype = "erofs";
	out->read_only = true;
	if (!access(out->path, R_OK))
		return 0;

	snprintf(temp, sizeof(temp), "%s.%d", out->path, getpid());
	ret = run_mkfs(dir, temp, err);
	if (!ret)
		ret = keep_image(temp, out->path, err);
	if (ret) {
		unlink(temp);
		return ret;
	}
	drop_stale(cache, prefix, out->path);
	return 0;
}

/* Superblock magics: ext4 layout, "Super Block"; erofs and squashfs, Documentation/filesystems. */
static const struct {
	const char *fstype;
	bool read_only;
	off_t offset;
	size_t len;
	uint8_t magic[4];
} formats[] = {
	{ "ext4", false, 1080, 2, { 0x53, 0xef } },
	{ "erofs", true, 1024, 4, { 0xe2, 0xe1, 0xf5, 0xe0 } },
	{ "squashfs", true, 0, 4, { 'h', 's', 'q', 's' } },
};

static int probe_image(const char *source, struct rootfs *out, struct error *err)
{
	AUTO_CLOSE int fd = open(source, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return error_set(err, errno, "cannot open --rootfs %s: %s", source,
				 strerror(errno));
	if (strlen(source) >= sizeof(out->path))
		return error_set(err, ENAMETOOLONG, "--rootfs %s: the name is too long", source);
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		uint8_t buf[4];

		if (pread(fd, buf, formats[i].len, formats[i].offset) != (ssize_t)formats[i].len ||
		    memcmp(buf, formats[i].magic, formats[i].len))
			continue;
		strcpy(out->path, source);
		out->fstype = formats[i].fstype;
		out->read_only = formats[i].read_only;
		return 0;
	}
	return error_set(err, EINVAL,
			 "--rootfs %s holds no file system that a guest can boot from: it takes a "
			 "directory, or an ext4, erofs or squashfs image",
			 source);
}

int rootfs_prepare(const char *source, struct rootfs *out, struct error *err)
{
	struct stat st;

	if (stat(source, &st))
		return error_set(err, errno, "--rootfs %s: %s", source, strerror(errno));
	return S_ISDIR(st.st_mode) ? pack_directory(source, out, err)
				   : probe_image(source, out, err);
}
