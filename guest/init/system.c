// SPDX-License-Identifier: Apache-2.0
#include "init/system.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

/* SIGRTMIN+3 as glibc counts, which keeps two signals fewer to itself than musl. */
#define SYSTEMD_HALT 37

pid_t system_fork(void)
{
	return (pid_t)syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, NULL, NULL, NULL,
			      NULL);
}

int system_mount(int terminal)
{
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	unsigned int number;
	char path[32];

	if (umount2("/proc", MNT_DETACH) < 0 || mount("proc", "/proc", "proc", flags, NULL) < 0)
		return -errno;
	/* A kernel without it lacks the directory. */
	mount("cgroup2", "/sys/fs/cgroup", "cgroup2", flags, "nsdelegate,memory_recursiveprot");
	if (ioctl(terminal, TIOCGPTN, &number) < 0)
		return -errno;
	snprintf(path, sizeof(path), "/dev/pts/%u", number);
	return mount(path, "/dev/console", NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

/*
 * An init's program tells what it listens to: busybox powers off on SIGUSR2,
 * and SIGPWR is what LXC sends to any that it is told nothing else of.
 */
static int halt_signal(pid_t pid)
{
	char link[32], path[PATH_MAX];
	const char *name = path;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/exe", pid);
	n = readlink(link, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	if (strrchr(path, '/'))
		name = strrchr(path, '/') + 1;
	if (!strcmp(name, "systemd"))
		return SYSTEMD_HALT;
	return !strcmp(name, "busybox") ? SIGUSR2 : SIGPWR;
}

void system_signal(pid_t pid, int signo)
{
	kill(pid, signo == SIGTERM ? halt_signal(pid) : signo);
}

int system_enter(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	int ret;

	if (fd < 0)
		return -errno;
	ret = setns(fd, CLONE_NEWNS | CLONE_NEWPID) < 0 ? -errno : 0;
	close(fd);
	return ret;
}
