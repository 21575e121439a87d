// SPDX-License-Identifier: Apache-2.0
/*
 * Raw files and block devices, through the loop's io_uring.
 *
 * Two descriptors are kept for a disk: one with O_DIRECT, where the file offers it, and one
 * without. A request goes straight to the device when its offset, length and memory are aligned as
 * the file asks; any other takes the page cache, which Linux keeps coherent with direct I/O on the
 * same file. A flush covers both, as fdatasync() speaks of the file and not of the descriptor.
 *
 * That the page cache could not be written out is told once to each open file description, to the
 * first flush that asks, and the data are lost. So that no other flush promises what is not there,
 * all that follow on that description fail, too: the guest has to know that this disk is not to be
 * trusted. And so that none overtakes the one that is told, there is one at a time, which those
 * that come meanwhile wait for, to have the next in common; and a queue on a thread of its own has
 * a description of its own. Direct I/O has each failure told where it happens.
 *
 * Each queue of the disk has its own loop's numbers for these files, and its own requests in
 * flight, so that queues on different threads have nothing to share but the file.
 */
#include "backend/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/stat.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

#define LOCK_TRIES 50 /* every 10 ms */
/*
 * A disk with fewer than BUSY requests gets the next BATCH before the turn ends. To enter 32
 * requests takes the kernel some 40 us, in which an idle disk could have begun: at depth 32 this
 * came to 0.91 of fio's reads and 0.93 of its writes, against 0.81 and 0.74 where all wait for the
 * turn's end (tests/bench/native-blk). A busy disk needs no haste, and each batch is a system call.
 */
#define BATCH 6
#define BUSY  12

/* An open file description that goes through the page cache, and what waits to be synced by it. */
struct cached {
	int fd;
	const struct loop *loop; /* whose it is */
	bool lost;               /* something that was written to it */
	struct disk_io *running; /* what is under way, with flushes that are served by it behind */
	struct disk_io *first, *last; /* what waits for its turn */
};

struct raw_disk {
	struct disk disk;
	char *path;
	struct cached cached[CONFIG_QUEUES_MAX];
	unsigned int ncached;      /* 1, or one for each queue where they have their own loops */
	atomic_bool uses_cache;    /* something was written through the page cache */
	int direct_fd;             /* O_DIRECT, or -1 */
	uint32_t mem_align;        /* of memory for direct I/O, bytes */
	uint32_t offset_align;     /* of offset and length for direct I/O, bytes */
	struct disk_queue *queues; /* a list, through next */
};

struct disk_queue {
	struct raw_disk *disk;
	struct disk_queue *next;
	struct cached *cached;
	struct loop *loop;
	int source;
	int file; /* fixed files */
	int direct_file;
	struct ratelimit failures;
	unsigned int nslots;
	unsigned int in_flight;
	struct disk_io *slots[]; /* in flight, by slot */
};

static const char *const op_names[] = {
	[DISK_READ] = "read",
	[DISK_WRITE] = "write",
	[DISK_FLUSH] = "flush",
	[DISK_DISCARD] = "discard",
	[DISK_WRITE_ZEROES] = "write-zeroes",
	[DISK_UNMAP_ZEROES] = "write-zeroes",
};

static bool is_aligned(const struct raw_disk *d, const struct disk_io *io)
{
	if ((io->offset | io->len) & (d->offset_align - 1))
		return false;
	for (unsigned int i = 0; i < io->niov; i++) {
		if ((uintptr_t)io->iov[i].iov_base & (d->mem_align - 1))
			return false;
		/* A segment that ends askew leaves the next one askew on the medium. */
		if (io->iov[i].iov_len & (d->offset_align - 1))
			return false;
	}
	return true;
}

static bool goes_direct(const struct disk_queue *q, const struct disk_io *io)
{
	return q->disk->direct_fd >= 0 && is_aligned(q->disk, io);
}

