// SPDX-License-Identifier: Apache-2.0
#include "init/description.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a test may put there. */
static const char *const properties[] = {
	"argv",          "init",     "env",         "cwd",         "hostname",
	"terminal",      "winsize",  "root/device", "root/fstype", "root/read-only",
	"root/overlay",  "dns",      "net0/mac",    "net0/mtu",    "net0/addresses",
	"net0/gateways", "net1/mac", "net2/mac",
};

static const char *const directories[] = { "root", "net0", "net1", "net2" };

static char base[64];
static char path[128];
static struct description d;
static struct message why;

static const char *property_path(const char *name)
{
	snprintf(path, sizeof(path), "%s/%s", base, name);
	return path;
}

static void put(const char *name, const void *data, size_t len)
{
	FILE *f = fopen(property_path(name), "w");

	cr_assert_not_null(f);
	cr_assert_eq(fwrite(data, 1, len, f), len);
	cr_assert_eq(fclose(f), 0);
}

/* A string literal with its NUL: a device tree's string, or stringlist. */
#define PUT(name, string) put(name, string, sizeof(string))

/* The least that is a description. */
static void setup(void)
{
	strcpy(base, "/tmp/kvmbox-test-XXXXXX");
	cr_assert_not_null(mkdtemp(base));
	for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++)
		cr_assert_eq(mkdir(property_path(directories[i]), 0700), 0);
	PUT("argv", "/bin/true");
	PUT("root/device", "/dev/vda");
	PUT("root/fstype", "erofs");
}

static void teardown(void)
{
	for (size_t i = 0; i < sizeof(properties) / sizeof(properties[0]); i++)
		remove(property_path(properties[i]));
	for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++)
		rmdir(property_path(directories[i]));
	rmdir(base);
}

TestSuite(guest_description, .init = setup, .fini = teardown, .timeout = 60);

/* Fails with a sentence that has word in it, and leaves nothing to free. */
static void refused(int err, const char *word)
{
	static const struct description nothing;

	memset(&d, 0x5a, sizeof(d));
	why.text[0] = '\0';
	cr_assert_eq(description_init(&d, base, &why), err, "%s", why.text);
	cr_assert_not_null(strstr(why.text, word), "'%s' does not name '%s'", why.text, word);
	cr_assert_eq(d.argv, nothing.argv);
	cr_assert_eq(d.env, nothing.env);
	cr_assert_eq(d.cwd, nothing.cwd);
	cr_assert_eq(d.hostname, nothing.hostname);
	cr_assert_eq(d.root.device, nothing.root.device);
	cr_assert_eq(d.root.fstype, nothing.root.fstype);
	cr_assert_eq(d.dns, nothing.dns);
	cr_assert_eq(d.nnets, 0);
	cr_assert_eq(d.nets[0].addresses, nothing.nets[0].addresses);
	cr_assert_eq(d.nets[0].gateways, nothing.nets[0].gateways);
}

Test(guest_description, least)
{
	memset(&d, 0x5a, sizeof(d));
	cr_assert_eq(description_init(&d, base, &why), 0, "%s", why.text);
	cr_assert_str_eq(d.argv[0], "/bin/true");
	cr_assert_null(d.argv[1]);
	cr_assert_not_null(d.env);
	cr_assert_null(d.env[0]);
	cr_assert_null(d.cwd);
	cr_assert_null(d.hostname);
	cr_assert_not(d.init);
	cr_assert_not(d.terminal);
	cr_assert_eq(d.rows, 0);
	cr_assert_eq(d.cols, 0);
	cr_assert_str_eq(d.root.device, "/dev/vda");
	cr_assert_str_eq(d.root.fstype, "erofs");
	cr_assert_not(d.root.read_only);
	cr_assert_not(d.root.overlay);
	cr_assert_null(d.dns[0]);
	cr_assert_eq(d.nnets, 0);
	description_deinit(&d);
}

