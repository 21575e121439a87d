// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * User mode, for payloads that are in a hurry: a hypervisor that emulates a guest's kernel mode
 * (KVM-PVM) runs user mode at full speed.
 */

#include "payload.h"

/*
 * Page tables in memory from alloc() that map what the boot CPU's do, and let user mode have all of
 * it. Returns their address; user_map() goes over to it.
 */
uint64_t user_make_map(void);
void user_map(uint64_t table);

/*
 * Go to user mode for good, in @fn, which does not return, on the stack that ends at @stack_top.
 * Ports are reached as before; interrupts are off.
 */
void user_enter(void (*fn)(void), void *stack_top) __attribute__((noreturn));
