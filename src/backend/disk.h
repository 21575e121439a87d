// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/error.h"
#include "base/loop.h"
#include "config/config.h"

/*
 * The host half of a disk. A device model hands over requests in terms of bytes and host memory and
 * gets each back once, through its @done; it never sees a file. A backend never sees a ring.
 */
enum disk_op {
	DISK_READ,
	DISK_WRITE,
	DISK_FLUSH,        /* completes when everything completed before survives a power loss */
	DISK_DISCARD,      /* the range may read as zeroes and its space be freed */
	DISK_WRITE_ZEROES, /* the range reads as zeroes; its space is kept */
	DISK_UNMAP_ZEROES, /* the range reads as zeroes; its space may be freed */
};

struct disk_io {
	enum disk_op op;   /* consumed by the backend */
	bool durable;      /* a change: complete only when it survives a power loss */
	uint16_t slot;     /* the submitter's number for it, unique in its queue while in flight */
	uint64_t offset;   /* bytes */
	uint64_t len;      /* bytes; for reads and writes the sum of the segments */
	struct iovec *iov; /* likewise */
	unsigned int niov;
	/* @result is 0 or negative errno; on the thread that submitted */
	void (*done)(struct disk_io *io, int result);
	struct disk_queue *queue; /* the backend's, as is the next */
	struct disk_io *next;
};

struct disk;

#define DISK_FILES_MAX (CONFIG_QUEUES_MAX + 1u)

/* One way to the disk. What goes another way is not ordered with it, but for flushes. */
struct disk_queue;

struct disk_ops {
	/*
	 * Make a queue that is served by @loop, for slots below @nslots. *@out is the disk's.
	 * Before the loop runs. Returns 0 or negative errno (-ENOSPC: more loops than the
	 * configuration has queues).
	 */
	int (*attach)(struct disk *disk, struct loop *loop, unsigned int nslots,
		      struct disk_queue **out);
	/*
	 * Start @io. Range and alignment to block_size were checked by the caller. On the thread of
	 * the queue's loop.
	 */
	void (*submit)(struct disk_queue *queue, struct disk_io *io);
	/* Its open files, into @fds. Returns how many. */
	unsigned int (*files)(const struct disk *disk, int fds[DISK_FILES_MAX]);
	/* Release the disk and its queues. Their loops have ended. */
	void (*free)(struct disk *disk);
};

struct disk {
	const struct disk_ops *ops;
	uint64_t capacity;      /* bytes */
	uint32_t block_size;    /* logical, bytes */
	uint32_t physical_size; /* bytes of a physical block; a hint */
	bool read_only;
	bool is_file;   /* and not a device */
	bool in_memory; /* a file that is kept in the host's memory: tmpfs */
	dev_t device;   /* the whole block device that it is on, or is; 0: none */
	bool can_discard;
	bool can_write_zeroes;
};

/*
 * Open the raw image or block device of @cfg and lock it: shared where read-only, else exclusive.
 * On success *@out is owned by the caller, freed with (*out)->ops->free(). Returns 0, or negative
 * errno with the sentence in @err.
 */
int disk_open(const struct disk_config *cfg, struct disk **out, struct error *err);
