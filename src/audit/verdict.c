// SPDX-License-Identifier: Apache-2.0
/*
 * The default is a VM that root has started on a host where nothing is amiss: every layer of the
 * jail is there, and the processor and KVM leave nothing open. The rules stand in the order of what
 * a guest gains where one is broken; each says what it found and why that matters.
 */
#include "audit/verdict.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "audit/cgroup.h"
#include "config/words.h"

#define NAMED_MAX 4 /* threads in a sentence; more are counted */

struct rule {
	const char *name;
	void (*check)(struct audit_report *report, const char *rule);
};

__attribute__((format(printf, 3, 4))) static void weak(struct audit_report *report,
						       const char *rule, const char *fmt, ...)
{
	struct audit_finding *grown =
		audit_grow(report, report->findings, &report->nfindings, sizeof(*grown));
	va_list ap;

	if (!grown)
		return;
	report->findings = grown;
	struct audit_finding *f = &grown[report->nfindings - 1];

	f->rule = rule;
	va_start(ap, fmt);
	vsnprintf(f->found, sizeof(f->found), fmt, ap);
	va_end(ap);
}

static const struct audit_process *monitor(const struct audit_report *report)
{
	return &report->processes[0];
}

/* ---- threads ---- */

struct words {
	char text[256];
	size_t n;
};

/* Add one more to "a, b, c and 2 more", of which @n are there so far. */
static void add_word(struct words *words, const char *word)
{
	size_t len = strlen(words->text);

	if (words->n++ < NAMED_MAX)
		snprintf(words->text + len, sizeof(words->text) - len, "%s%s", len ? ", " : "",
			 word);
}

static void end_words(struct words *words)
{
	size_t len = strlen(words->text);

	if (words->n > NAMED_MAX)
		snprintf(words->text + len, sizeof(words->text) - len, " and %zu more",
			 words->n - NAMED_MAX);
}

static bool is_unfiltered(const struct audit_thread *t)
{
	return t->seccomp != 2;
}

static bool has_capabilities(const struct audit_thread *t)
{
	return t->caps[AUDIT_CAPS_EFFECTIVE] || t->caps[AUDIT_CAPS_PERMITTED] ||
	       t->caps[AUDIT_CAPS_INHERITABLE] || t->caps[AUDIT_CAPS_AMBIENT];
}

static bool has_bounding_set(const struct audit_thread *t)
{
	return t->caps[AUDIT_CAPS_BOUNDING];
}

static bool may_gain(const struct audit_thread *t)
{
	return t->no_new_privs != 1;
}

static bool is_root(const struct audit_thread *t)
{
	bool root = false;

	for (int i = 0; i < 4; i++)
		root |= t->uid[i] == 0 || t->gid[i] == 0;
	return root;
}

/* The names of the monitor's threads that are @so, and how many these are. */
static struct words threads_that(const struct audit_report *report,
				 bool (*so)(const struct audit_thread *t))
{
	const struct audit_process *p = monitor(report);
	struct words words = { "", 0 };

	for (size_t i = 0; i < p->nthreads; i++)
		if (p->threads[i].role != AUDIT_THREAD_KERNEL && so(&p->threads[i]))
			add_word(&words, p->threads[i].name);
	end_words(&words);
	return words;
}

/* A finding if there are threads that are @so, which are named between the two pieces. */
static void weak_threads(struct audit_report *report, const char *rule,
			 bool (*so)(const struct audit_thread *t), const char *before,
			 const char *behind)
{
	struct words w = threads_that(report, so);

	if (w.n)
		weak(report, rule, "%s the monitor's thread%s %s%s", before, w.n > 1 ? "s" : "",
		     w.text, behind);
}

static void check_seccomp(struct audit_report *report, const char *rule)
{
	weak_threads(report, rule, is_unfiltered, "no seccomp filter on",
		     ": whoever takes over the monitor may make every system call, and so reach "
		     "every bug of the host's kernel");
}

