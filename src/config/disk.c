// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "config/set.h"
#include "config/words.h"

char *next_piece(char **rest)
{
	char *piece = *rest;
	char *from = piece;
	char *to = piece;

	if (!piece)
		return NULL;
	*rest = NULL;
	while (*from) {
		if (*from == ',') {
			if (from[1] != ',') {
				*rest = from + 1;
				break;
			}
			from++;
		}
		*to++ = *from++;
	}
	*to = '\0';
	return piece;
}

static int parse_queues(struct disk_config *disk, const char *where, const char *value,
			struct error *err)
{
	int64_t queues;

	if (parse_integer(value, &queues) < 0)
		return error_set(err, EINVAL, "%s: \"%s\" is not a number of queues, 1 to %d",
				 where, word_show(value).text, CONFIG_QUEUES_MAX);
	return set_disk_queues(disk, where, queues, err);
}

static int unknown_option(const char *name, struct error *err)
{
	static const char *const known[] = { "ro", "serial", "direct", "queues" };
	struct word_match match = { 0 };

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		word_match_try(&match, name, known[i]);
	if (match.word)
		return error_set(err, EINVAL, "--disk: unknown option \"%s\"%s",
				 word_show(name).text, word_show_match(&match).text);
	return error_set(err, EINVAL,
			 "--disk: unknown option \"%s\", a disk's options are ro, serial=S, "
			 "direct=on|off|auto and queues=N (a comma in a path is written twice)",
			 word_show(name).text);
}

/* Enter "NAME" or "NAME=VALUE" into @disk. */
static int parse_option(struct disk_config *disk, char *option, struct error *err)
{
	char *value = strchr(option, '=');

	if (value)
		*value++ = '\0';
	if (strcmp(option, "ro") == 0) {
		if (value)
			return error_set(err, EINVAL, "--disk: the option ro takes no value");
		disk->read_only = true;
		return 0;
	}

	char where[16];

	snprintf(where, sizeof(where), "--disk: %.6s", option);
	if (strcmp(option, "serial") != 0 && strcmp(option, "direct") != 0 &&
	    strcmp(option, "queues") != 0)
		return unknown_option(option, err);
	if (!value)
		return error_set(err, EINVAL, "--disk: the option %s needs a value, as in %s=...",
				 option, option);
	if (option[0] == 's')
		return set_disk_serial(disk, where, value, err);
	if (option[0] == 'd')
		return set_disk_direct(disk, where, value, err);
	return parse_queues(disk, where, value, err);
}

int parse_disk(const char *s, struct disk_config *disk, struct error *err)
{
	struct disk_config parsed = { 0 };
	AUTO_FREE char *copy = strdup(s);
	AUTO_FREE char *path = NULL;
	char *rest = copy;
	char *option;

	if (!copy)
		return error_set(err, ENOMEM, "--disk: out of memory");

	int ret = set_path(&path, "--disk", next_piece(&rest), err);

	while (ret == 0 && (option = next_piece(&rest)))
		ret = parse_option(&parsed, option, err);
	if (ret < 0)
		return ret;
	parsed.path = steal_ptr(path);
	*disk = parsed;
	return 0;
}