Test(guest_description, nets)
{
	PUT("dns", "192.0.2.1\0002001:db8::1");
	put("net0/mac", "\x02\x00\x00\x00\xff\x01", 6);
	put("net0/mtu", "\x00\x00\x23\x28", 4);
	PUT("net0/addresses", "10.0.0.2/24\0fd00::2/64");
	PUT("net0/gateways", "10.0.0.1");
	put("net1/mac", "\x02\x00\x00\x00\xff\x02", 6);
	cr_assert_eq(description_init(&d, base, &why), 0, "%s", why.text);
	cr_assert_str_eq(d.dns[0], "192.0.2.1");
	cr_assert_str_eq(d.dns[1], "2001:db8::1");
	cr_assert_null(d.dns[2]);
	cr_assert_eq(d.nnets, 2);
	cr_assert_eq(memcmp(d.nets[0].mac, "\x02\x00\x00\x00\xff\x01", 6), 0);
	cr_assert_eq(d.nets[0].mtu, 9000);
	cr_assert_str_eq(d.nets[0].addresses[0], "10.0.0.2/24");
	cr_assert_str_eq(d.nets[0].addresses[1], "fd00::2/64");
	cr_assert_null(d.nets[0].addresses[2]);
	cr_assert_str_eq(d.nets[0].gateways[0], "10.0.0.1");
	cr_assert_eq(d.nets[1].mtu, 0);
	cr_assert_null(d.nets[1].addresses[0]);
	cr_assert_null(d.nets[1].gateways[0]);
	description_deinit(&d);
}

/* The first that is not there ends them. */
Test(guest_description, nets_with_a_gap)
{
	put("net0/mac", "\x02\x00\x00\x00\xff\x01", 6);
	put("net2/mac", "\x02\x00\x00\x00\xff\x02", 6);
	cr_assert_eq(description_init(&d, base, &why), 0, "%s", why.text);
	cr_assert_eq(d.nnets, 1);
	description_deinit(&d);
}

Test(guest_description, net_is_broken)
{
	put("net0/mac", "\x02\x00\x00\x00\xff\x01", 6);
	PUT("net0/addresses", "10.0.0.2/24");
	put("net0/mtu", "\x00\x01", 2);
	refused(-EINVAL, "net0/mtu");
	put("net0/mtu", "\x00\x00\x05\xdc", 4);
	put("net0/gateways", "10.0.0.1", 8);
	refused(-EINVAL, "net0/gateways");
}

Test(guest_description, all)
{
	PUT("argv", "sh\0-c\0\0echo");
	PUT("env", "A=1\0B=\0C=x=y");
	PUT("cwd", "/srv");
	PUT("hostname", "box");
	put("init", "", 0);
	put("terminal", "", 0);
	put("winsize", "\x00\x00\x01\x02\x00\x00\xff\xff", 8);
	put("root/read-only", "", 0);
	put("root/overlay", "", 0);
	cr_assert_eq(description_init(&d, base, &why), 0, "%s", why.text);
	cr_assert_str_eq(d.argv[0], "sh");
	cr_assert_str_eq(d.argv[1], "-c");
	cr_assert_str_eq(d.argv[2], "");
	cr_assert_str_eq(d.argv[3], "echo");
	cr_assert_null(d.argv[4]);
	cr_assert_str_eq(d.env[0], "A=1");
	cr_assert_str_eq(d.env[1], "B=");
	cr_assert_str_eq(d.env[2], "C=x=y");
	cr_assert_null(d.env[3]);
	cr_assert_str_eq(d.cwd, "/srv");
	cr_assert_str_eq(d.hostname, "box");
	cr_assert(d.init);
	cr_assert(d.terminal);
	cr_assert_eq(d.rows, 0x102);
	cr_assert_eq(d.cols, 0xffff);
	cr_assert(d.root.read_only);
	cr_assert(d.root.overlay);
	description_deinit(&d);
	description_deinit(&d);
}

/* More than the first read takes, and ends where the buffer does. */
Test(guest_description, long_argv)
{
	char argv[8192];

	memset(argv, 'a', sizeof(argv));
	argv[4095] = '\0';
	argv[8191] = '\0';
	put("argv", argv, sizeof(argv));
	cr_assert_eq(description_init(&d, base, &why), 0, "%s", why.text);
	cr_assert_eq(strlen(d.argv[0]), 4095);
	cr_assert_eq(strlen(d.argv[1]), 4095);
	cr_assert_null(d.argv[2]);
	description_deinit(&d);
}

