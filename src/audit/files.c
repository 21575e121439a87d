// SPDX-License-Identifier: Apache-2.0
#include "audit/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/read.h"
#include "base/text.h"

struct files_path files_path(const char *fmt, ...)
{
	struct files_path path;
	va_list ap;

	va_start(ap, fmt);
	int len = vsnprintf(path.text, sizeof(path.text), fmt, ap);
	va_end(ap);
	if (len < 0 || (size_t)len >= sizeof(path.text))
		path.text[0] = '\0';
	return path;
}

int files_open(int root, const char *path, int flags)
{
	int fd = openat(root, path + strspn(path, "/"), flags | O_CLOEXEC | O_NOCTTY);

	return fd < 0 ? -errno : fd;
}

int files_dir(int root, const char *path, DIR **dir)
{
	AUTO_CLOSE int fd = files_open(root, path, O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		return fd;
	*dir = fdopendir(fd);
	if (!*dir)
		return -errno;
	steal_fd(&fd);
	return 0;
}

int files_read(int root, const char *path, size_t max, char **out)
{
	AUTO_CLOSE int fd = files_open(root, path, O_RDONLY | O_NONBLOCK);
	size_t len;

	return fd < 0 ? fd : read_whole(fd, max, out, &len);
}

int files_line(int root, const char *path, char *line, size_t size)
{
	AUTO_FREE char *text = NULL;
	int ret = files_read(root, path, 4096, &text);

	if (ret == 0)
		text_keep(line, size, text, strcspn(text, "\n"));
	return ret;
}

int files_link(int root, const char *path, char *target, size_t size)
{
	char raw[PATH_MAX];
	ssize_t len = readlinkat(root, path + strspn(path, "/"), raw, sizeof(raw));

	if (len < 0)
		return -errno;
	text_keep(target, size, raw, (size_t)len);
	return 0;
}

const char *files_value(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, len) == 0)
			return line + len + strspn(line + len, " \t");
	}
	return NULL;
}

int64_t files_number(const char *text, const char *key, int base, int64_t otherwise)
{
	const char *value = files_value(text, key);
	char *end;

	if (!value)
		return otherwise;
	int64_t number = (int64_t)strtoull(value, &end, base);

	return end == value ? otherwise : number;
}

char *files_next_line(char **at)
{
	char *line = *at;

	if (!line || !*line)
		return NULL;
	char *end = line + strcspn(line, "\n");

	*at = *end ? end + 1 : end;
	*end = '\0';
	return line;
}
