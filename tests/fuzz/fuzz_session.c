// SPDX-License-Identifier: Apache-2.0
/*
 * The guest's side of a session, and the receiver of files that both sides have. The first byte
 * says which: the payload of EXEC (nothing is run), that of FORWARD, or the frames of a tree into
 * a directory. What must hold: strings lie in the payload, and nothing beside the directory that
 * the tree goes to is touched, whatever its names and links say.
 */
#include "common/copy.h"
#include "init/exec.h"
#include "init/forward.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char base[] = "/tmp/kvmbox-fuzz-XXXXXX";
static int base_fd;

static int entry_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	if (ftw->level > 0 && remove(path))
		abort();
	return 0;
}

/* A mode that was received may keep others than root out. */
static int entry_open(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)ftw;
	if ((type == FTW_D || type == FTW_DNR) && chmod(path, st->st_mode | 0700))
		abort();
	return 0;
}

static void base_empty(void)
{
	if (nftw(base, entry_open, 16, FTW_PHYS) ||
	    nftw(base, entry_remove, 16, FTW_PHYS | FTW_DEPTH))
		abort();
}

static void base_end(void)
{
	base_empty();
	rmdir(base);
}

static void base_begin(void)
{
	if (!mkdtemp(base) || atexit(base_end))
		abort();
	base_fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (base_fd < 0)
		abort();
}

static void fuzz_exec(const uint8_t *data, size_t size)
{
	char *payload = malloc(size ? size : 1);
	struct exec_request r;

	if (!payload)
		abort();
	memcpy(payload, data, size);
	if (exec_request_init(&r, payload, size) == 0) {
		char *end = payload + size;

		if (!r.argv[0])
			abort();
		for (char **s = r.argv; *s; s++)
			if (*s < payload || *s + strlen(*s) >= end)
				abort();
		for (char **s = r.env; *s; s++)
			if (*s < payload || *s + strlen(*s) >= end || !strchr(*s, '='))
				abort();
		if (r.cwd && r.cwd + strlen(r.cwd) >= end)
			abort();
		exec_request_deinit(&r);
	}
	free(payload);
}

static void fuzz_forward(const uint8_t *data, size_t size)
{
	struct sockaddr_storage addr;
	int len = forward_parse(&addr, (const char *)data, size);

	if (len > (int)sizeof(addr) || (len <= 0 && len != -22))
		abort();
}

/* Its second name may have been replaced; nothing else may have happened to it. */
static void file_check(const char *path)
{
	struct stat st;

	if (fstatat(base_fd, path, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode) ||
	    st.st_size != 6 || (st.st_mode & 07777) != 0600)
		abort();
}

static void fuzz_copy(const uint8_t *data, size_t size)
{
	uint8_t how = size ? data[0] : 0;
	struct copy_error why = { 0 };
	char dest[64];
	int fds[2];
	int fd;
	int ret;

	if (size)
		data++, size--;
	if (mkdirat(base_fd, "to", 0700) || mkdirat(base_fd, "beside", 0700))
		abort();
	fd = openat(base_fd, "beside/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, "secret", 6) != 6)
		abort();
	close(fd);
	/* What is there already: a way out, by name and by link. */
	if (how & 4 && (symlinkat("../beside", base_fd, "to/a") ||
			linkat(base_fd, "beside/file", base_fd, "to/b", 0)))
		abort();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) ||
	    send(fds[1], data, size, MSG_NOSIGNAL) != (ssize_t)size || shutdown(fds[1], SHUT_WR))
		abort();
	snprintf(dest, sizeof(dest), "%s/%s", base, how & 1 ? "to/new" : "to");
	ret = copy_receive(fds[0], -1, dest, how & 2 ? "a" : NULL, 0, &why);
	if (ret < 0 && (!why.text[0] && !why.from_peer))
		abort();
	for (const char *c = why.text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			abort();
	close(fds[0]);
	close(fds[1]);
	file_check("beside/file");
	/* Nor is there another beside it. */
	if (unlinkat(base_fd, "beside/file", 0) || unlinkat(base_fd, "beside", AT_REMOVEDIR))
		abort();
	base_empty();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool begun;

	if (!begun)
		base_begin();
	begun = true;
	if (!size)
		return 0;
	switch (data[0] % 3) {
	case 0:
		fuzz_exec(data + 1, size - 1);
		break;
	case 1:
		fuzz_forward(data + 1, size - 1);
		break;
	case 2:
		fuzz_copy(data + 1, size - 1);
		break;
	}
	return 0;
}
