// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * A supervisor that has learnt its answers by heart: a thread that takes one connection after the
 * other on control.sock in a directory of its own.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/state.h"

struct fake_server {
	struct state vm; /* what the client is to be given */
	int listener;
	pthread_t thread;
	const char *const *answers; /* one for each connection, up to NULL */
	size_t piece;               /* bytes sent at once, 0: all */
	char question[4096];        /* the last, whole */
};

/* Read a question with its body. */
static void fake_server_read(struct fake_server *f, int fd)
{
	size_t len = 0, body = 0;
	const char *end = NULL;

	while (!end || len < (size_t)(end + 4 - f->question) + body) {
		ssize_t n = recv(fd, f->question + len, sizeof(f->question) - 1 - len, 0);

		if (n <= 0)
			break;
		len += (size_t)n;
		f->question[len] = '\0';
		end = strstr(f->question, "\r\n\r\n");
		const char *length = strstr(f->question, "Content-Length: ");

		if (length)
			body = strtoul(length + strlen("Content-Length: "), NULL, 10);
	}
}

static void *fake_server_run(void *ctx)
{
	struct fake_server *f = ctx;

	for (size_t i = 0; f->answers[i]; i++) {
		int fd = accept(f->listener, NULL, NULL);
		const char *answer = f->answers[i];

		fake_server_read(f, fd);
		for (size_t left = strlen(answer); left;) {
			size_t want = f->piece && f->piece < left ? f->piece : left;
			ssize_t n = send(fd, answer, want, MSG_NOSIGNAL);

			if (n <= 0)
				break;
			answer += n;
			left -= (size_t)n;
			if (f->piece)
				usleep(100);
		}
		close(fd);
	}
	return NULL;
}

/* Make the directory, and a socket on which nobody listens yet. */
static void fake_server_init(struct fake_server *f)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	memset(f, 0, sizeof(*f));
	strcpy(f->vm.name, "web");
	strcpy(f->vm.path, "/tmp/kvmbox-server-XXXXXX");
	f->vm.dir_fd = -1;
	cr_assert(mkdtemp(f->vm.path));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%.64s/control.sock", f->vm.path);
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(f->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

static void fake_server_start(struct fake_server *f, const char *const *answers, size_t piece)
{
	f->answers = answers;
	f->piece = piece;
	cr_assert_eq(listen(f->listener, 8), 0);
	cr_assert_eq(pthread_create(&f->thread, NULL, fake_server_run, f), 0);
}

/* Await the end of all answers. */
static void fake_server_deinit(struct fake_server *f)
{
	char path[PATH_MAX];

	if (f->answers)
		pthread_join(f->thread, NULL);
	close(f->listener);
	snprintf(path, sizeof(path), "%s/control.sock", f->vm.path);
	unlink(path);
	rmdir(f->vm.path);
}
