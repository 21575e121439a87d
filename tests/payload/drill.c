// SPDX-License-Identifier: Apache-2.0
/*
 * The breakout drill: kvmbox itself, linked so that code of its devices hands control to the code
 * here, as if the guest had taken it over by the bytes that it is working on
 * (tests/payload/knock.c). The linker puts our functions in the place of the monitor's (--wrap, in
 * meson.build); there is nothing for this in the monitor.
 *
 *   DRILL_ROLE       whose thread it is: vcpu, loop or worker
 *   DRILL_ATTEMPT    what it tries, once, by a name of the table below; "all": one after the other;
 *                    anything else: it says what there is
 *   DRILL_FILTER     "off": system calls are not filtered, so that what is behind that is met
 *   DRILL_NEIGHBOUR  the process of another VM's monitor, and DRILL_STATE the directory with that
 *                    VM's state
 *
 * Whatever does not end the process is told on standard error, the monitor's log, in a line
 * "drill: ATTEMPT: RESULT", with the error that the kernel gave, or "succeeds". Before that come
 * lines "drill: without: LAYER", for what the host does not have.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/disk.h"
#include "device/i8042.h"
#include "jail/stages.h"
#include "virtio/mmio.h"
#include "virtio/queue.h"

#define SECTOR        512
#define PROCESSES_MAX 1000 /* more than its limit */
#define UNUSED_FILE   511  /* the last of a ring's numbers */

/* What a monitor that was taken over finds in its own memory. */
static int own_fd = -1, largest_fd = -1, read_only_fd = -1; /* disks: two written to, one read */
static uint64_t own_size, largest_size;
static int other_file = -1; /* open for writing, and none of its disks' */
static pid_t neighbour;
static char state_file[256], memory_file[64];
static struct sockaddr_un control = { .sun_family = AF_UNIX };

/* Of the thread. */
static _Thread_local const char *role = "";
static _Thread_local struct loop *own_loop;
static _Thread_local int own_source;

static atomic_bool begun;
static atomic_uint waiting; /* for the ring's answers */
static char page[4096] __attribute__((aligned(4096)));

static long result(long ret)
{
	return ret < 0 ? -errno : ret;
}

/* ---- what it tries: each returns a negative errno, or what it got ---- */

static long open_file(void)
{
	return result(open("/etc/passwd", O_RDONLY));
}

static long make_file(void)
{
	return result(open("/kvmbox-drill", O_CREAT | O_WRONLY, 0600));
}

static long make_memory_file(void)
{
	return result(memfd_create("drill", 0));
}

static long execute(void)
{
	return result(execl("/bin/true", "true", NULL));
}

/* An empty file is no program, which is found out behind all that might forbid it. */
static long execute_memory(void)
{
	char *const none[] = { NULL };
	int fd = memfd_create("drill", 0);

	return result(fd < 0 ? fd : execveat(fd, "", none, none, AT_EMPTY_PATH));
}

static long make_socket(void)
{
	return result(socket(AF_INET, SOCK_DGRAM, 0));
}

static long connect_out(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return result(fd < 0 ? fd : connect(fd, (struct sockaddr *)&to, sizeof(to)));
}

static long connect_control(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	return result(fd < 0 ? fd : connect(fd, (struct sockaddr *)&control, sizeof(control)));
}

static long trace(void)
{
	return result(ptrace(PTRACE_ATTACH, neighbour, NULL, NULL));
}

static long send_signal(void)
{
	return result(kill(neighbour, 0));
}

static long read_memory(void)
{
	struct iovec to = { page, 8 }, from = { page, 8 };

	return result(process_vm_readv(neighbour, &to, 1, &from, 1, 0));
}

static long open_memory(void)
{
	return result(open(memory_file, O_RDONLY));
}

static long read_state(void)
{
	return result(open(state_file, O_RDONLY));
}

static long load_module(void)
{
	return result(syscall(SYS_init_module, page, sizeof(page), ""));
}

static long mount_file_system(void)
{
	return result(mount("drill", "/", "tmpfs", MS_RDONLY, NULL));
}

/*
 * A process that ends at once: it has our memory and even our stack, but goes on to its end without
 * either. To copy a sanitizer's memory takes its time.
 */
