// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * Give back the memory of this process that only its set-up needed: free heap, and pages of program
 * and libraries, which stay in the host's page cache and come back from there when they are run.
 */
void memory_trim(void);
