// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>

#include "config/config.h"
#include "config/write.h"
#include "fake_files.h"
#include "lxc/import.h"

static struct boot_config cfg;
static struct lxc_report report;
static struct error err;
static struct fake_files files;
static bool rootless;

static void setup(void)
{
	config_init(&cfg);
	report = (struct lxc_report){ 0 };
	err.text[0] = '\0';
}

static void teardown(void)
{
	config_deinit(&cfg);
	lxc_report_deinit(&report);
}

TestSuite(lxc_import, .init = setup, .fini = teardown);

static int import(const char *text)
{
	struct lxc_files open = fake_open(&files);
	struct lxc_items items;
	char *json = NULL;
	int ret;

	teardown();
	report = (struct lxc_report){ 0 };
	files.files[0] = (struct fake_file){ .path = "/lxc/web/config", .text = text };
	cr_assert_eq(lxc_items_read(&items, &open, "/lxc/web/config", &err), 0, "%s", err.text);
	ret = lxc_import(&cfg, "web", &items, &open, rootless, &report, &err);
	lxc_items_deinit(&items);
	if (ret == 0)
		cr_assert_eq(config_to_checked_json(&cfg, "web.json", &json, &err), 0, "%s\n%s",
			     text, err.text);
	free(json);
	return ret;
}

static void expect_ok(const char *text)
{
	cr_assert_eq(import(text), 0, "%s\n%s", text, err.text);
}

/* The note of the line @line, or, for 0, a general one, that has @part in its text. */
static void expect_note(unsigned int line, enum lxc_outcome outcome, const char *part)
{
	for (size_t i = 0; i < report.n; i++) {
		const struct lxc_note *note = &report.notes[i];

		if (note->line == line && note->outcome == outcome && strstr(note->text, part))
			return;
	}
	for (size_t i = 0; i < report.n; i++)
		fprintf(stderr, "%u: outcome %d: %s\n", report.notes[i].line,
			report.notes[i].outcome, report.notes[i].text);
	cr_expect_fail("line %u: no note of outcome %d with \"%s\"", line, outcome, part);
}

static void expect_mem(const char *value, uint64_t mib)
{
	char text[128];

	snprintf(text, sizeof(text), "lxc.cgroup2.memory.max = %s", value);
	expect_ok(text);
	cr_expect_eq(cfg.mem_bytes, mib << 20, "%s: %llu", value,
		     (unsigned long long)cfg.mem_bytes);
}

static void expect_cpus(const char *text, unsigned int cpus)
{
	expect_ok(text);
	cr_expect_eq(cfg.cpus, cpus, "%s: %u", text, cfg.cpus);
}

/* The report follows the config, and ends with what is of the container as a whole. */
static void expect_ordered(void)
{
	bool general = false;

	for (size_t i = 0; i < report.n; i++) {
		cr_expect(!general || !report.notes[i].key);
		general |= !report.notes[i].key;
		if (i > 0 && report.notes[i].key)
			cr_expect_leq(report.notes[i - 1].order, report.notes[i].order);
	}
}

