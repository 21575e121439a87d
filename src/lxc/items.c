// SPDX-License-Identifier: Apache-2.0
#include "lxc/items.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/read.h"
#include "base/text.h"
#include "config/set.h"
#include "config/words.h"

#define BLANKS  " \t\r\v\f"
#define INCLUDE "lxc.include"

/* ---- the host's files ---- */

/* Only regular files: reading a fifo or a device might never end. */
static int open_regular(const char *path, int *out)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	*out = steal_fd(&fd);
	return 0;
}

static int host_read(void *opaque, const char *path, char **text, size_t *len)
{
	AUTO_CLOSE int fd = -1;
	AUTO_FREE char *buf = NULL;
	size_t used;
	int ret = open_regular(path, &fd);

	(void)opaque;
	if (ret == 0)
		ret = read_whole(fd, LXC_FILE_MAX + 1, &buf, &used);
	if (ret < 0)
		return ret;
	if (used > LXC_FILE_MAX)
		return -EFBIG;
	*text = steal_ptr(buf);
	*len = used;
	return 0;
}

static int is_conf(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return len > 5 && strcmp(entry->d_name + len - 5, ".conf") == 0;
}

static int host_list(void *opaque, const char *path, char ***names)
{
	struct dirent **entries = NULL;
	int n = scandir(path, &entries, is_conf, alphasort);
	char **list;

	(void)opaque;
	if (n < 0)
		return -errno;
	list = calloc((size_t)n + 1, sizeof(*list));
	for (int i = 0; i < n; i++) {
		if (list && (i == 0 || list[i - 1]))
			list[i] = strdup(entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	if (!list || (n > 0 && !list[n - 1])) {
		strings_free(list);
		return -ENOMEM;
	}
	*names = list;
	return 0;
}

const struct lxc_files lxc_host_files = { .read = host_read, .list = host_list };

/* ---- lines ---- */

static char *trim(char *s)
{
	size_t len;

	s += strspn(s, BLANKS);
	len = strlen(s);
	while (len > 0 && strchr(BLANKS, s[len - 1]))
		len--;
	s[len] = '\0';
	return s;
}

char *lxc_next_line(char **rest, const char *end)
{
	char *line = *rest;
	char *newline;

	if (line >= end)
		return NULL;
	newline = memchr(line, '\n', (size_t)(end - line));
	if (newline) {
		*newline = '\0';
		*rest = newline + 1;
	} else {
		*rest = line + (end - line);
	}
	return trim(line);
}

bool lxc_is_text(const char *s)
{
	const uint8_t *c = (const uint8_t *)s;

	for (size_t left = strlen(s), len; left; c += len, left -= len) {
		len = text_utf8(c, left);
		if (len == 0 || (*c < 0x20 && *c != '\t') || *c == 0x7f)
			return false;
	}
	return true;
}

/* ---- files and what they include ---- */

/* A file that is being read, and the one that includes it. */
struct reading {
	const struct reading *up;
	const char *path;
	unsigned int line;
	unsigned int depth;
};

struct reader {
	struct lxc_items *items;
	const struct lxc_files *files;
	struct error *err;
};

static int read_file(struct reader *r, const struct reading *up, const char *path);

static int no_memory(struct reader *r)
{
	return error_set(r->err, ENOMEM, "out of memory while reading the container's config");
}

__attribute__((format(printf, 3, 4))) static int refuse(struct reader *r, const struct reading *at,
							const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return error_set(r->err, EINVAL, "%s:%u: %s", word_show(at->path).text, at->line, text);
}

static int cannot_read(struct reader *r, const struct reading *up, const char *path, int error)
{
	const char *why = error == EINVAL  ? "it is no regular file"
			  : error == EFBIG ? "it has more than 256 KiB, as no config should"
					   : strerror(error);

	if (up)
		return error_set(r->err, error, "%s:%u: " INCLUDE ": cannot read %s: %s",
				 word_show(up->path).text, up->line, word_show(path).text, why);
	return error_set(r->err, error, "cannot read %s: %s", word_show(path).text, why);
}

static int include_directory(struct reader *r, const struct reading *at, const char *path)
{
	char **names = NULL;
	int ret = r->files->list(r->files->opaque, path, &names);
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		len--;

	/* LXC does without a directory that is not there, though not without a file. */
	if (ret == -ENOENT)
		return 0;
	if (ret < 0)
		return cannot_read(r, at, path, -ret);
	for (size_t i = 0; ret == 0 && names[i]; i++) {
		AUTO_FREE char *file = NULL;

		if (asprintf(&file, "%.*s/%s", (int)len, path, names[i]) < 0) {
			file = NULL;
			ret = no_memory(r);
		} else {
			ret = read_file(r, at, file);
		}
	}
	strings_free(names);
	return ret;
}

static int include(struct reader *r, const struct reading *at, const char *path)
{
	if (path[0] != '/')
		return refuse(r, at,
			      INCLUDE ": \"%s\" is not an absolute path, so that what it means "
				      "depends on where LXC is started",
			      word_show(path).text);
	if (path[strlen(path) - 1] == '/')
		return include_directory(r, at, path);
	return read_file(r, at, path);
}

static int add_item(struct reader *r, const struct reading *at, bool foreign, const char *key,
		    const char *value)
{
	struct lxc_items *items = r->items;
	struct lxc_item *item;

	if (items->n == LXC_ITEMS_MAX)
		return refuse(r, at, "the config has more than %d lines", LXC_ITEMS_MAX);
	if (items->n % 64 == 0) {
		item = reallocarray(items->items, items->n + 64, sizeof(*item));
		if (!item)
			return no_memory(r);
		items->items = item;
	}
	item = &items->items[items->n];
	*item = (struct lxc_item){
		.file = at->path,
		.order = items->n,
		.line = at->line,
		.foreign = foreign,
		.key = strdup(key),
		.value = strdup(value),
	};
	items->n++;
	return item->key && item->value ? 0 : no_memory(r);
}

/* Quotes around the whole are taken off, a lone one is part of the value. */
static char *unquote(char *value)
{
	size_t len = strlen(value);

	if ((*value != '"' && *value != '\'') || len < 2 || value[len - 1] != *value)
		return value;
	value[len - 1] = '\0';
	return value + 1;
}

static int read_line(struct reader *r, const struct reading *at, char *line)
{
	char *equals, *key, *value;
	bool foreign;

	if (!*line || *line == '#')
		return 0;
	if (!lxc_is_text(line))
		return refuse(r, at,
			      "the line holds a control character, or bytes that are not UTF-8, "
			      "which kvmbox's own config file cannot carry");
	foreign = strncmp(line, "lxc.", 4) != 0;
	equals = strchr(line, '=');
	if (!equals && !foreign)
		return refuse(r, at, "\"%s\" has no '=', a line must be KEY = VALUE",
			      word_show(line).text);
	if (!equals)
		return add_item(r, at, true, line, "");
	*equals = '\0';
	key = trim(line);
	value = unquote(trim(equals + 1));
	if (strcmp(key, INCLUDE) == 0)
		return *value ? include(r, at, value) : 0;
	return add_item(r, at, foreign, key, value);
}

static int read_text(struct reader *r, struct reading *at, char *text, size_t len)
{
	const char *end = text + len;
	char *line;
	int ret = 0;

	while (ret == 0 && (line = lxc_next_line(&text, end))) {
		at->line++;
		ret = read_line(r, at, line);
	}
	return ret;
}

/* Keep a name of the file for as long as there are items from it. */
static const char *keep_path(struct lxc_items *items, const char *path)
{
	char **grown = reallocarray(items->files, items->nfiles + 1, sizeof(*grown));

	if (!grown)
		return NULL;
	items->files = grown;
	grown[items->nfiles] = strdup(path);
	return grown[items->nfiles] ? grown[items->nfiles++] : NULL;
}

static int check_nesting(struct reader *r, const struct reading *up, const char *path)
{
	for (const struct reading *at = up; at; at = at->up) {
		if (strcmp(at->path, path) == 0)
			return refuse(r, up,
				      INCLUDE ": %s is being read already: it includes itself",
				      word_show(path).text);
	}
	if (up && up->depth == LXC_DEPTH_MAX)
		return refuse(r, up, INCLUDE ": files include each other more than %d deep",
			      LXC_DEPTH_MAX);
	if (up && r->items->nfiles == LXC_FILES_MAX)
		return refuse(r, up, INCLUDE ": more than %d files are included", LXC_FILES_MAX);
	return 0;
}

/* Recursion ends at LXC_DEPTH_MAX. */
static int read_file(struct reader *r, const struct reading *up, const char *path)
{
	AUTO_FREE char *text = NULL;
	struct reading here = { .up = up, .depth = up ? up->depth + 1 : 1 };
	size_t len = 0;
	int ret = check_nesting(r, up, path);

	if (ret < 0)
		return ret;
	ret = r->files->read(r->files->opaque, path, &text, &len);
	if (ret == -EISDIR && up)
		return include_directory(r, up, path);
	if (ret < 0)
		return cannot_read(r, up, path, -ret);
	here.path = keep_path(r->items, path);
	if (!here.path)
		return no_memory(r);
	if (memchr(text, '\0', len))
		return error_set(r->err, EINVAL, "%s: a NUL byte is in it, so this is no config",
				 word_show(path).text);
	return read_text(r, &here, text, len);
}

int lxc_items_read(struct lxc_items *items, const struct lxc_files *files, const char *path,
		   struct error *err)
{
	struct reader r = { .items = items, .files = files, .err = err };
	int ret;

	*items = (struct lxc_items){ 0 };
	ret = read_file(&r, NULL, path);
	if (ret < 0)
		lxc_items_deinit(items);
	return ret;
}

void lxc_items_deinit(struct lxc_items *items)
{
	for (size_t i = 0; i < items->n; i++) {
		free(items->items[i].key);
		free(items->items[i].value);
	}
	for (size_t i = 0; i < items->nfiles; i++)
		free(items->files[i]);
	free(items->items);
	free(items->files);
	*items = (struct lxc_items){ 0 };
}
