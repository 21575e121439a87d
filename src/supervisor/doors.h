// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"

/*
 * Unix sockets of the host that lead into the guest: vsock.sock, where a client says which port of
 * the guest's it wants ("CONNECT PORT\n", and reads "OK PORT\n" when the guest has accepted: the
 * convention that Firecracker has), and those that --forward asks for. In the other direction, the
 * guest's connections to a port N of the host lead to vsock.sock_N, if there is one: whoever makes
 * that socket allows the port.
 *
 * They only open doors: the bytes pass between the client's socket and the monitor.
 */
struct doors;

/*
 * Connect @fd, which is taken, to @port of the guest: the guest reads @len bytes of @preamble
 * first, and the client is greeted with "OK PORT\n" if @greet.
 */
typedef void doors_dial_fn(void *ctx, uint32_t port, int fd, const void *preamble, size_t len,
			   bool greet);

/*
 * Make the sockets; relative paths of @forwards are in the directory @dir. Returns 0, and *@out is
 * freed by doors_free(); or negative errno with the sentence in @err.
 */
int doors_new(const char *dir, const struct forward_config *forwards, size_t nforwards,
	      doors_dial_fn *dial, void *ctx, struct doors **out, struct error *err);

/* Remove the sockets and let clients go that have not been connected. */
void doors_free(struct doors *d);

/* To be polled for POLLIN, and what is to be done then. */
int doors_fd(const struct doors *d);
void doors_run(struct doors *d);

/*
 * The guest connects to @port of the host. Returns a connected, non-blocking socket, the caller's,
 * or negative errno.
 */
int doors_connect(const struct doors *d, uint32_t port);
