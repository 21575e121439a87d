// SPDX-License-Identifier: Apache-2.0
/*
 * The config of an LXC container: the reader of lines and includes, and what is made of them. The
 * input is all the files there are, each ending in a NUL: the config first, the others called /1,
 * /2 and so on, and /d the directory of them all.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/write.h"
#include "lxc/import.h"

#define FILES_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const char *files[FILES_MAX];
	size_t lens[FILES_MAX];
	size_t n;
};

static void split(struct input *in, const uint8_t *data, size_t size)
{
	const char *rest = (const char *)data;

	while (in->n < FILES_MAX - 1 && size > 0) {
		const char *nul = memchr(rest, '\0', size);

		in->files[in->n] = rest;
		in->lens[in->n++] = nul ? (size_t)(nul - rest) : size;
		if (!nul)
			return;
		size -= (size_t)(nul - rest) + 1;
		rest = nul + 1;
	}
	/* The last may have NULs in it, as a file on a disk may. */
	in->files[in->n] = rest;
	in->lens[in->n++] = size;
}

static int read_input(void *opaque, const char *path, char **text, size_t *len)
{
	const struct input *in = opaque;
	size_t i = strcmp(path, "/config") == 0            ? 0
		   : path[0] == '/' && path[1] && !path[2] ? (size_t)(path[1] - '0')
							   : FILES_MAX;

	if (strcmp(path, "/d") == 0)
		return -EISDIR;
	if (strncmp(path, "/d/", 3) == 0)
		i = 1;
	if (strcmp(path, "/sys/class/net/tap0/tun_flags") == 0)
		i = 2;
	if (i >= in->n)
		return -ENOENT;
	*text = malloc(in->lens[i] + 1);
	if (!*text)
		return -ENOMEM;
	if (in->lens[i])
		memcpy(*text, in->files[i], in->lens[i]);
	(*text)[in->lens[i]] = '\0';
	*len = in->lens[i];
	return 0;
}

static int list_input(void *opaque, const char *path, char ***names)
{
	(void)opaque;
	if (strncmp(path, "/d", 2) != 0)
		return -ENOENT;
	*names = calloc(2, sizeof(**names));
	if (*names)
		(*names)[0] = strdup("a.conf");
	return *names ? 0 : -ENOMEM;
}

/* A sentence that a terminal can be shown. */
static void check_sentence(const char *text)
{
	if (!*text || strpbrk(text, "\n\033"))
		abort();
}

static void check_report(const struct lxc_report *report)
{
	for (size_t i = 0; i < report->n; i++) {
		check_sentence(report->notes[i].text);
		if (!report->notes[i].count || (report->notes[i].file && !report->notes[i].line))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { .n = 0 };
	struct lxc_files files = { .read = read_input, .list = list_input, .opaque = &in };
	struct lxc_report report = { 0 };
	struct error err = { "" };
	struct lxc_items items;
	struct boot_config cfg;
	char *json = NULL;
	int ret;

	split(&in, data, size);
	ret = lxc_items_read(&items, &files, "/config", &err);
	if (ret < 0) {
		check_sentence(err.text);
		return 0;
	}
	config_init(&cfg);
	ret = lxc_import(&cfg, "web", &items, &files, size & 1, &report, &err);
	if (ret < 0)
		check_sentence(err.text);
	else if (config_to_checked_json(&cfg, "web.json", &json, &err) < 0)
		abort(); /* what is made of a config must always be one */
	check_report(&report);
	free(json);
	config_deinit(&cfg);
	lxc_report_deinit(&report);
	lxc_items_deinit(&items);
	return 0;
}
