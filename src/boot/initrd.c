// SPDX-License-Identifier: Apache-2.0
#include "boot/boot.h"

#include <errno.h>
#include <string.h>

#include "boot/image.h"

#define PAGE       4096ull
#define CPIO_ALIGN 4ull /* the kernel looks for a further archive at multiples of this */

int boot_load_initrd(const struct guest_mem *mem, int fd, const char *path, uint64_t kernel_end,
		     const void *extra, size_t extra_len, struct initrd *out, struct error *err)
{
	struct image img = { .path = path, .fd = -1 };
	uint64_t low_end = mem->regions[0].size;
	uint64_t extra_off = 0, size = UINT64_MAX;
	int ret;

	if (fd >= 0) {
		ret = image_open(&img, fd, path, "an initrd", err);
		if (ret)
			return ret;
		if (img.size == 0)
			return error_set(err, EINVAL,
					 "\"%s\" is empty: an initrd is a cpio archive", path);
	}
	if (!extra)
		extra_len = 0;
	if (img.size == 0 && extra_len == 0) {
		*out = (struct initrd){ 0 };
		return 0;
	}

	/* Sizes past the end of RAM are not computed with, so nothing wraps. */
	if (img.size <= low_end && extra_len <= low_end) {
		extra_off = (img.size + CPIO_ALIGN - 1) & ~(CPIO_ALIGN - 1);
		size = extra_len ? extra_off + extra_len : img.size;
	}
	uint64_t top = low_end & ~(PAGE - 1);

	if (size > top || (top - size) / PAGE * PAGE < kernel_end)
		return error_set(
			err, ENOSPC,
			"the initrd \"%s\" of %s does not fit between the kernel, which ends at "
			"%s, and the end of RAM at %s: give the guest more with --mem",
			fd >= 0 ? path : "(built in)", SIZE_TEXT(fd >= 0 ? img.size : extra_len),
			SIZE_TEXT(kernel_end), SIZE_TEXT(low_end));

	uint64_t addr = (top - size) / PAGE * PAGE;
	uint8_t *dst = guest_mem_ptr(mem, gpa(addr), size);

	if (!dst)
		return error_set(err, EFAULT, "the initrd \"%s\" does not fit the guest's RAM",
				 path);
	ret = image_read(&img, 0, dst, img.size);
	if (ret)
		return image_read_error(&img, ret, err);
	if (extra_len)
		memcpy(dst + extra_off, extra, extra_len);
	*out = (struct initrd){ .gpa = addr, .size = size };
	return 0;
}
