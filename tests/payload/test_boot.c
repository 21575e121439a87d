// SPDX-License-Identifier: Apache-2.0
#include "harness.h"

int main(int argc, char **argv)
{
	struct payload p;

	(void)argc;
	payload_init(&p, argv[1]);
	p.cmdline = "payload=boot and=so on=1";
	p.cpus = 2;
	p.workload = true;
	payload_add_disk(&p, 1u << 20);
	payload_run(&p);
	payload_expect_end(&p, VM_END_RESET);
	payload_expect(&p, p.message.stats.user_exits > 100, "implausible exit counts");
	payload_expect(&p, p.log_len == 0, "the log is not empty");
	return !payload_verdict(&p);
}
