// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <json-c/json.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cli/cli.h"
#include "config/config.h"
#include "config/set.h"
#include "config/words.h"
#include "config/write.h"
#include "lxc/import.h"

static const char help[] =
	"Usage: kvmbox lxc import NAME [OPTION]...\n"
	"\n"
	"Turn the LXC container NAME of this host into a config file for kvmbox boot.\n"
	"Nothing of the container is changed. What each key of its config became, or why\n"
	"it did not, is told on standard error.\n"
	"\n"
	"  -o, --output FILE   write to FILE, - for standard output (default: NAME.json)\n"
	"      --force         overwrite FILE if it is there\n"
	"  -P, --lxc-path DIR  where containers are (default: /var/lib/lxc, and for other\n"
	"                      users than root ~/.local/share/lxc)\n"
	"      --cpus N        virtual CPUs (default: as the container's limits have it)\n"
	"      --mem SIZE      memory (default: the container's limit, and what the guest's\n"
	"                      kernel takes)\n"
	"      --json          tell what became of the keys as JSON\n"
	"  -h, --help          show this help\n"
	"\n"
	"Exit status: 0 if FILE is written, whatever warnings there are, 125 if not.\n"
	"\n"
	"Examples:\n"
	"  kvmbox lxc import web\n"
	"  kvmbox lxc import web --mem 1G -o /srv/web.json && kvmbox boot --config /srv/web.json\n"
	"\n"
	"More: man kvmbox-lxc\n";

struct arguments {
	const char *name;
	const char *output;   /* NULL: NAME.json */
	const char *lxc_path; /* NULL: the user's */
	bool force;
	bool json;
};

static const struct {
	const char *word;   /* of the JSON report */
	const char *phrase; /* between a key and what is said of it */
} outcomes[] = {
	[LXC_BECOMES] = { "becomes", "becomes " },
	[LXC_MEANINGLESS] = { "meaningless", "has no meaning: " },
	[LXC_UNSUPPORTED] = { "unsupported", "is not supported: " },
	[LXC_UNUSED] = { "unused", "has no effect: " },
};

/* ---- the report ---- */

static void print_note(const struct lxc_note *note)
{
	const char *warning = note->outcome == LXC_UNSUPPORTED ? "warning: " : "";
	char more[40] = "";

	if (!note->key) {
		log_line("%s%s", warning, note->text);
		return;
	}
	if (note->count > 1)
		snprintf(more, sizeof(more), "(and %u such line%s more) ", note->count - 1,
			 note->count > 2 ? "s" : "");
	log_line("%s%s:%u: %s %s%s%s", warning, word_show(note->file).text, note->line,
		 word_show(note->key).text, more, outcomes[note->outcome].phrase, note->text);
}

static void print_report(const struct lxc_report *report)
{
	for (size_t i = 0; i < report->n; i++)
		print_note(&report->notes[i]);
}

static struct json_object *note_to_json(const struct lxc_note *note)
{
	struct json_object *entry = json_object_new_object();

	if (note->file) {
		json_object_object_add(entry, "file", json_object_new_string(note->file));
		json_object_object_add(entry, "line", json_object_new_int64(note->line));
		json_object_object_add(entry, "lines", json_object_new_int64(note->count));
	}
	if (note->key)
		json_object_object_add(entry, "key", json_object_new_string(note->key));
	json_object_object_add(entry, "outcome",
			       json_object_new_string(outcomes[note->outcome].word));
	json_object_object_add(entry, "text", json_object_new_string(note->text));
	return entry;
}

