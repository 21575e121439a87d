// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake_files.h"
#include "lxc/items.h"

static struct lxc_items items;
static struct error err;

static void teardown(void)
{
	lxc_items_deinit(&items);
}

TestSuite(lxc_items, .fini = teardown);

static int read_files(struct fake_files files)
{
	struct lxc_files open = fake_open(&files);

	err.text[0] = '\0';
	return lxc_items_read(&items, &open, "/c/config", &err);
}

static int read_text(const char *text)
{
	return read_files((struct fake_files){ { { .path = "/c/config", .text = text } } });
}

static void expect_item(size_t i, unsigned int line, const char *key, const char *value)
{
	cr_assert_lt(i, items.n);
	cr_expect_eq(items.items[i].line, line, "%s: %u", key, items.items[i].line);
	cr_expect_str_eq(items.items[i].key, key);
	cr_expect_str_eq(items.items[i].value, value);
}

static void expect_refused(struct fake_files files, const char *sentence)
{
	cr_expect_lt(read_files(files), 0, "accepted, not: %s", sentence);
	cr_expect(strstr(err.text, sentence), "says: %s\nnot: %s", err.text, sentence);
	cr_expect_eq(items.n, 0);
	lxc_items_deinit(&items);
}

Test(lxc_items, lines)
{
	cr_assert_eq(read_text("# a comment\n"
			       "\n"
			       "  lxc.a=1\r\n"
			       "\tlxc.b = \"two words\"  \n"
			       "lxc.c = 'x\n"
			       "lxc.d =\n"
			       "  # another = comment\n"
			       "lxc.e = a = b # no comment\n"
			       "martian\n"
			       "other = 3"),
		     0, "%s", err.text);
	cr_assert_eq(items.n, 7);
	expect_item(0, 3, "lxc.a", "1");
	expect_item(1, 4, "lxc.b", "two words");
	expect_item(2, 5, "lxc.c", "'x");
	expect_item(3, 6, "lxc.d", "");
	expect_item(4, 8, "lxc.e", "a = b # no comment");
	expect_item(5, 9, "martian", "");
	expect_item(6, 10, "other", "3");
	cr_expect_not(items.items[0].foreign);
	cr_expect(items.items[5].foreign && items.items[6].foreign);
}

Test(lxc_items, nothing)
{
	cr_assert_eq(read_text(""), 0);
	cr_expect_eq(items.n, 0);
}

Test(lxc_items, includes_take_the_place_of_their_line)
{
	cr_assert_eq(read_files((struct fake_files){ {
			     { "/c/config", "lxc.a = 1\nlxc.include = /common\nlxc.z = 1\n", 0 },
			     { "/common",
			       "lxc.b = 1\nlxc.include = /dir/\nlxc.include = /gone/\n"
			       "lxc.include = /dir\nlxc.include =\n",
			       0 },
			     { "/dir/", "x.conf", 0 },
			     { "/dir/x.conf", "lxc.c = 1\n", 0 },
		     } }),
		     0, "%s", err.text);
	cr_assert_eq(items.n, 5);
	expect_item(0, 1, "lxc.a", "1");
	expect_item(1, 1, "lxc.b", "1");
	expect_item(2, 1, "lxc.c", "1");
	expect_item(3, 1, "lxc.c", "1");
	expect_item(4, 3, "lxc.z", "1");
	cr_expect_str_eq(items.items[1].file, "/common");
	cr_expect_str_eq(items.items[2].file, "/dir/x.conf");
	cr_expect_str_eq(items.items[4].file, "/c/config");
}

Test(lxc_items, includes_without_end)
{
	expect_refused((struct fake_files){ { { "/c/config", "lxc.include = /c/config\n", 0 } } },
		       "/c/config:1: lxc.include: /c/config is being read already");
	expect_refused((struct fake_files){ { { "/c/config", "lxc.include = /a\n", 0 },
					      { "/a", "\nlxc.include = /b\n", 0 },
					      { "/b", "lxc.include = /a\n", 0 } } },
		       "/b:1: lxc.include: /a is being read already");
	expect_refused((struct fake_files){ { { "/c/config", "lxc.include = /1\n", 0 },
					      { "/1", "lxc.include = /2\n", 0 },
					      { "/2", "lxc.include = /3\n", 0 },
					      { "/3", "lxc.include = /4\n", 0 },
					      { "/4", "lxc.include = /5\n", 0 },
					      { "/5", "lxc.include = /6\n", 0 },
					      { "/6", "lxc.include = /7\n", 0 },
					      { "/7", "lxc.include = /8\n", 0 },
					      { "/8", "", 0 } } },
		       "more than 8 deep");
	/* Each twice the one before: as many as there are leaves of a tree. */
	expect_refused((struct fake_files){ {
			       { "/c/config", "lxc.include = /1\nlxc.include = /1\n", 0 },
			       { "/1", "lxc.include = /2\nlxc.include = /2\n", 0 },
			       { "/2", "lxc.include = /3\nlxc.include = /3\n", 0 },
			       { "/3", "lxc.include = /4\nlxc.include = /4\n", 0 },
			       { "/4", "lxc.include = /5\nlxc.include = /5\n", 0 },
			       { "/5", "lxc.include = /6\nlxc.include = /6\n", 0 },
			       { "/6", "", 0 },
		       } },
		       "more than 64 files");
}

