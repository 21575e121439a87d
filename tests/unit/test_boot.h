// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <criterion/criterion.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "boot/boot.h"

/* What the tests of src/boot share: guest RAM, files in memory, and a kernel made of two segments.
 */

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static inline struct guest_mem test_mem(uint64_t size)
{
	struct guest_mem mem;

	cr_assert_eq(guest_mem_init(&mem, size), 0);
	return mem;
}

static inline int test_file(const void *data, size_t len)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, data, len), (ssize_t)len);
	return fd;
}

#define TEST_TEXT_GPA  (16 * MIB)
#define TEST_TEXT_SIZE 8192u
#define TEST_DATA_GPA  (18 * MIB)
#define TEST_DATA_SIZE 4096u
#define TEST_DATA_MEM  (64 * 1024u)
#define TEST_ENTRY     (TEST_TEXT_GPA + 0x123)

/* A sound kernel; tests damage their copy of it. */
struct test_elf {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[3];
	uint8_t text[TEST_TEXT_SIZE];
	uint8_t data[TEST_DATA_SIZE];
};

static inline struct test_elf *test_elf_new(void)
{
	struct test_elf *e = calloc(1, sizeof(*e));

	cr_assert_not_null(e);
	e->eh = (Elf64_Ehdr){
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			     EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = TEST_ENTRY,
		.e_phoff = offsetof(struct test_elf, ph),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 3,
	};
	e->ph[0] = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_offset = offsetof(struct test_elf, text),
		.p_vaddr = 0xffffffff81000000,
		.p_paddr = TEST_TEXT_GPA,
		.p_filesz = TEST_TEXT_SIZE,
		.p_memsz = TEST_TEXT_SIZE,
	};
	e->ph[1] = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_offset = offsetof(struct test_elf, data),
		.p_paddr = TEST_DATA_GPA,
		.p_filesz = TEST_DATA_SIZE,
		.p_memsz = TEST_DATA_MEM,
	};
	e->ph[2] = (Elf64_Phdr){ .p_type = PT_NOTE, .p_paddr = 1, .p_filesz = UINT64_MAX };
	for (size_t i = 0; i < sizeof(e->text); i++)
		e->text[i] = (uint8_t)(i * 7 + 1);
	memset(e->data, 0xda, sizeof(e->data));
	return e;
}
