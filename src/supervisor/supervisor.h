// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config.h"

/* Exit statuses of kvmbox's own; everything else is the workload's. */
#define STATUS_TIMEOUT 124
#define STATUS_ERROR   125

/*
 * Boot the machine of @cfg and stay with it until it has ended: relay its bytes, pass on signals,
 * keep the time limit. @begin_ns is when kvmbox started (CLOCK_MONOTONIC). Says on stderr what went
 * wrong. Returns kvmbox's exit status.
 *
 * In the background (cfg->detach) it returns as soon as the workload runs, with 0, or has failed
 * to; a process of its own stays with the machine.
 *
 * The limits in @cfg are at any time those that are in force: they may be changed at the control
 * socket.
 */
int supervisor_run(struct boot_config *cfg, uint64_t begin_ns);
