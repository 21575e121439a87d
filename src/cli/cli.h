// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * The commands. Each takes the arguments from its own name on ("boot" is @argv[0]), writes its own
 * sentences to standard error, and returns the process's exit status.
 */
int cmd_attach(int argc, char **argv);
int cmd_audit(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_boot(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_cp(int argc, char **argv);
int cmd_docker(int argc, char **argv);
int cmd_exec(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_kill(int argc, char **argv);
int cmd_logs(int argc, char **argv);
int cmd_lxc(int argc, char **argv);
int cmd_pause(int argc, char **argv);
int cmd_ps(int argc, char **argv);
int cmd_resume(int argc, char **argv);
int cmd_rm(int argc, char **argv);
int cmd_stats(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_wait(int argc, char **argv);

/* Exit status where kvmbox itself failed, as docker has it: apart from any that a workload returns.
 */
#define CLI_EXIT_FAILED 125
