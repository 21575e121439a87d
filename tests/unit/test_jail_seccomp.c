// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "jail/jail.h"
#include "jail/rules.h"
#include "jail/stages.h"

static const char *const role_names[JAIL_ROLES] = {
	[JAIL_LOOP] = "loop",
	[JAIL_WORKER] = "worker",
	[JAIL_VCPU] = "vCPU",
};

static struct jail jail;

static void setup(void)
{
	jail = (struct jail){ .cgroup_fd = -1, .cgroup_lock = -1 };
#ifdef KVMBOX_SANITIZED
	cr_skip("a sanitizer makes calls of its own");
#endif
}

static void teardown(void)
{
	for (int role = 0; role < JAIL_ROLES; role++)
		free(jail.filters[role].filter);
}

TestSuite(seccomp, .init = setup, .fini = teardown);

/* The wait status of a child that does @act in the filter of @role, and then ends with 0. */
static int act_in_role(enum jail_role role, long (*act)(void))
{
	int status;
	pid_t child = fork();

	cr_assert(child >= 0);
	if (!child) {
		/* For each process the filters are its own: it may signal itself only. */
		if (filters_build(&jail) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
		    filter_install(&jail, role))
			_exit(99);
		act();
		_exit(0);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	return status;
}

static const char text[] = "/";
static char memory[4096] __attribute__((aligned(4096)));

#define ACT(name, call)            \
	static long name(void)     \
	{                          \
		return (long)call; \
	}

ACT(do_open, syscall(SYS_openat, AT_FDCWD, text, O_RDONLY))
ACT(do_open2, syscall(SYS_open, text, O_RDONLY))
ACT(do_exec, syscall(SYS_execve, text, NULL, NULL))
ACT(do_execat, syscall(SYS_execveat, -1, text, NULL, NULL, 0))
ACT(do_socket, syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0))
ACT(do_connect, syscall(SYS_connect, 0, text, 1))
ACT(do_bind, syscall(SYS_bind, 0, text, 1))
ACT(do_ptrace, syscall(SYS_ptrace, 0, 0, 0, 0))
ACT(do_vm_read, syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0))
ACT(do_kill, syscall(SYS_kill, getppid(), 0))
ACT(do_tgkill, syscall(SYS_tgkill, 1, 1, SIGUSR1))
ACT(do_pidfd, syscall(SYS_pidfd_open, 1, 0))
ACT(do_mount, syscall(SYS_mount, text, text, text, 0, NULL))
ACT(do_pivot, syscall(SYS_pivot_root, text, text))
ACT(do_chroot, syscall(SYS_chroot, text))
ACT(do_unshare, syscall(SYS_unshare, CLONE_NEWUSER))
ACT(do_setns, syscall(SYS_setns, 0, 0))
ACT(do_fork, syscall(SYS_fork))
ACT(do_clone, syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0))
ACT(do_clone3, syscall(SYS_clone3, NULL, 0))
ACT(do_module, syscall(SYS_init_module, NULL, 0, text))
ACT(do_bpf, syscall(SYS_bpf, 0, NULL, 0))
ACT(do_setuid, syscall(SYS_setuid, 0))
ACT(do_prctl, syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0))
ACT(do_seccomp, syscall(SYS_seccomp, 0, 0, NULL))
ACT(do_memfd, syscall(SYS_memfd_create, text, 0))
ACT(do_uffd, syscall(SYS_userfaultfd, 0))
ACT(do_keyctl, syscall(SYS_keyctl, 0, 0, 0, 0, 0))
ACT(do_ring, syscall(SYS_io_uring_setup, 1, NULL))
ACT(do_ring_register, syscall(SYS_io_uring_register, 0, 0, NULL, 0))
ACT(do_mprotect, syscall(SYS_mprotect, memory, 4096, PROT_READ | PROT_EXEC))
ACT(do_map_code,
    syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
ACT(do_map_file, syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE, 0, 0))
ACT(do_merge, syscall(SYS_madvise, memory, 4096, MADV_MERGEABLE))
ACT(do_create_vm, ioctl(0, KVM_CREATE_VM, 0))
ACT(do_map_guest, ioctl(0, KVM_SET_USER_MEMORY_REGION, memory))
ACT(do_type_in, ioctl(0, 0x5412 /* TIOCSTI */, text))
ACT(do_unlink, syscall(SYS_unlinkat, AT_FDCWD, text, 0))
ACT(do_ftruncate, syscall(SYS_ftruncate, 0, 0))
ACT(do_dup, syscall(SYS_dup, 0))
ACT(do_sigaction, syscall(SYS_rt_sigaction, SIGSEGV, NULL, NULL, 8))
/* The same table by another entry: numbers of the x32 interface. */
ACT(do_x32, syscall(0x40000000 + SYS_getpid))

