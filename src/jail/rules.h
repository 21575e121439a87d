// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>

/* A system call that some roles may make, and with which arguments. */
struct jail_rule {
	int nr;
	unsigned int roles; /* 1 << enum jail_role */
	const char *why;
	bool self; /* the first argument is this process */
	unsigned int nargs;
	struct scmp_arg_cmp args[2]; /* all of them hold */
};

/* All of them, @*n. A call has as many rules as there are ways to make it. */
const struct jail_rule *jail_rules(size_t *n);
