// SPDX-License-Identifier: Apache-2.0
#include "payload.h"

#include <asm/bootparam.h>
#include <stdarg.h>

#define HEAP_BYTES (16u << 20)

#define I8042_COMMAND   0x64
#define I8042_CMD_RESET 0xfe

#define LAPIC_GPA      0xfee00000ull
#define LAPIC_SVR      0x0f0
#define LAPIC_ICR_LOW  0x300
#define LAPIC_ICR_HIGH 0x310
#define SVR_ENABLE     0x100u
#define ICR_INIT       0x4500u
#define ICR_STARTUP    0x4600u

static uint8_t heap_bytes[HEAP_BYTES] __attribute__((aligned(4096)));
static struct heap own_heap = { .base = heap_bytes, .size = HEAP_BYTES };
static struct heap *heap = &own_heap;

unsigned int patience = PATIENCE;

void *memcpy(void *dst, const void *src, size_t n)
{
	void *ret = dst;

	asm volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
	return ret;
}

void *memset(void *dst, int c, size_t n)
{
	void *ret = dst;

	asm volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(c) : "memory");
	return ret;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *p = a, *q = b;

	for (; n; n--, p++, q++)
		if (*p != *q)
			return *p < *q ? -1 : 1;
	return 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return (uint8_t)*a - (uint8_t)*b;
}

bool cmdline_has(const char *word)
{
	const char *s = (const char *)(uintptr_t)boot_params()->hdr.cmd_line_ptr;
	size_t n = strlen(word);

	while (*s) {
		size_t len = 0;

		while (s[len] && s[len] != ' ')
			len++;
		if (len == n && !memcmp(s, word, n))
			return true;
		s += len;
		while (*s == ' ')
			s++;
	}
	return false;
}

uint32_t cmdline_number(const char *name, uint32_t otherwise)
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

static void put_number(uint64_t v, unsigned int base)
{
	char buf[21];
	int n = sizeof(buf);

	do {
		buf[--n] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	while (n < (int)sizeof(buf))
		outb(SERIAL_PORT, (uint8_t)buf[n++]);
}

static void put_string(const char *s)
{
	while (*s)
		outb(SERIAL_PORT, (uint8_t)*s++);
}

static void vprint(const char *fmt, va_list ap)
{
	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			outb(SERIAL_PORT, (uint8_t)*fmt);
			continue;
		}
		switch (*++fmt) {
		case 's':
			put_string(va_arg(ap, const char *));
			break;
		case 'c':
			outb(SERIAL_PORT, (uint8_t)va_arg(ap, int));
			break;
		case 'u':
			put_number(va_arg(ap, unsigned int), 10);
			break;
		case 'x':
			put_number(va_arg(ap, unsigned int), 16);
			break;
		case 'p':
			put_number(va_arg(ap, uint64_t), 16);
			break;
		}
	}
}

void print(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprint(fmt, ap);
	va_end(ap);
}

void ok(const char *name)
{
	print("ok %s\n", name);
}

void skip(const char *name, const char *why)
{
	print("skip %s %s\n", name, why);
}

void fail(const char *name, const char *fmt, ...)
{
	va_list ap;

	print("FAIL %s ", name);
	va_start(ap, fmt);
	vprint(fmt, ap);
	va_end(ap);
	print("\n");
}

void expect(const char *name, bool good, const char *otherwise)
{
	if (good)
		ok(name);
	else
		fail(name, "%s", otherwise);
}

void expect_eq(const char *name, uint64_t got, uint64_t want)
{
	if (got == want)
		ok(name);
	else
		fail(name, "0x%p instead of 0x%p", got, want);
}

void *alloc(size_t size, size_t align)
{
	size_t at = (heap->used + align - 1) & ~(align - 1);

	if (at > heap->size || size > heap->size - at) {
		fail("alloc", "the payload's heap is too small");
		payload_done();
	}
	void *p = heap->base + at;

	if (at < heap->dirty)
		memset(p, 0, size);
	heap->used = at + size;
	if (heap->used > heap->dirty)
		heap->dirty = heap->used;
	return p;
}

struct heap *alloc_from(struct heap *from)
{
	struct heap *before = heap;

	heap = from;
	return before;
}

const struct boot_params *boot_params(void)
{
	return (const struct boot_params *)boot_params_gpa;
}

static uint64_t ram_end(uint64_t from, uint64_t below)
{
	const struct boot_params *bp = boot_params();
	uint64_t end = from;

	for (unsigned int i = 0; i < bp->e820_entries; i++) {
		const struct boot_e820_entry *e = &bp->e820_table[i];

		if (e->addr >= from && e->addr < below && e->addr + e->size > end)
			end = e->addr + e->size;
	}
	return end;
}

uint64_t low_ram_end(void)
{
	return ram_end(0, 1ull << 32);
}

uint64_t high_ram_end(void)
{
	return ram_end(1ull << 32, ~0ull);
}

void machine_reset(void)
{
	for (;;)
		outb(I8042_COMMAND, I8042_CMD_RESET);
}

void payload_done(void)
{
	print("done\n");
	machine_reset();
}

extern void (*ap_function)(void);
extern const uint8_t ap_trampoline[], ap_trampoline_end[];

void ap_start(void (*fn)(void))
{
	ap_function = fn;
	memcpy((void *)(uintptr_t)AP_TRAMPOLINE_GPA, ap_trampoline,
	       (size_t)(ap_trampoline_end - ap_trampoline));
	fence();
	/* A local APIC that is not enabled sends nothing. */
	write32(LAPIC_GPA + LAPIC_SVR, SVR_ENABLE | 0xff);
	write32(LAPIC_GPA + LAPIC_ICR_HIGH, 1u << 24);
	write32(LAPIC_GPA + LAPIC_ICR_LOW, ICR_INIT);
	for (int i = 0; i < 100; i++)
		relax();
	write32(LAPIC_GPA + LAPIC_ICR_HIGH, 1u << 24);
	write32(LAPIC_GPA + LAPIC_ICR_LOW, ICR_STARTUP | AP_TRAMPOLINE_GPA >> 12);
}
