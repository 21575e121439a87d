// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* What "kvmbox check" finds out about the host it runs on. */

enum check_state {
	CHECK_OK,
	CHECK_WARN, /* VMs run, but slower, less isolated, or without something */
	CHECK_FAIL, /* no VM can run */
};

struct check {
	const char *name;
	enum check_state state;
	char found[256];
	char advice[320]; /* what to do about it; "" where nothing need be done */
};

#define HOST_CHECKS_MAX 16

struct host_report {
	struct check checks[HOST_CHECKS_MAX];
	size_t n;
};

/*
 * Look at the host whose /dev, /proc and /sys stand under @root ("" for this one) and write what
 * was found to *@report. The system calls for io_uring are tried here, whatever @root is.
 */
void host_inspect(const char *root, struct host_report *report);

/* How many checks of @report say that no VM can run. */
size_t host_failures(const struct host_report *report);
