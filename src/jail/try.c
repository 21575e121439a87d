// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "jail/jail.h"

/* What the child has to say: one write. */
struct answer {
	unsigned int left_out;
	int ret;
	struct error err;
};

static void enter(struct jail *jail, int fd)
{
	struct answer a = { 0 };

	a.ret = jail_enter(jail, &a.err);
	a.left_out = jail->left_out;
	_exit(write(fd, &a, sizeof(a)) != sizeof(a));
}

int jail_try(unsigned int *left_out, struct error *err)
{
	const struct jail_wish wish = { .name = "check", .cpus = 1, .mem_bytes = 32u << 20 };
	AUTO_CLOSE int pidfd = -1;
	struct answer a = { 0 };
	struct jail jail;
	int fds[2];
	int ret = jail_prepare(&jail, &wish, err);

	if (ret)
		return ret;
	if (pipe2(fds, O_CLOEXEC)) {
		ret = error_set(err, errno, "cannot make a pipe: %s", strerror(errno));
		jail_release(&jail);
		return ret;
	}
	pid_t pid = jail_fork(&jail, &pidfd, err);

	if (!pid)
		enter(&jail, fds[1]);
	close(fds[1]);
	if (pid < 0)
		ret = pid;
	else if (read(fds[0], &a, sizeof(a)) != sizeof(a))
		ret = error_set(err, EIO, "what entered the jail has not come back");
	else if (a.ret)
		ret = error_set(err, -a.ret, "%s", a.err.text);
	close(fds[0]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	jail_release(&jail);
	if (!ret)
		*left_out = a.left_out | jail.left_out;
	return ret;
}
