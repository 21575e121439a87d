// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as what the agent sends to kvmbox exec or attach. What must hold: it ends, with an exit
 * status, or because the bytes ended or made no sense; and there is one if an EXIT was sent.
 */
#include "cli/session.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kvmbox/agent.h"

#define INPUT_MAX 100000 /* bytes that a socket holds */

/* What is to come of it: 1 with an EXIT, -EPROTO, or -ECONNRESET. */
static int expected(const uint8_t *data, size_t size)
{
	struct kvmbox_frame f;

	while (size >= sizeof(f)) {
		memcpy(&f, data, sizeof(f));
		if (f.len > KVMBOX_FRAME_MAX)
			return -EPROTO;
		if (size - sizeof(f) < f.len)
			break;
		if (f.type == KVMBOX_FRAME_EXIT && f.len >= sizeof(struct kvmbox_exit))
			return 1;
		data += sizeof(f) + f.len;
		size -= sizeof(f) + f.len;
	}
	return -ECONNRESET;
}

/* Its words are not for us: there would be no end of them. */
static int run_silently(const struct session *s)
{
	int saved = dup(STDERR_FILENO);
	struct error err;
	sigset_t mask;

	sigprocmask(SIG_BLOCK, NULL, &mask);
	dup2(s->err, STDERR_FILENO);
	int ret = session_run(s, &err);

	dup2(saved, STDERR_FILENO);
	close(saved);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	return ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int null = -1;
	int pair[2];

	if (null < 0)
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (size > INPUT_MAX || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return 0;
	if (send(pair[0], data, size, MSG_DONTWAIT) != (ssize_t)size)
		abort();
	shutdown(pair[0], SHUT_WR);

	struct session s = { .fd = pair[1], .in = -1, .out = null, .err = null, .name = "vm" };
	int wanted = expected(data, size);
	int ret = run_silently(&s);

	if (wanted < 0 ? ret != wanted : ret < 0 || ret > 255)
		abort();
	close(pair[0]);
	close(pair[1]);
	return 0;
}
