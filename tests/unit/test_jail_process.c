// SPDX-License-Identifier: Apache-2.0
/* The stages before the machine is built, all of them, as whoever runs this. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jail/jail.h"
#include "jail/stages.h"

#define FILE_MAX (1u << 20)

static struct jail jail;
static pid_t outside;
static int looked_at[2]; /* a pair of sockets */
static int words;        /* where the child says what it could do */

static void allowed(const char *what)
{
	dprintf(words, "%s (%s)\n", what, strerror(errno));
}

#define EXPECT(what, is)               \
	do {                           \
		if (!(is))             \
			allowed(what); \
	} while (0)

static bool has(enum jail_layer layer)
{
	return !(jail.left_out & 1u << layer);
}

static void try_files(void)
{
	struct stat st;

	if (!has(JAIL_ROOT) && !has(JAIL_LANDLOCK))
		return;
	EXPECT("open a file", open("/etc/passwd", O_RDONLY) < 0);
	EXPECT("open a device", open("/dev/kvm", O_RDWR) < 0);
	EXPECT("make a file", open("/x", O_CREAT | O_WRONLY, 0600) < 0);
	EXPECT("make a directory", mkdir("/x", 0700) < 0);
	EXPECT("execute", execl("/bin/true", "true", NULL) < 0);
	EXPECT("find a way up", !has(JAIL_ROOT) || stat("/../etc", &st) < 0);
	EXPECT("find /proc", !has(JAIL_ROOT) || stat("/proc/self", &st) < 0);
}