/* As lxc-create makes one, with all that Debian's common.conf has in it. */
Test(lxc_import, debian_container)
{
	files.files[1] = (struct fake_file){
		"/common.conf",
		"lxc.tty.max = 4\n"
		"lxc.cap.drop = mac_admin sys_time\n"
		"lxc.cgroup2.devices.deny = a\n"
		"lxc.cgroup2.devices.allow = c 1:3 rwm\n"
		"lxc.cgroup2.devices.allow = c 1:5 rwm\n"
		"lxc.mount.auto = cgroup:mixed proc:mixed sys:mixed\n"
		"lxc.mount.entry = /sys/fs/fuse/connections sys/fs/fuse/connections none "
		"bind,optional 0 0\n"
		"lxc.seccomp.profile = /usr/share/lxc/config/common.seccomp\n",
		0
	};
	expect_ok("lxc.include = /common.conf\n"
		  "lxc.net.0.type = veth\n"
		  "lxc.net.0.link = lxcbr0\n"
		  "lxc.net.0.flags = up\n"
		  "lxc.net.0.hwaddr = 00:16:3e:12:34:56\n"
		  "lxc.rootfs.path = dir:/lxc/web/rootfs\n"
		  "lxc.uts.name = \"web-1\"\n"
		  "lxc.arch = amd64\n"
		  "lxc.cgroup2.memory.max = 1G\n"
		  "lxc.cgroup2.cpu.max = 250000 100000\n");
	cr_expect_str_eq(cfg.name, "web-1");
	cr_expect_str_eq(cfg.rootfs, "/lxc/web/rootfs");
	cr_expect_eq(cfg.mem_bytes, 1088ull << 20);
	cr_expect_eq(cfg.cpus, 3);
	cr_assert_eq(cfg.nnets, 1);
	cr_expect_eq(cfg.nets[0].mode, NET_NAT);
	cr_expect(cfg.nets[0].has_mac && cfg.nets[0].mac[5] == 0x56);
	cr_expect_str_eq(cfg.argv[0], "/sbin/init");
	cr_expect_null(cfg.argv[1]);
	expect_note(4, LXC_MEANINGLESS, "the guest has no device of the host's");
	expect_note(8, LXC_MEANINGLESS, "it protects the host's kernel");
	expect_note(7, LXC_MEANINGLESS, "/sys/fs/fuse/connections is the host's kernel's");
	expect_note(3, LXC_UNSUPPORTED, "not on lxcbr0");
	cr_expect(cfg.init);
	expect_note(0, LXC_BECOMES, "a system's init");
	expect_ordered();
	/* Lines that are alike are told of once. */
	for (size_t i = 0; i < report.n; i++) {
		if (report.notes[i].key &&
		    strcmp(report.notes[i].key, "lxc.cgroup2.devices.allow") == 0)
			cr_expect_eq(report.notes[i].count, 2);
	}
}

Test(lxc_import, least_there_is)
{
	expect_ok("");
	cr_expect_str_eq(cfg.name, "web");
	cr_expect_null(cfg.rootfs);
	cr_expect_null(cfg.argv);
	cr_expect_eq(cfg.nnets, 0);
	expect_note(0, LXC_UNSUPPORTED, "no lxc.rootfs.path");
	expect_note(0, LXC_BECOMES, "no lxc.net");
	expect_note(0, LXC_BECOMES, "no limit of memory");
	expect_note(0, LXC_BECOMES, "no limit of CPUs");
}

Test(lxc_import, memory)
{
	expect_mem("256M", 320);
	expect_mem("1", 128);
	expect_mem("67108865", 129);
	expect_mem("max", 0);
	expect_note(1, LXC_BECOMES, "no limit in it");
	expect_mem("8000T", 0);
	expect_note(1, LXC_UNSUPPORTED, "more than all the memory of this host");
	expect_mem("99999999999999999999", 0);
	expect_mem("18446744073709551615", 0);
	expect_ok("lxc.cgroup.memory.limit_in_bytes = 512M\n");
	cr_expect_eq(cfg.mem_bytes, 576ull << 20);
	expect_ok("lxc.cgroup.memory.limit_in_bytes = 512M\nlxc.cgroup2.memory.max = 256M\n");
	cr_expect_eq(cfg.mem_bytes, 320ull << 20);
	expect_note(1, LXC_UNUSED, "lxc.cgroup2.memory.max says it");
	expect_ok("lxc.cgroup2.memory.swap.max = 1G\nlxc.cgroup.memory.limit_in_bytes = -1\n");
	cr_expect_eq(cfg.mem_bytes, 0);
	expect_note(1, LXC_MEANINGLESS, "its memory to itself");
}

