// SPDX-License-Identifier: Apache-2.0
#include "native_guest.h"

#include "../payload/lib/user.h"

uint32_t kicks;

void run_in_user_mode(void (*fn)(void))
{
	static uint8_t stack[0x4000];

	user_map(user_make_map());
	user_enter(fn, stack + sizeof(stack));
}

void publish(struct vq *q, uint16_t old)
{
	vq_publish(q);
	fence();
	uint16_t event = *vq_avail_event(q);

	if (vring_need_event(event, q->avail_idx, old)) {
		reg_write(q->dev, VIRTIO_MMIO_QUEUE_NOTIFY, q->index);
		kicks++;
	}
}
