// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * Accepting clients with a descriptor in reserve. Without one, a client that cannot be accepted for
 * want of descriptors would stay at the door, and whoever polls would be woken for it for ever.
 */
struct acceptor {
	int fd;    /* a listening socket, non-blocking; owned */
	int spare; /* -1: even that has gone */
};

/* Take @listen_fd. */
void acceptor_init(struct acceptor *a, int listen_fd);
void acceptor_deinit(struct acceptor *a);

/*
 * Returns a client, a non-blocking socket that is the caller's; or -1: there is none, or it was
 * sent away.
 */
int acceptor_take(struct acceptor *a);
