// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "virtio/device.h"

#define VIRTIO_MMIO_BYTES 0x1000u /* of guest address space for one device */

/*
 * The addresses of the selected queue. A write there only stores a value, which none but a later
 * write to another register acts on, and shows nothing: it may be handed in as late as the next of
 * those, in order.
 */
#define VIRTIO_MMIO_LATCHES       0x80u
#define VIRTIO_MMIO_LATCHES_BYTES 0x28u

/*
 * The virtio-mmio transport (virtio 1.3, 4.2), register version 2. It knows nothing of KVM: kicks
 * come in, and interrupts go out, as eventfds.
 */
struct virtio_mmio;

/*
 * Put @dev on a transport. @kick_fds is one eventfd a queue, signalled by a write of the queue's
 * number to QueueNotify; @irq_fd, non-blocking, raises the interrupt. @page, VIRTIO_MMIO_BYTES of
 * zeroes, is where the guest reads the registers from: the caller maps it read-only into the guest
 * and sends the guest's writes to virtio_mmio_write(). All of these stay the caller's, until after
 * virtio_mmio_free(). On success *@out owns @dev. Returns 0 or negative errno.
 */
int virtio_mmio_new(struct virtio_device *dev, const int *kick_fds, int irq_fd, void *page,
		    struct virtio_mmio **out);

/* Free the transport and its device. The loops that serve the device have ended. */
void virtio_mmio_free(struct virtio_mmio *t);

/*
 * A register write, on any vCPU's thread. A write to Status may wait for the loop. @len is 1, 2, 4
 * or 8, and @off + @len at most VIRTIO_MMIO_BYTES.
 */
void virtio_mmio_write(struct virtio_mmio *t, uint64_t off, const void *data, uint32_t len);

/* Stop the device as a reset by the driver does. Not on a loop's thread. */
void virtio_mmio_reset(struct virtio_mmio *t);
