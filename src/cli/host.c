// SPDX-License-Identifier: Apache-2.0
#include "cli/host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <liburing.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "config/words.h"
#include "jail/jail.h"
#include "supervisor/datadir.h"
#include "supervisor/nft.h"

#define MEM_NEEDED  (32ull << 20)
#define MEM_DEFAULT (256ull << 20)

enum vendor { VENDOR_NONE, VENDOR_INTEL, VENDOR_AMD };

struct inspection {
	const char *root;
	struct host_report *report;
	enum vendor vendor;
	int kvm_fd; /* -1: none that works */
};

__attribute__((format(printf, 4, 5))) static struct check *
add(struct inspection *in, const char *name, enum check_state state, const char *fmt, ...)
{
	struct check *check = &in->report->checks[in->report->n++];
	va_list ap;

	check->name = name;
	check->state = state;
	check->advice[0] = '\0';
	va_start(ap, fmt);
	vsnprintf(check->found, sizeof(check->found), fmt, ap);
	va_end(ap);
	return check;
}

__attribute__((format(printf, 2, 3))) static void advise(struct check *check, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(check->advice, sizeof(check->advice), fmt, ap);
	va_end(ap);
}

static void full_path(const struct inspection *in, const char *path, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s%s", in->root, path);
}

static int open_at_root(const struct inspection *in, const char *path, int flags)
{
	char full[PATH_MAX];
	int fd;

	full_path(in, path, full);
	fd = open(full, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static FILE *fopen_at_root(const struct inspection *in, const char *path)
{
	char full[PATH_MAX];

	full_path(in, path, full);
	return fopen(full, "re");
}

/* The first line of a small file, without its newline. Returns 0 or negative errno. */
static int read_line(const struct inspection *in, const char *path, char *line, size_t size)
{
	FILE *f = fopen_at_root(in, path);

	if (!f)
		return -errno;
	if (!fgets(line, (int)size, f))
		line[0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	fclose(f);
	return 0;
}

/* Add @word to a list of words in @list, of @size bytes; what does not fit is left out. */
static void append_word(char *list, size_t size, const char *word)
{
	size_t n = strlen(list);

	snprintf(list + n, size - n, "%s%s", n ? ", " : "", word);
}

static enum vendor find_vendor(const struct inspection *in)
{
	FILE *f = fopen_at_root(in, "/proc/cpuinfo");
	enum vendor vendor = VENDOR_NONE;
	AUTO_FREE char *line = NULL;
	size_t size = 0;

	while (f && vendor == VENDOR_NONE && getline(&line, &size, f) > 0) {
		if (strncmp(line, "flags", 5) != 0)
			continue;
		if (text_has_word(line, "vmx"))
			vendor = VENDOR_INTEL;
		else if (text_has_word(line, "svm"))
			vendor = VENDOR_AMD;
	}
	if (f)
		fclose(f);
	return vendor;
}

static void check_cpu(struct inspection *in)
{
	char full[PATH_MAX];
	struct check *check;

	in->vendor = find_vendor(in);
	if (in->vendor != VENDOR_NONE) {
		add(in, "cpu", CHECK_OK, "%s", in->vendor == VENDOR_INTEL ? "Intel VT-x" : "AMD-V");
		return;
	}
	full_path(in, "/dev/kvm", full);
	check = add(in, "cpu", CHECK_FAIL, "neither VT-x nor AMD-V%s",
		    access(full, F_OK) == 0 ? ": this /dev/kvm is a paravirtual one, which cannot "
					      "run a Linux guest"
					    : "");
	advise(check, "switch on VT-x or AMD-V (also called SVM) in the firmware, or nested "
		      "virtualization where this host is itself a virtual machine");
}

static void advise_on_kvm(const struct inspection *in, struct check *check, int error)
{
	if (error == EACCES || error == EPERM)
		advise(check, "join the group kvm (usermod -aG kvm USER) and log in anew, or run "
			      "kvmbox as root");
	else if (in->vendor == VENDOR_INTEL)
		advise(check,
		       "load KVM (modprobe kvm_intel); if the module refuses, switch on VT-x "
		       "in the firmware; in a container, hand in /dev/kvm");
	else if (in->vendor == VENDOR_AMD)
		advise(check,
		       "load KVM (modprobe kvm_amd); if the module refuses, switch on SVM in "
		       "the firmware; in a container, hand in /dev/kvm");
	else
		advise(check, "see to the CPU first, then load kvm_intel or kvm_amd");
}

/* Open KVM and make a VM with it, which fails where another hypervisor has the CPU. */
static void check_kvm(struct inspection *in)
{
	AUTO_CLOSE int fd = open_at_root(in, "/dev/kvm", O_RDWR);
	struct check *check;

	if (fd < 0) {
		check = add(in, "kvm", CHECK_FAIL, "/dev/kvm does not open: %s", strerror(-fd));
		advise_on_kvm(in, check, -fd);
		return;
	}

	int version = ioctl(fd, KVM_GET_API_VERSION, 0);

	if (version != KVM_API_VERSION) {
		check = add(in, "kvm", CHECK_FAIL,
			    "/dev/kvm does not speak version %d of KVM's API", KVM_API_VERSION);
		advise(check, "this is no KVM that Linux had since 2.6.22: load the kernel's own");
		return;
	}

	AUTO_CLOSE int vm = ioctl(fd, KVM_CREATE_VM, 0);

	if (vm < 0) {
		check = add(in, "kvm", CHECK_FAIL, "/dev/kvm opens but makes no VM: %s",
			    strerror(errno));
		advise(check,
		       "end other hypervisors (VirtualBox, VMware), which may hold the CPU's "
		       "virtualization, and see the kernel's log (dmesg)");
		return;
	}
	add(in, "kvm", CHECK_OK, "/dev/kvm opens, API version %d", version);
	in->kvm_fd = steal_fd(&fd);
}

static void check_capabilities(struct inspection *in)
{
	static const struct {
		int number;
		const char *name;
		bool needed;
	} caps[] = {
		{ KVM_CAP_USER_MEMORY, "USER_MEMORY", true },
		{ KVM_CAP_SET_TSS_ADDR, "SET_TSS_ADDR", true },
		{ KVM_CAP_EXT_CPUID, "EXT_CPUID", true },
		{ KVM_CAP_IRQCHIP, "IRQCHIP", true },
		{ KVM_CAP_PIT2, "PIT2", true },
		{ KVM_CAP_IRQFD, "IRQFD", true },
		{ KVM_CAP_IOEVENTFD, "IOEVENTFD", true },
		{ KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT", true },
		{ KVM_CAP_TSC_DEADLINE_TIMER, "TSC_DEADLINE_TIMER", false },
		{ KVM_CAP_BINARY_STATS_FD, "BINARY_STATS_FD", false },
	};
	char missing[160] = "";
	char wanting[80] = "";
	struct check *check;

	if (in->kvm_fd < 0)
		return;
	for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
		if (ioctl(in->kvm_fd, KVM_CHECK_EXTENSION, caps[i].number) > 0)
			continue;
		if (caps[i].needed)
			append_word(missing, sizeof(missing), caps[i].name);
		else
			append_word(wanting, sizeof(wanting), caps[i].name);
	}
	if (missing[0]) {
		check = add(in, "kvm features", CHECK_FAIL, "missing: %s", missing);
		advise(check, "use a kernel of Linux 5.15 or later, with KVM for x86-64");
	} else if (wanting[0]) {
		check = add(in, "kvm features", CHECK_WARN, "all that are needed; without %s",
			    wanting);
		advise(check, "guests start slower or are told less about; Linux 5.15 or later on "
			      "the bare machine has both");
	} else {
		add(in, "kvm features", CHECK_OK, "all there");
	}
}

static void check_nested_paging(struct inspection *in)
{
	bool intel = in->vendor == VENDOR_INTEL;
	const char *name = intel ? "EPT" : "NPT";
	char value[16];
	struct check *check;

	if (in->vendor == VENDOR_NONE)
		return;
	if (read_line(in,
		      intel ? "/sys/module/kvm_intel/parameters/ept"
			    : "/sys/module/kvm_amd/parameters/npt",
		      value, sizeof(value)) < 0) {
		check = add(in, "nested paging", CHECK_WARN, "cannot tell: %s is not loaded",
			    intel ? "kvm_intel" : "kvm_amd");
		advise(check, "load it (modprobe %s)", intel ? "kvm_intel" : "kvm_amd");
	} else if (value[0] == 'Y' || value[0] == '1') {
		add(in, "nested paging", CHECK_OK, "%s", name);
	} else {
		check = add(in, "nested paging", CHECK_WARN, "no %s, guest memory is slow", name);
		advise(check, intel ? "take ept=0 out of /etc/modprobe.d if it stands there; CPUs "
				      "before 2008 have none"
				    : "take npt=0 out of /etc/modprobe.d if it stands there; CPUs "
				      "before 2007 have none");
	}
}

static void check_io_uring(struct inspection *in)
{
	char disabled[16] = "";
	struct io_uring ring;
	struct check *check;
	int ret = io_uring_queue_init(8, &ring, 0);

	if (ret == 0) {
		io_uring_queue_exit(&ring);
		add(in, "io_uring", CHECK_OK, "works");
		return;
	}
	(void)read_line(in, "/proc/sys/kernel/io_uring_disabled", disabled, sizeof(disabled));
	check = add(in, "io_uring", CHECK_FAIL, "cannot make a ring: %s", strerror(-ret));
	if (disabled[0] && disabled[0] != '0')
		advise(check,
		       "kernel.io_uring_disabled is %s: set it to 0 (sysctl -w "
		       "kernel.io_uring_disabled=0)",
		       disabled);
	else if (ret == -ENOMEM)
		advise(check, "raise the limit of locked memory (ulimit -l)");
	else
		advise(check,
		       "use Linux 5.15 or later; in a container, allow io_uring_setup in its "
		       "seccomp profile");
}

static void check_tun(struct inspection *in)
{
	AUTO_CLOSE int fd = open_at_root(in, "/dev/net/tun", O_RDWR);
	unsigned int features = 0;
	struct check *check;

	if (fd >= 0 && ioctl(fd, TUNGETFEATURES, &features) == 0 && (features & IFF_VNET_HDR)) {
		add(in, "tap", CHECK_OK, "/dev/net/tun opens, with offloads");
		return;
	}
	check = add(in, "tap", CHECK_WARN, "/dev/net/tun %s%s",
		    fd < 0 ? "does not open: " : "is no tun device of Linux",
		    fd < 0 ? strerror(-fd) : "");
	advise(check,
	       "a VM has no network but --net user: load the module (modprobe tun), and run kvmbox "
	       "as a user who may open it");
}

/* Is there a NAT table to be made? Only root can ask, and only the host that runs can answer. */
static void check_nat(struct inspection *in)
{
	struct error err;
	struct check *check;

	if (geteuid() != 0) {
		add(in, "nat", CHECK_OK, "not tried: --net nat is for root");
		return;
	}
	if (nft_run("list tables", &err) == 0) {
		add(in, "nat", CHECK_OK, "nftables answers");
		return;
	}
	check = add(in, "nat", CHECK_WARN, "%s", err.text);
	advise(check,
	       "--net nat does not work, nor --net tap= of root's but with filter=off: install "
	       "libnftables1 and load the module (modprobe nf_tables)");
}

static bool is_in_path(const char *program)
{
	const char *path = getenv("PATH");
	AUTO_FREE char *copy = strdup(path ? path : "/usr/bin:/bin");
	char *save = NULL;

	for (char *dir = copy ? strtok_r(copy, ":", &save) : NULL; dir;
	     dir = strtok_r(NULL, ":", &save)) {
		char full[PATH_MAX];

		snprintf(full, sizeof(full), "%s/%s", dir, program);
		if (access(full, X_OK) == 0)
			return true;
	}
	return false;
}

static void check_passt(struct inspection *in)
{
	struct check *check;

	if (is_in_path("passt")) {
		add(in, "passt", CHECK_OK, "is installed");
		return;
	}
	check = add(in, "passt", CHECK_WARN, "is not installed");
	advise(check, "--net user does not work: install passt");
}

/* Where the cgroup v2 hierarchy is mounted, below the root. Returns 0 or -ENOENT. */
static int find_cgroup2(const struct inspection *in, char *dir, size_t size)
{
	FILE *f = fopen_at_root(in, "/proc/self/mountinfo");
	AUTO_FREE char *line = NULL;
	size_t line_size = 0;
	int ret = -ENOENT;

	while (f && ret < 0 && getline(&line, &line_size, f) > 0) {
		char *save = NULL;
		char *field = strtok_r(line, " ", &save);
		bool is_cgroup2 = strstr(save ? save : "", " - cgroup2 ");

		for (int i = 1; field && i < 5; i++)
			field = strtok_r(NULL, " ", &save);
		if (!is_cgroup2 || !field || strlen(field) >= size)
			continue;
		strcpy(dir, field);
		ret = 0;
	}
	if (f)
		fclose(f);
	return ret;
}

static void check_cgroup(struct inspection *in)
{
	static const char *const wanted[] = { "cpu", "memory", "io", "pids" };
	char dir[PATH_MAX - 64];
	char path[PATH_MAX];
	char controllers[256] = "";
	char missing[64] = "";
	struct check *check;

	if (find_cgroup2(in, dir, sizeof(dir)) < 0) {
		check = add(in, "cgroup v2", CHECK_WARN, "not mounted");
		advise(check,
		       "VMs run without limits of their own: mount it (mount -t cgroup2 none "
		       "/sys/fs/cgroup), or boot with systemd.unified_cgroup_hierarchy=1");
		return;
	}
	snprintf(path, sizeof(path), "%s/cgroup.controllers", dir);
	(void)read_line(in, path, controllers, sizeof(controllers));
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		if (!text_has_word(controllers, wanted[i]))
			append_word(missing, sizeof(missing), wanted[i]);
	}
	if (!missing[0]) {
		add(in, "cgroup v2", CHECK_OK, "at %s, with cpu, memory, io and pids",
		    word_show(dir).text);
		return;
	}
	check = add(in, "cgroup v2", CHECK_WARN, "at %s, but without %s", word_show(dir).text,
		    missing);
	advise(check, "VMs run without these limits: boot with "
		      "systemd.unified_cgroup_hierarchy=1, which takes the controllers away from "
		      "cgroup v1");
}

/* What the kernel says of the CPU's known weaknesses, as a list of those left open. */
static bool list_vulnerabilities(const struct inspection *in, char *open, size_t size,
				 bool *smt_named)
{
	static const char dir[] = "/sys/devices/system/cpu/vulnerabilities";
	char full[PATH_MAX];
	struct dirent **entries;
	int n;

	full_path(in, dir, full);
	n = scandir(full, &entries, NULL, alphasort);
	if (n < 0)
		return false;
	for (int i = 0; i < n; i++) {
		char path[PATH_MAX];
		char line[256];

		snprintf(path, sizeof(path), "%s/%s", dir, entries[i]->d_name);
		if (entries[i]->d_name[0] != '.' && read_line(in, path, line, sizeof(line)) == 0) {
			if (strncmp(line, "Vulnerable", 10) == 0)
				append_word(open, size, entries[i]->d_name);
			if (strstr(line, "SMT vulnerable"))
				*smt_named = true;
		}
		free(entries[i]);
	}
	free(entries);
	return true;
}

static void check_mitigations(struct inspection *in)
{
	char open[200] = "";
	char active[8] = "0";
	bool smt_named = false;
	struct check *check;

	if (!list_vulnerabilities(in, open, sizeof(open), &smt_named)) {
		check = add(in, "mitigations", CHECK_WARN,
			    "cannot tell: sysfs has no list of them");
		advise(check, "do not run untrusted workloads here without knowing");
	} else if (open[0]) {
		check = add(in, "mitigations", CHECK_WARN, "vulnerable: %s", open);
		advise(check, "a guest may read what is not its own: update microcode and kernel, "
			      "and do not boot with mitigations=off");
	} else {
		add(in, "mitigations", CHECK_OK, "nothing left open");
	}

	(void)read_line(in, "/sys/devices/system/cpu/smt/active", active, sizeof(active));
	if (active[0] != '1') {
		add(in, "smt", CHECK_OK, "off, or not there");
	} else if (smt_named) {
		check = add(in, "smt", CHECK_WARN, "on, and this CPU leaks between hyperthreads");
		advise(check, "for untrusted workloads switch it off (echo off > "
			      "/sys/devices/system/cpu/smt/control, or boot with nosmt)");
	} else {
		add(in, "smt", CHECK_OK, "on, and no leak between hyperthreads is known");
	}
}

/* MemAvailable in bytes, or 0 where it cannot be read. */
static uint64_t read_available(const struct inspection *in)
{
	FILE *f = fopen_at_root(in, "/proc/meminfo");
	unsigned long long kib = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			break;
	}
	if (f)
		fclose(f);
	return kib * 1024;
}

static void check_memory(struct inspection *in)
{
	uint64_t available = read_available(in);
	char thp[64] = "";
	struct check *check;

	if (available == 0) {
		check = add(in, "memory", CHECK_WARN, "cannot tell: /proc/meminfo does not say");
		advise(check, "mount /proc");
	} else {
		enum check_state state = available < MEM_NEEDED    ? CHECK_FAIL
					 : available < MEM_DEFAULT ? CHECK_WARN
								   : CHECK_OK;

		check = add(in, "memory", state, "%s available", word_show_size(available).text);
		if (state != CHECK_OK)
			advise(check, "a VM takes 256 MiB, and no less than 32 MiB with --mem: end "
				      "something else");
	}

	if (read_line(in, "/sys/kernel/mm/transparent_hugepage/enabled", thp, sizeof(thp)) == 0 &&
	    !strstr(thp, "[never]")) {
		add(in, "huge pages", CHECK_OK, "transparent, %s",
		    strstr(thp, "[always]") ? "always" : "where asked for (kvmbox asks)");
		return;
	}
	check = add(in, "huge pages", CHECK_WARN, "no transparent huge pages, guests are slower");
	advise(check, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
}

static void check_guest_files(struct inspection *in)
{
	static const char *const names[] = { "vmlinux-micro", "init.cpio", "builtin.erofs" };
	char missing[64] = "";
	char path[PATH_MAX] = "";
	struct check *check;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (datadir_find(names[i], path, sizeof(path)) < 0)
			append_word(missing, sizeof(missing), names[i]);
	}
	if (missing[0]) {
		check = add(in, "guest files", CHECK_FAIL, "not found: %s", missing);
		advise(check,
		       "build them (scripts/quickstart in the source tree) or install kvmbox "
		       "again (meson install)");
		return;
	}
	path[strlen(path) - strlen(names[2]) - 1] = '\0';
	add(in, "guest files", CHECK_OK, "in %s", word_show(path).text);
}

static void check_jail(struct inspection *in)
{
	unsigned int left_out = 0;
	char missing[192] = "";
	struct check *check;
	struct error err;

	if (jail_try(&left_out, &err)) {
		check = add(in, "jail", CHECK_FAIL, "%s", err.text);
		advise(check, "man kvmbox-boot has --unsafe-no-jail; please report it");
		return;
	}
	/* An ordinary user cannot have it, whatever the host. */
	if (geteuid() != 0)
		left_out &= ~(1u << JAIL_ID);
	for (int layer = 0; layer < JAIL_LAYERS; layer++)
		if (left_out & 1u << layer)
			append_word(missing, sizeof(missing), jail_layer_name(layer));
	if (!missing[0]) {
		add(in, "jail", CHECK_OK, "all of it");
		return;
	}
	check = add(in, "jail", CHECK_WARN, "without %s", missing);
	if (left_out & 1u << JAIL_USER_NS)
		advise(check, "let user namespaces be made (sysctl user.max_user_namespaces, and "
			      "kernel.unprivileged_userns_clone or "
			      "kernel.apparmor_restrict_unprivileged_userns where there are)");
	else if (left_out & 1u << JAIL_CGROUP && geteuid() != 0)
		advise(check, "for limits start VMs in a cgroup of your own (systemd-run --user "
			      "--scope -p Delegate=yes)");
	else
		advise(check, "the host's kernel has them, or has not; the rest is in force");
}

void host_inspect(const char *root, struct host_report *report)
{
	struct inspection in = { .root = root, .report = report, .kvm_fd = -1 };

	report->n = 0;
	check_cpu(&in);
	check_kvm(&in);
	check_capabilities(&in);
	check_nested_paging(&in);
	check_io_uring(&in);
	check_guest_files(&in);
	check_memory(&in);
	check_tun(&in);
	check_nat(&in);
	check_passt(&in);
	check_cgroup(&in);
	check_jail(&in);
	check_mitigations(&in);
	if (in.kvm_fd >= 0)
		close(in.kvm_fd);
}

size_t host_failures(const struct host_report *report)
{
	size_t n = 0;

	for (size_t i = 0; i < report->n; i++)
		n += report->checks[i].state == CHECK_FAIL;
	return n;
}
