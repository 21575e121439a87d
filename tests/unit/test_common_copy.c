// SPDX-License-Identifier: Apache-2.0
#include "common/copy.h"
#include "common/frame.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/kvmbox-copy-XXXXXX";
static struct copy_error why;
static int sock; /* the receiver's */
static int peer;

static void run(const char *command)
{
	cr_assert_eq(system(command), 0, "%s", command);
}

static void pair_open(void)
{
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	sock = pair[0];
	peer = pair[1];
}

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(chdir(dir), 0);
	run("mkdir to outside; echo secret >outside/file");
	pair_open();
}

static void teardown(void)
{
	char command[128];

	snprintf(command, sizeof(command), "chmod -R u+rwx %s; rm -rf %s", dir, dir);
	run(command);
}

TestSuite(common_copy, .init = setup, .fini = teardown, .timeout = 120);

struct sending {
	const char *path;
	const char *name;
	unsigned int flags;
	int ret;
	struct copy_error why;
};

static void *send_run(void *arg)
{
	struct sending *s = arg;

	s->ret = copy_send(peer, -1, s->path, s->name, s->flags, &s->why);
	if (s->ret == 0)
		s->ret = copy_await(peer, -1, &s->why);
	shutdown(peer, SHUT_RDWR);
	return NULL;
}

/* Sends path to dest, as PUT does it. Returns what the receiver does. */
static int copy(struct sending *s, const char *dest, const char *expect, unsigned int flags)
{
	pthread_t thread;
	int ret;

	cr_assert_eq(pthread_create(&thread, NULL, send_run, s), 0);
	ret = copy_receive(sock, -1, dest, expect, flags, &why);
	if (ret < 0)
		frame_send(sock, -1, KVMBOX_FRAME_ERROR, why.text, strlen(why.text));
	else
		frame_send(sock, -1, KVMBOX_FRAME_END, NULL, 0);
	/* The sender may be waiting for room. */
	shutdown(sock, SHUT_RDWR);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	close(sock);
	close(peer);
	pair_open();
	return ret;
}

static void copies(const char *path, const char *dest)
{
	struct sending s = { .path = path };
	int ret = copy(&s, dest, NULL, 0);

	cr_assert_eq(ret, 0, "%s", why.text);
	cr_assert_eq(s.ret, 0, "%s", s.why.text);
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	cr_assert_eq(lstat(path, &st), 0, "%s", path);
	return st.st_mode & 07777;
}

/* All that can be in a tree, the same on the other side, times and modes too. */
Test(common_copy, round_trip)
{
	run("mkdir -p from/empty from/a/b/c from/closed; cd from; echo one >a/one; : >nothing;"
	    "head -c 3000001 /dev/urandom >a/b/big; ln -s ../nowhere a/link; ln -s . a/b/c/loop;"
	    "printf x >'odd name\n'; chmod 640 a/one; chmod 1777 empty; chmod 4755 nothing;"
	    "mkfifo a/fifo; echo y >closed/y; chmod 555 closed; touch -d @1000000000 a/one a/b;"
	    "touch -h -d @1000000001 a/link; touch -d @-5 nothing; touch -d @1234567890 .");
	copies("from", "to/new");
	copies("from/", "to");
	run("rm from/a/fifo; touch -d @5 from/a to/new/a to/from/a");
	run("for d in new from; do diff -r --no-dereference from to/$d || exit 1; done");
	run("list() { (cd $1; find . -printf '%P %y %m %T@ %l\\n' | sort); }; list from >1; "
	    "list to/new >2; list to/from >3; sed -i 's/4755/755/; s/\\.[0-9]* / /' 1 2 3; "
	    "diff 1 2 && diff 1 3");
}

