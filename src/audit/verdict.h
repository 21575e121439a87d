// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "audit/audit.h"

/*
 * Enter into @report what of it is weaker than the default, the worst first: each a sentence that
 * says what was found and why it matters. What was not read is no finding; it is in report->unread.
 */
void audit_judge(struct audit_report *report);
