// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

/*
 * A counter of KVM's own binary statistics for the vCPU behind @vcpu_fd, by the name the kernel
 * documents (Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD). 0 where the host does not have it.
 */
uint64_t kvm_stat_read(int vcpu_fd, const char *name);
