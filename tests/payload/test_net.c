// SPDX-License-Identifier: Apache-2.0
/* A network card on a real tap, and a driver that keeps to the rules. */
#include "harness.h"

int main(int argc, char **argv)
{
	struct payload p;

	(void)argc;
	payload_init(&p, argv[1]);
	payload_add_tap(&p, NETPORT_PAIRS_MAX / 2);
	payload_run(&p);
	payload_expect_end(&p, VM_END_RESET);
	payload_expect(&p, payload_count_log(&p, "waits for a reset") == 0,
		       "a driver that keeps to the rules was called a liar");
	/* The payload has its peer delete the tap at last. */
	payload_expect_log(&p, "the guest's link is down for good");
	return !payload_verdict(&p);
}
