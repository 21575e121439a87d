// SPDX-License-Identifier: Apache-2.0
#include "lxc/import.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "config/set.h"
#include "config/words.h"
#include "lxc/steps.h"

/*
 * A table of keys says what each becomes. Most become nothing, always for the same reason, which
 * stands in the table; the others have a function, which enters a value at once or keeps the item
 * for a part of the VM that several keys make together (size.c, rootfs.c, net.c).
 */

#define SYSCTL_MAX 1024 /* bytes of the kernel's command line, of which Linux takes 2048 */

struct key {
	const char *name; /* one that ends in '.' stands for all that begin so */
	/* One of these: what is said of it, the function that enters it, or */
	enum lxc_outcome outcome;
	const char *text;
	int (*enter)(struct import *im, const struct lxc_item *item);
	size_t keep; /* the member of struct import that the item is kept in for later */
};

#define KEEP(member) .keep = offsetof(struct import, member)

int import_note(struct import *im, enum lxc_outcome outcome, const struct lxc_item *item,
		const char *fmt, ...)
{
	va_list ap;
	int ret;

	va_start(ap, fmt);
	ret = lxc_report_add(im->report, outcome, item, fmt, ap);
	va_end(ap);
	if (ret == -E2BIG)
		return error_set(im->err, E2BIG, "more than %d lines of the config need a word",
				 LXC_NOTES_MAX);
	return ret < 0 ? error_set(im->err, -ret, "out of memory") : 0;
}

int import_refuse(struct import *im, const struct lxc_item *item, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return error_set(im->err, EINVAL, "%s:%u: %s: %s", word_show(item->file).text, item->line,
			 word_show(item->key).text, text);
}

/* ---- keys with a value of their own ---- */

static int enter_name(struct import *im, const struct lxc_item *item)
{
	struct error why;

	if (set_name(im->cfg, "it cannot be the VM's name", item->value, &why) < 0)
		return import_note(im, LXC_UNSUPPORTED, item, "%s", why.text);
	return import_note(im, LXC_BECOMES, item,
			   "name \"%s\", which is the guest's host name as well", item->value);
}

static int enter_cwd(struct import *im, const struct lxc_item *item)
{
	struct error why;

	if (set_workdir(im->cfg, "the working directory", item->value, &why) < 0)
		return import_refuse(im, item, "%s", why.text);
	return import_note(im, LXC_BECOMES, item, "workload.workdir %s",
			   word_show(item->value).text);
}

static int enter_arch(struct import *im, const struct lxc_item *item)
{
	static const char *const ours[] = { "x86_64", "amd64", "linux64" };

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		if (strcmp(item->value, ours[i]) == 0)
			return import_note(im, LXC_MEANINGLESS, item,
					   "the guest is x86_64 as it is");
	}
	return import_note(im, LXC_UNSUPPORTED, item,
			   "the guest is x86_64, and its kernel runs no programs of %s",
			   word_show(item->value).text);
}

/* NAME=VALUE, or NAME for the value that it has where LXC is started: here and now. */
static int enter_environment(struct import *im, const struct lxc_item *item)
{
	AUTO_FREE char *assignment = NULL;
	const char *inherited = "";
	struct error why;

	if (!strchr(item->value, '=')) {
		inherited = getenv(item->value);
		if (!inherited || !lxc_is_text(inherited))
			return import_note(im, LXC_UNSUPPORTED, item,
					   "%s is to be inherited, and here it is not set; add it "
					   "to workload.env by hand",
					   word_show(item->value).text);
		if (asprintf(&assignment, "%s=%s", item->value, inherited) < 0) {
			assignment = NULL;
			return error_set(im->err, ENOMEM, "out of memory");
		}
	}
	if (add_env(im->cfg, "the variable", assignment ? assignment : item->value, &why) < 0)
		return import_refuse(im, item, "%s", why.text);
	return import_note(im, LXC_BECOMES, item, "workload.env %.*s%s",
			   (int)strcspn(item->value, "="), word_show(item->value).text,
			   assignment ? ", with the value that it has here and now" : "");
}

