// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "audit/audit.h"

/*
 * The cgroup v2 of @p and its limits; those of the groups above it where these are of the VM alone,
 * too. The processes of the VM are those in @report.
 */
void audit_read_cgroup(const struct audit_host *host, struct audit_report *report,
		       struct audit_process *p);

/* Whether @value, of a file of a cgroup's or "", bounds nothing. */
bool audit_is_unlimited(const char *value);
