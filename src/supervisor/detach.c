// SPDX-License-Identifier: Apache-2.0
#include "supervisor/detach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int wait_for(pid_t child, int fd, int *status)
{
	int wait_status;
	char ready;
	ssize_t n;

	do
		n = read(fd, &ready, 1);
	while (n < 0 && errno == EINTR);
	close(fd);
	if (n == 1) {
		*status = 0;
		return 1;
	}
	while (waitpid(child, &wait_status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	*status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
	return 1;
}

int detach(int *ready_fd, int *status)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	fflush(stdout);
	pid_t child = fork();

	if (child < 0) {
		int ret = -errno;

		close(fds[0]);
		close(fds[1]);
		return ret;
	}
	close(fds[child ? 1 : 0]);
	if (child)
		return wait_for(child, fds[0], status);
	setsid();
	*ready_fd = fds[1];
	return 0;
}

int detach_ready(int *ready_fd, int log_fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	ssize_t n;

	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(log_fd, STDERR_FILENO);
	close(null);
	do
		n = write(*ready_fd, "", 1);
	while (n < 0 && errno == EINTR);
	close(*ready_fd);
	*ready_fd = -1;
	/* Everything that was given by a relative path has been opened. */
	return chdir("/") || n != 1 ? -EPIPE : 0;
}
