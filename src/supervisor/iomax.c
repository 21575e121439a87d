// SPDX-License-Identifier: Apache-2.0
#include "supervisor/iomax.h"

#define MS_PER_S 1000u

/*
 * A guest's request may become several of the host's: the file is in pieces, or the device takes no
 * more than 128 KiB at once.
 */
#define PIECES 8u

static uint64_t add(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* The most that @spec, which limits, lets through in a second, @factor times. */
static uint64_t worst_second(const struct bucket_spec *spec, unsigned int factor)
{
	unsigned __int128 n = (unsigned __int128)spec->refill * MS_PER_S / spec->refill_ms + 1;

	n = (n + spec->size + spec->one_time_burst) * factor;
	return n > UINT64_MAX ? UINT64_MAX : (uint64_t)n;
}

/* Add what @spec allows to *@sum, which is 0 for good once there is something without a limit. */
static void add_limit(uint64_t *sum, bool *unlimited, const struct bucket_spec *spec,
		      unsigned int factor)
{
	*unlimited |= !bucket_limits(spec);
	*sum = *unlimited ? 0 : add(*sum, worst_second(spec, factor));
}

static void sum_device(const struct iomax_disk *disks, unsigned int ndisks, struct jail_io *io)
{
	bool any_read = false, any_written = false, any_reads = false, any_writes = false;

	for (unsigned int i = 0; i < ndisks; i++) {
		const struct iomax_disk *d = &disks[i];

		if (d->device != io->device)
			continue;
		add_limit(&io->read_bytes, &any_read, &d->limits.bytes, 1);
		add_limit(&io->reads, &any_reads, &d->limits.ops, PIECES);
		if (d->read_only)
			continue;
		add_limit(&io->written_bytes, &any_written, &d->limits.bytes, 1);
		add_limit(&io->writes, &any_writes, &d->limits.ops, PIECES);
	}
}

static bool is_there(const struct jail_io *io, unsigned int n, dev_t device)
{
	for (unsigned int i = 0; i < n; i++)
		if (io[i].device == device)
			return true;
	return false;
}

unsigned int iomax_of(const struct iomax_disk *disks, unsigned int ndisks, bool all,
		      struct jail_io io[JAIL_IO_MAX])
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < ndisks && n < JAIL_IO_MAX; i++) {
		if (!disks[i].device || is_there(io, n, disks[i].device))
			continue;
		io[n] = (struct jail_io){ .device = disks[i].device };
		sum_device(disks, ndisks, &io[n]);
		n += all || io[n].read_bytes || io[n].written_bytes || io[n].reads || io[n].writes;
	}
	return n;
}
