// SPDX-License-Identifier: Apache-2.0
/*
 * Nothing here waits for a VM, and three rules keep all that do this at once apart:
 *
 *   - A directory is made under a name with a dot, and its lock taken, before it is renamed; and is
 *     renamed to one before it is taken apart. So whoever lists sees whole directories only.
 *   - Whoever removes a directory holds its lock, and has made sure that the name still leads to
 *     the file that it has locked: nobody else renames it then.
 *   - Whether somebody holds a lock is asked (F_OFD_GETLK), not tried, so that one who looks is
 *     never taken for a VM.
 *
 * Directories with a dot whose lock is free are what a crash has left. One that has just been made
 * and is not locked yet looks the same, so making and sweeping exclude each other, by a lock on the
 * root that is held for no longer than that.
 */
#include "control/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/read.h"
#include "config/words.h"

#define STATE_MAX      (1024 * 1024) /* bytes of a state.json */
#define LONGEST_SOCKET "vsock.sock_65535"
#define CREATE_TRIES   16

typedef char state_path[sizeof(((struct state *)0)->path)];

/* ---- the root ---- */

static int find_root(state_path root, struct error *err)
{
	const char *own = getenv("KVMBOX_STATE"), *runtime = getenv("XDG_RUNTIME_DIR");
	int len;

	if (own && *own)
		len = snprintf(root, sizeof(state_path), "%s", own);
	else if (geteuid() == 0)
		len = snprintf(root, sizeof(state_path), "/run/kvmbox/vm");
	else if (runtime && *runtime)
		len = snprintf(root, sizeof(state_path), "%s/kvmbox/vm", runtime);
	else
		return error_set(err, ENOENT,
				 "XDG_RUNTIME_DIR is not set, so there is no place for what is "
				 "known of VMs; log in anew, or set KVMBOX_STATE to a directory of "
				 "your own");
	if (len < 0 || (size_t)len >= sizeof(state_path) - 64)
		return error_set(err, ENAMETOOLONG,
				 "the path of the directory for what is known of VMs is too long");
	if (root[0] != '/')
		return error_set(
			err, EINVAL,
			"the directory for what is known of VMs is \"%s\"; an absolute path "
			"is needed",
			word_show(root).text);
	return 0;
}

/* Make @root and what is missing above it. What is in root's own can be entered, not listed. */
static int make_root(const char *root, struct error *err)
{
	mode_t mode = geteuid() == 0 ? 0711 : 0700;
	const char *end = root;
	state_path part;

	while (end) {
		end = strchr(end + 1, '/');
		snprintf(part, sizeof(part), "%.*s",
			 (int)(end ? (size_t)(end - root) : strlen(root)), root);
		if (mkdir(part, mode) < 0 && errno != EEXIST)
			return error_set(err, errno, "cannot make the directory %s: %s",
					 word_show(part).text, strerror(errno));
	}
	return 0;
}

/* ---- locks ---- */

static struct flock whole(short type)
{
	return (struct flock){ .l_type = type, .l_whence = SEEK_SET };
}

/*
 * Whoever lives there has a lock for readers, on a file that is open for reading only: the monitor
 * has that descriptor, too, and is not to have one that it can write to.
 */
