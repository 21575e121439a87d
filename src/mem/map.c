// SPDX-License-Identifier: Apache-2.0
#include "mem/map.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE (2ull << 20)
#define HOST_PAGE (uintptr_t)4096 /* of x86-64 */

/*
 * Both regions begin at a multiple of 2 MiB in guest and host alike, so that nested page tables can
 * map huge pages: with a skewed mapping a boot takes thousands of nested faults instead of a few.
 */
int guest_mem_init(struct guest_mem *mem, uint64_t size)
{
	uint64_t padded;

	if (size < GUEST_RAM_MIN || size % 4096 || __builtin_add_overflow(size, HUGE_PAGE, &padded))
		return -EINVAL;
	uint8_t *raw = mmap(NULL, padded, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (raw == MAP_FAILED)
		return -errno;
	size_t skew = (HUGE_PAGE - ((uintptr_t)raw & (HUGE_PAGE - 1))) & (HUGE_PAGE - 1);
	uint8_t *base = raw + skew;

	if (skew)
		munmap(raw, skew);
	if (skew < HUGE_PAGE)
		munmap(base + size, HUGE_PAGE - skew);
	/* Both are advice: a kernel without huge pages or core dumps runs the guest all the same.
	 */
	madvise(base, size, MADV_HUGEPAGE);
	madvise(base, size, MADV_DONTDUMP);

	uint64_t low = size < GUEST_LOW_RAM_MAX ? size : GUEST_LOW_RAM_MAX;

	*mem = (struct guest_mem){ .base = base, .size = size, .nregions = 1 };
	mem->regions[0] = (struct guest_region){ .gpa = 0, .size = low, .host = base };
	if (size > low) {
		mem->regions[1] = (struct guest_region){ .gpa = GUEST_HIGH_RAM,
							 .size = size - low,
							 .host = base + low };
		mem->nregions = 2;
	}
	return 0;
}

void guest_mem_deinit(struct guest_mem *mem)
{
	if (mem->base)
		munmap(mem->base, mem->size);
	*mem = (struct guest_mem){ 0 };
}

void *guest_mem_ptr(const struct guest_mem *mem, gpa_t addr, uint64_t len)
{
	for (unsigned int i = 0; i < mem->nregions; i++) {
		const struct guest_region *r = &mem->regions[i];

		if (addr.v < r->gpa)
			continue;
		uint64_t off = addr.v - r->gpa;
		if (off < r->size && len <= r->size - off)
			return r->host + off;
	}
	return NULL;
}

int guest_mem_discard(void *host, uint64_t len)
{
	uintptr_t at = (uintptr_t)host;
	uintptr_t first = (at + HOST_PAGE - 1) & ~(HOST_PAGE - 1);
	uintptr_t end = (at + len) & ~(HOST_PAGE - 1);

	if (first >= end)
		return 0;
	return madvise((void *)first, end - first, MADV_DONTNEED) ? -errno : 0;
}

int guest_mem_read(const struct guest_mem *mem, gpa_t addr, void *dst, size_t len)
{
	const void *p = guest_mem_ptr(mem, addr, len);

	if (!p)
		return -EFAULT;
	memcpy(dst, p, len);
	return 0;
}

int guest_mem_write(const struct guest_mem *mem, gpa_t addr, const void *src, size_t len)
{
	void *p = guest_mem_ptr(mem, addr, len);

	if (!p)
		return -EFAULT;
	memcpy(p, src, len);
	return 0;
}