Test(common_copy, single_file_and_link)
{
	run("echo x >file; ln -s file link; mkdir d; ln -s d dlink");
	copies("file", "to");
	run("cmp file to/file");
	copies("file", "to/other");
	run("cmp file to/other");
	copies("link", "to/link");
	run("test \"$(readlink to/link)\" = file");
	/* A destination may be a link to a directory: the user named it. */
	copies("file", "dlink");
	run("cmp file d/file");

	struct sending s = { .path = "link", .flags = COPY_FOLLOW };

	cr_assert_eq(copy(&s, "to/followed", "link", 0), 0);
	run("test -f to/followed && ! test -L to/followed && cmp file to/followed");
	s = (struct sending){ .path = "file", .name = "named" };
	cr_assert_eq(copy(&s, "to", "named", 0), 0);
	run("cmp file to/named");
}

/* Replaced is what is there, never written through; directories are kept and grow. */
Test(common_copy, over_what_is_there)
{
	run("mkdir -m 700 from; echo new >from/f; echo new >from/g; echo new >from/h;"
	    "mkdir -m 711 to/from; echo kept >to/from/kept; ln -s ../../outside/file to/from/f;"
	    "ln outside/file to/from/g; mkfifo to/from/h");
	copies("from", "to");
	cr_assert_eq(mode_of("to/from"), 0711);
	run("grep -q kept to/from/kept; for i in f g h; do test -f to/from/$i && "
	    "! test -L to/from/$i && grep -q new to/from/$i || exit 1; done");
	run("grep -q secret outside/file");
}

Test(common_copy, set_id)
{
	struct sending s = { .path = "file", .flags = COPY_OWNERS };
	struct stat st;

	run("echo x >file; chmod 6755 file");
	if (geteuid() == 0)
		run("chown 12:34 file; chmod 6755 file");
	cr_assert_eq(copy(&s, "to/plain", NULL, 0), 0);
	cr_assert_eq(mode_of("to/plain"), 0755);
	if (geteuid() != 0)
		cr_skip_test("only root gives files to others");
	cr_assert_eq(copy(&s, "to/kept", NULL, COPY_OWNERS), 0);
	cr_assert_eq(mode_of("to/kept"), 06755);
	cr_assert_eq(stat("to/kept", &st), 0);
	cr_assert_eq(st.st_uid, 12);
	cr_assert_eq(st.st_gid, 34);
	s.flags = 0;
	cr_assert_eq(copy(&s, "to/roots", NULL, COPY_OWNERS), 0);
	cr_assert_eq(mode_of("to/roots"), 0755);
	cr_assert_eq(stat("to/roots", &st), 0);
	cr_assert_eq(st.st_uid, 0);
}

/* The sender hears of the receiver's failure in the middle of a large file. */
Test(common_copy, receiver_fails)
{
	struct sending s = { .path = "big" };

	run("truncate -s 1G big");
	cr_assert_lt(copy(&s, "to/no/where", NULL, 0), 0);
	cr_assert_eq(s.ret, -EREMOTEIO);
	cr_assert(s.why.from_peer);
	cr_assert_str_eq(s.why.text, why.text);
	cr_assert(strstr(why.text, "to/no/where"), "%s", why.text);

	run("mkdir to/big");
	cr_assert_lt(copy(&s, "to", NULL, 0), 0);
	cr_assert(s.why.from_peer);
	run("test -d to/big");
}

Test(common_copy, sender_fails)
{
	struct sending s = { .path = "missing" };

	cr_assert_eq(copy(&s, "to", NULL, 0), -ECONNRESET);
	cr_assert_eq(s.ret, -ENOENT);
	cr_assert_not(s.why.from_peer);
	s.path = "/";
	copy(&s, "to", NULL, 0);
	cr_assert_eq(s.ret, -EINVAL);
	run("mkfifo fifo");
	s.path = "fifo";
	copy(&s, "to", NULL, 0);
	cr_assert_eq(s.ret, -EINVAL);
}

/* What the receiver is sent by hand. */

static void entry_as(const char *name, uint32_t type, uint64_t size, const char *target)
{
	struct kvmbox_entry e = { .type = type, .mode = 0644, .size = size };
	static char strings[32768];
	size_t name_size = strlen(name) + 1;

	memcpy(strings, name, name_size);
	memcpy(strings + name_size, target, strlen(target) + 1);
	cr_assert_eq(frame_send2(peer, -1, KVMBOX_FRAME_ENTRY, &e, sizeof(e), strings,
				 name_size + strlen(target) + 1),
		     0);
}

