// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

#include "jail/stages.h"

/* Descriptors: vCPUs, eventfds, rings, disks, taps and the most vsock connections come to less. */
#define FILES_MAX 1024

/* Not in the headers of older systems. */
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#endif
#ifndef PR_SCHED_CORE
#define PR_SCHED_CORE        62
#define PR_SCHED_CORE_CREATE 1
#endif
#define SCHED_CORE_SCOPE_THREAD_GROUP 1

int libc_settle(struct jail *jail)
{
	(void)jail;
	/* gmtime_r() looks for a time zone, once, although it has no use for it. */
	tzset();
	/* A thread that gets an arena of its own counts CPUs, and one that shrinks it asks how
	 * memory is overcommitted, in files both. */
	(void)mallopt(M_ARENA_MAX, 1); /* a sanitizer's allocator has none */
	return 0;
}

int limits_lower(int resource, rlim_t to)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit))
		return -errno;
	if (limit.rlim_cur > to)
		limit.rlim_cur = to;
	if (limit.rlim_max > to)
		limit.rlim_max = to;
	return setrlimit(resource, &limit) ? -errno : 0;
}

/*
 * Root has had no limit on locked memory, and will have one. If it cannot be raised far enough, the
 * set-up of what locks memory says so.
 */
static int raise_locked(rlim_t to)
{
	struct rlimit limit, higher;

	if (getrlimit(RLIMIT_MEMLOCK, &limit))
		return -errno;
	higher.rlim_cur = limit.rlim_cur > to ? limit.rlim_cur : to;
	higher.rlim_max = limit.rlim_max > to ? limit.rlim_max : to;
	if (!setrlimit(RLIMIT_MEMLOCK, &higher))
		return 0;
	limit.rlim_cur = limit.rlim_max;
	return setrlimit(RLIMIT_MEMLOCK, &limit) ? -errno : 0;
}

int limits_enter(struct jail *jail)
{
	int ret;

	/* Guest memory is not for core dumps. */
	if ((ret = limits_lower(RLIMIT_CORE, 0)) ||
	    (ret = limits_lower(RLIMIT_NOFILE, FILES_MAX)) ||
	    /* POSIX message queues are of no use to it. */
	    (ret = limits_lower(RLIMIT_MSGQUEUE, 0)) ||
	    /* A disk image does not grow: what is written past its end would fill the host's. */
	    (ret = limits_lower(RLIMIT_FSIZE, jail->wish.file_max)))
		return ret;
	/* Such a write is then an error like any other. */
	signal(SIGXFSZ, SIG_IGN);
	return jail->wish.locked_bytes ? raise_locked(jail->wish.locked_bytes) : 0;
}

int privileges_enter(struct jail *jail)
{
	(void)jail;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : 0;
}

int memory_enter(struct jail *jail)
{
	(void)jail;
	/* Pages merged with another VM's tell it by their timing what they hold. The kernels that
	 * merge without being asked, page by page, are those that know this. */
	if (prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0) && errno != EINVAL)
		return -errno;
	/* No core dump, and no debugger but root's. */
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) ? -errno : 0;
}

/*
 * Should the supervisor have died before this, its end of the channel is closed, which the monitor
 * sees first of all.
 */
int parent_enter(struct jail *jail)
{
	(void)jail;
	return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) ? -errno : 0;
}

/* A cookie of its own: no other process runs on the sibling of a core that runs one of its threads.
 */
int cores_enter(struct jail *jail)
{
	if (!prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, SCHED_CORE_SCOPE_THREAD_GROUP, 0))
		return 0;
	/* The kernel does not know it, or the processor has no siblings. */
	if (errno != EINVAL && errno != ENODEV)
		return -errno;
	jail_leave_out(jail, JAIL_CORE_SCHED);
	return 0;
}
