// SPDX-License-Identifier: Apache-2.0
#include "test_boot.h"

#include <errno.h>

#include "boot/mptable.h"

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s = (uint8_t)(s + *p++);
	return s;
}

static uint16_t u16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t u32(const uint8_t *p)
{
	return u16(p) | (uint32_t)u16(p + 2) << 16;
}

struct counts {
	unsigned int cpus, buses, ioapics, interrupts, local;
};

/* Walk the table as the specification lays it out. */
static struct counts walk(const struct guest_mem *mem)
{
	const uint8_t *mpf = mem->base + BOOT_MPTABLE_GPA;
	struct counts n = { 0 };
	uint8_t ioapic = 0xff;

	cr_assert_eq(memcmp(mpf, "_MP_", 4), 0);
	cr_assert_eq(mpf[8], 1, "one paragraph");
	cr_assert_eq(mpf[9], 4, "version 1.4");
	cr_assert_eq(mpf[11], 0, "no default configuration");
	cr_assert_eq(sum(mpf, 16), 0);

	const uint8_t *t = mem->base + u32(mpf + 4);
	uint16_t len = u16(t + 4), entries = u16(t + 34);

	cr_assert_eq(memcmp(t, "PCMP", 4), 0);
	cr_assert_eq(sum(t, len), 0);
	cr_assert_eq(u32(t + 36), BOOT_LAPIC_GPA);
	cr_assert_leq(u32(mpf + 4) + len, BOOT_MPTABLE_GPA + BOOT_MPTABLE_MAX);

	const uint8_t *p = t + 44;

	for (unsigned int i = 0; i < entries; i++) {
		switch (p[0]) {
		case 0:
			cr_expect_eq(p[1], n.cpus, "APIC id");
			cr_expect_eq(p[3], n.cpus ? 1 : 3, "enabled, and the first one boots");
			n.cpus++;
			p += 20;
			break;
		case 1:
			cr_expect_eq(memcmp(p + 2, "ISA   ", 6), 0);
			n.buses++;
			p += 8;
			break;
		case 2:
			ioapic = p[1];
			cr_expect_eq(ioapic, n.cpus, "an id that no CPU has");
			cr_expect_eq(p[3], 1, "enabled");
			cr_expect_eq(u32(p + 4), BOOT_IOAPIC_GPA);
			n.ioapics++;
			p += 8;
			break;
		case 3:
			cr_expect_eq(p[6], ioapic);
			cr_expect_eq(p[5], p[7], "IRQ n is pin n");
			cr_expect_neq(p[5], 2, "the cascade");
			cr_expect_eq(u16(p + 2), 5, "edge, high");
			n.interrupts++;
			p += 8;
			break;
		case 4:
			n.local++;
			p += 8;
			break;
		default:
			cr_assert_fail("entry of type %u", p[0]);
		}
	}
	cr_expect_eq(p - t, len);
	return n;
}

Test(boot_mptable, one_cpu_and_many)
{
	struct guest_mem mem = test_mem(32 * MIB);

	for (unsigned int cpus = 1; cpus <= BOOT_CPUS_MAX; cpus++) {
		struct machine m = { .cpus = cpus };

		cr_assert_eq(mptable_write(&mem, &m), 0);
		struct counts n = walk(&mem);

		cr_expect_eq(n.cpus, cpus);
		cr_expect_eq(n.buses, 1);
		cr_expect_eq(n.ioapics, 1);
		cr_expect_eq(n.interrupts, 23, "every pin of the IOAPIC but the cascade's");
		cr_expect_eq(n.local, 2);
	}
	guest_mem_deinit(&mem);
}

Test(boot_mptable, refuses_what_has_no_room)
{
	struct guest_mem mem = test_mem(32 * MIB);
	struct machine none = { .cpus = 0 }, many = { .cpus = BOOT_CPUS_MAX + 1 };

	cr_expect_eq(mptable_write(&mem, &none), -EINVAL);
	cr_expect_eq(mptable_write(&mem, &many), -EINVAL);
	guest_mem_deinit(&mem);
}
