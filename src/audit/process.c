// SPDX-License-Identifier: Apache-2.0
#include "audit/process.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/files.h"
#include "base/cleanup.h"
#include "base/text.h"

#define STATUS_MAX (64u << 10)
#define MOUNTS_MAX (4u << 20)
#define SMAPS_MAX  (64u << 20)
#define RAM_MIN    (16ull << 20) /* of a mapping; no stack and no heap of ours is as large */

bool audit_is_monitor(const struct audit_process *p)
{
	return strcmp(p->role, "monitor") == 0;
}

void audit_note_monitor(struct audit_report *report, const struct audit_process *p,
			const char *what, int errnum)
{
	char text[64];

	snprintf(text, sizeof(text), "%s of the monitor", what);
	if (audit_is_monitor(p))
		audit_note_errno(report, text, errnum);
}

/* What is gone reads as either. */
static int gone(int ret)
{
	return ret == -ENOENT ? -ESRCH : ret;
}

static bool is_number(const char *name)
{
	return name[0] && name[strspn(name, "0123456789")] == '\0';
}

/* ---- threads ---- */

static void read_ids(const char *status, const char *key, uint32_t ids[4])
{
	const char *value = files_value(status, key);

	if (!value || sscanf(value, "%" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32, &ids[0],
			     &ids[1], &ids[2], &ids[3]) != 4)
		memset(ids, 0, 4 * sizeof(ids[0]));
}

static unsigned int count_words(const char *line)
{
	unsigned int n = 0;

	for (const char *p = line; p && *p && *p != '\n';) {
		size_t len = strcspn(p, " \t\n");

		n += len > 0;
		p += len;
		p += strspn(p, " \t");
	}
	return n;
}

static void read_name(const char *status, char *name, size_t size)
{
	const char *value = files_value(status, "Name:");

	text_keep(name, size, value ? value : "", value ? strcspn(value, "\n") : 0);
}

/* PID (NAME) STATE PPID PGRP SESSION TTY_NR TPGID FLAGS ..., where a name may have ')' in it. */
unsigned int audit_flags(const char *stat)
{
	const char *behind = strrchr(stat, ')');
	unsigned int flags = 0;

	if (!behind || sscanf(behind + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) != 1)
		return 0;
	return flags;
}

/* A name is the thread's own to choose, so what is spared a rule is told by the kernel's flags. */
static enum audit_role thread_role(const struct audit_process *p, const struct audit_thread *t,
				   const char *stat)
{
	if (audit_flags(stat) & AUDIT_FLAG_WORKER)
		return AUDIT_THREAD_KERNEL;
	if (!audit_is_monitor(p))
		return AUDIT_THREAD_OTHER;
	if (t->tid == p->pid)
		return AUDIT_THREAD_LOOP;
	if (strncmp(t->name, "vcpu", 4) == 0 && is_number(t->name + 4))
		return AUDIT_THREAD_VCPU;
	if (strncmp(t->name, "vd", 2) == 0 && strstr(t->name, "-q"))
		return AUDIT_THREAD_QUEUE;
	return AUDIT_THREAD_OTHER;
}

static void parse_status(const char *status, struct audit_thread *t)
{
	static const char *const sets[AUDIT_CAPS_SETS] = {
		[AUDIT_CAPS_INHERITABLE] = "CapInh:", [AUDIT_CAPS_PERMITTED] = "CapPrm:",
		[AUDIT_CAPS_EFFECTIVE] = "CapEff:",   [AUDIT_CAPS_BOUNDING] = "CapBnd:",
		[AUDIT_CAPS_AMBIENT] = "CapAmb:",
	};

	read_name(status, t->name, sizeof(t->name));
	read_ids(status, "Uid:", t->uid);
	read_ids(status, "Gid:", t->gid);
	t->ngroups = count_words(files_value(status, "Groups:"));
	t->seccomp = (int)files_number(status, "Seccomp:", 10, -1);
	t->filters = (int)files_number(status, "Seccomp_filters:", 10, -1);
	t->no_new_privs = (int)files_number(status, "NoNewPrivs:", 10, -1);
	for (size_t i = 0; i < AUDIT_CAPS_SETS; i++)
		t->caps[i] = (uint64_t)files_number(status, sets[i], 16, 0);
}

