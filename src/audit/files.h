// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Small files of the kernel's, below a directory that stands for the root. They may vanish between
 * any two looks at them, which is -ENOENT or -ESRCH.
 */

/* A path; one that is longer than Linux takes is "". */
struct files_path {
	char text[PATH_MAX];
};
struct files_path files_path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Each of these takes a path with or without the slash at its beginning. */
int files_open(int root, const char *path, int flags);

/* A directory, for the caller to close. Returns 0 or negative errno. */
int files_dir(int root, const char *path, DIR **dir);

/*
 * All of a file, NUL-terminated, for the caller to free; what is beyond @max bytes is left out.
 * Returns 0 or negative errno.
 */
int files_read(int root, const char *path, size_t max, char **text);

/* Its first line, made fit for a terminal. Returns 0 or negative errno. */
int files_line(int root, const char *path, char *line, size_t size);

/* Where a symbolic link leads to, made fit for a terminal. Returns 0 or negative errno. */
int files_link(int root, const char *path, char *target, size_t size);

/*
 * What stands behind @key at the beginning of a line of @text, white space left out, up to the
 * line's end; NULL if no line begins so.
 */
const char *files_value(const char *text, const char *key);

/* Likewise as a number; @otherwise if there is none. */
int64_t files_number(const char *text, const char *key, int base, int64_t otherwise);

/* The next line of *@at, NUL-terminated in place; NULL at the end. */
char *files_next_line(char **at);
