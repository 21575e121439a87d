// SPDX-License-Identifier: Apache-2.0
#include "mem/map.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#define MIB (1ull << 20)
#define GIB (1ull << 30)

Test(map, refuses_bad_sizes)
{
	static const uint64_t sizes[] = { 0,
					  4096,
					  GUEST_RAM_MIN - 4096,
					  GUEST_RAM_MIN + 1,
					  UINT64_MAX,
					  UINT64_MAX - 4095,
					  UINT64_MAX - 2 * MIB + 1 };
	struct guest_mem mem;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		cr_assert_eq(guest_mem_init(&mem, sizes[i]), -EINVAL, "%#llx",
			     (unsigned long long)sizes[i]);
	/* More than any address space, but no overflow. */
	cr_assert_eq(guest_mem_init(&mem, 1ull << 60), -ENOMEM);
}

Test(map, one_region)
{
	struct guest_mem mem;

	cr_assert_eq(guest_mem_init(&mem, 33 * MIB + 4096), 0);
	cr_assert_eq(mem.nregions, 1);
	cr_assert_eq((uintptr_t)mem.base % (2 * MIB), 0, "aligned for huge pages");
	cr_assert_eq(guest_mem_ptr(&mem, gpa(0), mem.size), mem.base);
	cr_assert_eq(guest_mem_ptr(&mem, gpa(mem.size - 1), 1), mem.base + mem.size - 1);
	cr_assert_null(guest_mem_ptr(&mem, gpa(mem.size - 1), 2));
	cr_assert_null(guest_mem_ptr(&mem, gpa(mem.size), 0), "just past the end");
	cr_assert_null(guest_mem_ptr(&mem, gpa(0), mem.size + 1));
	cr_assert_null(guest_mem_ptr(&mem, gpa(4096), UINT64_MAX - 4095), "sum wraps to 0");
	cr_assert_null(guest_mem_ptr(&mem, gpa(UINT64_MAX), 1));
	cr_assert_null(guest_mem_ptr(&mem, gpa(UINT64_MAX), 2), "sum wraps");
	cr_assert_null(guest_mem_ptr(&mem, gpa(GUEST_HIGH_RAM), 1));
	memset(mem.base, 0xa5, mem.size);
	guest_mem_deinit(&mem);
	cr_assert_null(mem.base);
	guest_mem_deinit(&mem);
}

Test(map, hole_below_4_gib)
{
	struct guest_mem mem;

	cr_assert_eq(guest_mem_init(&mem, 5 * GIB), 0);
	cr_assert_eq(mem.nregions, 2);
	uint8_t *high = guest_mem_ptr(&mem, gpa(GUEST_HIGH_RAM), 2 * GIB);

	cr_assert_eq(high, mem.base + GUEST_LOW_RAM_MAX);
	cr_assert_eq((uintptr_t)high % (2 * MIB), 0);
	cr_assert_not_null(guest_mem_ptr(&mem, gpa(0), GUEST_LOW_RAM_MAX));
	cr_assert_null(guest_mem_ptr(&mem, gpa(0), GUEST_LOW_RAM_MAX + 1), "into the hole");
	cr_assert_null(guest_mem_ptr(&mem, gpa(GUEST_LOW_RAM_MAX), 1));
	cr_assert_null(guest_mem_ptr(&mem, gpa(GUEST_HIGH_RAM - 1), 1));
	cr_assert_null(guest_mem_ptr(&mem, gpa(GUEST_HIGH_RAM - 1), 2), "out of the hole");
	cr_assert_null(guest_mem_ptr(&mem, gpa(GUEST_HIGH_RAM), 2 * GIB + 1));
	cr_assert_null(guest_mem_ptr(&mem, gpa(GUEST_HIGH_RAM + 2 * GIB), 0));
	guest_mem_deinit(&mem);
}

/* 3 GiB to the byte: nothing above the hole, not even a region of size 0. */
Test(map, no_high_region)
{
	struct guest_mem mem;

	cr_assert_eq(guest_mem_init(&mem, GUEST_LOW_RAM_MAX), 0);
	cr_assert_eq(mem.nregions, 1);
	cr_assert_null(guest_mem_ptr(&mem, gpa(GUEST_HIGH_RAM), 0));
	guest_mem_deinit(&mem);
	cr_assert_eq(guest_mem_init(&mem, GUEST_LOW_RAM_MAX + 4096), 0);
	cr_assert_eq(mem.nregions, 2);
	cr_assert_not_null(guest_mem_ptr(&mem, gpa(GUEST_HIGH_RAM), 4096));
	guest_mem_deinit(&mem);
}

Test(map, copies_all_or_nothing)
{
	struct guest_mem mem;
	char buf[8] = "unread";

	cr_assert_eq(guest_mem_init(&mem, GUEST_RAM_MIN), 0);
	cr_assert_eq(guest_mem_write(&mem, gpa(mem.size - 8), "eight ch", 8), 0);
	cr_assert_eq(guest_mem_write(&mem, gpa(mem.size - 4), "too long", 8), -EFAULT);
	cr_assert_eq(guest_mem_read(&mem, gpa(mem.size - 4), buf, 8), -EFAULT);
	cr_assert_str_eq(buf, "unread");
	cr_assert_eq(guest_mem_read(&mem, gpa(mem.size - 8), buf, 8), 0);
	cr_assert_eq(memcmp(buf, "eight ch", 8), 0);
	guest_mem_deinit(&mem);
}
