/* SPDX-License-Identifier: Apache-2.0 */
/* A session: what the host asks for on a connection of its own (kvmbox/agent.h). */
#ifndef KVMBOX_INIT_SESSION_H
#define KVMBOX_INIT_SESSION_H

#include "init/description.h"

/* How many there may be at once. */
#define SESSIONS_MAX 128

/*
 * Serves the host at the connected socket fd, for the guest whose workload d
 * describes, and ends this process, which has been forked for it and holds no
 * descriptor of PID 1's but the standard streams.
 */
__attribute__((noreturn)) void session_run(int fd, const struct description *d);

#endif
