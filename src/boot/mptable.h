// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "boot/boot.h"

/*
 * Write the MP floating pointer and configuration table (Intel MultiProcessor Specification 1.4) of
 * @m to BOOT_MPTABLE_GPA. Returns 0, or negative errno (-EINVAL: more CPUs than BOOT_CPUS_MAX).
 */
int mptable_write(const struct guest_mem *mem, const struct machine *m);