static int read_thread(const struct audit_host *host, struct audit_report *report,
		       struct audit_process *p, pid_t tid)
{
	AUTO_FREE char *status = NULL, *stat = NULL;
	int ret = files_read(host->root, files_path("proc/%d/task/%d/status", p->pid, tid).text,
			     STATUS_MAX, &status);

	if (!ret)
		ret = files_read(host->root, files_path("proc/%d/task/%d/stat", p->pid, tid).text,
				 STATUS_MAX, &stat);
	if (ret)
		return ret;
	struct audit_thread *grown =
		audit_grow(report, p->threads, &p->nthreads, sizeof(*p->threads));

	if (!grown)
		return -ENOMEM;
	p->threads = grown;
	struct audit_thread *t = &p->threads[p->nthreads - 1];

	t->tid = tid;
	parse_status(status, t);
	t->role = thread_role(p, t, stat);
	t->cookie_error = -host->core_cookie(tid, &t->cookie);
	if (tid == p->pid) {
		memcpy(p->name, t->name, sizeof(p->name));
		p->parent = (pid_t)files_number(status, "PPid:", 10, 0);
	}
	return 0;
}

static int by_tid(const void *a, const void *b)
{
	const struct audit_thread *x = a, *y = b;

	return x->tid < y->tid ? -1 : x->tid > y->tid;
}

static int read_threads(const struct audit_host *host, struct audit_report *report,
			struct audit_process *p)
{
	const struct dirent *e;
	DIR *dir;
	int ret = files_dir(host->root, files_path("proc/%d/task", p->pid).text, &dir);

	if (ret)
		return gone(ret);
	while (!ret && (e = readdir(dir))) {
		if (!is_number(e->d_name))
			continue;
		ret = read_thread(host, report, p, atoi(e->d_name));
		/* A thread may end meanwhile, and the others are there still. */
		if (ret == -ENOENT || ret == -ESRCH)
			ret = 0;
	}
	closedir(dir);
	if (!ret && (!p->nthreads || !p->name[0]))
		ret = -ESRCH;
	if (!ret)
		qsort(p->threads, p->nthreads, sizeof(*p->threads), by_tid);
	return ret;
}

/* ---- namespaces, root, mounts ---- */

static uint64_t namespace_id(const struct audit_host *host, const char *process, const char *name)
{
	char target[64];
	uint64_t id = 0;

	if (files_link(host->root, files_path("proc/%s/ns/%s", process, name).text, target,
		       sizeof(target)) == 0) {
		const char *bracket = strchr(target, '[');

		id = bracket ? strtoull(bracket + 1, NULL, 10) : 0;
	}
	return id;
}

static void read_namespaces(const struct audit_host *host, struct audit_report *report,
			    struct audit_process *p)
{
	static const char *const names[AUDIT_NAMESPACES] = { "user", "mnt", "pid",    "net",
							     "ipc",  "uts", "cgroup", "time" };
	char pid[16];
	unsigned int missing = 0;

	snprintf(pid, sizeof(pid), "%d", p->pid);
	for (size_t i = 0; i < AUDIT_NAMESPACES; i++) {
		uint64_t own = namespace_id(host, "self", names[i]);

		p->namespaces[i].name = names[i];
		p->namespaces[i].id = namespace_id(host, pid, names[i]);
		p->namespaces[i].of_caller = own && p->namespaces[i].id == own;
		missing += !p->namespaces[i].id;
	}
	/* A kernel may have been built without one or the other. */
	if (missing == AUDIT_NAMESPACES)
		audit_note_monitor(report, p, "the namespaces", EACCES);
}

static int count_names(DIR *dir)
{
	const struct dirent *e;
	int n = 0;

	while ((e = readdir(dir)))
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	return n;
}

static void read_root(const struct audit_host *host, struct audit_report *report,
		      struct audit_process *p)
{
	struct stat root, own;
	struct files_path path = files_path("proc/%d/root", p->pid);
	DIR *dir;
	int ret = files_dir(host->root, path.text, &dir);

