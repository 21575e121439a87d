// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "config/set.h"
#include "config/words.h"

static int parse_queues(struct disk_config *disk, const char *where, const char *value,
			struct error *err)
{
	int64_t queues;

	if (parse_integer(value, &queues) < 0)
		return error_set(err, EINVAL, "%s: \"%s\" is not a number of queues, 1 to %d",
				 where, word_show(value).text, CONFIG_QUEUES_MAX);
	return set_disk_queues(disk, where, queues, err);
}

static int parse_fixed_buffers(struct disk_config *disk, const char *where, const char *value,
			       struct error *err)
{
	return set_switch(&disk->fixed_buffers, where, value, err);
}

static int parse_sqpoll(struct disk_config *disk, const char *where, const char *value,
			struct error *err)
{
	return set_switch(&disk->sqpoll, where, value, err);
}

static int parse_iops(struct disk_config *disk, const char *where, const char *value,
		      struct error *err)
{
	return set_limit_count(&disk->limits.ops.refill, where, value, err);
}

static int parse_iops_burst(struct disk_config *disk, const char *where, const char *value,
			    struct error *err)
{
	return set_limit_count(&disk->limits.ops.size, where, value, err);
}

static int parse_bw(struct disk_config *disk, const char *where, const char *value,
		    struct error *err)
{
	return set_limit_size(&disk->limits.bytes.refill, where, value, err);
}

static int parse_bw_burst(struct disk_config *disk, const char *where, const char *value,
			  struct error *err)
{
	return set_limit_size(&disk->limits.bytes.size, where, value, err);
}

/* "ro" has no value. */
static const struct disk_option {
	const char *name;
	int (*set)(struct disk_config *disk, const char *where, const char *value,
		   struct error *err);
} options[] = {
	{ "ro", NULL },
	{ "serial", set_disk_serial },
	{ "direct", set_disk_direct },
	{ "queues", parse_queues },
	{ "fixed-buffers", parse_fixed_buffers },
	{ "sqpoll", parse_sqpoll },
	{ "iops", parse_iops },
	{ "iops-burst", parse_iops_burst },
	{ "bw", parse_bw },
	{ "bw-burst", parse_bw_burst },
};

#define NOPTIONS (sizeof(options) / sizeof(options[0]))

static int unknown_option(const char *name, struct error *err)
{
	struct word_match match = { 0 };

	for (size_t i = 0; i < NOPTIONS; i++)
		word_match_try(&match, name, options[i].name);
	if (match.word)
		return error_set(err, EINVAL, "--disk: unknown option \"%s\"%s",
				 word_show(name).text, word_show_match(&match).text);
	return error_set(err, EINVAL,
			 "--disk: unknown option \"%s\", a disk's options are ro, serial=S, "
			 "direct=on|off|auto, queues=N, fixed-buffers=on|off, sqpoll=on|off, "
			 "iops=N, iops-burst=N, bw=SIZE and bw-burst=SIZE (a comma in a path is "
			 "written twice)",
			 word_show(name).text);
}

/* Enter "NAME" or "NAME=VALUE" into @disk. */
static int parse_option(struct disk_config *disk, char *option, struct error *err)
{
	char *value = strchr(option, '=');
	char where[32];

	if (value)
		*value++ = '\0';
	for (size_t i = 0; i < NOPTIONS; i++) {
		if (strcmp(option, options[i].name) != 0)
			continue;
		if (!options[i].set && value)
			return error_set(err, EINVAL, "--disk: the option %s takes no value",
					 option);
		if (!options[i].set) {
			disk->read_only = true;
			return 0;
		}
		if (!value)
			return error_set(err, EINVAL,
					 "--disk: the option %s needs a value, as in %s=...",
					 option, option);
		snprintf(where, sizeof(where), "--disk: %s", options[i].name);
		return options[i].set(disk, where, value, err);
	}
	return unknown_option(option, err);
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
	if (ret == 0)
		ret = limit_finish(&parsed.limits.ops, "--disk", "iops", err);
	if (ret == 0)
		ret = limit_finish(&parsed.limits.bytes, "--disk", "bw", err);
	if (ret < 0)
		return ret;
	parsed.path = steal_ptr(path);
	*disk = parsed;
	return 0;
}
