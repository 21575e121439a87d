// SPDX-License-Identifier: Apache-2.0
#include "audit/write.h"

#include <inttypes.h>
#include <stdio.h>

#define SCHEMA 1 /* one more when a key changes its meaning or goes */

const struct audit_unread audit_unreadable[] = {
	{ "landlock", "the kernel tells nobody else which Landlock rules a process lives under" },
	{ "seccomp-rules", "the kernel tells how many filters a thread has, and not what they "
			   "allow, but to a tracer" },
};
const size_t audit_nunreadable = sizeof(audit_unreadable) / sizeof(audit_unreadable[0]);

const char *audit_role_name(enum audit_role role)
{
	static const char *const names[] = {
		[AUDIT_THREAD_LOOP] = "loop",   [AUDIT_THREAD_VCPU] = "vcpu",
		[AUDIT_THREAD_QUEUE] = "queue", [AUDIT_THREAD_KERNEL] = "kernel",
		[AUDIT_THREAD_OTHER] = "other",
	};

	return names[role];
}

const char *audit_seccomp_name(int mode)
{
	return mode == 0 ? "none" : mode == 1 ? "strict" : mode == 2 ? "filter" : "unknown";
}

const char *audit_fd_kind_name(enum audit_fd_kind kind)
{
	static const char *const names[AUDIT_FD_KINDS] = {
		[AUDIT_FD_KVM] = "kvm",
		[AUDIT_FD_RING] = "io_uring",
		[AUDIT_FD_EVENT] = "event",
		[AUDIT_FD_SOCKET] = "socket",
		[AUDIT_FD_PIPE] = "pipe",
		[AUDIT_FD_TAP] = "tap",
		[AUDIT_FD_TERMINAL] = "terminal",
		[AUDIT_FD_DEVICE] = "device",
		[AUDIT_FD_FILE] = "file",
		[AUDIT_FD_LOCK] = "lock",
		[AUDIT_FD_DIRECTORY] = "directory",
		[AUDIT_FD_OTHER] = "other",
	};

	return names[kind];
}

const char *audit_fd_mode(const struct audit_fd *fd)
{
	return fd->reads && fd->writes ? "rw" : fd->writes ? "w" : fd->reads ? "r" : "path";
}

/* ---- pieces ---- */

static void add_string(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, json_object_new_string(value));
}

static void add_number(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

static void add_bool(struct json_object *o, const char *key, bool value)
{
	json_object_object_add(o, key, json_object_new_boolean(value));
}

/* null for what is below 0: not known. */
static void add_count(struct json_object *o, const char *key, int value)
{
	json_object_object_add(o, key, value < 0 ? NULL : json_object_new_int(value));
}

static void add_flag(struct json_object *o, const char *key, int value)
{
	json_object_object_add(o, key, value < 0 ? NULL : json_object_new_boolean(value));
}

static struct json_object *ids(const uint32_t list[4])
{
	struct json_object *array = json_object_new_array();

	for (int i = 0; i < 4; i++)
		json_object_array_add(array, json_object_new_uint64(list[i]));
	return array;
}

static struct json_object *hex(uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%016" PRIx64, value);
	return json_object_new_string(text);
}

static struct json_object *thread(const struct audit_thread *t)
{
	static const char *const sets[AUDIT_CAPS_SETS] = {
		[AUDIT_CAPS_INHERITABLE] = "inheritable", [AUDIT_CAPS_PERMITTED] = "permitted",
		[AUDIT_CAPS_EFFECTIVE] = "effective",     [AUDIT_CAPS_BOUNDING] = "bounding",
		[AUDIT_CAPS_AMBIENT] = "ambient",
	};
	struct json_object *o = json_object_new_object(), *caps = json_object_new_object();

	add_number(o, "tid", (uint64_t)t->tid);
	add_string(o, "name", t->name);
	add_string(o, "role", audit_role_name(t->role));
	add_string(o, "seccomp", audit_seccomp_name(t->seccomp));
	add_count(o, "seccomp_filters", t->filters);
	add_flag(o, "no_new_privs", t->no_new_privs);
	json_object_object_add(o, "uid", ids(t->uid));
	json_object_object_add(o, "gid", ids(t->gid));
	add_number(o, "supplementary_groups", t->ngroups);
	for (size_t i = 0; i < AUDIT_CAPS_SETS; i++)
		json_object_object_add(caps, sets[i], hex(t->caps[i]));
	json_object_object_add(o, "capabilities", caps);
	json_object_object_add(o, "core_cookie", t->cookie_error ? NULL : hex(t->cookie));
	return o;
}

static struct json_object *namespaces(const struct audit_process *p)
{
	struct json_object *all = json_object_new_object();

	for (size_t i = 0; i < AUDIT_NAMESPACES; i++) {
		const struct audit_namespace *ns = &p->namespaces[i];
		struct json_object *o;

		if (!ns->id) {
			json_object_object_add(all, ns->name, NULL);
			continue;
		}
		o = json_object_new_object();
		add_number(o, "id", ns->id);
		add_bool(o, "is_supervisors", ns->shared);
		add_bool(o, "is_callers", ns->of_caller);
		json_object_object_add(all, ns->name, o);
	}
	return all;
}

static struct json_object *root(const struct audit_process *p)
{
	struct json_object *o;

	if (p->root_entries < 0)
		return NULL;
	o = json_object_new_object();
	add_string(o, "path", p->root);
	add_number(o, "entries", (uint64_t)p->root_entries);
	add_bool(o, "is_callers", p->root_of_caller);
	add_flag(o, "read_only", p->nmounts ? p->root_read_only : -1);
	return o;
}

static struct json_object *mounts(const struct audit_process *p)
{
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; i < p->nmounts; i++) {
		struct json_object *o = json_object_new_object();

		add_string(o, "point", p->mounts[i].point);
		add_string(o, "type", p->mounts[i].type);
		add_bool(o, "read_only", p->mounts[i].read_only);
		json_object_array_add(array, o);
	}
	return array;
}

