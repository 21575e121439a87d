// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/kvm.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "vm/bus.h"

/*
 * Register writes that KVM keeps for us until a vCPU exits for another reason (KVM API 4.67,
 * KVM_REGISTER_COALESCED_MMIO): for registers whose writes do nothing but store a value for a later
 * one to act on. They come in order, those of all vCPUs in one ring. A write that finds the ring
 * full is an exit as ever.
 */
struct coalesced {
	pthread_mutex_t lock;                 /* whoever takes entries out */
	size_t page;                          /* of a vCPU's mapping; 0: the host has no ring */
	struct kvm_coalesced_mmio_ring *ring; /* in that page; NULL: not attached */
};

/* As many as KVM's page has room for; one of them stays free. */
#define COALESCED_ENTRIES \
	((4096u - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))

/* Ask the host once whether, and where, it has the ring of the VM. */
void coalesced_init(struct coalesced *c, int vm_fd);

/*
 * Have writes to @size bytes at @gpa kept, if the host does that. Before the vCPUs run. Returns 0
 * or negative errno.
 */
int coalesced_add(const struct coalesced *c, int vm_fd, uint64_t gpa, uint32_t size);

/*
 * Find the ring in a vCPU's mapping of @run_size bytes, which has to stay as long as vCPUs run.
 * Returns 0, also where the host has none; or negative errno.
 */
int coalesced_attach(struct coalesced *c, struct kvm_run *run, size_t run_size);

/*
 * Dispatch what has been kept, before the exit of a vCPU that comes behind it is handled: whatever
 * that vCPU has written or knows to be written has reached its device when this returns. On any
 * vCPU's thread.
 */
void coalesced_dispatch(struct coalesced *c, const struct bus *mmio);
