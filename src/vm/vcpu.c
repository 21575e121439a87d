// SPDX-License-Identifier: Apache-2.0
#include "vm/vcpu.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/thread.h"
#include "vm/cpuid.h"
#include "vm/exit.h"

#define VCPU_SIGNAL SIGUSR1

#define MSR_IA32_MISC_ENABLE    0x1a0
#define MISC_ENABLE_FAST_STRING 1ull
#define MSR_MTRR_DEF_TYPE       0x2ff
#define MTRR_ENABLED            (1ull << 11)
#define MTRR_WRITE_BACK         6ull

/* Room for the leaves that cpuid_filter() may add. */
#define CPUID_EXTRA 6

static int set_cpuid(const struct vcpu *v, int kvm_fd, const struct kvm_cpuid2 *supported,
		     unsigned int ncpus)
{
	unsigned int max = supported->nent + CPUID_EXTRA;
	AUTO_FREE struct kvm_cpuid2 *c =
		calloc(1, sizeof(*c) + max * sizeof(struct kvm_cpuid_entry2));

	if (!c)
		return -ENOMEM;
	memcpy(c, supported, sizeof(*c) + supported->nent * sizeof(struct kvm_cpuid_entry2));
	bool deadline = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	int ret = cpuid_filter(c, max, v->id, ncpus, deadline);
	if (ret)
		return ret;
	return ioctl(v->fd, KVM_SET_CPUID2, c) ? -errno : 0;
}

/* What firmware leaves behind that a kernel relies on. */
static void set_msrs(const struct vcpu *v)
{
	static const struct kvm_msr_entry wanted[] = {
		{ .index = MSR_IA32_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRING },
		{ .index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLED | MTRR_WRITE_BACK },
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		union {
			struct kvm_msrs msrs;
			uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
		} u = { .msrs.nmsrs = 1 };

		memcpy(u.room + sizeof(struct kvm_msrs), &wanted[i], sizeof(wanted[i]));
		/* A CPU that lacks one does without; the kernel then asks CPUID and does too. */
		(void)ioctl(v->fd, KVM_SET_MSRS, &u.msrs);
	}
}

int vcpu_init(struct vcpu *v, int kvm_fd, int vm_fd, unsigned int id, unsigned int ncpus,
	      const struct kvm_cpuid2 *cpuid, const struct vcpu_owner *owner,
	      struct vcpu_gate *gate)
{
	*v = (struct vcpu){
		.id = id, .fd = -1, .stats_fd = -1, .owner = owner, .gate = gate, .ncpus = ncpus
	};

	int size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(struct kvm_run))
		return size < 0 ? -errno : -EINVAL;
	v->fd = ioctl(vm_fd, KVM_CREATE_VCPU, id);
	if (v->fd < 0)
		return -errno;
	v->stats_fd = ioctl(v->fd, KVM_GET_STATS_FD, NULL);
	void *run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (run == MAP_FAILED) {
		int ret = -errno;

		vcpu_deinit(v);
		return ret;
	}
	v->run = run;
	v->run_size = (size_t)size;
	int ret = id ? 0 : coalesced_attach(owner->coalesced, run, v->run_size);
	if (!ret)
		ret = set_cpuid(v, kvm_fd, cpuid, ncpus);
	if (ret) {
		vcpu_deinit(v);
		return ret;
	}
	set_msrs(v);
	return 0;
}

void vcpu_deinit(struct vcpu *v)
{
	if (v->run)
		munmap(v->run, v->run_size);
	if (v->stats_fd >= 0)
		close(v->stats_fd);
	if (v->fd >= 0)
		close(v->fd);
	*v = (struct vcpu){ .fd = -1, .stats_fd = -1 };
}

static void end(struct vcpu *v, enum vm_end why, const char *text)
{
	v->owner->end(v->owner->ctx, why, text);
	atomic_store(&v->stop, true);
}

/* Nobody else writes it, so that no locked instruction is needed. */
static void count(_Atomic uint64_t *counter)
{
	uint64_t n = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, n + 1, memory_order_relaxed);
}

/* String instructions bring several accesses of the same width in one exit. */
static void handle_pio(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_OUT)
			bus_write(v->owner->pio, run->io.port, data, run->io.size);
		else
			bus_read(v->owner->pio, run->io.port, data, run->io.size);
	}
	count(&v->pio_exits);
}