/* null is no limit. */
static struct json_object *limits(const struct audit_process *p)
{
	struct json_object *all = json_object_new_object();

	for (size_t i = 0; i < AUDIT_LIMITS; i++) {
		const struct audit_limit *l = &p->limits[i];
		struct json_object *o;

		if (!l->known)
			continue;
		o = json_object_new_object();
		json_object_object_add(
			o, "soft",
			l->soft == AUDIT_UNLIMITED ? NULL : json_object_new_uint64(l->soft));
		json_object_object_add(
			o, "hard",
			l->hard == AUDIT_UNLIMITED ? NULL : json_object_new_uint64(l->hard));
		json_object_object_add(all, l->key, o);
	}
	return all;
}

static struct json_object *cgroup(const struct audit_cgroup *g)
{
	struct json_object *o, *all;

	if (!g->known)
		return NULL;
	o = json_object_new_object();
	all = json_object_new_object();
	add_string(o, "path", g->path);
	add_bool(o, "own", g->own);
	for (size_t i = 0; i < AUDIT_LIMIT_VALUES; i++)
		if (g->values[i].value[0])
			add_string(all, g->values[i].name, g->values[i].value);
	json_object_object_add(o, "limits", all);
	return o;
}

static struct json_object *descriptors(const struct audit_process *p)
{
	struct json_object *array;

	if (!p->fds_known)
		return NULL;
	array = json_object_new_array();
	for (size_t i = 0; i < p->nfds; i++) {
		const struct audit_fd *fd = &p->fds[i];
		struct json_object *o = json_object_new_object();

		add_number(o, "fd", (uint64_t)fd->number);
		add_string(o, "kind", audit_fd_kind_name(fd->kind));
		add_string(o, "target", fd->target);
		if (fd->detail[0])
			add_string(o, fd->kind == AUDIT_FD_TAP ? "tap" : "protocol", fd->detail);
		add_string(o, "mode", audit_fd_mode(fd));
		add_bool(o, "direct", fd->direct);
		json_object_array_add(array, o);
	}
	return array;
}

static struct json_object *process(const struct audit_process *p)
{
	struct json_object *o = json_object_new_object(), *threads = json_object_new_array();

	add_string(o, "role", p->role);
	add_number(o, "pid", (uint64_t)p->pid);
	add_number(o, "parent", (uint64_t)p->parent);
	add_string(o, "name", p->name);
	add_flag(o, "dumpable", p->dumpable);
	json_object_object_add(o, "apparmor",
			       p->apparmor[0] ? json_object_new_string(p->apparmor) : NULL);
	add_number(o, "others_with_uid", p->same_user);
	for (size_t i = 0; i < p->nthreads; i++)
		json_object_array_add(threads, thread(&p->threads[i]));
	json_object_object_add(o, "threads", threads);
	json_object_object_add(o, "namespaces", namespaces(p));
	json_object_object_add(o, "root", root(p));
	json_object_object_add(o, "mounts", mounts(p));
	json_object_object_add(o, "limits", limits(p));
	json_object_object_add(o, "cgroup", cgroup(&p->cgroup));
	json_object_object_add(o, "descriptors", descriptors(p));
	return o;
}

