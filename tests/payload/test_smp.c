// SPDX-License-Identifier: Apache-2.0
/*
 * Two vCPUs that race for a disk's registers and memory: the monitor and the image survive. A
 * second argument, "loops", gives the disk's queues threads of their own.
 */
#include "harness.h"

int main(int argc, char **argv)
{
	struct payload p;

	payload_init(&p, argv[1]);
	p.cpus = 2;
	p.workload = true;
	payload_add_disk(&p, 8u << 20)->queues = 2;
	p.disks[0].own_loops = argc > 2;
	payload_add_stream_net(&p);
	payload_run(&p);
	payload_expect_end(&p, VM_END_RESET);
	payload_expect_disk(&p, 0, 0, NULL, p.disks[0].size);
	return !payload_verdict(&p);
}
