// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>

#include "base/error.h"

/*
 * The client's side of an EXEC session of include/kvmbox/agent.h after its first frame, or of being
 * attached to a workload, which speaks the same: standard input goes there, output and the exit
 * status come back, signals and the size of the terminal are passed on.
 */
struct session {
	int fd;           /* the connection; the caller's, and non-blocking from now on */
	int in, out, err; /* the standard streams; in -1: none is passed on */
	bool terminal;    /* in is a terminal: it is raw meanwhile, and what signals come end the
			     session instead of being passed on */
	bool detach_keys; /* Ctrl-p Ctrl-q ends the session */
	int patience_ms;  /* for the first frame to come; 0: as long as it takes */
	const char *name; /* of the VM, for sentences */
};

/*
 * Serve it to its end. SIGPIPE is ignored and the signals that are passed on are blocked from then
 * on. Returns the exit status: of what ran there, 128+N for a signal N that ended it or the
 * session, 0 after the keys to detach; or negative errno with the sentence in @err (-ECONNRESET:
 * the connection ended before an exit status had come; -ETIMEDOUT: nothing has come).
 */
int session_run(const struct session *session, struct error *err);
