// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/kvm.h>
#include <stddef.h>

/*
 * Describe an exit that should not have happened, for people: its reason, what to do, and the
 * vCPU's registers. @out receives a text of several lines, cut at @size.
 */
void exit_describe(const struct kvm_run *run, int vcpu_fd, unsigned int cpu, char *out,
		   size_t size);
