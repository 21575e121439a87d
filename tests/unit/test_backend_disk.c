// SPDX-License-Identifier: Apache-2.0
#include "backend/disk.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MIB    (1u << 20)
#define NSLOTS 300

/* There in a build with the address sanitizer; criterion ends tests without the check at exit. */
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static struct {
	char dir[64];
	char path[80];
	struct loop *loop;
	struct disk *disk;
	struct disk_queue *queue;
} w;

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(w.dir, sizeof(w.dir), "%s/kvmbox-test-XXXXXX",
		 tmp && strlen(tmp) < 40 ? tmp : "/tmp");
	cr_assert_not_null(mkdtemp(w.dir));
	snprintf(w.path, sizeof(w.path), "%s/disk", w.dir);
}

static void disk_close(void)
{
	if (w.disk)
		w.disk->ops->free(w.disk);
	w.disk = NULL;
}

static void teardown(void)
{
	disk_close();
	loop_free(w.loop);
	unlink(w.path);
	rmdir(w.dir);
	if (__lsan_do_recoverable_leak_check)
		cr_assert_eq(__lsan_do_recoverable_leak_check(), 0);
}

TestSuite(disk, .init = setup, .fini = teardown, .timeout = 60);

/* ---- helpers ---- */

static uint8_t pattern(uint64_t pos)
{
	return (uint8_t)(pos * 31 + (pos >> 9) * 7 + (pos >> 17));
}

