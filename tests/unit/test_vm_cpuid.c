// SPDX-License-Identifier: Apache-2.0
#include "vm/cpuid.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#define MAX 64

/* What a host might support: every bit of every leaf, and topology of its own. */
static struct kvm_cpuid2 *host(void)
{
	static const struct {
		uint32_t function, index, eax;
	} leaves[] = {
		{ 0, 0, 0x1f },
		{ 1, 0, ~0u },
		{ 4, 0, 0xfc004121 },
		{ 4, 1, 0xfc004163 },
		{ 4, 2, 0 },
		{ 6, 0, ~0u },
		{ 7, 0, ~0u },
		{ 7, 1, ~0u },
		{ 0xa, 0, ~0u },
		{ 0xb, 0, 1 },
		{ 0xb, 1, 6 },
		{ 0x12, 0, ~0u },
		{ 0x14, 0, ~0u },
		{ 0x1f, 0, 1 },
		{ 0x80000001, 0, ~0u },
		{ 0x80000008, 0, ~0u },
		{ 0x8000000a, 0, ~0u },
		{ 0x8000001d, 0, 0xfc004121 },
		{ 0x8000001d, 3, 0xfc03c163 },
		{ 0x8000001e, 0, ~0u },
	};
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + MAX * sizeof(struct kvm_cpuid_entry2));

	cr_assert_not_null(c);
	for (size_t i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++)
		c->entries[c->nent++] = (struct kvm_cpuid_entry2){
			.function = leaves[i].function,
			.index = leaves[i].index,
			.eax = leaves[i].eax,
			.ebx = ~0u,
			.ecx = ~0u,
			.edx = ~0u,
		};
	return c;
}

static struct kvm_cpuid_entry2 leaf(const struct kvm_cpuid2 *c, uint32_t function, uint32_t index)
{
	struct kvm_cpuid_entry2 found = { 0 };
	int n = 0;

	for (uint32_t i = 0; i < c->nent; i++)
		if (c->entries[i].function == function && c->entries[i].index == index) {
			found = c->entries[i];
			n++;
		}
	cr_assert_eq(n, 1, "leaf %#x.%u is there once", function, index);
	return found;
}

Test(cpuid, identity_of_a_vcpu)
{
	for (unsigned int cpu = 0; cpu < 5; cpu++) {
		struct kvm_cpuid2 *c = host();

		cr_assert_eq(cpuid_filter(c, MAX, cpu, 5, true), 0);
		cr_assert_eq(leaf(c, 1, 0).ebx >> 24, cpu, "APIC id");
		cr_assert_eq(leaf(c, 1, 0).ebx >> 16 & 0xff, 5, "logical processors");
		cr_assert_eq(leaf(c, 0xb, 0).edx, cpu);
		cr_assert_eq(leaf(c, 0xb, 1).edx, cpu);
		cr_assert_eq(leaf(c, 0x1f, 0).edx, cpu);
		cr_assert_eq(leaf(c, 0x8000001e, 0).eax, cpu);
		free(c);
	}
}

