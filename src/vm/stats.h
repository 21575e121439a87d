// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

/*
 * A counter of KVM's own binary statistics, by the name the kernel documents, from a descriptor of
 * KVM_GET_STATS_FD (Documentation/virt/kvm/api.rst). 0 where the host does not have it.
 */
uint64_t kvm_stat_read(int stats_fd, const char *name);
