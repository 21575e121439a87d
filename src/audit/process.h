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

/* The mappings of the monitor, @pid. */
void audit_read_memory(const struct audit_host *host, struct audit_report *report, pid_t pid);