static void prep_transfer(const struct disk_queue *q, struct io_uring_sqe *sqe,
			  const struct disk_io *io)
{
	bool direct = goes_direct(q, io);
	int file = direct ? q->direct_file : q->file;
	bool read = io->op == DISK_READ;

	if (!direct && !read)
		atomic_store_explicit(&q->disk->uses_cache, true, memory_order_relaxed);

	/* There is no vector of fixed buffers before Linux 6.15. */
	int buffer = io->niov == 1 ? loop_buffer(q->loop, io->iov->iov_base, io->iov->iov_len) : -1;
	if (buffer >= 0 && read)
		io_uring_prep_read_fixed(sqe, file, io->iov->iov_base,
					 (unsigned int)io->iov->iov_len, io->offset, buffer);
	else if (buffer >= 0)
		io_uring_prep_write_fixed(sqe, file, io->iov->iov_base,
					  (unsigned int)io->iov->iov_len, io->offset, buffer);
	else if (read)
		io_uring_prep_readv(sqe, file, io->iov, io->niov, io->offset);
	else
		io_uring_prep_writev(sqe, file, io->iov, io->niov, io->offset);
	if (io->durable && !read)
		sqe->rw_flags = RWF_DSYNC;
}

static void submit(struct disk_queue *q, struct disk_io *io)
{
	struct io_uring_sqe *sqe = loop_sqe(q->loop);
	int mode = FALLOC_FL_KEEP_SIZE;

	switch (io->op) {
	case DISK_READ:
	case DISK_WRITE:
		prep_transfer(q, sqe, io);
		break;
	case DISK_FLUSH:
		io_uring_prep_fsync(sqe, q->file, IORING_FSYNC_DATASYNC);
		break;
	case DISK_DISCARD:
	case DISK_UNMAP_ZEROES:
		io_uring_prep_fallocate(sqe, q->file, mode | FALLOC_FL_PUNCH_HOLE,
					(off_t)io->offset, (off_t)io->len);
		break;
	case DISK_WRITE_ZEROES:
		io_uring_prep_fallocate(sqe, q->file, mode | FALLOC_FL_ZERO_RANGE,
					(off_t)io->offset, (off_t)io->len);
		break;
	}
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	loop_tag(sqe, q->source, 0, io->slot, 0);

	unsigned int pending = loop_pending(q->loop);

	if (pending >= BATCH && q->in_flight < pending + BUSY)
		loop_submit(q->loop);
}

/* Whether it tells what became of the page cache. */
static bool is_sync(const struct disk_io *io)
{
	return io->op == DISK_FLUSH ||
	       (io->op == DISK_WRITE && io->durable && !goes_direct(io->queue, io));
}

/* The first that waits has its turn, and if it is a flush, so have those behind it. */
static void sync_next(struct cached *c)
{
	struct disk_io *io = c->first, *end = io;

	if (c->running || !io)
		return;
	while (io->op == DISK_FLUSH && end->next && end->next->op == DISK_FLUSH)
		end = end->next;
	c->first = steal_ptr(end->next);
	c->running = io;
	submit(io->queue, io);
}

static void start(struct disk_queue *q, struct disk_io *io)
{
	struct cached *c = q->cached;

	if (!is_sync(io)) {
		submit(q, io);
		return;
	}
	io->next = NULL;
	if (c->first)
		c->last->next = io;
	else
		c->first = io;
	c->last = io;
	sync_next(c);
}

/* What was not done as a whole; one that has its turn keeps it. */
static void go_on(struct disk_queue *q, struct disk_io *io)
{
	if (io == q->cached->running)
		submit(q, io);
	else
		start(q, io);
}

/* Drop the first @n bytes, which have been transferred, from the request. */
static void consume(struct disk_io *io, size_t n)
{
	io->offset += n;
	io->len -= n;
	while (n && io->niov) {
		size_t part = n < io->iov->iov_len ? n : io->iov->iov_len;

		io->iov->iov_base = (uint8_t *)io->iov->iov_base + part;
		io->iov->iov_len -= part;
		n -= part;
		if (!io->iov->iov_len) {
			io->iov++;
			io->niov--;
		}
	}
}

static void finish_one(struct disk_queue *q, struct disk_io *io, int result)
{
	q->slots[io->slot] = NULL;
	q->in_flight--;
	if (result < 0)
		log_limited(&q->failures, "disk %s: %s at byte %llu failed: %s", q->disk->path,
			    op_names[io->op], (unsigned long long)io->offset, strerror(-result));
	io->done(io, result);
}

