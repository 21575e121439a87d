// SPDX-License-Identifier: Apache-2.0
/*
 * What a ring takes (io_uring_register(2), IORING_REGISTER_RESTRICTIONS). Nothing can be registered
 * any more: no file, buffer, other ring or personality.
 */
#include <stddef.h>

#include "jail/stages.h"

static const uint8_t opcodes[] = {
	IORING_OP_READ,         /* kicks and wake-ups, from eventfds */
	IORING_OP_WRITE,        /* interrupts, to irqfds */
	IORING_OP_READV,        /* a disk's reads; frames from a tap */
	IORING_OP_WRITEV,       /* a disk's writes; frames to a tap */
	IORING_OP_READ_FIXED,   /* likewise a disk's, with fixed-buffers=on */
	IORING_OP_WRITE_FIXED,  /* likewise */
	IORING_OP_FSYNC,        /* a disk's flushes */
	IORING_OP_FALLOCATE,    /* a disk's discards and write-zeroes */
	IORING_OP_RECV,         /* console input; vsock and passt, from the host */
	IORING_OP_SEND,         /* vsock and passt, to the host */
	IORING_OP_POLL_ADD,     /* the supervisor's messages; the ends of vsock connections */
	IORING_OP_ASYNC_CANCEL, /* a tap's receives, when the guest resets the card */
	IORING_OP_TIMEOUT,      /* until a limited disk or network card may go on */
	IORING_OP_NOP,          /* another turn of the loop */
};

#define NOPCODES (sizeof(opcodes) / sizeof(opcodes[0]))

int ring_close(struct loop *loop)
{
	struct io_uring_restriction allowed[NOPCODES + 1] = {
		{
			.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
			.sqe_flags = IOSQE_FIXED_FILE | IOSQE_IO_HARDLINK | IOSQE_CQE_SKIP_SUCCESS,
		},
	};
	unsigned int workers[2] = { JAIL_RING_BOUNDED, JAIL_RING_UNBOUNDED };

	for (size_t i = 0; i < NOPCODES; i++)
		allowed[i + 1] = (struct io_uring_restriction){
			.opcode = IORING_RESTRICTION_SQE_OP,
			.sqe_op = opcodes[i],
		};
	return loop_restrict(loop, allowed, NOPCODES + 1, workers);
}
