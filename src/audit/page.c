// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "audit/write.h"
#include "base/text.h"
#include "config/words.h"

#define WIDTH  100
#define COLUMN 20 /* where what was found begins */

/* ---- layout ---- */

__attribute__((format(printf, 3, 4))) static void row(FILE *f, const char *label, const char *fmt,
						      ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(f, "  %-*s", COLUMN - 2, label);
	text_print_wrapped(f, COLUMN, WIDTH, text[0] ? text : "-");
}

/* A list of words in a row. */
struct list {
	char text[1536];
};

__attribute__((format(printf, 2, 3))) static void list_add(struct list *list, const char *fmt, ...)
{
	size_t len = strlen(list->text);
	va_list ap;

	if (len && len + 2 < sizeof(list->text))
		len += (size_t)snprintf(list->text + len, sizeof(list->text) - len, ", ");
	va_start(ap, fmt);
	vsnprintf(list->text + len, sizeof(list->text) - len, fmt, ap);
	va_end(ap);
}

/* ---- the verdict ---- */

static void print_verdict(FILE *f, const struct audit_report *report)
{
	if (!report->nfindings)
		fprintf(f, "\nNothing %sis weaker than the default.\n",
			report->nunread ? "of what could be read " : "");
	else
		fprintf(f, "\nWeaker than the default, the worst first:\n");
	for (size_t i = 0; i < report->nfindings; i++) {
		fprintf(f, "  %2zu  %-16s", i + 1, report->findings[i].rule);
		text_print_wrapped(f, 22, WIDTH, report->findings[i].found);
	}
	fprintf(f, "\nNot read:\n");
	for (size_t i = 0; i < report->nunread; i++) {
		char text[384];

		snprintf(text, sizeof(text), "%s: %s", report->unread[i].what,
			 report->unread[i].why);
		fprintf(f, "  ");
		text_print_wrapped(f, 2, WIDTH, text);
	}
	for (size_t i = 0; i < audit_nunreadable; i++)
		row(f, audit_unreadable[i].what, "%s", audit_unreadable[i].why);
}

/* ---- a process ---- */

static void print_user(FILE *f, const struct audit_process *p)
{
	const struct audit_thread *t = &p->threads[0];
	const char *sameness = "";

	if (p->same_user_as_starter)
		sameness = ", as the supervisor";
	row(f, "user",
	    "uid %" PRIu32 ", gid %" PRIu32 ", %u supplementary group%s%s; %u other process%s this "
	    "uid",
	    t->uid[1], t->gid[1], t->ngroups, t->ngroups == 1 ? "" : "s", sameness, p->same_user,
	    p->same_user == 1 ? " has" : "es have");
}

static void print_namespaces(FILE *f, const struct audit_process *p)
{
	struct list own = { "" }, shared = { "" }, host = { "" }, none = { "" };
	char all[512];

	for (size_t i = 0; i < AUDIT_NAMESPACES; i++) {
		const struct audit_namespace *ns = &p->namespaces[i];

		list_add(!ns->id         ? &none
			 : ns->of_caller ? &host
			 : ns->shared    ? &shared
					 : &own,
			 "%s", ns->name);
	}
	snprintf(all, sizeof(all), "%s%s%s%s%s%s%s%s", own.text[0] ? "of its own: " : "", own.text,
		 shared.text[0] ? "; the supervisor's: " : "", shared.text,
		 host.text[0] ? "; the host's: " : "", host.text,
		 none.text[0] ? "; not read: " : "", none.text);
	row(f, "namespaces", "%s", all + (own.text[0] ? 0 : strspn(all, "; ")));
}

static void print_root(FILE *f, const struct audit_process *p)
{
	size_t writable = 0;

	if (p->root_entries < 0) {
		row(f, "root directory", "not read");
		return;
	}
	for (size_t i = 0; i < p->nmounts; i++)
		writable += !p->mounts[i].read_only;
	row(f, "root directory", "%s, %s, %d name%s in it; %zu mount%s, %zu writable",
	    p->root_of_caller ? "the host's" : "not the host's",
	    p->root_read_only ? "read-only" : "writable", p->root_entries,
	    p->root_entries == 1 ? "" : "s", p->nmounts, p->nmounts == 1 ? "" : "s", writable);
}

