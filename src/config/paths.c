// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/words.h"

enum kinds {
	KIND_FILE = 1,
	KIND_DISK = 2, /* block device */
	KIND_DIRECTORY = 4,
};

static const char *kind_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "a regular file";
	case S_IFBLK:
		return "a block device";
	case S_IFDIR:
		return "a directory";
	case S_IFCHR:
		return "a character device";
	case S_IFIFO:
		return "a fifo";
	case S_IFSOCK:
		return "a socket";
	default:
		return "a special file";
	}
}

static bool kind_allowed(mode_t mode, unsigned int kinds)
{
	return (S_ISREG(mode) && (kinds & KIND_FILE)) || (S_ISBLK(mode) && (kinds & KIND_DISK)) ||
	       (S_ISDIR(mode) && (kinds & KIND_DIRECTORY));
}

static const char *kinds_wanted(unsigned int kinds)
{
	if (kinds & KIND_DIRECTORY)
		return "a directory, an image file or a block device";
	if (kinds & KIND_DISK)
		return "a regular file or a block device";
	return "a regular file";
}

/* Check that @path is one of @kinds and may be used in the ways of access(2)'s @mode. */
static int check_path(const char *what, const char *path, unsigned int kinds, int mode,
		      struct error *err)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		int error = errno;

		return error_set(err, error, "cannot use %s as the %s: %s", word_show(path).text,
				 what, strerror(error));
	}
	if (!kind_allowed(st.st_mode, kinds))
		return error_set(err, EINVAL, "cannot use %s as the %s: it is %s, and must be %s",
				 word_show(path).text, what, kind_name(st.st_mode),
				 kinds_wanted(kinds));
	if (faccessat(AT_FDCWD, path, mode, AT_EACCESS) < 0) {
		int error = errno;

		return error_set(err, error, "cannot %s %s, the %s: %s%s",
				 mode & W_OK ? "write to" : "read", word_show(path).text, what,
				 strerror(error),
				 strcmp(what, "disk") == 0 && (mode & W_OK)
					 ? " (add ,ro if it need not be written)"
					 : "");
	}
	return 0;
}

static bool same_storage(const struct stat *a, const struct stat *b)
{
	if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
		return a->st_rdev == b->st_rdev;
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* A file system that is mounted twice and written by one of the two is soon destroyed. */
static int check_shared(const char *a, bool a_writes, const char *b, bool b_writes,
			struct error *err)
{
	struct stat sa, sb;

	if (!a_writes && !b_writes)
		return 0;
	if (stat(a, &sa) < 0 || stat(b, &sb) < 0 || !same_storage(&sa, &sb))
		return 0;
	return error_set(err, EINVAL,
			 "%s is given as two disks of which one may write: the guest would destroy "
			 "what is on it; give it once, or read-only both times",
			 word_show(a).text);
}

static int check_disks(const struct boot_config *cfg, struct error *err)
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < cfg->ndisks; i++) {
		const struct disk_config *disk = &cfg->disks[i];

		ret = check_path(disk->root ? "root drive" : "disk", disk->path,
				 KIND_FILE | KIND_DISK, disk->read_only ? R_OK : R_OK | W_OK, err);
		/* Whether a root image is written depends on what is in it: suppose it is. */
		if (ret == 0 && cfg->rootfs)
			ret = check_shared(disk->path, !disk->read_only, cfg->rootfs, true, err);
		for (size_t j = 0; ret == 0 && j < i; j++)
			ret = check_shared(disk->path, !disk->read_only, cfg->disks[j].path,
					   !cfg->disks[j].read_only, err);
	}
	return ret;
}

int config_check_paths(const struct boot_config *cfg, struct error *err)
{
	int ret = 0;

	if (cfg->kernel)
		ret = check_path("kernel", cfg->kernel, KIND_FILE, R_OK, err);
	if (ret == 0 && cfg->initrd)
		ret = check_path("initrd", cfg->initrd, KIND_FILE, R_OK, err);
	if (ret == 0 && cfg->rootfs)
		ret = check_path("root file system", cfg->rootfs,
				 KIND_FILE | KIND_DISK | KIND_DIRECTORY, R_OK, err);
	return ret == 0 ? check_disks(cfg, err) : ret;
}