static long begin_in(unsigned long namespace)
{
	register long tid asm("r10") = 0;
	register long tls asm("r8") = 0;
	long ret = SYS_clone;

	asm volatile("syscall\n\t"
		     "test %%rax, %%rax\n\t"
		     "jnz 1f\n\t"
		     "mov %[exit], %%eax\n\t"
		     "xor %%edi, %%edi\n\t"
		     "syscall\n"
		     "1:"
		     : "+a"(ret)
		     : "D"(namespace | CLONE_VM | SIGCHLD), "S"(0), "d"(0), "r"(tid),
		       "r"(tls), [exit] "i"(SYS_exit)
		     : "rcx", "r11", "memory");
	return ret;
}

static long make_namespace(void)
{
	return begin_in(CLONE_NEWNET);
}

static long make_user_namespace(void)
{
	return begin_in(CLONE_NEWUSER);
}

static long become_root(void)
{
	return result(setuid(0));
}

/* What ended, and was not waited for, has its number still. */
static long fill_processes(void)
{
	long ret = 0;

	for (int i = 0; i < PROCESSES_MAX && ret >= 0; i++)
		ret = begin_in(0);
	while (waitpid(-1, NULL, 0) > 0)
		;
	return ret;
}

static long find_keys(void)
{
	return result(
		syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, page, sizeof(page)));
}

static long make_code(void)
{
	return result(mprotect(page, sizeof(page), PROT_READ | PROT_WRITE | PROT_EXEC));
}

static long make_ring(void)
{
	struct io_uring_params p = { 0 };

	return result(syscall(SYS_io_uring_setup, 4, &p));
}

