// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * The commands. Each takes the arguments from its own name on ("boot" is @argv[0]), writes its own
 * sentences to standard error, and returns the process's exit status.
 */
int cmd_boot(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_lxc(int argc, char **argv);

/* Exit status where kvmbox itself failed, as docker has it: apart from any that a workload returns.
 */
#define CLI_EXIT_FAILED 125
