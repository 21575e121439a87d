// SPDX-License-Identifier: Apache-2.0
#include "test_boot.h"

#include <errno.h>

#include "boot/image.h"

static struct test_elf *elf;

static void setup(void)
{
	elf = test_elf_new();
}

static void teardown(void)
{
	free(elf);
}

TestSuite(boot_elf, .init = setup, .fini = teardown);

static int load_bytes(uint64_t ram, const void *data, size_t len, struct kernel_image *out,
		      struct error *err)
{
	struct guest_mem mem = test_mem(ram);
	int fd = test_file(data, len);
	int ret = boot_load_kernel(&mem, fd, "/x/vmlinux", out, err);

	close(fd);
	guest_mem_deinit(&mem);
	return ret;
}

static void expect_refused(uint64_t ram, int errnum, const char *words)
{
	struct kernel_image k = { .entry = 42 };
	struct error err = { "" };

	cr_expect_eq(load_bytes(ram, elf, sizeof(*elf), &k, &err), -errnum, "%s", err.text);
	cr_expect(strstr(err.text, words), "\"%s\" lacks \"%s\"", err.text, words);
	cr_expect(strstr(err.text, "/x/vmlinux"), "no path in: %s", err.text);
	cr_expect_eq(k.entry, 42, "the result is written only on success");
}

Test(boot_elf, loads_segments_at_their_physical_addresses)
{
	struct guest_mem mem = test_mem(32 * MIB);
	int fd = test_file(elf, sizeof(*elf));
	struct kernel_image k;
	struct error err;

	cr_assert_eq(boot_load_kernel(&mem, fd, "vmlinux", &k, &err), 0, "%s", err.text);
	cr_expect_eq(k.entry, TEST_ENTRY);
	cr_expect_eq(k.end, TEST_DATA_GPA + TEST_DATA_MEM);
	cr_expect_not(k.reads_device_tree);
	cr_expect_eq(memcmp(mem.base + TEST_TEXT_GPA, elf->text, TEST_TEXT_SIZE), 0);
	cr_expect_eq(memcmp(mem.base + TEST_DATA_GPA, elf->data, TEST_DATA_SIZE), 0);
	for (size_t i = TEST_DATA_SIZE; i < TEST_DATA_MEM; i++)
		cr_assert_eq(mem.base[TEST_DATA_GPA + i], 0, "bss byte %zu", i);
	close(fd);
	guest_mem_deinit(&mem);
}

Test(boot_elf, position_of_the_descriptor_does_not_matter)
{
	struct guest_mem mem = test_mem(32 * MIB);
	int fd = test_file(elf, sizeof(*elf));
	struct kernel_image k;
	struct error err;

	lseek(fd, 77, SEEK_SET);
	cr_expect_eq(boot_load_kernel(&mem, fd, "vmlinux", &k, &err), 0);
	close(fd);
	guest_mem_deinit(&mem);
}

Test(boot_elf, knows_a_kernel_that_reads_device_trees)
{
	struct kernel_image k;
	struct error err;

	/* As the last string of a segment, terminating NUL included. */
	memcpy(elf->text + TEST_TEXT_SIZE - 19, "intel,ce4100-lapic", 19);
	cr_assert_eq(load_bytes(32 * MIB, elf, sizeof(*elf), &k, &err), 0);
	cr_expect(k.reads_device_tree);
}

/* Our own kernel's way: then nothing is searched. */
struct test_note {
	Elf64_Nhdr head;
	char name[8];
	uint32_t desc;
};

static bool note_is_known(const struct test_note *notes, size_t len, uint64_t claimed_len)
{
	struct kernel_image k;
	struct error err;

	memcpy(elf->text, notes, len);
	elf->ph[2].p_offset = offsetof(struct test_elf, text);
	elf->ph[2].p_filesz = claimed_len;
	cr_assert_eq(load_bytes(32 * MIB, elf, sizeof(*elf), &k, &err), 0, "%s", err.text);
	return k.reads_device_tree;
}

