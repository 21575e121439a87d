// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"
#include "config/set.h"

static struct boot_config cfg;
static struct error err;
static char dir[] = "/tmp/kvmbox-test-XXXXXX";

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(name, "we");

	cr_assert_not_null(f);
	fputs(text, f);
	fclose(f);
}

/* Every test has a directory of its own, with two disks, a fifo and a config file in it. */
static void setup(void)
{
	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(chdir(dir), 0);
	write_file("a.img", "");
	write_file("b.img", "");
	cr_assert_eq(symlink("a.img", "link.img"), 0);
	cr_assert_eq(mkdir("root", 0755), 0);
	cr_assert_eq(mkfifo("fifo", 0644), 0);
	write_file("vm.json",
		   "{ \"name\": \"filed\", \"append\": \"quiet\", \"timeout\": 9,\n"
		   "  \"boot-source\": { \"kernel_image_path\": \"a.img\" },\n"
		   "  \"machine-config\": { \"vcpu_count\": 2, \"mem_size_mib\": 64 },\n"
		   "  \"drives\": [ { \"path_on_host\": \"b.img\" } ],\n"
		   "  \"workload\": { \"argv\": [\"filed\"], \"workdir\": \"/filed\",\n"
		   "                  \"env\": { \"A\": \"file\", \"B\": \"file\" } } }\n");
	config_init(&cfg);
}

static void teardown(void)
{
	static const char *const names[] = { "a.img", "b.img",   "link.img",
					     "fifo",  "vm.json", "x.json" };

	config_deinit(&cfg);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(names[i]);
	rmdir("root");
	rmdir(dir);
}

TestSuite(config_options, .init = setup, .fini = teardown);

/* Parse "boot" and the arguments up to NULL. */
static int boot(const char *first, ...)
{
	char *argv[64] = { (char *)"boot", (char *)first };
	int argc = first ? 2 : 1;
	va_list ap;

	config_deinit(&cfg);
	err.text[0] = '\0';
	va_start(ap, first);
	while (first && (argv[argc] = va_arg(ap, char *)))
		argc++;
	va_end(ap);
	return config_parse_boot(&cfg, argc, argv, &err);
}

#define EXPECT_BOOT(...) cr_assert_eq(boot(__VA_ARGS__, NULL), 0, "%s", err.text)

#define EXPECT_REFUSED(sentence, ...)                                                             \
	do {                                                                                      \
		cr_expect_lt(boot(__VA_ARGS__, NULL), 0, "accepted, instead of: %s", sentence);   \
		cr_expect(strstr(err.text, sentence), "says: %s\n  not: %s", err.text, sentence); \
	} while (0)

Test(config_options, nothing)
{
	cr_assert_eq(boot(NULL), 0, "%s", err.text);
	cr_expect_eq(cfg.cpus, 1);
	cr_expect_eq(cfg.mem_bytes, 256ull << 20);
	cr_expect_null(cfg.argv);
	cr_expect_null(cfg.kernel);
	cr_expect_null(cfg.initrd);
	cr_expect_null(cfg.rootfs);
	cr_expect_not_null(cfg.env);
	cr_expect_not(cfg.json);
	cr_expect_not(cfg.full_system);
	EXPECT_BOOT("--");
	cr_expect_null(cfg.argv);
}