Test(lxc_import, cpus)
{
	expect_cpus("lxc.cgroup2.cpu.max = 100000 100000", 1);
	expect_cpus("lxc.cgroup2.cpu.max = 100001 100000", 2);
	expect_cpus("lxc.cgroup2.cpu.max = 400000", 4);
	expect_cpus("lxc.cgroup2.cpu.max = max 100000", 0);
	expect_cpus("lxc.cgroup2.cpu.max = 9223372036854775807 1", 32);
	expect_cpus("lxc.cgroup.cpu.cfs_quota_us = 60000\nlxc.cgroup.cpu.cfs_period_us = 50000", 2);
	expect_cpus("lxc.cgroup.cpu.cfs_quota_us = -1", 0);
	expect_cpus("lxc.cgroup2.cpuset.cpus = 0", 1);
	expect_cpus("lxc.cgroup2.cpuset.cpus = 0-3, 7,2-4", 6);
	expect_cpus("lxc.cgroup.cpuset.cpus = 1-2", 2);
	expect_cpus("lxc.cgroup2.cpuset.cpus = 1-64", 32);
	expect_cpus("lxc.cgroup.cpuset.cpus = 1-2\nlxc.cgroup2.cpuset.cpus = 1-3", 3);
	expect_cpus("lxc.cgroup2.cpuset.cpus = 0-7\nlxc.cgroup2.cpu.max = 150000", 2);
	expect_cpus("lxc.cgroup2.cpuset.cpus = 1\nlxc.cgroup2.cpu.max = 800000", 1);
	expect_ok("lxc.cgroup2.cpu.weight = 50");
	expect_note(1, LXC_UNSUPPORTED, "systemd-run");
}

Test(lxc_import, command_line_before_limits)
{
	struct lxc_files open = fake_open(&files);
	struct lxc_items items;

	files.files[0] = (struct fake_file){ "/c",
					     "lxc.cgroup2.memory.max = 1G\n"
					     "lxc.cgroup2.cpu.max = 400000\n"
					     "lxc.cgroup2.cpuset.cpus = 0-3\n",
					     0 };
	cr_assert_eq(lxc_items_read(&items, &open, "/c", &err), 0);
	cfg.mem_bytes = 512ull << 20;
	cfg.cpus = 2;
	cr_assert_eq(lxc_import(&cfg, "web", &items, &open, false, &report, &err), 0);
	lxc_items_deinit(&items);
	cr_expect_eq(cfg.mem_bytes, 512ull << 20);
	cr_expect_eq(cfg.cpus, 2);
	expect_note(1, LXC_UNUSED, "--mem says it");
	expect_note(2, LXC_UNUSED, "--cpus says it");
	expect_note(3, LXC_UNUSED, "--cpus says it");
}

Test(lxc_import, rootfs)
{
	expect_ok("lxc.rootfs.path = /srv/root\nlxc.rootfs.options = ro");
	cr_expect_str_eq(cfg.rootfs, "/srv/root");
	expect_note(2, LXC_MEANINGLESS, "never writes to a root directory");
	expect_ok("lxc.rootfs.path = btrfs:/srv/root");
	cr_expect_str_eq(cfg.rootfs, "/srv/root");
	expect_ok("lxc.rootfs.path = loop:/srv/root.img");
	cr_expect_str_eq(cfg.rootfs, "/srv/root.img");
	expect_note(1, LXC_BECOMES, "must not run at the same time");
	expect_ok("lxc.rootfs.path = /dev/vg/web\nlxc.rootfs.options = ro");
	cr_expect_null(cfg.rootfs);
	cr_assert_eq(cfg.ndisks, 1);
	cr_expect_str_eq(cfg.disks[0].path, "/dev/vg/web");
	cr_expect(cfg.disks[0].root && cfg.disks[0].read_only);
	expect_ok("lxc.rootfs.path = lvm:/dev/vg/web\nlxc.rootfs.options = noatime");
	cr_expect_str_eq(cfg.rootfs, "/dev/vg/web");
	expect_note(2, LXC_UNSUPPORTED, "options of its own");
	expect_ok("lxc.rootfs.path = overlayfs:/lower:/mid:/upper");
	cr_expect_null(cfg.rootfs);
	expect_note(1, LXC_UNSUPPORTED, "lowerdir=/lower:/mid,upperdir=/upper,");
	expect_ok("lxc.rootfs.path = zfs:tank/web");
	cr_expect_null(cfg.rootfs);
	expect_note(1, LXC_UNSUPPORTED, "mount or attach zfs:tank/web");
	/* The built-in root has no such init: it will say so, and start no shell instead. */
	cr_expect_str_eq(cfg.argv[0], "/sbin/init");
}

