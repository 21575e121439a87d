// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

#include "vm/channel.h"

/* How a boot went. Times are CLOCK_MONOTONIC, ns; 0: that point was not reached. */
struct report {
	const char *name;
	int status;          /* kvmbox's exit status */
	const char *reason;  /* "exited", "signaled", "timeout", "stopped", "reset", "panic", ... */
	const char *error;   /* a sentence, or "" */
	uint64_t begin_ns;   /* kvmbox's main() */
	uint64_t running_ns; /* the first vCPU enters the guest */
	uint64_t own_cpu_ns; /* the supervisor's CPU time until then */
	uint64_t hello_ns;   /* PID 1 runs */
	uint64_t started_ns; /* the workload runs */
	uint64_t exit_ns;    /* the workload has ended and the root is clean */
	uint64_t end_ns;     /* the monitor is gone */
	struct vm_stats stats;
};

/* Print it as one line of JSON on stderr. */
void report_print_json(const struct report *r);
