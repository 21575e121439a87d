// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/host.h"

static char root[] = "/tmp/kvmbox-test-XXXXXX";
static struct host_report report;

/* Write @text to @path below the fake root, with the directories it needs. */
static void put(const char *path, const char *text)
{
	char full[512];

	snprintf(full, sizeof(full), "%s%s", root, path);
	for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(full, 0755);
		*slash = '/';
	}

	FILE *f = fopen(full, "we");

	cr_assert_not_null(f, "%s", full);
	fputs(text, f);
	fclose(f);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* A host on which all is well but for /dev, of which a fake tree can have none. */
static void setup(void)
{
	cr_assert_not_null(mkdtemp(root));
	put("/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu vme svm npt\n\nprocessor\t: 1\n");
	put("/proc/meminfo", "MemTotal: 8000000 kB\nMemFree: 10 kB\nMemAvailable:    4194304 kB\n");
	put("/proc/self/mountinfo",
	    "22 1 0:21 / /proc rw - proc proc rw\n"
	    "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n");
	put("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma\n");
	put("/sys/module/kvm_amd/parameters/npt", "1\n");
	put("/sys/devices/system/cpu/vulnerabilities/mds", "Not affected\n");
	put("/sys/devices/system/cpu/vulnerabilities/spectre_v1", "Mitigation: barriers\n");
	put("/sys/devices/system/cpu/smt/active", "0\n");
	put("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
}

static void teardown(void)
{
	nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(cli_host, .init = setup, .fini = teardown);

/* The check called @name, or NULL if it was not made. */
static const struct check *find(const char *name)
{
	for (size_t i = 0; i < report.n; i++) {
		if (strcmp(report.checks[i].name, name) == 0)
			return &report.checks[i];
	}
	return NULL;
}

static void expect(const char *name, enum check_state state, const char *found)
{
	const struct check *check = find(name);

	cr_assert_not_null(check, "%s was not checked", name);
	cr_expect_eq(check->state, state, "%s: %s", name, check->found);
	cr_expect(strstr(check->found, found), "%s: %s", name, check->found);
	cr_expect_eq(check->advice[0] != '\0', state != CHECK_OK, "%s: %s", name, check->advice);
}

static void expect_advice(const char *name, const char *advice)
{
	const struct check *check = find(name);

	cr_assert_not_null(check);
	cr_expect(strstr(check->advice, advice), "%s: %s", name, check->advice);
}

Test(cli_host, all_well)
{
	host_inspect(root, &report);
	expect("cpu", CHECK_OK, "AMD-V");
	expect("nested paging", CHECK_OK, "NPT");
	expect("memory", CHECK_OK, "4 GiB available");
	expect("huge pages", CHECK_OK, "where asked for");
	expect("cgroup v2", CHECK_OK, "at /sys/fs/cgroup");
	expect("mitigations", CHECK_OK, "nothing left open");
	expect("smt", CHECK_OK, "off");
}

/* Tried on this host, whatever the tree is. */
Test(cli_host, jail)
{
	host_inspect(root, &report);

	const struct check *check = find("jail");

	cr_assert_not_null(check);
	expect("jail", check->state, check->state == CHECK_OK ? "all of it" : "without ");
	cr_expect_neq(check->state, CHECK_FAIL, "%s", check->found);
}

Test(cli_host, no_devices)
{
	host_inspect(root, &report);
	expect("kvm", CHECK_FAIL, "/dev/kvm does not open: No such file");
	expect_advice("kvm", "modprobe kvm_amd");
	expect("tap", CHECK_WARN, "/dev/net/tun does not open: No such file");
	cr_expect_null(find("kvm features"));
	cr_expect_gt(host_failures(&report), 0);
}

Test(cli_host, wrong_devices)
{
	put("/dev/kvm", "");
	put("/dev/net/tun", "");
	host_inspect(root, &report);
	expect("kvm", CHECK_FAIL, "does not speak version 12");
	expect("tap", CHECK_WARN, "is no tun device");
}

Test(cli_host, intel)
{
	put("/proc/cpuinfo", "flags\t\t: vmx\n");
	put("/sys/module/kvm_intel/parameters/ept", "N\n");
	host_inspect(root, &report);
	expect("cpu", CHECK_OK, "VT-x");
	expect("nested paging", CHECK_WARN, "no EPT");
	expect_advice("kvm", "modprobe kvm_intel");
	put("/sys/module/kvm_intel/parameters/ept", "Y\n");
	host_inspect(root, &report);
	expect("nested paging", CHECK_OK, "EPT");
}

Test(cli_host, no_virtualization)
{
	/* flags that only contain the words do not count, nor do other lines */
	put("/proc/cpuinfo", "model name\t: vmx svm\nflags\t\t: fpu svm_lock xsvm vmx2 avx\n"
			     "vmx flags\t: vnmi\n");
	host_inspect(root, &report);
	expect("cpu", CHECK_FAIL, "neither VT-x nor AMD-V");
	cr_expect_not(strstr(find("cpu")->found, "paravirtual"));
	cr_expect_null(find("nested paging"));
	put("/dev/kvm", "");
	host_inspect(root, &report);
	expect("cpu", CHECK_FAIL, "paravirtual");
}

Test(cli_host, modules_not_loaded)
{
	put("/proc/cpuinfo", "flags\t\t: vmx\n");
	host_inspect(root, &report);
	expect("nested paging", CHECK_WARN, "kvm_intel is not loaded");
}

Test(cli_host, little_memory)
{
	put("/proc/meminfo", "MemAvailable: 131072 kB\n");
	host_inspect(root, &report);
	expect("memory", CHECK_WARN, "128 MiB available");
	put("/proc/meminfo", "MemAvailable: 1024 kB\n");
	host_inspect(root, &report);
	expect("memory", CHECK_FAIL, "1 MiB available");
}

Test(cli_host, huge_pages)
{
	put("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
	host_inspect(root, &report);
	expect("huge pages", CHECK_WARN, "no transparent huge pages");
	put("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
	host_inspect(root, &report);
	expect("huge pages", CHECK_OK, "always");
}

Test(cli_host, cgroups)
{
	put("/sys/fs/cgroup/cgroup.controllers", "cpuset io\n");
	host_inspect(root, &report);
	expect("cgroup v2", CHECK_WARN, "without cpu, memory, pids");
	put("/proc/self/mountinfo",
	    "30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
	host_inspect(root, &report);
	expect("cgroup v2", CHECK_WARN, "not mounted");
	/* cgroup v1 beside it: mounted, but the controllers are elsewhere */
	put("/proc/self/mountinfo",
	    "30 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
	put("/sys/fs/cgroup/unified/cgroup.controllers", "\n");
	host_inspect(root, &report);
	expect("cgroup v2", CHECK_WARN,
	       "at /sys/fs/cgroup/unified, but without cpu, memory, io, pids");
}

Test(cli_host, vulnerable)
{
	put("/sys/devices/system/cpu/vulnerabilities/l1tf", "Vulnerable\n");
	put("/sys/devices/system/cpu/vulnerabilities/mds", "Vulnerable: no microcode\n");
	host_inspect(root, &report);
	expect("mitigations", CHECK_WARN, "vulnerable: l1tf, mds");
}

Test(cli_host, hyperthreads)
{
	put("/sys/devices/system/cpu/smt/active", "1\n");
	host_inspect(root, &report);
	expect("smt", CHECK_OK, "no leak between hyperthreads is known");
	put("/sys/devices/system/cpu/vulnerabilities/mds",
	    "Mitigation: Clear buffers; SMT vulnerable\n");
	host_inspect(root, &report);
	expect("mitigations", CHECK_OK, "nothing left open");
	expect("smt", CHECK_WARN, "leaks between hyperthreads");
}

Test(cli_host, nothing_to_read)
{
	teardown();
	host_inspect(root, &report);
	expect("cpu", CHECK_FAIL, "neither");
	expect("memory", CHECK_WARN, "cannot tell");
	expect("mitigations", CHECK_WARN, "cannot tell");
	expect("cgroup v2", CHECK_WARN, "not mounted");
	cr_expect_leq(report.n, HOST_CHECKS_MAX);
}

Test(cli_host, this_host)
{
	host_inspect("", &report);
	cr_expect_not_null(find("cpu"));
	cr_expect_not_null(find("io_uring"));
	cr_expect_not_null(find("guest files"));
	if (access("/dev/kvm", R_OK | W_OK) != 0)
		cr_skip_test("skipped: no /dev/kvm that can be opened");
	expect("kvm", CHECK_OK, "API version 12");
	cr_expect_not_null(find("kvm features"));
}
