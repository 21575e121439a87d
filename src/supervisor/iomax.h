// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/bucket.h"
#include "jail/jail.h"

/* A disk as the host's devices meet it. */
struct iomax_disk {
	dev_t device; /* 0: none */
	bool read_only;
	struct limits limits;
};

/*
 * What the disks' limits together allow on each device, into @io: a second's worth of each limit
 * and all that may come at once besides, since the kernel knows no bursts. Reads are only limited
 * where all disks on a device are, and writes where all are that can be written to. @all: also
 * those devices on which nothing is limited. Returns how many there are.
 */
unsigned int iomax_of(const struct iomax_disk *disks, unsigned int ndisks, bool all,
		      struct jail_io io[JAIL_IO_MAX]);
