// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/kvm.h>
#include <stdbool.h>

/*
 * Turn what KVM supports into what vCPU @cpu of @ncpus is to see: a package of @ncpus cores of one
 * thread each, with APIC id = @cpu, a TSC-deadline timer where @tsc_deadline, and nothing that this
 * machine does not have (nested virtualisation, performance counters, SGX, processor trace).
 * @max is the room in @cpuid->entries; returns 0, or -E2BIG where a leaf had no room.
 */
int cpuid_filter(struct kvm_cpuid2 *cpuid, unsigned int max, unsigned int cpu, unsigned int ncpus,
		 bool tsc_deadline);
