// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "virtio/device.h"

/*
 * virtio-rng (virtio 1.3, 5.4), fed by the host's getrandom(). On success *@out is owned by the
 * caller. Returns 0 or negative errno.
 */
int rng_new(struct loop *loop, const struct guest_mem *mem, struct virtio_device **out);