static void try_rights(void)
{
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		EXPECT("keep its bounding set",
		       !has(JAIL_BOUNDING) || prctl(PR_CAPBSET_READ, cap, 0, 0, 0) != 1);
	EXPECT("gain privileges", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	EXPECT("mount", mount("x", "/", "tmpfs", 0, NULL) < 0);
	EXPECT("unmount", umount2("/", MNT_DETACH) < 0);
	EXPECT("change its root", chroot("/") < 0);
	EXPECT("set the host's name", sethostname("x", 1) < 0);
	EXPECT("become root", geteuid() == 0 || setuid(0) < 0);
	EXPECT("make a namespace", unshare(CLONE_NEWNET) < 0);
	EXPECT("be root of a namespace", !has(JAIL_USER_NS) || unshare(CLONE_NEWUSER) < 0);
	EXPECT("keep its id", !has(JAIL_ID) || geteuid() != 0);
}

static void try_others(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(9) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	EXPECT("reach the network",
	       !has(JAIL_NET_NS) || fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
	EXPECT("see a process", !has(JAIL_PID_NS) || kill(outside, 0) < 0);
	EXPECT("trace a process", ptrace(PTRACE_ATTACH, outside, 0, 0) < 0);
	int death = 0;

	EXPECT("outlive its parent", !prctl(PR_GET_PDEATHSIG, &death, 0, 0, 0) && death == SIGKILL);
	EXPECT("be another process", !has(JAIL_PID_NS) || getpid() == 1);
}

static void try_limits(void)
{
	struct rlimit core, files, tasks;
	char page[4096] = "";
	int fd = words;

	EXPECT("be dumped", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
	EXPECT("dump core", !getrlimit(RLIMIT_CORE, &core) && core.rlim_max == 0);
	EXPECT("open files without end",
	       !getrlimit(RLIMIT_NOFILE, &files) && files.rlim_max <= 1024);
	EXPECT("start processes without end",
	       !has(JAIL_ID) || (!getrlimit(RLIMIT_NPROC, &tasks) && tasks.rlim_max <= 1000));
	/* That file is open, and may be written, but not made longer than a disk. */
	EXPECT("write a file", pwrite(fd, page, 1, FILE_MAX - 1) == 1);
	EXPECT("grow a file", pwrite(fd, page, sizeof(page), FILE_MAX) < 0 && errno == EFBIG);
}

static void try_all(void)
{
	struct error err;

	if (jail_enter(&jail, &err)) {
		dprintf(words, "%s\n", err.text);
		_exit(1);
	}
	dprintf(words, "left out: %x\n", jail.left_out);
	try_limits();
	try_files();
	try_rights();
	try_others();
	/* Until it has been looked at. */
	char byte;
	ssize_t n = write(looked_at[1], "", 1) == 1 ? read(looked_at[1], &byte, 1) : 0;

	_exit(n != 1);
}

/* From here, a user namespace hides nothing. */
static void look_at(pid_t child)
{
	char path[64], line[256];
	unsigned int uids[4] = { 0 }, gids[4] = { 0 };
	bool any = false;

	snprintf(path, sizeof(path), "/proc/%d/status", child);
	FILE *f = fopen(path, "re");

	cr_assert_not_null(f);
	while (fgets(line, sizeof(line), f)) {
		sscanf(line, "Uid: %u %u %u %u", &uids[0], &uids[1], &uids[2], &uids[3]);
		sscanf(line, "Gid: %u %u %u %u", &gids[0], &gids[1], &gids[2], &gids[3]);
		any |= strncmp(line, "Cap", 3) == 0 &&
		       strspn(strchr(line, '\t'), "\t0\n") != strlen(strchr(line, '\t'));
		/* An ordinary user's groups stay: nobody else's are to be had in their place. */
		if (geteuid() == 0 && strncmp(line, "Groups:", 7) == 0)
			cr_expect_eq(strspn(line + 7, "\t \n"), strlen(line + 7), "%s", line);
	}
	fclose(f);
	cr_expect_not(any, "it has a capability in some set");
	for (int i = 0; i < 4; i++) {
		cr_expect_eq(uids[i], jail.id ? jail.id : geteuid());
		cr_expect_eq(gids[i], jail.id ? jail.id : getegid());
	}
}

static void enter(char *said, size_t size)
{
	const struct jail_wish wish = {
		.name = "unit-test", .cpus = 1, .mem_bytes = 64u << 20, .file_max = FILE_MAX
	};
	char path[] = "/tmp/kvmbox-jail-XXXXXX";
	struct error err;
	int status, pidfd = -1;

	words = mkstemp(path);
	cr_assert_geq(words, 0);
	unlink(path);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, looked_at), 0);
	outside = getpid();
	cr_assert_eq(jail_prepare(&jail, &wish, &err), 0, "%s", err.text);
	pid_t child = jail_fork(&jail, &pidfd, &err);

	if (!child)
		try_all();
	cr_assert(child > 0, "%s", err.text);
	close(looked_at[1]);
	char byte;

	if (read(looked_at[0], &byte, 1) == 1) {
		look_at(child);
		cr_expect_eq(write(looked_at[0], "", 1), 1);
	}
	close(looked_at[0]);
	cr_assert_eq(waitpid(child, &status, 0), child);
	jail_release(&jail);
	close(pidfd);
	ssize_t n = pread(words, said, size - 1, 0);

	said[n > 0 ? strnlen(said, (size_t)n) : 0] = '\0';
	close(words);
	cr_expect_eq(status, 0, "wait status %#x", (unsigned int)status);
}

static void expect_nothing_but_what_is_left_out(void)
{
	char said[8192];

	enter(said, sizeof(said));
	char *newline = strchr(said, '\n');

	cr_assert(newline && strncmp(said, "left out: ", 10) == 0, "%s", said);
	cr_expect_str_eq(newline + 1, "", "it could %s", newline + 1);
}

/* The wait status of a child that enters one stage alone. */
static int enter_alone(int (*stage)(struct jail *), bool (*is_in_force)(void))
{
	int status;
	pid_t child = fork();

	if (!child) {
		int ret = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : stage(&jail);

		_exit(jail.left_out ? 77 : ret || !is_in_force());
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		cr_skip("this host does not have it");
	return status;
}

static bool no_file_opens(void)
{
	return open("/dev/null", O_RDWR) < 0 && errno == EACCES &&
	       mkdir("/tmp/kvmbox-jail", 0700) < 0 && errno == EACCES;
}

Test(stages, landlock)
{
	cr_expect_eq(enter_alone(landlock_enter, no_file_opens), 0);
}

static bool is_not_dumpable(void)
{
	return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0;
}

Test(stages, memory)
{
	cr_expect_eq(enter_alone(memory_enter, is_not_dumpable), 0);
}

static bool dies_with_its_parent(void)
{
	int signal = 0;

	return !prctl(PR_GET_PDEATHSIG, &signal, 0, 0, 0) && signal == SIGKILL;
}

Test(stages, parent)
{
	cr_expect_eq(enter_alone(parent_enter, dies_with_its_parent), 0);
}

Test(jail, nothing_is_left_to_it)
{
	expect_nothing_but_what_is_left_out();
}

/* As in a container, whose engine's filter knows no clone3(). */
Test(jail, nor_where_clone3_is_unknown)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);

	cr_assert(!seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) &&
		  !seccomp_load(ctx));
	seccomp_release(ctx);
	expect_nothing_but_what_is_left_out();
	cr_expect_not(jail.left_out & 1u << JAIL_PID_NS);
}

Test(jail, nor_for_an_ordinary_user)
{
	if (geteuid() == 0)
		cr_assert(!setgid(65534) && !setuid(65534));
	expect_nothing_but_what_is_left_out();
	cr_expect(jail.left_out & 1u << JAIL_ID);
}
