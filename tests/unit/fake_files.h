// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lxc/items.h"

/* Files that a test has in memory, for what reads them through struct lxc_files. */

struct fake_file {
	const char *path; /* one that ends in '/' is a directory */
	const char *text; /* of a directory the one name in it, or NULL */
	size_t len;       /* 0: as long as the string */
};

struct fake_files {
	struct fake_file files[16];
};

static inline const struct fake_file *fake_find(const struct fake_files *files, const char *path)
{
	for (size_t i = 0; i < sizeof(files->files) / sizeof(files->files[0]); i++) {
		const char *own = files->files[i].path;
		size_t len = strlen(path);

		if (!own)
			return NULL;
		if (strcmp(own, path) == 0 ||
		    (strncmp(own, path, len) == 0 && strcmp(own + len, "/") == 0))
			return &files->files[i];
	}
	return NULL;
}

static inline int fake_read(void *opaque, const char *path, char **text, size_t *len)
{
	const struct fake_file *file = fake_find(opaque, path);

	if (!file)
		return -ENOENT;
	if (file->path[strlen(file->path) - 1] == '/')
		return -EISDIR;
	*len = file->len ? file->len : strlen(file->text);
	*text = malloc(*len + 1);
	memcpy(*text, file->text, *len);
	(*text)[*len] = '\0';
	return 0;
}

static inline int fake_list(void *opaque, const char *path, char ***names)
{
	const struct fake_file *file = fake_find(opaque, path);

	if (!file)
		return -ENOENT;
	*names = calloc(2, sizeof(**names));
	(*names)[0] = file->text ? strdup(file->text) : NULL;
	return 0;
}

static inline struct lxc_files fake_open(struct fake_files *files)
{
	return (struct lxc_files){ .read = fake_read, .list = fake_list, .opaque = files };
}
