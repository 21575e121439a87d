// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdio.h>

#include "audit/audit.h"

/*
 * The report as JSON, with the keys that kvmbox-audit(1) promises; the caller puts it. NULL where
 * there is no memory.
 */
struct json_object *audit_to_json(const struct audit_report *report);

/* The report as a page of text for a terminal of 100 columns. */
void audit_print_page(FILE *f, const struct audit_report *report);

/* Words that page and JSON have in common. */
const char *audit_role_name(enum audit_role role);
const char *audit_seccomp_name(int mode);
const char *audit_fd_kind_name(enum audit_fd_kind kind);
const char *audit_fd_mode(const struct audit_fd *fd);

/* What no kernel tells of a process from outside, and why. */
extern const struct audit_unread audit_unreadable[];
extern const size_t audit_nunreadable;
