/* SPDX-License-Identifier: Apache-2.0 */
/* Starts the workload, or a session's command, with environment, limits and standard streams. */
#ifndef KVMBOX_INIT_WORKLOAD_H
#define KVMBOX_INIT_WORKLOAD_H

#include "init/message.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What is to be run; nothing of it is kept. */
struct command {
	char **argv;   /* at least one string, ends in NULL; argv[0] is looked up in PATH */
	char **env[2]; /* NAME=VALUE over the defaults, the second over the first; end in NULL */
	const char *hostname; /* for the defaults, or NULL */
	const char *cwd;      /* NULL: "/" */
	bool system;          /* it is a system's init; see system.h */
	bool terminal;
	uint16_t rows; /* 0: not given */
	uint16_t cols;
};

/*
 * A command that runs. This side's ends, the caller's to close. With a terminal,
 * which a system's init always has, in is its master
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
 * Runs the command in the root that is / by now. With a terminal, but for a
 * system's init, which takes its console as it likes, the caller becomes the leader of its session,
 * and must be no leader of a process group but its own session's. Returns 0 when its execve() has
 * succeeded. Otherwise a sentence is in *why, no process or descriptor is left, and the result is a
 * negative errno if it could not be tried, or the exit status that a shell would give: 127 for a
 * command that is not there, 126 for one that cannot be executed.
 */
int workload_start(struct workload *w, const struct command *c, struct message *why);

#endif
