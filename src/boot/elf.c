// SPDX-License-Identifier: Apache-2.0
#include "boot/elf.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

/* Linux has five program headers; anything near this number is no kernel. */
#define SEGMENTS_MAX 64

/*
 * How a kernel shows that it takes a device tree (SETUP_DTB). Ours has an ELF note of this name and
 * type (guest/kernel/patches). In any other x86 kernel that is built for it, and in no kernel that
 * is not, there is this string; to search a whole kernel takes longer than to load it.
 */
#define DEVICE_TREE_NOTE_NAME "kvmbox"
#define DEVICE_TREE_NOTE_TYPE 1u
#define DEVICE_TREE_MARK      "intel,ce4100-lapic"

#define NOTES_MAX 4096 /* bytes that are looked at; Linux has some hundred */

/* A PT_LOAD header after its checks: [gpa, gpa + mem_size) lies in the guest's low RAM. */
struct segment {
	uint64_t gpa;
	uint64_t mem_size;
	uint64_t file_off;
	uint64_t file_size; /* at most mem_size */
};

static int header_read(const struct image *img, Elf64_Ehdr *eh, struct error *err)
{
	int ret = image_read(img, 0, eh, sizeof(*eh));

	if (ret)
		return image_read_error(img, ret, err);
	if (eh->e_ident[EI_CLASS] != ELFCLASS64 || eh->e_ident[EI_DATA] != ELFDATA2LSB ||
	    eh->e_machine != EM_X86_64)
		return error_set(err, ENOEXEC,
				 "\"%s\" is an ELF file for another machine: a kernel must be one "
				 "for x86-64",
				 img->path);
	if (eh->e_type != ET_EXEC)
		return error_set(err, ENOEXEC,
				 "\"%s\" is an ELF file, but not an executable linked for a fixed "
				 "address, as a vmlinux is",
				 img->path);
	if (eh->e_phentsize != sizeof(Elf64_Phdr) || eh->e_phnum == 0 || eh->e_phnum > SEGMENTS_MAX)
		return error_set(
			err, ENOEXEC,
			"\"%s\" has %u program headers of %u bytes: a kernel has 1 to %d of %zu",
			img->path, eh->e_phnum, eh->e_phentsize, SEGMENTS_MAX, sizeof(Elf64_Phdr));
	return 0;
}

static int segment_check(const struct image *img, const Elf64_Phdr *ph, struct segment *seg,
			 struct error *err)
{
	uint64_t end;

	if (ph->p_filesz > ph->p_memsz)
		return error_set(err, ENOEXEC,
				 "\"%s\" is damaged: its segment at %#llx has more bytes in the "
				 "file than in memory",
				 img->path, (unsigned long long)ph->p_paddr);
	if (__builtin_add_overflow(ph->p_offset, ph->p_filesz, &end) || end > img->size)
		return error_set(err, ENODATA,
				 "\"%s\" is cut short: its segment at %#llx reaches past the end "
				 "of the file",
				 img->path, (unsigned long long)ph->p_paddr);
	if (__builtin_add_overflow(ph->p_paddr, ph->p_memsz, &end))
		return error_set(err, ENOEXEC,
				 "\"%s\" is damaged: its segment at %#llx reaches past the end of "
				 "the address space",
				 img->path, (unsigned long long)ph->p_paddr);
	if (ph->p_paddr < BOOT_HIGH_GPA)
		return error_set(err, ENOEXEC,
				 "\"%s\" wants a segment at physical address %#llx: a kernel must "
				 "lie above the first MiB",
				 img->path, (unsigned long long)ph->p_paddr);
	*seg = (struct segment){
		.gpa = ph->p_paddr,
		.mem_size = ph->p_memsz,
		.file_off = ph->p_offset,
		.file_size = ph->p_filesz,
	};
	return 0;
}

static bool segments_overlap(const struct segment *a, const struct segment *b)
{
	return a->gpa < b->gpa + b->mem_size && b->gpa < a->gpa + a->mem_size;
}

/* Whether the notes at @ph say so; notes that are damaged say nothing. */
static bool notes_take_device_tree(const struct image *img, const Elf64_Phdr *ph)
{
	_Alignas(Elf64_Nhdr) uint8_t notes[NOTES_MAX];
	uint64_t len = ph->p_filesz < sizeof(notes) ? ph->p_filesz : sizeof(notes);
	uint64_t off = 0;

	if (image_read(img, ph->p_offset, notes, len))
		return false;
	while (off <= len && len - off >= sizeof(Elf64_Nhdr)) {
		const Elf64_Nhdr *note = (const void *)(notes + off);
		/* Sums of 32-bit numbers in 64 bits; each part is padded to four bytes. */
		uint64_t name = off + sizeof(*note);
		uint64_t desc = name + ((note->n_namesz + 3ull) & ~3ull);

		if (note->n_type == DEVICE_TREE_NOTE_TYPE &&
		    note->n_namesz == sizeof(DEVICE_TREE_NOTE_NAME) &&
		    sizeof(DEVICE_TREE_NOTE_NAME) <= len - name &&
		    !memcmp(notes + name, DEVICE_TREE_NOTE_NAME, sizeof(DEVICE_TREE_NOTE_NAME)))
			return true;
		off = desc + ((note->n_descsz + 3ull) & ~3ull);
	}
	return false;
}

