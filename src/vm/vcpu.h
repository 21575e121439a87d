// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "vm/bus.h"
#include "vm/channel.h"

/* What a vCPU reports to; any vCPU's thread. */
struct vcpu_owner {
	const struct bus *pio;
	const struct bus *mmio;
	/* The VM is over; @text may be NULL. Later calls change nothing. */
	void (*end)(void *ctx, enum vm_end why, const char *text);
	void *ctx;
};

/* A vCPU and its thread, which only runs, decodes the exit and dispatches the access. */
struct vcpu {
	unsigned int id; /* also its APIC id */
	int fd;
	struct kvm_run *run;
	size_t run_size;
	const struct vcpu_owner *owner;
	pthread_t thread;
	bool started;
	atomic_bool stop;
	uint64_t user_exits, pio_exits, mmio_exits; /* written by the thread; read after the join */
};

/*
 * Make vCPU @id of @ncpus in VM @vm_fd, with its CPUID and MSRs. @cpuid is what KVM supports.
 * Returns 0 or negative errno.
 */
int vcpu_init(struct vcpu *v, int kvm_fd, int vm_fd, unsigned int id, unsigned int ncpus,
	      const struct kvm_cpuid2 *cpuid, const struct vcpu_owner *owner);
void vcpu_deinit(struct vcpu *v);

/* Start the thread. Returns 0 or negative errno. */
int vcpu_start(struct vcpu *v);

/* Make the thread leave the guest and end, and wait for it. Nothing happens where it never began.
 */
void vcpu_stop(struct vcpu *v);

/* Once per process, before the first vcpu_start(): the signal that interrupts KVM_RUN. */
void vcpu_init_signal(void);
