// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bucket.h"

/*
 * What passes between the supervisor and the monitor: whole typed messages over one
 * SOCK_SEQPACKET socketpair, and nothing else. Integers only, and one text that is for people.
 */
enum message_type {
	/* monitor to supervisor */
	/* about to enter the guest; @value: CLOCK_MONOTONIC, ns; @id: what its jail lacks */
	MESSAGE_RUNNING = 1,
	MESSAGE_CONNECT = 2, /* the guest connects to host port @value: MESSAGE_ANSWER for @id */
	MESSAGE_ENDED = 3,   /* the last one; @value: enum vm_end; @text: why, for people */
	MESSAGE_PAUSED = 4,  /* no vCPU runs; after MESSAGE_PAUSE */
	MESSAGE_STATS = 5,   /* @stats; the answer to MESSAGE_GET_STATS of @id */
	/* supervisor to monitor */
	MESSAGE_STOP = 64, /* end the VM now */
	MESSAGE_LINK = 65, /* @value: twice the network card's number, and 1 where its link is up */
	MESSAGE_ANSWER = 66, /* to MESSAGE_CONNECT of @id; carries a socket, or none: refused */
	/*
	 * Connect the socket that it carries to the guest's vsock port @value; the guest reads the
	 * @len bytes of @text first. @id 1: the socket is greeted (device/vsock.h).
	 */
	MESSAGE_DIAL = 67,
	MESSAGE_PAUSE = 68,       /* let no vCPU run */
	MESSAGE_RESUME = 69,      /* let them run again */
	MESSAGE_GET_STATS = 70,   /* @id: for the answer */
	MESSAGE_BALLOON = 71,     /* the guest is to give up @value MiB of its memory */
	MESSAGE_DISK_LIMITS = 72, /* disk @value is held to the first of @limits from now on */
	MESSAGE_NET_LIMITS = 73,  /* card @value, receiving and sending, to the two of them */
};

/* Why a VM ended. */
enum vm_end {
	VM_END_STOPPED, /* because the supervisor said so */
	VM_END_RESET,   /* the guest reset or powered off the machine */
	VM_END_PANIC,   /* the guest's kernel panicked */
	VM_END_CRASH,   /* an exit that KVM or the guest should not have brought; see the text */
	VM_END_ERROR,   /* the host failed us; see the text */
};

/* What a VM took over its life, all vCPUs together. */
struct vm_stats {
	uint64_t exits;            /* from guest to host kernel, as KVM counts them; 0: unknown */
	uint64_t user_exits;       /* of those, to the monitor */
	uint64_t pio_exits;        /* of those, for a port */
	uint64_t mmio_exits;       /* of those, for a memory-mapped register */
	uint64_t halts;            /* of the exits, because a vCPU had nothing to do */
	uint64_t irqs;             /* interrupts that the vCPUs were given */
	uint64_t disk_read;        /* bytes that the host's devices were asked for */
	uint64_t disk_written;     /* likewise; the page cache may have yet to write them */
	uint64_t setup_cpu_ns;     /* the monitor's CPU time until the guest was first entered */
	bool have_balloon;         /* or the next three mean nothing */
	uint64_t balloon_target;   /* bytes that the guest is to give up, */
	uint64_t balloon_actual;   /* and that it says it has */
	uint64_t balloon_reported; /* bytes that it gave back as free, all that ever were */
};

struct message {
	uint32_t type; /* enum message_type */
	uint32_t len;  /* with MESSAGE_DIAL: bytes of @text */
	uint64_t value;
	uint64_t id;
	struct vm_stats stats;   /* with MESSAGE_ENDED and MESSAGE_STATS */
	struct limits limits[2]; /* with MESSAGE_DISK_LIMITS and MESSAGE_NET_LIMITS */
	char text[3072];         /* NUL-terminated */
};

/*
 * Send @msg, with a copy of descriptor @fd unless that is negative. Returns 0 or negative errno
 * (-EAGAIN where the socket is non-blocking and full).
 */
int channel_send(int sock, const struct message *msg, int fd);

/*
 * Make @sock an end that never waits, with room for some messages: as much as a host allows anybody
 * to have. channel_has_room() tells whether CHANNEL_BURST more are taken now, whatever the peer
 * does; where it says no, poll() for POLLOUT waits until it may say yes.
 */
#define CHANNEL_BURST 64
void channel_never_wait(int sock);
bool channel_has_room(int sock);

/* Whether @limits of @msg can be those of buckets. */
bool channel_limits_ok(const struct message *msg);

/*
 * Receive one message. @*fd is the descriptor that came with it, owned by the caller, or -1.
 * Returns 1 for a message, 0 when the peer is gone, or negative errno.
 */
int channel_receive(int sock, struct message *msg, int *fd);
