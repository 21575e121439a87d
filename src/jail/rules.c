// SPDX-License-Identifier: Apache-2.0
/*
 * What each thread of the monitor may ask of the kernel while the guest runs. Whatever is not here
 * kills the process. Nothing here opens, makes, maps or executes a file, connects anywhere, or
 * makes a thread, and no page becomes executable: there is no mprotect(), and mmap() gives plain
 * memory alone.
 */
#include "jail/rules.h"

#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <signal.h>
#include <sys/mman.h>

#include "jail/jail.h"

#define LOOP   (1u << JAIL_LOOP)
#define WORKER (1u << JAIL_WORKER)
#define VCPU   (1u << JAIL_VCPU)
#define LOOPS  (LOOP | WORKER)
#define ALL    (LOOP | WORKER | VCPU)

#define CALL(name) .nr = SCMP_SYS(name)
/* The argument numbered @n is @value. */
#define IS(n, value)                                     \
	{                                                \
		n, SCMP_CMP_EQ, (scmp_datum_t)(value), 0 \
	}
/* Of the bits in @mask, argument @n has those in @value. */
#define BITS(n, mask, value)                                                       \
	{                                                                          \
		n, SCMP_CMP_MASKED_EQ, (scmp_datum_t)(mask), (scmp_datum_t)(value) \
	}
#define REQUEST(value) .nargs = 1, .args = { IS(1, value) }

static const struct jail_rule rules[] = {
	/* The guest. */
	{ CALL(ioctl), VCPU, "to enter the guest", REQUEST(KVM_RUN) },
	{ CALL(ioctl), VCPU, "to excuse a pause to the guest's clock", REQUEST(KVM_KVMCLOCK_CTRL) },
	{ CALL(ioctl), VCPU, "the registers, to say where it crashed", REQUEST(KVM_GET_REGS) },
	{ CALL(ioctl), VCPU, "likewise", REQUEST(KVM_GET_SREGS) },

	/* Devices. */
	{ CALL(io_uring_enter), LOOPS, "to submit and to wait: all I/O" },
	{ CALL(write), ALL, "interrupts, wake-ups, serial output, lines of the log" },
	{ CALL(ioctl), LOOP, "the offloads that the guest takes", REQUEST(TUNSETOFFLOAD) },
	{ CALL(ioctl), LOOP, "the queues that the guest uses", REQUEST(TUNSETQUEUE) },
	{ CALL(shutdown), LOOP, "vsock: one direction has ended" },
	{ CALL(close), LOOP, "vsock: a connection has ended" },
	{ CALL(getrandom), LOOP, "the entropy device" },
	{ CALL(time), VCPU, "the real-time clock, where the vDSO has none" },

	/* The supervisor. */
	{ CALL(sendmsg), LOOP | VCPU, "messages to it; a vCPU says that all are paused" },
	{ CALL(recvmsg), LOOP, "messages from it" },
	{ CALL(pread64), LOOP, "KVM's counters, which it asks for" },
	{ CALL(getrusage), LOOP, "bytes of the disks, likewise" },

	/* Time and threads. */
	{ CALL(clock_gettime), ALL, "where the host's clock is not in the vDSO" },
	{ CALL(futex), ALL, "locks, conditions and the ends of threads" },
	{ CALL(tgkill), LOOP, "to have a vCPU leave the guest", .self = true, .nargs = 1,
	  .args = { IS(2, SIGUSR1) } },
	{ CALL(rt_sigreturn), ALL, "the end of that signal's handler" },
	{ CALL(rt_sigprocmask), ALL, "the C library, around signals and at a thread's end" },
	{ CALL(getpid), ALL, "the C library, to send a signal" },
	{ CALL(restart_syscall), ALL, "a wait that was stopped and goes on" },
	{ CALL(exit), ALL, "the end of a thread" },
	{ CALL(exit_group), ALL, "the end" },

	/* Memory: what is allocated, and freed at the end. */
	{ CALL(brk), ALL, "malloc()" },
	{ CALL(mmap), ALL, "malloc()", .nargs = 2,
	  .args = { BITS(2, PROT_EXEC, 0), BITS(3, MAP_ANONYMOUS, MAP_ANONYMOUS) } },
	{ CALL(mremap), ALL, "realloc()" },
	{ CALL(munmap), ALL, "free(), and the end of the machine" },
	{ CALL(madvise), ALL, "free(), a thread's stack, pages that the guest gives back",
	  .nargs = 1, .args = { IS(2, MADV_DONTNEED) } },

	/* What the C library does when it has found memory overwritten: the process ends by a
	 * signal, and its last words are heard. */
	{ CALL(writev), ALL, "abort(): why" },
	{ CALL(gettid), ALL, "abort()" },
	{ CALL(tgkill), ALL, "abort()", .self = true, .nargs = 1, .args = { IS(2, SIGABRT) } },
	{ CALL(rt_sigaction), ALL, "abort()", .nargs = 1, .args = { IS(0, SIGABRT) } },
};

const struct jail_rule *jail_rules(size_t *n)
{
	*n = sizeof(rules) / sizeof(rules[0]);
	return rules;
}
