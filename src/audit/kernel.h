// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "audit/audit.h"

/* The kernel's release, what it says of the processor's weaknesses, KVM's parameters, SMT, KSM. */
void audit_read_kernel(const struct audit_host *host, struct audit_report *report);
