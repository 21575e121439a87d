// SPDX-License-Identifier: Apache-2.0
#include "supervisor/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

static void older_name(const struct logfile *log, char *name, size_t size)
{
	snprintf(name, size, "%s.1", log->name);
}

static int create(const struct logfile *log)
{
	return openat(log->dir_fd, log->name, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC,
		      0600);
}

int logfile_open(struct logfile *log, int dir_fd, const char *name)
{
	*log = (struct logfile){ .dir_fd = dir_fd, .name = name };
	log->fd = create(log);
	return log->fd < 0 ? -errno : 0;
}

void logfile_close(struct logfile *log)
{
	if (log->fd >= 0)
		close(log->fd);
	log->fd = -1;
}

static void rotate(struct logfile *log)
{
	char older[64];

	older_name(log, older, sizeof(older));
	renameat(log->dir_fd, log->name, log->dir_fd, older);
	int fd = create(log);

	if (fd >= 0) {
		close(log->fd);
		log->fd = fd;
	} else if (ftruncate(log->fd, 0)) {
		/* Neither a new file nor this one again (for want of descriptors, say). */
		logfile_close(log);
	}
	log->size = 0;
}

void logfile_write(struct logfile *log, const void *data, size_t len)
{
	const char *next = data;

	while (len && log->fd >= 0) {
		if (log->size >= LOGFILE_BYTES) {
			rotate(log);
			continue;
		}
		size_t room = LOGFILE_BYTES - log->size;
		ssize_t n = write(log->fd, next, len < room ? len : room);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		next += n;
		len -= (size_t)n;
		log->size += (size_t)n;
	}
}

static size_t read_file(int dir_fd, const char *name, char *buf)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	size_t len = 0;

	while (fd >= 0 && len < LOGFILE_BYTES) {
		ssize_t n = read(fd, buf + len, LOGFILE_BYTES - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	return len;
}

char *logfile_read(const struct logfile *log, size_t *len)
{
	char *buf = malloc(2 * LOGFILE_BYTES);
	char older[64];

	if (!buf)
		return NULL;
	older_name(log, older, sizeof(older));
	*len = read_file(log->dir_fd, older, buf);
	*len += read_file(log->dir_fd, log->name, buf + *len);
	return buf;
}

size_t logfile_tail(const char *text, size_t len, unsigned long lines)
{
	size_t at = len;

	if (!lines)
		return len;
	while (at) {
		if (text[at - 1] == '\n' && at != len && !--lines)
			break;
		at--;
	}
	return at;
}
