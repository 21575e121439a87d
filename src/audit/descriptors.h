// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "audit/audit.h"

/* What @p has open; for the monitor also the taps among it. */
void audit_read_descriptors(const struct audit_host *host, struct audit_report *report,
			    struct audit_process *p);

/*
 * The disks of @config (state.json's, as is @directory, at which relative paths begin; NULL: not
 * known), and what the monitor, which has been read, has open of each.
 */
void audit_find_disks(const struct audit_host *host, struct audit_report *report,
		      struct json_object *config, const char *directory);
