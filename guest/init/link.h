/* SPDX-License-Identifier: Apache-2.0 */
/* The streams from and to the host: opening them, and frames on the control stream. */
#ifndef KVMBOX_INIT_LINK_H
#define KVMBOX_INIT_LINK_H

#include "common/frame.h"
#include "kvmbox/agent.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Starts to connect to the host's vsock port. Returns a non-blocking socket of
 * which link_finish() tells what became of it, or a negative errno
 * (-EAFNOSUPPORT: the kernel has no vsock, -ENODEV: the machine has none).
 */
int link_start(uint32_t port);

/*
 * Waits for the connection; the kernel gives up by itself after two seconds.
 * Returns 0 or a negative errno; fd stays the caller's in either case.
 */
int link_finish(int fd);

/*
 * Listens on a vsock port for the host. Returns a non-blocking socket or a
 * negative errno.
 */
int link_listen(uint32_t port);

/*
 * Takes a connection of the host's off the listener; one of somebody else's is
 * closed. Returns a non-blocking socket; -EAGAIN if there is none, -ENOMEM if
 * they have to wait because the guest is short of something, or another
 * negative errno for one that came to nothing.
 */
int link_accept(int listener);

struct control {
	int fd;                    /* not owned; -1: not connected */
	struct kvmbox_frame frame; /* the header of what was received last */
	struct frame_reader reader;
};

/*
 * Sends one frame whole, waiting for room up to ten seconds. Returns 0 or a
 * negative errno.
 */
int control_send(struct control *c, uint16_t type, const void *payload, size_t len);

/*
 * Takes the next frame without waiting. Returns 1 with *payload pointing to the
 * c->frame.len bytes that follow the header, good until the next call; 0 if no
 * whole frame is there yet; -ENOTCONN at the end of the stream, -EPROTO for
 * a frame that is too long, or another negative errno.
 */
int control_receive(struct control *c, const void **payload);

/* Waits for the host to close the stream; drops what it sends. */
void control_linger(struct control *c);

#endif
