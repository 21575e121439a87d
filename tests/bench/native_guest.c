// SPDX-License-Identifier: Apache-2.0
#include "native_guest.h"

#include <asm/bootparam.h>

#define PAGE_PRESENT 1ull
#define PAGE_USER    4ull
#define PAGE_LARGE   0x80ull
#define PAGE_ADDR    0xffffffffff000ull

uint32_t kicks;

void enter_user(void (*fn)(void));

uint32_t option(const char *name, uint32_t otherwise)
{
	const char *s = (const char *)(uintptr_t)boot_params()->hdr.cmd_line_ptr;
	size_t n = strlen(name);

	for (; *s; s++) {
		if (memcmp(s, name, n) || s[n] != '=')
			continue;
		uint32_t v = 0;

		for (s += n + 1; *s >= '0' && *s <= '9'; s++)
			v = 10 * v + (uint32_t)(*s - '0');
		return v;
	}
	return otherwise;
}

/* Let user mode have every page that the table at @table maps, in @levels levels. */
static void map_for_user(uint64_t table, unsigned int levels)
{
	volatile uint64_t *e = (volatile uint64_t *)table;

	for (unsigned int i = 0; i < 512; i++) {
		if (!(e[i] & PAGE_PRESENT))
			continue;
		e[i] |= PAGE_USER;
		if (levels > 1 && !(e[i] & PAGE_LARGE))
			map_for_user(e[i] & PAGE_ADDR, levels - 1);
	}
}

void run_in_user_mode(void (*fn)(void))
{
	uint64_t cr3;

	asm volatile("mov %%cr3, %0" : "=r"(cr3));
	map_for_user(cr3 & PAGE_ADDR, 4);
	asm volatile("mov %0, %%cr3" : : "r"(cr3) : "memory");
	enter_user(fn);
}

void publish(struct vq *q, uint16_t old)
{
	vq_publish(q);
	fence();
	uint16_t event = *vq_avail_event(q);

	if (vring_need_event(event, q->avail_idx, old)) {
		reg_write(q->dev, VIRTIO_MMIO_QUEUE_NOTIFY, q->index);
		kicks++;
	}
}