static void check_capabilities(struct audit_report *report, const char *rule)
{
	struct words w = threads_that(report, has_capabilities);

	if (w.n)
		weak(report, rule,
		     "the monitor's thread%s %s hold%s capabilities: whoever takes over the "
		     "monitor has these powers of root's",
		     w.n > 1 ? "s" : "", w.text, w.n > 1 ? "" : "s");
}

static void check_user(struct audit_report *report, const char *rule)
{
	if (threads_that(report, is_root).n)
		weak(report, rule,
		     "the monitor has root's uid or gid: the files of root are open to whoever "
		     "takes it over");
}

static void check_no_new_privs(struct audit_report *report, const char *rule)
{
	weak_threads(report, rule, may_gain, "no_new_privs is not set on",
		     ": by executing a set-user-ID program more rights can be had");
}

static void check_bounding_set(struct audit_report *report, const char *rule)
{
	weak_threads(report, rule, has_bounding_set, "the capability bounding set of",
		     " is not empty: capabilities that were dropped can come back by executing a "
		     "program");
}

static void check_groups(struct audit_report *report, const char *rule)
{
	const struct audit_process *p = monitor(report);
	unsigned int most = 0;

	for (size_t i = 0; i < p->nthreads; i++)
		if (p->threads[i].role != AUDIT_THREAD_KERNEL && p->threads[i].ngroups > most)
			most = p->threads[i].ngroups;
	if (most)
		weak(report, rule,
		     "the monitor is in %u supplementary group%s: whatever these may open, it may",
		     most, most == 1 ? "" : "s");
}

/* ---- what the monitor sees of the host ---- */

static void check_root(struct audit_report *report, const char *rule)
{
	const struct audit_process *p = monitor(report);

	if (p->root_entries < 0)
		return;
	if (p->root_of_caller)
		weak(report, rule,
		     "the monitor's root directory is the host's: every file that its user may "
		     "open is in reach");
	else if (p->root_entries > 0)
		weak(report, rule,
		     "the monitor's root directory is not empty (%d name%s): there is something "
		     "to open for whoever takes it over",
		     p->root_entries, p->root_entries > 1 ? "s" : "");
	else if (p->nmounts && !p->root_read_only)
		weak(report, rule,
		     "the monitor's root directory can be written to: files can be put there, "
		     "and fill the host's memory or disk");
}

static void check_namespaces(struct audit_report *report, const char *rule)
{
	static const struct {
		const char *name, *why;
	} reasons[AUDIT_NAMESPACES] = {
		{ "user", "its user is one of the host's, with what that one owns" },
		{ "mnt", "it sees the host's mounts" },
		{ "pid", "it can see and signal the host's processes" },
		{ "net", "it can connect to the host's network, its loopback included" },
		{ "ipc", "it reaches the host's shared memory and message queues" },
		{ "uts", "it knows the host's name" },
		{ "cgroup", "it sees the host's cgroups" },
	};
	const struct audit_process *p = monitor(report);

	for (size_t i = 0; i < AUDIT_NAMESPACES; i++) {
		const struct audit_namespace *ns = &p->namespaces[i];

		if (!reasons[i].name || !ns->id || !(ns->shared || ns->of_caller))
			continue;
		weak(report, rule, "the monitor has no %s namespace of its own: %s", ns->name,
		     reasons[i].why);
	}
}

static void check_descriptors(struct audit_report *report, const char *rule)
{
	const struct audit_process *p = monitor(report);

	for (size_t i = 0; i < p->nfds; i++) {
		const struct audit_fd *fd = &p->fds[i];
		const char *protocol = fd->detail;

		if (fd->kind == AUDIT_FD_DIRECTORY)
			weak(report, rule,
			     "the monitor holds the directory %s (descriptor %d): from there it "
			     "can open files outside of its root",
			     fd->target, fd->number);
		else if (fd->kind == AUDIT_FD_TERMINAL)
			weak(report, rule,
			     "the monitor holds the terminal %s (descriptor %d): it can write "
			     "what steers it, and on older kernels type into it",
			     fd->target, fd->number);
		else if (fd->kind == AUDIT_FD_FILE && fd->writes && !fd->is_disk)
			weak(report, rule,
			     "the monitor can write to %s (descriptor %d), which is no disk of "
			     "the VM's: a guest that takes it over changes or fills it",
			     fd->target, fd->number);
		else if (fd->kind == AUDIT_FD_SOCKET && protocol[0] &&
			 strncmp(protocol, "UNIX", 4) != 0)
			weak(report, rule,
			     "the monitor holds a socket of %s (descriptor %d): it speaks to the "
			     "network past the rules for its tap",
			     protocol, fd->number);
	}
}

