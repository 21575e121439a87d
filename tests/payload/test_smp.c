// SPDX-License-Identifier: Apache-2.0
/* Two vCPUs that race for a disk's registers and memory: the monitor and the image survive. */
#include "harness.h"

int main(int argc, char **argv)
{
	struct payload p;

	(void)argc;
	payload_init(&p, argv[1]);
	p.cpus = 2;
	p.workload = true;
	payload_add_disk(&p, 8u << 20)->queues = 2;
	payload_add_stream_net(&p);
	payload_run(&p);
	payload_expect_end(&p, VM_END_RESET);
	payload_expect_disk(&p, 0, 0, NULL, p.disks[0].size);
	return !payload_verdict(&p);
}
