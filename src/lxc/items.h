// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/*
 * The lines of an LXC container's config (lxc.container.conf(5)), those of the files that it
 * includes in their place. What each key means is nobody's business here.
 */

#define LXC_FILE_MAX  (256 * 1024) /* bytes of one file */
#define LXC_FILES_MAX 64           /* files read, a file that is included twice counting twice */
#define LXC_DEPTH_MAX 8            /* files that include each other */
#define LXC_ITEMS_MAX 4096         /* lines that are neither empty nor comments */

/* How files are read: from the host (lxc_host_files), or from elsewhere in a test. */
struct lxc_files {
	/*
	 * All of the file @path, allocated and NUL-terminated, and its length. Returns 0, -EISDIR
	 * for a directory, -EFBIG for more than LXC_FILE_MAX bytes, or another negative errno.
	 */
	int (*read)(void *opaque, const char *path, char **text, size_t *len);
	/*
	 * The names in the directory @path that end in ".conf", sorted, allocated and
	 * NULL-terminated. Returns 0 or negative errno.
	 */
	int (*list)(void *opaque, const char *path, char ***names);
	void *opaque;
};

extern const struct lxc_files lxc_host_files;

struct lxc_item {
	const char *file; /* of its struct lxc_items */
	size_t order;     /* its place among all of them */
	unsigned int line;
	bool foreign; /* does not begin with "lxc.": LXC passes over it, whatever it is */
	char *key;    /* what is before the '=', or all of a foreign line that has none */
	char *value;  /* without the quotes around it */
};

struct lxc_items {
	struct lxc_item *items;
	size_t n;
	char **files;
	size_t nfiles;
};

/*
 * Read the config @path and all that it includes. Returns 0, and the caller owes
 * lxc_items_deinit(); or negative errno with a sentence, and *@items is empty.
 */
int lxc_items_read(struct lxc_items *items, const struct lxc_files *files, const char *path,
		   struct error *err);

void lxc_items_deinit(struct lxc_items *items);

/*
 * Cut the next line off *@rest, the rest of a text that ends at *@end, in place and without blanks
 * around it. NULL at the end.
 */
char *lxc_next_line(char **rest, const char *end);

/* Whether @s is UTF-8 without control characters other than tabs, which is what JSON can carry. */
bool lxc_is_text(const char *s);