static const struct {
	const char *what;
	long (*act)(void);
} forbidden[] = {
	{ "open a file", do_open },
	{ "open a file, the old way", do_open2 },
	{ "execute", do_exec },
	{ "execute by descriptor", do_execat },
	{ "make a socket", do_socket },
	{ "connect", do_connect },
	{ "bind", do_bind },
	{ "trace", do_ptrace },
	{ "read another's memory", do_vm_read },
	{ "signal its parent", do_kill },
	{ "signal another's thread", do_tgkill },
	{ "watch another process", do_pidfd },
	{ "mount", do_mount },
	{ "change the root", do_pivot },
	{ "change its root", do_chroot },
	{ "make a namespace", do_unshare },
	{ "enter a namespace", do_setns },
	{ "fork", do_fork },
	{ "clone", do_clone },
	{ "clone, the new way", do_clone3 },
	{ "load a module", do_module },
	{ "load a program into the kernel", do_bpf },
	{ "become root", do_setuid },
	{ "be dumpable again", do_prctl },
	{ "change its filter", do_seccomp },
	{ "make a file in memory", do_memfd },
	{ "handle page faults", do_uffd },
	{ "use keys", do_keyctl },
	{ "make a ring", do_ring },
	{ "register with a ring", do_ring_register },
	{ "make memory executable", do_mprotect },
	{ "map executable memory", do_map_code },
	{ "map a file", do_map_file },
	{ "have memory merged", do_merge },
	{ "make a VM", do_create_vm },
	{ "map other memory into the guest", do_map_guest },
	{ "type at a terminal", do_type_in },
	{ "remove a file", do_unlink },
	{ "grow a file", do_ftruncate },
	{ "copy a descriptor", do_dup },
	{ "handle a fault", do_sigaction },
	{ "call by an x32 number", do_x32 },
};

Test(seccomp, each_forbidden_call_kills_the_process_in_each_role)
{
	for (int role = 0; role < JAIL_ROLES; role++) {
		for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
			int status = act_in_role(role, forbidden[i].act);

			cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS,
				  "to %s in the role %s: wait status %#x", forbidden[i].what,
				  role_names[role], (unsigned int)status);
		}
	}
}

/* What one role has and another has not. */
ACT(do_run, ioctl(-1, KVM_RUN, 0))
ACT(do_enter_ring, syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0))
ACT(do_receive, syscall(SYS_recvmsg, -1, NULL, 0))
ACT(do_close, close(-1))

Test(seccomp, roles_differ)
{
	static const struct {
		const char *what;
		long (*act)(void);
		bool may[JAIL_ROLES];
	} cases[] = {
		{ "enter the guest", do_run, { [JAIL_VCPU] = true } },
		{ "enter a ring", do_enter_ring, { [JAIL_LOOP] = true, [JAIL_WORKER] = true } },
		{ "receive messages", do_receive, { [JAIL_LOOP] = true } },
		{ "close a file", do_close, { [JAIL_LOOP] = true } },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (int role = 0; role < JAIL_ROLES; role++) {
			int status = act_in_role(role, cases[i].act);
			bool good = cases[i].may[role]
					    ? status == 0
					    : WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;

			cr_expect(good, "to %s in the role %s: wait status %#x", cases[i].what,
				  role_names[role], (unsigned int)status);
		}
	}
}

static long do_ordinary(void)
{
	struct timespec t;
	void *big;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	madvise(memory, sizeof(memory), MADV_DONTNEED);
	/* A mapping of its own, in the C library, and a larger one in its place. */
	big = malloc(4u << 20);
	if (!big)
		_exit(1);
	memset(big, 1, 4u << 20);
	big = realloc(big, 64u << 20);
	if (!big)
		_exit(1);
	free(big);
	return write(STDERR_FILENO, "", 0);
}

Test(seccomp, each_role_may_do_what_all_need)
{
	for (int role = 0; role < JAIL_ROLES; role++)
		cr_expect_eq(act_in_role(role, do_ordinary), 0, "in the role %s", role_names[role]);
}

static long do_abort(void)
{
	abort();
}

/* An error that the C library finds is told from a forbidden call. */
Test(seccomp, abort_ends_as_ever)
{
	for (int role = 0; role < JAIL_ROLES; role++) {
		int status = act_in_role(role, do_abort);

		cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
			  "in the role %s: wait status %#x", role_names[role],
			  (unsigned int)status);
	}
}

/* How many calls @role may make at all. */
static size_t count_calls(enum jail_role role)
{
	size_t n, calls = 0;
	const struct jail_rule *rules = jail_rules(&n);

	for (size_t i = 0; i < n; i++) {
		bool counted = !(rules[i].roles & 1u << role);

		for (size_t k = 0; k < i; k++)
			counted |= rules[k].nr == rules[i].nr && rules[k].roles & 1u << role;
		calls += !counted;
	}
	return calls;
}

Test(seccomp, the_lists_are_short)
{
	size_t n;
	const struct jail_rule *rules = jail_rules(&n);

	cr_expect_leq(count_calls(JAIL_VCPU), 25, "%zu calls on a vCPU thread",
		      count_calls(JAIL_VCPU));
	cr_expect_leq(count_calls(JAIL_LOOP), 45, "%zu calls on the loop thread",
		      count_calls(JAIL_LOOP));
	cr_expect_leq(count_calls(JAIL_WORKER), 25, "%zu calls on a worker thread",
		      count_calls(JAIL_WORKER));
	for (size_t i = 0; i < n; i++)
		cr_expect(rules[i].why && *rules[i].why, "a rule has no reason");
}
