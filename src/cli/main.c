// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"
#include "config/words.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help; /* NULL: the name is a heading for those that follow */
} commands[] = {
	{ "Machines", NULL, NULL },
	{ "boot", cmd_boot, "boot a micro-VM and run one command in it" },
	{ "ps", cmd_ps, "list VMs" },
	{ "stop", cmd_stop, "end VMs in order" },
	{ "kill", cmd_kill, "end VMs at once, or send their workloads a signal" },
	{ "wait", cmd_wait, "wait until VMs have ended, and print their exit statuses" },
	{ "pause", cmd_pause, "stop the virtual CPUs of VMs" },
	{ "resume", cmd_resume, "let them run on" },
	{ "rm", cmd_rm, "remove what VMs that have ended left behind" },
	{ "In a machine", NULL, NULL },
	{ "exec", cmd_exec, "run another command in a VM" },
	{ "attach", cmd_attach, "be where a VM's workload reads and writes" },
	{ "logs", cmd_logs, "print what a VM's workload has written" },
	{ "cp", cmd_cp, "copy files into a VM or out of one" },
	{ "Containers", NULL, NULL },
	{ "docker", cmd_docker, "a dockerd in a VM, for this host's docker command" },
	{ "lxc", cmd_lxc, "turn an LXC container into a config file for boot" },
	{ "To know more", NULL, NULL },
	{ "inspect", cmd_inspect, "print all that is known of VMs" },
	{ "stats", cmd_stats, "show what VMs take of the host" },
	{ "audit", cmd_audit, "tell what is in force around a VM, and what is weak" },
	{ "bench", cmd_bench, "measure what the wall costs, beside containers" },
	{ "check", cmd_check, "tell whether this host can run micro-VMs, and what to do if not" },
};

#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *to)
{
	fputs("Usage: kvmbox COMMAND [ARG]...\n"
	      "       kvmbox --help | --version\n"
	      "\n"
	      "Run untrusted workloads, each in a micro-VM of its own.\n",
	      to);
	for (size_t i = 0; i < NCOMMANDS; i++) {
		if (commands[i].help)
			fprintf(to, "  %-9s%s\n", commands[i].name, commands[i].help);
		else
			fprintf(to, "\n%s:\n", commands[i].name);
	}
	fputs("\n"
	      "kvmbox COMMAND --help tells more of one of them, man kvmbox of all.\n",
	      to);
}

static int run_command(int argc, char **argv)
{
	struct word_match match = { 0 };

	for (size_t i = 0; i < NCOMMANDS; i++) {
		if (!commands[i].help)
			continue;
		if (strcmp(argv[0], commands[i].name) == 0)
			return commands[i].run(argc, argv);
		word_match_try(&match, argv[0], commands[i].name);
	}
	log_line("unknown %s \"%s\"%s", argv[0][0] == '-' ? "option" : "command",
		 word_show(argv[0]).text,
		 match.word ? word_show_match(&match).text : "; see kvmbox --help");
	return CLI_EXIT_FAILED;
}

/* What the caller left closed must not become the number of the next file that is opened. */
static void hold_standard_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	int status = 0;

	hold_standard_streams();
	if (argc < 2) {
		print_help(stderr);
		return CLI_EXIT_FAILED;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		print_help(stdout);
	else if (strcmp(argv[1], "--version") == 0)
		puts("kvmbox " KVMBOX_VERSION);
	else
		status = run_command(argc - 1, argv + 1);
	if (fflush(stdout) != 0 && status == 0) {
		log_line("cannot write to standard output: %s", strerror(errno));
		status = CLI_EXIT_FAILED;
	}
	return status;
}
