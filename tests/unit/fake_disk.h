// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * A disk of memory that does what it is told: completes at once, or holds requests until the test
 * lets go of them, with whatever result.
 */

#include "backend/disk.h"
#include "guest_driver.h"

#define FAKE_BYTES (1u << 20) /* there are contents for so much of it */
#define FAKE_SLOTS 260
#define FAKE_HELD  1100

struct fake_seen {
	enum disk_op op;
	bool durable;
	uint64_t offset;
	uint64_t len;
	unsigned int niov;
};

#define FAKE_QUEUES 16

struct fake_disk;

struct disk_queue {
	struct fake_disk *disk;
	unsigned int nslots;
	struct disk_io *slots[FAKE_SLOTS]; /* in flight, by slot */
};

struct fake_disk {
	struct disk disk; /* first */
	uint8_t *data;
	bool hold;
	int result; /* of what completes at once */
	void (*on_submit)(void);

	struct disk_queue queues[FAKE_QUEUES];
	unsigned int nqueues;
	struct disk_io *held[FAKE_HELD];
	struct disk_queue *held_at[FAKE_HELD];
	unsigned int nheld;
	unsigned int submitted;
	struct fake_seen last;
	bool freed;
};

/* Put @io on the memory, where the memory has such bytes. */
static inline void fake_disk_transfer(struct fake_disk *f, struct disk_io *io)
{
	uint64_t at = io->offset;

	for (unsigned int i = 0; i < io->niov; i++) {
		size_t len = io->iov[i].iov_len;

		if (at + len <= FAKE_BYTES && io->op == DISK_READ)
			memcpy(io->iov[i].iov_base, f->data + at, len);
		else if (at + len <= FAKE_BYTES && io->op == DISK_WRITE)
			memcpy(f->data + at, io->iov[i].iov_base, len);
		at += len;
	}
}

static inline void fake_disk_complete(struct disk_queue *q, struct disk_io *io, int result)
{
	guest_require(q->slots[io->slot] == io);
	q->slots[io->slot] = NULL;
	if (!result)
		fake_disk_transfer(q->disk, io);
	io->done(io, result);
}

static inline int fake_disk_attach(struct disk *disk, struct loop *loop, unsigned int nslots,
				   struct disk_queue **out)
{
	struct fake_disk *f = (struct fake_disk *)disk;

	(void)loop;
	guest_require(nslots <= FAKE_SLOTS && f->nqueues < FAKE_QUEUES);
	*out = &f->queues[f->nqueues++];
	(*out)->disk = f;
	(*out)->nslots = nslots;
	return 0;
}

/* What backend/disk.h promises a backend is checked here. */
static inline void fake_disk_submit(struct disk_queue *q, struct disk_io *io)
{
	struct fake_disk *f = q->disk;
	const struct disk *disk = &f->disk;
	uint64_t sum = 0;

	for (unsigned int i = 0; i < io->niov; i++)
		sum += io->iov[i].iov_len;
	guest_require(io->slot < q->nslots && !q->slots[io->slot]);
	guest_require(io->op == DISK_READ || io->op == DISK_WRITE ? sum == io->len : !io->niov);
	guest_require(io->offset <= disk->capacity && io->len <= disk->capacity - io->offset);
	guest_require((io->offset | io->len) % disk->block_size == 0);
	guest_require(!disk->read_only || io->op == DISK_READ || io->op == DISK_FLUSH);
	q->slots[io->slot] = io;
	f->submitted++;
	f->last = (struct fake_seen){ io->op, io->durable, io->offset, io->len, io->niov };
	if (f->on_submit)
		f->on_submit();
	if (f->hold) {
		f->held_at[f->nheld] = q;
		f->held[f->nheld++] = io;
	} else {
		fake_disk_complete(q, io, f->result);
	}
}

static inline void fake_disk_free(struct disk *disk)
{
	struct fake_disk *f = (struct fake_disk *)disk;

	free(f->data);
	f->data = NULL;
	f->freed = true;
}

/* Complete the last @n of the held requests, the last one first. */
static inline void fake_disk_release(struct fake_disk *f, unsigned int n, int result)
{
	while (n-- && f->nheld) {
		f->nheld--;
		fake_disk_complete(f->held_at[f->nheld], f->held[f->nheld], result);
	}
}

static inline void fake_disk_init(struct fake_disk *f, uint64_t capacity)
{
	static const struct disk_ops ops = {
		.attach = fake_disk_attach,
		.submit = fake_disk_submit,
		.free = fake_disk_free,
	};

	*f = (struct fake_disk){
		.disk = { .ops = &ops,
			  .capacity = capacity,
			  .block_size = 512,
			  .physical_size = 4096,
			  .can_discard = true,
			  .can_write_zeroes = true },
		.data = calloc(1, FAKE_BYTES),
	};
	guest_require(f->data);
}