/* Nothing is forbidden to it but what is to every call of the process. */
static long open_by_new_ring(void)
{
	struct io_uring ring;
	struct io_uring_cqe *cqe;
	int ret = io_uring_queue_init(4, &ring, 0);

	if (ret)
		return ret;
	io_uring_prep_openat(io_uring_get_sqe(&ring), AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
	ret = io_uring_submit_and_wait(&ring, 1);
	if (ret >= 0)
		ret = io_uring_peek_cqe(&ring, &cqe);
	return ret ? ret : cqe->res;
}

static long write_read_only(void)
{
	return result(write(read_only_fd, page, SECTOR));
}

static long write_other_file(void)
{
	return result(write(other_file, page, 1));
}

/* Not what a jail is for: how the C library ends a process. */
static long give_up(void)
{
	abort();
}

/* ---- and on the ring that its thread has ---- */

static long ring_register(void)
{
	return loop_add_file(own_loop, own_fd);
}

static void ring_open(struct io_uring_sqe *sqe)
{
	io_uring_prep_openat(sqe, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
}

static void ring_connect(struct io_uring_sqe *sqe)
{
	io_uring_prep_connect(sqe, own_fd, (struct sockaddr *)&control, sizeof(control));
}

static void ring_no_file(struct io_uring_sqe *sqe)
{
	io_uring_prep_read(sqe, UNUSED_FILE, page, sizeof(page), 0);
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
}

static void ring_write_read_only(struct io_uring_sqe *sqe)
{
	io_uring_prep_write(sqe, read_only_fd, page, SECTOR, 0);
}

static void ring_fill_disk(struct io_uring_sqe *sqe)
{
	io_uring_prep_write(sqe, largest_fd, page, SECTOR, largest_size);
}

static void ring_grow_disk(struct io_uring_sqe *sqe)
{
	io_uring_prep_write(sqe, own_fd, page, SECTOR, own_size);
}

static void ring_take_space(struct io_uring_sqe *sqe)
{
	io_uring_prep_fallocate(sqe, own_fd, FALLOC_FL_KEEP_SIZE, (off_t)largest_size,
				sizeof(page));
}

/* The names are those in SECURITY.md, which tests/payload/drill.sh reads. */
static const struct {
	const char *name;
	long (*act)(void);
	void (*prepare)(struct io_uring_sqe *sqe);
} attempts[] = {
	{ "open a file", open_file, NULL },
	{ "make a file", make_file, NULL },
	{ "make a file in memory", make_memory_file, NULL },
	{ "execute a program", execute, NULL },
	{ "execute what it wrote to memory", execute_memory, NULL },
	{ "make memory executable", make_code, NULL },
	{ "make a socket", make_socket, NULL },
	{ "connect out", connect_out, NULL },
	{ "connect to another VM's control socket", connect_control, NULL },
	{ "read another VM's state", read_state, NULL },
	{ "open another VM's memory", open_memory, NULL },
	{ "read another VM's memory", read_memory, NULL },
	{ "trace another process", trace, NULL },
	{ "signal another process", send_signal, NULL },
	{ "load a module", load_module, NULL },
	{ "mount a file system", mount_file_system, NULL },
	{ "make a namespace", make_namespace, NULL },
	{ "make a user namespace", make_user_namespace, NULL },
	{ "become root", become_root, NULL },
	{ "find the keys of its session", find_keys, NULL },
	{ "fill the table of processes", fill_processes, NULL },
	{ "make a ring", make_ring, NULL },
	{ "open a file by a new ring", open_by_new_ring, NULL },
	{ "write to a read-only disk", write_read_only, NULL },
	{ "write to a file that is no disk", write_other_file, NULL },
	{ "by its ring: have another file", ring_register, NULL },
	{ "by its ring: open a file", NULL, ring_open },
	{ "by its ring: connect", NULL, ring_connect },
	{ "by its ring: use a file that it does not have", NULL, ring_no_file },
	{ "by its ring: write to a read-only disk", NULL, ring_write_read_only },
	{ "by its ring: write past the largest disk's end", NULL, ring_fill_disk },
	{ "by its ring: make a smaller disk as large", NULL, ring_grow_disk },
	{ "by its ring: take space behind a disk's end", NULL, ring_take_space },
};

#define NATTEMPTS (sizeof(attempts) / sizeof(attempts[0]))

static void say(const char *what, const char *how)
{
	char line[160];
	int len = snprintf(line, sizeof(line), "drill: %s%s%s\n", what, how ? ": " : "",
			   how ? how : "");

	(void)!write(STDERR_FILENO, line, (size_t)len);
}

static void tell(size_t i, long ret)
{
	const char *error = ret < 0 ? strerrorname_np((int)-ret) : "succeeds";

	say(attempts[i].name, error ? error : "an error that has no name");
}

static void handle_answer(void *ctx, const struct loop_event *ev)
{
	(void)ctx;
	tell(ev->index, ev->res);
	atomic_fetch_sub(&waiting, 1);
}

static bool needs_ring(size_t i)
{
	return strncmp(attempts[i].name, "by its ring", 11) == 0;
}

static void make_attempt(size_t i)
{
	if (needs_ring(i) && !own_loop) {
		tell(i, result(syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0)));
		return;
	}
	if (attempts[i].act) {
		tell(i, attempts[i].act());
		return;
	}
	struct io_uring_sqe *sqe = loop_sqe(own_loop);

	attempts[i].prepare(sqe);
	loop_tag(sqe, own_source, 0, (uint16_t)i, 0);
	atomic_fetch_add(&waiting, 1);
}

/* A device's code has bytes of the guest's in its hands, on some thread. */
static void taken_over(void)
{
	const char *who = getenv("DRILL_ROLE"), *what = getenv("DRILL_ATTEMPT");
	bool known = false;

	if (!who || !what || strcmp(who, role) != 0 || atomic_exchange(&begun, true))
		return;
	if (strcmp(what, "abort") == 0)
		give_up();
	for (size_t i = 0; i < NATTEMPTS; i++) {
		if (strcmp(what, "all") != 0 && strcmp(what, attempts[i].name) != 0)
			continue;
		known = true;
		make_attempt(i);
	}
	for (size_t i = 0; i < NATTEMPTS && !known; i++)
		say(attempts[i].name, NULL);
}

/* ---- in the place of the monitor's ---- */

int __real_disk_open(const struct disk_config *cfg, struct disk **out, struct error *err);
int __wrap_disk_open(const struct disk_config *cfg, struct disk **out, struct error *err);
int __real_jail_close(const struct jail *jail, enum jail_role its, struct loop *loop);
int __wrap_jail_close(const struct jail *jail, enum jail_role its, struct loop *loop);
int __real_filter_install(const struct jail *jail, enum jail_role its);
int __wrap_filter_install(const struct jail *jail, enum jail_role its);
void __real_virtio_mmio_write(struct virtio_mmio *t, uint64_t off, const void *data, uint32_t len);
void __wrap_virtio_mmio_write(struct virtio_mmio *t, uint64_t off, const void *data, uint32_t len);
int __real_virtq_pop(struct virtq *q, struct virtq_chain *chain);
int __wrap_virtq_pop(struct virtq *q, struct virtq_chain *chain);
int __real_i8042_write(struct i8042 *k, uint16_t port, uint8_t value);
int __wrap_i8042_write(struct i8042 *k, uint16_t port, uint8_t value);

/* In the supervisor, which then becomes the monitor. */
int __wrap_disk_open(const struct disk_config *cfg, struct disk **out, struct error *err)
{
	int ret = __real_disk_open(cfg, out, err);
	int fds[DISK_FILES_MAX];

	if (ret)
		return ret;
	(*out)->ops->files(*out, fds);
	if ((*out)->read_only) {
		read_only_fd = fds[0];
	} else if ((*out)->capacity > largest_size) {
		own_fd = largest_fd;
		own_size = largest_size;
		largest_fd = fds[0];
		largest_size = (*out)->capacity;
	} else {
		own_fd = fds[0];
		own_size = (*out)->capacity;
	}
	return 0;
}

static bool is_disk(const struct stat *st)
{
	const int disks[] = { own_fd, largest_fd, read_only_fd };
	struct stat disk;

	for (size_t i = 0; i < sizeof(disks) / sizeof(disks[0]); i++)
		if (!fstat(disks[i], &disk) && disk.st_dev == st->st_dev &&
		    disk.st_ino == st->st_ino)
			return true;
	return false;
}

/* What it would look for later on, when it could not ask any more; and what jail this is. */
static void look_around(const struct jail *jail)
{
	const char *pid = getenv("DRILL_NEIGHBOUR"), *dir = getenv("DRILL_STATE");
	struct stat st;

	neighbour = pid ? (pid_t)strtol(pid, NULL, 10) : 1;
	snprintf(memory_file, sizeof(memory_file), "/proc/%d/mem", neighbour);
	snprintf(state_file, sizeof(state_file), "%s/state.json", dir ? dir : "/");
	snprintf(control.sun_path, sizeof(control.sun_path), "%s/control.sock", dir ? dir : "/");
	for (int fd = STDERR_FILENO + 1; fd < 1024; fd++)
		if (!fstat(fd, &st) && S_ISREG(st.st_mode) && !is_disk(&st) &&
		    (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY)
			other_file = fd;
	for (int layer = 0; layer < JAIL_LAYERS; layer++)
		if (jail && jail->left_out & 1u << layer)
			say("without", jail_layer_name(layer));
}

int __wrap_jail_close(const struct jail *jail, enum jail_role its, struct loop *loop)
{
	static const char *const roles[JAIL_ROLES] = {
		[JAIL_LOOP] = "loop",
		[JAIL_WORKER] = "worker",
		[JAIL_VCPU] = "vcpu",
	};
	const char *who = getenv("DRILL_ROLE");

	role = roles[its];
	own_loop = loop;
	if (loop)
		own_source = loop_add_source(loop, handle_answer, NULL);
	if (who && strcmp(who, role) == 0)
		look_around(jail);
	return __real_jail_close(jail, its, loop);
}

int __wrap_filter_install(const struct jail *jail, enum jail_role its)
{
	const char *filter = getenv("DRILL_FILTER");

	return filter && strcmp(filter, "off") == 0 ? 0 : __real_filter_install(jail, its);
}

void __wrap_virtio_mmio_write(struct virtio_mmio *t, uint64_t off, const void *data, uint32_t len)
{
	if (strcmp(role, "vcpu") == 0)
		taken_over();
	__real_virtio_mmio_write(t, off, data, len);
}

int __wrap_virtq_pop(struct virtq *q, struct virtq_chain *chain)
{
	taken_over();
	return __real_virtq_pop(q, chain);
}

/* The guest's end waits until a ring has given its answers. */
int __wrap_i8042_write(struct i8042 *k, uint16_t port, uint8_t value)
{
	while (atomic_load(&waiting))
		;
	return __real_i8042_write(k, port, value);
}
