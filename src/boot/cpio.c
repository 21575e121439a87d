// SPDX-License-Identifier: Apache-2.0
#include "boot/boot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "boot/workload.h"
#include "kvmbox/agent.h"

#define CPIO_HEADER 110u /* of a newc entry, without its name */
#define CPIO_ALIGN  4u

struct cpio {
	uint8_t *data;
	size_t len;
	unsigned int ino;
	char dir[32]; /* property files go here */
};

static void cpio_free(struct cpio *c)
{
	free(c->data);
}

static size_t align_up(size_t n)
{
	return (n + CPIO_ALIGN - 1) & ~(size_t)(CPIO_ALIGN - 1);
}

/* Append an entry (Documentation/driver-api/early-userspace/buffer-format.rst). */
static int cpio_add(struct cpio *c, const char *name, mode_t mode, const void *data, size_t len)
{
	size_t name_len = strlen(name) + 1;
	size_t data_off = align_up(CPIO_HEADER + name_len);
	size_t total = data_off + align_up(len);
	char header[CPIO_HEADER + 1];

	if (len > UINT32_MAX)
		return -ENOMEM;
	uint8_t *grown = realloc(c->data, c->len + total);

	if (!grown)
		return -ENOMEM;
	c->data = grown;
	uint8_t *p = grown + c->len;

	memset(p, 0, total);
	/* ino mode uid gid nlink mtime filesize, devices (4), namesize, check */
	snprintf(header, sizeof(header),
		 "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", ++c->ino,
		 (unsigned int)mode, 0u, 0u, S_ISDIR(mode) ? 2u : 1u, 0u, (unsigned int)len, 0u, 0u,
		 0u, 0u, (unsigned int)name_len, 0u);
	memcpy(p, header, CPIO_HEADER);
	memcpy(p + CPIO_HEADER, name, name_len);
	if (len)
		memcpy(p + data_off, data, len);
	c->len += total;
	return 0;
}

static int cpio_add_property(void *ctx, const char *name, const void *data, size_t len)
{
	struct cpio *c = ctx;
	char path[2 * sizeof(c->dir)];

	snprintf(path, sizeof(path), "%s/%s", c->dir, name);
	return cpio_add(c, path, S_IFREG | 0400, data, len);
}

static int cpio_add_directory(struct cpio *c, const char *path)
{
	snprintf(c->dir, sizeof(c->dir), "%s", path);
	return cpio_add(c, path, S_IFDIR | 0700, NULL, 0);
}

/* Returns 0, -ENOMEM. */
static int cpio_add_workload(struct cpio *c, const struct machine_workload *w)
{
	const char *dir = &KVMBOX_DESCRIPTION_CPIO[1]; /* names in an archive are relative */
	char path[sizeof(c->dir)];
	int ret = cpio_add_directory(c, dir);

	if (!ret)
		ret = workload_properties(w, cpio_add_property, c);
	if (!ret && w->root_device) {
		snprintf(path, sizeof(path), "%s/root", dir);
		ret = cpio_add_directory(c, path);
		if (!ret)
			ret = workload_root_properties(w, cpio_add_property, c);
	}
	for (unsigned int i = 0; !ret && i < w->nnets; i++) {
		snprintf(path, sizeof(path), "%s/net%u", dir, i);
		ret = cpio_add_directory(c, path);
		if (!ret)
			ret = workload_net_properties(&w->nets[i], cpio_add_property, c);
	}
	return ret;
}

int boot_build_workload_cpio(const struct machine *m, void **out, size_t *len)
{
	__attribute__((cleanup(cpio_free))) struct cpio c = { 0 };
	int ret = m->workload.argv ? cpio_add_workload(&c, &m->workload) : 0;

	if (!ret)
		ret = cpio_add(&c, "TRAILER!!!", 0, NULL, 0);
	if (ret)
		return ret;
	*len = c.len;
	*out = steal_ptr(c.data);
	return 0;
}