static void check_disks(struct audit_report *report, const char *rule)
{
	for (size_t i = 0; i < report->ndisks; i++)
		if (report->disks[i].read_only && report->disks[i].writes)
			weak(report, rule,
			     "the disk %s was asked for read-only and is open for writing: only "
			     "the monitor's own code keeps the guest from changing it",
			     report->disks[i].path);
}

static void check_write_exec(struct audit_report *report, const char *rule)
{
	if (report->memory.write_exec)
		weak(report, rule,
		     "%u of the monitor's mappings can be written and executed: code that a "
		     "guest brings in can run as it is",
		     report->memory.write_exec);
}

static void check_firewall(struct audit_report *report, const char *rule)
{
	for (size_t i = 0; i < report->ntaps; i++)
		if (report->taps[i].known && !report->taps[i].edge)
			weak(report, rule,
			     "no chain of the firewall drops by its policy what comes out of the "
			     "tap %s: the guest can send under any address, and to other guests",
			     report->taps[i].name);
}

static void check_helpers(struct audit_report *report, const char *rule)
{
	for (size_t i = 0; i < report->nprocesses; i++) {
		const struct audit_process *p = &report->processes[i];
		bool filtered = true;

		if (strcmp(p->role, "helper") != 0)
			continue;
		for (size_t k = 0; k < p->nthreads; k++)
			filtered &= p->threads[k].seccomp == 2;
		if (!filtered)
			weak(report, rule,
			     "the helper %s (process %d) has no seccomp filter: it reads what the "
			     "guest sends, and taken over may make every system call",
			     p->name, p->pid);
		if (p->threads[0].uid[1] == 0)
			weak(report, rule,
			     "the helper %s (process %d) runs as root: it reads what the guest "
			     "sends, and taken over is root on the host",
			     p->name, p->pid);
	}
}

/* Not every host has AppArmor, but one whose profile only looks on was meant to. */
static void check_apparmor(struct audit_report *report, const char *rule)
{
	const struct audit_process *p = monitor(report);

	if (strstr(p->apparmor, "(complain)"))
		weak(report, rule,
		     "the monitor's AppArmor profile, %s, forbids nothing and only logs: it is "
		     "no wall behind the others",
		     p->apparmor);
	else if (strncmp(p->apparmor, "kvmbox (", strlen("kvmbox (")) == 0)
		weak(report, rule,
		     "the monitor is in the supervisor's AppArmor profile, %s, and not in its "
		     "own: taken over, it may do what kvmbox may",
		     p->apparmor);
}

/* ---- the processor ---- */

/* Of newer kernels, "auto" may be followed by whom not to guard against. */
static void check_mitigations(struct audit_report *report, const char *rule)
{
	const char *value = report->host.mitigations;

	if (strcmp(value, "off") == 0)
		weak(report, rule,
		     "the host runs with mitigations=off: on processors with known weaknesses "
		     "a guest can read the memory of the host and of other guests");
	else if (strstr(value, "no_guest_host") || strstr(value, "no_guest_guest"))
		weak(report, rule,
		     "the host runs with mitigations=%s, which leaves out what guards against "
		     "guests: on processors with known weaknesses a guest can read the memory of "
		     "the host or of other guests",
		     value);
}

/* The kernel says "vulnerable" also within a line that begins with "Mitigation". */
static void check_vulnerabilities(struct audit_report *report, const char *rule)
{
	for (size_t i = 0; i < report->host.nvulnerabilities; i++) {
		const struct audit_setting *v = &report->host.vulnerabilities[i];

		if (strstr(v->value, "ulnerable"))
			weak(report, rule,
			     "the processor is open to %s (\"%s\"): a guest may learn what is in "
			     "the memory of the host or of other guests",
			     v->name, v->value);
	}
}

