// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

#include "virtio/device.h"

/* What the guest's connections lead to. Loop thread. */
struct vsock_host_ops {
	/*
	 * The guest connects to host port @port. Returns a connected, non-blocking SOCK_STREAM unix
	 * socket, owned by the device from then on, or negative errno (the guest sees a refused
	 * connection).
	 */
	int (*connect)(void *ctx, uint32_t port);
};

/*
 * Make a virtio-vsock device (virtio 1.3, 5.10): stream sockets, opened by the guest, to the ports
 * that @host(@ctx) answers. @guest_cid is at least 3 and less than 2^32 - 1. The device enters
 * itself into @loop's table of sources, so @loop must not run any more once the device is freed.
 * On success *@out is owned by the caller and freed with (*out)->ops->free(). Returns 0, or -EINVAL
 * for a reserved CID, -ENOMEM, -ENOSPC.
 */
int vsock_new(struct loop *loop, const struct guest_mem *mem, uint64_t guest_cid,
	      const struct vsock_host_ops *host, void *ctx, struct virtio_device **out);
