// SPDX-License-Identifier: Apache-2.0
#include "supervisor/rootfs.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char base[64], tree[96], cache[96];
static struct rootfs out;
static struct error err;

static void write_file(const char *path, const void *data, size_t len, off_t at)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	cr_assert_geq(fd, 0);
	cr_assert_eq(pwrite(fd, data, len, at), (ssize_t)len);
	close(fd);
}

static const char *in_tree(const char *name)
{
	static char paths[2][256];
	static unsigned int n;
	char *path = paths[n++ % 2]; /* good until the call after the next */

	snprintf(path, sizeof(paths[0]), "%s/%s", tree, name);
	return path;
}

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(base, sizeof(base), "%s/kvmbox-test-XXXXXX",
		 tmp && strlen(tmp) < 40 ? tmp : "/tmp");
	cr_assert_not_null(mkdtemp(base));
	snprintf(tree, sizeof(tree), "%s/tree", base);
	snprintf(cache, sizeof(cache), "%s/a/deep/cache", base);
	setenv("KVMBOX_CACHE", cache, 1);
	cr_assert_eq(mkdir(tree, 0755), 0);
	cr_assert_eq(mkdir(in_tree("etc"), 0755), 0);
	write_file(in_tree("etc/hostname"), "box\n", 4, 0);
	cr_assert_eq(symlink("/nowhere", in_tree("dangling")), 0);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void teardown(void)
{
	nftw(base, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(rootfs, .init = setup, .fini = teardown, .timeout = 120);

static void need_mkfs(void)
{
	if (system("command -v mkfs.erofs >/dev/null"))
		cr_skip_test("mkfs.erofs is not installed (erofs-utils)");
}

static ino_t inode(const char *path)
{
	struct stat st;

	cr_assert_eq(stat(path, &st), 0, "%s", path);
	return st.st_ino;
}

static unsigned int count_images(void)
{
	char cmd[256];

	snprintf(cmd, sizeof(cmd), "ls %s/rootfs | wc -l", cache);
	FILE *p = popen(cmd, "r");
	unsigned int n = 0;

	cr_assert_not_null(p);
	cr_assert_eq(fscanf(p, "%u", &n), 1);
	pclose(p);
	return n;
}

Test(rootfs, directory)
{
	struct rootfs second;

	need_mkfs();
	cr_assert_eq(rootfs_prepare(tree, &out, &err), 0, "%s", err.text);
	cr_assert_str_eq(out.fstype, "erofs");
	cr_assert(out.read_only);
	cr_assert_eq(strncmp(out.path, cache, strlen(cache)), 0);
	ino_t first = inode(out.path);

	/* Unchanged: the same image, not another of the same name. */
	cr_assert_eq(rootfs_prepare(tree, &second, &err), 0);
	cr_assert_str_eq(second.path, out.path);
	cr_assert_eq(inode(second.path), first);
	/* And it is one that can be recognised. */
	struct rootfs as_image;

	cr_assert_eq(rootfs_prepare(out.path, &as_image, &err), 0);
	cr_assert_str_eq(as_image.fstype, "erofs");
}

/* Whatever changes in it makes another image, and the one before goes. */
Test(rootfs, changes)
{
	struct rootfs before;

	need_mkfs();
	cr_assert_eq(rootfs_prepare(tree, &out, &err), 0, "%s", err.text);
	for (int i = 0; i < 6; i++) {
		before = out;
		switch (i) {
		case 0:
			write_file(in_tree("etc/hostname"), "cox\n", 4, 0);
			break;
		case 1:
			write_file(in_tree("etc/new"), "", 0, 0);
			break;
		case 2:
			chmod(in_tree("etc"), 0700);
			break;
		case 3:
			cr_assert_eq(rename(in_tree("etc/new"), in_tree("etc/newer")), 0);
			break;
		case 4:
			unlink(in_tree("etc/newer"));
			break;
		case 5:
			unlink(in_tree("dangling"));
			cr_assert_eq(symlink("/elsewhere", in_tree("dangling")), 0);
			break;
		}
		cr_assert_eq(rootfs_prepare(tree, &out, &err), 0, "%s", err.text);
		cr_assert_str_neq(before.path, out.path, "change %d", i);
		cr_assert_eq(access(before.path, F_OK), -1);
		cr_assert_eq(count_images(), 1);
	}
}

/* Images of other directories stay. */
Test(rootfs, several_directories)
{
	struct rootfs other;
	char path[128];

	need_mkfs();
	snprintf(path, sizeof(path), "%s/other", base);
	cr_assert_eq(mkdir(path, 0755), 0);
	cr_assert_eq(rootfs_prepare(path, &other, &err), 0);
	cr_assert_eq(rootfs_prepare(tree, &out, &err), 0);
	write_file(in_tree("x"), "x", 1, 0);
	cr_assert_eq(rootfs_prepare(tree, &out, &err), 0);
	cr_assert_eq(access(other.path, R_OK), 0);
	cr_assert_eq(count_images(), 2);
}

/* Many VMs are started of one directory at once. */
Test(rootfs, at_once)
{
	enum { N = 8 };
	pid_t pid[N];

	need_mkfs();
	for (int round = 0; round < 3; round++) {
		write_file(in_tree("round"), &round, sizeof(round), round * 10);
		for (int i = 0; i < N; i++) {
			pid[i] = fork();
			cr_assert_geq(pid[i], 0);
			if (!pid[i]) {
				int ret = rootfs_prepare(tree, &out, &err);

				if (ret || access(out.path, R_OK))
					fprintf(stderr, "%s\n", ret ? err.text : out.path);
				_exit(ret || access(out.path, R_OK));
			}
		}
		for (int i = 0; i < N; i++) {
			int status;

			cr_assert_eq(waitpid(pid[i], &status, 0), pid[i]);
			cr_assert_eq(status, 0, "round %d", round);
		}
		cr_assert_eq(count_images(), 1);
	}
}

Test(rootfs, images)
{
	static const struct {
		const char *fstype;
		off_t at;
		const char *magic;
		size_t len;
		bool read_only;
	} cases[] = {
		{ "ext4", 1080, "\x53\xef", 2, false },
		{ "erofs", 1024, "\xe2\xe1\xf5\xe0", 4, true },
		{ "squashfs", 0, "hsqs", 4, true },
	};
	char path[128];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(path, sizeof(path), "%s/image%zu", base, i);
		write_file(path, "", 1, 65535);
		cr_assert_eq(rootfs_prepare(path, &out, &err), -EINVAL);
		write_file(path, cases[i].magic, cases[i].len, cases[i].at);
		cr_assert_eq(rootfs_prepare(path, &out, &err), 0, "%s", err.text);
		cr_assert_str_eq(out.fstype, cases[i].fstype);
		cr_assert_str_eq(out.path, path);
		cr_assert_eq(out.read_only, cases[i].read_only);
	}
}

Test(rootfs, no_images)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/thing", base);
	cr_assert_eq(rootfs_prepare(path, &out, &err), -ENOENT);
	cr_assert_not_null(strstr(err.text, path));
	write_file(path, "", 0, 0);
	cr_assert_eq(rootfs_prepare(path, &out, &err), -EINVAL, "empty");
	cr_assert_not_null(strstr(err.text, "ext4, erofs or squashfs"));
	write_file(path, "QFI\xfb\0\0\0\3", 8, 0);
	cr_assert_eq(rootfs_prepare(path, &out, &err), -EINVAL, "qcow2");
	unlink(path);
	cr_assert_eq(mkfifo(path, 0600), 0);
	cr_assert_eq(rootfs_prepare(path, &out, &err), -EINVAL, "a fifo, without waiting for it");
	cr_assert_eq(rootfs_prepare("/dev/null", &out, &err), -EINVAL);
}