/* Since Linux 5.8 a kernel takes "sysctl.NAME=VALUE" on its command line. */
static int enter_sysctl(struct import *im, const struct lxc_item *item)
{
	const char *name = item->key + strlen("lxc.sysctl.");
	const char *before = im->cfg->append ? im->cfg->append : "";
	const char *quote = strpbrk(item->value, " \t") ? "\"" : "";
	AUTO_FREE char *words = NULL;
	struct error why;

	if (!*name || strpbrk(name, " \t\"=") || strchr(item->value, '"'))
		return import_note(im, LXC_UNSUPPORTED, item,
				   "it cannot stand on a kernel's command line; set it within the "
				   "guest, in /etc/sysctl.d of its root");
	if (asprintf(&words, "%s%ssysctl.%s=%s%s%s", before, *before ? " " : "", name, quote,
		     item->value, quote) < 0) {
		words = NULL;
		return error_set(im->err, ENOMEM, "out of memory");
	}
	if (strlen(words) > SYSCTL_MAX ||
	    set_kernel_words(&im->cfg->append, "append", words, &why) < 0)
		return import_note(im, LXC_UNSUPPORTED, item,
				   "the kernel's command line has no room for it; set it within "
				   "the guest, in /etc/sysctl.d of its root");
	return import_note(im, LXC_BECOMES, item,
			   "sysctl.%s in append: the guest's kernel is its own",
			   word_show(name).text);
}

static int enter_init_id(struct import *im, const struct lxc_item *item)
{
	int64_t id;

	if (parse_integer(item->value, &id) < 0 || id < 0 || id > UINT32_MAX)
		return import_refuse(im, item, "\"%s\" is not a user or group number such as 1000",
				     word_show(item->value).text);
	if (id == 0)
		return import_note(im, LXC_MEANINGLESS, item, "the guest's command is run by root");
	return import_note(im, LXC_UNSUPPORTED, item,
			   "the guest's command is run by root; begin workload.argv with setpriv "
			   "--reuid UID --regid GID --clear-groups --");
}

static int enter_hook(struct import *im, const struct lxc_item *item)
{
	const char *hook = item->key + strlen("lxc.hook.");

	/* What lxcfs gives a container, a guest has by nature. */
	if (strncmp(item->value, "/usr/share/lxcfs/", strlen("/usr/share/lxcfs/")) == 0)
		return import_note(im, LXC_MEANINGLESS, item,
				   "lxcfs shows a container its own share of /proc and /sys, and "
				   "the guest has its own");
	if (strcmp(hook, "clone") == 0 || strcmp(hook, "destroy") == 0 ||
	    strcmp(hook, "version") == 0)
		return import_note(im, LXC_MEANINGLESS, item,
				   "it concerns what lxc-copy, lxc-destroy or other hooks do");
	return import_note(im, LXC_UNSUPPORTED, item,
			   "kvmbox runs no hooks; run %s yourself, before or after kvmbox boot, or "
			   "by the guest's own init where it is about the inside",
			   word_show(item->value).text);
}

static int enter_cgroup_directory(struct import *im, const struct lxc_item *item)
{
	return import_note(
		im, LXC_UNSUPPORTED, item,
		"start kvmbox in the cgroup that you want, with systemd-run --slice=SLICE "
		"kvmbox boot");
}

/* For keys that are read once all the others are (net.c, rootfs.c, and import_signals()). */
static int leave_for_later(struct import *im, const struct lxc_item *item)
{
	(void)im;
	(void)item;
	return 0;
}

/* ---- the table ---- */

static const char own_kernel_caps[] =
	"the guest's root is root of its own kernel only, so that no capability of it reaches the "
	"host; to take some from the workload, begin workload.argv with setpriv --bounding-set";
static const char no_confinement[] =
	"it protects the host's kernel, which the guest never calls: it has its own, behind the "
	"wall";
static const char no_devices[] =
	"the guest has no device of the host's, only virtual ones of its own";
static const char own_mounts[] = "the guest's init mounts /proc, /sys and the like from its own "
				 "kernel";
static const char own_terminals[] = "the guest's kernel has its own terminals";
static const char host_share[] =
	"it is a share of the host's resources; start kvmbox in a cgroup that has it, with "
	"systemd-run -p PROPERTY=VALUE kvmbox boot";
static const char own_limits[] =
	"it limits what a container takes of the host's kernel, and the guest's kernel has its own "
	"tables";
static const char own_memory[] =
	"the guest has its memory to itself, as much as machine-config says and no more";
static const char no_daemon[] =
	"kvmbox starts a VM when it is told to; write a systemd unit with ExecStart=kvmbox boot "
	"--config FILE";
static const char about_lxc[] = "it concerns LXC's own processes and files";
static const char own_namespaces[] = "the guest has all namespaces to itself, its kernel is its "
				     "own";
