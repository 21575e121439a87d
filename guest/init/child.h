/* SPDX-License-Identifier: Apache-2.0 */
/* What PID 1 and a session have to do with the processes that they start. */
#ifndef KVMBOX_INIT_CHILD_H
#define KVMBOX_INIT_CHILD_H

#include "kvmbox/agent.h"

/*
 * Blocks SIGCHLD, which then only ends the wait in a ppoll() that lets it in, so
 * that no exit is missed between a look and the wait.
 */
void child_watch(void);

/* A status of waitpid()'s as the host is told of it. */
struct kvmbox_exit child_exit(int status);

#endif
