// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a kernel file: the ELF and bzImage loaders and the decompressors under them. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "boot/boot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct guest_mem mem;
	static int fd = -1;
	struct kernel_image k;
	struct error err;

	if (fd < 0) {
		fd = memfd_create("kernel", MFD_CLOEXEC);
		if (fd < 0 || guest_mem_init(&mem, GUEST_RAM_MIN))
			abort();
	}
	if (ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	if (boot_load_kernel(&mem, fd, "kernel", &k, &err) == 0) {
		/* The result must be usable as it is. */
		if (k.entry < BOOT_HIGH_GPA || k.entry >= k.end || k.end > mem.size)
			abort();
	}
	return 0;
}
