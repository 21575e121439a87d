// SPDX-License-Identifier: Apache-2.0
#include "supervisor/datadir.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int datadir_find(const char *name, char *path, size_t size)
{
	static const char *const places[] = { "guest", "../" KVMBOX_LIBDIR "/kvmbox" };
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (n <= 0)
		return -ENOENT;
	exe[n] = '\0';
	char *slash = strrchr(exe, '/');
	if (!slash)
		return -ENOENT;
	*slash = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		int len = snprintf(path, size, "%s/%s/%s", exe, places[i], name);

		if (len < 0 || (size_t)len >= size)
			return -ENAMETOOLONG;
		if (!access(path, R_OK))
			return 0;
	}
	return -ENOENT;
}

int datadir_require(const char *name, const char *how, const char *instead, char *path,
		    struct error *err)
{
	int ret = datadir_find(name, path, PATH_MAX);

	return ret ? error_set(err, -ret,
			       "%s is not there, beside the program or installed with it: build it "
			       "with %s%s",
			       name, how, instead)
		   : 0;
}