/* On standard error as the lines would be: standard output may be where the config goes. */
static void print_report_json(const struct lxc_report *report, const char *name, const char *output)
{
	struct json_object *root = json_object_new_object();
	struct json_object *notes = json_object_new_array();

	if (!root || !notes) {
		json_object_put(root);
		json_object_put(notes);
		log_line("out of memory");
		return;
	}
	json_object_object_add(root, "container", json_object_new_string(name));
	json_object_object_add(root, "output", json_object_new_string(output));
	json_object_object_add(
		root, "warnings",
		json_object_new_int64((int64_t)lxc_report_count(report, LXC_UNSUPPORTED)));
	for (size_t i = 0; i < report->n; i++)
		json_object_array_add(notes, note_to_json(&report->notes[i]));
	json_object_object_add(root, "notes", notes);
	fprintf(stderr, "%s\n",
		json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY |
							     JSON_C_TO_STRING_SPACED |
							     JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(root);
}

/* ---- the file ---- */

static int write_all(int fd, const char *text)
{
	size_t len = strlen(text);

	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

static int exists(const char *output, struct error *err)
{
	return error_set(
		err, EEXIST,
		"%s is there already; give another name with -o, or --force to overwrite it",
		word_show(output).text);
}

/* Give the file @temporary its name. A link is never made over a file that is there. */
static int put_in_place(const char *temporary, const char *output, bool force)
{
	if (force)
		return rename(temporary, output) < 0 ? -errno : 0;
	if (link(temporary, output) < 0)
		return -errno;
	unlink(temporary);
	return 0;
}

/* Whole or not at all: the text goes to another name first. */
static int write_file(const char *output, bool force, const char *text, struct error *err)
{
	AUTO_FREE char *temporary = NULL;
	AUTO_CLOSE int fd = -1;
	int ret;

	if (asprintf(&temporary, "%s.XXXXXX", output) < 0) {
		temporary = NULL;
		return error_set(err, ENOMEM, "out of memory");
	}
	/* For its owner's eyes only, as the environment in it may be. */
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0) {
		ret = -errno;
	} else {
		ret = write_all(fd, text);
		if (ret == 0 && fsync(fd) < 0)
			ret = -errno;
		if (ret == 0)
			ret = put_in_place(temporary, output, force);
		if (ret < 0)
			unlink(temporary);
	}
	if (ret == -EEXIST)
		return exists(output, err);
	return ret < 0 ? error_set(err, -ret, "cannot write %s: %s", word_show(output).text,
				   strerror(-ret))
		       : 0;
}

static int write_output(const struct arguments *args, const char *text, struct error *err)
{
	if (strcmp(args->output, "-") != 0)
		return write_file(args->output, args->force, text, err);
	if (fputs(text, stdout) < 0 || fflush(stdout) != 0)
		return error_set(err, EIO, "cannot write to standard output: %s", strerror(errno));
	return 0;
}

/* ---- the command ---- */

static int check_name(const char *name, struct error *err)
{
	if (!*name || !lxc_is_text(name) || strchr(name, '/') || strcmp(name, ".") == 0 ||
	    strcmp(name, "..") == 0)
		return error_set(err, EINVAL,
				 "lxc import: \"%s\" is no container's name, which is that of a "
				 "directory in %s",
				 word_show(name).text, "the LXC path (--lxc-path)");
	return 0;
}

/* The path of the container's config, the caller's to free, in *@path. */
static int find_config(const struct arguments *args, char **path, struct error *err)
{
	const char *home = getenv("HOME");
	int n;

	if (args->lxc_path)
		n = asprintf(path, "%s/%s/config", args->lxc_path, args->name);
	else if (geteuid() == 0)
		n = asprintf(path, "/var/lib/lxc/%s/config", args->name);
	else if (home && *home)
		n = asprintf(path, "%s/.local/share/lxc/%s/config", home, args->name);
	else
		return error_set(err, ENOENT,
				 "HOME is not set, so that nobody knows where your containers are; "
				 "say it with --lxc-path");
	if (n < 0) {
		*path = NULL;
		return error_set(err, ENOMEM, "out of memory");
	}
	return 0;
}

__attribute__((format(printf, 2, 3))) static int add_warning(struct lxc_report *report,
							     const char *fmt, ...)
{
	va_list ap;
	int ret;

	va_start(ap, fmt);
	ret = lxc_report_add(report, LXC_UNSUPPORTED, NULL, fmt, ap);
	va_end(ap);
	return ret;
}

/* Everything but the output: *@text, the caller's to free, and *@report. */
static int make_config(const struct arguments *args, struct boot_config *cfg,
		       struct lxc_report *report, char **text, struct error *err)
{
	AUTO_FREE char *path = NULL;
	struct lxc_items items;
	struct error why;
	int ret = find_config(args, &path, err);

	if (ret == 0)
		ret = lxc_items_read(&items, &lxc_host_files, path, err);
	if (ret < 0)
		return ret;
	ret = lxc_import(cfg, args->name, &items, &lxc_host_files, geteuid() != 0, report, err);
	lxc_items_deinit(&items);
	if (ret == 0)
		ret = config_to_checked_json(cfg, args->output, text, err);
	/* It may be another day's work to make what is not there yet. */
	if (ret == 0 && config_check_paths(cfg, &why) < 0 &&
	    add_warning(report, "%s", why.text) < 0)
		ret = error_set(err, ENOMEM, "out of memory");
	return ret;
}

/*
 * Whether a file may be put at @output. One might appear until it is written, but most often it is
 * there now. What is no file, /dev/null say, is not replaced even by force.
 */
static int check_output(const struct arguments *args, struct error *err)
{
	struct stat st;

	if (strcmp(args->output, "-") == 0 || stat(args->output, &st) < 0)
		return 0;
	if (!args->force)
		return exists(args->output, err);
	if (!S_ISREG(st.st_mode))
		return error_set(
			err, EINVAL,
			"%s is no regular file, and would be replaced by one; -o - writes to "
			"standard output",
			word_show(args->output).text);
	return 0;
}

static int run_import(const struct arguments *args, struct boot_config *cfg,
		      struct lxc_report *report, struct error *err)
{
	AUTO_FREE char *text = NULL;
	int ret = check_name(args->name, err);

	if (ret == 0)
		ret = check_output(args, err);
	if (ret == 0)
		ret = make_config(args, cfg, report, &text, err);
	if (ret == 0)
		ret = write_output(args, text, err);
	if (ret < 0)
		return ret;
	if (args->json) {
		print_report_json(report, args->name, args->output);
		return 0;
	}
	print_report(report);
	if (strcmp(args->output, "-") != 0)
		log_line("%s is written; start it with kvmbox boot --config %s",
			 word_show(args->output).text, word_show(args->output).text);
	return 0;
}

enum option_id {
	OPTION_FORCE = 256,
	OPTION_CPUS,
	OPTION_MEM,
	OPTION_JSON,
};

static const struct option options[] = {
	{ "output", required_argument, NULL, 'o' },
	{ "lxc-path", required_argument, NULL, 'P' },
	{ "force", no_argument, NULL, OPTION_FORCE },
	{ "cpus", required_argument, NULL, OPTION_CPUS },
	{ "mem", required_argument, NULL, OPTION_MEM },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static int apply_option(struct arguments *args, struct boot_config *cfg, int id, struct error *err)
{
	switch (id) {
	case 'o':
		args->output = optarg;
		return *optarg ? 0 : error_set(err, EINVAL, "--output: the file's name is empty");
	case 'P':
		args->lxc_path = optarg;
		return *optarg ? 0 : error_set(err, EINVAL, "--lxc-path: the path is empty");
	case OPTION_FORCE:
		args->force = true;
		return 0;
	case OPTION_JSON:
		args->json = true;
		return 0;
	case OPTION_MEM:
		return set_mem(cfg, "--mem", optarg, err);
	default: /* --cpus */
		return set_cpus_word(cfg, "--cpus", optarg, err);
	}
}

/* Returns 0, 1 when --help was asked for, or negative errno with a sentence. */
static int parse_arguments(struct arguments *args, struct boot_config *cfg, int argc, char **argv,
			   struct error *err)
{
	int ret = 0;
	int id;

	optind = 0;
	opterr = 0;
	while (ret == 0 && (id = getopt_long(argc, argv, ":ho:P:", options, NULL)) != -1) {
		if (id == 'h')
			return 1;
		if (id == ':')
			return error_set(err, EINVAL,
					 "lxc import: %s needs a value; see kvmbox lxc "
					 "import --help",
					 word_show(argv[optind - 1]).text);
		if (id == '?')
			return error_set(err, EINVAL,
					 "lxc import: unknown option %s; see kvmbox lxc "
					 "import --help",
					 word_show(argv[optind - 1]).text);
		ret = apply_option(args, cfg, id, err);
	}
	if (ret < 0)
		return ret;
	if (optind == argc)
		return error_set(err, EINVAL,
				 "lxc import: which container? Write kvmbox lxc import NAME");
	if (optind + 1 < argc)
		return error_set(err, EINVAL,
				 "lxc import: unexpected argument \"%s\"; see kvmbox "
				 "lxc import --help",
				 word_show(argv[optind + 1]).text);
	args->name = argv[optind];
	return 0;
}

static int import_container(int argc, char **argv)
{
	AUTO_FREE char *output = NULL;
	struct arguments args = { 0 };
	struct lxc_report report = { 0 };
	struct boot_config cfg;
	struct error err;
	int ret;

	config_init(&cfg);
	ret = parse_arguments(&args, &cfg, argc, argv, &err);
	if (ret == 0 && !args.output) {
		if (asprintf(&output, "%s.json", args.name) < 0)
			output = NULL;
		args.output = output;
		if (!output)
			ret = error_set(&err, ENOMEM, "out of memory");
	}
	if (ret > 0)
		fputs(help, stdout);
	else if (ret == 0)
		ret = run_import(&args, &cfg, &report, &err);
	if (ret < 0)
		log_line("%s", err.text);
	lxc_report_deinit(&report);
	config_deinit(&cfg);
	return ret < 0 ? CLI_EXIT_FAILED : 0;
}

int cmd_lxc(int argc, char **argv)
{
	if (argc < 2) {
		fputs(help, stderr);
		return CLI_EXIT_FAILED;
	}
	if (strcmp(argv[1], "import") == 0)
		return import_container(argc - 1, argv + 1);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		fputs(help, stdout);
		return 0;
	}
	log_line("lxc: unknown %s \"%s\", there is only import; see kvmbox lxc --help",
		 argv[1][0] == '-' ? "option" : "command", word_show(argv[1]).text);
	return CLI_EXIT_FAILED;
}