static void finish(struct disk_queue *q, struct disk_io *io, int result)
{
	struct cached *c = q->cached;

	if (io != c->running) {
		finish_one(q, io, result);
		return;
	}
	/* With direct I/O alone, there is nothing in the page cache to be lost. */
	c->lost |= result < 0 && atomic_load_explicit(&q->disk->uses_cache, memory_order_relaxed);
	if (io->op == DISK_FLUSH && c->lost)
		result = -EIO;
	c->running = NULL;
	sync_next(c);
	for (struct disk_io *next; io; io = next) {
		next = io->next;
		finish_one(io->queue, io, result);
	}
}

static bool changes_range(enum disk_op op)
{
	return op == DISK_DISCARD || op == DISK_WRITE_ZEROES || op == DISK_UNMAP_ZEROES;
}

static void handle_completion(void *ctx, const struct loop_event *ev)
{
	struct disk_queue *q = ctx;
	struct disk_io *io = ev->index < q->nslots ? q->slots[ev->index] : NULL;

	if (!io)
		return;
	if (ev->res == -EINTR || ev->res == -EAGAIN) {
		go_on(q, io);
		return;
	}
	if (ev->res == 0 && io->durable && changes_range(io->op)) {
		/* fallocate() has no durable form: it takes a flush behind it. */
		io->op = DISK_FLUSH;
		start(q, io);
		return;
	}
	if (ev->res < 0 || (io->op != DISK_READ && io->op != DISK_WRITE)) {
		finish(q, io, ev->res < 0 ? ev->res : 0);
		return;
	}
	/* Zero bytes: the file has become shorter than the disk, or its file system is full. */
	if (ev->res == 0 && io->len) {
		finish(q, io, io->op == DISK_READ ? -EIO : -ENOSPC);
		return;
	}
	consume(io, (size_t)ev->res);
	if (io->len)
		go_on(q, io);
	else
		finish(q, io, 0);
}

/* The description that @loop has for itself, and no other. NULL: there are more loops than that. */
static struct cached *cached_of(struct raw_disk *d, const struct loop *loop)
{
	for (unsigned int i = 0; i < d->ncached; i++) {
		struct cached *c = &d->cached[i];

		if (!c->loop)
			c->loop = loop;
		if (c->loop == loop)
			return c;
	}
	return NULL;
}

static int raw_attach(struct disk *disk, struct loop *loop, unsigned int nslots,
		      struct disk_queue **out)
{
	struct raw_disk *d = (struct raw_disk *)disk;
	struct disk_queue *q = calloc(1, sizeof(*q) + nslots * sizeof(struct disk_io *));

	if (!q)
		return -ENOMEM;
	q->disk = d;
	q->next = d->queues;
	d->queues = q;
	q->cached = cached_of(d, loop);
	if (!q->cached)
		return -ENOSPC;
	q->nslots = nslots;
	q->loop = loop;
	q->source = loop_add_source(loop, handle_completion, q);
	if (q->source < 0)
		return q->source;
	q->file = loop_add_file(loop, q->cached->fd);
	if (q->file < 0)
		return q->file;
	q->direct_file = d->direct_fd >= 0 ? loop_add_file(loop, d->direct_fd) : q->file;
	if (q->direct_file < 0)
		return q->direct_file;
	*out = q;
	return 0;
}

static void raw_submit(struct disk_queue *q, struct disk_io *io)
{
	q->slots[io->slot] = io;
	q->in_flight++;
	io->queue = q;
	io->next = NULL;
	start(q, io);
}

static unsigned int raw_files(const struct disk *disk, int fds[DISK_FILES_MAX])
{
	const struct raw_disk *d = (const struct raw_disk *)disk;
	unsigned int n = 0;

	for (unsigned int i = 0; i < d->ncached; i++)
		fds[n++] = d->cached[i].fd;
	if (d->direct_fd >= 0)
		fds[n++] = d->direct_fd;
	return n;
}

static void raw_free(struct disk *disk)
{
	struct raw_disk *d = (struct raw_disk *)disk;

	while (d->queues) {
		struct disk_queue *q = d->queues;

		d->queues = q->next;
		free(q);
	}
	if (d->direct_fd >= 0)
		close(d->direct_fd);
	for (unsigned int i = 0; i < d->ncached; i++)
		close(d->cached[i].fd);
	free(d->path);
	free(d);
}