Test(config_options, everything)
{
	EXPECT_BOOT("--cpus", "4", "--mem=64M", "--name", "vm-1", "--kernel", "a.img", "--append",
		    "debug nosmp", "--rootfs", "root", "--disk", "a.img,ro", "--disk",
		    "b.img,serial=B,direct=on,queues=2", "--env", "A=1", "--env", "B=", "--env",
		    "A=2", "--workdir", "/srv", "--timeout", "90s", "--json", "--net",
		    "tap=tap0,ip=192.0.2.2/24", "--net=nat", "--publish", "8080:80", "-p",
		    "127.0.0.1:53:53/udp", "-p81:81", "--", "/bin/echo", "--help", "", "--");
	cr_expect_eq(cfg.cpus, 4);
	cr_expect_eq(cfg.mem_bytes, 64ull << 20);
	cr_expect_str_eq(cfg.name, "vm-1");
	cr_expect_str_eq(cfg.kernel, "a.img");
	cr_expect_str_eq(cfg.append, "debug nosmp");
	cr_expect_str_eq(cfg.rootfs, "root");
	cr_assert_eq(cfg.ndisks, 2);
	cr_expect(cfg.disks[0].read_only);
	cr_expect_str_eq(cfg.disks[1].path, "b.img");
	cr_expect_str_eq(cfg.disks[1].serial, "B");
	cr_expect_eq(cfg.disks[1].direct, DISK_DIRECT_ON);
	cr_expect_eq(cfg.disks[1].queues, 2);
	cr_assert_eq(cfg.nnets, 2);
	cr_expect_str_eq(cfg.nets[0].tap, "tap0");
	cr_expect_eq(cfg.nets[1].mode, NET_NAT);
	cr_assert_eq(cfg.npublish, 3);
	cr_expect_eq(cfg.publish[2].host_port, 81);
	cr_expect_str_eq(cfg.env[0], "A=2");
	cr_expect_str_eq(cfg.env[1], "B=");
	cr_expect_null(cfg.env[2]);
	cr_expect_str_eq(cfg.workdir, "/srv");
	cr_expect_eq(cfg.timeout_ms, 90000);
	cr_expect(cfg.json);
	cr_expect_str_eq(cfg.argv[0], "/bin/echo");
	cr_expect_str_eq(cfg.argv[1], "--help");
	cr_expect_str_eq(cfg.argv[2], "");
	cr_expect_str_eq(cfg.argv[3], "--");
	cr_expect_null(cfg.argv[4]);
}

Test(config_options, last_of_two_counts)
{
	EXPECT_BOOT("--cpus", "4", "--cpus", "2", "--name", "a", "--name", "b");
	cr_expect_eq(cfg.cpus, 2);
	cr_expect_str_eq(cfg.name, "b");
}

Test(config_options, options_override_the_file)
{
	EXPECT_BOOT("--config", "vm.json");
	cr_expect_str_eq(cfg.name, "filed");
	cr_expect_eq(cfg.cpus, 2);
	cr_expect_str_eq(cfg.argv[0], "filed");

	/* wherever the file stands */
	EXPECT_BOOT("--name", "flag", "--cpus", "3", "--config", "vm.json", "--mem", "96M",
		    "--append", "debug", "--env", "B=flag", "--env", "C=flag", "--workdir", "/flag",
		    "--timeout", "0", "--disk", "a.img", "--kernel", "b.img", "--", "flag");
	cr_expect_str_eq(cfg.name, "flag");
	cr_expect_eq(cfg.cpus, 3);
	cr_expect_eq(cfg.mem_bytes, 96ull << 20);
	cr_expect_str_eq(cfg.append, "debug");
	cr_expect_str_eq(cfg.kernel, "b.img");
	cr_expect_str_eq(cfg.workdir, "/flag");
	cr_expect_eq(cfg.timeout_ms, 0);
	cr_expect_str_eq(cfg.env[0], "A=file");
	cr_expect_str_eq(cfg.env[1], "B=flag");
	cr_expect_str_eq(cfg.env[2], "C=flag");
	cr_expect_str_eq(cfg.argv[0], "flag");
	cr_expect_null(cfg.argv[1]);
	cr_assert_eq(cfg.ndisks, 2);
	cr_expect_str_eq(cfg.disks[0].path, "b.img");
	cr_expect_str_eq(cfg.disks[1].path, "a.img");
}