static void file(const char *name, uint64_t size)
{
	entry_as(name, KVMBOX_ENTRY_FILE, size, "");
}

static void directory(const char *name)
{
	entry_as(name, KVMBOX_ENTRY_DIRECTORY, 0, "");
}

static void data(const char *text)
{
	struct kvmbox_data head = { 0 };

	cr_assert_eq(
		frame_send2(peer, -1, KVMBOX_FRAME_DATA, &head, sizeof(head), text, strlen(text)),
		0);
}

static int received(const char *dest, const char *expect)
{
	int ret;

	frame_send(peer, -1, KVMBOX_FRAME_END, NULL, 0);
	shutdown(peer, SHUT_WR);
	ret = copy_receive(sock, -1, dest, expect, 0, &why);
	close(sock);
	close(peer);
	pair_open();
	return ret;
}

static void refused(const char *dest)
{
	cr_assert_lt(received(dest, NULL), 0);
	run("test \"$(ls outside)\" = file && grep -q secret outside/file");
}

Test(common_copy, hostile_names)
{
	static char deep[2 * 300];
	static char longer[5000];
	const char *names[] = { "",    "/abs",  "..",   "../x", "a/../b", "a/..", ".",
				"./a", "a/./b", "a//b", "a/",   "/",      deep,   longer };
	int before = dup(0);

	for (size_t i = 0; i < sizeof(deep) - 1; i++)
		deep[i] = i % 2 ? '/' : 'd';
	deep[sizeof(deep) - 2] = '\0';
	memset(longer, 'n', sizeof(longer) - 1);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		file(names[i], 0);
		cr_assert_eq(received("to", NULL), -EPROTO, "%s", names[i]);
		directory("top");
		file(names[i], 0);
		cr_assert_eq(received("to", NULL), -EPROTO, "%s", names[i]);
	}
	close(before);
	cr_assert_eq(dup(0), before, "descriptors are left open");
	run("test -z \"$(ls to | grep -v top)\"");
	run("rmdir to/top");
}

/* Links that the peer made or that were there lead nowhere. */
Test(common_copy, through_links)
{
	directory("t");
	entry_as("t/l", KVMBOX_ENTRY_SYMLINK, 0, "../../outside");
	file("t/l/file", 0);
	refused("to");
	directory("t");
	entry_as("t/l", KVMBOX_ENTRY_SYMLINK, 0, "../../outside");
	directory("t/l");
	file("t/l/file", 0);
	refused("to");
	/* The whole tree is a link, over the directory of before. */
	entry_as("t", KVMBOX_ENTRY_SYMLINK, 0, "../outside");
	refused("to");
	entry_as("u", KVMBOX_ENTRY_SYMLINK, 0, "../outside");
	file("u/file", 0);
	refused("to");
	run("ln -s ../outside to/v");
	file("v/file", 0);
	refused("to");
	directory("v");
	refused("to");
	directory("x");
	run("ln -s nowhere to/dangling");
	refused("to/dangling");
}

Test(common_copy, wrong_sizes)
{
	file("f", 3);
	data("ab");
	data("cd");
	refused("to");
	file("f", 3);
	data("ab");
	refused("to");
	file("f", UINT64_MAX);
	data("ab");
	refused("to");
	file("f", 2);
	data("ab");
	data("c");
	refused("to");
	data("ab");
	refused("to");
	directory("d");
	data("ab");
	refused("to");
	file("g", 2);
	data("a");
	file("g", 0);
	refused("to");
	file("f", 4);
	data("ab");
	data("");
	data("cd");
	cr_assert_eq(received("to", NULL), 0, "%s", why.text);
	run("test \"$(cat to/f)\" = abcd");
}

