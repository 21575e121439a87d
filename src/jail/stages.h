// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "jail/jail.h"

/*
 * The stages of jail.c, a file for each kind. All return 0 or negative errno, and note what the
 * host does not have in jail->left_out.
 */

/* process.c: what is the process's own. */
int libc_settle(struct jail *jail);
int limits_enter(struct jail *jail);
int privileges_enter(struct jail *jail);
int memory_enter(struct jail *jail);
int parent_enter(struct jail *jail);
int cores_enter(struct jail *jail);

/* ns.c: namespaces, and what is in them. */
int root_enter(struct jail *jail);
int user_namespace_enter(struct jail *jail);

/* caps.c: who it is, and what that allows. */
int ids_enter(struct jail *jail);
int caps_enter(struct jail *jail);

/* apparmor.c: what its label becomes, and has become. */
int label_open(struct jail *jail);
int label_enter(struct jail *jail);

/* landlock.c */
int landlock_enter(struct jail *jail);

/* ring.c: io_uring. */
int ring_close(struct loop *loop);

/* seccomp.c: a filter for each role, all built at once, and installed by each thread. */
int filters_build(struct jail *jail);
int filter_install(const struct jail *jail, enum jail_role role);

/* cgroup.c: outside; see jail_prepare(), jail_fork() and jail_release(). */
int cgroup_make(struct jail *jail, struct error *err);
void cgroup_move(struct jail *jail, pid_t pid);
void cgroup_populated(struct jail *jail);
void cgroup_remove(struct jail *jail);

/*
 * The kernel's threads for a ring's requests that block: on files, and on all else, which it should
 * poll and has a thread wait for now and then. What waits is not to keep others from beginning.
 */
#define JAIL_RING_BOUNDED   32u
#define JAIL_RING_UNBOUNDED 256u

static inline void jail_leave_out(struct jail *jail, enum jail_layer layer)
{
	jail->left_out |= 1u << layer;
}
