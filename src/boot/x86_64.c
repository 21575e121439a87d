// SPDX-License-Identifier: Apache-2.0
#include "boot/boot.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "boot/image.h"
#include "boot/mptable.h"

#define E820_RAM 1u

#define PAGE        4096u
#define HUGE_PAGE   (2ull << 20)
#define PTE_PRESENT 0x1u
#define PTE_WRITE   0x2u
#define PTE_HUGE    0x80u
#define PTES        512u
#define MAPPED_GIB  4u

#define CR0_PE          (1ull << 0)
#define CR0_ET          (1ull << 4)
#define CR0_PG          (1ull << 31)
#define CR4_PAE         (1ull << 5)
#define EFER_LME        (1ull << 8)
#define EFER_LMA        (1ull << 10)
#define RFLAGS_RESERVED 0x2u /* the bit that is always set */

#define GDT_ENTRIES 4u
#define GDT_CODE64  0x00af9b000000ffffull /* present, executable, readable, accessed, 64-bit */
#define GDT_DATA    0x00cf93000000ffffull /* present, writable, accessed, flat */

/* Boot protocol fields that are the loader's to invent: there is no setup code in between. */
#define SETUP_BOOT_FLAG      0xaa55u
#define SETUP_MAGIC          0x53726448u /* "HdrS" */
#define SETUP_VERSION        0x20fu
#define SETUP_LOADER_UNKNOWN 0xffu
#define KERNEL_ALIGNMENT     0x1000000u

#define SEED_SIZE 64u

/*
 * The setup_data list ends base memory: the tree, then the header of the seed, whose bytes lie just
 * past the end. Linux takes headers and contents out of the RAM in its memory map, which early boot
 * walks thousands of times, so they are one piece at an edge; of the seed only the header stays,
 * since it is wiped once used.
 */
#define SEED_HEADER_GPA (BOOT_EBDA_GPA - sizeof(struct setup_data))

_Static_assert(sizeof(struct boot_params) == PAGE, "the zero page");
_Static_assert(BOOT_PARAMS_GPA + PAGE < BOOT_STACK_GPA, "a stack of nearly a page");
_Static_assert(BOOT_PAGE_TABLE_GPA + (2 + MAPPED_GIB) * PAGE <= BOOT_CMDLINE_GPA, "page tables");
_Static_assert(BOOT_CMDLINE_GPA + BOOT_CMDLINE_MAX <= BOOT_SETUP_DATA_GPA, "command line");
_Static_assert(BOOT_SETUP_DATA_GPA + 2 * sizeof(struct setup_data) + BOOT_FDT_MAX <= BOOT_EBDA_GPA,
	       "setup_data");
_Static_assert(BOOT_MPTABLE_GPA + BOOT_MPTABLE_MAX <= BOOT_GDT_GPA, "MP table");

static int gdt_write(const struct guest_mem *mem)
{
	static const uint64_t gdt[GDT_ENTRIES] = {
		[BOOT_CODE_SELECTOR / 8] = GDT_CODE64,
		[BOOT_DATA_SELECTOR / 8] = GDT_DATA,
	};

	return guest_mem_write(mem, gpa(BOOT_GDT_GPA), gdt, sizeof(gdt));
}

/* The low 4 GiB mapped to themselves; 1 GiB pages are not on every CPU. */
static int page_tables_write(const struct guest_mem *mem)
{
	uint64_t(*table)[PTES] =
		guest_mem_ptr(mem, gpa(BOOT_PAGE_TABLE_GPA), (2 + MAPPED_GIB) * PAGE);

	if (!table)
		return -EFAULT;
	memset(table, 0, (2 + MAPPED_GIB) * PAGE);
	table[0][0] = (BOOT_PAGE_TABLE_GPA + PAGE) | PTE_PRESENT | PTE_WRITE;
	for (uint64_t g = 0; g < MAPPED_GIB; g++) {
		table[1][g] = (BOOT_PAGE_TABLE_GPA + (2 + g) * PAGE) | PTE_PRESENT | PTE_WRITE;
		for (uint64_t i = 0; i < PTES; i++)
			table[2 + g][i] =
				(g * PTES + i) * HUGE_PAGE | PTE_PRESENT | PTE_WRITE | PTE_HUGE;
	}
	return 0;
}

static void e820_add(struct boot_params *bp, uint64_t start, uint64_t end)
{
	bp->e820_table[bp->e820_entries++] = (struct boot_e820_entry){
		.addr = start,
		.size = end - start,
		.type = E820_RAM,
	};
}

