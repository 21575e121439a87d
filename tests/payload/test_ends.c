// SPDX-License-Identifier: Apache-2.0
/* Each way for a machine to end, from within and from without. */
#include <stdio.h>
#include <string.h>

#include "harness.h"

static unsigned int failed;

static void finish(struct payload *p)
{
	const char *name = p->cmdline;

	if (!payload_verdict(p)) {
		fprintf(stderr, "^ in the case \"%s\"\n", name);
		failed++;
	}
}

static void expect_reset(const char *path, const char *how, enum vm_end why)
{
	struct payload p;

	payload_init(&p, path);
	p.cmdline = how;
	payload_run(&p);
	payload_expect_end(&p, why);
	finish(&p);
}

static void expect_crash(const char *path)
{
	struct payload p;

	payload_init(&p, path);
	p.cmdline = "triple";
	p.partial = true;
	payload_run(&p);
	payload_expect_end(&p, VM_END_CRASH);
	payload_expect(&p, strstr(p.message.text, "triple fault"),
		       "the text names no triple fault");
	payload_expect(&p, strstr(p.message.text, "rbx 1122334455667788"), "RBX is not in: %s",
		       p.message.text);
	payload_expect(&p, strstr(p.message.text, "r15 0000000000005eed"), "R15 is not in: %s",
		       p.message.text);
	payload_expect(&p, strstr(p.message.text, "rip 00000000001"), "RIP is not in: %s",
		       p.message.text);
	payload_expect(&p, !strcmp(p.console, "ok triple\n"), "the console says \"%s\"", p.console);
	finish(&p);
}

/* The supervisor ends a guest that does @what and will not end by itself. */
static void expect_stop(const char *path, const char *what, bool hang_up, bool read_console)
{
	struct payload p;

	payload_init(&p, path);
	p.cmdline = what;
	p.partial = true;
	p.cpus = 2;
	p.stop_after_ms = 300;
	p.hang_up = hang_up;
	p.read_console = read_console;
	payload_run(&p);
	payload_expect_end(&p, VM_END_STOPPED);
	finish(&p);
}

/* Nobody listens at the console: the guest's bytes are lost, and that is all. */
static void expect_deaf_console(const char *path)
{
	struct payload p;

	payload_init(&p, path);
	p.cmdline = "nobody-listens";
	p.close_console = true;
	p.partial = true;
	payload_run(&p);
	payload_expect_end(&p, VM_END_RESET);
	finish(&p);
}

int main(int argc, char **argv)
{
	const char *path = argv[1];

	(void)argc;
	expect_reset(path, "reset", VM_END_RESET);
	expect_reset(path, "output-port", VM_END_RESET);
	expect_reset(path, "panic", VM_END_PANIC);
	expect_reset(path, "crashload", VM_END_PANIC);
	expect_reset(path, "nopanic", VM_END_RESET);
	expect_crash(path);
	expect_stop(path, "spin", false, true);
	expect_stop(path, "halt", false, true);
	expect_stop(path, "exits", false, true);
	expect_stop(path, "shout", false, true);
	expect_stop(path, "shout", false, false);
	expect_stop(path, "shout", true, false);
	expect_stop(path, "spin", true, true);
	expect_deaf_console(path);
	return failed != 0;
}
