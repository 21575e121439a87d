// SPDX-License-Identifier: Apache-2.0
#include "supervisor/iomax.h"

#include <criterion/criterion.h>
#include <sys/sysmacros.h>

#define A makedev(8, 0)
#define B makedev(259, 3)

static const struct limits bytes = { .bytes = { 1000, 500, 300, 20 } };
static const struct limits ops = { .ops = { 10, 1000, 1, 0 } };

static struct jail_io io[JAIL_IO_MAX];

static void expect_io(const struct jail_io *is, uint64_t read_bytes, uint64_t written_bytes,
		      uint64_t reads, uint64_t writes)
{
	cr_expect_eq(is->read_bytes, read_bytes, "%lu", is->read_bytes);
	cr_expect_eq(is->written_bytes, written_bytes, "%lu", is->written_bytes);
	cr_expect_eq(is->reads, reads, "%lu", is->reads);
	cr_expect_eq(is->writes, writes, "%lu", is->writes);
}

/* A second's worth, and what may come at once; requests in pieces. */
Test(supervisor_iomax, one_disk)
{
	cr_assert_eq(iomax_of(&(struct iomax_disk){ A, false, bytes }, 1, false, io), 1);
	cr_assert_eq(io[0].device, A);
	expect_io(&io[0], 2000 + 1 + 300 + 20, 2000 + 1 + 300 + 20, 0, 0);
	cr_assert_eq(iomax_of(&(struct iomax_disk){ B, false, ops }, 1, false, io), 1);
	cr_assert_eq(io[0].device, B);
	expect_io(&io[0], 0, 0, 8 * 12, 8 * 12);
}

Test(supervisor_iomax, no_device_or_no_limit)
{
	const struct iomax_disk disks[] = { { 0, false, bytes }, { A, false, { { 0 }, { 0 } } } };

	cr_assert_eq(iomax_of(disks, 2, false, io), 0);
	/* To take back what there was. */
	cr_assert_eq(iomax_of(disks, 2, true, io), 1);
	cr_assert_eq(io[0].device, A);
	expect_io(&io[0], 0, 0, 0, 0);
}

Test(supervisor_iomax, disks_of_a_device_add_up)
{
	const struct iomax_disk disks[] = { { A, false, ops },
					    { B, false, bytes },
					    { A, false, ops } };

	cr_assert_eq(iomax_of(disks, 3, false, io), 2);
	expect_io(&io[0], 0, 0, 2 * 8 * 12, 2 * 8 * 12);
	expect_io(&io[1], 2321, 2321, 0, 0);
}

/* One without a limit may do as much as it likes, but if it is read-only it writes nothing. */
Test(supervisor_iomax, one_without_a_limit)
{
	struct iomax_disk disks[] = { { A, false, bytes },
				      { A, true, { { 0 }, { 0 } } },
				      { A, false, bytes } };

	cr_assert_eq(iomax_of(disks, 3, false, io), 1);
	expect_io(&io[0], 0, 2 * 2321, 0, 0);
	disks[1].read_only = false;
	cr_assert_eq(iomax_of(disks, 3, false, io), 0);
}

/* The largest numbers there are. */
Test(supervisor_iomax, no_overflow)
{
	const struct limits most = { .ops = { BUCKET_TOKENS_MAX, 1, BUCKET_TOKENS_MAX,
					      BUCKET_TOKENS_MAX } };
	const struct iomax_disk disks[] = { { A, false, most }, { A, false, most } };

	cr_assert_eq(iomax_of(disks, 2, false, io), 1);
	expect_io(&io[0], 0, 0, UINT64_MAX, UINT64_MAX);
}
