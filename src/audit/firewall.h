// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "audit/audit.h"

/*
 * Which of the firewall's rules are about the taps that @report has. @nets is state.json's, or
 * NULL.
 */
void audit_read_firewall(const struct audit_host *host, struct audit_report *report,
			 struct json_object *nets);
