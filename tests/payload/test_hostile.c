// SPDX-License-Identifier: Apache-2.0
/*
 * Payloads that mean harm: the monitor survives, says what it saw at a limited rate, and nothing on
 * the disk changes. A second argument is the guest's memory in MiB, or "tap": the network card is
 * over a real one, with several queues. A third, "loops", gives the disk's queues threads of their
 * own.
 */
#include <stdlib.h>
#include <string.h>

#include "harness.h"

/* What one guest may make the monitor say in one run, however hard it tries. */
#define LINES_MAX 1000

int main(int argc, char **argv)
{
	struct payload p;

	payload_init(&p, argv[1]);
	bool tap = argc > 2 && !strcmp(argv[2], "tap");

	if (tap)
		payload_add_tap(&p, 4);
	else
		payload_add_stream_net(&p);
	if (argc > 2 && !tap)
		p.mem_bytes = strtoull(argv[2], NULL, 10) << 20;
	p.cpus = 2;
	p.workload = true;
	payload_add_disk(&p, 8u << 20)->queues = 2;
	p.disks[0].own_loops = argc > 3;
	payload_run(&p);
	payload_expect_end(&p, VM_END_RESET);
	payload_expect_log(&p, "the device waits for a reset");
	payload_expect(&p, payload_count_log(&p, "\n") < LINES_MAX, "the log is flooded: %u lines",
		       payload_count_log(&p, "\n"));
	payload_expect_disk(&p, 0, 0, NULL, p.disks[0].size);
	return !payload_verdict(&p);
}
