// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "base/log.h"
#include "cli/cli.h"
#include "config/config.h"
#include "supervisor/supervisor.h"

int cmd_boot(int argc, char **argv)
{
	uint64_t begin_ns = clock_now_ns();
	struct boot_config cfg;
	struct error err;
	int status;

	config_init(&cfg);
	int ret = config_parse_boot(&cfg, argc, argv, &err);
	if (ret < 0) {
		log_line("%s", err.text);
		status = STATUS_ERROR;
	} else {
		status = ret ? 0 : supervisor_run(&cfg, begin_ns);
		if (ret == 0 && cfg.detach && status == 0)
			puts(cfg.name);
	}
	config_deinit(&cfg);
	return status;
}