Test(lxc_import, shifted_files)
{
	expect_ok(
		"lxc.rootfs.path = /r\nlxc.idmap = u 0 100000 65536\nlxc.idmap = g 0 100000 65536");
	expect_note(2, LXC_UNSUPPORTED, "lxc-usernsexec -m b:0:100000:65536 -- tar -C /r ");
	expect_ok("lxc.rootfs.path = /r\nlxc.rootfs.options = idmap=container\n"
		  "lxc.idmap = b 0 100000 65536");
	expect_note(3, LXC_MEANINGLESS, "are not shifted");
	cr_expect_eq(lxc_report_count(&report, LXC_UNSUPPORTED), 0);
}

Test(lxc_import, command)
{
	expect_ok("lxc.rootfs.path = /r\nlxc.init.cmd = /bin/app  -a \"b c\" '' d'e f'g\n"
		  "lxc.init.cwd = /srv\nlxc.environment = A=b c\nlxc.environment = A=d\n"
		  "lxc.environment = KVMBOX_NOT_SET\nlxc.init.uid = 1000\nlxc.init.gid = 0\n");
	cr_expect_not(cfg.init);
	cr_expect_str_eq(cfg.argv[0], "/bin/app");
	cr_expect_str_eq(cfg.argv[1], "-a");
	cr_expect_str_eq(cfg.argv[2], "b c");
	cr_expect_str_eq(cfg.argv[3], "");
	cr_expect_str_eq(cfg.argv[4], "de fg");
	cr_expect_null(cfg.argv[5]);
	cr_expect_str_eq(cfg.workdir, "/srv");
	cr_expect_str_eq(cfg.env[0], "A=d");
	cr_expect_null(cfg.env[1]);
	expect_note(6, LXC_UNSUPPORTED, "here it is not set");
	expect_note(7, LXC_UNSUPPORTED, "setpriv");
	expect_note(8, LXC_MEANINGLESS, "root");

	setenv("KVMBOX_SET", "here", 1);
	expect_ok("lxc.rootfs.path = /r\nlxc.environment = KVMBOX_SET\nlxc.execute.cmd = /bin/x\n");
	cr_expect_str_eq(cfg.env[0], "KVMBOX_SET=here");
	cr_expect_str_eq(cfg.argv[0], "/bin/x");
	expect_ok("lxc.execute.cmd = /bin/x\nlxc.init.cmd = /bin/y\n");
	cr_expect_str_eq(cfg.argv[0], "/bin/y");
	expect_note(1, LXC_UNUSED, "lxc-start runs lxc.init.cmd");
}

/* Which has a way of its own to be shut down. */
Test(lxc_import, signals_of_an_init)
{
	expect_ok("lxc.rootfs.path = /r\nlxc.signal.halt = SIGUSR1\nlxc.signal.stop = SIGKILL\n"
		  "lxc.init.cmd = /lib/systemd/systemd --log-level=debug\n");
	cr_expect(cfg.init);
	expect_note(2, LXC_MEANINGLESS, "kvmbox stop has a system's init shut down");
	expect_note(3, LXC_UNSUPPORTED, "SIGTERM");
	expect_ok("lxc.rootfs.path = /r\nlxc.signal.halt = SIGUSR1\nlxc.init.cmd = /bin/app\n");
	cr_expect_not(cfg.init);
	expect_note(2, LXC_UNSUPPORTED, "SIGTERM");
}

