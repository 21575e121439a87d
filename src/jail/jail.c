// SPDX-License-Identifier: Apache-2.0
/*
 * The monitor's way into its jail, in order:
 *
 *   outside   src/supervisor/start.c opens what has a name. jail_prepare() makes the cgroup.
 *             jail_fork() starts the monitor in it, in namespaces of its own.
 *   inside    jail_enter(), below: one thread, and no byte of the guest's has been looked at.
 *             src/vm/vm.c builds the machine from what is open, and starts its threads, which wait.
 *   closed    jail_close(), below: on each thread, its ring, and then its system calls.
 *             When all have, src/vm/vm.c lets them go on: the first KVM_RUN is the next line.
 */
#include "jail/jail.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jail/stages.h"

/*
 * A user id of each VM's own, above all that systems give out (systemd's list of them ends at
 * 0x6fffffff): a process id is nobody else's, and has 22 bits.
 */
#define ID_BASE 0x70000000u

int jail_prepare(struct jail *jail, const struct jail_wish *wish, struct error *err)
{
	*jail = (struct jail){ .wish = *wish, .cgroup_fd = -1, .cgroup_lock = -1, .label_fd = -1 };
	if (geteuid() == 0)
		jail->id = ID_BASE + (uid_t)getpid();
	else
		jail_leave_out(jail, JAIL_ID);
	return cgroup_make(jail, err);
}

void jail_release(struct jail *jail)
{
	cgroup_remove(jail);
	for (int role = 0; role < JAIL_ROLES; role++)
		free(jail->filters[role].filter);
}

int jail_enter(struct jail *jail, struct error *err)
{
	static const struct {
		const char *what;
		int (*enter)(struct jail *jail);
	} stages[] = {
		/* What the C library would read from files later is read now. */
		{ "cannot set up the C library", libc_settle },
		/* Before the rights to raise them are gone. */
		{ "cannot set resource limits", limits_enter },
		/* Before /proc is out of sight. */
		{ "cannot find its AppArmor profile", label_open },
		/* Before the rights to mount are gone. */
		{ "cannot enter an empty root file system", root_enter },
		/* Each of these undoes the parent-death signal, so that comes behind them. */
		{ "cannot take a user id of its own", ids_enter },
		{ "cannot enter a user namespace", user_namespace_enter },
		{ "cannot drop capabilities", caps_enter },
		/* The profile has no capabilities, and is not to be left again. */
		{ "cannot enter its AppArmor profile, kvmbox//monitor", label_enter },
		{ "cannot give up new privileges", privileges_enter },
		{ "cannot shut its memory off", memory_enter },
		{ "cannot have itself killed with its supervisor", parent_enter },
		{ "cannot give up all files (Landlock)", landlock_enter },
		{ "cannot have cores of its own (core scheduling)", cores_enter },
		{ "cannot build its system call filters (seccomp)", filters_build },
	};

	for (size_t i = 0; i < sizeof(stages) / sizeof(stages[0]); i++) {
		int ret = stages[i].enter(jail);

		if (ret)
			return error_set(err, -ret,
					 "the monitor's jail: it %s: %s; --unsafe-no-jail runs "
					 "without one",
					 stages[i].what, strerror(-ret));
	}
	return 0;
}

int jail_close(const struct jail *jail, enum jail_role role, struct loop *loop)
{
	int ret = 0;

	if (!jail)
		return 0;
	if (loop)
		ret = ring_close(loop);
	return ret ? ret : filter_install(jail, role);
}

const char *jail_layer_name(enum jail_layer layer)
{
	static const char *const names[JAIL_LAYERS] = {
		[JAIL_USER_NS] = "user namespace",
		[JAIL_ROOT] = "empty root",
		[JAIL_PID_NS] = "pid namespace",
		[JAIL_NET_NS] = "net namespace",
		[JAIL_IPC_NS] = "ipc namespace",
		[JAIL_UTS_NS] = "uts namespace",
		[JAIL_CGROUP_NS] = "cgroup namespace",
		[JAIL_CGROUP] = "cgroup limits",
		[JAIL_ID] = "user id of its own",
		[JAIL_BOUNDING] = "empty bounding set",
		[JAIL_LANDLOCK] = "Landlock",
		[JAIL_CORE_SCHED] = "core scheduling",
		[JAIL_SECCOMP] = "seccomp",
	};

	return names[layer];
}