static void print_limit(struct list *list, const struct audit_limit *l)
{
	char soft[24], hard[24];

	snprintf(soft, sizeof(soft), "%" PRIu64, l->soft);
	snprintf(hard, sizeof(hard), "%" PRIu64, l->hard);
	if (l->soft == l->hard)
		list_add(list, "%s %s", l->key, l->soft == AUDIT_UNLIMITED ? "unlimited" : soft);
	else
		list_add(list, "%s %s to %s", l->key,
			 l->soft == AUDIT_UNLIMITED ? "unlimited" : soft,
			 l->hard == AUDIT_UNLIMITED ? "unlimited" : hard);
}

static void print_limits(FILE *f, const struct audit_process *p)
{
	struct list list = { "" };

	for (size_t i = 0; i < AUDIT_LIMITS; i++)
		if (p->limits[i].known)
			print_limit(&list, &p->limits[i]);
	row(f, "limits", "%s", list.text);
}

static void print_cgroup(FILE *f, const struct audit_cgroup *g)
{
	struct list list = { "" };

	if (!g->known) {
		row(f, "cgroup", "none of v2");
		return;
	}
	row(f, "cgroup", "%s, %s", g->path, g->own ? "of the VM alone" : "shared with others");
	for (size_t i = 0; i < AUDIT_LIMIT_VALUES; i++)
		if (g->values[i].value[0])
			list_add(&list, "%s %s", g->values[i].name, g->values[i].value);
	row(f, "", "%s", list.text[0] ? list.text : "without limits");
}

static void print_caps(char text[64], const struct audit_thread *t)
{
	uint64_t effective = t->caps[AUDIT_CAPS_EFFECTIVE];
	bool same = true;

	for (size_t i = 0; i < AUDIT_CAPS_SETS; i++)
		same &= t->caps[i] == effective || i == AUDIT_CAPS_INHERITABLE ||
			i == AUDIT_CAPS_AMBIENT;
	if (same)
		snprintf(text, 64, "%" PRIx64, effective);
	else
		snprintf(text, 64, "%" PRIx64 "/%" PRIx64 "/%" PRIx64, effective,
			 t->caps[AUDIT_CAPS_PERMITTED], t->caps[AUDIT_CAPS_BOUNDING]);
}

static void print_threads(FILE *f, const struct audit_process *p)
{
	fprintf(f,
		"  threads\n"
		"    %7s  %-15s  %-8s  %-11s  %-6s  %-11s  %s\n",
		"TID", "NAME", "ROLE", "SECCOMP", "NO NEW", "CORE COOKIE", "CAPS eff/perm/bound");
	for (size_t i = 0; i < p->nthreads; i++) {
		const struct audit_thread *t = &p->threads[i];
		char caps[64], filters[24] = "", cookie[24] = "-";

		print_caps(caps, t);
		if (t->filters > 0)
			snprintf(filters, sizeof(filters), " (%d)", t->filters);
		if (!t->cookie_error)
			snprintf(cookie, sizeof(cookie), "%08" PRIx64, t->cookie & UINT32_MAX);
		fprintf(f, "    %7d  %-15s  %-8s  %-6s%-5s  %-6s  %-11s  %s\n", t->tid, t->name,
			audit_role_name(t->role), audit_seccomp_name(t->seccomp), filters,
			t->no_new_privs == 1 ? "yes" : "no", cookie, caps);
	}
}

/* One line for what is like others, and one each for what has a name on the host. */
static void print_descriptors(FILE *f, const struct audit_process *p)
{
	unsigned int counts[AUDIT_FD_KINDS] = { 0 };
	struct list list = { "" };

	if (!p->fds_known) {
		row(f, "descriptors", "not read");
		return;
	}
	for (size_t i = 0; i < p->nfds; i++)
		counts[p->fds[i].kind]++;
	for (size_t i = 0; i < AUDIT_FD_KINDS; i++)
		if (counts[i])
			list_add(&list, "%u %s", counts[i], audit_fd_kind_name(i));
	row(f, "descriptors", "%zu: %s", p->nfds, list.text);
	for (size_t i = 0; i < p->nfds; i++) {
		const struct audit_fd *fd = &p->fds[i];
		char label[32];

		if (fd->kind == AUDIT_FD_KVM || fd->kind == AUDIT_FD_RING ||
		    fd->kind == AUDIT_FD_EVENT || fd->kind == AUDIT_FD_PIPE)
			continue;
		snprintf(label, sizeof(label), "  %3d  %s", fd->number,
			 audit_fd_kind_name(fd->kind));
		row(f, label, "%-4s  %-6s  %s%s%s%s", audit_fd_mode(fd), fd->direct ? "direct" : "",
		    fd->target, fd->detail[0] ? " (" : "", fd->detail, fd->detail[0] ? ")" : "");
	}
}