Test(lxc_import, networks)
{
	expect_ok("lxc.net.10.type = macvlan\n"
		  "lxc.net.10.link = eth0\n"
		  "lxc.net.2.name = eth0\n"
		  "lxc.net.2.type = veth\n"
		  "lxc.net.2.ipv4.address = 10.0.3.5/24 10.0.3.255\n"
		  "lxc.net.2.ipv4.gateway = auto\n"
		  "lxc.net.2.mtu = 1400\n"
		  "lxc.net.2.hwaddr = 00:16:3e:xx:xx:xx\n"
		  "lxc.net.10.mtu = 500\n"
		  "lxc.net.10.name = lan0\n"
		  "lxc.net.10.script.up = /bin/up\n"
		  "lxc.net.10.scrip.up = /bin/up\n"
		  "lxc.net.11.link = br0\n"
		  "lxc.net.12.type = empty\n");
	cr_assert_eq(cfg.nnets, 2);
	cr_expect_eq(cfg.nets[0].mtu, 1400);
	cr_expect_not(cfg.nets[0].has_mac);
	cr_expect_eq(cfg.nets[1].mode, NET_NAT);
	cr_expect_eq(cfg.nets[1].mtu, 0);
	expect_note(1, LXC_UNSUPPORTED, "as macvlan would give it; network-interfaces[1]");
	expect_note(3, LXC_MEANINGLESS, "the guest calls it so anyway");
	expect_note(4, LXC_BECOMES, "network-interfaces[0], mode nat");
	expect_note(5, LXC_UNSUPPORTED, "10.0.3.5/24 10.0.3.255 is not kept");
	expect_note(9, LXC_UNSUPPORTED, "500 is out of range");
	expect_note(10, LXC_UNSUPPORTED, "ip link set eth1 name lan0");
	expect_note(11, LXC_UNSUPPORTED, "run it yourself");
	expect_note(12, LXC_UNSUPPORTED, "did you mean script.up?");
	expect_note(13, LXC_UNSUPPORTED, "lxc.net.11 has no type");
	expect_note(14, LXC_BECOMES, "no network card");
}

Test(lxc_import, network_without_root)
{
	rootless = true;
	expect_ok("lxc.net.0.type = veth\n");
	cr_expect_eq(cfg.nets[0].mode, NET_USER);
	rootless = false;
}

Test(lxc_import, tap_that_is_there)
{
	static const char text[] = "lxc.net.0.type = phys\n"
				   "lxc.net.0.link = tap7\n"
				   "lxc.net.0.ipv4.address = 192.0.2.2/24 192.0.2.255\n"
				   "lxc.net.0.ipv6.address = 2001:db8::2/64\n"
				   "lxc.net.0.ipv4.gateway = 192.0.2.1\n";

	files.files[1] = (struct fake_file){ "/sys/class/net/tap7/tun_flags", "0x1002\n", 0 };
	expect_ok(text);
	cr_assert_eq(cfg.nnets, 1);
	cr_expect_eq(cfg.nets[0].mode, NET_TAP);
	cr_expect_str_eq(cfg.nets[0].tap, "tap7");
	cr_expect_eq(cfg.nets[0].nips, 2);
	cr_expect_eq(cfg.nets[0].ngateways, 1);

	expect_ok("lxc.net.0.type = phys\nlxc.net.0.link = tap7\nlxc.net.0.ipv4.gateway = "
		  "192.0.2.1\n");
	cr_expect_eq(cfg.nets[0].ngateways, 0);
	expect_note(1, LXC_UNSUPPORTED, "the gateway 192.0.2.1 is of no use");

	/* A tun interface, and none at all. */
	files.files[1] = (struct fake_file){ "/sys/class/net/tap7/tun_flags", "0x1001\n", 0 };
	expect_ok(text);
	cr_expect_eq(cfg.nets[0].mode, NET_NAT);
	cr_expect_str_empty(cfg.nets[0].tap);
	files.files[1] = (struct fake_file){ 0 };
	expect_ok(text);
	cr_expect_eq(cfg.nets[0].mode, NET_NAT);
}

