// SPDX-License-Identifier: Apache-2.0
#include "base/dirs.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

int dirs_make(const char *path)
{
	char part[PATH_MAX];
	size_t len = strlen(path);

	if (len >= sizeof(part))
		return -ENAMETOOLONG;
	memcpy(part, path, len + 1);
	for (char *slash = part; (slash = strchr(slash + 1, '/'));) {
		*slash = '\0';
		int ret = mkdir(part, 0755);
		*slash = '/';
		if (ret && errno != EEXIST)
			return -errno;
	}
	return mkdir(part, 0700) && errno != EEXIST ? -errno : 0;
}
