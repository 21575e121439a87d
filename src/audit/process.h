// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "audit/audit.h"

/*
 * What /proc/PID says of the process @p->pid, whose role is set: all but its cgroup and its
 * descriptors. What cannot be read of a monitor is noted in @report. Returns 0 or negative errno:
 * -ESRCH when it has gone.
 */
int audit_read_process(const struct audit_host *host, struct audit_report *report,
		       struct audit_process *p);

/*
 * Add the supervisor's other children, and theirs, to the processes that @report has (monitor and
 * supervisor), and count who else has their user. Processes come and go meanwhile. Returns 0 or
 * negative errno.
 */
int audit_find_processes(const struct audit_host *host, struct audit_report *report);

/*
 * The flags of a thread that the kernel has in its stat file, of which these are told apart: it
 * runs no program, or it is a program's that the kernel has made.
 */
#define AUDIT_FLAG_KERNEL 0x00200000u
#define AUDIT_FLAG_WORKER 0x00004010u
unsigned int audit_flags(const char *stat);

bool audit_is_monitor(const struct audit_process *p);
bool audit_is_in_report(const struct audit_report *report, pid_t pid);

/*
 * Note that "@what of the monitor" could not be read, if @p is that: of other processes nothing is
 * judged that others may not read.
 */
void audit_note_monitor(struct audit_report *report, const struct audit_process *p,
			const char *what, int errnum);

/* The mappings of the monitor, @pid. */
void audit_read_memory(const struct audit_host *host, struct audit_report *report, pid_t pid);
