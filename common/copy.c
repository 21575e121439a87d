// SPDX-License-Identifier: Apache-2.0
#include "common/copy.h"

#include "common/frame.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* With its NUL, as PATH_MAX has it. */
#define NAME_SIZE 4096

/* Each open directory of the path is a descriptor. */
#define DEPTH_MAX 256

#define SET_ID_BITS 06000u

#define DATA_MAX (KVMBOX_FRAME_MAX - sizeof(struct kvmbox_data))

/* A file's name or the peer may hold what would break a line or a terminal. */
static void text_clean(char *text)
{
	for (unsigned char *c = (unsigned char *)text; *c; c++)
		if (*c < 0x20 || *c == 0x7f)
			*c = '?';
}

/* err: a positive errno. */
static int fail(struct copy_error *why, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(struct copy_error *why, int err, const char *fmt, ...)
{
	size_t len;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	len = strlen(why->text);
	snprintf(why->text + len, sizeof(why->text) - len, ": %s", strerror(err));
	text_clean(why->text);
	why->from_peer = false;
	return -err;
}

static int fail_peer(struct copy_error *why, const char *sentence, size_t len)
{
	if (len >= sizeof(why->text))
		len = sizeof(why->text) - 1;
	memcpy(why->text, sentence, len);
	why->text[len] = '\0';
	text_clean(why->text);
	why->from_peer = true;
	return -EREMOTEIO;
}

static int fail_receive(struct copy_error *why, int ret)
{
	if (ret == -ENOTCONN)
		return fail(why, ECONNRESET,
			    "the other side ended the copy before it was complete");
	return fail(why, -ret, "the copy cannot be received");
}

/* The last component of path, which ends at *len. */
static const char *last_component(const char *path, size_t *len)
{
	size_t end = strlen(path);
	size_t start;

	while (end && path[end - 1] == '/')
		end--;
	start = end;
	while (start && path[start - 1] != '/')
		start--;
	*len = end - start;
	return path + start;
}

/* Whether the len bytes at name can be the name of a file. */
static bool component_is_good(const char *name, size_t len)
{
	return len && !(len == 1 && name[0] == '.') && !(len == 2 && !memcmp(name, "..", 2));
}

struct sender {
	int sock;
	int timeout_ms;
	unsigned int flags;
	struct copy_error *why;
	unsigned int depth;
	size_t name_len;
	char name[NAME_SIZE];
	char buf[DATA_MAX];
};

int copy_await(int sock, int timeout_ms, struct copy_error *why)
{
	char buf[KVMBOX_FRAME_MAX];
	struct kvmbox_frame frame;

	for (;;) {
		int ret = frame_receive(sock, timeout_ms, &frame, buf, sizeof(buf));

		if (ret < 0)
			return fail_receive(why, ret);
		if (frame.type == KVMBOX_FRAME_ERROR)
			return fail_peer(why, buf, frame.len);
		if (frame.type == KVMBOX_FRAME_END)
			return 0;
	}
}

/*
 * Looks whether the receiver has given up. It may have ended its half of the
 * stream from the beginning, which says nothing.
 */
static int sender_look(struct sender *s)
{
	char byte;

	if (recv(s->sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0)
		return 0;
	if (copy_await(s->sock, s->timeout_ms, s->why) < 0)
		return -EREMOTEIO;
	return fail(s->why, EPROTO, "the other side says that it has what was not sent yet");
}

static int sender_send(struct sender *s, uint16_t type, const void *head, size_t head_len,
		       const void *body, size_t body_len)
{
	int ret = sender_look(s);

	if (ret < 0)
		return ret;
	ret = frame_send2(s->sock, s->timeout_ms, type, head, head_len, body, body_len);
	if (ret < 0) {
		int given_up = sender_look(s);

		/* What the receiver said is the reason, even where it went since the first look. */
		ret = given_up < 0 ? given_up : fail(s->why, -ret, "the copy cannot be sent");
	}
	return ret;
}

static int sender_entry(struct sender *s, uint32_t type, const struct stat *st, const char *target)
{
	struct kvmbox_entry entry = {
		.type = type,
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.size = type == KVMBOX_ENTRY_FILE ? (uint64_t)st->st_size : 0,
		.mtime_s = st->st_mtim.tv_sec,
	};
	size_t name_size = s->name_len + 1;
	size_t target_size = strlen(target) + 1;

	if (!(s->flags & COPY_OWNERS)) {
		entry.mode &= ~SET_ID_BITS;
		entry.uid = 0;
		entry.gid = 0;
	}
	/* Both fit: neither name nor target is longer than a path may be. */
	memcpy(s->buf, s->name, name_size);
	memcpy(s->buf + name_size, target, target_size);
	return sender_send(s, KVMBOX_FRAME_ENTRY, &entry, sizeof(entry), s->buf,
			   name_size + target_size);
}

static int sender_file(struct sender *s, int fd, const struct stat *st)
{
	const struct kvmbox_data head = { .stream = 0 };
	uint64_t left = (uint64_t)st->st_size;
	int ret = sender_entry(s, KVMBOX_ENTRY_FILE, st, "");

	while (ret == 0 && left) {
		ssize_t n = read(fd, s->buf, left < sizeof(s->buf) ? left : sizeof(s->buf));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(s->why, errno, "the file %s cannot be read", s->name);
		if (n == 0)
			return fail(s->why, EIO, "the file %s became shorter while it was read",
				    s->name);
		left -= (uint64_t)n;
		ret = sender_send(s, KVMBOX_FRAME_DATA, &head, sizeof(head), s->buf, (size_t)n);
	}
	return ret;
}

static int sender_walk(struct sender *s, int dir, const char *path, bool follow);

/* Takes fd. */
static int sender_directory(struct sender *s, int fd, const struct stat *st)
{
	size_t name_len = s->name_len;
	struct dirent *e;
	DIR *list;
	int ret;

	/* One less, since what is in it has a name of one component more. */
	if (s->depth == DEPTH_MAX - 1) {
		close(fd);
		return fail(s->why, ELOOP, "the directory %s lies too deep", s->name);
	}
	list = fdopendir(fd);
	if (!list) {
		ret = fail(s->why, errno, "the directory %s cannot be read", s->name);
		close(fd);
		return ret;
	}
	s->depth++;
	ret = sender_entry(s, KVMBOX_ENTRY_DIRECTORY, st, "");
	while (ret == 0) {
		size_t len;

		errno = 0;
		e = readdir(list);
		if (!e) {
			if (errno)
				ret = fail(s->why, errno, "the directory %s cannot be read",
					   s->name);
			break;
		}
		len = strlen(e->d_name);
		if (!component_is_good(e->d_name, len))
			continue;
		if (len >= NAME_SIZE - name_len - 1) {
			ret = fail(s->why, ENAMETOOLONG, "the file %s in %s", e->d_name, s->name);
			break;
		}
		s->name[name_len] = '/';
		memcpy(s->name + name_len + 1, e->d_name, len + 1);
		s->name_len = name_len + 1 + len;
		ret = sender_walk(s, fd, e->d_name, false);
		s->name_len = name_len;
		s->name[name_len] = '\0';
	}
	s->depth--;
	closedir(list);
	return ret;
}

static int sender_symlink(struct sender *s, int dir, const char *path, const struct stat *st)
{
	char target[NAME_SIZE];
	ssize_t n = readlinkat(dir, path, target, sizeof(target) - 1);

	if (n < 0)
		return fail(s->why, errno, "the symbolic link %s cannot be read", s->name);
	target[n] = '\0';
	return sender_entry(s, KVMBOX_ENTRY_SYMLINK, st, target);
}

/*
 * Sends path in dir by the name s->name. Looks before it opens, since opening a
 * device or a fifo has consequences, and again at what it has opened.
 */
static int sender_walk(struct sender *s, int dir, const char *path, bool follow)
{
	struct stat st;
	int fd;
	int ret;

	if (fstatat(dir, path, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0)
		return fail(s->why, errno, "the file %s cannot be read", s->name);
	if (S_ISLNK(st.st_mode))
		return sender_symlink(s, dir, path, &st);
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return s->depth ? 0
				: fail(s->why, EINVAL, "%s is neither a file nor a directory",
				       s->name);
	fd = openat(dir, path,
		    O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW));
	if (fd < 0 || fstat(fd, &st) < 0) {
		ret = fail(s->why, errno, "the file %s cannot be read", s->name);
	} else if (S_ISDIR(st.st_mode)) {
		return sender_directory(s, fd, &st);
	} else if (S_ISREG(st.st_mode)) {
		ret = sender_file(s, fd, &st);
	} else {
		ret = fail(s->why, EAGAIN, "the file %s was replaced while it was opened", s->name);
	}
	if (fd >= 0)
		close(fd);
	return ret;
}

int copy_send(int sock, int timeout_ms, const char *path, const char *name, unsigned int flags,
	      struct copy_error *why)
{
	struct sender s = { .sock = sock, .timeout_ms = timeout_ms, .flags = flags, .why = why };
	int ret;

	if (!name)
		name = last_component(path, &s.name_len);
	else
		s.name_len = strlen(name);
	if (!component_is_good(name, s.name_len) || memchr(name, '/', s.name_len))
		return fail(why, EINVAL, "%s has no name of its own to be copied by", path);
	if (s.name_len >= sizeof(s.name))
		return fail(why, ENAMETOOLONG, "%.64s...", name);
	memcpy(s.name, name, s.name_len);
	ret = sender_walk(&s, AT_FDCWD, path, flags & COPY_FOLLOW);
	if (ret < 0)
		return ret;
	return sender_send(&s, KVMBOX_FRAME_END, NULL, 0, NULL, 0);
}

/* A directory below dest that is open, and what it gets when it is left. */
struct level {
	int fd;
	size_t len; /* bytes of the receiver's path that lead here */
	bool made;  /* by us; else it is kept as it is */
	struct kvmbox_entry entry;
};

struct receiver {
	int sock;
	int timeout_ms;
	unsigned int flags;
	struct copy_error *why;
	const char *expect;
	char top[NAME_SIZE];  /* the tree's name, "" before the first entry */
	char leaf[NAME_SIZE]; /* what replaces it, or "" */
	unsigned int depth;   /* of the level that is open; level 0 is where the tree goes */
	char path[NAME_SIZE]; /* of that level, below level 0 */
	struct level levels[DEPTH_MAX + 1];
	int file; /* that DATA is for, -1: none */
	uint64_t left;
	struct kvmbox_entry entry; /* the last, */
	char name[NAME_SIZE];      /* and where it goes */
	char buf[KVMBOX_FRAME_MAX];
};

static void times_set(int dir, const char *name, const struct kvmbox_entry *entry)
{
	const struct timespec times[2] = {
		{ .tv_nsec = UTIME_OMIT },
		{ .tv_sec = (time_t)entry->mtime_s },
	};

	/* A file system that cannot hold the time holds the file all the same. */
	if (name)
		utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW);
	else
		futimens(dir, times);
}

/* Gives what was made its owner, mode and time, in that order. */
static int attributes_set(const struct receiver *r, int fd, const struct kvmbox_entry *entry)
{
	mode_t mode = entry->mode & 07777;

	if (!(r->flags & COPY_OWNERS))
		mode &= ~SET_ID_BITS;
	else if (fchown(fd, entry->uid, entry->gid) < 0)
		return -errno;
	if (fchmod(fd, mode) < 0)
		return -errno;
	times_set(fd, NULL, entry);
	return 0;
}

/* Leaves the directories that are deeper than depth. */
static int levels_leave(struct receiver *r, unsigned int depth)
{
	while (r->depth > depth) {
		struct level *l = &r->levels[r->depth--];
		int ret = l->made ? attributes_set(r, l->fd, &l->entry) : 0;

		close(l->fd);
		if (ret < 0)
			fail(r->why, -ret, "the directory %s cannot get its mode and owner",
			     r->path);
		r->path[r->levels[r->depth].len] = '\0';
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Takes fd as the directory in which r->name begins with len bytes of its path. */
static void level_enter(struct receiver *r, int fd, size_t len, const struct kvmbox_entry *made)
{
	struct level *l = &r->levels[++r->depth];

	*l = (struct level){ .fd = fd, .len = len, .made = made };
	if (made)
		l->entry = *made;
	memcpy(r->path, r->name, len);
	r->path[len] = '\0';
}

/* Whether the level's directory is one that r->name goes through. */
static bool level_leads(const struct receiver *r, unsigned int depth)
{
	size_t len = r->levels[depth].len;

	return !len || (!strncmp(r->name, r->path, len) && r->name[len] == '/');
}

/*
 * Opens the directory that r->name is in, as the deepest level: those that are
 * open and lead there stay, the others are left, and the rest is opened one
 * after the other. *leaf is set to the name in it.
 */
static int parent_open(struct receiver *r, const char **leaf)
{
	unsigned int depth = r->depth;
	const char *slash;
	int ret;

	while (!level_leads(r, depth))
		depth--;
	ret = levels_leave(r, depth);
	if (ret < 0)
		return ret;
	for (;;) {
		size_t len = r->levels[r->depth].len;
		const char *next = r->name + len + (len ? 1 : 0);
		char component[NAME_SIZE];
		int fd;

		slash = strchr(next, '/');
		if (!slash) {
			*leaf = next;
			return 0;
		}
		memcpy(component, next, (size_t)(slash - next));
		component[slash - next] = '\0';
		fd = openat(r->levels[r->depth].fd, component,
			    O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return fail(r->why, errno, "%s cannot be written into the directory %s",
				    r->name, component);
		level_enter(r, fd, (size_t)(slash - r->name), NULL);
	}
}

static int file_finish(struct receiver *r)
{
	int ret;

	if (r->file < 0)
		return 0;
	if (r->left)
		ret = fail(r->why, EPROTO, "the other side sent less of %s than it said", r->name);
	else if ((ret = attributes_set(r, r->file, &r->entry)) < 0)
		fail(r->why, -ret, "the file %s cannot get its mode and owner", r->name);
	close(r->file);
	r->file = -1;
	return ret;
}

static int receive_directory(struct receiver *r, int dir, const char *leaf)
{
	bool made = mkdirat(dir, leaf, 0700) == 0;
	int fd;

	if (!made && errno != EEXIST)
		return fail(r->why, errno, "the directory %s cannot be made", r->name);
	fd = openat(dir, leaf, (made ? O_RDONLY : O_PATH) | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return fail(r->why, errno, "the directory %s cannot be made", r->name);
	level_enter(r, fd, strlen(r->name), made ? &r->entry : NULL);
	return 0;
}

static int receive_entry(struct receiver *r, const char *target)
{
	const char *leaf;
	int ret = parent_open(r, &leaf);
	int dir;

	if (ret < 0)
		return ret;
	dir = r->levels[r->depth].fd;
	if (r->entry.type == KVMBOX_ENTRY_DIRECTORY)
		return receive_directory(r, dir, leaf);
	/* Never through what is there, be it a link, a fifo or another's file. */
	if (unlinkat(dir, leaf, 0) < 0 && errno != ENOENT)
		return fail(r->why, errno, "%s cannot be replaced", r->name);
	if (r->entry.type == KVMBOX_ENTRY_SYMLINK) {
		if (symlinkat(target, dir, leaf) < 0 ||
		    (r->flags & COPY_OWNERS &&
		     fchownat(dir, leaf, r->entry.uid, r->entry.gid, AT_SYMLINK_NOFOLLOW) < 0))
			return fail(r->why, errno, "the symbolic link %s cannot be made", r->name);
		times_set(dir, leaf, &r->entry);
		return 0;
	}
	r->file = openat(dir, leaf, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (r->file < 0)
		return fail(r->why, errno, "the file %s cannot be made", r->name);
	r->left = r->entry.size;
	return 0;
}

/* Whether name is relative and has no component that leads out or nowhere. */
static bool name_is_good(const char *name)
{
	unsigned int components = 0;
	const char *next = name;

	for (;;) {
		size_t len = strcspn(next, "/");

		if (!component_is_good(next, len) || ++components > DEPTH_MAX)
			return false;
		if (!next[len])
			return next + len - name < NAME_SIZE;
		next += len + 1;
	}
}

/* Puts where the entry goes into r->name: one tree, and the name that it is to have. */
static int name_place(struct receiver *r, const char *name)
{
	size_t top_len = strcspn(name, "/");
	size_t rest_len;
	size_t leaf_len;

	if (!r->top[0] &&
	    (!r->expect || (strlen(r->expect) == top_len && !memcmp(r->expect, name, top_len)))) {
		memcpy(r->top, name, top_len);
		r->top[top_len] = '\0';
	}
	if (strlen(r->top) != top_len || memcmp(r->top, name, top_len))
		return fail(r->why, EPROTO, "the other side sent the file %s, not asked for", name);
	if (!r->leaf[0]) {
		memcpy(r->name, name, strlen(name) + 1);
		return 0;
	}
	leaf_len = strlen(r->leaf);
	rest_len = strlen(name + top_len);
	if (leaf_len + rest_len >= sizeof(r->name))
		return fail(r->why, ENAMETOOLONG, "the file %s", name);
	memcpy(r->name, r->leaf, leaf_len);
	memcpy(r->name + leaf_len, name + top_len, rest_len + 1);
	return 0;
}

static int on_entry(struct receiver *r, size_t len)
{
	char *next = r->buf + sizeof(r->entry);
	size_t left = len - sizeof(r->entry);
	const char *name = frame_string(&next, &left);
	const char *target = frame_string(&next, &left);
	int ret = file_finish(r);

	if (ret < 0)
		return ret;
	if (!name || !target || !name_is_good(name))
		return fail(r->why, EPROTO, "the other side sent an entry with a bad name");
	memcpy(&r->entry, r->buf, sizeof(r->entry));
	if (r->entry.type < KVMBOX_ENTRY_FILE || r->entry.type > KVMBOX_ENTRY_SYMLINK)
		return fail(r->why, EPROTO, "the other side sent %s as of an unknown type", name);
	ret = name_place(r, name);
	return ret < 0 ? ret : receive_entry(r, target);
}

static int on_data(struct receiver *r, size_t len)
{
	const char *next = r->buf + sizeof(struct kvmbox_data);

	len -= sizeof(struct kvmbox_data);
	if (r->file < 0)
		return fail(r->why, EPROTO, "the other side sent data of no file");
	if (len > r->left)
		return fail(r->why, EPROTO, "the other side sent more of %s than it said", r->name);
	r->left -= len;
	while (len) {
		ssize_t n = write(r->file, next, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(r->why, errno, "the file %s cannot be written", r->name);
		next += n;
		len -= (size_t)n;
	}
	return 0;
}

static int receive_frames(struct receiver *r)
{
	struct kvmbox_frame frame;
	int ret;

	for (;;) {
		ret = frame_receive(r->sock, r->timeout_ms, &frame, r->buf, sizeof(r->buf));
		if (ret < 0)
			return fail_receive(r->why, ret);
		switch (frame.type) {
		case KVMBOX_FRAME_ENTRY:
			if (frame.len >= sizeof(struct kvmbox_entry))
				ret = on_entry(r, frame.len);
			break;
		case KVMBOX_FRAME_DATA:
			if (frame.len >= sizeof(struct kvmbox_data))
				ret = on_data(r, frame.len);
			break;
		case KVMBOX_FRAME_ERROR:
			return fail_peer(r->why, r->buf, frame.len);
		case KVMBOX_FRAME_END:
			ret = file_finish(r);
			if (ret == 0)
				ret = levels_leave(r, 0);
			if (ret == 0 && !r->top[0])
				ret = fail(r->why, EPROTO, "the other side sent no file");
			return ret;
		}
		if (ret < 0)
			return ret;
	}
}

/* Opens level 0: dest, or the directory that dest is to be in. */
static int dest_open(struct receiver *r, const char *dest)
{
	char parent[NAME_SIZE];
	const char *leaf;
	size_t leaf_len;
	int fd = -1;

	errno = ENOENT;
	if (!(r->flags & COPY_INTO))
		fd = open(dest, O_PATH | O_DIRECTORY | O_CLOEXEC);
	r->levels[0] = (struct level){ .fd = fd };
	if (fd >= 0)
		return 0;
	leaf = last_component(dest, &leaf_len);
	/* As in cp(1), what ends in "/" is not to become a file's name. */
	if ((errno != ENOENT && errno != ENOTDIR) || (errno == ENOTDIR && leaf[leaf_len]) ||
	    strlen(dest) >= sizeof(parent) || !component_is_good(leaf, leaf_len))
		return fail(r->why, errno, "%s cannot be written", dest);
	memcpy(r->leaf, leaf, leaf_len);
	memcpy(parent, dest, (size_t)(leaf - dest));
	/* The directory itself, with its "/", or the current one. */
	memcpy(parent + (leaf - dest), ".", 2);
	r->levels[0].fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (r->levels[0].fd < 0)
		return fail(r->why, errno, "the directory of %s cannot be opened", dest);
	return 0;
}

int copy_receive(int sock, int timeout_ms, const char *dest, const char *expect, unsigned int flags,
		 struct copy_error *why)
{
	struct receiver *r = calloc(1, sizeof(*r));
	int ret;

	if (!r)
		return fail(why, ENOMEM, "%s cannot be written", dest);
	r->sock = sock;
	r->timeout_ms = timeout_ms;
	r->flags = flags;
	r->why = why;
	r->expect = expect;
	r->file = -1;
	ret = dest_open(r, dest);
	if (ret == 0)
		ret = receive_frames(r);
	if (r->file >= 0)
		close(r->file);
	while (r->depth)
		close(r->levels[r->depth--].fd);
	if (r->levels[0].fd >= 0)
		close(r->levels[0].fd);
	free(r);
	return ret;
}
