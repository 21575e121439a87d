// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>

/*
 * A log that never takes more than twice LOGFILE_BYTES on the disk: a file, and the one before it,
 * whose name ends in ".1".
 */
#define LOGFILE_BYTES (1u << 20)

struct logfile {
	int dir_fd; /* borrowed */
	const char *name;
	int fd;      /* -1: not open, and what is written is dropped */
	size_t size; /* bytes in it */
};

/* The log @name in the directory @dir_fd, empty; both are borrowed. Returns 0 or negative errno. */
int logfile_open(struct logfile *log, int dir_fd, const char *name);
void logfile_close(struct logfile *log);

/* What cannot be written (no space, ...) is lost: the guest's output must not stop for a log. */
void logfile_write(struct logfile *log, const void *data, size_t len);

/*
 * All that is in the log, older file first, at most 2 * LOGFILE_BYTES. Returns a buffer that the
 * caller frees, and its length in *@len; NULL: out of memory.
 */
char *logfile_read(const struct logfile *log, size_t *len);

/* The offset in @text where its last @lines lines begin; a last line without an end counts as one.
 */
size_t logfile_tail(const char *text, size_t len, unsigned long lines);
