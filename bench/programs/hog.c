// SPDX-License-Identifier: Apache-2.0
/*
 * hog KIND SECONDS BOUND [DIR]: a bad neighbour, for so long. Says "hogging" when it begins.
 *
 *   cpu     BOUND processes that compute
 *   disk    writes a file of BOUND bytes in DIR, each MiB to the disk, and reads it from there
 *   memory  touches BOUND bytes, and when it has them, or is killed for them, begins anew
 *   fork    BOUND processes that all want to be more
 *   table   BOUND processes that sleep, or as many as there can be: "held NUMBER WHY"
 *   cache   writes a file of BOUND bytes in DIR and reads it on and on; once: "held BYTES WHY"
 *   panic   the end of the kernel that it runs on, or "refused WHAT" of what does not do it
 *
 * None of it outlives its time, nor whoever reads what it says, who is sent an empty line now and
 * then. Every process has an alarm of its own and dies with its parent, and all of them are one
 * process group, which is killed as a whole. If memory is short, the kernel takes them first.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MIB = 1 << 20, GRACE = 2 };

static char block[MIB];
static double deadline;
static pid_t leader;
static atomic_long *processes; // of the fork bomb, in memory that they share

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
}

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	int error = errno;

	if (fd >= 0)
		close(fd);
	errno = error;
	return done;
}

/* As fork, of a child that has an end, and is taken for lack of memory before the leader is. */
static pid_t spawn(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid == 0) {
		double left = deadline - now();

		alarm((left > 0 ? (unsigned)left : 0) + GRACE);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		if (parent == leader)
			put("/proc/self/oom_score_adj", "1000");
	}
	return pid;
}

static void compute(long bound)
{
	for (long i = 0; i < bound; i++) {
		if (spawn() == 0)
			for (volatile unsigned long turns = 0;; turns++)
				;
	}
	for (;;)
		pause();
}

static int file_in(const char *dir)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/hog", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0) {
		perror(path);
		_exit(1);
	}
	return fd;
}

static void use_disk(long bound, const char *dir)
{
	int fd = file_in(dir);

	if (spawn() == 0) {
		for (;;) {
			off_t at = random() % (bound / MIB) * MIB;

			if (pread(fd, block, MIB, at) <= 0)
				nap(); // not written yet
			posix_fadvise(fd, at, MIB, POSIX_FADV_DONTNEED);
		}
	}
	for (off_t at = 0;; at = (at + MIB) % (bound / MIB * MIB)) {
		if (pwrite(fd, block, MIB, at) != MIB || fdatasync(fd)) {
			perror("hog");
			_exit(1);
		}
	}
}

static void eat(long bound)
{
	for (long eaten = 0; eaten < bound; eaten += MIB) {
		void *piece =
			mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (piece == MAP_FAILED)
			break;
		memset(piece, 1, MIB);
	}
}

static void eat_again(long bound)
{
	for (;;) {
		pid_t eater = spawn();

		if (eater == 0) {
			eat(bound);
			_exit(0);
		}
		waitpid(eater, NULL, 0);
	}
}

/* Those that end, by whomever, make room for others. */
static int reap(void)
{
	int reaped = 0;

	while (waitpid(-1, NULL, WNOHANG) > 0) {
		atomic_fetch_sub(processes, 1);
		reaped++;
	}
	return reaped;
}

static void bomb(long bound)
{
	atomic_fetch_add(processes, 1);
	for (;;) {
		if (atomic_fetch_add(processes, 1) >= bound || spawn() < 0)
			atomic_fetch_sub(processes, 1);
		reap();
	}
}

static void fill_table(long bound)
{
	const char *why = "bound";
	long held = 1;

	while (held < bound) {
		pid_t pid = spawn();

		if (pid == 0)
			for (;;)
				pause();
		if (pid < 0) {
			why = strerror(errno);
			break;
		}
		held++;
		int killed = reap();

		if (killed) {
			held -= killed;
			why = "killed";
			break;
		}
	}
	dprintf(STDOUT_FILENO, "held %ld %s\n", held, why);
	for (;;)
		pause();
}

static void fill_cache(long bound, const char *dir)
{
	const char *why = "bound";
	int fd = file_in(dir), turn = 0;
	long held = 0;

	for (; held < bound; held += MIB) {
		if (pwrite(fd, block, MIB, held) != MIB) {
			why = strerror(errno);
			break;
		}
	}
	for (;; turn++) {
		for (long at = 0; at < held; at += MIB)
			if (pread(fd, block, MIB, at) != MIB)
				why = strerror(errno);
		if (turn == 0)
			dprintf(STDOUT_FILENO, "held %ld %s\n", held, why);
	}
}

static void refused(const char *what)
{
	dprintf(STDOUT_FILENO, "refused %s: %s\n", what, strerror(errno));
}

static void panic(void)
{
	/* The second is one that nobody has made read-only. */
	static const char *const procs[] = { "/proc", "/tmp/proc" };
	char path[64];

	for (int i = 0; i < 2; i++) {
		if (i == 1 && ((mkdir(procs[i], 0700) && errno != EEXIST) ||
			       mount("proc", procs[i], "proc", 0, NULL))) {
			refused("mount of proc");
			continue;
		}
		snprintf(path, sizeof(path), "%s/sysrq-trigger", procs[i]);
		errno = 0;
		if (put(path, "c"))
			nap();
		refused(path);
		snprintf(path, sizeof(path), "%s/sys/vm/panic_on_oom", procs[i]);
		if (put(path, "2"))
			for (;;)
				eat(LONG_MAX);
		refused(path);
	}
	_exit(1);
}

static void hog(const char *kind, long bound, const char *dir)
{
	put("/proc/self/oom_score_adj", "900");
	if (!strcmp(kind, "cpu"))
		compute(bound);
	else if (!strcmp(kind, "disk"))
		use_disk(bound, dir);
	else if (!strcmp(kind, "memory"))
		eat_again(bound);
	else if (!strcmp(kind, "fork"))
		bomb(bound);
	else if (!strcmp(kind, "table"))
		fill_table(bound);
	else if (!strcmp(kind, "cache"))
		fill_cache(bound, dir);
	else if (!strcmp(kind, "panic"))
		panic();
	fprintf(stderr, "hog: there is no %s\n", kind);
	_exit(2);
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	deadline = now() + atof(argv[2]);
	processes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (processes == MAP_FAILED)
		return 1;
	/* Whoever loses his parent is ours, and so counted. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	leader = spawn();
	if (leader == 0) {
		leader = getpid();
		setpgid(0, 0);
		dprintf(STDOUT_FILENO, "hogging\n");
		hog(argv[1], atol(argv[3]), argc > 4 ? argv[4] : "/data");
	}
	if (leader < 0) {
		perror("hog");
		return 1;
	}
	setpgid(leader, leader);
	int status = 0;
	pid_t pid = 0;
	double next = now();

	while (now() < deadline) {
		if (now() > next) {
			if (write(STDOUT_FILENO, "\n", 1) != 1)
				break;
			next = now() + 1;
		}
		pid = waitpid(-1, &status, WNOHANG);
		if (pid == leader)
			break;
		if (pid > 0)
			atomic_fetch_sub(processes, 1);
		else
			nap();
	}
	kill(-leader, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		;
	return pid == leader && WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}
