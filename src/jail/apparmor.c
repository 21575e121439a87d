// SPDX-License-Identifier: Apache-2.0
/*
 * AppArmor, where the profile of data/apparmor/ is loaded and confines us: the monitor goes on in
 * the narrow one that is part of it. That can only be asked for at a file of /proc, which is out of
 * sight behind the empty root; and it has to be last of all that takes a capability. So the file is
 * opened before the one, and written behind the other.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "jail/stages.h"

#define LABEL  "kvmbox ("
#define CHANGE "changeprofile kvmbox//monitor"

int label_open(struct jail *jail)
{
	AUTO_CLOSE int fd = open("/proc/self/attr/apparmor/current", O_RDWR | O_CLOEXEC);
	char label[64];

	jail->label_fd = -1;
	/*
	 * In any other profile, or in none, it stays. What is written to the file is taken at its
	 * beginning alone, so that is where the descriptor stays.
	 */
	if (fd < 0 || pread(fd, label, sizeof(label), 0) < (ssize_t)strlen(LABEL) ||
	    strncmp(label, LABEL, strlen(LABEL)) != 0)
		return 0;
	jail->label_fd = steal_fd(&fd);
	return 0;
}

int label_enter(struct jail *jail)
{
	AUTO_CLOSE int fd = jail->label_fd;

	jail->label_fd = -1;
	if (fd < 0)
		return 0;
	return write(fd, CHANGE, strlen(CHANGE)) == (ssize_t)strlen(CHANGE) ? 0 : -errno;
}
