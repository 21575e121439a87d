// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as a config file: src/config's JSON reader and the checks behind it. And the same as
 * the body of a request for a machine that runs.
 */
#include <json-c/json.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_limits(const struct limits *limits)
{
	if (!bucket_spec_ok(&limits->ops) || !bucket_spec_ok(&limits->bytes))
		abort();
}

static void check_net_promises(const struct boot_config *cfg)
{
	bool forwards = false;

	if (cfg->nnets > CONFIG_NETS_MAX || cfg->npublish > CONFIG_PUBLISH_MAX)
		abort();
	for (size_t i = 0; i < cfg->nnets; i++) {
		const struct net_config *net = &cfg->nets[i];

		if ((net->mode == NET_TAP) != !!net->tap[0] ||
		    !memchr(net->tap, '\0', sizeof(net->tap)))
			abort();
		if (net->nips > CONFIG_IPS_MAX || net->ngateways > 2 || net->ndns > CONFIG_DNS_MAX)
			abort();
		if (net->queues > CONFIG_PAIRS_MAX || net->mtu > CONFIG_MTU_MAX || net->mac[0] & 1)
			abort();
		check_limits(&net->rx_limits);
		check_limits(&net->tx_limits);
		forwards |= net->mode != NET_TAP;
	}
	if (cfg->npublish && !forwards)
		abort();
	for (size_t i = 0; i < cfg->npublish; i++) {
		if (!cfg->publish[i].host_port || !cfg->publish[i].guest_port)
			abort();
	}
}

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
		check_limits(&disk->limits);
		roots += disk->root;
	}
	check_net_promises(cfg);
	if (cfg->full_system != (cfg->initrd || (roots && !cfg->argv)))
		abort();
	for (size_t i = 0; cfg->env[i]; i++) {
		if (!strchr(cfg->env[i], '='))
			abort();
	}
}

/* No sentence, or one that could play with a terminal. */
static void check_sentence(const struct error *err)
{
	if (!err->text[0] || strpbrk(err->text, "\n\033"))
		abort();
}

static void patch(const uint8_t *data, size_t size)
{
	struct disk_config disk = { .limits = { .ops = { 1, 2, 3, 4 } } };
	struct net_config net = { .rx_limits = { .ops = { 1, 2, 3, 4 } } };
	struct limits before = disk.limits;
	struct error err = { "" };
	char *text = strndup((const char *)data, size);
	struct json_object *body = json_tokener_parse(text);

	free(text);
	if (json_object_is_type(body, json_type_object)) {
		if (config_patch_drive(&disk, "a", body, &err)) {
			check_sentence(&err);
			if (memcmp(&disk.limits, &before, sizeof(before)) != 0)
				abort();
		}
		check_limits(&disk.limits);
		if (config_patch_net(&net, "a", body, &err)) {
			check_sentence(&err);
			if (memcmp(&net.rx_limits, &before, sizeof(before)) != 0)
				abort();
		}
		check_limits(&net.rx_limits);
		check_limits(&net.tx_limits);
	}
	json_object_put(body);
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
	else
		check_sentence(&err);
	config_deinit(&cfg);
	patch(data, size);
	return 0;
}