static const char shared_namespaces[] =
	"a namespace cannot be shared across the wall; what the container shares must go over the "
	"network or a file that is copied";
static const char own_halt[] =
	"kvmbox stop has a system's init shut down by the signal that this init takes for it, see "
	"--init in kvmbox-boot(1)";
static const char signals[] =
	"kvmbox passes SIGTERM, SIGINT, SIGHUP and SIGQUIT on to the guest's command; stop the VM "
	"by SIGTERM to kvmbox, or run the guest's own poweroff";
static const char prlimits[] =
	"begin workload.argv with prlimit, or use the guest's /etc/security/limits.conf";

static const struct key keys[] = {
	{ "lxc.uts.name", .enter = enter_name },
	{ "lxc.rootfs.path", KEEP(rootfs) },
	{ "lxc.rootfs.options", KEEP(rootfs_options) },
	{ "lxc.rootfs.mount", .outcome = LXC_MEANINGLESS, .text = about_lxc },
	{ "lxc.rootfs.managed", .outcome = LXC_MEANINGLESS, .text = about_lxc },
	{ "lxc.idmap", .enter = leave_for_later },
	{ "lxc.init.cmd", KEEP(init_cmd) },
	{ "lxc.execute.cmd", KEEP(execute_cmd) },
	{ "lxc.init.cwd", .enter = enter_cwd },
	{ "lxc.init.uid", .enter = enter_init_id },
	{ "lxc.init.gid", .enter = enter_init_id },
	{ "lxc.init.groups", .outcome = LXC_UNSUPPORTED,
	  .text = "the guest's command is run by root; begin workload.argv with setpriv --groups "
		  "GIDS --" },
	{ "lxc.environment", .enter = enter_environment },
	{ "lxc.environment.runtime", .enter = enter_environment },
	{ "lxc.environment.hooks", .outcome = LXC_MEANINGLESS, .text = "kvmbox runs no hooks" },
	{ "lxc.arch", .enter = enter_arch },
	{ "lxc.net.", .enter = leave_for_later },

	{ "lxc.cgroup2.memory.max", KEEP(memory_max) },
	{ "lxc.cgroup.memory.limit_in_bytes", KEEP(memory_limit) },
	{ "lxc.cgroup2.memory.", .outcome = LXC_MEANINGLESS, .text = own_memory },
	{ "lxc.cgroup.memory.", .outcome = LXC_MEANINGLESS, .text = own_memory },
	{ "lxc.cgroup2.cpu.max", KEEP(cpu_max) },
	{ "lxc.cgroup.cpu.cfs_quota_us", KEEP(cpu_quota) },
	{ "lxc.cgroup.cpu.cfs_period_us", KEEP(cpu_period) },
	{ "lxc.cgroup2.cpuset.cpus", KEEP(cpuset) },
	{ "lxc.cgroup.cpuset.cpus", KEEP(cpuset_v1) },
	{ "lxc.cgroup2.pids.", .outcome = LXC_MEANINGLESS, .text = own_limits },
	{ "lxc.cgroup.pids.", .outcome = LXC_MEANINGLESS, .text = own_limits },
	{ "lxc.cgroup2.devices.", .outcome = LXC_MEANINGLESS, .text = no_devices },
	{ "lxc.cgroup.devices.", .outcome = LXC_MEANINGLESS, .text = no_devices },
	{ "lxc.cgroup.dir", .enter = enter_cgroup_directory },
	{ "lxc.cgroup.dir.", .enter = enter_cgroup_directory },
	{ "lxc.cgroup.relative", .enter = enter_cgroup_directory },
	{ "lxc.cgroup2.", .outcome = LXC_UNSUPPORTED, .text = host_share },
	{ "lxc.cgroup.", .outcome = LXC_UNSUPPORTED, .text = host_share },

	{ "lxc.mount.entry", .enter = import_mount_entry },
	{ "lxc.mount.fstab", .enter = import_mount_fstab },
	{ "lxc.mount.auto", .outcome = LXC_MEANINGLESS, .text = own_mounts },
	{ "lxc.autodev", .outcome = LXC_MEANINGLESS, .text = own_mounts },
	{ "lxc.autodev.tmpfs.size", .outcome = LXC_MEANINGLESS, .text = own_mounts },

	{ "lxc.cap.drop", .outcome = LXC_MEANINGLESS, .text = own_kernel_caps },
	{ "lxc.cap.keep", .outcome = LXC_MEANINGLESS, .text = own_kernel_caps },
	{ "lxc.no_new_privs", .outcome = LXC_UNSUPPORTED,
	  .text = "begin workload.argv with setpriv --no-new-privs --" },
	{ "lxc.apparmor.", .outcome = LXC_MEANINGLESS, .text = no_confinement },
	{ "lxc.selinux.", .outcome = LXC_MEANINGLESS, .text = no_confinement },
	{ "lxc.seccomp.", .outcome = LXC_MEANINGLESS, .text = no_confinement },
	{ "lxc.keyring.session", .outcome = LXC_MEANINGLESS, .text = own_limits },
	{ "lxc.sched.core", .outcome = LXC_UNSUPPORTED,
	  .text = "kvmbox check tells whether hyperthreads leak on this host; start kvmbox in a "
		  "core scheduling group (PR_SCHED_CORE), or turn them off" },

	{ "lxc.signal.", .enter = leave_for_later },
	{ "lxc.tty.", .outcome = LXC_MEANINGLESS, .text = own_terminals },
	{ "lxc.pty.", .outcome = LXC_MEANINGLESS, .text = own_terminals },
	{ "lxc.console.logfile", .outcome = LXC_UNSUPPORTED,
	  .text = "the command's output is kvmbox's own: redirect it to the file" },
	{ "lxc.console.", .outcome = LXC_MEANINGLESS, .text = own_terminals },

	{ "lxc.start.", .outcome = LXC_UNSUPPORTED, .text = no_daemon },
	{ "lxc.group", .outcome = LXC_UNSUPPORTED, .text = no_daemon },
	{ "lxc.ephemeral", .outcome = LXC_MEANINGLESS,
	  .text = "the VM is gone when its command ends, and no other file with it" },
	{ "lxc.monitor.", .outcome = LXC_MEANINGLESS, .text = about_lxc },
	{ "lxc.log.", .outcome = LXC_MEANINGLESS, .text = about_lxc },
	{ "lxc.hook.", .enter = enter_hook },
	{ "lxc.prlimit.", .outcome = LXC_UNSUPPORTED, .text = prlimits },
	{ "lxc.sysctl.", .enter = enter_sysctl },
	{ "lxc.proc.", .outcome = LXC_UNSUPPORTED,
	  .text = "it sets a file of /proc/PID of the container's init; set it for kvmbox on the "
		  "host (choom -n N -- kvmbox boot), or within the guest" },
	{ "lxc.namespace.clone", .outcome = LXC_MEANINGLESS, .text = own_namespaces },
	{ "lxc.namespace.", .outcome = LXC_UNSUPPORTED, .text = shared_namespaces },
	{ "lxc.time.offset.", .outcome = LXC_UNSUPPORTED,
	  .text = "the guest's clocks start with it, and its date is the host's" },
};