Test(lxc_items, malformed)
{
	static const struct {
		const char *text, *sentence;
	} cases[] = {
		{ "\nlxc.uts.name web\n", "/c/config:2: \"lxc.uts.name web\" has no '='" },
		{ "lxc.a = \xff\n", "/c/config:1: the line holds a control character, or bytes" },
		{ "lxc.a = \xc0\x80\n", "not UTF-8" },
		{ "lxc.a = \xed\xa0\x80\n", "not UTF-8" },
		{ "lxc.a = \xe2\x82", "not UTF-8" },
		{ "lxc.a = \033[2J\n", "/c/config:1: the line holds a control character" },
		{ "lxc.include = /gone\n", "/c/config:1: lxc.include: cannot read /gone: No such" },
		{ "lxc.include = common.conf\n", "is not an absolute path" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_refused((struct fake_files){ { { "/c/config", cases[i].text, 0 } } },
			       cases[i].sentence);
	expect_refused((struct fake_files){ { { "/c/config", "lxc.a = 1\0b\n", 12 } } },
		       "/c/config: a NUL byte is in it");
	expect_refused((struct fake_files){ { { "/other", "", 0 } } },
		       "cannot read /c/config: No such file");
	expect_refused((struct fake_files){ { { "/c/config/", "x.conf", 0 } } },
		       "cannot read /c/config: Is a directory");
}

Test(lxc_items, bytes_that_are_no_text_may_stand_in_comments)
{
	cr_assert_eq(read_text("# caf\xe9\nlxc.a = \xc3\xa9\t\xf0\x9f\x90\xa7\n"), 0, "%s",
		     err.text);
	expect_item(0, 2, "lxc.a", "\xc3\xa9\t\xf0\x9f\x90\xa7");
}

Test(lxc_items, too_many_lines)
{
	static char text[(LXC_ITEMS_MAX + 1) * 6 + 1];

	for (size_t i = 0; i <= LXC_ITEMS_MAX; i++)
		memcpy(text + i * 6, "lxc.=\n", 6);
	expect_refused((struct fake_files){ { { "/c/config", text, 0 } } },
		       "/c/config:4097: the config has more than 4096 lines");
	text[LXC_ITEMS_MAX * 6] = '\0';
	cr_expect_eq(read_text(text), 0, "%s", err.text);
	cr_expect_eq(items.n, LXC_ITEMS_MAX);
}

/* The host's own files: of the right kind, and not without end. */
Test(lxc_items, host_files)
{
	char dir[] = "/tmp/kvmbox-items-XXXXXX";
	char path[64], fifo[64];
	char **names = NULL;
	char *text = NULL;
	size_t len = 0;
	FILE *f;

	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/b.conf", dir);
	snprintf(fifo, sizeof(fifo), "%s/a.conf", dir);
	f = fopen(path, "w");
	cr_assert_not_null(f);
	fputs("lxc.a = 1\n", f);
	fclose(f);
	cr_assert_eq(mkfifo(fifo, 0600), 0);

	cr_expect_eq(lxc_host_files.read(NULL, path, &text, &len), 0);
	cr_expect_str_eq(text, "lxc.a = 1\n");
	cr_expect_eq(len, 10);
	free(text);
	cr_expect_eq(lxc_host_files.read(NULL, fifo, &text, &len), -EINVAL);
	cr_expect_eq(lxc_host_files.read(NULL, dir, &text, &len), -EISDIR);
	cr_assert_eq(lxc_host_files.list(NULL, dir, &names), 0);
	cr_expect_str_eq(names[0], "a.conf");
	cr_expect_str_eq(names[1], "b.conf");
	cr_expect_null(names[2]);
	free(names[0]);
	free(names[1]);
	free(names);

	cr_assert_eq(truncate(path, LXC_FILE_MAX), 0);
	cr_expect_eq(lxc_host_files.read(NULL, path, &text, &len), 0);
	free(text);
	cr_assert_eq(truncate(path, LXC_FILE_MAX + 1), 0);
	cr_expect_eq(lxc_host_files.read(NULL, path, &text, &len), -EFBIG);
	unlink(path);
	unlink(fifo);
	rmdir(dir);
}