Test(lxc_import, more_networks_than_cards)
{
	expect_ok("lxc.net.0.type = veth\nlxc.net.1.type = veth\nlxc.net.2.type = veth\n"
		  "lxc.net.3.type = veth\nlxc.net.4.type = veth\n");
	cr_expect_eq(cfg.nnets, 4);
	expect_note(5, LXC_UNSUPPORTED, "at most 4");
}

Test(lxc_import, mounts)
{
	files.files[1] = (struct fake_file){ "/fstab",
					     "# comment\n"
					     "/dev/vg/more mnt/more xfs defaults 0 0\n"
					     "tmpfs run tmpfs rw 0 0\n",
					     0 };
	expect_ok("lxc.mount.entry = /srv/my\\040data srv/data none bind,create=dir 0 0\n"
		  "lxc.mount.entry = /dev/fuse dev/fuse none bind 0 0\n"
		  "lxc.mount.entry = dev/null proc/kcore none bind,relative 0 0\n"
		  "lxc.mount.entry = /dev/vg/data data ext4 ro 0 0\n"
		  "lxc.mount.entry = proc proc proc nodev 0 0\n"
		  "lxc.mount.entry = tmpfs srv/tmp tmpfs\n"
		  "lxc.mount.fstab = /fstab\n"
		  "lxc.rootfs.path = /r\n");
	cr_assert_eq(cfg.ndisks, 2);
	cr_expect_str_eq(cfg.disks[0].path, "/dev/vg/data");
	cr_expect(cfg.disks[0].read_only);
	cr_expect_str_eq(cfg.disks[1].path, "/dev/vg/more");
	cr_expect_not(cfg.disks[1].read_only);
	expect_note(1, LXC_UNSUPPORTED, "/srv/my data of the host cannot be seen");
	expect_note(1, LXC_UNSUPPORTED, "kvmbox cp");
	expect_note(2, LXC_UNSUPPORTED, "the device /dev/fuse is the host's");
	expect_note(3, LXC_UNSUPPORTED, "let the guest bind it to /proc/kcore itself");
	expect_note(4, LXC_BECOMES, "/dev/vdb and is to mount it on /data");
	expect_note(5, LXC_MEANINGLESS, "/proc");
	expect_note(6, LXC_UNSUPPORTED, "/srv/tmp: let the guest mount it");
	expect_note(2, LXC_BECOMES, "/dev/vdc and is to mount it on /mnt/more");
	expect_note(3, LXC_MEANINGLESS, "/run");
}

Test(lxc_import, sysctls)
{
	expect_ok("lxc.sysctl.net.ipv4.ip_forward = 1\n"
		  "lxc.sysctl.net.ipv4.ping_group_range = 0 100\n"
		  "lxc.sysctl.kernel.core_pattern = \"a\"b\n");
	cr_expect_str_eq(cfg.append, "sysctl.net.ipv4.ip_forward=1 "
				     "sysctl.net.ipv4.ping_group_range=\"0 100\"");
	expect_note(3, LXC_UNSUPPORTED, "/etc/sysctl.d");
}

