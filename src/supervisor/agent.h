// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/frame.h"
#include "kvmbox/agent.h"

/*
 * The host's end of the agent's control stream (include/kvmbox/agent.h). What comes from the guest
 * is hostile: a frame that is too long ends the stream, anything else that makes no sense is
 * skipped.
 */
struct agent {
	int fd; /* -1: not connected, or over */
	struct frame_reader reader;

	/* what was heard so far; times are CLOCK_MONOTONIC of this host, 0: not yet */
	uint64_t hello_ns, started_ns, exit_ns;
	struct kvmbox_exit exit;
	char error[512]; /* the last ERROR, printable; "" if none */
};

void agent_init(struct agent *a);

/* Take @fd, non-blocking, as the control stream. A second one is closed: there is one agent. */
void agent_connect(struct agent *a, int fd);

/* Read and digest what has come; the stream is closed when it ends or misbehaves. */
void agent_read(struct agent *a);

/* Send a frame. Nothing happens without a connection, or when the guest does not read. */
void agent_signal(struct agent *a, int signo);
void agent_winsize(struct agent *a, uint32_t rows, uint32_t cols);
void agent_shutdown(struct agent *a);

void agent_close(struct agent *a);

/* An EXIT as the exit status that a shell would give; STATUS_ERROR where nothing was run. */
int agent_exit_status(const struct kvmbox_exit *e);
