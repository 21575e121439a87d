// SPDX-License-Identifier: Apache-2.0
#include "audit/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "audit/cgroup.h"
#include "audit/descriptors.h"
#include "audit/firewall.h"
#include "audit/kernel.h"
#include "audit/process.h"
#include "audit/verdict.h"
#include "base/text.h"
#include "config/words.h"
#include "supervisor/nft.h"

/* ---- this host ---- */

static int read_cookie(pid_t tid, uint64_t *cookie)
{
	return prctl(PR_SCHED_CORE, PR_SCHED_CORE_GET, tid, PR_SCHED_CORE_SCOPE_THREAD, cookie)
		       ? -errno
		       : 0;
}

static int read_ruleset(char **json, struct error *err)
{
	return nft_query("list ruleset", json, err);
}

int audit_host_open(struct audit_host *host)
{
	host->core_cookie = read_cookie;
	host->firewall = read_ruleset;
	host->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return host->root < 0 ? -errno : 0;
}

/* ---- the report ---- */

void *audit_grow(struct audit_report *report, void *list, size_t *n, size_t size)
{
	char *grown = reallocarray(list, *n + 1, size);

	if (!grown) {
		report->no_memory = true;
		return NULL;
	}
	memset(grown + *n * size, 0, size);
	(*n)++;
	return grown;
}

void audit_note_unread(struct audit_report *report, const char *what, const char *why)
{
	struct audit_unread *grown =
		audit_grow(report, report->unread, &report->nunread, sizeof(*grown));

	if (!grown)
		return;
	report->unread = grown;
	snprintf(grown[report->nunread - 1].what, sizeof(grown->what), "%s", what);
	text_keep(grown[report->nunread - 1].why, sizeof(grown->why), why, strlen(why));
}

void audit_note_errno(struct audit_report *report, const char *what, int errnum)
{
	audit_note_unread(report, what, strerror(errnum));
}

void audit_free(struct audit_report *report)
{
	for (size_t i = 0; i < report->nprocesses; i++) {
		free(report->processes[i].threads);
		free(report->processes[i].mounts);
		free(report->processes[i].fds);
	}
	free(report->processes);
	free(report->disks);
	free(report->taps);
	free(report->host.vulnerabilities);
	free(report->host.kvm);
	free(report->findings);
	free(report->unread);
	*report = (struct audit_report){ .nprocesses = 0 };
}

/* A VM's two processes; each may end at any time. */
static int read_own(const struct audit_host *host, const struct audit_target *target,
		    struct audit_report *report, struct error *err)
{
	const struct {
		const char *role;
		pid_t pid;
	} own[] = { { "monitor", target->monitor }, { "supervisor", target->supervisor } };

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		struct audit_process *grown =
			audit_grow(report, report->processes, &report->nprocesses, sizeof(*grown));
		if (!grown)
			return error_set(err, ENOMEM, "out of memory");
		report->processes = grown;
		grown[i].role = own[i].role;
		grown[i].pid = own[i].pid;
		int ret = audit_read_process(host, report, &grown[i]);

		if (ret)
			return error_set(err, -ret,
					 "cannot read the %s of the VM \"%s\" in /proc: %s",
					 own[i].role, word_show(target->name).text, strerror(-ret));
	}
	return 0;
}

static void compare_with_supervisor(struct audit_report *report)
{
	const struct audit_process *supervisor = &report->processes[1];

	for (size_t i = 0; i < report->nprocesses; i++) {
		struct audit_process *p = &report->processes[i];

		p->same_user_as_starter =
			i != 1 && p->threads[0].uid[1] == supervisor->threads[0].uid[1];
		for (size_t k = 0; k < AUDIT_NAMESPACES; k++)
			p->namespaces[k].shared =
				i != 1 && p->namespaces[k].id &&
				p->namespaces[k].id == supervisor->namespaces[k].id;
	}
}

int audit_read(const struct audit_host *host, const struct audit_target *target,
	       struct audit_report *report, struct error *err)
{
	*report = (struct audit_report){ .time = (uint64_t)time(NULL), .by = geteuid() };
	text_keep(report->name, sizeof(report->name), target->name, strlen(target->name));
	int ret = read_own(host, target, report, err);

	if (ret)
		return ret;
	ret = audit_find_processes(host, report);
	if (ret)
		return error_set(err, -ret, "cannot read the processes in /proc: %s",
				 strerror(-ret));
	compare_with_supervisor(report);
	for (size_t i = 0; i < report->nprocesses; i++) {
		audit_read_cgroup(host, report, &report->processes[i]);
		audit_read_descriptors(host, report, &report->processes[i]);
	}
	audit_read_memory(host, report, target->monitor);
	audit_find_disks(host, report, target->config, target->directory);
	audit_read_firewall(host, report, target->nets);
	audit_read_kernel(host, report);
	audit_judge(report);
	return report->no_memory ? error_set(err, ENOMEM, "out of memory") : 0;
}