/* A kernel that has no core scheduling, or sees no hyperthreads, says so; not to may be forbidden.
 */
static bool is_forbidden(int error)
{
	return error == EPERM || error == EACCES;
}

static void check_core_scheduling(struct audit_report *report, const char *rule)
{
	const struct audit_process *p = monitor(report);
	bool without = false, unread = false;

	for (size_t i = 0; i < p->nthreads; i++) {
		const struct audit_thread *t = &p->threads[i];

		if (t->role != AUDIT_THREAD_VCPU)
			continue;
		unread |= is_forbidden(t->cookie_error);
		without |= !is_forbidden(t->cookie_error) && (t->cookie_error || !t->cookie);
	}
	if (!report->host.smt)
		return;
	if (unread)
		audit_note_errno(report, "core scheduling of the monitor", EPERM);
	if (without)
		weak(report, rule,
		     "hyperthreads are on and the vCPUs have no core-scheduling cookie: another "
		     "VM on the same core may watch this one, or be watched");
}

static void check_kvm(struct audit_report *report, const char *rule)
{
	static const struct {
		const char *name, *values, *why;
	} parameters[] = {
		{ "kvm_intel.ept", "N0",
		  "the guest drives KVM's shadow paging, which is slow and "
		  "much kernel code" },
		{ "kvm_amd.npt", "N0",
		  "the guest drives KVM's shadow paging, which is slow and "
		  "much kernel code" },
		{ "kvm_intel.unrestricted_guest", "N0",
		  "KVM's instruction emulator runs the guest's real-mode code" },
		{ "kvm.enable_vmware_backdoor", "Y1",
		  "the guest may use the ports of VMware's "
		  "backdoor, which KVM emulates" },
		{ "kvm.force_emulation_prefix", "Y1",
		  "the guest can have any instruction emulated by KVM, whose bugs it then "
		  "reaches" },
		{ "kvm.ignore_msrs", "Y1", "the guest is told that registers exist which do not" },
	};

	for (size_t i = 0; i < report->host.nkvm; i++) {
		const struct audit_setting *s = &report->host.kvm[i];

		for (size_t k = 0; k < sizeof(parameters) / sizeof(parameters[0]); k++)
			if (strcmp(s->name, parameters[k].name) == 0 && s->value[0] &&
			    strchr(parameters[k].values, s->value[0]))
				weak(report, rule, "KVM runs with %s=%s: %s", s->name, s->value,
				     parameters[k].why);
	}
}

/* ---- neighbours ---- */

static void check_private_user(struct audit_report *report, const char *rule)
{
	const struct audit_process *p = monitor(report);
	uint32_t user = p->threads[0].uid[1];

	if (user == 0)
		return; /* worse, and said */
	if (p->same_user_as_starter)
		weak(report, rule,
		     "the monitor runs as the user who started it (uid %" PRIu32
		     "): taken over, it reaches what is that user's, other VMs included",
		     user);
	else if (p->same_user)
		weak(report, rule,
		     "%u other process%s the monitor's uid %" PRIu32
		     ": taken over, it can trace or signal them",
		     p->same_user, p->same_user == 1 ? " has" : "es have", user);
}

static const char *limit_of(const struct audit_cgroup *g, const char *name)
{
	for (size_t i = 0; i < AUDIT_LIMIT_VALUES; i++)
		if (strcmp(g->values[i].name, name) == 0)
			return g->values[i].value;
	return "";
}