Test(rootfs, no_mkfs)
{
	setenv("PATH", "/nonexistent", 1);
	cr_assert_eq(rootfs_prepare(tree, &out, &err), -ENOENT);
	cr_assert_not_null(strstr(err.text, "erofs-utils"));
	unsetenv("PATH");
}

/* Of an image, half is worse than nothing. */
Test(rootfs, mkfs_killed)
{
	static const char script[] = "#!/bin/sh\necho half >$2\nkill -9 $$\n";
	char path[128], command[256];

	snprintf(path, sizeof(path), "%s/bin", base);
	cr_assert_eq(mkdir(path, 0755), 0);
	strcat(path, "/mkfs.erofs");
	write_file(path, script, sizeof(script) - 1, 0);
	cr_assert_eq(chmod(path, 0755), 0);
	snprintf(command, sizeof(command), "%s/bin:/usr/bin:/bin", base);
	setenv("PATH", command, 1);
	cr_assert_eq(rootfs_prepare(tree, &out, &err), -EINTR);
	cr_assert_not_null(strstr(err.text, "mkfs.erofs was killed by signal 9"), "%s", err.text);
	snprintf(command, sizeof(command), "test -z \"$(ls %s/rootfs)\"", cache);
	cr_assert_eq(system(command), 0, "something is left");
}

Test(rootfs, no_cache)
{
	setenv("KVMBOX_CACHE", "/dev/null/cache", 1);
	cr_assert_eq(rootfs_prepare(tree, &out, &err), -ENOTDIR);
	cr_assert_not_null(strstr(err.text, "/dev/null/cache"));
}
