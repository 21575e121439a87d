// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * What a payload and the process at the other end of its network card (peer.c) say to each other:
 * frames that begin with this.
 */

#include <stdint.h>

#define PEER_PROTOCOL 0xb588 /* 0x88b5, "for local experiments", as it lies in a frame */
#define PEER_MTU      9000u  /* of the tap */

enum {
	PEER_ECHO,  /* send it back, addresses exchanged */
	PEER_LEAVE, /* likewise, and leave the checksum at PEER_CSUM to be filled in */
	PEER_FLOOD, /* send @count frames of @len bytes, PEER_DATA, @number from 0 on */
	PEER_DATA,
	PEER_DELETE, /* delete the tap */
};

#define PEER_CSUM_START 40u
#define PEER_CSUM       60u

struct peer_frame {
	uint8_t dst[6], src[6];
	uint16_t protocol;
	uint8_t op;
	uint8_t flags; /* in an answer: of the header that the question came with */
	uint16_t count, len;
	uint32_t number;
} __attribute__((packed));