Test(boot_elf, knows_the_note_of_our_own_kernel)
{
	const struct test_note notes[] = {
		{ { 6, 4, 0x101 }, "Linux", 0 },
		{ { 7, 4, 1 }, "kvmbox", 0 },
	};
	struct test_note odd = notes[1];

	cr_expect(note_is_known(notes, sizeof(notes), sizeof(notes)));
	cr_expect(note_is_known(&notes[1], sizeof(notes[1]), 19));
	cr_expect_not(note_is_known(notes, sizeof(notes), sizeof(notes[0])));
	cr_expect_not(note_is_known(&notes[1], sizeof(notes[1]), 18), "cut short");
	odd.head.n_type = 2;
	cr_expect_not(note_is_known(&odd, sizeof(odd), sizeof(odd)), "another type");
	odd = notes[1];
	odd.head.n_namesz = 6;
	cr_expect_not(note_is_known(&odd, sizeof(odd), sizeof(odd)), "another name");
}

Test(boot_elf, damaged_notes_say_nothing)
{
	struct test_note n = { { UINT32_MAX, UINT32_MAX, 1 }, "kvmbox", 0 };

	cr_expect_not(note_is_known(&n, sizeof(n), 4096));
	n.head.n_namesz = 0;
	n.head.n_descsz = 0;
	cr_expect_not(note_is_known(&n, sizeof(n), 4096));
	n.head.n_descsz = UINT32_MAX - 2;
	cr_expect_not(note_is_known(&n, sizeof(n), 4096));
	cr_expect_not(note_is_known(&n, sizeof(n), UINT64_MAX));
}

/* A hole in the file is zeros in memory, as it is read, and no more than the file is loaded. */
Test(boot_elf, loads_over_holes_in_the_file)
{
	const uint64_t text_off = 64 * 1024, text_size = 512 * 1024;
	struct guest_mem mem = test_mem(32 * MIB);
	struct kernel_image k;
	struct error err;
	int fd = memfd_create("test", MFD_CLOEXEC);

	elf->ph[0].p_offset = text_off;
	elf->ph[0].p_filesz = elf->ph[0].p_memsz = text_size;
	cr_assert_eq(pwrite(fd, elf, sizeof(*elf), 0), (ssize_t)sizeof(*elf));
	cr_assert_eq(pwrite(fd, "first", 5, (off_t)text_off), 5);
	cr_assert_eq(pwrite(fd, "in between", 10, (off_t)text_off + 256 * 1024 + 5), 10);
	cr_assert_eq(ftruncate(fd, (off_t)(text_off + text_size)), 0);
	cr_assert_eq(boot_load_kernel(&mem, fd, "vmlinux", &k, &err), 0, "%s", err.text);
	const uint8_t *text = mem.base + TEST_TEXT_GPA;
	cr_expect_eq(memcmp(text, "first", 5), 0);
	cr_expect_eq(memcmp(text + 256 * 1024 + 5, "in between", 10), 0);
	cr_expect_eq(text[100 * 1024], 0);
	cr_expect_eq(text[text_size - 1], 0);
	close(fd);
	guest_mem_deinit(&mem);
}

Test(boot_elf, refuses_what_is_no_kernel)
{
	static const char words[] = "neither an ELF vmlinux nor a bzImage";
	struct kernel_image k;
	struct error err;

	for (size_t len = 0; len < 4; len++) {
		cr_expect_eq(load_bytes(32 * MIB, elf, len, &k, &err), -ENOEXEC);
		cr_expect(strstr(err.text, words), "%s", err.text);
	}
	elf->eh.e_ident[0] = 0;
	expect_refused(32 * MIB, ENOEXEC, words);
}

