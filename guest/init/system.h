/* SPDX-License-Identifier: Apache-2.0 */
/* A workload that is a system's init: what it gets that a command does not. */
#ifndef KVMBOX_INIT_SYSTEM_H
#define KVMBOX_INIT_SYSTEM_H

#include <sys/types.h>

/* fork(), but the child is PID 1 of a PID and a mount namespace. -1 and errno on failure. */
pid_t system_fork(void);

/*
 * In that child, with terminal the master side of its pseudo terminal: makes
 * /proc that of the namespace, /dev/console the terminal, and mounts cgroup2
 * where the kernel has it. Returns 0 or a negative errno.
 */
int system_mount(int terminal);

/* Sends the init at pid a signal; SIGTERM as the one by which it shuts down. */
void system_signal(pid_t pid, int signo);

/*
 * Enters the mount namespace of the init at pid, and for the children of this
 * process its PID namespace. Returns 0 or a negative errno.
 */
int system_enter(pid_t pid);

#endif
