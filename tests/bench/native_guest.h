// SPDX-License-Identifier: Apache-2.0
#pragma once

/* A payload guest that does its work in user mode (tests/payload/lib/user.h), for benches. */

#include "../payload/lib/virtio.h"

/* Go on in @fn in user mode, for good; it ends with payload_done(). */
void run_in_user_mode(void (*fn)(void));

/* Show the device what was entered into @q since @old, and kick if it wants that (2.7.10). */
void publish(struct vq *q, uint16_t old);
extern uint32_t kicks; /* so far */
