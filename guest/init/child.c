// SPDX-License-Identifier: Apache-2.0
#include "init/child.h"

#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>

static void child_ended(int signo)
{
	(void)signo;
}

void child_watch(void)
{
	const struct sigaction ended = { .sa_handler = child_ended };
	sigset_t set;

	sigaction(SIGCHLD, &ended, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

struct kvmbox_exit child_exit(int status)
{
	if (WIFSIGNALED(status))
		return (struct kvmbox_exit){ KVMBOX_EXIT_SIGNALED, (uint32_t)WTERMSIG(status) };
	return (struct kvmbox_exit){ KVMBOX_EXIT_EXITED, (uint32_t)WEXITSTATUS(status) };
}