	p->root_entries = -1;
	if (ret) {
		audit_note_monitor(report, p, "the root directory", -ret);
		return;
	}
	if (fstat(dirfd(dir), &root) == 0 &&
	    files_link(host->root, path.text, p->root, sizeof(p->root)) == 0) {
		p->root_entries = count_names(dir);
		p->root_of_caller = fstatat(host->root, "proc/self/root", &own, 0) == 0 &&
				    own.st_dev == root.st_dev && own.st_ino == root.st_ino;
	} else {
		audit_note_monitor(report, p, "the root directory", EACCES);
	}
	closedir(dir);
}

/* Whether @word is one of the words of @options, between commas. */
static bool has_option(const char *options, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = options; *p; p += strcspn(p, ","), p += *p == ',')
		if (strncmp(p, word, len) == 0 && (p[len] == ',' || !p[len]))
			return true;
	return false;
}

/* ID PARENT DEV ROOT POINT OPTIONS [FIELD]... - TYPE SOURCE SUPEROPTIONS (proc_pid_mountinfo(5)) */
static void add_mount(struct audit_report *report, struct audit_process *p, const char *line)
{
	char point[PATH_MAX], options[256], type[32] = "", super[256] = "";
	const char *tail = strstr(line, " - ");

	if (sscanf(line, "%*s %*s %*s %*[^ ] %4095[^ ] %255[^ ]", point, options) != 2)
		return;
	if (tail)
		(void)sscanf(tail + 3, "%31s %*s %255s", type, super);
	struct audit_mount *grown = audit_grow(report, p->mounts, &p->nmounts, sizeof(*p->mounts));

	if (!grown)
		return;
	p->mounts = grown;
	struct audit_mount *m = &p->mounts[p->nmounts - 1];

	text_keep(m->point, sizeof(m->point), point, strlen(point));
	text_keep(m->type, sizeof(m->type), type, strlen(type));
	m->read_only = has_option(super, "ro") || has_option(options, "ro");
	/* The last on a place hides those before. */
	if (strcmp(point, "/") == 0)
		p->root_read_only = m->read_only;
}

static void read_mounts(const struct audit_host *host, struct audit_report *report,
			struct audit_process *p)
{
	AUTO_FREE char *text = NULL;
	int ret = files_read(host->root, files_path("proc/%d/mountinfo", p->pid).text, MOUNTS_MAX,
			     &text);
	char *at = text, *line;

	if (ret)
		audit_note_monitor(report, p, "the mounts", -ret);
	while ((line = files_next_line(&at)))
		add_mount(report, p, line);
}

/* ---- limits and the rest ---- */

static uint64_t limit_value(const char **text)
{
	char *end;

	*text += strspn(*text, " ");
	if (strncmp(*text, "unlimited", 9) == 0) {
		*text += 9;
		return AUDIT_UNLIMITED;
	}
	uint64_t value = strtoull(*text, &end, 10);

	*text = end;
	return value;
}

static void read_limits(const struct audit_host *host, struct audit_report *report,
			struct audit_process *p)
{
	static const struct audit_limit limits[AUDIT_LIMITS] = {
		{ "Max core file size", "core", false, 0, 0 },
		{ "Max open files", "nofile", false, 0, 0 },
		{ "Max processes", "nproc", false, 0, 0 },
		{ "Max file size", "fsize", false, 0, 0 },
		{ "Max locked memory", "memlock", false, 0, 0 },
		{ "Max address space", "as", false, 0, 0 },
		{ "Max msgqueue size", "msgqueue", false, 0, 0 },
	};
	AUTO_FREE char *text = NULL;
	int ret = files_read(host->root, files_path("proc/%d/limits", p->pid).text, STATUS_MAX,
			     &text);

	memcpy(p->limits, limits, sizeof(limits));
	if (ret)
		audit_note_monitor(report, p, "the resource limits", -ret);
	for (size_t i = 0; text && i < AUDIT_LIMITS; i++) {
		const char *value = files_value(text, limits[i].name);

		if (!value)
			continue;
		p->limits[i].known = true;
		p->limits[i].soft = limit_value(&value);
		p->limits[i].hard = limit_value(&value);
	}
}