static const struct disk_ops raw_ops = {
	.attach = raw_attach,
	.submit = raw_submit,
	.files = raw_files,
	.free = raw_free,
};

static bool is_power_of_two(uint32_t v)
{
	return v && !(v & (v - 1));
}

/* What the file asks of direct I/O: statx() knows since Linux 6.1, the block size before that. */
static void find_alignment(struct raw_disk *d)
{
	struct statx stx;

	d->mem_align = 512;
	d->offset_align = d->disk.block_size < 512 ? 512 : d->disk.block_size;
#ifdef STATX_DIOALIGN
	if (!syscall(SYS_statx, d->direct_fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) &&
	    stx.stx_mask & STATX_DIOALIGN && is_power_of_two(stx.stx_dio_mem_align) &&
	    is_power_of_two(stx.stx_dio_offset_align)) {
		d->mem_align = stx.stx_dio_mem_align;
		d->offset_align = stx.stx_dio_offset_align;
	}
#else
	(void)stx;
	(void)is_power_of_two;
#endif
}

/* By its descriptor: the name may stand for another file by now. */
static int open_again(const struct raw_disk *d, int flags)
{
	char same[32];

	snprintf(same, sizeof(same), "/proc/self/fd/%d", d->cached[0].fd);
	return open(same, flags | O_CLOEXEC);
}

/* A description for each queue, where each has its own loop. */
static int open_others(struct raw_disk *d, const struct disk_config *cfg, int flags,
		       struct error *err)
{
	unsigned int want = cfg->queues ? cfg->queues : 1;

	for (; d->ncached < want; d->ncached++) {
		int fd = open_again(d, flags);

		if (fd < 0)
			return error_set(err, errno,
					 "cannot open disk %s for each of its queues: %s",
					 cfg->path, strerror(errno));
		d->cached[d->ncached].fd = fd;
	}
	return 0;
}

static int open_direct(struct raw_disk *d, const struct disk_config *cfg, int flags,
		       struct error *err)
{
	d->direct_fd = -1;
	if (cfg->direct == DISK_DIRECT_OFF)
		return 0;
	d->direct_fd = open_again(d, flags | O_DIRECT);
	if (d->direct_fd >= 0) {
		find_alignment(d);
		return 0;
	}
	if (cfg->direct == DISK_DIRECT_ON)
		return error_set(err, errno,
				 "disk %s: its file system does not take direct I/O (%s): "
				 "leave direct=on out or put the image elsewhere",
				 cfg->path, strerror(errno));
	return 0;
}

/* What the kernel says of @dev in the file @name. */
static bool read_sysfs(dev_t dev, const char *name, char *text, size_t size)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", major(dev), minor(dev), name);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (n < 0)
		return false;
	text[n] = '\0';
	return true;
}

/* Reads the first number of a sysfs file of the block device; 0 where there is none. */
static unsigned long long block_limit(dev_t dev, const char *name)
{
	char text[32];

	return read_sysfs(dev, name, text, sizeof(text)) ? strtoull(text, NULL, 10) : 0;
}

static int probe_block_device(struct raw_disk *d, dev_t dev)
{
	int logical = 512;
	unsigned int physical = 512;

	if (ioctl(d->cached[0].fd, BLKGETSIZE64, &d->disk.capacity) ||
	    ioctl(d->cached[0].fd, BLKSSZGET, &logical))
		return -errno;
	if (!ioctl(d->cached[0].fd, BLKPBSZGET, &physical))
		d->disk.physical_size = physical;
	d->disk.block_size = (uint32_t)logical;
	d->disk.can_discard = block_limit(dev, "queue/discard_max_bytes") > 0;
	d->disk.can_write_zeroes = block_limit(dev, "queue/write_zeroes_max_bytes") > 0;
	return 0;
}

/* Whether the file's file system does @mode, tried past the end, where there is nothing to lose. */
static bool can_fallocate(const struct raw_disk *d, int mode)
{
	return !fallocate(d->cached[0].fd, mode | FALLOC_FL_KEEP_SIZE,
			  (off_t)(d->disk.capacity + 4096) & ~4095, 4096);
}