Test(guest_description, argv_is_too_long)
{
	size_t len = 5u << 20;
	char *argv = calloc(1, len);

	cr_assert_not_null(argv);
	put("argv", argv, len);
	free(argv);
	refused(-E2BIG, "argv");
}

Test(guest_description, no_directory)
{
	teardown();
	refused(-ENOENT, base);
}

Test(guest_description, property_is_a_directory)
{
	cr_assert_eq(mkdir(property_path("hostname"), 0700), 0);
	refused(-EISDIR, "hostname");
}

Test(guest_description, no_argv)
{
	cr_assert_eq(remove(property_path("argv")), 0);
	refused(-EINVAL, "argv");
}

Test(guest_description, no_root_device)
{
	cr_assert_eq(remove(property_path("root/device")), 0);
	refused(-EINVAL, "root/device");
}

Test(guest_description, no_root_fstype)
{
	cr_assert_eq(remove(property_path("root/fstype")), 0);
	refused(-EINVAL, "root/fstype");
}

#define REFUSED(test, name, data, word)                  \
	Test(guest_description, test)                    \
	{                                                \
		put(name, "" data "", sizeof(data) - 1); \
		refused(-EINVAL, word);                  \
	}

REFUSED(argv_is_empty, "argv", "", "argv")
REFUSED(argv_is_an_empty_string, "argv", "\0x\0", "argv")
REFUSED(argv_is_unterminated, "argv", "sh\0-c", "argv")
REFUSED(env_is_unterminated, "env", "A=1", "env")
REFUSED(env_has_no_value, "env", "A=1\0B\0", "'B'")
REFUSED(env_has_no_name, "env", "=1\0", "'=1'")
REFUSED(env_is_an_empty_string, "env", "\0", "''")
REFUSED(cwd_is_relative, "cwd", "srv\0", "'srv'")
REFUSED(cwd_is_two_strings, "cwd", "/srv\0x\0", "cwd")
REFUSED(hostname_is_unterminated, "hostname", "box", "hostname")
REFUSED(hostname_is_without_data, "hostname", "", "hostname")
REFUSED(hostname_is_an_empty_string, "hostname", "\0", "hostname")
REFUSED(winsize_is_short, "winsize", "\0\0\0\1", "winsize")
REFUSED(winsize_is_long, "winsize", "\0\0\0\1\0\0\0\1\0", "winsize")
REFUSED(winsize_has_too_many_rows, "winsize", "\0\1\0\0\0\0\0\1", "winsize")
REFUSED(winsize_has_too_many_columns, "winsize", "\0\0\0\1\xff\0\0\0", "winsize")
REFUSED(mac_is_short, "net0/mac", "\x02\0\0\0\0", "net0/mac")
REFUSED(mac_is_long, "net0/mac", "\x02\0\0\0\0\0\0", "net0/mac")
REFUSED(dns_is_unterminated, "dns", "192.0.2.1", "dns")
REFUSED(fstype_is_unterminated, "root/fstype", "erofs", "root/fstype")

/* What does not fit is cut, whatever comes after it. */
Test(guest_description, message_is_cut)
{
	char text[2048];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	cr_assert_eq(message_set(&why, EIO, "%s", text), -EIO);
	cr_assert_eq(strlen(why.text), sizeof(why.text) - 1);
	cr_assert_eq(message_set(&why, 0, "%.500s", text), -EINVAL);
	cr_assert_eq(strlen(why.text), 500);
	cr_assert_eq(message_set(&why, EIO, "%.500s", text), -EIO);
	cr_assert_eq(strlen(why.text), sizeof(why.text) - 1);
	cr_assert_eq(message_set(&why, EIO, "%s", "disk"), -EIO);
	cr_assert_str_eq(why.text, "disk: Input/output error");
}
