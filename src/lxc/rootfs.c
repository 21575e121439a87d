// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "config/set.h"
#include "config/words.h"
#include "lxc/steps.h"

/* How LXC stores a root: the word before the colon of lxc.rootfs.path (its src/lxc/storage). */
enum storage {
	STORAGE_PLAIN, /* a directory, or an image: LXC looks what it is, and so does kvmbox boot */
	STORAGE_IMAGE, /* a file or block device with a file system */
	STORAGE_OVERLAY,
	STORAGE_OTHER, /* what only LXC can attach */
};

static const struct {
	const char *name;
	enum storage storage;
} storages[] = {
	{ "dir", STORAGE_PLAIN }, { "btrfs", STORAGE_PLAIN },     { "loop", STORAGE_IMAGE },
	{ "lvm", STORAGE_IMAGE }, { "overlay", STORAGE_OVERLAY }, { "overlayfs", STORAGE_OVERLAY },
	{ "zfs", STORAGE_OTHER }, { "nbd", STORAGE_OTHER },       { "rbd", STORAGE_OTHER },
};

/* Take the storage's name off the front of *@path. */
static enum storage cut_storage(const char **path)
{
	const char *colon = strchr(*path, ':');
	size_t len = colon ? (size_t)(colon - *path) : 0;

	for (size_t i = 0; colon && i < sizeof(storages) / sizeof(storages[0]); i++) {
		if (strlen(storages[i].name) == len && strncmp(*path, storages[i].name, len) == 0) {
			*path = colon + 1;
			return storages[i].storage;
		}
	}
	return strncmp(*path, "/dev/", strlen("/dev/")) == 0 ? STORAGE_IMAGE : STORAGE_PLAIN;
}

/* Whether @word is one of the comma-separated @options, or, if it ends in '=', begins one. */
static bool has_option(const struct lxc_item *options, const char *word)
{
	size_t len = strlen(word);
	bool starts = word[len - 1] == '=';

	for (const char *s = options ? options->value : ""; *s; s += *s == ',') {
		size_t n = strcspn(s, ",");

		if (n >= len && strncmp(s, word, len) == 0 && (starts || n == len))
			return true;
		s += n;
	}
	return false;
}

/* Mounting the layers on the host makes of them the directory that kvmbox packs. */
static int note_overlay(struct import *im, const char *layers)
{
	AUTO_FREE char *lower = strdup(layers);
	char *upper = lower;

	if (!lower)
		return error_set(im->err, ENOMEM, "out of memory");
	for (char *next = lower; (next = strstr(next, ":/")); upper = ++next)
		;
	if (upper == lower || lower[0] != '/')
		return import_refuse(im, im->rootfs,
				     "an overlay has two directories or more, such as "
				     "overlayfs:/lower:/upper");
	upper[-1] = '\0';
	return import_note(
		im, LXC_UNSUPPORTED, im->rootfs,
		"kvmbox takes one directory and no overlay; mount it (mount -t overlay "
		"overlay -o lowerdir=%s,upperdir=%s,workdir=WORK DIR), and add DIR to the "
		"file as \"rootfs\"",
		word_show(lower).text, word_show(upper).text);
}

static int set_root(struct import *im, const char *path, enum storage storage)
{
	struct disk_config disk = { .root = true, .read_only = true };
	int ret;

	if (storage == STORAGE_PLAIN || !has_option(im->rootfs_options, "ro"))
		return set_path(&im->cfg->rootfs, "rootfs", path, im->err);
	ret = set_path(&disk.path, "the root drive", path, im->err);
	if (ret == 0)
		ret = add_disk(im->cfg, "the root drive", &disk, im->err);
	free(disk.path);
	return ret;
}

static int import_path(struct import *im)
{
	const char *path = im->rootfs->value;
	enum storage storage = cut_storage(&path);
	int ret;

	if (storage == STORAGE_OVERLAY)
		return note_overlay(im, path);
	if (storage == STORAGE_OTHER)
		return import_note(im, LXC_UNSUPPORTED, im->rootfs,
				   "kvmbox takes a directory, an image or a block device; mount or "
				   "attach %s, and add where it is to the file as \"rootfs\"",
				   word_show(im->rootfs->value).text);
	if (path[0] != '/')
		return import_refuse(im, im->rootfs,
				     "\"%s\" is not an absolute path, such as "
				     "dir:/var/lib/lxc/NAME/rootfs",
				     word_show(im->rootfs->value).text);
	ret = set_root(im, path, storage);
	if (ret < 0)
		return ret;
	if (storage == STORAGE_PLAIN)
		return import_note(im, LXC_BECOMES, im->rootfs,
				   "rootfs %s; the guest sees a directory as it is when the VM "
				   "starts, and what it writes is gone with the VM",
				   word_show(path).text);
	return import_note(
		im, LXC_BECOMES, im->rootfs,
		"the root disk %s; the container must not run at the same time as the VM",
		word_show(path).text);
}

static int import_options(struct import *im)
{
	const struct lxc_item *options = im->rootfs_options;

	if (strcmp(options->value, "ro") == 0)
		return im->cfg->rootfs
			       ? import_note(
					 im, LXC_MEANINGLESS, options,
					 "the guest never writes to a root directory itself, but "
					 "to a layer of its own")
			       : import_note(im, LXC_BECOMES, options,
					     "is_read_only of the root drive");
	if (has_option(options, "idmap="))
		return import_note(im, LXC_MEANINGLESS, options,
				   "the files belong to whom they should, and the guest has no "
				   "mapping");
	return import_note(im, LXC_UNSUPPORTED, options,
			   "kvmbox mounts the root with options of its own");
}

static int import_idmap(struct import *im, const struct lxc_item *item)
{
	const char *path = im->rootfs ? im->rootfs->value : "";
	unsigned long long inside, outside, range;
	char kind;
	int end = 0;

	if (sscanf(item->value, " %c %20llu %20llu %20llu %n", &kind, &inside, &outside, &range,
		   &end) != 4 ||
	    (kind != 'u' && kind != 'g' && kind != 'b') || item->value[end])
		return import_refuse(im, item, "\"%s\" is not a mapping such as u 0 100000 65536",
				     word_show(item->value).text);
	if (has_option(im->rootfs_options, "idmap="))
		return import_note(im, LXC_MEANINGLESS, item,
				   "the files of the root are not shifted, and the guest has no "
				   "mapping");
	cut_storage(&path);
	return import_note(
		im, LXC_UNSUPPORTED, item,
		"the files of the root belong to shifted users, and the guest, which has "
		"no mapping, would see them as they are; pack the root from within "
		"(lxc-usernsexec -m b:0:%llu:%llu -- tar -C %s --numeric-owner -cf "
		"root.tar .), unpack it as root, and make that the \"rootfs\"",
		outside, range, *path ? path : "ROOT");
}

int import_rootfs(struct import *im)
{
	int ret;

	if (im->rootfs)
		ret = import_path(im);
	else
		ret = import_note(
			im, LXC_UNSUPPORTED, NULL,
			"the config has no lxc.rootfs.path, so that the container has the "
			"host's own root; the VM has kvmbox's built-in one, unless you add a "
			"\"rootfs\"");
	if (ret == 0 && im->rootfs_options)
		ret = import_options(im);
	for (size_t i = 0; ret == 0 && i < im->items->n; i++) {
		const struct lxc_item *item = &im->items->items[i];

		if (!im->undone[i] && *item->value && strcmp(item->key, "lxc.idmap") == 0)
			ret = import_idmap(im, item);
	}
	return ret;
}
