// SPDX-License-Identifier: Apache-2.0
#include "audit/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/files.h"
#include "audit/process.h"
#include "base/cleanup.h"
#include "base/text.h"

#define DEPTH_MAX 8
#define TEXT_MAX  (4u << 20)

/*
 * Where the hierarchy is mounted, and what of it: @mount and @top, of PATH_MAX bytes. Returns 0 or
 * -ENOENT.
 */
static int find_mount(const struct audit_host *host, char *mount, char *top)
{
	AUTO_FREE char *text = NULL;
	char *at, *line;

	if (files_read(host->root, "proc/self/mountinfo", TEXT_MAX, &text) != 0)
		return -ENOENT;
	for (at = text; (line = files_next_line(&at));) {
		if (!strstr(line, " - cgroup2 ") ||
		    sscanf(line, "%*s %*s %*s %4095[^ ] %4095[^ ]", top, mount) != 2)
			continue;
		if (strcmp(top, "/") == 0)
			top[0] = '\0';
		return 0;
	}
	return -ENOENT;
}

/* KVM has threads of the kernel's in the cgroup of whoever makes a VM; those are nobody else. */
static bool is_kernels(const struct audit_host *host, pid_t pid)
{
	AUTO_FREE char *stat = NULL;

	return files_read(host->root, files_path("proc/%d/stat", pid).text, 4096, &stat) == 0 &&
	       audit_flags(stat) & AUDIT_FLAG_KERNEL;
}

static bool is_of_vm(const struct audit_host *host, const struct audit_report *report, pid_t pid)
{
	return audit_is_in_report(report, pid) || is_kernels(host, pid);
}

/* Whether all processes in the group at @path, and in those below, are the VM's. */
static bool is_own(const struct audit_host *host, const struct audit_report *report,
		   const char *path, unsigned int depth)
{
	AUTO_FREE char *text = NULL;
	char *at, *line;
	bool own = true;
	const struct dirent *e;
	DIR *dir;

	if (!depth ||
	    files_read(host->root, files_path("%s/cgroup.procs", path).text, TEXT_MAX, &text) != 0)
		return false;
	for (at = text; own && (line = files_next_line(&at));)
		own = is_of_vm(host, report, atoi(line));

	if (files_dir(host->root, path, &dir) != 0)
		return own;
	while (own && (e = readdir(dir)))
		if (e->d_type == DT_DIR && e->d_name[0] != '.')
			own = is_own(host, report, files_path("%s/%s", path, e->d_name).text,
				     depth - 1);
	closedir(dir);
	return own;
}

static void read_value(const struct audit_host *host, const char *path,
		       struct audit_cgroup_value *v)
{
	AUTO_FREE char *text = NULL;

	if (files_read(host->root, files_path("%s/%s", path, v->name).text, 4096, &text) != 0)
		return;
	size_t len = strlen(text);

	while (len && text[len - 1] == '\n')
		len--;
	text_keep(v->value, sizeof(v->value), text, len);
}

bool audit_is_unlimited(const char *value)
{
	return !value[0] || strncmp(value, "max", 3) == 0;
}

/* What the groups above say, as far up as nobody else is in them. */
static void inherit(const struct audit_host *host, const struct audit_report *report,
		    struct audit_cgroup *g, const char *mount, char *path)
{
	char *slash;

	while ((slash = strrchr(path, '/')) && (size_t)(slash - path) > strlen(mount)) {
		*slash = '\0';
		if (!is_own(host, report, path, DEPTH_MAX))
			return;
		for (size_t i = 0; i < AUDIT_LIMIT_VALUES; i++) {
			struct audit_cgroup_value above = g->values[i];

			above.value[0] = '\0';
			if (!audit_is_unlimited(g->values[i].value))
				continue;
			read_value(host, path, &above);
			if (!audit_is_unlimited(above.value))
				g->values[i] = above;
		}
	}
}

void audit_read_cgroup(const struct audit_host *host, struct audit_report *report,
		       struct audit_process *p)
{
	static const char *const names[AUDIT_LIMIT_VALUES] = {
		"cpu.max",  "cpu.weight", "memory.max", "memory.swap.max",
		"pids.max", "io.max",     "io.weight",  "memory.high",
	};
	struct audit_cgroup *g = &p->cgroup;
	char mount[PATH_MAX], top[PATH_MAX];
	AUTO_FREE char *text = NULL;

	for (size_t i = 0; i < AUDIT_LIMIT_VALUES; i++)
		g->values[i].name = names[i];
	int ret =
		files_read(host->root, files_path("proc/%d/cgroup", p->pid).text, TEXT_MAX, &text);

	if (ret) {
		audit_note_monitor(report, p, "the cgroup", -ret);
		return;
	}
	const char *path = files_value(text, "0::");

	if (!path || find_mount(host, mount, top) != 0)
		return;
	size_t len = strcspn(path, "\n");

	g->known = true;
	text_keep(g->path, sizeof(g->path), path, len);
	/* Where only a part of the hierarchy is mounted here, paths begin above it. */
	if (strncmp(path, top, strlen(top)) == 0) {
		path += strlen(top);
		len -= strlen(top);
	}
	struct files_path dir = files_path("%s%.*s", mount, (int)len, path);

	while (dir.text[0] && dir.text[strlen(dir.text) - 1] == '/')
		dir.text[strlen(dir.text) - 1] = '\0';
	/* Everybody's, whoever happens to be there now. */
	g->own = strlen(dir.text) > strlen(mount) && is_own(host, report, dir.text, DEPTH_MAX);
	for (size_t i = 0; i < AUDIT_LIMIT_VALUES; i++)
		read_value(host, dir.text, &g->values[i]);
	if (g->own)
		inherit(host, report, g, mount, dir.text);
}
