// SPDX-License-Identifier: Apache-2.0
//
// The boot bench's PID 1: says that it runs and waits to be killed with the VM. As any other
// process it only executes the marker, which tells the instruction counter (insn.c) that a boot
// begins.

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
	static const char line[] = "PID1\n";

	// A no-operation that no compiler makes: nopl "kvmb"(%rax,%rax).
	asm volatile(".byte 0x0f, 0x1f, 0x84, 0x00, 'k', 'v', 'm', 'b'");
	if (getpid() != 1)
		return EXIT_SUCCESS;
	if (write(STDOUT_FILENO, line, strlen(line)) < 0)
		return EXIT_FAILURE;
	for (;;)
		pause();
}