static int probe_file(struct raw_disk *d, off_t size)
{
	struct statfs fs;

	if (fstatfs(d->cached[0].fd, &fs))
		return -errno;
	d->disk.is_file = true;
	d->disk.in_memory = fs.f_type == TMPFS_MAGIC;
	d->disk.capacity = (uint64_t)size;
	d->disk.block_size = 512;
	d->disk.physical_size = 4096;
	if (!d->disk.read_only) {
		d->disk.can_discard = can_fallocate(d, FALLOC_FL_PUNCH_HOLE);
		d->disk.can_write_zeroes =
			d->disk.can_discard && can_fallocate(d, FALLOC_FL_ZERO_RANGE);
		/* Zeroing took space past the end, which only this gives back. */
		if (d->disk.can_write_zeroes && ftruncate(d->cached[0].fd, size))
			return -errno;
	}
	return 0;
}

/*
 * The device of which @dev is a partition, or @dev. 0 where that is none that the kernel knows:
 * file systems without one device (tmpfs, btrfs, overlay) have numbers of their own making.
 */
static dev_t whole_device(dev_t dev)
{
	char text[32];
	unsigned int maj, min;
	/* A partition's directory is in that of its device. */
	bool is_partition = read_sysfs(dev, "partition", text, sizeof(text));

	if (!read_sysfs(dev, is_partition ? "../dev" : "dev", text, sizeof(text)) ||
	    sscanf(text, "%u:%u", &maj, &min) != 2)
		return 0;
	return makedev(maj, min);
}

static int probe(struct raw_disk *d, const struct disk_config *cfg, struct error *err)
{
	struct stat st;

	if (fstat(d->cached[0].fd, &st))
		return error_set(err, errno, "disk %s: %s", cfg->path, strerror(errno));
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return error_set(err, EINVAL,
				 "disk %s is neither a regular file nor a block device", cfg->path);
	int ret =
		S_ISBLK(st.st_mode) ? probe_block_device(d, st.st_rdev) : probe_file(d, st.st_size);
	if (ret)
		return error_set(err, -ret, "disk %s: cannot find its size: %s", cfg->path,
				 strerror(-ret));
	d->disk.device = whole_device(S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev);
	if (d->disk.capacity < 512)
		return error_set(err, EINVAL,
				 "disk %s is empty: a disk needs at least one sector of 512 bytes",
				 cfg->path);
	return 0;
}

/*
 * The kernel takes a ring apart after its process has ended, and until then the file stays locked:
 * so a machine that is started right behind another one's end waits for that.
 */
static int lock(int fd, bool shared)
{
	const struct timespec nap = { .tv_nsec = 10 * 1000 * 1000 };

	for (int i = 0; i < LOCK_TRIES; i++) {
		if (!flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB))
			return 0;
		if (errno != EWOULDBLOCK)
			break;
		nanosleep(&nap, NULL);
	}
	return -1;
}

int disk_open(const struct disk_config *cfg, struct disk **out, struct error *err)
{
	int flags = cfg->read_only ? O_RDONLY : O_RDWR;
	struct raw_disk *d = calloc(1, sizeof(*d));
	int fd, ret;

	if (!d)
		return error_set(err, ENOMEM, "disk %s: out of memory", cfg->path);
	d->disk.ops = &raw_ops;
	d->disk.read_only = cfg->read_only;
	d->direct_fd = -1;
	d->path = strdup(cfg->path);
	/* O_NONBLOCK: opening a fifo by mistake must not hang. Regular files do not mind. */
	fd = open(cfg->path, flags | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0)
		d->cached[d->ncached++].fd = fd;
	if (!d->path || fd < 0) {
		ret = error_set(err, errno, "cannot open disk %s for %s: %s", cfg->path,
				cfg->read_only ? "reading" : "writing", strerror(errno));
		goto fail;
	}
	if (lock(fd, cfg->read_only)) {
		ret = error_set(err, errno,
				"disk %s is in use by another program: stop that one first, or "
				"attach the disk read-only to both",
				cfg->path);
		goto fail;
	}
	ret = probe(d, cfg, err);
	if (ret)
		goto fail;
	fcntl(fd, F_SETFL, flags);
	ret = open_others(d, cfg, flags, err);
	if (ret)
		goto fail;
	ret = open_direct(d, cfg, flags, err);
	if (ret)
		goto fail;
	*out = &d->disk;
	return 0;

fail:
	raw_free(&d->disk);
	return ret;
}