Test(common_copy, other_frames)
{
	struct kvmbox_entry cut = { .type = KVMBOX_ENTRY_FILE };
	char bad[sizeof(cut) + 3] = { 0 };

	refused("to");
	frame_send(peer, -1, 999, "what", 4);
	frame_send(peer, -1, KVMBOX_FRAME_ENTRY, &cut, sizeof(cut) - 1);
	frame_send(peer, -1, KVMBOX_FRAME_DATA, "abc", 3);
	file("f", 0);
	cr_assert_eq(received("to", NULL), 0, "%s", why.text);
	memcpy(bad, &cut, sizeof(cut));
	memcpy(bad + sizeof(cut), "abc", 3);
	frame_send(peer, -1, KVMBOX_FRAME_ENTRY, bad, sizeof(bad));
	refused("to");
	entry_as("f", 4, 0, "");
	refused("to");
	entry_as("f", 0, 0, "");
	refused("to");
	frame_send(peer, -1, KVMBOX_FRAME_ERROR, "no\nsuch", 7);
	cr_assert_eq(received("to", NULL), -EREMOTEIO);
	cr_assert(why.from_peer);
	cr_assert_str_eq(why.text, "no?such");
}

/* One tree, by the name that was asked for. */
Test(common_copy, another_tree)
{
	file("asked", 0);
	file(".profile", 0);
	refused("to");
	file(".profile", 0);
	cr_assert_eq(received("to", "asked"), -EPROTO);
	file("ask", 0);
	cr_assert_eq(received("to", "asked"), -EPROTO);
	run("test \"$(ls -A to)\" = asked");
}

/* A peer's order of entries is its own affair. */
Test(common_copy, any_order)
{
	directory("t");
	directory("t/a");
	directory("t/b");
	file("t/a/late", 2);
	data("la");
	file("t/ab", 0);
	directory("t/a");
	file("t/b/c", 0);
	cr_assert_eq(received("to", "t"), 0, "%s", why.text);
	run("chmod -R u+x to/t; test \"$(cat to/t/a/late)\" = la && test -f to/t/b/c && test -f "
	    "to/t/ab");
}

Test(common_copy, destinations)
{
	run("echo x >file; echo old >to/old");
	copies("file", "to/old");
	run("grep -q x to/old");
	file("f", 0);
	refused("to/old/");
	file("f", 0);
	refused("to/old/f");
	file("f", 0);
	refused("");
	file("f", 0);
	refused("missing/..");
	copies("file", "./to/new//");
	run("grep -q x to/new");
	cr_assert_eq(chdir("to"), 0);
	copies("../file", "bare");
	run("grep -q x bare");
	cr_assert_eq(chdir(".."), 0);
}

Test(common_copy, into_a_directory)
{
	struct sending s = { .path = "tree/" };

	run("mkdir -p tree/sub to/sub; echo new >tree/sub/file; echo old >to/sub/other");
	cr_assert_eq(copy(&s, "to", "tree", COPY_INTO), 0, "%s", why.text);
	run("test \"$(cat to/sub/file to/sub/other)\" = \"$(printf 'new\\nold')\" && test ! -e "
	    "to/tree");
	cr_assert_eq(copy(&s, "made", "tree", COPY_INTO), 0, "%s", why.text);
	run("test -f made/sub/file && test ! -e made/tree");
	cr_assert_eq(copy(&s, "to/sub/other", "tree", COPY_INTO), -ENOTDIR);
	cr_assert_eq(copy(&s, "/", "tree", COPY_INTO), -ENOENT);
}

/* The other side is silent, be it that it does not send or that it does not read. */
Test(common_copy, silence)
{
	cr_assert_eq(fcntl(sock, F_SETFL, O_NONBLOCK), 0);
	cr_assert_eq(copy_receive(sock, 100, "here", NULL, 0, &why), -ETIMEDOUT, "%s", why.text);
	cr_assert_eq(copy_await(sock, 100, &why), -ETIMEDOUT, "%s", why.text);
	run("head -c 4000000 /dev/zero >large");
	cr_assert_eq(copy_send(sock, 100, "large", NULL, 0, &why), -ETIMEDOUT, "%s", why.text);
}
