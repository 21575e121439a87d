// SPDX-License-Identifier: Apache-2.0
#include "base/trim.h"

#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static int trim_object(struct dl_phdr_info *info, size_t size, void *ctx)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	(void)size;
	(void)ctx;
	for (unsigned int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t start = (info->dlpi_addr + ph->p_vaddr) & ~(page - 1);

		/* What was never writable is what the file holds. */
		if (ph->p_type == PT_LOAD && !(ph->p_flags & PF_W))
			(void)madvise((void *)start,
				      info->dlpi_addr + ph->p_vaddr + ph->p_memsz - start,
				      MADV_DONTNEED);
	}
	return 0;
}

void memory_trim(void)
{
	malloc_trim(0);
	dl_iterate_phdr(trim_object, NULL);
}