static void handle_mmio(struct vcpu *v)
{
	struct kvm_run *run = v->run;

	if (run->mmio.is_write)
		bus_write(v->owner->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	else
		bus_read(v->owner->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	count(&v->mmio_exits);
}

static void handle_unexpected(struct vcpu *v)
{
	char text[2048];

	exit_describe(v->run, v->fd, v->id, text, sizeof(text));
	end(v, VM_END_CRASH, text);
}

static void handle_exit(struct vcpu *v)
{
	count(&v->user_exits);
	coalesced_dispatch(v->owner->coalesced, v->owner->mmio);
	switch (v->run->exit_reason) {
	case KVM_EXIT_IO:
		handle_pio(v);
		break;
	case KVM_EXIT_MMIO:
		handle_mmio(v);
		break;
	case KVM_EXIT_INTR:
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		end(v, VM_END_RESET, NULL);
		break;
	default:
		handle_unexpected(v);
	}
}

static void gate_wait(struct vcpu *v)
{
	struct vcpu_gate *gate = v->gate;

	pthread_mutex_lock(&gate->lock);
	if (++gate->waiting == v->ncpus && atomic_load(&gate->closed))
		v->owner->paused(v->owner->ctx);
	while (atomic_load(&gate->closed) && !atomic_load(&v->stop))
		pthread_cond_wait(&gate->opened, &gate->lock);
	gate->waiting--;
	pthread_mutex_unlock(&gate->lock);
	/* So that the guest's watchdogs do not take the time for a hang; it may have no such clock.
	 */
	(void)ioctl(v->fd, KVM_KVMCLOCK_CTRL, 0);
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *v = arg;
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", v->id);
	pthread_setname_np(pthread_self(), name);
	if (!v->owner->begin(v->owner->ctx))
		return NULL;
	while (!atomic_load(&v->stop)) {
		if (atomic_load(&v->gate->closed)) {
			gate_wait(v);
		} else if (!ioctl(v->fd, KVM_RUN, 0)) {
			handle_exit(v);
		} else if (errno != EINTR && errno != EAGAIN) {
			char text[128];

			snprintf(text, sizeof(text), "vCPU %u cannot run: %s", v->id,
				 strerror(errno));
			end(v, VM_END_ERROR, text);
		}
	}
	return NULL;
}

int vcpu_start(struct vcpu *v)
{
	int ret = thread_start(&v->thread, vcpu_thread, v);

	v->started = !ret;
	return ret;
}

void vcpu_stop(struct vcpu *v)
{
	if (!v->started)
		return;
	atomic_store(&v->stop, true);
	/*
	 * Seen at the next KVM_RUN, should the signal arrive just before that. A vCPU that waits in
	 * a device's write() is interrupted by the signal too, and may need it more than once.
	 */
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_RELEASE);
	pthread_mutex_lock(&v->gate->lock);
	pthread_cond_broadcast(&v->gate->opened);
	pthread_mutex_unlock(&v->gate->lock);
	for (;;) {
		struct timespec until;

		pthread_kill(v->thread, VCPU_SIGNAL);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 20 * 1000 * 1000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
		if (pthread_timedjoin_np(v->thread, NULL, &until) != ETIMEDOUT)
			break;
	}
	v->started = false;
}

void vcpus_pause(struct vcpu *vcpus, unsigned int n)
{
	struct vcpu_gate *gate = vcpus->gate;

	pthread_mutex_lock(&gate->lock);
	atomic_store(&gate->closed, true);
	for (unsigned int i = 0; i < n; i++)
		__atomic_store_n(&vcpus[i].run->immediate_exit, 1, __ATOMIC_RELEASE);
	/* They may all be here still, from the last time. */
	if (gate->waiting == n)
		vcpus->owner->paused(vcpus->owner->ctx);
	pthread_mutex_unlock(&gate->lock);
	/* One that waits in a device's write() sees the gate when that is done. */
	for (unsigned int i = 0; i < n; i++)
		pthread_kill(vcpus[i].thread, VCPU_SIGNAL);
}

void vcpus_resume(struct vcpu *vcpus, unsigned int n)
{
	struct vcpu_gate *gate = vcpus->gate;

	pthread_mutex_lock(&gate->lock);
	for (unsigned int i = 0; i < n; i++)
		__atomic_store_n(&vcpus[i].run->immediate_exit, 0, __ATOMIC_RELEASE);
	atomic_store(&gate->closed, false);
	pthread_cond_broadcast(&gate->opened);
	pthread_mutex_unlock(&gate->lock);
}

static void ignore(int sig)
{
	(void)sig;
}

void vcpu_init_signal(void)
{
	/* No SA_RESTART: its whole purpose is to make blocking calls return. */
	struct sigaction sa = { .sa_handler = ignore };

	sigaction(VCPU_SIGNAL, &sa, NULL);
}
