// SPDX-License-Identifier: Apache-2.0
/*
 * Landlock (Documentation/userspace-api/landlock.rst): every right that the kernel handles is
 * handled, and none is granted. It has no effect on what is open already.
 */
#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jail/stages.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_restrict_self  446
#endif
#define ASK_VERSION 1u

/* As of version 6 of the interface; the headers of older systems have less of it. */
struct ruleset {
	uint64_t files;
	uint64_t net;
	uint64_t scoped;
};

/* How many rights a version knows, which are the lowest bits. */
static const struct {
	unsigned int version;
	unsigned int files, net, scoped;
	size_t size; /* of the structure, as that version knows it */
} versions[] = {
	{ 1, 13, 0, 0, sizeof(uint64_t) },
	{ 2, 14, 0, 0, sizeof(uint64_t) },     /* to move a file to another directory */
	{ 3, 15, 0, 0, sizeof(uint64_t) },     /* to truncate it */
	{ 4, 15, 2, 0, 2 * sizeof(uint64_t) }, /* to bind and connect TCP */
	{ 5, 16, 2, 0, 2 * sizeof(uint64_t) }, /* requests to devices */
	{ 6, 16, 2, 2, 3 * sizeof(uint64_t) }, /* abstract sockets, signals */
};

int landlock_enter(struct jail *jail)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, ASK_VERSION);
	size_t i = sizeof(versions) / sizeof(versions[0]);

	if (version < 1) {
		/* Not built in, or turned off at boot. */
		if (version < 0 && errno != ENOSYS && errno != EOPNOTSUPP)
			return -errno;
		jail_leave_out(jail, JAIL_LANDLOCK);
		return 0;
	}
	while (versions[--i].version > version)
		;
	struct ruleset rules = {
		.files = (1ull << versions[i].files) - 1,
		.net = (1ull << versions[i].net) - 1,
		.scoped = (1ull << versions[i].scoped) - 1,
	};
	int fd = (int)syscall(SYS_landlock_create_ruleset, &rules, versions[i].size, 0);

	if (fd < 0)
		return -errno;
	int ret = syscall(SYS_landlock_restrict_self, fd, 0) ? -errno : 0;

	close(fd);
	return ret;
}
