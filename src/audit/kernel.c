// SPDX-License-Identifier: Apache-2.0
#include "audit/kernel.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/files.h"
#include "base/cleanup.h"
#include "base/text.h"

#define CPU_DIR "sys/devices/system/cpu"

static void add_setting(struct audit_report *report, struct audit_setting **list, size_t *n,
			const char *name, const char *value)
{
	struct audit_setting *grown = audit_grow(report, *list, n, sizeof(**list));

	if (!grown)
		return;
	*list = grown;
	text_keep(grown[*n - 1].name, sizeof(grown->name), name, strlen(name));
	text_keep(grown[*n - 1].value, sizeof(grown->value), value, strlen(value));
}

static int by_name(const void *a, const void *b)
{
	const struct audit_setting *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static void read_vulnerabilities(const struct audit_host *host, struct audit_report *report)
{
	struct audit_host_state *h = &report->host;
	const struct dirent *e;
	char line[192];
	DIR *dir;
	int ret = files_dir(host->root, CPU_DIR "/vulnerabilities", &dir);

	if (ret) {
		audit_note_errno(report, "the processor's weaknesses", -ret);
		return;
	}
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.' &&
		    files_line(host->root,
			       files_path(CPU_DIR "/vulnerabilities/%s", e->d_name).text, line,
			       sizeof(line)) == 0)
			add_setting(report, &h->vulnerabilities, &h->nvulnerabilities, e->d_name,
				    line);
	closedir(dir);
	if (h->nvulnerabilities)
		qsort(h->vulnerabilities, h->nvulnerabilities, sizeof(*h->vulnerabilities),
		      by_name);
}

static void read_kvm(const struct audit_host *host, struct audit_report *report)
{
	static const struct {
		const char *module;
		const char *name;
	} parameters[] = {
		{ "kvm_intel", "ept" },
		{ "kvm_intel", "unrestricted_guest" },
		{ "kvm_intel", "nested" },
		{ "kvm_intel", "vmentry_l1d_flush" },
		{ "kvm_amd", "npt" },
		{ "kvm_amd", "nested" },
		{ "kvm", "nx_huge_pages" },
		{ "kvm", "mitigate_smt_rsb" },
		{ "kvm", "halt_poll_ns" },
		{ "kvm", "ignore_msrs" },
		{ "kvm", "enable_vmware_backdoor" },
		{ "kvm", "force_emulation_prefix" },
	};
	char line[64], name[64];

	for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++) {
		if (files_line(host->root,
			       files_path("sys/module/%s/parameters/%s", parameters[i].module,
					  parameters[i].name)
				       .text,
			       line, sizeof(line)) != 0)
			continue;
		snprintf(name, sizeof(name), "%s.%s", parameters[i].module, parameters[i].name);
		add_setting(report, &report->host.kvm, &report->host.nkvm, name, line);
	}
}

/* The last one counts, as for the kernel. */
static void read_mitigations(const struct audit_host *host, struct audit_host_state *h)
{
	AUTO_FREE char *text = NULL;
	char *save = NULL;

	if (files_read(host->root, "proc/cmdline", 1u << 16, &text) != 0)
		return;
	for (char *word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save))
		if (strncmp(word, "mitigations=", 12) == 0)
			text_keep(h->mitigations, sizeof(h->mitigations), word + 12,
				  strlen(word + 12));
}

void audit_read_kernel(const struct audit_host *host, struct audit_report *report)
{
	struct audit_host_state *h = &report->host;
	char line[64];

	(void)files_line(host->root, "proc/sys/kernel/osrelease", h->release, sizeof(h->release));
	read_mitigations(host, h);
	if (files_line(host->root, CPU_DIR "/smt/active", line, sizeof(line)) == 0) {
		h->smt_known = true;
		h->smt = strcmp(line, "1") == 0;
	}
	if (files_line(host->root, "sys/kernel/mm/ksm/run", line, sizeof(line)) == 0)
		h->ksm = strcmp(line, "1") == 0;
	read_vulnerabilities(host, report);
	read_kvm(host, report);
}
