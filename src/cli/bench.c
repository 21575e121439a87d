// SPDX-License-Identifier: Apache-2.0
/*
 * The benchmark is a program of its own, in Python (bench/), and becomes this process.
 */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cli/cli.h"
#include "supervisor/datadir.h"

#define PROGRAM "bench/__main__.py"

/* What the program finds the running kvmbox by. */
#define PROGRAM_OF_KVMBOX "KVMBOX_PROGRAM"

int cmd_bench(int argc, char **argv)
{
	char program[PATH_MAX], self[PATH_MAX];
	struct error err;

	if (datadir_require(PROGRAM, DATADIR_ALWAYS, "", program, &err)) {
		log_line("bench: %s", err.text);
		return CLI_EXIT_FAILED;
	}
	AUTO_FREE const char **words = calloc((size_t)argc + 3, sizeof(*words));
	ssize_t n = words ? readlink("/proc/self/exe", self, sizeof(self) - 1) : -1;

	if (n < 0) {
		log_line("bench: %s", strerror(errno));
		return CLI_EXIT_FAILED;
	}
	self[n] = '\0';
	words[0] = "python3";
	words[1] = "-sEB"; /* what a user's environment has for Python is not for this */
	words[2] = program;
	for (int i = 1; i < argc; i++)
		words[i + 2] = argv[i];
	if (setenv(PROGRAM_OF_KVMBOX, self, true) == 0)
		execvp(words[0], (char **)(uintptr_t)words);
	if (errno == ENOENT)
		log_line("bench: there is no python3: install the package python3");
	else
		log_line("bench: cannot run python3: %s", strerror(errno));
	return CLI_EXIT_FAILED;
}