/* Make a file of @size bytes of the pattern. */
static void make_file(uint64_t size)
{
	int fd = open(w.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint8_t *buf = malloc(size ? size : 1);

	cr_assert_geq(fd, 0);
	for (uint64_t i = 0; i < size; i++)
		buf[i] = pattern(i);
	cr_assert_eq(write(fd, buf, size), (ssize_t)size);
	free(buf);
	close(fd);
}

static int try_open(enum disk_direct direct, bool read_only, struct disk **out, struct error *err)
{
	struct disk_config cfg = { .path = w.path, .read_only = read_only, .direct = direct };

	return disk_open(&cfg, out, err);
}

static void disk_just_open(enum disk_direct direct, bool read_only)
{
	struct error err = { "" };

	cr_assert_eq(try_open(direct, read_only, &w.disk, &err), 0, "%s", err.text);
}

/*
 * Open it and put it on a loop. Once in a test: a file stays open, and locked, as long as a ring
 * knows it.
 */
static void disk_up(enum disk_direct direct, bool read_only)
{
	disk_just_open(direct, read_only);
	cr_assert_eq(loop_new(&w.loop, 8), 0);
	cr_assert_eq(w.disk->ops->attach(w.disk, w.loop, NSLOTS, &w.queue), 0);
}

struct job {
	struct disk_io io; /* first */
	bool finished;
	int result;
};

static void job_done(struct disk_io *io, int result)
{
	struct job *j = (struct job *)io;

	cr_assert_not(j->finished, "completed twice");
	j->finished = true;
	j->result = result;
}

static void job_start(struct job *j, uint16_t slot, enum disk_op op, uint64_t offset,
		      struct iovec *iov, unsigned int niov)
{
	*j = (struct job){ .io = { .op = op,
				   .slot = slot,
				   .offset = offset,
				   .iov = iov,
				   .niov = niov,
				   .done = job_done } };
	for (unsigned int i = 0; i < niov; i++)
		j->io.len += iov[i].iov_len;
	w.disk->ops->submit(w.queue, &j->io);
}

static void job_wait(const struct job *j)
{
	while (!j->finished)
		cr_assert_eq(loop_run_once(w.loop), 0);
}

static int transfer(enum disk_op op, uint64_t offset, void *buf, size_t len)
{
	struct iovec iov = { buf, len };
	struct job j;

	job_start(&j, 7, op, offset, &iov, 1);
	job_wait(&j);
	return j.result;
}

static int change(enum disk_op op, bool durable, uint64_t offset, uint64_t len)
{
	struct job j = { .io = { .op = op,
				 .durable = durable,
				 .offset = offset,
				 .len = len,
				 .done = job_done } };

	w.disk->ops->submit(w.queue, &j.io);
	job_wait(&j);
	return j.result;
}

static void expect_pattern(const uint8_t *buf, uint64_t pos, size_t len)
{
	for (size_t i = 0; i < len; i++)
		cr_assert_eq(buf[i], pattern(pos + i), "byte %zu", i);
}

static void *aligned(size_t len)
{
	void *p = NULL;

	cr_assert_eq(posix_memalign(&p, 4096, len), 0);
	return p;
}

/* Whether files made here take direct I/O. */
static bool have_direct(void)
{
	int fd = open(w.path, O_RDONLY | O_DIRECT | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* ---- opening ---- */

static void expect_no_disk(int ret, const char *why)
{
	struct disk *d = NULL;
	struct error err = { "" };

	cr_assert_eq(try_open(DISK_DIRECT_AUTO, false, &d, &err), ret, "%s", err.text);
	cr_assert_null(d);
	cr_assert_not_null(strstr(err.text, w.path), "%s", err.text);
	cr_assert_not_null(strstr(err.text, why), "%s", err.text);
}

Test(disk, missing)
{
	expect_no_disk(-ENOENT, "No such file");
}

Test(disk, directory)
{
	struct disk *d = NULL;
	struct error err;

	cr_assert_eq(mkdir(w.path, 0700), 0);
	expect_no_disk(-EISDIR, "directory");
	cr_assert_eq(try_open(DISK_DIRECT_AUTO, true, &d, &err), -EINVAL);
	cr_assert_not_null(strstr(err.text, "neither a regular file nor a block device"));
	rmdir(w.path);
}

/* Nobody writes to it, and nobody ever will: this must not wait. */
Test(disk, fifo)
{
	struct disk *d = NULL;
	struct error err;

	cr_assert_eq(mkfifo(w.path, 0600), 0);
	expect_no_disk(-EINVAL, "neither a regular file nor a block device");
	cr_assert_eq(try_open(DISK_DIRECT_AUTO, true, &d, &err), -EINVAL);
}

Test(disk, character_device)
{
	cr_assert_eq(symlink("/dev/null", w.path), 0);
	expect_no_disk(-EINVAL, "neither a regular file nor a block device");
}

Test(disk, too_small)
{
	make_file(0);
	expect_no_disk(-EINVAL, "at least one sector");
	make_file(511);
	expect_no_disk(-EINVAL, "at least one sector");
	make_file(512);
	disk_just_open(DISK_DIRECT_AUTO, false);
	cr_assert_eq(w.disk->capacity, 512);
}

Test(disk, properties)
{
	make_file(MIB + 100);

	struct stat before, after;

	cr_assert_eq(stat(w.path, &before), 0);
	disk_just_open(DISK_DIRECT_AUTO, false);
	cr_assert_eq(w.disk->capacity, MIB + 100);
	cr_assert_eq(w.disk->block_size, 512);
	cr_assert_not(w.disk->read_only);
	cr_assert_eq(stat(w.path, &after), 0);
	cr_assert_eq(before.st_size, after.st_size);
	cr_assert_eq(before.st_blocks, after.st_blocks, "to look at it takes no space");
	disk_close();
	disk_just_open(DISK_DIRECT_AUTO, true);
	cr_assert(w.disk->read_only);
	cr_assert_not(w.disk->can_discard || w.disk->can_write_zeroes);
}

/* A format is not guessed: what looks like another kind of image is bytes like any other. */
Test(disk, contents_that_look_like_an_image)
{
	static const char qcow2[] = "QFI\xfb\0\0\0\3\0\0\0\0\0\0\0\x80\0\0\0\x0b/etc/shadow";
	uint8_t buf[512];

	make_file(MIB);
	int fd = open(w.path, O_WRONLY);

	cr_assert_eq(pwrite(fd, qcow2, sizeof(qcow2), 0), sizeof(qcow2));
	close(fd);
	disk_up(DISK_DIRECT_AUTO, false);
	cr_assert_eq(w.disk->capacity, MIB);
	cr_assert_eq(transfer(DISK_READ, 0, buf, 512), 0);
	cr_assert_eq(memcmp(buf, qcow2, sizeof(qcow2)), 0);
}

Test(disk, lock)
{
	struct disk *d = NULL;
	struct error err;

	make_file(MIB);
	disk_just_open(DISK_DIRECT_AUTO, false);
	cr_assert_eq(try_open(DISK_DIRECT_AUTO, false, &d, &err), -EWOULDBLOCK);
	cr_assert_not_null(strstr(err.text, "in use"));
	cr_assert_eq(try_open(DISK_DIRECT_AUTO, true, &d, &err), -EWOULDBLOCK);
	disk_close();
	disk_just_open(DISK_DIRECT_AUTO, true);
	cr_assert_eq(try_open(DISK_DIRECT_AUTO, true, &d, &err), 0, "readers share");
	d->ops->free(d);
	cr_assert_eq(try_open(DISK_DIRECT_AUTO, false, &d, &err), -EWOULDBLOCK);
	disk_close();
	disk_just_open(DISK_DIRECT_AUTO, false);
}

/* ---- transfers ---- */

static void expect_round_trip(enum disk_direct direct)
{
	uint8_t *buf = aligned(64 << 10);

	make_file(MIB);
	disk_up(direct, false);
	cr_assert_eq(transfer(DISK_READ, 4096, buf, 64 << 10), 0);
	expect_pattern(buf, 4096, 64 << 10);
	/* Aligned and not, over the same bytes, one after the other. */
	memset(buf, 1, 8192);
	cr_assert_eq(transfer(DISK_WRITE, 8192, buf, 8192), 0);
	memset(buf + 1, 2, 512);
	cr_assert_eq(transfer(DISK_WRITE, 8192 + 512, buf + 1, 512), 0);
	memset(buf, 3, 4096);
	cr_assert_eq(transfer(DISK_WRITE, 8192 + 4096, buf, 4096), 0);
	cr_assert_eq(transfer(DISK_READ, 8192 + 512, buf + 3, 4096), 0);
	for (int i = 0; i < 4096; i++)
		cr_assert_eq(buf[3 + i], i < 512 ? 2 : i < 4096 - 512 ? 1 : 3, "byte %d", i);
	cr_assert_eq(transfer(DISK_READ, 8192, buf, 8192), 0);
	cr_assert(buf[0] == 1 && buf[512] == 2 && buf[1024] == 1 && buf[4096] == 3);
	cr_assert_eq(change(DISK_FLUSH, false, 0, 0), 0);
	free(buf);
}

Test(disk, round_trip)
{
	expect_round_trip(DISK_DIRECT_AUTO);
}

Test(disk, round_trip_buffered)
{
	expect_round_trip(DISK_DIRECT_OFF);
}

Test(disk, round_trip_direct)
{
	make_file(512);
	if (!have_direct())
		cr_skip_test("the file system of the temporary directory takes no direct I/O");
	expect_round_trip(DISK_DIRECT_ON);
}

/* Segments that only together are what direct I/O asks for. */
Test(disk, crumbs)
{
	enum { N = 200 };
	uint8_t *buf = aligned(MIB);
	struct iovec iov[N];
	struct job j;
	size_t at = 0;

	make_file(MIB);
	disk_up(DISK_DIRECT_AUTO, false);
	for (int i = 0; i < N; i++) {
		size_t len = i + 1 < N ? (size_t)(i % 7 + 1) * 100 : 128 * 1024 - at;

		iov[i] = (struct iovec){ buf + at, len };
		at += len;
	}
	job_start(&j, 0, DISK_READ, 4096, iov, N);
	job_wait(&j);
	cr_assert_eq(j.result, 0);
	expect_pattern(buf, 4096, 128 * 1024);
	free(buf);
}

Test(disk, durable)
{
	uint8_t *buf = aligned(4096);
	struct iovec iov = { buf, 4096 };
	struct job j = { .io = { .op = DISK_WRITE,
				 .durable = true,
				 .iov = &iov,
				 .niov = 1,
				 .len = 4096,
				 .done = job_done } };

	make_file(MIB);
	disk_up(DISK_DIRECT_AUTO, false);
	memset(buf, 9, 4096);
	w.disk->ops->submit(w.queue, &j.io);
	job_wait(&j);
	cr_assert_eq(j.result, 0);
	cr_assert_eq(transfer(DISK_READ, 0, buf, 512), 0);
	cr_assert_eq(buf[0], 9);
	free(buf);
}

/* More than the ring has entries, completed in whatever order. */
Test(disk, many_in_flight)
{
	static struct job jobs[NSLOTS];
	static struct iovec iov[NSLOTS];
	uint8_t *buf = aligned(NSLOTS * 4096);

	make_file(NSLOTS * 4096);
	disk_up(DISK_DIRECT_AUTO, false);
	for (uint16_t i = 0; i < NSLOTS; i++) {
		iov[i] = (struct iovec){ buf + i * 4096, 4096 };
		job_start(&jobs[i], i, DISK_READ, (NSLOTS - 1u - i) * 4096ull, &iov[i], 1);
	}
	for (int i = 0; i < NSLOTS; i++) {
		job_wait(&jobs[i]);
		cr_assert_eq(jobs[i].result, 0);
		expect_pattern(buf + i * 4096, (NSLOTS - 1u - (unsigned int)i) * 4096ull, 4096);
	}
	free(buf);
}

/* Memory that the loop knows, and such that it does not know, in whatever mixture. */
static void mix_buffers(void)
{
	uint8_t *buf = aligned(16 * 4096), *other = aligned(4096);
	struct iovec two[2] = { { buf, 4096 }, { other, 4096 } };
	struct job j;

	make_file(MIB);
	disk_just_open(DISK_DIRECT_AUTO, false);
	cr_assert_eq(w.disk->ops->attach(w.disk, w.loop, NSLOTS, &w.queue), 0);
	cr_assert_eq(loop_add_memory(w.loop, buf, 16 * 4096), 0);
	cr_assert_eq(loop_add_memory(w.loop, buf, 16 * 4096), 0, "once more is no matter");
	cr_assert_eq(loop_buffer(w.loop, buf + 15 * 4096, 4096), 0);
	cr_assert_eq(loop_buffer(w.loop, buf + 15 * 4096, 4097), -1);
	cr_assert_eq(loop_buffer(w.loop, buf - 1, 1), -1);
	cr_assert_eq(loop_buffer(w.loop, other, 4096), -1);
	cr_assert_eq(transfer(DISK_READ, 8192, buf + 4096, 8 * 4096), 0);
	expect_pattern(buf + 4096, 8192, 8 * 4096);
	cr_assert_eq(transfer(DISK_READ, 512, buf + 3, 1000), 0, "through the page cache");
	expect_pattern(buf + 3, 512, 1000);
	job_start(&j, 3, DISK_READ, 4096, two, 2);
	job_wait(&j);
	cr_assert_eq(j.result, 0);
	expect_pattern(buf, 4096, 4096);
	expect_pattern(other, 8192, 4096);
	memset(buf, 7, 4096);
	cr_assert_eq(transfer(DISK_WRITE, 40960, buf, 4096), 0);
	cr_assert_eq(transfer(DISK_READ, 40960, other, 4096), 0);
	cr_assert_eq(memcmp(buf, other, 4096), 0);
	struct iovec iov = { buf, 4096 };
	j = (struct job){ .io = { .op = DISK_WRITE,
				  .durable = true,
				  .iov = &iov,
				  .niov = 1,
				  .len = 4096,
				  .done = job_done } };
	w.disk->ops->submit(w.queue, &j.io);
	job_wait(&j);
	cr_assert_eq(j.result, 0);
	free(buf);
	free(other);
}

Test(disk, fixed_buffers)
{
	cr_assert_eq(loop_new(&w.loop, 8), 0);
	mix_buffers();
}

Test(disk, polled)
{
	cr_assert_eq(loop_new_polled(&w.loop, 8, NULL), 0);
	mix_buffers();
}

/*
 * Linux moves at most 2 GiB less a page in one call, and says so by a short result: the rest is
 * asked for, from the middle of a segment. The guest can ask for so much with one buffer again and
 * again.
 */
Test(disk, resumes_short_reads)
{
	enum { PART = 16 << 20, N = 130 };
	static struct iovec iov[N];
	uint8_t *buf = aligned(PART), mark[512];
	struct job j;

	memset(mark, 0x42, sizeof(mark));
	/* In memory, where holes cost nothing. */
	int fd = memfd_create("disk", MFD_CLOEXEC);

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, (off_t)N * PART), 0);
	cr_assert_eq(pwrite(fd, mark, 512, (off_t)N * PART - 512), 512);
	snprintf(w.path, sizeof(w.path), "/proc/self/fd/%d", fd);
	disk_up(DISK_DIRECT_OFF, true);
	for (int i = 0; i < N; i++)
		iov[i] = (struct iovec){ buf, PART };
	job_start(&j, 0, DISK_READ, 0, iov, N);
	job_wait(&j);
	cr_assert_eq(j.result, 0);
	cr_assert_eq(j.io.len, 0);
	cr_assert_eq(buf[PART - 512], 0x42,
		     "the end of the file is at the end of the last segment");
	cr_assert_eq(buf[PART - 513], 0);
	close(fd);
	free(buf);
}

/* ---- discard and write-zeroes ---- */

static void expect_zeroed(enum disk_op op)
{
	uint8_t *buf = aligned(128 << 10);
	struct stat st;

	make_file(MIB);
	disk_up(DISK_DIRECT_AUTO, false);
	if (!w.disk->can_discard || (op == DISK_WRITE_ZEROES && !w.disk->can_write_zeroes))
		cr_skip_test("the file system of the temporary directory cannot do this");
	cr_assert_eq(change(op, false, 8192, 64 << 10), 0);
	cr_assert_eq(change(op, true, MIB - 512, 512), 0);
	cr_assert_eq(transfer(DISK_READ, 0, buf, 128 << 10), 0);
	expect_pattern(buf, 0, 8192);
	for (size_t i = 8192; i < 8192 + (64 << 10); i++)
		cr_assert_eq(buf[i], 0);
	expect_pattern(buf + 8192 + (64 << 10), 8192 + (64 << 10), 32 << 10);
	cr_assert_eq(transfer(DISK_READ, MIB - 1024, buf, 1024), 0);
	expect_pattern(buf, MIB - 1024, 512);
	cr_assert_eq(buf[512], 0);
	cr_assert_eq(stat(w.path, &st), 0);
	cr_assert_eq(st.st_size, MIB);
	free(buf);
}

Test(disk, discard)
{
	expect_zeroed(DISK_DISCARD);
}

Test(disk, write_zeroes)
{
	expect_zeroed(DISK_WRITE_ZEROES);
}

Test(disk, unmap_zeroes)
{
	expect_zeroed(DISK_UNMAP_ZEROES);
}

/* ---- failures ---- */

/* The file shrinks under us: an error, not an endless wait for the missing bytes. */
Test(disk, file_that_shrank)
{
	uint8_t *buf = aligned(8192);

	make_file(MIB);
	disk_up(DISK_DIRECT_AUTO, false);
	cr_assert_eq(truncate(w.path, 4096 + 100), 0);
	cr_assert_eq(transfer(DISK_READ, 512 << 10, buf, 8192), -EIO);
	cr_assert_eq(transfer(DISK_READ, 0, buf, 8192), -EIO, "what was left is not enough");
	cr_assert_eq(transfer(DISK_READ, 0, buf, 4096), 0);
	expect_pattern(buf, 0, 4096);
	free(buf);
}

/* A file that grows is as large as it was. */
Test(disk, file_that_grew)
{
	make_file(MIB);
	disk_up(DISK_DIRECT_AUTO, false);
	cr_assert_eq(truncate(w.path, 2 * MIB), 0);
	cr_assert_eq(w.disk->capacity, MIB);
}

/* A write that the host cuts short and then refuses. */
Test(disk, file_size_limit)
{
	struct rlimit limit = { MIB + 4096, MIB + 4096 };
	uint8_t *buf = aligned(64 << 10);

	signal(SIGXFSZ, SIG_IGN);
	make_file(2 * MIB);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	disk_up(DISK_DIRECT_OFF, false);
	memset(buf, 1, 64 << 10);
	cr_assert_eq(transfer(DISK_WRITE, MIB, buf, 64 << 10), -EFBIG);
	cr_assert_eq(transfer(DISK_READ, MIB + 4096, buf, 512), 0);
	expect_pattern(buf, MIB + 4096, 512);
	free(buf);
}

Test(disk, memory_that_is_not_there)
{
	uint8_t *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(p, MAP_FAILED);
	cr_assert_eq(mprotect(p + 4096, 4096, PROT_NONE), 0);
	make_file(MIB);
	disk_up(DISK_DIRECT_OFF, false);
	cr_assert_eq(transfer(DISK_READ, 0, p + 4096, 4096), -EFAULT);
	munmap(p, 8192);
}

/* ---- batches ---- */

Test(disk, idle_one_does_not_wait_for_the_turn)
{
	static uint8_t bytes[32][512];
	struct iovec iov[32];
	struct job jobs[32];

	make_file(MIB);
	disk_just_open(DISK_DIRECT_OFF, false);
	cr_assert_eq(loop_new(&w.loop, 64), 0);
	cr_assert_eq(w.disk->ops->attach(w.disk, w.loop, NSLOTS, &w.queue), 0);
	/* The ring is the thread's that ran it once. */
	cr_assert_eq(transfer(DISK_READ, 0, bytes[0], sizeof(bytes[0])), 0);
	for (uint16_t i = 0; i < 32; i++) {
		iov[i] = (struct iovec){ bytes[i], sizeof(bytes[i]) };
		job_start(&jobs[i], i, DISK_READ, 512ull * i, &iov[i], 1);
		if (i == 7)
			cr_expect_lt(loop_pending(w.loop), 8, "the first are with the disk");
	}
	cr_expect_geq(loop_pending(w.loop), 16, "a busy disk needs no haste");
	for (unsigned int i = 0; i < 32; i++) {
		job_wait(&jobs[i]);
		cr_expect_eq(jobs[i].result, 0);
		expect_pattern(bytes[i], 512ull * i, sizeof(bytes[i]));
	}
}

/* ---- what it is on ---- */

/* As the kernel has it: a whole device, no partition, and none below what is only in memory. */
Test(disk, device)
{
	char path[80];
	struct stat st;

	make_file(MIB);
	disk_just_open(DISK_DIRECT_OFF, true);
	if (w.disk->device) {
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/queue", major(w.disk->device),
			 minor(w.disk->device));
		cr_assert_eq(access(path, F_OK), 0, "%s", path);
	}
	cr_assert_eq(stat(w.path, &st), 0);
	if (!major(st.st_dev))
		cr_assert_eq(w.disk->device, 0);
	disk_close();
}

Test(disk, no_device)
{
	struct disk_config cfg = { .path = (char *)(uintptr_t) "/dev/shm/kvmbox-test-disk",
				   .direct = DISK_DIRECT_OFF };
	struct error err = { "" };
	int fd = open(cfg.path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		cr_skip_test("skipped: /dev/shm cannot be written to");
	cr_assert_eq(ftruncate(fd, MIB), 0);
	close(fd);
	int ret = disk_open(&cfg, &w.disk, &err);

	unlink(cfg.path);
	cr_assert_eq(ret, 0, "%s", err.text);
	cr_assert(w.disk->in_memory);
	cr_assert_eq(w.disk->device, 0);
	disk_close();
}