/*
 * Returns the number of segments in @segs, or negative errno with the sentence in @err. Sets
 * *@noted where a note tells of the device tree.
 */
static int segments_read(const struct image *img, const Elf64_Ehdr *eh, struct segment *segs,
			 bool *noted, struct error *err)
{
	Elf64_Phdr ph[SEGMENTS_MAX];
	int n = 0;
	int ret = image_read(img, eh->e_phoff, ph, eh->e_phnum * sizeof(ph[0]));

	if (ret)
		return image_read_error(img, ret, err);
	for (unsigned int i = 0; i < eh->e_phnum; i++) {
		if (ph[i].p_type == PT_NOTE && notes_take_device_tree(img, &ph[i]))
			*noted = true;
		if (ph[i].p_type != PT_LOAD || ph[i].p_memsz == 0)
			continue;
		ret = segment_check(img, &ph[i], &segs[n], err);
		if (ret)
			return ret;
		for (int k = 0; k < n; k++) {
			if (segments_overlap(&segs[k], &segs[n]))
				return error_set(err, ENOEXEC,
						 "\"%s\" is damaged: its segments at %#llx and "
						 "%#llx overlap",
						 img->path, (unsigned long long)segs[k].gpa,
						 (unsigned long long)segs[n].gpa);
		}
		n++;
	}
	if (n == 0)
		return error_set(err, ENOEXEC, "\"%s\" has no segment to load: it is not a kernel",
				 img->path);
	return n;
}

static int room_check(const struct guest_mem *mem, const struct image *img, uint64_t start,
		      uint64_t end, struct error *err)
{
	uint64_t low_end = mem->regions[0].size;

	if (end <= low_end)
		return 0;
	if (mem->nregions > 1)
		return error_set(err, ENOEXEC,
				 "\"%s\" needs %s from address %s, but a guest's first stretch of "
				 "RAM ends at %s",
				 img->path, SIZE_TEXT(end - start), SIZE_TEXT(start),
				 SIZE_TEXT(low_end));
	return error_set(err, ENOSPC,
			 "\"%s\" needs %s from address %s, but the guest has %s of RAM: give it "
			 "more with --mem",
			 img->path, SIZE_TEXT(end - start), SIZE_TEXT(start), SIZE_TEXT(mem->size));
}

int elf_load(const struct guest_mem *mem, const struct image *img, struct kernel_image *out,
	     struct error *err)
{
	struct segment segs[SEGMENTS_MAX];
	struct kernel_image k = { 0 };
	uint64_t start = UINT64_MAX;
	bool entry_found = false;
	Elf64_Ehdr eh;
	int ret = header_read(img, &eh, err);

	if (ret)
		return ret;
	int n = segments_read(img, &eh, segs, &k.reads_device_tree, err);

	if (n < 0)
		return n;
	for (int i = 0; i < n; i++) {
		uint64_t end = segs[i].gpa + segs[i].mem_size;

		start = segs[i].gpa < start ? segs[i].gpa : start;
		k.end = end > k.end ? end : k.end;
		if (eh.e_entry >= segs[i].gpa && eh.e_entry - segs[i].gpa < segs[i].file_size)
			entry_found = true;
	}
	ret = room_check(mem, img, start, k.end, err);
	if (ret)
		return ret;
	/* A vmlinux names its entry by the physical address, all the rest of it is virtual. */
	if (!entry_found)
		return error_set(
			err, ENOEXEC,
			"\"%s\" is not a kernel: its entry point %#llx is outside of what it loads",
			img->path, (unsigned long long)eh.e_entry);
	k.entry = eh.e_entry;

	for (int i = 0; i < n; i++) {
		/* Checked above; what lies past the file's bytes is zero already, as all fresh RAM.
		 */
		uint8_t *dst = guest_mem_ptr(mem, gpa(segs[i].gpa), segs[i].mem_size);

		if (!dst)
			return error_set(err, EFAULT, "\"%s\" does not fit the guest's RAM",
					 img->path);
		ret = image_load(img, segs[i].file_off, dst, segs[i].file_size);
		if (ret)
			return image_read_error(img, ret, err);
		if (!k.reads_device_tree)
			k.reads_device_tree = memmem(dst, segs[i].file_size, DEVICE_TREE_MARK,
						     sizeof(DEVICE_TREE_MARK));
	}
	*out = k;
	return 0;
}
