// SPDX-License-Identifier: Apache-2.0
#include "vm/exit.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

struct text {
	char *out;
	size_t size;
	size_t len;
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(t->out + t->len, t->size - t->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->len += (size_t)n < t->size - t->len ? (size_t)n : t->size - t->len - 1;
}

static void add_reason(struct text *t, const struct kvm_run *run)
{
	switch (run->exit_reason) {
	case KVM_EXIT_SHUTDOWN:
		add(t,
		    "triple fault: the guest's kernel crashed so early or so badly that it could "
		    "not report it (try --append 'earlyprintk=serial' to see how far it got)");
		break;
	case KVM_EXIT_FAIL_ENTRY:
		add(t,
		    "the processor refused to enter the guest (hardware reason %#llx): its state "
		    "is "
		    "invalid, which is an error of kvmbox or of the host's KVM",
		    (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
			add(t, "KVM met an instruction that it can neither run nor emulate: where "
			       "'kvmbox check' finds no VT-x or AMD-V, that is why");
		else
			add(t, "KVM internal error %u: the host's kernel log may say more",
			    run->internal.suberror);
		break;
	default:
		add(t, "exit reason %u, which kvmbox does not know: please report it",
		    run->exit_reason);
	}
}

static void add_registers(struct text *t, int vcpu_fd)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (ioctl(vcpu_fd, KVM_GET_REGS, &r) || ioctl(vcpu_fd, KVM_GET_SREGS, &s)) {
		add(t, "\n  (its registers cannot be read)");
		return;
	}
	add(t, "\n  rip %016llx  rsp %016llx  rflags %08llx", r.rip, r.rsp, r.rflags);
	add(t, "\n  rax %016llx  rbx %016llx  rcx %016llx  rdx %016llx", r.rax, r.rbx, r.rcx,
	    r.rdx);
	add(t, "\n  rsi %016llx  rdi %016llx  rbp %016llx  r8  %016llx", r.rsi, r.rdi, r.rbp, r.r8);
	add(t, "\n  r9  %016llx  r10 %016llx  r11 %016llx  r12 %016llx", r.r9, r.r10, r.r11, r.r12);
	add(t, "\n  r13 %016llx  r14 %016llx  r15 %016llx", r.r13, r.r14, r.r15);
	add(t, "\n  cr0 %08llx  cr2 %016llx  cr3 %016llx  cr4 %08llx  efer %04llx", s.cr0, s.cr2,
	    s.cr3, s.cr4, s.efer);
	add(t, "\n  cs %04x (base %llx)  ss %04x  gdt %016llx+%x  idt %016llx+%x", s.cs.selector,
	    s.cs.base, s.ss.selector, s.gdt.base, s.gdt.limit, s.idt.base, s.idt.limit);
}

void exit_describe(const struct kvm_run *run, int vcpu_fd, unsigned int cpu, char *out, size_t size)
{
	struct text t = { .out = out, .size = size };

	add(&t, "vCPU %u stopped: ", cpu);
	add_reason(&t, run);
	add_registers(&t, vcpu_fd);
}