Test(boot_elf, refuses_what_is_no_regular_file)
{
	struct guest_mem mem = test_mem(32 * MIB);
	struct kernel_image k;
	struct error err;
	int pipes[2];

	cr_assert_eq(pipe(pipes), 0);
	cr_expect_eq(boot_load_kernel(&mem, pipes[0], "/x/pipe", &k, &err), -EINVAL);
	cr_expect_str_eq(err.text, "\"/x/pipe\" is not a regular file: a kernel must be one");
	cr_expect_eq(boot_load_kernel(&mem, -1, "/x/closed", &k, &err), -EBADF);
	cr_expect(strstr(err.text, "/x/closed"));
	close(pipes[0]);
	close(pipes[1]);
	guest_mem_deinit(&mem);
}

Test(boot_elf, every_truncation_is_refused)
{
	struct guest_mem mem = test_mem(32 * MIB);
	struct kernel_image k;
	struct error err;
	int fd = test_file(elf, sizeof(*elf));

	for (size_t len = sizeof(*elf) - 1; len >= 4; len -= len > 600 ? 511 : 1) {
		cr_assert_eq(ftruncate(fd, (off_t)len), 0);
		cr_assert_eq(boot_load_kernel(&mem, fd, "/x/vmlinux", &k, &err), -ENODATA,
			     "%zu bytes", len);
		cr_assert(strstr(err.text, "cut short"), "%s", err.text);
	}
	close(fd);
	guest_mem_deinit(&mem);
}

Test(boot_elf, refuses_other_machines_and_kinds)
{
	elf->eh.e_machine = EM_AARCH64;
	expect_refused(32 * MIB, ENOEXEC, "another machine");
	elf->eh.e_machine = EM_X86_64;
	elf->eh.e_ident[EI_CLASS] = ELFCLASS32;
	expect_refused(32 * MIB, ENOEXEC, "another machine");
	elf->eh.e_ident[EI_CLASS] = ELFCLASS64;
	elf->eh.e_ident[EI_DATA] = ELFDATA2MSB;
	expect_refused(32 * MIB, ENOEXEC, "another machine");
	elf->eh.e_ident[EI_DATA] = ELFDATA2LSB;
	elf->eh.e_type = ET_DYN;
	expect_refused(32 * MIB, ENOEXEC, "fixed address");
}

Test(boot_elf, refuses_insane_program_headers)
{
	elf->eh.e_phnum = 0;
	expect_refused(32 * MIB, ENOEXEC, "program headers");
	elf->eh.e_phnum = PN_XNUM;
	expect_refused(32 * MIB, ENOEXEC, "program headers");
	elf->eh.e_phnum = 65;
	expect_refused(32 * MIB, ENOEXEC, "program headers");
	elf->eh.e_phnum = 3;
	elf->eh.e_phentsize = 32;
	expect_refused(32 * MIB, ENOEXEC, "program headers");
	elf->eh.e_phentsize = sizeof(Elf64_Phdr);
	elf->eh.e_phoff = UINT64_MAX - 8;
	expect_refused(32 * MIB, ENODATA, "cut short");
	elf->eh.e_phoff = sizeof(*elf) - 8;
	expect_refused(32 * MIB, ENODATA, "cut short");
}

Test(boot_elf, refuses_a_kernel_without_segments)
{
	elf->ph[0].p_type = PT_NULL;
	elf->ph[1].p_memsz = elf->ph[1].p_filesz = 0;
	expect_refused(32 * MIB, ENOEXEC, "no segment");
}

Test(boot_elf, refuses_more_bytes_in_the_file_than_in_memory)
{
	elf->ph[1].p_memsz = TEST_DATA_SIZE - 1;
	expect_refused(32 * MIB, ENOEXEC, "more bytes in the file");
}

Test(boot_elf, refuses_offsets_that_wrap)
{
	elf->ph[0].p_offset = UINT64_MAX - 16;
	expect_refused(32 * MIB, ENODATA, "past the end of the file");
}

