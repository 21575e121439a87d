// SPDX-License-Identifier: Apache-2.0
/*
 * System call filters. libseccomp makes a program of the rules for each role, once, and each thread
 * installs that of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "jail/rules.h"
#include "jail/stages.h"

#define TREE 2 /* of SCMP_FLTATR_CTL_OPTIMIZE: calls are found by halving, not one by one */

static int add_rule(scmp_filter_ctx ctx, const struct jail_rule *rule)
{
	struct scmp_arg_cmp args[3];
	unsigned int n = 0;

	for (; n < rule->nargs; n++)
		args[n] = rule->args[n];
	if (rule->self)
		args[n++] = (struct scmp_arg_cmp){
			.arg = 0,
			.op = SCMP_CMP_EQ,
			.datum_a = (scmp_datum_t)getpid(),
		};
	return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, rule->nr, n, args);
}

static int add_rules(scmp_filter_ctx ctx, enum jail_role role)
{
	size_t n;
	const struct jail_rule *rules = jail_rules(&n);
	int ret = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

	if (!ret)
		ret = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, TREE);
	for (size_t i = 0; i < n && !ret; i++)
		if (rules[i].roles & 1u << role)
			ret = add_rule(ctx, &rules[i]);
	return ret;
}

/* The program, through a pipe, which has room for the longest that the kernel takes. */
static int export(scmp_filter_ctx ctx, struct sock_fprog *out)
{
	const size_t max = BPF_MAXINSNS * sizeof(struct sock_filter);
	AUTO_FREE struct sock_filter *code = malloc(max);
	int fds[2];

	if (!code)
		return -ENOMEM;
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	int ret = seccomp_export_bpf(ctx, fds[1]);
	ssize_t n = ret ? 0 : read(fds[0], code, max);

	close(fds[0]);
	close(fds[1]);
	if (ret)
		return ret;
	if (n <= 0 || (size_t)n % sizeof(*code))
		return -EIO;
	out->len = (unsigned short)((size_t)n / sizeof(*code));
	out->filter = realloc(code, (size_t)n);
	if (!out->filter)
		return -ENOMEM;
	code = NULL;
	return 0;
}

int filters_build(struct jail *jail)
{
#ifdef KVMBOX_SANITIZED
	/* A sanitizer's run time asks the kernel for much that the monitor never needs. */
	jail_leave_out(jail, JAIL_SECCOMP);
	return 0;
#endif
	for (int role = 0; role < JAIL_ROLES; role++) {
		scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
		int ret = ctx ? add_rules(ctx, role) : -ENOMEM;

		if (!ret)
			ret = export(ctx, &jail->filters[role]);
		seccomp_release(ctx);
		if (ret)
			return ret;
	}
	return 0;
}

int filter_install(const struct jail *jail, enum jail_role role)
{
	const struct sock_fprog *filter = &jail->filters[role];

	if (!filter->len)
		return 0;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, filter) ? -errno : 0;
}
