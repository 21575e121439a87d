// SPDX-License-Identifier: Apache-2.0
//
// neighbour DISK: a server for one client at a time. It answers each byte with the same once it has
// written 4 KiB to DISK, past all caches, and flushed them: what holds up its CPU, its disk or its
// network holds up the answer.

#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PORT = 7, BLOCK = 4096, BLOCKS = 1024 };

static int listen_on(in_port_t port)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)) || listen(fd, 1))
		return -1;
	return fd;
}

static void serve(int client, int disk, const void *block)
{
	static off_t next;
	char byte;

	while (read(client, &byte, 1) == 1) {
		if (pwrite(disk, block, BLOCK, next++ % BLOCKS * BLOCK) != BLOCK ||
		    fdatasync(disk)) {
			perror("neighbour: disk");
			return;
		}
		if (write(client, &byte, 1) != 1)
			return;
	}
}

int main(int argc, char **argv)
{
	void *block = aligned_alloc(BLOCK, BLOCK);
	int disk = open(argc == 2 ? argv[1] : "", O_RDWR | O_DIRECT | O_CLOEXEC);
	int listener = listen_on(PORT), one = 1;

	if (!block || disk < 0 || listener < 0) {
		perror("neighbour");
		return EXIT_FAILURE;
	}
	signal(SIGPIPE, SIG_IGN);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (client < 0)
			continue;
		setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		serve(client, disk, block);
		close(client);
	}
}