Test(config_options, environment_of_the_caller)
{
	setenv("KVMBOX_TEST_SET", "yes = yes", 1);
	unsetenv("KVMBOX_TEST_UNSET");
	EXPECT_BOOT("--env", "KVMBOX_TEST_SET", "--env", "KVMBOX_TEST_UNSET");
	cr_expect_str_eq(cfg.env[0], "KVMBOX_TEST_SET=yes = yes");
	cr_expect_null(cfg.env[1]);
}

Test(config_options, full_system)
{
	EXPECT_BOOT("--initrd", "a.img");
	cr_expect(cfg.full_system);

	write_file("x.json", "{ \"drives\": [ { \"path_on_host\": \"a.img\" },"
			     "  { \"path_on_host\": \"b.img\", \"is_root_device\": true } ] }");
	EXPECT_BOOT("--config", "x.json");
	cr_expect(cfg.full_system);
	cr_expect_str_eq(cfg.disks[0].path, "b.img");
	cr_expect_str_eq(cfg.disks[1].path, "a.img");
	EXPECT_BOOT("--config", "x.json", "--", "ls");
	cr_expect_not(cfg.full_system);
	cr_expect(cfg.disks[0].root);
	EXPECT_BOOT("--config", "x.json", "--initrd", "a.img");
	cr_expect(cfg.full_system);

	EXPECT_REFUSED("both --rootfs root and the root drive b.img", "--config", "x.json",
		       "--rootfs", "root");
	EXPECT_REFUSED(
		"b.img boots its own init, so the environment (--env) would reach no command; "
		"leave it out, or add a command after --",
		"--config", "x.json", "--env", "A=1");
	EXPECT_REFUSED("so the command ls would never be run", "--initrd", "a.img", "--", "ls");
	EXPECT_REFUSED("knows nothing of --rootfs root", "--initrd", "a.img", "--rootfs", "root");
	EXPECT_REFUSED("the working directory (--workdir)", "--initrd", "a.img", "--workdir", "/");
}

Test(config_options, init)
{
	EXPECT_BOOT("--init");
	cr_expect(cfg.init);
	cr_expect_str_eq(cfg.argv[0], "/sbin/init");
	cr_expect_null(cfg.argv[1]);
	EXPECT_BOOT("--init", "--", "/lib/systemd/systemd", "--unit=x");
	cr_expect(cfg.init);
	cr_expect_str_eq(cfg.argv[0], "/lib/systemd/systemd");
	cr_expect_str_eq(cfg.argv[1], "--unit=x");
	EXPECT_BOOT("--", "/sbin/init");
	cr_expect_not(cfg.init);
	EXPECT_REFUSED("the initrd a.img brings its own init", "--initrd", "a.img", "--init");
}