static void check_cgroup(struct audit_report *report, const char *rule)
{
	static const struct {
		const char *name, *why;
	} limits[] = {
		{ "memory.max", "the monitor can take the host's memory from others" },
		{ "memory.swap.max", "the guest's memory may be written to the host's swap, "
				     "where it outlives the VM" },
		{ "pids.max", "the monitor can use up the host's process ids" },
	};
	const struct audit_cgroup *g = &monitor(report)->cgroup;

	if (!g->known || !g->own) {
		weak(report, rule,
		     "the monitor has no cgroup (v2) of its own: nothing bounds what a guest "
		     "makes it take of processors, memory and processes");
		return;
	}
	/* A host without swap has no limit for it, and where there is none for memory, that is
	 * said. */
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		if (audit_is_unlimited(limit_of(g, limits[i].name)) &&
		    (limit_of(g, limits[i].name)[0] || strcmp(limits[i].name, "memory.swap.max")))
			weak(report, rule, "%s is not set on the monitor's cgroup: %s",
			     limits[i].name, limits[i].why);
	if (audit_is_unlimited(limit_of(g, "cpu.max")) &&
	    (strcmp(limit_of(g, "cpu.weight"), "100") == 0 || !limit_of(g, "cpu.weight")[0]))
		weak(report, rule,
		     "neither cpu.max nor cpu.weight is set on the monitor's cgroup: its threads "
		     "take processor time from others beside what the vCPUs were given");
}

/* ---- memory ---- */

static void check_dumpable(struct audit_report *report, const char *rule)
{
	if (monitor(report)->dumpable == 1)
		weak(report, rule,
		     "the monitor is dumpable: processes of the same user can read its memory, "
		     "the guest's included, and a crash may write it to disk");
}

static void check_dumps(struct audit_report *report, const char *rule)
{
	if (report->memory.in_dumps_bytes)
		weak(report, rule,
		     "%s of the guest's memory would be in a core dump: its secrets would lie on "
		     "the host's disk",
		     word_show_size(report->memory.in_dumps_bytes).text);
}

static void check_merging(struct audit_report *report, const char *rule)
{
	if (report->memory.mergeable_bytes)
		weak(report, rule,
		     "%s of the guest's memory may be merged with other pages%s: by the time that "
		     "a write takes, one VM learns what another has in memory",
		     word_show_size(report->memory.mergeable_bytes).text,
		     report->host.ksm ? "" : " once KSM is switched on");
}

static const struct audit_limit *resource(const struct audit_process *p, const char *key)
{
	for (size_t i = 0; i < AUDIT_LIMITS; i++)
		if (p->limits[i].known && strcmp(p->limits[i].key, key) == 0)
			return &p->limits[i];
	return NULL;
}

static void check_limits(struct audit_report *report, const char *rule)
{
	const struct audit_limit *core = resource(monitor(report), "core");
	const struct audit_limit *fsize = resource(monitor(report), "fsize");

	if (core && (core->soft || core->hard))
		weak(report, rule,
		     "the monitor's limit for core dumps is not 0: a guest that makes it crash "
		     "may have its memory written to the host's disk");
	if (fsize && (fsize->soft == AUDIT_UNLIMITED || fsize->hard == AUDIT_UNLIMITED))
		weak(report, rule,
		     "the monitor has no limit for the size of files: writing past the end of a "
		     "disk's image fills the host's disk");
}

/* Worst first. The names are part of what the JSON promises, and stand in kvmbox-audit(1). */
static const struct rule rules[] = {
	{ "seccomp", check_seccomp },
	{ "capabilities", check_capabilities },
	{ "root-user", check_user },
	{ "no-new-privs", check_no_new_privs },
	{ "bounding-set", check_bounding_set },
	{ "root-directory", check_root },
	{ "namespaces", check_namespaces },
	{ "descriptors", check_descriptors },
	{ "read-only-disk", check_disks },
	{ "write-exec", check_write_exec },
	{ "firewall", check_firewall },
	{ "mitigations", check_mitigations },
	{ "vulnerabilities", check_vulnerabilities },
	{ "core-scheduling", check_core_scheduling },
	{ "kvm-parameters", check_kvm },
	{ "helpers", check_helpers },
	{ "apparmor", check_apparmor },
	{ "groups", check_groups },
	{ "private-user", check_private_user },
	{ "cgroup", check_cgroup },
	{ "dumpable", check_dumpable },
	{ "core-dumps", check_dumps },
	{ "limits", check_limits },
	{ "merging", check_merging },
};

void audit_judge(struct audit_report *report)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		rules[i].check(report, rules[i].name);
}