#define NKEYS (sizeof(keys) / sizeof(keys[0]))

static bool key_is(const struct key *key, const char *name)
{
	size_t len = strlen(key->name);

	if (key->name[len - 1] == '.')
		return strncmp(name, key->name, len) == 0;
	return strcmp(name, key->name) == 0;
}

/* ---- which of the items count ---- */

static bool ends_with(const char *s, const char *end)
{
	size_t len = strlen(s), end_len = strlen(end);

	return len >= end_len && strcmp(s + len - end_len, end) == 0;
}

/* Whether further lines of @key add to it, where those of others replace what it had. */
static bool is_list(const char *key)
{
	static const char *const lists[] = {
		"lxc.apparmor.raw",      "lxc.environment", "lxc.environment.runtime",
		"lxc.environment.hooks", "lxc.group",       "lxc.idmap",
		"lxc.mount.auto",        "lxc.mount.entry", "lxc.namespace.clone",
		"lxc.namespace.keep",
	};
	static const char *const families[] = { "lxc.cap.", "lxc.hook.", "lxc.cgroup.devices.",
						"lxc.cgroup2.devices." };
	static const char *const of_net[] = { ".ipv4.address", ".ipv6.address", ".ipv4.route",
					      ".ipv6.route", ".vlan.tagged.id" };

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		if (strcmp(key, lists[i]) == 0)
			return true;
	}
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		if (strncmp(key, families[i], strlen(families[i])) == 0)
			return true;
	}
	for (size_t i = 0; i < sizeof(of_net) / sizeof(of_net[0]); i++) {
		if (strncmp(key, "lxc.net.", strlen("lxc.net.")) == 0 && ends_with(key, of_net[i]))
			return true;
	}
	return false;
}

