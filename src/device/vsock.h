// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtio/device.h"

/* What the guest's connections lead to. Loop thread. */
struct vsock_host_ops {
	/*
	 * The guest connects to host port @port. vsock_answer() is called for @id, now or later.
	 * Returns 0, or negative errno where it will not be (the guest sees a refused connection).
	 */
	int (*connect)(void *ctx, uint64_t id, uint32_t port);
};

/* At most so many bytes can be said to the guest before what a host's socket has to say. */
#define VSOCK_PREAMBLE_MAX 3000

/*
 * Make a virtio-vsock device (virtio 1.3, 5.10): stream sockets, opened by the guest, to the ports
 * that @host(@ctx) answers. @guest_cid is at least 3 and less than 2^32 - 1. The device enters
 * itself into @loop's table of sources, so @loop must not run any more once the device is freed.
 * On success *@out is owned by the caller and freed with (*out)->ops->free(). Returns 0, or -EINVAL
 * for a reserved CID, -ENOMEM, -ENOSPC.
 */
int vsock_new(struct loop *loop, const struct guest_mem *mem, uint64_t guest_cid,
	      const struct vsock_host_ops *host, void *ctx, struct virtio_device **out);

/*
 * What the guest's connection @id leads to: @fd, a connected SOCK_STREAM socket, which the device
 * takes; or nowhere, where @fd is negative. Loop thread.
 */
void vsock_answer(struct virtio_device *dev, uint64_t id, int fd);

/*
 * Connect @fd, a SOCK_STREAM socket that the device takes, to port @port of the guest; it is closed
 * when the guest refuses. The guest reads @len bytes of @preamble first, at most
 * VSOCK_PREAMBLE_MAX. With @greet the socket reads "OK PORT\n" first, once the guest has accepted
 * (the convention that Firecracker has for this). Loop thread.
 */
void vsock_dial(struct virtio_device *dev, uint32_t port, int fd, const void *preamble, size_t len,
		bool greet);
