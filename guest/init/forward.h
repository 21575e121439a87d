/* SPDX-License-Identifier: Apache-2.0 */
/* A session's bytes to and from a socket in the guest: FORWARD in kvmbox/agent.h. */
#ifndef KVMBOX_INIT_FORWARD_H
#define KVMBOX_INIT_FORWARD_H

#include <stddef.h>
#include <sys/socket.h>

/*
 * Reads the len bytes at text, "unix:PATH", "tcp:ADDRESS:PORT" or
 * "tcp:[ADDRESS]:PORT" with a numeric address of IPv4 or IPv6, into *addr.
 * Returns the size of the address, or -EINVAL.
 */
int forward_parse(struct sockaddr_storage *addr, const char *text, size_t len);

/*
 * Connects to the address and moves bytes between it and the host at the
 * non-blocking socket fd, which it takes, until both ways have ended. Returns 0,
 * or a negative errno if nothing answered there. SIGPIPE is to be ignored.
 */
int forward_run(int fd, const struct sockaddr_storage *addr, socklen_t addr_len);

#endif