static void print_memory(FILE *f, const struct audit_memory *m)
{
	if (!m->known) {
		row(f, "guest memory", "not read");
		return;
	}
	row(f, "guest memory",
	    "%s in %u mapping%s: %s would be in a core dump, %s may be merged, %s in huge pages, "
	    "%s locked, %s in swap; %u mappings of the monitor can be written and executed",
	    word_show_size(m->ram_bytes).text, m->mappings, m->mappings == 1 ? "" : "s",
	    m->in_dumps_bytes ? word_show_size(m->in_dumps_bytes).text : "nothing",
	    m->mergeable_bytes ? word_show_size(m->mergeable_bytes).text : "nothing",
	    word_show_size(m->huge_bytes).text, word_show_size(m->locked_bytes).text,
	    word_show_size(m->swapped_bytes).text, m->write_exec);
}

static void print_process(FILE *f, const struct audit_report *report, size_t i)
{
	const struct audit_process *p = &report->processes[i];

	fprintf(f, "\n%c%s: process %d, %s\n", p->role[0] - 'a' + 'A', p->role + 1, p->pid,
		p->name);
	print_user(f, p);
	row(f, "dumpable", "%s",
	    p->dumpable < 0 ? "cannot be told of root's"
	    : p->dumpable   ? "yes"
			    : "no");
	row(f, "AppArmor", "%s", p->apparmor[0] ? p->apparmor : "the kernel does not say");
	print_namespaces(f, p);
	print_root(f, p);
	print_cgroup(f, &p->cgroup);
	print_limits(f, p);
	if (i == 0)
		print_memory(f, &report->memory);
	print_threads(f, p);
	if (i == 0)
		print_descriptors(f, p);
}

/* ---- what is around it ---- */

static void print_outside(FILE *f, const struct audit_report *report)
{
	if (report->ndisks)
		fprintf(f, "\nDisks\n");
	for (size_t i = 0; i < report->ndisks; i++) {
		const struct audit_disk *d = &report->disks[i];

		row(f, d->read_only ? "read-only" : "writable", "%s: %s%s", d->path,
		    !d->open    ? "not open"
		    : d->writes ? "open for writing"
				: "open for reading",
		    d->direct ? ", direct" : "");
	}
	if (report->ntaps)
		fprintf(f, "\nNetwork\n");
	for (size_t i = 0; i < report->ntaps; i++) {
		const struct audit_tap *t = &report->taps[i];

		if (t->known)
			row(f, t->name, "%u rules of the firewall, %u drop; tables: %s", t->rules,
			    t->drops, t->tables[0] ? t->tables : "none");
		else
			row(f, t->name, "the firewall's rules were not read");
	}
}

static void print_host(FILE *f, const struct audit_host_state *h)
{
	struct list kvm = { "" };

	fprintf(f, "\nHost\n");
	row(f, "kernel", "Linux %s%s%s", h->release, h->mitigations[0] ? ", mitigations=" : "",
	    h->mitigations);
	row(f, "hyperthreads", "%s", !h->smt_known ? "not known" : h->smt ? "on" : "off");
	row(f, "page merging", "%s", h->ksm ? "on, of memory that is offered for it" : "off");
	for (size_t i = 0; i < h->nkvm; i++)
		list_add(&kvm, "%s=%s", h->kvm[i].name, h->kvm[i].value);
	row(f, "KVM", "%s", kvm.text);
	fprintf(f, "  the processor's weaknesses\n");
	for (size_t i = 0; i < h->nvulnerabilities; i++) {
		fprintf(f, "    %-26s", h->vulnerabilities[i].name);
		text_print_wrapped(f, 30, WIDTH, h->vulnerabilities[i].value);
	}
}

void audit_print_page(FILE *f, const struct audit_report *report)
{
	char when[32] = "";
	time_t seconds = (time_t)report->time;
	struct tm tm;

	if (gmtime_r(&seconds, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &tm);
	fprintf(f, "The VM \"%s\" as /proc and /sys show it, %s, to uid %" PRIu32 "\n",
		report->name, when, report->by);
	print_verdict(f, report);
	for (size_t i = 0; i < report->nprocesses; i++)
		print_process(f, report, i);
	print_outside(f, report);
	print_host(f, &report->host);
}