/* Whether @key without a value clears all the keys below it. */
static bool clears_family(const char *key)
{
	static const char *const families[] = { "lxc.net",   "lxc.cgroup", "lxc.cgroup2",
						"lxc.hook",  "lxc.proc",   "lxc.prlimit",
						"lxc.sysctl" };

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		if (strcmp(key, families[i]) == 0)
			return true;
	}
	return strncmp(key, "lxc.net.", strlen("lxc.net.")) == 0 &&
	       strspn(key + strlen("lxc.net."), "0123456789") == strlen(key + strlen("lxc.net."));
}

/* Whether @later, which stands behind @earlier, clears or replaces it. */
static bool undoes(const struct lxc_item *later, const struct lxc_item *earlier)
{
	size_t len = strlen(later->key);

	if (later->foreign)
		return false;
	if (strcmp(later->key, earlier->key) == 0)
		return !*later->value || !is_list(later->key);
	return !*later->value && strncmp(later->key, earlier->key, len) == 0 &&
	       earlier->key[len] == '.' && clears_family(later->key);
}

static void find_undone(struct import *im)
{
	const struct lxc_items *items = im->items;

	for (size_t i = 0; i < items->n; i++) {
		for (size_t j = i + 1; j < items->n && !im->undone[i]; j++) {
			if (undoes(&items->items[j], &items->items[i]))
				im->undone[i] = &items->items[j];
		}
	}
}

/* ---- one item after the other ---- */

/* The names that keys had before LXC 2.1, which LXC 3 and later refuse. */
static bool is_legacy(const char *key)
{
	static const char *const legacy[] = {
		"lxc.rootfs",     "lxc.utsname",  "lxc.mount",      "lxc.id_map",
		"lxc.init_cmd",   "lxc.tty",      "lxc.pts",        "lxc.devttydir",
		"lxc.console",    "lxc.seccomp",  "lxc.aa_profile", "lxc.kmsg",
		"lxc.haltsignal", "lxc.logfile",  "lxc.loglevel",   "lxc.rootfs.backend",
		"lxc.init_uid",   "lxc.init_gid", "lxc.se_context",
	};

	for (size_t i = 0; i < sizeof(legacy) / sizeof(legacy[0]); i++) {
		if (strcmp(key, legacy[i]) == 0)
			return true;
	}
	return strncmp(key, "lxc.network.", strlen("lxc.network.")) == 0 ||
	       strncmp(key, "lxc.limit.", strlen("lxc.limit.")) == 0;
}

static int note_unknown(struct import *im, const struct lxc_item *item)
{
	struct word_match match = { 0 };

	if (is_legacy(item->key))
		return import_note(
			im, LXC_UNSUPPORTED, item,
			"a key of before LXC 2.1; run lxc-update-config -c %s first, and "
			"import then",
			word_show(item->file).text);
	for (size_t i = 0; i < NKEYS; i++)
		word_match_try(&match, item->key, keys[i].name);
	return import_note(im, LXC_UNSUPPORTED, item, "unknown key, of which nothing is made%s",
			   word_show_match(&match).text);
}

static int enter_item(struct import *im, const struct lxc_item *item, const struct lxc_item *undone)
{
	if (item->foreign)
		return import_note(im, LXC_UNUSED, item,
				   "it does not begin with \"lxc.\", and LXC passes over such a "
				   "line");
	if (undone)
		return import_note(im, LXC_UNUSED, item, "%s:%u %s it",
				   word_show(undone->file).text, undone->line,
				   *undone->value ? "replaces" : "clears");
	for (size_t i = 0; i < NKEYS; i++) {
		if (!key_is(&keys[i], item->key))
			continue;
		/* No value is what a key has that is not there. */
		if (!*item->value)
			return 0;
		if (keys[i].keep) {
			*(const struct lxc_item **)((char *)im + keys[i].keep) = item;
			return 0;
		}
		if (keys[i].enter)
			return keys[i].enter(im, item);
		return import_note(im, keys[i].outcome, item, "%s", keys[i].text);
	}
	return !*item->value && clears_family(item->key) ? 0 : note_unknown(im, item);
}

/* ---- the command ---- */

