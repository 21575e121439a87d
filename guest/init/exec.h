/* SPDX-License-Identifier: Apache-2.0 */
/* A session's command: EXEC in kvmbox/agent.h. */
#ifndef KVMBOX_INIT_EXEC_H
#define KVMBOX_INIT_EXEC_H

#include "init/description.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct exec_request {
	bool terminal;
	bool input;    /* there is a standard input */
	uint16_t rows; /* 0: not given */
	uint16_t cols;
	char **argv; /* both end in NULL; their strings are the payload's */
	char **env;
	char *cwd; /* NULL: the workload's */
};

/*
 * Reads the payload of an EXEC frame, which must outlive the request. Returns
 * 0, and the caller frees the request with exec_request_deinit(); -EPROTO if
 * the payload is not as it should be, or -ENOMEM.
 */
int exec_request_init(struct exec_request *r, char *payload, size_t len);
void exec_request_deinit(struct exec_request *r);

/*
 * Runs the command beside the workload that d describes, and relays between it
 * and the host at the non-blocking socket fd until it has ended and that has
 * been said, or until the host is gone or breaks the protocol. The process must
 * have nothing else to do, lead its session, and have SIGPIPE ignored.
 */
void exec_run(int fd, const struct exec_request *r, const struct description *d);

#endif
