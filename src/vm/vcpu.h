// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "vm/bus.h"
#include "vm/channel.h"
#include "vm/coalesced.h"

/* What a vCPU reports to; any vCPU's thread. */
struct vcpu_owner {
	const struct bus *pio;
	const struct bus *mmio;
	struct coalesced *coalesced;
	/* The VM is over; @text may be NULL. Later calls change nothing. */
	void (*end)(void *ctx, enum vm_end why, const char *text);
	/* The thread is ready; returns whether it is to run the guest, or to end. */
	bool (*begin)(void *ctx);
	/* vcpus_pause() is done: the last of them has left the guest. */
	void (*paused)(void *ctx);
	void *ctx;
};

/* What holds a machine's vCPUs back while it is paused. */
struct vcpu_gate {
	pthread_mutex_t lock;
	pthread_cond_t opened;
	atomic_bool closed;
	unsigned int waiting; /* vCPUs */
};

/* A vCPU and its thread, which only runs, decodes the exit and dispatches the access. */
struct vcpu {
	unsigned int id; /* also its APIC id */
	int fd;
	int stats_fd; /* KVM's counters, which can be read while it runs; -1: the host has none */
	struct kvm_run *run;
	size_t run_size;
	const struct vcpu_owner *owner;
	struct vcpu_gate *gate;
	unsigned int ncpus; /* that share it */
	pthread_t thread;
	bool started;
	atomic_bool stop;
	_Atomic uint64_t user_exits, pio_exits, mmio_exits; /* written by the thread alone */
};

#define VCPU_GATE_INIT                                                                \
	{                                                                             \
		.lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER \
	}

/*
 * Make vCPU @id of @ncpus in VM @vm_fd, with its CPUID and MSRs. @cpuid is what KVM supports, @gate
 * that of all vCPUs of the VM.
 * Returns 0 or negative errno.
 */
int vcpu_init(struct vcpu *v, int kvm_fd, int vm_fd, unsigned int id, unsigned int ncpus,
	      const struct kvm_cpuid2 *cpuid, const struct vcpu_owner *owner,
	      struct vcpu_gate *gate);
void vcpu_deinit(struct vcpu *v);

/* Start the thread. Returns 0 or negative errno. */
int vcpu_start(struct vcpu *v);

/* Make the thread leave the guest and end, and wait for it. Nothing happens where it never began.
 */
void vcpu_stop(struct vcpu *v);

/*
 * Have all @n vCPUs, which share a gate, leave the guest, without waiting for it: the last one that
 * does calls owner->paused(). And let them go on. One thread at a time calls these two.
 */
void vcpus_pause(struct vcpu *vcpus, unsigned int n);
void vcpus_resume(struct vcpu *vcpus, unsigned int n);

/* Once per process, before the first vcpu_start(): the signal that interrupts KVM_RUN. */
void vcpu_init_signal(void);
