// SPDX-License-Identifier: Apache-2.0
/* Runs a payload that needs nothing from the host but the machine itself. */
#include "harness.h"

int main(int argc, char **argv)
{
	struct payload p;

	(void)argc;
	payload_init(&p, argv[1]);
	payload_run(&p);
	payload_expect_end(&p, VM_END_RESET);
	payload_expect(&p, p.log_len == 0, "the log is not empty");
	return !payload_verdict(&p);
}
