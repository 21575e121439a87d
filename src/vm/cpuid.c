// SPDX-License-Identifier: Apache-2.0
/*
 * Leaves and bits are those of the Intel SDM, volume 2A, CPUID, and the AMD APM, volume 3,
 * appendix E; the names in the comments are theirs.
 */
#include "vm/cpuid.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#define BIT(n) (1u << (n))

/* Leaf 1, ECX and EBX. */
#define L1_ECX_VMX          BIT(5)
#define L1_ECX_PDCM         BIT(15)
#define L1_ECX_TSC_DEADLINE BIT(24)
#define L1_ECX_HYPERVISOR   BIT(31)
#define L1_EDX_HTT          BIT(28)
/* Leaf 6, EAX: the APIC timer runs at a constant rate in all power states. */
#define L6_EAX_ARAT BIT(2)
/* Leaf 7. */
#define L7_EBX_SGX    BIT(2)
#define L7_EBX_PT     BIT(25)
#define L7_ECX_SGX_LC BIT(30)
/* Leaf 0x80000001, ECX. */
#define LX1_ECX_SVM         BIT(2)
#define LX1_ECX_PERFCTR     BIT(23)
#define LX1_ECX_PERFCTR_NB  BIT(24)
#define LX1_ECX_PERFCTR_LLC BIT(28)

/* Bits that an APIC id in [0, n) takes. */
static unsigned int id_bits(unsigned int n)
{
	unsigned int bits = 0;

	while ((1u << bits) < n)
		bits++;
	return bits;
}

static void filter_cache(struct kvm_cpuid_entry2 *e, unsigned int ncpus)
{
	unsigned int level = e->eax >> 5 & 7;
	unsigned int sharing = level >= 3 ? ncpus : 1;

	/* EAX[25:14] counts who shares the cache, EAX[31:26] the cores of the package (Intel). */
	e->eax &= 0x3fffu;
	e->eax |= ((1u << id_bits(sharing)) - 1) << 14;
	e->eax |= ((1u << id_bits(ncpus)) - 1) << 26;
}

static void filter_leaf(struct kvm_cpuid_entry2 *e, unsigned int cpu, unsigned int ncpus,
			bool tsc_deadline)
{
	switch (e->function) {
	case 0x1:
		e->ebx &= 0x0000ffffu;
		e->ebx |= cpu << 24 | ncpus << 16;
		e->ecx &= ~(L1_ECX_VMX | L1_ECX_PDCM | L1_ECX_TSC_DEADLINE);
		e->ecx |= L1_ECX_HYPERVISOR | (tsc_deadline ? L1_ECX_TSC_DEADLINE : 0);
		e->edx &= ~L1_EDX_HTT;
		e->edx |= ncpus > 1 ? L1_EDX_HTT : 0;
		break;
	case 0x4:
		if (e->eax & 0x1f)
			filter_cache(e, ncpus);
		break;
	case 0x6:
		e->eax = L6_EAX_ARAT;
		e->ebx = e->ecx = e->edx = 0;
		break;
	case 0x7:
		if (e->index == 0) {
			e->ebx &= ~(L7_EBX_SGX | L7_EBX_PT);
			e->ecx &= ~L7_ECX_SGX_LC;
		}
		break;
	case 0xa:
	case 0x12:
	case 0x14:
		e->eax = e->ebx = e->ecx = e->edx = 0;
		break;
	case 0x80000001:
		e->ecx &=
			~(LX1_ECX_SVM | LX1_ECX_PERFCTR | LX1_ECX_PERFCTR_NB | LX1_ECX_PERFCTR_LLC);
		break;
	case 0x80000008:
		/* ECX: ApicIdCoreIdSize and NC (AMD). */
		e->ecx = id_bits(ncpus) << 12 | (ncpus - 1);
		break;
	case 0x8000000a:
		e->eax = e->ebx = e->ecx = e->edx = 0;
		break;
	case 0x8000001d:
		if (e->eax & 0x1f) {
			unsigned int level = e->eax >> 5 & 7;

			e->eax &= 0x3fffu;
			e->eax |= (level >= 3 ? ncpus - 1 : 0) << 14;
		}
		break;
	case 0x8000001e:
		e->eax = cpu;
		e->ebx = cpu;
		e->ecx = 0;
		break;
	}
}

static bool is_topology(const struct kvm_cpuid_entry2 *e)
{
	return e->function == 0xb || e->function == 0x1f;
}

/* Leaves 0xb and 0x1f: a thread level of one, then a core level of all. */
static int add_topology(struct kvm_cpuid2 *cpuid, unsigned int max, uint32_t leaf, unsigned int cpu,
			unsigned int ncpus)
{
	const struct {
		uint32_t shift, count, type;
	} levels[] = { { 0, 1, 1 }, { id_bits(ncpus), ncpus, 2 }, { 0, 0, 0 } };

	for (uint32_t i = 0; i < 3; i++) {
		if (cpuid->nent == max)
			return -E2BIG;
		cpuid->entries[cpuid->nent++] = (struct kvm_cpuid_entry2){
			.function = leaf,
			.index = i,
			.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
			.eax = levels[i].shift,
			.ebx = levels[i].count,
			.ecx = levels[i].type << 8 | i,
			.edx = cpu,
		};
	}
	return 0;
}

int cpuid_filter(struct kvm_cpuid2 *cpuid, unsigned int max, unsigned int cpu, unsigned int ncpus,
		 bool tsc_deadline)
{
	uint32_t max_leaf = 0, kept = 0;

	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 e = cpuid->entries[i];

		if (is_topology(&e))
			continue;
		if (e.function == 0)
			max_leaf = e.eax;
		filter_leaf(&e, cpu, ncpus, tsc_deadline);
		cpuid->entries[kept++] = e;
	}
	cpuid->nent = kept;
	if (max_leaf < 0xb)
		return 0;
	int ret = add_topology(cpuid, max, 0xb, cpu, ncpus);
	return ret || max_leaf < 0x1f ? ret : add_topology(cpuid, max, 0x1f, cpu, ncpus);
}
