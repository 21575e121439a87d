// SPDX-License-Identifier: Apache-2.0
#include <cap-ng.h>
#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "jail/stages.h"

int ids_enter(struct jail *jail)
{
	if (!jail->id)
		return 0;
	capng_clear(CAPNG_SELECT_ALL);
	/* This drops the bounding set, too, which takes the rights that go with this. */
	int ret = capng_change_id((int)jail->id, (int)jail->id,
				  CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING);
	/* Nobody else's are counted with that id's. */
	if (!ret)
		return limits_lower(RLIMIT_NPROC, jail_tasks_max(jail));
	/* In a container there may be no such user. */
	if (errno != EINVAL)
		return errno ? -errno : -EPERM;
	jail_leave_out(jail, JAIL_ID);
	return 0;
}

static bool bounding_is_empty(void)
{
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
			return false;
	return true;
}

/* Whoever enters a user namespace has all capabilities in it, so this comes behind that. */
int caps_enter(struct jail *jail)
{
	capng_clear(CAPNG_SELECT_ALL);
	if (capng_apply(CAPNG_SELECT_ALL))
		return errno ? -errno : -EPERM;

	/* The kernel's own word for it. */
	capng_clear(CAPNG_SELECT_ALL);
	if (capng_get_caps_process())
		return -EIO;
	if (capng_have_capabilities(CAPNG_SELECT_CAPS) != CAPNG_NONE)
		return -EPERM;
	/* It takes a capability to empty this one, which an ordinary user has in a user namespace
	 * alone. Without privileges to gain by executing, it has no effect. */
	if (!bounding_is_empty())
		jail_leave_out(jail, JAIL_BOUNDING);
	return 0;
}