Test(lxc_import, later_lines_undo_earlier_ones)
{
	expect_ok("lxc.uts.name = a\n"
		  "lxc.uts.name = b\n"
		  "lxc.environment = A=1\n"
		  "lxc.environment =\n"
		  "lxc.environment = B=1\n"
		  "lxc.net.0.type = veth\n"
		  "lxc.net.1.type = veth\n"
		  "lxc.net.0 =\n"
		  "lxc.cgroup2.memory.max = 1G\n"
		  "lxc.cgroup2 =\n"
		  "lxc.autodev.tmpfs.size = 1\n"
		  "lxc.autodev =\n"
		  "lxc.net.1.ipv4.address = 192.0.2.1/24\n"
		  "lxc.net.1.ipv4.address =\n"
		  "lxc.unknown =\n");
	cr_expect_str_eq(cfg.name, "b");
	cr_expect_str_eq(cfg.env[0], "B=1");
	cr_expect_null(cfg.env[1]);
	cr_expect_eq(cfg.nnets, 1);
	cr_expect_eq(cfg.mem_bytes, 0);
	expect_note(1, LXC_UNUSED, "/lxc/web/config:2 replaces it");
	expect_note(3, LXC_UNUSED, "/lxc/web/config:4 clears it");
	expect_note(6, LXC_UNUSED, "/lxc/web/config:8 clears it");
	expect_note(7, LXC_BECOMES, "network-interfaces[0]");
	expect_note(9, LXC_UNUSED, "/lxc/web/config:10 clears it");
	expect_note(11, LXC_MEANINGLESS, "");
	expect_note(13, LXC_UNUSED, "/lxc/web/config:14 clears it");
	expect_note(15, LXC_UNSUPPORTED, "unknown key");
	expect_ok("lxc.net.0.type = veth\nlxc.net =\n");
	cr_expect_eq(cfg.nnets, 0);
}

