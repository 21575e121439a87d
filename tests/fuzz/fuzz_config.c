// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a config file: src/config's JSON reader and the checks behind it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the rest of kvmbox may rely on after config_finish(). */
static void check_promises(const struct boot_config *cfg)
{
	size_t roots = 0;

	if (!cfg->name || strlen(cfg->name) > CONFIG_NAME_MAX || !cfg->env)
		abort();
	if (cfg->cpus < 1 || cfg->cpus > CONFIG_CPUS_MAX)
		abort();
	if (cfg->mem_bytes < (32u << 20) || cfg->mem_bytes % 4096)
		abort();
	if (cfg->ndisks > CONFIG_DISKS_MAX || (cfg->argv && !cfg->argv[0]))
		abort();
	for (size_t i = 0; i < cfg->ndisks; i++) {
		const struct disk_config *disk = &cfg->disks[i];

		if (!disk->path || !*disk->path || disk->queues > CONFIG_QUEUES_MAX)
			abort();
		if (strlen(disk->serial) > CONFIG_SERIAL_MAX || (disk->root && i != 0))
			abort();
		roots += disk->root;
	}
	if (cfg->full_system != (cfg->initrd || (roots && !cfg->argv)))
		abort();
	for (size_t i = 0; cfg->env[i]; i++) {
		if (!strchr(cfg->env[i], '='))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct boot_config cfg;
	struct error err = { "" };

	config_init(&cfg);

	int ret = config_parse_json(&cfg, (const char *)data, size, "vm.json", &err);

	if (ret == 0)
		ret = config_finish(&cfg, &err);
	if (ret == 0)
		check_promises(&cfg);
	else if (!err.text[0] || strpbrk(err.text, "\n\033"))
		abort(); /* no sentence, or one that could play with a terminal */
	config_deinit(&cfg);
	return 0;
}
