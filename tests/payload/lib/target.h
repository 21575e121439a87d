// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * Devices to attack. An attack begins with the device running and in order, and whatever it does,
 * the others are to go on as if nothing were, and the device itself after a reset.
 */

#include "balloon.h"
#include "blk.h"
#include "net.h"
#include "virtio.h"
#include "vsock.h"

enum outcome {
	BREAKS,   /* the device shows DEVICE_NEEDS_RESET */
	HARMLESS, /* it goes on without a reset */
	ANYTHING, /* either */
};

enum { TARGET_BLK, TARGET_RNG, TARGET_VSOCK, TARGET_NET, TARGET_BALLOON, TARGETS };

struct target {
	const char *name;
	struct vdev *dev;
	struct vq *q;                     /* the queue to attack */
	uint32_t nqueues;                 /* of the device */
	bool (*find)(void);               /* and allocate what its requests need */
	bool (*start)(uint64_t features); /* from whatever state it is in */
	bool (*works)(void);              /* a request of its own gets its answer */
};

extern struct target targets[TARGETS];
extern struct blk target_blk;
extern struct vsock target_vsock;
extern struct net target_net;
extern struct balloon target_balloon;

/* Find and start them all. */
bool targets_init(void);

/* Put @t into order, with @features. Prints a line if that fails. */
bool attack_begin(struct target *t, const char *name, uint64_t features);

/* Judge the attack, and print the line for it: "TARGET.NAME". */
void attack_end(struct target *t, const char *name, enum outcome outcome);

struct attack {
	const char *name;
	void (*run)(void);
	enum outcome outcome;
};

/* All @n of @attacks on @t, each with @features. */
void attack_all(struct target *t, const struct attack *attacks, unsigned int n, uint64_t features);
