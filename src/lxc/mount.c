// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "config/set.h"
#include "config/words.h"
#include "lxc/steps.h"

/* What lxc.mount.entry and the lines of an lxc.mount.fstab have, as in fstab(5). */
struct entry {
	char *source, *target, *type, *options;
};

static const char *const kernel_types[] = {
	"proc",     "sysfs",      "devpts",    "devtmpfs", "mqueue", "cgroup",
	"cgroup2",  "securityfs", "debugfs",   "tracefs",  "pstore", "bpf",
	"configfs", "fusectl",    "hugetlbfs", "efivarfs",
};

static const char *const disk_types[] = { "ext2", "ext3",     "ext4", "xfs",     "btrfs",
					  "f2fs", "squashfs", "vfat", "iso9660", "erofs" };

/* What guest/init mounts a tmpfs on. */
static const char *const scratch_targets[] = { "dev/shm", "run", "tmp" };

static bool is_one_of(const char *word, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(word, words[i]) == 0)
			return true;
	}
	return false;
}

#define IS_ONE_OF(word, words) is_one_of(word, words, sizeof(words) / sizeof((words)[0]))

/* Make characters of "\040" and the like, in place (getmntent(3)). */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* Returns 0, or -EINVAL for too few fields or a name that JSON cannot carry. */
static int parse_entry(char *line, struct entry *entry)
{
	char *rest = NULL;

	entry->source = strtok_r(line, " \t", &rest);
	entry->target = strtok_r(NULL, " \t", &rest);
	entry->type = strtok_r(NULL, " \t", &rest);
	entry->options = strtok_r(NULL, " \t", &rest);
	if (!entry->source || !entry->target || !entry->type)
		return -EINVAL;
	if (!entry->options)
		entry->options = entry->type + strlen(entry->type);
	unescape(entry->source);
	unescape(entry->target);
	/* A target is the same with and without the slash. */
	entry->target += strspn(entry->target, "/");
	return lxc_is_text(entry->source) && lxc_is_text(entry->target) ? 0 : -EINVAL;
}

static bool has_option(const struct entry *entry, const char *option)
{
	size_t len = strlen(option);

	for (const char *s = entry->options; *s; s += *s == ',') {
		size_t n = strcspn(s, ",");

		if (n == len && strncmp(s, option, len) == 0)
			return true;
		s += n;
	}
	return false;
}

static bool is_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	return strncmp(path, dir, len) == 0 && (!path[len] || path[len] == '/');
}

static int note_bind(struct import *im, const struct lxc_item *item, const struct entry *entry)
{
	if (is_below(entry->source, "/proc") || is_below(entry->source, "/sys"))
		return import_note(im, LXC_MEANINGLESS, item,
				   "%s is the host's kernel's, and the guest has its own",
				   word_show(entry->source).text);
	if (is_below(entry->source, "/dev"))
		return import_note(
			im, LXC_UNSUPPORTED, item,
			"the device %s is the host's, and the guest has only virtual ones; "
			"a block device can be one of its \"drives\"",
			word_show(entry->source).text);
	if (has_option(entry, "relative") || entry->source[0] != '/')
		return import_note(
			im, LXC_UNSUPPORTED, item,
			"%s is within the container: let the guest bind it to /%s itself",
			word_show(entry->source).text, word_show(entry->target).text);
	return import_note(
		im, LXC_UNSUPPORTED, item,
		"%s of the host cannot be seen through the wall, and /%s is what the root "
		"has there; copy it into the running VM with kvmbox cp, or make a disk of "
		"it (mkfs.ext4 -d %s IMAGE SIZE) and add IMAGE to \"drives\"",
		word_show(entry->source).text, word_show(entry->target).text,
		word_show(entry->source).text);
}

/* A file system that is there on its own can be given to the guest, which mounts it itself. */
static int import_disk(struct import *im, const struct lxc_item *item, const struct entry *entry)
{
	struct disk_config disk = { .read_only = has_option(entry, "ro") };
	char letter = (char)('b' + im->cfg->ndisks); /* /dev/vda is the root */
	struct error why;
	int ret = set_path(&disk.path, "the disk", entry->source, im->err);

	if (ret < 0)
		return ret;
	if (add_disk(im->cfg, "it cannot be a disk", &disk, &why) < 0) {
		free(disk.path);
		return import_note(im, LXC_UNSUPPORTED, item, "%s", why.text);
	}
	return import_note(
		im, LXC_BECOMES, item,
		"the disk %s, which must not be mounted on the host meanwhile; the guest "
		"has it as /dev/vd%c and is to mount it on /%s itself",
		word_show(entry->source).text, letter, word_show(entry->target).text);
}

static int import_entry(struct import *im, const struct lxc_item *item, const char *line)
{
	AUTO_FREE char *copy = strdup(line);
	struct entry entry;

	if (!copy)
		return error_set(im->err, ENOMEM, "out of memory");
	if (parse_entry(copy, &entry) < 0)
		return import_refuse(
			im, item,
			"\"%s\" is not SOURCE TARGET TYPE OPTIONS, such as /srv srv none "
			"bind 0 0",
			word_show(line).text);
	if (has_option(&entry, "bind") || has_option(&entry, "rbind"))
		return note_bind(im, item, &entry);
	if (IS_ONE_OF(entry.type, kernel_types) ||
	    (strcmp(entry.type, "tmpfs") == 0 && IS_ONE_OF(entry.target, scratch_targets)))
		return import_note(im, LXC_MEANINGLESS, item,
				   "/%s: the guest's init mounts what there is of its own kernel's",
				   word_show(entry.target).text);
	if (entry.source[0] == '/' && IS_ONE_OF(entry.type, disk_types))
		return import_disk(im, item, &entry);
	return import_note(im, LXC_UNSUPPORTED, item,
			   "/%s: let the guest mount it itself, by /etc/fstab of its root",
			   word_show(entry.target).text);
}

int import_mount_entry(struct import *im, const struct lxc_item *item)
{
	return import_entry(im, item, item->value);
}

int import_mount_fstab(struct import *im, const struct lxc_item *item)
{
	AUTO_FREE char *text = NULL;
	struct lxc_item line_item = {
		.file = item->value,
		.order = item->order,
		.key = item->key,
	};
	size_t len = 0;
	char *rest, *line, *end;
	int ret = im->files->read(im->files->opaque, item->value, &text, &len);

	if (ret < 0)
		return import_refuse(im, item, "cannot read %s: %s", word_show(item->value).text,
				     strerror(-ret));
	ret = import_note(im, LXC_BECOMES, item, "what is told of each of its lines");
	end = text + len;
	for (rest = text; ret == 0 && (line = lxc_next_line(&rest, end));) {
		line_item.line++;
		if (!*line || *line == '#')
			continue;
		if (!lxc_is_text(line))
			ret = import_refuse(im, &line_item,
					    "the line holds a control character, or bytes that are "
					    "not UTF-8");
		else
			ret = import_entry(im, &line_item, line);
	}
	return ret;
}