static struct json_object *memory(const struct audit_memory *m)
{
	struct json_object *o;

	if (!m->known)
		return NULL;
	o = json_object_new_object();
	add_number(o, "guest_bytes", m->ram_bytes);
	add_number(o, "mappings", m->mappings);
	add_number(o, "in_core_dumps_bytes", m->in_dumps_bytes);
	add_number(o, "mergeable_bytes", m->mergeable_bytes);
	add_number(o, "huge_bytes", m->huge_bytes);
	add_number(o, "swapped_bytes", m->swapped_bytes);
	add_number(o, "locked_bytes", m->locked_bytes);
	add_number(o, "write_exec_mappings", m->write_exec);
	return o;
}

static struct json_object *settings(const struct audit_setting *list, size_t n)
{
	struct json_object *o = json_object_new_object();

	for (size_t i = 0; i < n; i++)
		add_string(o, list[i].name, list[i].value);
	return o;
}

static struct json_object *host_state(const struct audit_host_state *h)
{
	struct json_object *o = json_object_new_object();

	add_string(o, "kernel", h->release);
	json_object_object_add(o, "mitigations",
			       h->mitigations[0] ? json_object_new_string(h->mitigations) : NULL);
	add_flag(o, "smt", h->smt_known ? h->smt : -1);
	add_bool(o, "ksm", h->ksm);
	json_object_object_add(o, "vulnerabilities",
			       settings(h->vulnerabilities, h->nvulnerabilities));
	json_object_object_add(o, "kvm", settings(h->kvm, h->nkvm));
	return o;
}

static struct json_object *disks(const struct audit_report *report)
{
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; i < report->ndisks; i++) {
		const struct audit_disk *d = &report->disks[i];
		struct json_object *o = json_object_new_object();

		add_string(o, "path", d->path);
		add_bool(o, "read_only_asked", d->read_only);
		add_bool(o, "open", d->open);
		add_bool(o, "writable", d->writes);
		add_bool(o, "direct", d->direct);
		json_object_array_add(array, o);
	}
	return array;
}

static struct json_object *taps(const struct audit_report *report)
{
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; i < report->ntaps; i++) {
		const struct audit_tap *t = &report->taps[i];
		struct json_object *o = json_object_new_object();

		add_string(o, "name", t->name);
		add_string(o, "tables", t->tables);
		add_count(o, "rules", t->known ? (int)t->rules : -1);
		add_count(o, "drops", t->known ? (int)t->drops : -1);
		json_object_array_add(array, o);
	}
	return array;
}

static struct json_object *findings(const struct audit_report *report)
{
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; i < report->nfindings; i++) {
		struct json_object *o = json_object_new_object();

		add_string(o, "rule", report->findings[i].rule);
		add_string(o, "found", report->findings[i].found);
		json_object_array_add(array, o);
	}
	return array;
}

static struct json_object *unread(const struct audit_unread *list, size_t n)
{
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; i < n; i++) {
		struct json_object *o = json_object_new_object();

		add_string(o, "what", list[i].what);
		add_string(o, "why", list[i].why);
		json_object_array_add(array, o);
	}
	return array;
}

struct json_object *audit_to_json(const struct audit_report *report)
{
	struct json_object *o = json_object_new_object(), *processes = json_object_new_array();

	if (!o || !processes) {
		json_object_put(o);
		json_object_put(processes);
		return NULL;
	}
	add_number(o, "schema", SCHEMA);
	add_string(o, "version", KVMBOX_VERSION);
	add_string(o, "name", report->name);
	add_number(o, "time", report->time);
	add_number(o, "by_uid", report->by);
	json_object_object_add(o, "weaker", findings(report));
	json_object_object_add(o, "unread", unread(report->unread, report->nunread));
	json_object_object_add(o, "unreadable", unread(audit_unreadable, audit_nunreadable));
	for (size_t i = 0; i < report->nprocesses; i++)
		json_object_array_add(processes, process(&report->processes[i]));
	json_object_object_add(o, "processes", processes);
	json_object_object_add(o, "memory", memory(&report->memory));
	json_object_object_add(o, "disks", disks(report));
	json_object_object_add(o, "taps", taps(report));
	json_object_object_add(o, "host", host_state(&report->host));
	return o;
}