Test(config_options, help)
{
	char text[8192] = "";
	char *argv[] = { (char *)"boot", (char *)"--cpus", (char *)"0", (char *)"--help" };

	cr_redirect_stdout();
	cr_assert_eq(config_parse_boot(&cfg, 4, argv, &err), 1);
	fflush(stdout);

	FILE *out = cr_get_redirected_stdout();
	size_t n = fread(text, 1, sizeof(text) - 1, out);

	text[n] = '\0';
	cr_expect(strstr(text, "Usage: kvmbox boot"));

	static const char *const options[] = {
		"--cpus", "--mem",  "--kernel", "--initrd",     "--append",    "--rootfs",
		"--disk", "--name", "--config", "--env",        "--workdir",   "--timeout",
		"--json", "--help", "--init",   "--cpu-weight", "--io-weight", "--unsafe-no-jail",
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		cr_expect(strstr(text, options[i]), "%s is missing", options[i]);
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		cr_expect_leq(strlen(line), 80, "%s", line);
}

Test(config_options, weights)
{
	EXPECT_BOOT("--cpu-weight", "1", "--io-weight=10000", "--unsafe-no-jail");
	cr_expect_eq(cfg.cpu_weight, 1);
	cr_expect_eq(cfg.io_weight, 10000);
	cr_expect(cfg.unsafe_no_jail);
}

Test(config_options, bad_weights)
{
	EXPECT_REFUSED("--cpu-weight: 0 is out of range, a weight is 1 to 10000", "--cpu-weight",
		       "0");
	EXPECT_REFUSED("--io-weight: \"much\" is not a number from 1 to 10000", "--io-weight",
		       "much");
	EXPECT_REFUSED("--unsafe-no-jail takes no value", "--unsafe-no-jail=yes");
}

Test(config_options, help_of_the_workload_is_not_ours)
{
	EXPECT_BOOT("--", "ls", "--help");
	cr_expect_str_eq(cfg.argv[1], "--help");
}

Test(config_options, bad_options)
{
	EXPECT_REFUSED("unknown option --meem; did you mean --mem?", "--meem", "1G");
	EXPECT_REFUSED("unknown option --meem; did you mean --mem?", "--meem=1G");
	EXPECT_REFUSED("unknown option --frobnicate; see kvmbox boot --help", "--frobnicate");
	EXPECT_REFUSED("unknown option -x", "-x");
	EXPECT_REFUSED("--cpus needs a value", "--cpus");
	EXPECT_REFUSED("--json takes no value", "--json=yes");
	EXPECT_REFUSED("--help takes no value", "--help=yes");
	EXPECT_REFUSED("unexpected argument \"ls\"; if it is the command to run, put -- before it",
		       "ls");
	EXPECT_REFUSED("unexpected argument \"ls\"", "--cpus", "2", "ls", "-l");
	/* an option's value that looks like the separator is a value */
	EXPECT_REFUSED("unexpected argument \"ls\"", "--append", "--", "ls");
	EXPECT_REFUSED("the command's name is empty", "--", "");
}

Test(config_options, bad_values)
{
	char longest[80];

	EXPECT_REFUSED("--cpus: 0 is out of range, a VM has 1 to 32 CPUs", "--cpus", "0");
	EXPECT_REFUSED("--cpus: 33 is out of range", "--cpus", "33");
	EXPECT_REFUSED("--cpus: -1 is out of range", "--cpus", "-1");
	EXPECT_REFUSED("--cpus: \"two\" is not a number from 1 to 32", "--cpus", "two");
	EXPECT_REFUSED("--cpus: \"2x\" is not a number", "--cpus", "2x");
	EXPECT_REFUSED("--cpus: \"\" is not a number", "--cpus", "");
	EXPECT_REFUSED("--cpus: \"99999999999999999999\"", "--cpus", "99999999999999999999");
	EXPECT_REFUSED(
		"--mem: 512 bytes is less than the 32 MiB that a guest needs; did you mean 512M?",
		"--mem", "512");
	EXPECT_REFUSED("--mem: 31 bytes is less than the 32 MiB that a guest needs", "--mem", "31");
	EXPECT_REFUSED("--mem: 31 MiB is less than the 32 MiB", "--mem", "31M");
	EXPECT_REFUSED("--mem: 1024 TiB is more than all the memory of this host", "--mem",
		       "1024T");
	EXPECT_REFUSED("--mem: 99999999999T is more than any memory", "--mem", "99999999999T");
	EXPECT_REFUSED("--mem: \"lots\" is not a size such as 512M or 1.5G", "--mem", "lots");
	EXPECT_REFUSED("--name: the name is empty", "--name", "");
	EXPECT_REFUSED("--name: \"a/b\" holds the character '/'", "--name", "a/b");
	EXPECT_REFUSED("--name: \".a\" does not begin with", "--name", ".a");
	EXPECT_REFUSED("--kernel: the path is empty", "--kernel", "");
	EXPECT_REFUSED("--initrd: the path is empty", "--initrd", "");
	EXPECT_REFUSED("--rootfs: the path is empty", "--rootfs", "");
	EXPECT_REFUSED("--append: \"a?b\" holds a control character", "--append", "a\nb");
	EXPECT_REFUSED("--env: \"=x\" has no name", "--env", "=x");
	EXPECT_REFUSED("--env: the name is empty", "--env", "");
	EXPECT_REFUSED("--workdir: \"srv\" is not an absolute path", "--workdir", "srv");
	EXPECT_REFUSED("--workdir: \"\" is not an absolute path", "--workdir", "");
	EXPECT_REFUSED("--timeout: \"soon\" is not a time", "--timeout", "soon");
	EXPECT_REFUSED("--timeout: 1000000h is more than a hundred years", "--timeout", "1000000h");
	EXPECT_REFUSED("--disk: unknown option \"rw\"", "--disk", "a.img,rw");

	memset(longest, 'n', sizeof(longest));
	longest[CONFIG_NAME_MAX] = '\0';
	EXPECT_BOOT("--name", longest);
	longest[CONFIG_NAME_MAX] = 'n';
	longest[CONFIG_NAME_MAX + 1] = '\0';
	EXPECT_REFUSED("has 64 characters, a name has at most 63", "--name", longest);
}

Test(config_options, memory_is_whole_pages)
{
	EXPECT_BOOT("--mem", "33554433");
	cr_expect_eq(cfg.mem_bytes, 32ull << 20);
	EXPECT_BOOT("--mem", "0.1G");
	cr_expect_eq(cfg.mem_bytes % 4096, 0);
	EXPECT_BOOT("--mem", "32M");
	cr_expect_eq(cfg.mem_bytes, 32ull << 20);
}

Test(config_options, bad_paths)
{
	EXPECT_REFUSED("cannot use nope as the kernel: No such file or directory", "--kernel",
		       "nope");
	EXPECT_REFUSED(
		"cannot use root as the kernel: it is a directory, and must be a regular file",
		"--kernel", "root");
	EXPECT_REFUSED("cannot use fifo as the initrd: it is a fifo", "--initrd", "fifo");
	EXPECT_REFUSED("cannot use nope as the root file system: No such file", "--rootfs", "nope");
	EXPECT_REFUSED(
		"cannot use fifo as the root file system: it is a fifo, and must be a directory, "
		"an image file or a block device",
		"--rootfs", "fifo");
	EXPECT_REFUSED("cannot use nope as the disk: No such file", "--disk", "nope");
	EXPECT_REFUSED(
		"cannot use root as the disk: it is a directory, and must be a regular file or a "
		"block device",
		"--disk", "root");
	EXPECT_REFUSED("it is a character device", "--disk", "/dev/null");
	EXPECT_REFUSED("as the disk: Not a directory", "--disk", "a.img/b");
	EXPECT_BOOT("--kernel", "link.img", "--disk", "link.img,ro", "--rootfs", "root");
}

Test(config_options, unreadable_paths)
{
	struct passwd *nobody = getpwnam("nobody");

	if (geteuid() != 0 || !nobody)
		cr_skip_test("skipped: needs root, to become a user who may not read");
	cr_assert_eq(chmod(dir, 0755), 0);
	cr_assert_eq(chmod("a.img", 0600), 0);
	cr_assert_eq(chmod("b.img", 0644), 0);
	cr_assert_eq(seteuid(nobody->pw_uid), 0);
	EXPECT_REFUSED("cannot read a.img, the kernel: Permission denied", "--kernel", "a.img");
	EXPECT_REFUSED("cannot write to b.img, the disk: Permission denied (add ,ro if", "--disk",
		       "b.img");
	EXPECT_BOOT("--disk", "b.img,ro");
	cr_assert_eq(seteuid(0), 0);
}

Test(config_options, one_disk_twice)
{
	EXPECT_BOOT("--disk", "a.img,ro", "--disk", "a.img,ro");
	EXPECT_REFUSED("is given as two disks of which one may write", "--disk", "a.img", "--disk",
		       "a.img,ro");
	EXPECT_REFUSED("is given as two disks", "--disk", "a.img", "--disk", "link.img");
	EXPECT_REFUSED("is given as two disks", "--rootfs", "a.img", "--disk", "link.img,ro");
	EXPECT_BOOT("--disk", "a.img", "--disk", "b.img", "--kernel", "a.img");
}

Test(config_options, too_many_disks)
{
	char *argv[2 * CONFIG_DISKS_MAX + 3] = { (char *)"boot" };
	int argc = 1;

	for (int i = 0; i <= CONFIG_DISKS_MAX; i++) {
		argv[argc++] = (char *)"--disk";
		argv[argc++] = (char *)"a.img,ro";
	}
	cr_expect_eq(config_parse_boot(&cfg, argc, argv, &err), -EINVAL);
	cr_expect_str_eq(err.text, "--disk: a VM has at most 12 disks");
}

Test(config_options, bad_config_files)
{
	EXPECT_REFUSED("--config: cannot read nope.json: No such file or directory", "--config",
		       "nope.json");
	EXPECT_REFUSED("--config: cannot read root: Is a directory", "--config", "root");
	EXPECT_REFUSED("--config: cannot read : No such file", "--config", "");
	EXPECT_REFUSED("--config is given twice: vm.json and x.json", "--config", "vm.json",
		       "--config", "x.json");
	write_file("x.json", "{ \"cpus\": 2 }");
	EXPECT_REFUSED("x.json: cpus: unknown key", "--config", "x.json");
	EXPECT_REFUSED("/x.json: cpus: unknown key", "--config", "./x.json");
	EXPECT_REFUSED("--config: cannot read /proc/self/mem: Input/output error", "--config",
		       "/proc/self/mem");
	EXPECT_REFUSED("/dev/zero: a config file has less than 256 KiB", "--config", "/dev/zero");
}

Test(config_options, background)
{
	EXPECT_BOOT("--detach", "--interactive", "--tty", "--rm", "--", "sh");
	cr_expect(cfg.detach && cfg.interactive && cfg.terminal && cfg.remove);
	EXPECT_BOOT("-dit", "--rm", "--", "sh");
	cr_expect(cfg.detach && cfg.interactive && cfg.terminal && cfg.remove);
	EXPECT_BOOT("-d", "-t");
	cr_expect(cfg.detach && cfg.terminal && !cfg.interactive && !cfg.remove);
	EXPECT_BOOT("--name", "x");
	cr_expect(!cfg.detach && !cfg.interactive && !cfg.terminal && !cfg.remove);
	/* What belongs to the command is the command's. */
	EXPECT_BOOT("--", "ls", "-d", "--rm");
	cr_expect(!cfg.detach && !cfg.remove);

	EXPECT_REFUSED("--interactive is for a VM in the background (--detach); one in the "
		       "foreground reads its standard input anyway",
		       "-i");
	EXPECT_REFUSED("--tty is for a VM in the background (--detach); one in the foreground gets "
		       "a terminal where kvmbox has one anyway",
		       "-t");
	EXPECT_REFUSED("--rm is for a VM in the background (--detach); one in the foreground "
		       "leaves nothing behind anyway",
		       "--rm");
	EXPECT_REFUSED("--json reports at the end", "-d", "--json");
	EXPECT_REFUSED("a.img boots its own init, which answers no kvmbox: --detach does not work",
		       "-d", "--kernel", "a.img", "--initrd", "a.img");
	EXPECT_REFUSED("--detach takes no value", "--detach=yes");
	EXPECT_REFUSED("--rm takes no value", "--rm=1");
	EXPECT_REFUSED("--detatch", "--detatch");
	EXPECT_REFUSED("unknown option -dx", "-dx");
}

Test(config_options, forward)
{
	static const char *const bad[] = {
		"",
		"a.sock",
		"a.sock=",
		"a.sock=/var/run/docker.sock",
		"a.sock=unix:",
		"a.sock=unix:/",
		"a.sock=unix:relative",
		"a.sock=tcp:",
		"a.sock=tcp:80",
		"a.sock=tcp::80",
		"a.sock=tcp:localhost:80",
		"a.sock=tcp:127.0.0.1",
		"a.sock=tcp:127.0.0.1:",
		"a.sock=tcp:127.0.0.1:0",
		"a.sock=tcp:127.0.0.1:65536",
		"a.sock=tcp:127.0.0.1:80x",
		"a.sock=tcp:127.0.0.1:-1",
		"a.sock=udp:127.0.0.1:80",
		"a.sock=tcp:[]:80",
		"a.sock=tcp:[::1:80",
	};
	static const char *const taken[] = {
		"",           ".",          ".hidden",      "..",           "../a.sock",
		"sub/a.sock", "vsock.sock", "vsock.sock_5", "control.sock", "control.sock2"
	};
	char text[1024], one[32];

	EXPECT_BOOT("--forward", "a.sock=unix:/var/run/docker.sock", "--forward",
		    "/tmp/b.sock=tcp:127.0.0.1:80", "--forward=c=tcp:[::1]:65535");
	cr_assert_eq(cfg.nforwards, 3);
	cr_expect_str_eq(cfg.forwards[0].path, "a.sock");
	cr_expect_str_eq(cfg.forwards[0].guest, "unix:/var/run/docker.sock");
	cr_expect_str_eq(cfg.forwards[1].path, "/tmp/b.sock");
	cr_expect_str_eq(cfg.forwards[1].guest, "tcp:127.0.0.1:80");
	cr_expect_str_eq(cfg.forwards[2].guest, "tcp:[::1]:65535");
	EXPECT_BOOT("-d", "--forward", "a=unix:/b=c");
	cr_expect_str_eq(cfg.forwards[0].guest, "unix:/b=c");

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		EXPECT_REFUSED("is not SOCKET=unix:PATH or SOCKET=tcp:ADDRESS:PORT", "--forward",
			       bad[i]);
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		snprintf(text, sizeof(text), "%s=unix:/a", taken[i]);
		EXPECT_REFUSED("must be an absolute path, or a name for a socket in the VM's "
			       "directory other than its own",
			       "--forward", text);
	}
	EXPECT_REFUSED("the socket a is forwarded twice", "--forward", "a=unix:/b", "--forward",
		       "a=unix:/c");
	EXPECT_REFUSED("a.img boots its own init, which answers no kvmbox: --forward does not work",
		       "--kernel", "a.img", "--initrd", "a.img", "--forward", "a=unix:/b");
	memset(text, 'a', sizeof(text));
	strcpy(text + 108, "=unix:/b");
	EXPECT_REFUSED("the path of a socket has at most 107 bytes", "--forward", text);
	strcpy(text + 107, "=unix:/b");
	EXPECT_BOOT("--forward", text);
	memset(text, 'a', sizeof(text));
	memcpy(text, "s=unix:/", 8);
	text[2 + CONFIG_FORWARD_MAX] = '\0';
	EXPECT_REFUSED("is not SOCKET=", "--forward", text);
	text[2 + CONFIG_FORWARD_MAX - 1] = '\0';
	EXPECT_BOOT("--forward", text);

	config_deinit(&cfg);
	for (int i = 0; i < CONFIG_FORWARDS_MAX; i++) {
		snprintf(one, sizeof(one), "s%d=unix:/b", i);
		cr_assert_eq(add_forward(&cfg, "--forward", one, &err), 0, "%s", err.text);
	}
	cr_assert_eq(add_forward(&cfg, "--forward", "more=unix:/b", &err), -EINVAL);
	cr_expect(strstr(err.text, "forwarded sockets"), "%s", err.text);
}
