// SPDX-License-Identifier: Apache-2.0
#include "user.h"

#define PAGE_PRESENT 1ull
#define PAGE_USER    4ull
#define PAGE_LARGE   0x80ull
#define PAGE_ADDR    0xffffffffff000ull
#define ENTRIES      512
#define LEVELS       4

static uint64_t copy_table(uint64_t from, unsigned int levels)
{
	const uint64_t *old = (const uint64_t *)from;
	uint64_t *new = alloc(ENTRIES * sizeof(*new), 4096);

	for (unsigned int i = 0; i < ENTRIES; i++) {
		if (!(old[i] & PAGE_PRESENT))
			continue;
		new[i] = old[i] | PAGE_USER;
		if (levels > 1 && !(old[i] & PAGE_LARGE))
			new[i] = copy_table(old[i] & PAGE_ADDR, levels - 1) | (new[i] & ~PAGE_ADDR);
	}
	return (uintptr_t) new;
}

uint64_t user_make_map(void)
{
	uint64_t cr3;

	asm volatile("mov %%cr3, %0" : "=r"(cr3));
	return copy_table(cr3 & PAGE_ADDR, LEVELS);
}

void user_map(uint64_t table)
{
	asm volatile("mov %0, %%cr3" : : "r"(table) : "memory");
}

#define DATA_SELECTOR 0x23
#define CODE_SELECTOR 0x2b
#define TSS_SELECTOR  0x30 /* of the first CPU to come */
#define CPUS          2
#define FLAGS         0x3002ull /* IOPL 3, interrupts off */
#define PORTS         65536

/* As much of a task state segment as says which ports user mode has. */
struct tss {
	uint8_t unused[102];
	uint16_t map_offset;
	uint8_t map[PORTS / 8 + 1]; /* a set bit forbids; a last byte of ones is to follow */
} __attribute__((packed));

static struct tss tss = { .map_offset = offsetof(struct tss, map), .map[PORTS / 8] = 0xff };

static uint64_t gdt[6 + 2 * CPUS] = {
	[2] = 0x00af9b000000ffff, /* 0x10: code, as the boot protocol has it */
	[3] = 0x00cf93000000ffff, /* 0x18: data */
	[4] = 0x00cff3000000ffff, /* 0x23: data for CPL 3 */
	[5] = 0x00affb000000ffff, /* 0x2b: code for CPL 3 */
};

/* The segment is busy once a CPU has loaded it, so each has a descriptor of its own. */
static uint16_t describe_tss(void)
{
	static unsigned int cpus;
	unsigned int i = TSS_SELECTOR / 8 + 2 * __atomic_fetch_add(&cpus, 1, __ATOMIC_SEQ_CST);
	uint64_t base = (uintptr_t)&tss, limit = sizeof(tss) - 1;

	gdt[i] = limit | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
	gdt[i + 1] = base >> 32;
	return (uint16_t)(8 * i);
}

/* Ports twice, by IOPL and by map: KVM-PVM forgets the first when the host takes the CPU away. */
void user_enter(void (*fn)(void), void *stack_top)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) reg = { sizeof(gdt) - 1, (uintptr_t)gdt };
	/* As if @fn had been called. */
	uint64_t stack = ((uintptr_t)stack_top & ~15ull) - 8;

	asm volatile("lgdt %0\n\t"
		     "ltr %1\n\t"
		     "pushq %2\n\t"
		     "pushq %3\n\t"
		     "pushq %4\n\t"
		     "pushq %5\n\t"
		     "pushq %6\n\t"
		     "iretq"
		     :
		     : "m"(reg), "r"(describe_tss()), "i"(DATA_SELECTOR), "r"(stack), "i"(FLAGS),
		       "i"(CODE_SELECTOR), "r"(fn)
		     : "memory");
	__builtin_unreachable();
}