/*
 * Files below /proc/PID belong to the process's user, and to root if it is not dumpable: so of a
 * process of root's nothing is told.
 */
static void read_dumpable(const struct audit_host *host, struct audit_process *p)
{
	struct stat st;
	uint32_t user = p->threads[0].uid[1];

	p->dumpable = -1;
	if (user != 0 &&
	    fstatat(host->root, files_path("proc/%d/limits", p->pid).text, &st, 0) == 0)
		p->dumpable = st.st_uid == user;
}

/* A kernel without AppArmor has no such file. */
static void read_apparmor(const struct audit_host *host, struct audit_process *p)
{
	if (files_line(host->root, files_path("proc/%d/attr/apparmor/current", p->pid).text,
		       p->apparmor, sizeof(p->apparmor)))
		p->apparmor[0] = '\0';
}

int audit_read_process(const struct audit_host *host, struct audit_report *report,
		       struct audit_process *p)
{
	int ret = read_threads(host, report, p);

	if (ret)
		return ret;
	read_namespaces(host, report, p);
	read_root(host, report, p);
	read_mounts(host, report, p);
	read_limits(host, report, p);
	read_dumpable(host, p);
	read_apparmor(host, p);
	return 0;
}

/* ---- which processes ---- */

struct seen {
	pid_t pid, parent;
	uint32_t user;
	bool zombie, ours;
};

static struct seen *look_at_all(const struct audit_host *host, struct audit_report *report,
				size_t *n)
{
	struct seen *all = NULL;
	const struct dirent *e;
	DIR *dir;

	*n = 0;
	if (files_dir(host->root, "proc", &dir) != 0)
		return NULL;
	while ((e = readdir(dir))) {
		AUTO_FREE char *status = NULL;
		uint32_t ids[4];

		if (!is_number(e->d_name) ||
		    files_read(host->root, files_path("proc/%s/status", e->d_name).text, STATUS_MAX,
			       &status) != 0)
			continue;
		struct seen *grown = audit_grow(report, all, n, sizeof(*all));

		if (!grown)
			break;
		all = grown;
		const char *state = files_value(status, "State:");

		read_ids(status, "Uid:", ids);
		all[*n - 1] = (struct seen){
			.pid = atoi(e->d_name),
			.parent = (pid_t)files_number(status, "PPid:", 10, 0),
			.user = ids[1],
			.zombie = state && (*state == 'Z' || *state == 'X'),
		};
	}
	closedir(dir);
	return all;
}

bool audit_is_in_report(const struct audit_report *report, pid_t pid)
{
	for (size_t i = 0; i < report->nprocesses; i++)
		if (report->processes[i].pid == pid)
			return true;
	return false;
}

static int add_helper(const struct audit_host *host, struct audit_report *report, pid_t pid)
{
	struct audit_process p = { .role = "helper", .pid = pid };
	int ret = audit_read_process(host, report, &p);

	if (ret == 0) {
		struct audit_process *grown =
			audit_grow(report, report->processes, &report->nprocesses, sizeof(*grown));
		if (grown) {
			report->processes = grown;
			grown[report->nprocesses - 1] = p;
			return 0;
		}
		ret = -ENOMEM;
	}
	free(p.threads);
	free(p.mounts);
	return ret == -ESRCH ? 0 : ret;
}

/* Mark those whose parents are marked until there are no more. */
static void mark_children(struct seen *all, size_t n)
{
	bool more = true;

	while (more) {
		more = false;
		for (size_t i = 0; i < n; i++) {
			for (size_t k = 0; k < n && !all[i].ours; k++)
				if (all[k].ours && all[k].pid == all[i].parent)
					all[i].ours = more = true;
		}
	}
}

