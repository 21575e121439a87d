// SPDX-License-Identifier: Apache-2.0
#include "test_boot.h"

#include <stdio.h>
#include <sys/stat.h>

struct entry {
	char name[64];
	unsigned int mode;
	size_t len;
	const uint8_t *data;
};

static unsigned int field(const uint8_t *header, int n)
{
	char hex[9] = { 0 };

	memcpy(hex, header + 6 + n * 8, 8);
	return (unsigned int)strtoul(hex, NULL, 16);
}

/* Read a newc archive by the book; returns the number of entries before the trailer. */
static int parse(const uint8_t *p, size_t len, struct entry *out, int max)
{
	size_t pos = 0;

	for (int n = 0; n < max; n++) {
		cr_assert_leq(pos + 110, len);
		cr_assert_eq(memcmp(p + pos, "070701", 6), 0, "entry %d", n);

		size_t size = field(p + pos, 6), name_len = field(p + pos, 11);
		struct entry *e = &out[n];

		cr_assert_lt(name_len, sizeof(e->name));
		memcpy(e->name, p + pos + 110, name_len);
		cr_assert_eq(e->name[name_len - 1], '\0');
		e->mode = field(p + pos, 1);
		e->len = size;
		pos = (pos + 110 + name_len + 3) & ~3ull;
		e->data = p + pos;
		pos = (pos + size + 3) & ~3ull;
		cr_assert_leq(pos, len);
		if (!strcmp(e->name, "TRAILER!!!")) {
			cr_assert_eq(pos, len);
			return n;
		}
	}
	cr_assert_fail("too many entries");
	return 0;
}

static void expect_file(const struct entry *e, int n, const char *name, const void *data,
			size_t len)
{
	for (int i = 0; i < n; i++) {
		if (strcmp(e[i].name, name))
			continue;
		cr_expect(S_ISREG(e[i].mode), "%s", name);
		cr_expect_eq(e[i].len, len, "%s", name);
		cr_expect_eq(memcmp(e[i].data, data, len), 0, "%s", name);
		return;
	}
	cr_assert_fail("no entry %s", name);
}

Test(boot_cpio, a_file_per_property)
{
	const char *const argv[] = { "ls", "-l", NULL };
	const char *const env[] = { "A=1", NULL };
	struct machine m = {
		.cpus = 1,
		.workload = {
			.argv = (char *const *)argv,
			.env = (char *const *)env,
			.cwd = "/srv",
			.hostname = "box",
			.terminal = true,
			.rows = 25,
			.cols = 80,
			.root_device = "/dev/vda",
			.root_fstype = "ext4",
			.root_read_only = true,
			.nets = { { .mac = { 2, 0, 0, 0, 0, 1 }, .mtu = 9000 } },
			.nnets = 1,
		},
	};
	struct entry e[16];
	size_t len;
	void *data;

	cr_assert_eq(boot_build_workload_cpio(&m, &data, &len), 0);
	int n = parse(data, len, e, 16);

	/* A directory comes before what is in it. */
	cr_expect_str_eq(e[0].name, ".kvmbox");
	cr_expect(S_ISDIR(e[0].mode));
	expect_file(e, n, ".kvmbox/argv", "ls\0-l", 6);
	expect_file(e, n, ".kvmbox/env", "A=1", 4);
	expect_file(e, n, ".kvmbox/cwd", "/srv", 5);
	expect_file(e, n, ".kvmbox/hostname", "box", 4);
	expect_file(e, n, ".kvmbox/terminal", "", 0);
	expect_file(e, n, ".kvmbox/winsize", "\0\0\0\x19\0\0\0\x50", 8);
	cr_expect_str_eq(e[7].name, ".kvmbox/root");
	cr_expect(S_ISDIR(e[7].mode));
	expect_file(e, n, ".kvmbox/root/device", "/dev/vda", 9);
	expect_file(e, n, ".kvmbox/root/fstype", "ext4", 5);
	expect_file(e, n, ".kvmbox/root/read-only", "", 0);
	cr_expect_str_eq(e[11].name, ".kvmbox/net0");
	cr_expect(S_ISDIR(e[11].mode));
	expect_file(e, n, ".kvmbox/net0/mac", "\2\0\0\0\0\1", 6);
	expect_file(e, n, ".kvmbox/net0/mtu", "\0\0\x23\x28", 4);
	cr_expect_eq(n, 14);
	cr_expect_eq(len % 4, 0);
	free(data);
}

Test(boot_cpio, no_workload_is_an_empty_archive)
{
	struct machine m = { .cpus = 1 };
	struct entry e[1];
	size_t len;
	void *data;

	cr_assert_eq(boot_build_workload_cpio(&m, &data, &len), 0);
	cr_expect_eq(parse(data, len, e, 1), 0);
	free(data);
}

Test(boot_cpio, cpio_reads_it)
{
	const char *const argv[] = { "true", NULL };
	struct machine m = {
		.cpus = 1, .workload = { .argv = (char *const *)argv, .root_device = "/dev/vda" }
	};
	char line[64], all[256] = "";
	char path[] = "/tmp/test_boot_cpio.XXXXXX";
	char cmd[sizeof(path) + 32];
	size_t len;
	void *data;
	int fd = mkstemp(path);

	if (system("command -v cpio >/dev/null"))
		cr_skip_test("cpio is not installed");
	cr_assert_geq(fd, 0);
	cr_assert_eq(boot_build_workload_cpio(&m, &data, &len), 0);
	cr_assert_eq(write(fd, data, len), (ssize_t)len);
	snprintf(cmd, sizeof(cmd), "cpio -t --quiet <%s 2>&1", path);
	FILE *f = popen(cmd, "r");

	cr_assert_not_null(f);
	while (fgets(line, sizeof(line), f))
		strncat(all, line, sizeof(all) - strlen(all) - 1);
	cr_expect_eq(pclose(f), 0);
	cr_expect_str_eq(all, ".kvmbox\n.kvmbox/argv\n.kvmbox/root\n.kvmbox/root/device\n");
	unlink(path);
	close(fd);
	free(data);
}