/* Cut the next word off *@rest, in place: quotes hold blanks together. NULL at the end. */
static char *next_word(char **rest)
{
	char *from = *rest + strspn(*rest, " \t");
	char *word = from, *to = from;
	char quote = '\0';

	if (!*from)
		return NULL;
	for (; *from && (quote || (*from != ' ' && *from != '\t')); from++) {
		if (*from == quote)
			quote = '\0';
		else if (!quote && (*from == '"' || *from == '\''))
			quote = *from;
		else
			*to++ = *from;
	}
	*rest = *from ? from + 1 : from;
	*to = '\0';
	return word;
}

static int set_command(struct import *im, const struct lxc_item *item)
{
	AUTO_FREE char *copy = strdup(item->value);
	AUTO_FREE const char **argv = calloc(strlen(item->value) / 2 + 2, sizeof(*argv));
	char *rest = copy;
	size_t argc = 0;
	struct error why;

	if (!copy || !argv)
		return error_set(im->err, ENOMEM, "out of memory");
	while ((argv[argc] = next_word(&rest)))
		argc++;
	if (set_argv(im->cfg, "the command", argv, argc, &why) < 0)
		return import_refuse(im, item, "%s", why.text);
	return import_note(im, LXC_BECOMES, item, "workload.argv, which begins with %s",
			   word_show(argv[0]).text);
}

static bool is_system_init(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;

	return strcmp(base, "init") == 0 || strcmp(base, "systemd") == 0;
}

/* The one place that knows the workload to be an init system. */
static int mark_system_init(struct import *im)
{
	im->cfg->init = true;
	return import_note(
		im, LXC_BECOMES, NULL,
		"init true, as the command is %s, a system's init: it is PID 1 there, on the "
		"container kernel",
		word_show(im->cfg->argv[0]).text);
}

/* lxc-start runs lxc.init.cmd, or /sbin/init; lxc-execute runs lxc.execute.cmd. */
static int import_command(struct import *im)
{
	static const char *const init[] = { "/sbin/init" };
	int ret;

	if (im->init_cmd && im->execute_cmd) {
		ret = import_note(im, LXC_UNUSED, im->execute_cmd,
				  "lxc-start runs lxc.init.cmd, and so does the VM");
		if (ret < 0)
			return ret;
	}
	if (im->init_cmd || im->execute_cmd)
		ret = set_command(im, im->init_cmd ? im->init_cmd : im->execute_cmd);
	else if (im->rootfs)
		ret = set_argv(im->cfg, "the command", init, 1, im->err);
	else
		return 0;
	return ret == 0 && is_system_init(im->cfg->argv[0]) ? mark_system_init(im) : ret;
}

/* What they mean depends on the command. */
static int import_signals(struct import *im)
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < im->items->n; i++) {
		const struct lxc_item *item = &im->items->items[i];

		if (im->undone[i] || !*item->value ||
		    strncmp(item->key, "lxc.signal.", strlen("lxc.signal.")) != 0)
			continue;
		if (im->cfg->init && strcmp(item->key, "lxc.signal.halt") == 0)
			ret = import_note(im, LXC_MEANINGLESS, item, "%s", own_halt);
		else
			ret = import_note(im, LXC_UNSUPPORTED, item, "%s", signals);
	}
	return ret;
}

/* ---- the whole ---- */

static int name_after_container(struct import *im)
{
	struct error why;

	if (set_name(im->cfg, "the container's name cannot be the VM's", im->name, &why) < 0)
		return import_note(im, LXC_UNSUPPORTED, NULL, "%s", why.text);
	return 0;
}

int lxc_import(struct boot_config *cfg, const char *name, const struct lxc_items *items,
	       const struct lxc_files *files, bool rootless, struct lxc_report *report,
	       struct error *err)
{
	AUTO_FREE const struct lxc_item **undone = calloc(items->n + 1, sizeof(struct lxc_item *));
	struct import im = {
		.cfg = cfg,
		.name = name,
		.items = items,
		.files = files,
		.rootless = rootless,
		.report = report,
		.err = err,
		.undone = undone,
	};
	int ret;

	if (!undone)
		return error_set(err, ENOMEM, "out of memory");
	find_undone(&im);
	ret = name_after_container(&im);
	for (size_t i = 0; ret == 0 && i < items->n; i++)
		ret = enter_item(&im, &items->items[i], undone[i]);
	if (ret == 0)
		ret = import_rootfs(&im);
	if (ret == 0)
		ret = import_command(&im);
	if (ret == 0)
		ret = import_signals(&im);
	if (ret == 0)
		ret = import_size(&im);
	return ret == 0 ? import_nets(&im) : ret;
}
