// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "supervisor/logfile.h"
#include "vm/channel.h"

/*
 * The control socket of a VM: HTTP and JSON, with Firecracker's names where it has a resource for
 * the same. man kvmbox-api has them all.
 */
struct control;

/* What the resources do; all of it for the supervisor's one thread. */
struct control_ops {
	/* Whether the monitor has not listened for so long that it is not to be asked anything. */
	bool (*is_stuck)(void *ctx);
	/* End the workload in order; after @grace_ms with less patience. */
	void (*stop)(void *ctx, uint64_t grace_ms);
	/* Send the workload a signal, or end the VM at once if that is 0. 0, or -ENOTCONN. */
	int (*kill)(void *ctx, int signo);
	/* Pause or resume; control_paused() or control_resumed() when it is done. */
	void (*pause)(void *ctx, bool pause);
	/* Have control_stats() called for @id. */
	void (*get_stats)(void *ctx, uint64_t id);
	/* Connect @fd, which is taken, to the guest's agent. 0, or -ENOTCONN before it is up. */
	int (*dial)(void *ctx, int fd);
	/* Attach @fd, which is taken, to the workload. 0, -ENOTSUP in the foreground, -ENOSPC. */
	int (*attach)(void *ctx, int fd);
	/* Have the guest give up @mib of its memory. 0, or -EINVAL with a sentence. */
	int (*set_balloon)(void *ctx, int64_t mib, struct error *err);
	/*
	 * Change the disk, or the network card, with that @id as @body says. 0, or negative errno
	 * with a sentence, and nothing has changed.
	 */
	int (*patch_drive)(void *ctx, const char *id, struct json_object *body, struct error *err);
	int (*patch_net)(void *ctx, const char *id, struct json_object *body, struct error *err);
	/* What the balloon is set to; the caller's. NULL: there is none. */
	struct json_object *(*balloon)(void *ctx);
	/* state.json, and the machine's configuration; the caller's. */
	struct json_object *(*state)(void *ctx);
	struct json_object *(*config)(void *ctx);
	/* What the host knows of the monitor's use of it, for @stats to be filled in. */
	void (*usage)(void *ctx, struct json_object *stats);
};

enum control_log { CONTROL_LOG_OUTPUT, CONTROL_LOG_CONSOLE, CONTROL_LOGS };

/*
 * Serve at @path. @logs are borrowed. Returns 0, and *@out is freed by control_free(); or negative
 * errno.
 */
int control_new(const char *path, const struct control_ops *ops, void *ctx,
		const struct logfile *const logs[CONTROL_LOGS], struct control **out);

/* Whoever waits for the end is told @state, the last, which is borrowed. */
void control_free(struct control *c, struct json_object *state);

/* To be polled for POLLIN, and what is to be done then. */
int control_fd(const struct control *c);
void control_run(struct control *c);

/* What has been asked of the ops is done. */
void control_paused(struct control *c);
void control_resumed(struct control *c);
void control_stats(struct control *c, uint64_t id, const struct vm_stats *stats);

/* More has been written to a log: for those who follow it. */
void control_logged(struct control *c, enum control_log log, const void *data, size_t len);
