// SPDX-License-Identifier: Apache-2.0
/*
 * Namespaces. Root makes them with its own rights, so that they are the host's and nobody inside
 * has a say in them, and enters a user namespace last of all. An ordinary user gets the right to
 * make the others from a user namespace. Neither maps any id into it: there is no other to become.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "jail/stages.h"

static const struct {
	enum jail_layer layer;
	unsigned int flag;
	const char *file;
} kinds[] = {
	{ JAIL_USER_NS, CLONE_NEWUSER, "/proc/self/ns/user" },
	{ JAIL_ROOT, CLONE_NEWNS, "/proc/self/ns/mnt" },
	{ JAIL_PID_NS, CLONE_NEWPID, "/proc/self/ns/pid" },
	{ JAIL_NET_NS, CLONE_NEWNET, "/proc/self/ns/net" },
	{ JAIL_IPC_NS, CLONE_NEWIPC, "/proc/self/ns/ipc" },
	{ JAIL_UTS_NS, CLONE_NEWUTS, "/proc/self/ns/uts" },
	{ JAIL_CGROUP_NS, CLONE_NEWCGROUP, "/proc/self/ns/cgroup" },
};

#define NKINDS (sizeof(kinds) / sizeof(kinds[0]))

static unsigned int kernel_has(void)
{
	unsigned int flags = 0;

	for (size_t i = 0; i < NKINDS; i++)
		if (!access(kinds[i].file, F_OK))
			flags |= kinds[i].flag;
	return flags;
}

/* Whether the host has turned user namespaces off, by allowing none. */
static bool user_namespaces_are_off(void)
{
	AUTO_CLOSE int fd = open("/proc/sys/user/max_user_namespaces", O_RDONLY | O_CLOEXEC);
	char first = '\0';

	return fd >= 0 && read(fd, &first, 1) == 1 && first == '0';
}

/* Whether @error, of making a user namespace, says that the host does not want that. */
static bool is_refusal(int error)
{
	return error == EPERM || (error == ENOSPC && user_namespaces_are_off());
}

/*
 * clone3() and not fork(): so the child begins its life in its namespaces and in its cgroup, to
 * which it would have to be moved otherwise, and that takes the kernel many milliseconds.
 */
static pid_t clone_into(struct jail *jail, unsigned int namespaces, int *pidfd)
{
	struct clone_args args = {
		.flags = CLONE_PIDFD | namespaces,
		.pidfd = (uintptr_t)pidfd,
		.exit_signal = SIGCHLD,
	};

	if (jail->cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)jail->cgroup_fd;
	}
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (pid >= 0 || errno != ENOSYS)
		return pid;
	/* Container engines' filters, which cannot look into its arguments, know no clone3(). */
	pid = (pid_t)syscall(SYS_clone, CLONE_PIDFD | namespaces | SIGCHLD, NULL, pidfd, NULL,
			     NULL);
	if (pid > 0 && jail->cgroup_fd >= 0)
		cgroup_move(jail, pid);
	return pid;
}

pid_t jail_fork(struct jail *jail, int *pidfd, struct error *err)
{
	unsigned int all = kernel_has();
	/* Root enters the user namespace later, if at all. */
	unsigned int first = geteuid() == 0 ? all & ~(unsigned int)CLONE_NEWUSER : all;
	const unsigned int tries[] = { first, all, 0 };
	pid_t pid = -1;

	/* The child sees what was tried, in its copy. */
	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		if (i && tries[i] == tries[i - 1])
			continue;
		jail->namespaces = tries[i];
		if (!(all & CLONE_NEWUSER) || i == 2)
			jail_leave_out(jail, JAIL_USER_NS);
		for (size_t k = 1; k < NKINDS; k++)
			if (!(tries[i] & kinds[k].flag))
				jail_leave_out(jail, kinds[k].layer);
		pid = clone_into(jail, tries[i], pidfd);
		if (pid >= 0 || !is_refusal(errno))
			break;
	}
	if (!pid)
		return 0;
	int ret = pid < 0 ? error_set(err, errno, "cannot start the monitor: %s", strerror(errno))
			  : 0;

	cgroup_populated(jail);
	return ret ? ret : pid;
}

/* ---- inside ---- */

/* An ordinary user's rights in his namespace may be taken away again by the host's policy. */
static int root_error(struct jail *jail)
{
	if (!(jail->namespaces & CLONE_NEWUSER) || (errno != EPERM && errno != EACCES))
		return -errno;
	jail_leave_out(jail, JAIL_ROOT);
	return 0;
}

/*
 * An empty file system, of one inode, which cannot be written, in place of everything. It is
 * mounted at a directory that is surely there, as /dev/kvm was in it.
 */
int root_enter(struct jail *jail)
{
	const unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;

	if (!(jail->namespaces & CLONE_NEWNS))
		return 0;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("kvmbox", "/dev", "tmpfs", flags, "mode=0555,nr_inodes=1,size=4k"))
		return root_error(jail);
	if (chdir("/dev"))
		return -errno;
	/* The old root comes to lie over the new one, from where it is taken away. */
	if (!syscall(SYS_pivot_root, ".", "."))
		return umount2(".", MNT_DETACH) || chdir("/") ? -errno : 0;
	/* The kernel's first root, an initramfs, cannot be taken away, but covered. */
	if (errno != EINVAL || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		return -errno;
	return 0;
}

int user_namespace_enter(struct jail *jail)
{
	/* Being in one already, or without the others, this is all there is to be had. */
	if (jail->namespaces & CLONE_NEWUSER || !jail->namespaces ||
	    jail->left_out & 1u << JAIL_USER_NS)
		return 0;
	if (!unshare(CLONE_NEWUSER))
		return 0;
	/* Behind the empty root there is no file to ask any more. */
	if (errno != EPERM && errno != ENOSPC)
		return -errno;
	jail_leave_out(jail, JAIL_USER_NS);
	return 0;
}