static bool lock_live(int fd)
{
	struct flock lock = whole(F_RDLCK);

	return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/* Whether nobody lives there, and nobody else comes to clear it away. */
static bool lock_take(int fd)
{
	struct flock lock = whole(F_WRLCK);

	return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

static bool lock_is_held(int fd)
{
	struct flock lock = whole(F_WRLCK);

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* ---- removal ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	(void)remove(path);
	return 0;
}

static void remove_tree(const char *path)
{
	(void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Take the name from @path, whose lock is held, and then what is there. */
static int remove_locked(const char *path)
{
	const char *name = strrchr(path, '/');
	state_path gone;

	for (unsigned int i = 0; i < CREATE_TRIES; i++) {
		int len = snprintf(gone, sizeof(gone), "%.*s/.gone-%d-%u", (int)(name - path), path,
				   getpid(), i);

		if (len < 0 || (size_t)len >= sizeof(gone))
			return -ENAMETOOLONG;
		if (renameat2(AT_FDCWD, path, AT_FDCWD, gone, RENAME_NOREPLACE) == 0) {
			remove_tree(gone);
			return 0;
		}
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

/* Whether the file at @path is still the one that @fd is. */
static bool is_same_file(int fd, const char *path)
{
	struct stat ours, there;

	return fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_dev == there.st_dev &&
	       ours.st_ino == there.st_ino;
}

/* Remove @path if nobody lives in it: -EBUSY, -ENOENT or other negative errno if not. */
static int remove_dead(const char *path)
{
	char lock[PATH_MAX];

	snprintf(lock, sizeof(lock), "%s/lock", path);
	AUTO_CLOSE int fd = open(lock, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (!lock_take(fd))
		return -EBUSY;
	return is_same_file(fd, lock) ? remove_locked(path) : -ENOENT;
}

static bool is_vm_name(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len < sizeof(((struct state *)0)->name) && name[0] != '.' &&
	       !strchr(name, '/');
}

/* Remove what crashes have left. The lock on the root is held. */
static void sweep(const char *root)
{
	DIR *dir = opendir(root);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char lock[PATH_MAX];
		state_path path;

		if (entry->d_name[0] != '.' || !strcmp(entry->d_name, ".") ||
		    !strcmp(entry->d_name, ".."))
			continue;
		int len = snprintf(path, sizeof(path), "%s/%s", root, entry->d_name);

		if (len < 0 || (size_t)len >= sizeof(path))
			continue;
		snprintf(lock, sizeof(lock), "%s/lock", path);
		AUTO_CLOSE int fd = open(lock, O_RDWR | O_CLOEXEC);

		if (fd < 0 ? errno == ENOENT : lock_take(fd))
			remove_tree(path);
	}
	if (dir)
		closedir(dir);
}

/* ---- reading ---- */

/*
 * The object in state.json, *@out; an empty one if it cannot be made sense of. Returns 0, -ENOENT
 * if it is not there, as only in a directory that is being removed, or -ENOMEM.
 */
static int read_json(int dir_fd, struct json_object **out)
{
	AUTO_CLOSE int fd = openat(dir_fd, "state.json", O_RDONLY | O_CLOEXEC);
	AUTO_FREE char *text = NULL;
	struct json_object *json;
	size_t len;

	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd >= 0 && read_whole(fd, STATE_MAX - 1, &text, &len) == -ENOMEM)
		return -ENOMEM;
	json = text ? json_tokener_parse(text) : NULL;
	if (!json_object_is_type(json, json_type_object)) {
		json_object_put(json);
		json = json_object_new_object();
	}
	*out = json;
	return json ? 0 : -ENOMEM;
}

int state_refresh(struct state *s)
{
	AUTO_CLOSE int lock_fd = openat(s->dir_fd, "lock", O_RDONLY | O_CLOEXEC);
	struct json_object *json;

	if (lock_fd < 0)
		return -errno;

	/* The lock first: who lets go of it has written his last state. */
	bool alive = lock_is_held(lock_fd);
	int ret = read_json(s->dir_fd, &json);

	if (ret < 0)
		return ret;
	json_object_put(s->json);
	s->json = json;
	s->alive = alive;
	return 0;
}

static int read_at(struct state *s, const char *root, const char *name)
{
	*s = (struct state){ .dir_fd = -1 };
	snprintf(s->name, sizeof(s->name), "%s", name);
	int len = snprintf(s->path, sizeof(s->path), "%s/%s", root, name);

	if (len < 0 || (size_t)len >= sizeof(s->path) - sizeof("/" LONGEST_SOCKET))
		return -ENAMETOOLONG;
	s->dir_fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd < 0)
		return errno == ENOTDIR ? -ENOENT : -errno;
	int ret = state_refresh(s);

	if (ret < 0)
		state_deinit(s);
	return ret;
}

void state_deinit(struct state *s)
{
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	s->dir_fd = -1;
	json_object_put(s->json);
	s->json = NULL;
}

static bool has_flag(const struct state *s, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(s->json, key, &value) && json_object_get_boolean(value);
}

const char *state_status(const struct state *s)
{
	struct json_object *value;
	const char *status = NULL;

	if (json_object_object_get_ex(s->json, "status", &value) &&
	    json_object_is_type(value, json_type_string))
		status = json_object_get_string(value);
	if (!s->alive && (!status || (strcmp(status, "exited") && strcmp(status, "failed"))))
		return "died";
	return status ? status : "starting";
}

/* There is no @name; say so, and which of those in @root may have been meant. */
static int no_such_vm(const char *root, const char *name, struct error *err)
{
	struct word_match match = { 0 };
	struct dirent **entries = NULL;
	int n = scandir(root, &entries, NULL, alphasort);

	for (int i = 0; i < n; i++)
		if (is_vm_name(entries[i]->d_name))
			word_match_try(&match, name, entries[i]->d_name);
	error_set(err, ENOENT, "there is no VM called \"%s\"%s", word_show(name).text,
		  match.word ? word_show_match(&match).text
			     : "; kvmbox ps -a lists those there are");
	for (int i = 0; i < n; i++)
		free(entries[i]);
	free(entries);
	return -ENOENT;
}

int state_read(struct state *s, const char *name, struct error *err)
{
	state_path root;
	int ret = find_root(root, err);

	if (ret < 0)
		return ret;
	ret = is_vm_name(name) ? read_at(s, root, name) : -ENOENT;
	if (ret == -ENOENT)
		return no_such_vm(root, name, err);
	if (ret < 0)
		return error_set(err, -ret, "cannot read %s: %s", word_show(s->path).text,
				 strerror(-ret));
	return 0;
}

static double created(const struct state *s)
{
	struct json_object *value;

	return json_object_object_get_ex(s->json, "created", &value) ? json_object_get_double(value)
								     : 0;
}

static int by_creation(const void *a, const void *b)
{
	const struct state *x = a, *y = b;
	double earlier = created(x) - created(y);

	return earlier < 0 ? -1 : earlier > 0 ? 1 : strcmp(x->name, y->name);
}

/* Add the VM called @name to the list, if it is one and there is something to be known of it. */
static int list_one(struct state **list, size_t *n, const char *root, const char *name)
{
	struct state s;

	if (!is_vm_name(name) || read_at(&s, root, name) < 0)
		return 0;
	close(s.dir_fd);
	s.dir_fd = -1;
	if (!s.alive && has_flag(&s, "auto_remove") && remove_dead(s.path) == 0) {
		state_deinit(&s);
		return 0;
	}
	struct state *grown = reallocarray(*list, *n + 1, sizeof(*grown));

	if (!grown) {
		state_deinit(&s);
		return -ENOMEM;
	}
	grown[(*n)++] = s;
	*list = grown;
	return 0;
}

int state_list(struct state **list, size_t *n, struct error *err)
{
	struct state *found = NULL;
	size_t nfound = 0;
	struct dirent *entry;
	state_path root;
	int ret = find_root(root, err);

	if (ret < 0)
		return ret;
	DIR *dir = opendir(root);

	if (!dir && errno != ENOENT)
		return error_set(err, errno, "cannot list %s: %s", word_show(root).text,
				 strerror(errno));
	while (dir && ret == 0 && (entry = readdir(dir)))
		ret = list_one(&found, &nfound, root, entry->d_name);
	if (dir)
		closedir(dir);
	if (ret < 0) {
		state_list_free(found, nfound);
		return error_set(err, -ret, "cannot list %s: %s", word_show(root).text,
				 strerror(-ret));
	}
	if (nfound)
		qsort(found, nfound, sizeof(*found), by_creation);
	*list = found;
	*n = nfound;
	return 0;
}

void state_list_free(struct state *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		state_deinit(&list[i]);
	free(list);
}

int state_remove(const char *name, struct error *err)
{
	struct state s;
	int ret = state_read(&s, name, err);

	if (ret < 0)
		return ret;
	ret = remove_dead(s.path);
	if (ret == -EBUSY)
		error_set(err, EBUSY,
			  "the VM \"%s\" is alive; end it first by kvmbox stop, or use "
			  "kvmbox rm -f",
			  s.name);
	else if (ret < 0 && ret != -ENOENT)
		error_set(err, -ret, "cannot remove %s: %s", word_show(s.path).text,
			  strerror(-ret));
	else
		ret = 0; /* somebody else was quicker: it is gone, as it should be */
	state_deinit(&s);
	return ret;
}

/* ---- a VM's own ---- */

int state_write(const struct state_dir *dir, struct json_object *state)
{
	const char *text = json_object_to_json_string_ext(
		state, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
	char next[PATH_MAX], last[PATH_MAX];

	if (!text)
		return -ENOMEM;
	snprintf(next, sizeof(next), "%s/state.json.new", dir->path);
	snprintf(last, sizeof(last), "%s/state.json", dir->path);
	AUTO_CLOSE int fd = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	for (size_t left = strlen(text); left;) {
		ssize_t n = write(fd, text, left);

		if (n < 0)
			return -errno;
		text += n;
		left -= (size_t)n;
	}
	return rename(next, last) < 0 ? -errno : 0;
}

/* Make a directory of no name with its lock taken, and sweep what others have left half done. */
static int make_nameless(struct state_dir *dir, const char *root)
{
	AUTO_CLOSE int root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char lock[PATH_MAX];

	if (root_fd < 0)
		return -errno;
	while (flock(root_fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return -errno;
	sweep(root);
	int len = snprintf(dir->path, sizeof(dir->path), "%s/.new-XXXXXX", root);

	if (len < 0 || (size_t)len >= sizeof(dir->path))
		return -ENAMETOOLONG;
	if (!mkdtemp(dir->path))
		return -errno;
	snprintf(lock, sizeof(lock), "%s/lock", dir->path);
	dir->lock_fd = open(lock, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (dir->lock_fd >= 0 && lock_live(dir->lock_fd))
		return 0;
	int ret = -errno;

	if (dir->lock_fd >= 0)
		close(dir->lock_fd);
	remove_tree(dir->path);
	return ret;
}

/* The name is taken. Returns 0 if it is not any more. */
static int make_way(const char *root, const char *name, struct error *err)
{
	struct state s;
	int ret = read_at(&s, root, name);

	if (ret == -ENOENT)
		return 0;
	if (ret < 0)
		return error_set(err, EEXIST, "the name \"%s\" is taken, and %s cannot be read: %s",
				 name, word_show(s.path).text, strerror(-ret));
	if (!s.alive && has_flag(&s, "auto_remove")) {
		ret = remove_dead(s.path);
		if (ret == -ENOENT || ret == -EBUSY)
			ret = 0; /* somebody else has done it, or is about to */
	} else if (s.alive) {
		ret = error_set(err, EEXIST,
				"there is a VM called \"%s\" already; choose another --name, or "
				"end that one by kvmbox rm -f %s",
				name, name);
	} else {
		ret = error_set(err, EEXIST,
				"a VM called \"%s\" has ended and left its logs; remove them by "
				"kvmbox rm %s, or choose another --name",
				name, name);
	}
	state_deinit(&s);
	return ret;
}

/* Give the finished directory its name, which is at @path. */
static int take_name(struct state_dir *dir, const char *root, const char *name, const char *path,
		     struct error *err)
{
	for (unsigned int i = 0; i < CREATE_TRIES; i++) {
		if (renameat2(AT_FDCWD, dir->path, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
			return 0;
		if (errno != EEXIST)
			return error_set(err, errno, "cannot make the directory %s: %s",
					 word_show(path).text, strerror(errno));
		int ret = make_way(root, name, err);

		if (ret < 0)
			return ret;
	}
	return error_set(err, EEXIST, "the name \"%s\" is being taken by others", name);
}

int state_create(struct state_dir *dir, const char *name, struct json_object *first,
		 struct error *err)
{
	const size_t room = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
	state_path root, path;
	int ret = find_root(root, err);

	if (ret < 0)
		return ret;
	if (!is_vm_name(name))
		return error_set(err, EINVAL, "\"%s\" cannot be a VM's name", word_show(name).text);
	size_t len = strlen(root) + strlen(name) + strlen("//" LONGEST_SOCKET);

	if (len > room)
		return error_set(err, ENAMETOOLONG,
				 "the name \"%s\" is too long: the path of a socket in %s would "
				 "have %zu bytes, and Linux takes %zu; choose a shorter --name, or "
				 "set KVMBOX_STATE to a shorter path",
				 name, word_show(root).text, len, room);
	ret = make_root(root, err);
	if (ret < 0)
		return ret;
	ret = make_nameless(dir, root);
	if (ret == 0) {
		ret = state_write(dir, first);
		if (ret < 0)
			state_remove_own(dir);
	}
	if (ret < 0)
		return error_set(err, -ret, "cannot make a directory in %s: %s",
				 word_show(root).text, strerror(-ret));
	snprintf(path, sizeof(path), "%s/%s", root, name);
	ret = take_name(dir, root, name, path, err);
	if (ret < 0) {
		state_remove_own(dir);
		return ret;
	}
	memcpy(dir->path, path, sizeof(dir->path));
	return 0;
}

void state_remove_own(struct state_dir *dir)
{
	(void)remove_locked(dir->path);
	state_close(dir);
}

void state_close(struct state_dir *dir)
{
	if (dir->lock_fd >= 0)
		close(dir->lock_fd);
	dir->lock_fd = -1;
}
