// SPDX-License-Identifier: Apache-2.0
/*
 * answer [PORT [FILE]]: says "first" at once. With a PORT it listens there, says "listening", and
 * answers every byte with the same, after 4 KiB have reached the disk under FILE where there is
 * one; but 'r' when it has read all of FILE, and 'f' when it has had a child, or with 'F' where it
 * could not. Else it is idle.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int die(const char *what)
{
	perror(what);
	return 1;
}

static int read_all(int file)
{
	static char block[1 << 20];
	ssize_t got;
	off_t at = 0;

	while ((got = pread(file, block, sizeof(block), at)) > 0)
		at += got;
	return got == 0;
}

static int have_child(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid > 0 && waitpid(pid, NULL, 0) == pid;
}

static void converse(int fd, int file, const char *block, size_t size)
{
	char byte;

	while (read(fd, &byte, 1) == 1) {
		if (byte == 'f')
			byte = have_child() ? 'f' : 'F';
		else if (file >= 0 && byte == 'r' && !read_all(file))
			break;
		else if (file >= 0 && byte != 'r' && pwrite(file, block, size, 0) != (ssize_t)size)
			break;
		if (write(fd, &byte, 1) != 1)
			break;
	}
	close(fd);
}

int main(int argc, char **argv)
{
	static const char block[4096];
	struct sockaddr_in address = { .sin_family = AF_INET };
	int file = -1, on = 1;

	if (write(STDOUT_FILENO, "first\n", 6) != 6)
		return 1;
	if (argc < 2)
		for (;;)
			pause();
	if (argc > 2) {
		file = open(argv[2], O_RDWR | O_CREAT | O_DSYNC, 0600);
		if (file < 0)
			return die(argv[2]);
	}
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_port = htons((uint16_t)atoi(argv[1]));
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 16))
		return die("listen");
	if (write(STDOUT_FILENO, "listening\n", 10) != 10)
		return 1;
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			return die("accept");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		converse(fd, file, block, sizeof(block));
	}
}