Test(boot_elf, refuses_addresses_that_wrap)
{
	elf->ph[1].p_paddr = UINT64_MAX - 16;
	expect_refused(32 * MIB, ENOEXEC, "past the end of the address space");
	elf->ph[1].p_paddr = TEST_DATA_GPA;
	elf->ph[1].p_memsz = UINT64_MAX;
	expect_refused(32 * MIB, ENOEXEC, "past the end of the address space");
}

Test(boot_elf, refuses_the_first_mib)
{
	elf->ph[1].p_paddr = MIB - 1;
	expect_refused(32 * MIB, ENOEXEC, "first MiB");
	elf->ph[1].p_paddr = 0;
	expect_refused(32 * MIB, ENOEXEC, "first MiB");
}

Test(boot_elf, refuses_overlapping_segments)
{
	elf->ph[1].p_paddr = TEST_TEXT_GPA + TEST_TEXT_SIZE - 1;
	expect_refused(32 * MIB, ENOEXEC, "overlap");
	elf->ph[1].p_paddr = TEST_TEXT_GPA - TEST_DATA_MEM + 1;
	expect_refused(32 * MIB, ENOEXEC, "overlap");
}

Test(boot_elf, adjacent_segments_are_fine)
{
	struct kernel_image k;
	struct error err;

	elf->ph[1].p_paddr = TEST_TEXT_GPA + TEST_TEXT_SIZE;
	cr_expect_eq(load_bytes(32 * MIB, elf, sizeof(*elf), &k, &err), 0);
}

Test(boot_elf, says_how_much_ram_is_missing)
{
	elf->ph[1].p_memsz = 32 * MIB;
	expect_refused(32 * MIB, ENOSPC,
		       "needs 34 MiB from address 16 MiB, but the guest has 32 MiB of RAM: give it "
		       "more with --mem");
}

Test(boot_elf, may_end_with_the_ram)
{
	struct kernel_image k;
	struct error err;

	elf->ph[1].p_memsz = 14 * MIB;
	cr_expect_eq(load_bytes(32 * MIB, elf, sizeof(*elf), &k, &err), 0);
	cr_expect_eq(k.end, 32 * MIB);
	elf->ph[1].p_memsz++;
	expect_refused(32 * MIB, ENOSPC, "--mem");
}

Test(boot_elf, does_not_reach_into_the_hole_or_above)
{
	elf->ph[1].p_paddr = 3 * GIB - 4096;
	expect_refused(5 * GIB, ENOEXEC, "first stretch of RAM ends at 3 GiB");
	elf->ph[1].p_paddr = 4 * GIB;
	expect_refused(5 * GIB, ENOEXEC, "first stretch of RAM ends at 3 GiB");
}

Test(boot_elf, refuses_an_entry_outside_of_the_code)
{
	elf->eh.e_entry = 0xffffffff81000123;
	expect_refused(32 * MIB, ENOEXEC, "entry point");
	elf->eh.e_entry = TEST_DATA_GPA + TEST_DATA_SIZE;
	expect_refused(32 * MIB, ENOEXEC, "entry point");
	elf->eh.e_entry = 0;
	expect_refused(32 * MIB, ENOEXEC, "entry point");
}

Test(boot_elf, sizes_as_people_read_them)
{
	cr_expect_str_eq(SIZE_TEXT(0), "0 bytes");
	cr_expect_str_eq(SIZE_TEXT(1), "1 byte");
	cr_expect_str_eq(SIZE_TEXT(1023), "1023 bytes");
	cr_expect_str_eq(SIZE_TEXT(1536), "1.5 KiB");
	cr_expect_str_eq(SIZE_TEXT(32 * MIB), "32 MiB");
	cr_expect_str_eq(SIZE_TEXT(3 * GIB), "3 GiB");
	cr_expect_str_eq(SIZE_TEXT(UINT64_MAX), "16 EiB");
}
