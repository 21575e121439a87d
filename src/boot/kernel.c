// SPDX-License-Identifier: Apache-2.0
#include "boot/boot.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "boot/bzimage.h"
#include "boot/elf.h"
#include "boot/image.h"

static bool elf_probe(const struct image *img)
{
	char magic[SELFMAG];

	return !image_read(img, 0, magic, sizeof(magic)) && !memcmp(magic, ELFMAG, SELFMAG);
}

int boot_load_kernel(const struct guest_mem *mem, int fd, const char *path,
		     struct kernel_image *out, struct error *err)
{
	struct image img, inner;
	int ret = image_open(&img, fd, path, "a kernel", err);

	if (ret)
		return ret;
	if (elf_probe(&img))
		return elf_load(mem, &img, out, err);
	if (!bzimage_probe(&img))
		return error_set(err, ENOEXEC,
				 "\"%s\" is not a kernel: neither an ELF vmlinux nor a bzImage",
				 path);
	ret = bzimage_unpack(mem, &img, &inner, err);
	if (ret)
		return ret;
	if (elf_probe(&inner))
		ret = elf_load(mem, &inner, out, err);
	else
		ret = error_set(err, ENOEXEC,
				"\"%s\" is a bzImage, but what it unpacks to is not an ELF vmlinux",
				path);
	free((void *)inner.data);
	return ret;
}
