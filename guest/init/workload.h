/* SPDX-License-Identifier: Apache-2.0 */
/* Starts the workload with its environment, limits and standard streams. */
#ifndef KVMBOX_INIT_WORKLOAD_H
#define KVMBOX_INIT_WORKLOAD_H

#include "init/description.h"
#include "init/message.h"

#include <sys/types.h>

/*
 * This side's ends, the caller's to close. With a terminal, in is its master
 * side, hold its slave side (to be kept open for as long as the workload lives,
 * so that a workload that closes all its own does not hang it up), and out and
 * err are -1; without, they are pipes and hold is -1.
 */
struct workload {
	pid_t pid; /* also its process group */
	int in;
	int out;
	int err;
	int hold;
};

/*
 * Runs the command in the root that is / by now. Returns 0 when its execve()
 * has succeeded. Otherwise a sentence is in *why, no process or descriptor is
 * left, and the result is a negative errno if it could not be tried, or the
 * exit status that a shell would give: 127 for a command that is not there,
 * 126 for one that cannot be executed.
 */
int workload_start(struct workload *w, const struct description *d, struct message *why);

#endif