Test(lxc_import, what_is_told_of_the_others)
{
	static const struct {
		const char *line;
		enum lxc_outcome outcome;
		const char *part;
	} cases[] = {
		{ "lxc.cap.keep = sys_time", LXC_MEANINGLESS, "no capability of it reaches" },
		{ "lxc.apparmor.profile = x", LXC_MEANINGLESS, "it protects the host's kernel" },
		{ "lxc.selinux.context = x", LXC_MEANINGLESS, "it protects the host's kernel" },
		{ "lxc.cgroup2.pids.max = 9", LXC_MEANINGLESS, "its own tables" },
		{ "lxc.cgroup.dir = x", LXC_UNSUPPORTED, "--slice" },
		{ "lxc.signal.halt = SIGPWR", LXC_UNSUPPORTED, "SIGTERM" },
		{ "lxc.console.path = none", LXC_MEANINGLESS, "terminals" },
		{ "lxc.console.logfile = /x", LXC_UNSUPPORTED, "redirect" },
		{ "lxc.start.auto = 1", LXC_UNSUPPORTED, "systemd unit" },
		{ "lxc.group = onboot", LXC_UNSUPPORTED, "systemd unit" },
		{ "lxc.hook.start = /x", LXC_UNSUPPORTED, "run /x yourself" },
		{ "lxc.hook.clone = /x", LXC_MEANINGLESS, "lxc-copy" },
		{ "lxc.hook.mount = /usr/share/lxcfs/lxc.mount.hook", LXC_MEANINGLESS, "lxcfs" },
		{ "lxc.prlimit.nofile = 9", LXC_UNSUPPORTED, "prlimit" },
		{ "lxc.proc.oom_score_adj = 9", LXC_UNSUPPORTED, "choom" },
		{ "lxc.namespace.share.net = x", LXC_UNSUPPORTED, "across the wall" },
		{ "lxc.namespace.clone = net", LXC_MEANINGLESS, "namespaces" },
		{ "lxc.arch = i686", LXC_UNSUPPORTED, "x86_64" },
		{ "lxc.no_new_privs = 1", LXC_UNSUPPORTED, "setpriv" },
		{ "lxc.uts.name = a b", LXC_UNSUPPORTED, "holds the character" },
		{ "lxc.utsname = a", LXC_UNSUPPORTED, "lxc-update-config -c /lxc/web/config" },
		{ "lxc.network.type = veth", LXC_UNSUPPORTED, "lxc-update-config" },
		{ "lxc.uts.nam = a", LXC_UNSUPPORTED, "did you mean lxc.uts.name?" },
		{ "lxc.frobnicate = a", LXC_UNSUPPORTED, "unknown key" },
		{ "lxc. = a", LXC_UNSUPPORTED, "unknown key" },
		{ "frobnicate", LXC_UNUSED, "LXC passes over" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		expect_ok(cases[i].line);
		expect_note(1, cases[i].outcome, cases[i].part);
	}
}

Test(lxc_import, refused)
{
	static const struct {
		const char *text, *sentence;
	} cases[] = {
		{ "\nlxc.cgroup2.memory.max = lots",
		  "/lxc/web/config:2: lxc.cgroup2.memory.max: \"lots\" is not a size" },
		{ "lxc.cgroup2.memory.max = -5", "\"-5\" is not a size" },
		{ "lxc.cgroup2.cpu.max = 1 2 3", "is not a quota and a period" },
		{ "lxc.cgroup2.cpu.max = 1 0", "\"0\" is not a number of microseconds" },
		{ "lxc.cgroup2.cpu.max = x", "\"x\" is not a number of microseconds" },
		{ "lxc.cgroup2.cpuset.cpus = 3-1", "is not a list of CPUs such as 0-3,7" },
		{ "lxc.cgroup2.cpuset.cpus = 1,", "is not a list of CPUs" },
		{ "lxc.cgroup2.cpuset.cpus = -1", "is not a list of CPUs" },
		{ "lxc.cgroup2.cpuset.cpus = 99999999999999999999", "is not a list of CPUs" },
		{ "lxc.cgroup2.cpuset.cpus = 1x", "is not a list of CPUs" },
		{ "lxc.rootfs.path = root", "\"root\" is not an absolute path" },
		{ "lxc.rootfs.path = overlayfs:/lower", "two directories or more" },
		{ "lxc.rootfs.path = dir:", "is not an absolute path" },
		{ "lxc.idmap = u 0 100000", "is not a mapping such as u 0 100000 65536" },
		{ "lxc.idmap = x 0 100000 1", "is not a mapping" },
		{ "lxc.init.cwd = srv", "is not an absolute path in the guest" },
		{ "lxc.init.uid = root", "is not a user or group number" },
		{ "lxc.init.cmd = '' x", "the command's name is empty" },
		{ "lxc.environment = =x", "has no name before its '='" },
		{ "lxc.mount.entry = /srv", "is not SOURCE TARGET TYPE OPTIONS" },
		{ "lxc.mount.entry = a\\033b c d", "is not SOURCE TARGET TYPE OPTIONS" },
		{ "lxc.mount.fstab = /gone", "cannot read /gone: No such file" },
		{ "lxc.net.0.type = vet",
		  "lxc.net.0.type: \"vet\" is no kind of network; did you mean veth?" },
		{ "lxc.net.eth0.type = veth", "a network's key is lxc.net.NUMBER.KEY" },
		{ "lxc.net.0 = veth", "a network's key is lxc.net.NUMBER.KEY" },
		{ "lxc.net.99999999999999999999.type = veth", "lxc.net.NUMBER.KEY" },
		{ "lxc.net.0.type = veth\nlxc.net.0.hwaddr = 1", "is not a MAC address" },
		{ "lxc.net.0.type = veth\nlxc.net.0.mtu = x", "is not a number of bytes" },
	};

	files.files[1] = (struct fake_file){ 0 };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_expect_lt(import(cases[i].text), 0, "accepted: %s", cases[i].text);
		cr_expect(strstr(err.text, cases[i].sentence), "%s\n  says: %s\n  not: %s",
			  cases[i].text, err.text, cases[i].sentence);
		cr_expect_eq(strncmp(err.text, "/lxc/web/config:", 16), 0, "%s", err.text);
	}
}