static void e820_fill(struct boot_params *bp, const struct guest_mem *mem)
{
	/* Linux keeps the first page to itself in any case. */
	e820_add(bp, PAGE, BOOT_EBDA_GPA);
	e820_add(bp, BOOT_HIGH_GPA, mem->regions[0].size);
	for (unsigned int i = 1; i < mem->nregions; i++)
		e820_add(bp, mem->regions[i].gpa, mem->regions[i].gpa + mem->regions[i].size);
}

static int text_add(char *buf, size_t max, size_t *pos, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static int text_add(char *buf, size_t max, size_t *pos, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(buf + *pos, max - *pos, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= max - *pos)
		return -E2BIG;
	*pos += (size_t)n;
	return 0;
}

/* Length of what in @cmdline is the kernel's: what follows a "--" of its own is for init. */
static size_t kernel_part(const char *cmdline)
{
	const char *p = cmdline;

	for (;;) {
		size_t word = strcspn(p, " ");

		if (!*p || (word == 2 && !memcmp(p, "--", 2)))
			return (size_t)(p - cmdline);
		p += word + strspn(p + word, " ");
	}
}

/*
 * What the kernel is told of the machine on its command line, a space behind each. Without a tree,
 * its virtio devices. With one, what it is to print to before its serial driver is there: a panic
 * above all.
 */
static int own_parameters(const struct machine *m, bool tree, char *buf, size_t max, size_t *len)
{
	int ret = 0;

	buf[0] = '\0';
	for (unsigned int i = 0; !ret && i < m->ndevices; i++) {
		const struct machine_device *dev = &m->devices[i];

		if (!tree && !strcmp(dev->compatible, "virtio,mmio") && dev->irq >= 0)
			ret = text_add(buf, max, len, "virtio_mmio.device=%#x@%#llx:%d ", dev->size,
				       (unsigned long long)dev->base, dev->irq);
		if (tree && !strcmp(dev->compatible, "ns16550a"))
			ret = text_add(buf, max, len, "earlycon=uart8250,mmio,%#llx ",
				       (unsigned long long)dev->base);
	}
	return ret;
}

static int cmdline_write(const struct guest_mem *mem, const struct machine *m,
			 const struct kernel_image *kernel, const char *cmdline, struct error *err)
{
	char buf[BOOT_CMDLINE_MAX], own[BOOT_CMDLINE_MAX];
	size_t pos = 0, own_len = 0;
	/* Behind "quiet": where Linux meets "earlycon=", it prints all that it has logged so far.
	 */
	size_t at = kernel->reads_device_tree ? kernel_part(cmdline) : 0;
	int ret = own_parameters(m, kernel->reads_device_tree, own, sizeof(own), &own_len);

	if (!ret)
		ret = text_add(buf, sizeof(buf), &pos, "%.*s%s%s%s", (int)at, cmdline,
			       own_len && at && cmdline[at - 1] != ' ' ? " " : "", own,
			       cmdline + at);
	if (ret)
		return error_set(err, E2BIG,
				 "the kernel command line of %zu characters is too long: Linux "
				 "takes %zu here",
				 strlen(cmdline), sizeof(buf) - 1 - own_len);
	return guest_mem_write(mem, gpa(BOOT_CMDLINE_GPA), buf, pos + 1);
}

static int seed_write(const struct guest_mem *mem, struct error *err)
{
	struct setup_data head = { .type = SETUP_RNG_SEED, .len = SEED_SIZE };
	uint8_t bytes[SEED_SIZE];

	/* Up to 256 bytes come whole or not at all. */
	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return error_set(err, errno, "cannot get random bytes for the guest's seed: %s",
				 strerror(errno));
	if (guest_mem_write(mem, gpa(SEED_HEADER_GPA), &head, sizeof(head)) ||
	    guest_mem_write(mem, gpa(SEED_HEADER_GPA + sizeof(head)), bytes, sizeof(bytes)))
		return error_set(err, EFAULT, "the guest has no RAM for its random seed");
	return 0;
}

/* Sets *@addr to the tree's node, whose end meets the seed's header. */
static int tree_write(const struct guest_mem *mem, const struct machine *m, uint64_t *addr,
		      struct error *err)
{
	struct setup_data head = { .next = SEED_HEADER_GPA, .type = SETUP_DTB };
	AUTO_FREE void *fdt = malloc(BOOT_FDT_MAX);
	size_t len;

	if (!fdt)
		return error_set(err, ENOMEM, "no memory for the guest's device tree");
	int ret = boot_build_fdt(m, fdt, BOOT_FDT_MAX, &len, err);

	if (ret)
		return ret;
	head.len = (uint32_t)(len + 7) & ~7u;
	*addr = SEED_HEADER_GPA - head.len - sizeof(head);
	if (guest_mem_write(mem, gpa(*addr), &head, sizeof(head)) ||
	    guest_mem_write(mem, gpa(*addr + sizeof(head)), fdt, len))
		return error_set(err, EFAULT, "the guest has no RAM for its device tree");
	return 0;
}

static int boot_params_write(const struct guest_mem *mem, const struct initrd *initrd,
			     uint64_t setup_data)
{
	struct boot_params bp = {
		.hdr = {
			.boot_flag = SETUP_BOOT_FLAG,
			.header = SETUP_MAGIC,
			.version = SETUP_VERSION,
			.type_of_loader = SETUP_LOADER_UNKNOWN,
			.loadflags = LOADED_HIGH | KEEP_SEGMENTS,
			.cmd_line_ptr = BOOT_CMDLINE_GPA,
			.cmdline_size = BOOT_CMDLINE_MAX - 1,
			.ramdisk_image = (uint32_t)initrd->gpa,
			.ramdisk_size = (uint32_t)initrd->size,
			.initrd_addr_max = (uint32_t)(mem->regions[0].size - 1),
			.kernel_alignment = KERNEL_ALIGNMENT,
			.xloadflags = XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G,
			.setup_data = setup_data,
		},
	};

	e820_fill(&bp, mem);
	return guest_mem_write(mem, gpa(BOOT_PARAMS_GPA), &bp, sizeof(bp));
}

int boot_write_machine(const struct guest_mem *mem, const struct machine *m,
		       const struct kernel_image *kernel, const struct initrd *initrd,
		       const char *cmdline, struct error *err)
{
	uint64_t setup_data = SEED_HEADER_GPA;
	int ret;

	if (m->cpus == 0 || m->cpus > BOOT_CPUS_MAX)
		return error_set(err, EINVAL, "a guest has 1 to %u CPUs, not %u", BOOT_CPUS_MAX,
				 m->cpus);
	if (m->ndevices > MACHINE_DEVICES_MAX)
		return error_set(err, EINVAL, "a guest has at most %u devices, not %u",
				 MACHINE_DEVICES_MAX, m->ndevices);
	ret = cmdline_write(mem, m, kernel, cmdline, err);
	if (ret)
		return ret;
	ret = seed_write(mem, err);
	if (ret)
		return ret;
	if (kernel->reads_device_tree) {
		ret = tree_write(mem, m, &setup_data, err);
		if (ret)
			return ret;
	} else {
		ret = mptable_write(mem, m);
	}
	if (!ret)
		ret = gdt_write(mem);
	if (!ret)
		ret = page_tables_write(mem);
	if (!ret)
		ret = boot_params_write(mem, initrd, setup_data);
	if (ret)
		return error_set(err, -ret, "cannot describe the machine in the guest's RAM: %s",
				 strerror(-ret));
	return 0;
}

void boot_cpu_state(const struct kernel_image *kernel, struct kvm_sregs *sregs,
		    struct kvm_regs *regs)
{
	/* As in the GDT: what KVM is told here is what a reload of the selector would find. */
	struct kvm_segment code = {
		.selector = BOOT_CODE_SELECTOR,
		.limit = 0xffffffff,
		.type = 0xb,
		.present = 1,
		.s = 1,
		.l = 1,
		.g = 1,
	};
	struct kvm_segment data = {
		.selector = BOOT_DATA_SELECTOR,
		.limit = 0xffffffff,
		.type = 0x3,
		.present = 1,
		.s = 1,
		.db = 1,
		.g = 1,
	};

	sregs->cs = code;
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
	sregs->gdt = (struct kvm_dtable){ .base = BOOT_GDT_GPA, .limit = GDT_ENTRIES * 8 - 1 };
	sregs->idt = (struct kvm_dtable){ 0 };
	sregs->cr0 = CR0_PE | CR0_ET | CR0_PG;
	sregs->cr3 = BOOT_PAGE_TABLE_GPA;
	sregs->cr4 = CR4_PAE;
	sregs->efer = EFER_LME | EFER_LMA;

	*regs = (struct kvm_regs){
		.rip = kernel->entry,
		.rsi = BOOT_PARAMS_GPA,
		.rsp = BOOT_STACK_GPA,
		.rbp = BOOT_STACK_GPA,
		.rflags = RFLAGS_RESERVED,
	};
}