Test(cpuid, topology)
{
	static const struct {
		unsigned int ncpus, bits;
	} cases[] = { { 1, 0 }, { 2, 1 }, { 3, 2 }, { 4, 2 }, { 5, 3 }, { 32, 5 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct kvm_cpuid2 *c = host();
		unsigned int n = cases[i].ncpus, bits = cases[i].bits;

		cr_assert_eq(cpuid_filter(c, MAX, 0, n, true), 0);
		cr_assert_eq(leaf(c, 0xb, 0).eax, 0, "a thread takes no bits");
		cr_assert_eq(leaf(c, 0xb, 0).ebx, 1);
		cr_assert_eq(leaf(c, 0xb, 0).ecx, 0x100);
		cr_assert_eq(leaf(c, 0xb, 1).eax, bits);
		cr_assert_eq(leaf(c, 0xb, 1).ebx, n);
		cr_assert_eq(leaf(c, 0xb, 1).ecx, 0x201);
		cr_assert_eq(leaf(c, 0xb, 2).ebx, 0, "and no third level");
		cr_assert_eq(leaf(c, 0x80000008, 0).ecx, bits << 12 | (n - 1));
		cr_assert_eq(leaf(c, 1, 0).edx >> 28 & 1, n > 1, "HTT");
		/* The first level cache is one core's, the third is everyone's. */
		cr_assert_eq(leaf(c, 4, 0).eax >> 14 & 0xfff, 0);
		cr_assert_eq(leaf(c, 4, 1).eax >> 14 & 0xfff, (1u << bits) - 1);
		cr_assert_eq(leaf(c, 4, 1).eax >> 26, (1u << bits) - 1);
		cr_assert_eq(leaf(c, 4, 1).eax & 0x3fff, 0x163, "the cache itself is the host's");
		cr_assert_eq(leaf(c, 4, 2).eax, 0, "the end of the list");
		cr_assert_eq(leaf(c, 0x8000001d, 0).eax >> 14, 0);
		cr_assert_eq(leaf(c, 0x8000001d, 3).eax >> 14, n - 1);
		free(c);
	}
}

/* What this machine does not have. */
Test(cpuid, removed)
{
	struct kvm_cpuid2 *c = host();

	cr_assert_eq(cpuid_filter(c, MAX, 0, 1, false), 0);
	cr_assert_eq(leaf(c, 1, 0).ecx & (1u << 5 | 1u << 15 | 1u << 24), 0, "VMX, PDCM, deadline");
	cr_assert(leaf(c, 1, 0).ecx & 1u << 31, "hypervisor");
	cr_assert_eq(leaf(c, 6, 0).eax, 4, "ARAT alone");
	cr_assert_eq(leaf(c, 6, 0).ecx, 0);
	cr_assert_eq(leaf(c, 7, 0).ebx & (1u << 2 | 1u << 25), 0, "SGX, PT");
	cr_assert_eq(leaf(c, 7, 0).ecx & 1u << 30, 0, "SGX launch control");
	cr_assert_eq(leaf(c, 7, 1).ebx, ~0u, "another leaf");
	cr_assert_eq(leaf(c, 0xa, 0).eax, 0, "performance counters");
	cr_assert_eq(leaf(c, 0x12, 0).eax, 0);
	cr_assert_eq(leaf(c, 0x14, 0).ebx, 0);
	cr_assert_eq(leaf(c, 0x80000001, 0).ecx & (1u << 2 | 1u << 23 | 1u << 24 | 1u << 28), 0);
	cr_assert_eq(leaf(c, 0x8000000a, 0).edx, 0, "SVM");
	free(c);
}

/* KVM may leave it out of what it supports though it is there. */
Test(cpuid, deadline_timer)
{
	struct kvm_cpuid2 *c = host();

	c->entries[1].ecx = 0;
	cr_assert_eq(cpuid_filter(c, MAX, 0, 1, true), 0);
	cr_assert(leaf(c, 1, 0).ecx & 1u << 24);
	free(c);
}

/* Topology leaves only where the processor has leaves of that number. */
Test(cpuid, old_processors)
{
	struct kvm_cpuid2 *c = host();

	c->entries[0].eax = 0xd;
	cr_assert_eq(cpuid_filter(c, MAX, 0, 2, true), 0);
	leaf(c, 0xb, 0);
	for (uint32_t i = 0; i < c->nent; i++)
		cr_assert_neq(c->entries[i].function, 0x1f);
	free(c);
	c = host();
	c->entries[0].eax = 0xa;
	cr_assert_eq(cpuid_filter(c, MAX, 0, 2, true), 0);
	for (uint32_t i = 0; i < c->nent; i++)
		cr_assert_neq(c->entries[i].function, 0xb);
	free(c);
}

Test(cpuid, no_room)
{
	struct kvm_cpuid2 *c = host();
	unsigned int needed = c->nent - 3 + 6; /* the host's three go, two times three come */

	cr_assert_eq(cpuid_filter(c, needed - 1, 0, 2, true), -E2BIG);
	free(c);
	c = host();
	cr_assert_eq(cpuid_filter(c, needed, 0, 2, true), 0);
	cr_assert_eq(c->nent, needed);
	free(c);
}
