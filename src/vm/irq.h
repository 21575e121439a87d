// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

/*
 * Make an eventfd that pulses interrupt line @gsi of the VM (irqfd). Non-blocking, as it is only
 * ever written. Returns the descriptor, owned by the caller, or negative errno.
 */
int irq_fd_new(int vm_fd, uint32_t gsi);

/*
 * Make an eventfd that is signalled, inside the kernel, when the guest writes the 32-bit value
 * @match to @addr (ioeventfd). Returns the descriptor, owned by the caller, or negative errno.
 */
int kick_fd_new(int vm_fd, uint64_t addr, uint32_t match);

/*
 * Have writes of the 32-bit value @match to @addr end inside the kernel, where they have no effect.
 * Returns 0 or negative errno.
 */
int write_ignore(int vm_fd, uint64_t addr, uint32_t match);