int audit_find_processes(const struct audit_host *host, struct audit_report *report)
{
	size_t n;
	AUTO_FREE struct seen *all = look_at_all(host, report, &n);
	int ret = 0;

	for (size_t i = 0; i < n; i++)
		all[i].ours = audit_is_in_report(report, all[i].pid);
	mark_children(all, n);
	for (size_t i = 0; i < n && !ret; i++)
		if (all[i].ours && !all[i].zombie && !audit_is_in_report(report, all[i].pid))
			ret = add_helper(host, report, all[i].pid);
	for (size_t i = 0; i < report->nprocesses; i++) {
		struct audit_process *p = &report->processes[i];

		for (size_t k = 0; k < n; k++)
			p->same_user += !all[k].ours && all[k].pid != getpid() &&
					all[k].user == p->threads[0].uid[1];
	}
	return ret;
}

/* ---- memory ---- */

struct mapping {
	uint64_t kib, huge_kib, swap_kib, locked_kib;
	bool ram;
};

/* START-END PERMS OFFSET DEV INODE PATH: a line that begins a mapping. Returns whether it is one.
 */
static bool begin_mapping(const char *line, struct audit_memory *m, struct mapping *now)
{
	uint64_t start, end;
	char perms[5];
	unsigned long inode;
	int path = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %*x:%*x %lu %n", &start, &end, perms,
		   &inode, &path) != 4)
		return false;
	const char *name = path ? line + path : "";

	m->write_exec += perms[1] == 'w' && perms[2] == 'x';
	*now = (struct mapping){ .kib = (end - start) / 1024 };
	/* Anonymous, or in memory that has a descriptor. */
	now->ram = perms[1] == 'w' && end - start >= RAM_MIN &&
		   ((inode == 0 && (!*name || strncmp(name, "[anon:", 6) == 0)) ||
		    strncmp(name, "/memfd:", 7) == 0);
	return true;
}

static bool has_flag(const char *flags, const char *flag)
{
	for (const char *p = flags; (p = strstr(p, flag)); p += 2)
		if ((p == flags || p[-1] == ' ') && (p[2] == ' ' || !p[2]))
			return true;
	return false;
}

/* VmFlags is the last line of a mapping. */
static void end_mapping(const char *flags, struct audit_memory *m, const struct mapping *now)
{
	if (!now->ram)
		return;
	m->mappings++;
	m->ram_bytes += now->kib * 1024;
	m->huge_bytes += now->huge_kib * 1024;
	m->swapped_bytes += now->swap_kib * 1024;
	m->locked_bytes += now->locked_kib * 1024;
	m->in_dumps_bytes += has_flag(flags, "dd") ? 0 : now->kib * 1024;
	m->mergeable_bytes += has_flag(flags, "mg") ? now->kib * 1024 : 0;
}

void audit_read_memory(const struct audit_host *host, struct audit_report *report, pid_t pid)
{
	struct audit_memory *m = &report->memory;
	struct mapping now = { 0 };
	AUTO_FREE char *text = NULL;
	int ret = files_read(host->root, files_path("proc/%d/smaps", pid).text, SMAPS_MAX, &text);
	char *at = text, *line;

	if (ret) {
		audit_note_errno(report, "the memory mappings of the monitor", -ret);
		return;
	}
	m->known = true;
	while ((line = files_next_line(&at))) {
		if (begin_mapping(line, m, &now))
			continue;
		if (strncmp(line, "VmFlags:", 8) == 0)
			end_mapping(line + 8 + strspn(line + 8, " "), m, &now);
		else if (strncmp(line, "Anon", 4) == 0 || strncmp(line, "Sh", 2) == 0)
			now.huge_kib += (uint64_t)(files_number(line, "AnonHugePages:", 10, 0) +
						   files_number(line, "ShmemPmdMapped:", 10, 0));
		else if (strncmp(line, "Swap:", 5) == 0)
			now.swap_kib = (uint64_t)files_number(line, "Swap:", 10, 0);
		else if (strncmp(line, "Locked:", 7) == 0)
			now.locked_kib = (uint64_t)files_number(line, "Locked:", 10, 0);
	}
	if (!m->mappings)
		audit_note_errno(report, "the guest's memory among the monitor's mappings", ENOENT);
}
