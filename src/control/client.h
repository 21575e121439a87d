// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>

#include <json-c/json.h>

#include "base/error.h"
#include "control/state.h"

/*
 * Requests to a VM's supervisor: HTTP/1.1 on the control socket in its state directory, one
 * connection for each, and nothing else is done meanwhile.
 *
 * All of these return 0 once the supervisor has said yes (a status of 2xx, or 101); or negative
 * errno with the sentence in the error:
 *
 *   -ENOTCONN    nobody listens: the VM has ended, or is about to
 *   -ECONNRESET  the connection ended in the middle of the answer, or before it
 *   -EREMOTEIO   the supervisor said no, and the sentence is its own
 *   -ETIMEDOUT   it does not answer
 *   -EPROTO      its answer makes no sense, or is longer than CLIENT_BODY_MAX
 */
#define CLIENT_BODY_MAX (1024 * 1024)

enum client_patience {
	CLIENT_SOON,    /* the answer takes no time, but for a busy host */
	CLIENT_FOREVER, /* the answer may take as long as the VM lives */
};

/*
 * Send @body (NULL: none) and await the answer. *@answer is its JSON, NULL if it has none; the
 * caller puts it. @answer itself may be NULL.
 */
int client_request(const struct state *vm, const char *method, const char *path,
		   struct json_object *body, enum client_patience patience,
		   struct json_object **answer, struct error *err);

/*
 * GET @path, and have its bytes handed to @fn as they come, until they end. @fn returns 0, or a
 * negative errno to end it, which is then returned, with @err as @fn left it.
 */
typedef int client_sink(void *ctx, const void *bytes, size_t len, struct error *err);
int client_stream(const struct state *vm, const char *path, client_sink *fn, void *ctx,
		  struct error *err);

/*
 * GET @path as an upgrade to the agent's frames. Returns the connection (>= 0), which blocks, with
 * nothing read of what came behind the answer's header; the caller closes it.
 */
int client_upgrade(const struct state *vm, const char *path, struct error *err);
