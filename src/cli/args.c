// SPDX-License-Identifier: Apache-2.0
#include "cli/args.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cli/cli.h"
#include "config/set.h"
#include "config/words.h"

void args_begin(struct args *a, int argc, char **argv)
{
	a->argc = argc;
	a->argv = argv;
	optind = 0; /* GNU: begin afresh */
	opterr = 0;
}

/* What getopt_long() turned down: @arg, or one of the letters in it. */
static void bad_option(const struct args *a, int result, const char *arg)
{
	struct word_match match = { 0 };
	char name[64], dashed[64];

	if (result == ':') {
		log_line("%s: %s needs a value; see kvmbox %s --help", a->command,
			 word_show(arg).text, a->command);
		return;
	}
	if (arg[0] != '-' || arg[1] != '-') {
		log_line("%s: unknown option -%c; see kvmbox %s --help", a->command,
			 optopt > 0x20 && optopt < 0x7f ? optopt : '?', a->command);
		return;
	}
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(arg, "="), arg);
	for (const struct option *o = a->longs; o->name; o++) {
		if (strcmp(name + 2, o->name) == 0) {
			log_line("%s: %s takes no value", a->command, word_show(name).text);
			return;
		}
		word_match_try(&match, name + 2, o->name);
	}
	if (match.word) {
		snprintf(dashed, sizeof(dashed), "--%s", match.word);
		match.word = dashed;
		log_line("%s: unknown option %s%s", a->command, word_show(name).text,
			 word_show_match(&match).text);
	} else {
		log_line("%s: unknown option %s; see kvmbox %s --help", a->command,
			 word_show(name).text, a->command);
	}
}

int args_next(const struct args *a)
{
	char shorts[32];

	snprintf(shorts, sizeof(shorts), "%s:h%s", a->in_order ? "+" : "", a->shorts);
	int id = getopt_long(a->argc, a->argv, shorts, a->longs, NULL);

	switch (id) {
	case -1:
		return ARGS_END;
	case '?':
	case ':':
		bad_option(a, id, a->argv[optind - 1]);
		return ARGS_BAD;
	case 'h':
		fputs(a->help, stdout);
		return ARGS_HELP;
	default:
		return id;
	}
}

bool args_number(const struct args *a, const char *name, const char *value, long least, long most,
		 long *out)
{
	int64_t n;

	if (parse_integer(value, &n) == 0 && n >= least && n <= most) {
		*out = (long)n;
		return true;
	}
	log_line("%s: %s: \"%s\" is not a number from %ld to %ld", a->command, name,
		 word_show(value).text, least, most);
	return false;
}

bool args_done(const struct args *a, int last, int least, int most, const char *what, int *status)
{
	int n = a->argc - optind;

	*status = last == ARGS_HELP ? 0 : CLI_EXIT_FAILED;
	if (last != ARGS_END)
		return false;
	if (n < least)
		log_line("%s: %s; see kvmbox %s --help", a->command, what, a->command);
	else if (n > most)
		log_line("%s: unexpected argument \"%s\"; see kvmbox %s --help", a->command,
			 word_show(a->argv[optind + most]).text, a->command);
	return n >= least && n <= most;
}
