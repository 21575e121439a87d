// SPDX-License-Identifier: Apache-2.0
/*
 * A made-up /proc and /sys in which a VM is jailed as well as can be: the monitor is process 200,
 * the supervisor 100, passt 300. Each test weakens one thing of it.
 */
#include "audit/audit.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/write.h"

#define MONITOR    200
#define SUPERVISOR 100
#define HELPER     300
#define OTHER      400
#define PRIVATE    60001 /* the monitor's uid */
#define NO_CAPS    "0000000000000000"
#define ALL_CAPS   "000001ffffffffff"

static char root[] = "/tmp/kvmbox-test-XXXXXX";
static struct audit_host host;
static struct audit_report report;
static struct json_object *config, *nets;
static uint64_t cookie;
static int cookie_error;
static const char *ruleset, *directory;

/* ---- the tree ---- */

static void full_path(const char *path, char full[512])
{
	snprintf(full, 512, "%s/%s", root, path);
	for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(full, 0755);
		*slash = '/';
	}
}

static void put(const char *path, const char *text)
{
	char full[512];

	full_path(path, full);
	FILE *f = fopen(full, "we");

	cr_assert_not_null(f, "%s", full);
	fputs(text, f);
	fclose(f);
}

__attribute__((format(printf, 2, 3))) static void put_at(const char *path, const char *fmt, ...)
{
	char text[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put(path, text);
}

static void link_to(const char *path, const char *target)
{
	char full[512];

	full_path(path, full);
	unlink(full);
	cr_assert_eq(symlink(target, full), 0, "%s", full);
}

static void make_dir(const char *path)
{
	char full[512];

	full_path(path, full);
	mkdir(full, 0755);
}

static void unlink_in_tree(const char *path)
{
	char full[512];

	full_path(path, full);
	cr_assert_eq(unlink(full), 0, "%s", full);
}

struct facts {
	int pid, tid, parent;
	const char *name;
	unsigned int uid, gid;
	const char *groups;
	const char *caps, *bounding;
	int no_new_privs, seccomp;
	unsigned int flags; /* of the kernel */
};

static void put_thread(struct facts f)
{
	char path[64], text[1024];

	snprintf(text, sizeof(text),
		 "Name:\t%s\nState:\tS (sleeping)\nTgid:\t%d\nPid:\t%d\nPPid:\t%d\n"
		 "Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\nGroups:\t%s \n"
		 "CapInh:\t%s\nCapPrm:\t%s\nCapEff:\t%s\nCapBnd:\t%s\nCapAmb:\t%s\n"
		 "NoNewPrivs:\t%d\nSeccomp:\t%d\nSeccomp_filters:\t%d\n",
		 f.name, f.pid, f.tid, f.parent, f.uid, f.uid, f.uid, f.uid, f.gid, f.gid, f.gid,
		 f.gid, f.groups, NO_CAPS, f.caps, f.caps, f.bounding, NO_CAPS, f.no_new_privs,
		 f.seccomp, f.seccomp == 2);
	snprintf(path, sizeof(path), "proc/%d/task/%d/status", f.pid, f.tid);
	put(path, text);
	if (f.tid == f.pid) {
		snprintf(path, sizeof(path), "proc/%d/status", f.pid);
		put(path, text);
	}
	snprintf(path, sizeof(path), "proc/%d/task/%d/stat", f.pid, f.tid);
	put_at(path, "%d (%s) S %d 1 1 0 -1 %u 0 0 0\n", f.tid, f.name, f.parent, f.flags);
}

static struct facts monitor_facts(int tid, const char *name)
{
	return (struct facts){
		.pid = MONITOR,
		.tid = tid,
		.parent = SUPERVISOR,
		.name = name,
		.uid = PRIVATE,
		.gid = PRIVATE,
		.groups = "",
		.caps = NO_CAPS,
		.bounding = NO_CAPS,
		.no_new_privs = 1,
		.seccomp = 2,
		.flags = 0x400040,
	};
}

static const struct facts plain = {
	.name = "kvmbox", .groups = "0 4", .caps = ALL_CAPS, .bounding = ALL_CAPS
};

static void put_process(int pid, int parent, const char *name)
{
	struct facts f = plain;

	f.pid = f.tid = pid;
	f.parent = parent;
	f.name = name;
	put_thread(f);
}

static void put_helper(unsigned int uid, int seccomp)
{
	struct facts f = monitor_facts(HELPER, "passt");

	f.pid = HELPER;
	f.uid = uid;
	f.seccomp = seccomp;
	put_thread(f);
}

static void put_namespace(const char *process, const char *name, unsigned int id)
{
	char path[64], target[64];

	snprintf(path, sizeof(path), "proc/%s/ns/%s", process, name);
	snprintf(target, sizeof(target), "%s:[%u]", name, id);
	link_to(path, target);
}

static void put_fd(int number, const char *target, unsigned int flags, const char *more)
{
	char path[64];

	snprintf(path, sizeof(path), "proc/%d/fd/%d", MONITOR, number);
	link_to(path, target);
	snprintf(path, sizeof(path), "proc/%d/fdinfo/%d", MONITOR, number);
	put_at(path, "pos:\t0\nflags:\t0%o\nmnt_id:\t9\n%s", flags | O_CLOEXEC, more);
}

/* A descriptor of a file in the tree, as the kernel shows it: by an absolute path. */
static void put_file(int number, const char *path, unsigned int flags, const char *more)
{
	char full[512];

	full_path(path, full);
	put_fd(number, full, flags, more);
}

static void put_limits(const char *core, const char *file)
{
	put_at("proc/200/limits",
	       "Limit                     Soft Limit           Hard Limit           Units     \n"
	       "Max file size             %-20s %-20s bytes     \n"
	       "Max core file size        %-20s 0                    bytes     \n"
	       "Max processes             4                    4                    processes \n"
	       "Max open files            256                  512                  files     \n",
	       file, file, core);
}

static void put_smaps(const char *perms, const char *flags)
{
	put_at("proc/200/smaps",
	       "555500000000-555500100000 %s 00000000 fe:01 1234      /usr/bin/kvmbox\n"
	       "Size:               1024 kB\nVmFlags: rd ex mr mw me \n"
	       "7f0000000000-7f0010000000 rw-p 00000000 00:00 0 \n"
	       "Size:             262144 kB\nAnonHugePages:      4096 kB\nSwap:                  8 "
	       "kB\nLocked:                0 kB\nVmFlags: %s \n"
	       "7f0020000000-7f0020021000 rw-p 00000000 00:00 0 \n"
	       "Size:                132 kB\nVmFlags: rd wr mr mw me ac \n",
	       perms, flags);
}

static const char *const own_namespaces[] = { "user", "mnt", "pid", "net", "ipc", "uts", "cgroup" };

static void put_monitor(void)
{
	put_thread(monitor_facts(MONITOR, "kvmbox-vmm"));
	put_thread(monitor_facts(201, "vcpu0"));
	put_thread(monitor_facts(202, "vda-q1"));
	for (unsigned int i = 0; i < 7; i++) {
		put_namespace("200", own_namespaces[i], 9000 + i);
		put_namespace("100", own_namespaces[i], 1000 + i);
		put_namespace("self", own_namespaces[i], 1000 + i);
	}
	put_namespace("200", "time", 1007);
	put_namespace("100", "time", 1007);
	put_namespace("self", "time", 1007);
	link_to("proc/200/root", "../../jail");
	put("proc/200/mountinfo", "1 1 0:50 / / ro,nosuid - tmpfs none rw,size=0k\n");
	put_limits("0", "1048576");
	put_smaps("r-xp", "rd wr mr mw me ac hg dd");
}

static void put_cgroups(void)
{
	put("proc/self/mountinfo",
	    "22 1 0:21 / /proc rw - proc proc rw\n"
	    "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n");
	put("proc/200/cgroup", "1:name=systemd:/user\n0::/kvmbox/web/monitor\n");
	put("sys/fs/cgroup/cgroup.procs", "1\n100\n");
	put("sys/fs/cgroup/kvmbox/cgroup.procs", "");
	put("sys/fs/cgroup/kvmbox/other/cgroup.procs", "400\n");
	put("sys/fs/cgroup/kvmbox/pids.max", "7\n");
	put("sys/fs/cgroup/kvmbox/web/cgroup.procs", "");
	put("sys/fs/cgroup/kvmbox/web/memory.max", "300000000\n");
	put("sys/fs/cgroup/kvmbox/web/pids.max", "64\n");
	put("sys/fs/cgroup/kvmbox/web/monitor/cgroup.procs", "200\n");
	put("sys/fs/cgroup/kvmbox/web/monitor/cpu.max", "100000 100000\n");
	put("sys/fs/cgroup/kvmbox/web/monitor/cpu.weight", "100\n");
	put("sys/fs/cgroup/kvmbox/web/monitor/memory.max", "max\n");
	put("sys/fs/cgroup/kvmbox/web/monitor/memory.swap.max", "0\n");
	put("sys/fs/cgroup/kvmbox/web/monitor/pids.max", "max\n");
	put("sys/fs/cgroup/kvmbox/web/monitor/io.max", "8:0 rbps=1 wbps=2\n8:16 riops=3\n");
}

static void put_descriptors(void)
{
	put("images/ro.img", "x");
	put("images/rw.img", "x");
	put("images/cwd.img", "x");
	put("run/lock", "");
	make_dir("images");
	link_to("proc/100/cwd", "../.."); /* as of one in the background */
	put_fd(0, "/dev/null-not-there", O_RDWR, "");
	put_fd(3, "anon_inode:kvm-vm", O_RDWR, "");
	put_fd(4, "anon_inode:[io_uring]", O_RDWR, "");
	put_fd(5, "socket:[12345]", O_RDWR, "");
	put_file(6, "images/ro.img", O_RDONLY | O_DIRECT, "");
	put_file(7, "images/rw.img", O_RDWR,
		 "lock:\t1: FLOCK  ADVISORY  WRITE 100 fe:01:9 0 EOF\n");
	put_file(8, "images/cwd.img", O_RDWR, "");
	put_file(9, "run/lock", O_RDWR, "lock:\t1: OFDLCK  ADVISORY  WRITE -1 fe:01:9 0 EOF\n");
	put_fd(10, "/dev/net/tun", O_RDWR | O_NONBLOCK, "iff:\tkvmbox0\n");
	put_fd(11, "/dev/net/tun", O_RDWR | O_NONBLOCK, "iff:\tkvmbox0\n");
	config = json_tokener_parse(
		"{ \"drives\": [ { \"path_on_host\": \"/images/ro.img\", \"is_read_only\": true },"
		" { \"path_on_host\": \"/images/rw.img\" }, { \"path_on_host\": \"cwd.img\" } ],"
		" \"rootfs\": \"/nowhere\" }");
}

static void put_host(void)
{
	make_dir("host/etc");
	make_dir("jail");
	link_to("proc/self/root", "../../host");
	put("proc/cmdline", "quiet mitigations=auto\n");
	put("proc/sys/kernel/osrelease", "6.1.0-test\n");
	put("sys/devices/system/cpu/smt/active", "1\n");
	put("sys/kernel/mm/ksm/run", "0\n");
	put("sys/devices/system/cpu/vulnerabilities/mds", "Not affected\n");
	put("sys/devices/system/cpu/vulnerabilities/meltdown", "Mitigation: PTI\n");
	put("sys/module/kvm_amd/parameters/npt", "1\n");
	put("sys/module/kvm/parameters/ignore_msrs", "N\n");
}

static int fake_cookie(pid_t tid, uint64_t *out)
{
	(void)tid;
	*out = cookie;
	return -cookie_error;
}

static int fake_firewall(char **json, struct error *err)
{
	if (!ruleset)
		return error_set(err, EPERM, "no firewall\033 here: install it");
	*json = strdup(ruleset);
	return 0;
}

static const char guarded[] =
	"{ \"nftables\": [ { \"metainfo\": { \"version\": \"1.0.6\" } },"
	" { \"table\": { \"family\": \"inet\", \"name\": \"kvmbox0\", \"handle\": 1 } },"
	" { \"chain\": { \"family\": \"inet\", \"table\": \"kvmbox0\", \"name\": \"guard\" } },"
	" { \"rule\": { \"family\": \"inet\", \"table\": \"kvmbox0\", \"expr\": [ { \"match\": {"
	" \"op\": \"!=\", \"left\": { \"meta\": { \"key\": \"iifname\" } },"
	" \"right\": \"kvmbox0\" } }, { \"accept\": null } ] } },"
	" { \"rule\": { \"family\": \"inet\", \"table\": \"kvmbox0\", \"expr\":"
	" [ { \"drop\": null } ] } },"
	" { \"table\": { \"family\": \"netdev\", \"name\": \"kvmbox0\", \"handle\": 2 } },"
	" { \"chain\": { \"family\": \"netdev\", \"table\": \"kvmbox0\", \"name\": \"from_guest\","
	" \"dev\": \"kvmbox0\", \"type\": \"filter\", \"hook\": \"ingress\", \"prio\": 0,"
	" \"policy\": \"drop\" } } ] }";

/* A table with a chain of the family netdev that has these properties. */
#define CHAINS(properties)                                                                        \
	"{ \"nftables\": [ { \"table\": { \"family\": \"netdev\", \"name\": \"x\" } },"           \
	" { \"chain\": { \"family\": \"netdev\", \"table\": \"x\", \"name\": \"in\", " properties \
	" } } ] }"
#define RULE_THAT_DROPS                                                   \
	"{ \"rule\": { \"family\": \"inet\", \"table\": \"x\", \"expr\":" \
	" [ { \"drop\": null } ] } }"
#define RULE_ABOUT_THE_TAP                                                   \
	"{ \"rule\": { \"family\": \"inet\", \"table\": \"x\", \"expr\":"    \
	" [ { \"match\": { \"op\": \"==\", \"left\": { \"meta\": { \"key\":" \
	" \"iifname\" } }, \"right\": \"kvmbox0\" } }, { \"accept\": null } ] } }"

static void setup(void)
{
	cr_assert_not_null(mkdtemp(root));
	put_host();
	put_process(1, 0, "init");
	put_process(SUPERVISOR, 1, "kvmbox");
	put_process(OTHER, 1, "kvmbox-vmm");
	put_monitor();
	put_helper(65534, 2);
	put_cgroups();
	put_descriptors();
	cookie = 0xabcdef;
	cookie_error = 0;
	ruleset = guarded;
	directory = "/images";
	host = (struct audit_host){
		.root = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC),
		.core_cookie = fake_cookie,
		.firewall = fake_firewall,
	};
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void teardown(void)
{
	audit_free(&report);
	json_object_put(config);
	json_object_put(nets);
	close(host.root);
	nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(audit, .init = setup, .fini = teardown);

/* ---- what is expected ---- */

static int audit(struct error *err)
{
	struct audit_target target = {
		.name = "web",
		.supervisor = SUPERVISOR,
		.monitor = MONITOR,
		.config = config,
		.directory = directory,
		.nets = nets,
	};

	audit_free(&report);
	return audit_read(&host, &target, &report, err);
}

static void look(void)
{
	struct error err = { "" };

	cr_assert_eq(audit(&err), 0, "%s", err.text);
}

static void expect_none(void)
{
	look();
	for (size_t i = 0; i < report.nfindings; i++)
		cr_expect(false, "%s: %s", report.findings[i].rule, report.findings[i].found);
	for (size_t i = 0; i < report.nunread; i++)
		cr_expect(false, "not read: %s", report.unread[i].what);
}

/* One finding, by that rule, in which @text stands. */
static void expect_one(const char *rule, const char *text)
{
	bool found = false;

	look();
	for (size_t i = 0; i < report.nfindings; i++) {
		const struct audit_finding *f = &report.findings[i];

		found |= !strcmp(f->rule, rule) && strstr(f->found, text);
		cr_expect_str_eq(f->rule, rule, "%s: %s", f->rule, f->found);
	}
	cr_expect(found, "no finding by %s says: %s (%zu)", rule, text, report.nfindings);
	cr_expect_eq(report.nfindings, 1);
}

Test(audit, well_jailed)
{
	expect_none();
	cr_expect_eq(report.nprocesses, 3);
	cr_expect_str_eq(report.processes[2].name, "passt");
	cr_expect_eq(report.processes[0].nthreads, 3);
	cr_expect_eq(report.processes[0].threads[1].role, AUDIT_THREAD_VCPU);
	cr_expect_eq(report.processes[0].threads[2].role, AUDIT_THREAD_QUEUE);
	cr_expect_eq(report.memory.ram_bytes, 256u << 20);
	cr_expect_eq(report.memory.huge_bytes, 4u << 20);
	cr_expect_eq(report.memory.swapped_bytes, 8192);
	cr_expect_eq(report.ndisks, 3);
	cr_expect(report.disks[0].open && report.disks[0].direct && !report.disks[0].writes);
	cr_expect(report.disks[2].open && report.disks[2].writes);
	cr_expect_eq(report.ntaps, 1);
	cr_expect_str_eq(report.taps[0].tables, "inet kvmbox0, netdev kvmbox0");
	cr_expect_eq(report.taps[0].rules, 2);
	cr_expect_eq(report.taps[0].drops, 2);
}

/* ---- threads ---- */

Test(audit, no_filter)
{
	struct facts f = monitor_facts(201, "vcpu0");

	f.seccomp = 0;
	put_thread(f);
	expect_one("seccomp", "on the monitor's thread vcpu0:");
}

Test(audit, thread_of_the_kernel)
{
	struct facts f = monitor_facts(203, "iou-wrk-200");

	f.seccomp = 0;
	f.no_new_privs = 0;
	f.caps = f.bounding = ALL_CAPS;
	f.flags |= 0x10;
	put_thread(f);
	expect_none();

	/* A name does not make it one. */
	f.flags = 0x400040;
	f.caps = f.bounding = NO_CAPS;
	f.no_new_privs = 1;
	put_thread(f);
	expect_one("seccomp", "iou-wrk-200");
}

/* A name with what stands behind it in the line of its numbers. */
Test(audit, name_that_lies)
{
	struct facts f = monitor_facts(203, "a) S 1 1 1 1 1 16");

	f.seccomp = 0;
	put_thread(f);
	expect_one("seccomp", "a) S 1 1");
}

Test(audit, many_threads)
{
	for (int i = 1; i < 8; i++) {
		char name[16];

		snprintf(name, sizeof(name), "vcpu%d", i);
		struct facts f = monitor_facts(210 + i, name);

		f.seccomp = 0;
		put_thread(f);
	}
	expect_one("seccomp", "vcpu1, vcpu2, vcpu3, vcpu4 and 3 more:");
}

Test(audit, capabilities)
{
	struct facts f = monitor_facts(202, "vda-q1");

	f.caps = "0000000000200000";
	put_thread(f);
	expect_one("capabilities", "thread vda-q1 holds");
	f.caps = NO_CAPS;
	f.bounding = ALL_CAPS;
	put_thread(f);
	expect_one("bounding-set", "vda-q1");
}

Test(audit, new_privileges)
{
	struct facts f = monitor_facts(MONITOR, "kvmbox-vmm");

	f.no_new_privs = 0;
	put_thread(f);
	expect_one("no-new-privs", "kvmbox-vmm");
}

Test(audit, users)
{
	struct facts f = monitor_facts(MONITOR, "kvmbox-vmm");

	f.gid = 0;
	put_thread(f);
	expect_one("root-user", "root's uid or gid");

	f.gid = PRIVATE;
	f.groups = "104 27";
	put_thread(f);
	expect_one("groups", "2 supplementary groups");

	f.groups = "";
	put_thread(f);
	struct facts other = plain;

	other.pid = other.tid = OTHER;
	other.uid = PRIVATE;
	put_thread(other);
	expect_one("private-user", "1 other process has the monitor's uid 60001");

	other.pid = other.tid = SUPERVISOR;
	put_thread(other);
	expect_one("private-user", "as the user who started it (uid 60001)");
}

/* Each thread has its own. */
Test(audit, groups)
{
	struct facts f = monitor_facts(201, "vcpu0");

	f.groups = "27";
	put_thread(f);
	expect_one("groups", "in 1 supplementary group:");
	f = monitor_facts(202, "vda-q1");
	f.groups = "104 27 4";
	put_thread(f);
	expect_one("groups", "in 3 supplementary groups:");
	f = monitor_facts(203, "iou-wrk-200");
	f.groups = "1 2 3 4";
	f.flags |= 0x10;
	put_thread(f);
	expect_one("groups", "in 3 supplementary groups:");
}

Test(audit, apparmor)
{
	put("proc/200/attr/apparmor/current", "kvmbox//monitor (enforce)\n");
	expect_none();
	put("proc/200/attr/apparmor/current", "unconfined\n");
	expect_none();
	put("proc/200/attr/apparmor/current", "kvmbox//monitor (complain)\n");
	expect_one("apparmor", "kvmbox//monitor (complain), forbids nothing");
	put("proc/200/attr/apparmor/current", "kvmbox (enforce)\n");
	expect_one("apparmor", "is in the supervisor's AppArmor profile");
}

Test(audit, dumpable)
{
	char full[512];

	if (geteuid() != 0)
		cr_skip_test("skipped: only root can give a file away");
	full_path("proc/200/limits", full);
	cr_assert_eq(chown(full, PRIVATE, 0), 0);
	expect_one("dumpable", "is dumpable");
}

/* ---- the host, as the monitor sees it ---- */

Test(audit, root_directory)
{
	make_dir("jail/etc");
	expect_one("root-directory", "not empty (1 name)");
	link_to("proc/200/root", "../../host");
	expect_one("root-directory", "is the host's");
}

Test(audit, root_to_write_to)
{
	put("proc/200/mountinfo", "1 1 0:50 / / rw,nosuid - tmpfs none rw,size=0k\n");
	expect_one("root-directory", "can be written to");
	put("proc/200/mountinfo", "1 1 0:50 / / rw,nosuid - tmpfs none ro,size=0k\n");
	expect_none();
}

Test(audit, namespaces)
{
	for (unsigned int i = 0; i < 7; i++) {
		char text[64];

		put_namespace("200", own_namespaces[i], 1000 + i);
		snprintf(text, sizeof(text), "no %s namespace", own_namespaces[i]);
		expect_one("namespaces", text);
		put_namespace("200", own_namespaces[i], 9000 + i);
	}
	/* The supervisor's is not its own either, wherever that one is. */
	put_namespace("200", "net", 7000);
	put_namespace("100", "net", 7000);
	expect_one("namespaces", "no net namespace");
}

Test(audit, descriptors)
{
	put_file(12, "images", O_RDONLY | O_DIRECTORY, "");
	expect_one("descriptors", "images (descriptor 12)");
	put_file(12, "etc/passwd", O_RDONLY, "");
	put("etc/passwd", "root");
	expect_none();
	put_file(12, "etc/passwd", O_WRONLY, "");
	expect_one("descriptors", "can write to");
	put_fd(12, "pipe:[77]", O_WRONLY, "");
	expect_none();
}

Test(audit, terminal)
{
	put_fd(12, "/dev/tty", O_RDWR, "");
	if (access("/dev/tty", F_OK) != 0)
		cr_skip_test("skipped: there is no /dev/tty");
	expect_one("descriptors", "the terminal /dev/tty (descriptor 12)");
}

Test(audit, read_only_disk)
{
	put_file(12, "images/ro.img", O_RDWR, "");
	expect_one("read-only-disk", "/images/ro.img was asked for read-only");
}

/* By another way than it is at, or not known where. */
Test(audit, relative_disk)
{
	directory = "/run";
	json_object_object_add(config, "rootfs", json_object_new_string("../images/cwd.img"));
	json_object_array_del_idx(json_object_object_get(config, "drives"), 2, 1);
	expect_none();
	cr_expect_eq(report.ndisks, 3);
	cr_expect_str_eq(report.disks[0].path, "../images/cwd.img");
	directory = "/";
	expect_one("descriptors", "images/cwd.img");
	directory = NULL;
	expect_one("descriptors", "images/cwd.img");
}

/* A path that leads nowhere any more, or to another file. */
Test(audit, disk_that_is_gone)
{
	struct json_object *drive = json_object_new_object();
	char full[512];

	put("images/gone.img (deleted)", "x");
	put_file(12, "images/gone.img (deleted)", O_RDWR, "");
	expect_one("descriptors", "images/gone.img (deleted) (descriptor 12)");
	full_path("images/gone.img", full);
	json_object_object_add(drive, "path_on_host", json_object_new_string(full));
	json_object_array_add(json_object_object_get(config, "drives"), drive);
	expect_none();
	cr_expect(report.disks[3].open && report.disks[3].writes);

	/* A relative one by its whole path. */
	directory = root;
	json_object_object_add(drive, "path_on_host", json_object_new_string("images/gone.img"));
	json_object_array_del_idx(json_object_object_get(config, "drives"), 2, 1);
	unlink_in_tree("proc/200/fd/8");
	expect_none();
	cr_expect(report.disks[2].open);

	put("images/gone.img", "y");
	expect_none();
	put_file(12, "images/gone.img", O_RDWR, "");
	put("images/gone.img-2 (deleted)", "z");
	put_file(13, "images/gone.img-2 (deleted)", O_RDWR, "");
	expect_one("descriptors", "(descriptor 13)");
}

/* An image as the root is a disk like any other. */
Test(audit, root_image)
{
	put("images/root.img", "x");
	put_file(12, "images/root.img", O_RDWR, "");
	expect_one("descriptors", "images/root.img");
	json_object_object_add(config, "rootfs", json_object_new_string("/images/root.img"));
	expect_none();
	cr_expect_eq(report.ndisks, 4);
}

/* ---- memory and limits ---- */

Test(audit, memory)
{
	put_smaps("r-xp", "rd wr mr mw me ac hg");
	expect_one("core-dumps", "256 MiB of the guest's memory");
	put_smaps("r-xp", "rd wr mr mw me ac hg mg dd");
	expect_one("merging", "once KSM is switched on");
	put("sys/kernel/mm/ksm/run", "1\n");
	expect_one("merging", "merged with other pages:");
	put_smaps("rwxp", "rd wr mr mw me ac hg dd");
	expect_one("write-exec", "1 of the monitor's mappings");
}

Test(audit, no_guest_memory)
{
	put("proc/200/smaps", "");
	look();
	cr_expect_eq(report.nunread, 1);
	cr_expect_eq(report.nfindings, 0);
}

Test(audit, limits)
{
	put_limits("unlimited", "1048576");
	expect_one("limits", "core dumps is not 0");
	cr_expect_eq(report.processes[0].limits[0].soft, AUDIT_UNLIMITED);
	cr_expect_eq(report.processes[0].limits[1].soft, 256);
	cr_expect_eq(report.processes[0].limits[1].hard, 512);
	put_limits("0", "unlimited");
	expect_one("limits", "size of files");
}

static const char *value_of(const char *name)
{
	const struct audit_cgroup *g = &report.processes[0].cgroup;

	for (size_t i = 0; i < AUDIT_LIMIT_VALUES; i++)
		if (strcmp(g->values[i].name, name) == 0)
			return g->values[i].value;
	return "";
}

Test(audit, cgroup)
{
	look();
	cr_expect_str_eq(value_of("memory.max"), "300000000");
	/* That of its own above it, not the one that others share. */
	cr_expect_str_eq(value_of("pids.max"), "64");
	cr_expect_str_eq(value_of("io.max"), "8:0 rbps=1 wbps=2 8:16 riops=3");

	put("sys/fs/cgroup/kvmbox/web/pids.max", "max\n");
	expect_one("cgroup", "pids.max is not set");
	put("sys/fs/cgroup/kvmbox/web/pids.max", "64\n");
	put("sys/fs/cgroup/kvmbox/web/monitor/memory.swap.max", "max\n");
	expect_one("cgroup", "memory.swap.max is not set");
	put("sys/fs/cgroup/kvmbox/web/monitor/memory.swap.max", "0\n");
	unlink_in_tree("sys/fs/cgroup/kvmbox/web/monitor/memory.swap.max");
	expect_none();
	put("sys/fs/cgroup/kvmbox/web/monitor/cpu.max", "max 100000\n");
	expect_one("cgroup", "neither cpu.max nor cpu.weight");
	put("sys/fs/cgroup/kvmbox/web/monitor/cpu.weight", "200\n");
	expect_none();
	put("sys/fs/cgroup/kvmbox/web/memory.max", "max\n");
	expect_one("cgroup", "memory.max is not set");
}

Test(audit, cgroup_of_others)
{
	put("sys/fs/cgroup/kvmbox/web/monitor/cgroup.procs", "200\n400\n");
	expect_one("cgroup", "no cgroup (v2) of its own");
	put("proc/400/stat", "400 (kvm-nx-lpage-re) S 2 0 0 0 -1 2129984 0 0 0\n");
	expect_none();
	put("sys/fs/cgroup/kvmbox/web/monitor/cgroup.procs", "200\n");
	put("proc/200/cgroup", "0::/\n");
	expect_one("cgroup", "no cgroup (v2) of its own");
	put("proc/200/cgroup", "4:memory:/web\n");
	expect_one("cgroup", "no cgroup (v2) of its own");
}

/* Where a container has a part of the hierarchy as its own. */
Test(audit, cgroup_below_the_mount)
{
	put("proc/self/mountinfo", "30 23 0:26 /pod/a /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	put("proc/200/cgroup", "0::/pod/a/kvmbox/web/monitor\n");
	expect_none();
}

/* ---- network, processor, helpers ---- */

Test(audit, firewall)
{
	ruleset = "{ \"nftables\": [ { \"table\": { \"family\": \"inet\", \"name\": \"x\" } "
		  "}," RULE_THAT_DROPS " ] }";
	expect_one("firewall", "of the tap kvmbox0");
	cr_expect_eq(report.taps[0].rules, 0);

	/* A table that is about the tap, and drops something else, is no guard. */
	ruleset = "{ \"nftables\": [ { \"table\": { \"family\": \"inet\", \"name\": \"x\" } "
		  "}," RULE_ABOUT_THE_TAP ", " RULE_THAT_DROPS " ] }";
	expect_one("firewall", "of the tap kvmbox0");
	cr_expect_eq(report.taps[0].rules, 2);
	cr_expect_eq(report.taps[0].drops, 1);

	/* Nor is a chain that lets through what it does not know, that is another card's, or that
	 * is on the way to the guest. */
	ruleset = CHAINS("\"dev\": \"kvmbox0\", \"hook\": \"ingress\", \"policy\": \"accept\"");
	expect_one("firewall", "of the tap kvmbox0");
	ruleset = CHAINS("\"dev\": \"kvmbox1\", \"hook\": \"ingress\", \"policy\": \"drop\"");
	expect_one("firewall", "of the tap kvmbox0");
	ruleset = CHAINS("\"dev\": \"kvmbox0\", \"hook\": \"egress\", \"policy\": \"drop\"");
	expect_one("firewall", "of the tap kvmbox0");
	ruleset = CHAINS("\"dev\": [ \"a\", \"kvmbox0\" ], \"hook\": \"ingress\","
			 " \"policy\": \"drop\"");
	expect_none();

	ruleset = CHAINS("\"dev\": \"kvmbox0\", \"hook\": \"ingress\", \"policy\": \"drop\"");
	expect_none();
	cr_expect_str_eq(report.taps[0].tables, "netdev x");

	/* An nft that does not say the device, and the VM's own table for the tap, or another. */
	ruleset = CHAINS("\"hook\": \"ingress\", \"policy\": \"drop\"");
	expect_one("firewall", "of the tap kvmbox0");
	nets = json_tokener_parse("[ {}, { \"interface\": \"other\", \"table\": \"y\" },"
				  " { \"interface\": \"kvmbox0\", \"table\": \"x\" } ]");
	expect_none();
	cr_expect_str_eq(report.taps[0].tables, "netdev x");

	ruleset = NULL;
	look();
	cr_expect_eq(report.nfindings, 0);
	cr_expect_eq(report.nunread, 1);
	cr_expect_str_eq(report.unread[0].what, "the firewall's rules");
	cr_expect_str_eq(report.unread[0].why, "no firewall  here: install it");
	ruleset = "no JSON";
	look();
	cr_expect_eq(report.nunread, 1);
	cr_expect_str_eq(report.unread[0].why, strerror(EPROTO));
}

Test(audit, processor)
{
	put("sys/devices/system/cpu/vulnerabilities/mds", "Vulnerable: no microcode\n");
	expect_one("vulnerabilities", "open to mds (\"Vulnerable: no microcode\")");
	put("sys/devices/system/cpu/vulnerabilities/mds",
	    "Mitigation: Clear CPU buffers; SMT vulnerable\n");
	expect_one("vulnerabilities", "SMT vulnerable");
	put("sys/devices/system/cpu/vulnerabilities/mds", "Not affected\n");
	put("proc/cmdline", "mitigations=auto quiet mitigations=off\n");
	expect_one("mitigations", "mitigations=off");
	put("proc/cmdline", "mitigations=auto,no_guest_host\n");
	expect_one("mitigations", "mitigations=auto,no_guest_host, which");
}

Test(audit, hyperthreads)
{
	cookie = 0;
	expect_one("core-scheduling", "hyperthreads are on");
	cookie_error = EINVAL;
	expect_one("core-scheduling", "hyperthreads are on");
	cookie_error = EPERM;
	look();
	cr_expect_eq(report.nfindings, 0);
	cr_expect_eq(report.nunread, 1);
	put("sys/devices/system/cpu/smt/active", "0\n");
	expect_none();
}

Test(audit, kvm)
{
	put("sys/module/kvm_amd/parameters/npt", "0\n");
	expect_one("kvm-parameters", "kvm_amd.npt=0");
	put("sys/module/kvm_amd/parameters/npt", "1\n");
	put("sys/module/kvm/parameters/ignore_msrs", "Y\n");
	expect_one("kvm-parameters", "kvm.ignore_msrs=Y");
}

Test(audit, helpers)
{
	put_helper(65534, 0);
	expect_one("helpers", "passt (process 300) has no seccomp filter");
	put_helper(0, 2);
	expect_one("helpers", "passt (process 300) runs as root");
}

/* ---- what is not there ---- */

Test(audit, gone)
{
	struct error err;

	struct audit_target target = { .name = "web", .supervisor = SUPERVISOR, .monitor = 999 };

	cr_expect_eq(audit_read(&host, &target, &report, &err), -ESRCH);
	cr_expect(strstr(err.text, "cannot read the monitor of the VM \"web\""), "%s", err.text);
}

/* All of the monitor but what everybody may read is hidden from other users. */
Test(audit, hidden)
{
	static const char *const hidden[] = { "proc/200/ns", "proc/200/fd", "proc/200/root",
					      "proc/200/smaps" };
	char full[512], away[600];

	for (size_t i = 0; i < 4; i++) {
		full_path(hidden[i], full);
		snprintf(away, sizeof(away), "%s-hidden", full);
		cr_assert_eq(rename(full, away), 0);
	}
	look();
	cr_expect_eq(report.nfindings, 0);
	cr_expect_eq(report.nunread, 4);
}

/* ---- what is shown ---- */

static char *page(void)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	audit_print_page(f, &report);
	fclose(f);
	return text;
}

Test(audit, page)
{
	look();
	char *text = page();

	cr_expect(strstr(text, "Nothing is weaker than the default."));
	cr_expect(strstr(text, "Monitor: process 200, kvmbox-vmm"));
	cr_expect(strstr(text, "Helper: process 300, passt"));
	cr_expect(strstr(text, "landlock"));
	free(text);
}

Test(audit, hostile_text)
{
	struct facts f = monitor_facts(201, "\033[2J\x9b");

	f.seccomp = 0;
	put_thread(f);
	put("sys/devices/system/cpu/vulnerabilities/mds", "Vulnerable \033]0;x\a\n");
	put_fd(12, "/nowhere/\033[31m\n\xff", O_RDWR, "");
	put_fd(13, "/dev/net/tun", O_RDWR, "iff:\t\033c\n");
	put("proc/200/mountinfo",
	    "1 1 0:50 / / ro - tmpfs none ro\n2 1 0:51 / /\033x ro - \033t n ro\n");
	look();
	char *text = page();

	for (const char *c = text; *c; c++)
		cr_expect(*c == '\n' || (unsigned char)*c >= 0x20, "a control character: %d", *c);
	cr_expect_null(strchr(text, '\x9b'));
	free(text);

	struct json_object *o = audit_to_json(&report);

	cr_expect_null(strstr(json_object_to_json_string(o), "\\u00"));
	json_object_put(o);
}

static struct json_object *at(struct json_object *o, const char *key)
{
	struct json_object *value = NULL;

	cr_assert(json_object_object_get_ex(o, key, &value), "no %s", key);
	return value;
}

/* The keys that the man page promises. */
Test(audit, json)
{
	static const char *const keys[] = { "schema", "version",   "name",   "time",
					    "by_uid", "weaker",    "unread", "unreadable",
					    "memory", "processes", "disks",  "taps",
					    "host" };

	put("proc/cmdline", "mitigations=off\n");
	look();
	struct json_object *o = audit_to_json(&report);

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		at(o, keys[i]);
	struct json_object *weaker = json_object_array_get_idx(at(o, "weaker"), 0);
	struct json_object *process = json_object_array_get_idx(at(o, "processes"), 0);
	struct json_object *thread = json_object_array_get_idx(at(process, "threads"), 1);

	cr_expect_str_eq(json_object_get_string(at(weaker, "rule")), "mitigations");
	cr_expect_str_eq(json_object_get_string(at(process, "role")), "monitor");
	cr_expect_str_eq(json_object_get_string(at(thread, "seccomp")), "filter");
	cr_expect_eq(json_object_get_int(at(thread, "seccomp_filters")), 1);
	cr_expect_str_eq(json_object_get_string(at(at(thread, "capabilities"), "bounding")),
			 NO_CAPS);
	cr_expect_str_eq(json_object_get_string(at(thread, "core_cookie")), "0000000000abcdef");
	cr_expect_eq(
		json_object_get_boolean(at(at(at(process, "namespaces"), "mnt"), "is_callers")),
		false);
	cr_expect_eq(json_object_get_int(at(at(at(process, "limits"), "fsize"), "soft")), 1048576);
	cr_expect_eq(json_object_get_int64(at(at(o, "memory"), "guest_bytes")), 256 << 20);
	json_object_put(o);
}
