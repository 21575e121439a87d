// SPDX-License-Identifier: Apache-2.0
#include "test_boot.h"

#include <errno.h>

#define KERNEL_END (20 * MIB)

static struct guest_mem mem;
static struct initrd rd;
static struct error err;

static void setup(void)
{
	mem = test_mem(32 * MIB);
	rd = (struct initrd){ .gpa = 42 };
	err.text[0] = '\0';
}

static void teardown(void)
{
	guest_mem_deinit(&mem);
}

TestSuite(boot_initrd, .init = setup, .fini = teardown);

static int load(const void *data, size_t len, uint64_t kernel_end, const void *extra,
		size_t extra_len)
{
	int fd = test_file(data, len);
	int ret = boot_load_initrd(&mem, fd, "/x/initrd", kernel_end, extra, extra_len, &rd, &err);

	close(fd);
	return ret;
}

Test(boot_initrd, lies_at_the_end_of_ram)
{
	cr_assert_eq(load("070701 abc", 10, KERNEL_END, NULL, 0), 0, "%s", err.text);
	cr_expect_eq(rd.gpa, 32 * MIB - 4096);
	cr_expect_eq(rd.size, 10);
	cr_expect_eq(memcmp(mem.base + rd.gpa, "070701 abc", 10), 0);
}

Test(boot_initrd, lies_below_the_hole_of_a_large_guest)
{
	guest_mem_deinit(&mem);
	mem = test_mem(5 * GIB);
	cr_assert_eq(load("abc", 3, KERNEL_END, NULL, 0), 0, "%s", err.text);
	cr_expect_eq(rd.gpa, 3 * GIB - 4096);
}

Test(boot_initrd, extra_follows_aligned)
{
	cr_assert_eq(load("12345", 5, KERNEL_END, "extra", 5), 0, "%s", err.text);
	cr_expect_eq(rd.size, 13);
	cr_expect_eq(memcmp(mem.base + rd.gpa, "12345\0\0\0extra", 13), 0);
}

Test(boot_initrd, extra_alone)
{
	cr_assert_eq(boot_load_initrd(&mem, -1, "", KERNEL_END, "extra", 5, &rd, &err), 0);
	cr_expect_eq(rd.size, 5);
	cr_expect_eq(memcmp(mem.base + rd.gpa, "extra", 5), 0);
}

Test(boot_initrd, neither_is_none)
{
	cr_assert_eq(boot_load_initrd(&mem, -1, "", KERNEL_END, NULL, 0, &rd, &err), 0);
	cr_expect_eq(rd.gpa, 0);
	cr_expect_eq(rd.size, 0);
}

Test(boot_initrd, may_touch_the_kernel_but_not_overlap_it)
{
	size_t len = 3 * 4096 + 1;
	uint8_t *data = calloc(1, len);

	cr_expect_eq(load(data, len, 32 * MIB - 4 * 4096, NULL, 0), 0);
	cr_expect_eq(rd.gpa, 32 * MIB - 4 * 4096);
	cr_expect_eq(load(data, len, 32 * MIB - 4 * 4096 + 1, NULL, 0), -ENOSPC);
	cr_expect(strstr(err.text, "\"/x/initrd\" of 12.0 KiB does not fit"), "%s", err.text);
	cr_expect(strstr(err.text, "--mem"), "%s", err.text);
	cr_expect_eq(load(data, len - 1, 32 * MIB - 4 * 4096, "x", 1), 0);
	free(data);
}

Test(boot_initrd, refuses_what_is_larger_than_ram)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	for (uint64_t size = 32 * MIB - 1; size < 1ull << 62; size = size * 2 + 1) {
		cr_assert_eq(ftruncate(fd, (off_t)size), 0);
		cr_expect_eq(boot_load_initrd(&mem, fd, "/x/initrd", KERNEL_END, "x", 1, &rd, &err),
			     -ENOSPC, "%#llx", (unsigned long long)size);
	}
	cr_expect_eq(boot_load_initrd(&mem, -1, "", KERNEL_END, "x", SIZE_MAX, &rd, &err), -ENOSPC);
	cr_expect_eq(rd.gpa, 42);
	close(fd);
}

Test(boot_initrd, refuses_empty_and_special_files)
{
	int pipes[2];

	cr_expect_eq(load("", 0, KERNEL_END, NULL, 0), -EINVAL);
	cr_expect_str_eq(err.text, "\"/x/initrd\" is empty: an initrd is a cpio archive");
	cr_assert_eq(pipe(pipes), 0);
	cr_expect_eq(boot_load_initrd(&mem, pipes[0], "/x/pipe", KERNEL_END, NULL, 0, &rd, &err),
		     -EINVAL);
	cr_expect_str_eq(err.text, "\"/x/pipe\" is not a regular file: an initrd must be one");
	close(pipes[0]);
	close(pipes[1]);
}
