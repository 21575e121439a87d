// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * What a payload guest stands on: ports, memory-mapped registers, the serial port as its voice, and
 * the handful of C library functions that compilers call on their own.
 *
 * A payload prints a line for each thing it checked, "ok NAME", "FAIL NAME what" or "skip NAME
 * why", and "done" at last; then it resets the machine. The harness on the host reads that.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define SERIAL_PORT  0x3f8
#define NOBODYS_PORT 0x80

static inline uint8_t inb(uint16_t port)
{
	uint8_t v;

	asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint16_t inw(uint16_t port)
{
	uint16_t v;

	asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint32_t inl(uint16_t port)
{
	uint32_t v;

	asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline void outb(uint16_t port, uint8_t v)
{
	asm volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outw(uint16_t port, uint16_t v)
{
	asm volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outl(uint16_t port, uint32_t v)
{
	asm volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

/* Registers in memory: one access of just this width, whatever the optimizer thinks. */
static inline uint8_t read8(uint64_t addr)
{
	uint8_t v;

	asm volatile("movb (%1), %0" : "=q"(v) : "r"(addr) : "memory");
	return v;
}

static inline uint16_t read16(uint64_t addr)
{
	uint16_t v;

	asm volatile("movw (%1), %0" : "=r"(v) : "r"(addr) : "memory");
	return v;
}

static inline uint32_t read32(uint64_t addr)
{
	uint32_t v;

	asm volatile("movl (%1), %0" : "=r"(v) : "r"(addr) : "memory");
	return v;
}

static inline uint64_t read64(uint64_t addr)
{
	uint64_t v;

	asm volatile("movq (%1), %0" : "=r"(v) : "r"(addr) : "memory");
	return v;
}

static inline void write8(uint64_t addr, uint8_t v)
{
	asm volatile("movb %0, (%1)" : : "q"(v), "r"(addr) : "memory");
}

static inline void write16(uint64_t addr, uint16_t v)
{
	asm volatile("movw %0, (%1)" : : "r"(v), "r"(addr) : "memory");
}

static inline void write32(uint64_t addr, uint32_t v)
{
	asm volatile("movl %0, (%1)" : : "r"(v), "r"(addr) : "memory");
}

static inline void write64(uint64_t addr, uint64_t v)
{
	asm volatile("movq %0, (%1)" : : "r"(v), "r"(addr) : "memory");
}

struct cpuid {
	uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t index)
{
	struct cpuid c = { leaf, 0, index, 0 };

	asm volatile("cpuid" : "+a"(c.eax), "=b"(c.ebx), "+c"(c.ecx), "=d"(c.edx));
	return c;
}

/* Order of memory accesses against the device, which is another CPU to us. */
static inline void fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void *memcpy(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
/* Whether the command line has @word as one of its words. */
bool cmdline_has(const char *word);
/* The number behind the word @name= of the command line, or @otherwise. */
uint32_t cmdline_number(const char *name, uint32_t otherwise);

/* Text on the serial port. print() knows %s, %c, %u (unsigned), %x and %p (uint64_t, in hex). */
void print(const char *fmt, ...);

/* Verdicts. */
void ok(const char *name);
void skip(const char *name, const char *why);
void fail(const char *name, const char *fmt, ...);
void expect(const char *name, bool good, const char *otherwise);
void expect_eq(const char *name, uint64_t got, uint64_t want);

/*
 * How often to look before giving up waiting for something that takes an exit to look at: PATIENCE,
 * or less where it may well never come.
 */
#define PATIENCE 1000000u
extern unsigned int patience;

/* Give the host's threads time: an exit to the monitor and back, through a port that nobody has. */
static inline void relax(void)
{
	inb(NOBODYS_PORT);
}

/* Memory to take pieces from. */
struct heap {
	uint8_t *base;
	size_t size;
	size_t used;
	size_t dirty; /* so much of it may hold something; the rest is zeroes */
};

/* Zeroed memory. @align is a power of two. Given back only by setting the heap's @used back. */
void *alloc(size_t size, size_t align);

/* Have alloc() take from @heap from now on. Returns what it took from before. */
struct heap *alloc_from(struct heap *heap);

/* Address of struct boot_params, as %rsi had it. */
extern uint64_t boot_params_gpa;
const struct boot_params *boot_params(void);

/* First byte past the RAM below 3 GiB, from the memory map. */
uint64_t low_ram_end(void);

/* Likewise past all RAM; 4 GiB where none is above that. */
uint64_t high_ram_end(void);

/* Pull the reset line. */
void machine_reset(void) __attribute__((noreturn));

/* "done", and reset. Returning from payload_main() does it. */
void payload_done(void) __attribute__((noreturn));

/* What a payload is. */
void payload_main(void);

#define AP_TRAMPOLINE_GPA 0x10000u

/* Start CPU 1 in @fn, by INIT and SIPI as firmware does. Returns at once. */
void ap_start(void (*fn)(void));
