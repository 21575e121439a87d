// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <getopt.h>
#include <stdbool.h>

/* The command line of a command that is about VMs. */
struct args {
	const char *command;
	const char *shorts; /* as for getopt_long(), but what it begins with is added here */
	const struct option *longs;
	const char *help; /* for --help, which every command has */
	bool in_order;    /* options end with the first word that is none */
	int argc;
	char **argv;
};

/* What args_next() returns after the last option. */
enum {
	ARGS_END = -1,  /* the words begin at argv[optind] */
	ARGS_BAD = -2,  /* the sentence has been written */
	ARGS_HELP = -3, /* the help has been written */
};

/* Begin with the arguments from the command's own name on. */
void args_begin(struct args *a, int argc, char **argv);

/* The next option (> 0), with its value in optarg, or one of the above. */
int args_next(const struct args *a);

/*
 * Whether there is something to be done, given what args_next() has returned at @last: from @least
 * to @most words, with a sentence about @what written if there are less. If not, *@status is the
 * command's exit status.
 */
bool args_done(const struct args *a, int last, int least, int most, const char *what, int *status);

/*
 * A whole number from @least on, the value of option @name. Returns false, with the sentence
 * written, where @value is something else.
 */
bool args_number(const struct args *a, const char *name, const char *value, long least, long most,
		 long *out);
