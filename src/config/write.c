// SPDX-License-Identifier: Apache-2.0
#include "config/write.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "base/cleanup.h"
#include "config/words.h"

#define MIB (1ull << 20)

/*
 * json-c takes a NULL for null, so that running out of memory would lose a key without a word:
 * every value goes through here, and one that is missing spoils the whole document.
 */
struct writer {
	bool failed;
};

static void add(struct writer *w, struct json_object *object, const char *key,
		struct json_object *value)
{
	if (!object || !value || json_object_object_add(object, key, value) != 0) {
		json_object_put(value);
		w->failed = true;
	}
}

static void append(struct writer *w, struct json_object *array, struct json_object *value)
{
	if (!array || !value || json_object_array_add(array, value) != 0) {
		json_object_put(value);
		w->failed = true;
	}
}

static void add_string(struct writer *w, struct json_object *object, const char *key,
		       const char *value)
{
	if (value)
		add(w, object, key, json_object_new_string(value));
}

/* A number of which 0 stands for "not given". */
static void add_number(struct writer *w, struct json_object *object, const char *key,
		       uint64_t value)
{
	if (value)
		add(w, object, key, json_object_new_int64((int64_t)value));
}

static void add_true(struct writer *w, struct json_object *object, const char *key, bool value)
{
	if (value)
		add(w, object, key, json_object_new_boolean(true));
}

/* Enter @part, unless nothing is in it. */
static void add_part(struct writer *w, struct json_object *object, const char *key,
		     struct json_object *part)
{
	if (part && json_object_is_type(part, json_type_object) &&
	    json_object_object_length(part) == 0)
		json_object_put(part);
	else
		add(w, object, key, part);
}

static struct json_object *strings(struct writer *w, char *const *list)
{
	struct json_object *array = json_object_new_array();

	for (; *list; list++)
		append(w, array, json_object_new_string(*list));
	return array;
}

static struct json_object *boot_source(struct writer *w, const struct boot_config *cfg)
{
	struct json_object *o = json_object_new_object();

	add_string(w, o, "kernel_image_path", cfg->kernel);
	add_string(w, o, "initrd_path", cfg->initrd);
	add_string(w, o, "boot_args", cfg->boot_args);
	return o;
}

static struct json_object *machine_config(struct writer *w, const struct boot_config *cfg)
{
	struct json_object *o = json_object_new_object();
	char size[24];

	add_number(w, o, "vcpu_count", cfg->cpus);
	add_number(w, o, "cpu_weight", cfg->cpu_weight);
	add_number(w, o, "io_weight", cfg->io_weight);
	if (cfg->mem_bytes % MIB == 0) {
		add_number(w, o, "mem_size_mib", cfg->mem_bytes / MIB);
		return o;
	}
	snprintf(size, sizeof(size), "%" PRIu64, cfg->mem_bytes);
	add_string(w, o, "mem_size", size);
	return o;
}

static void add_bucket(struct writer *w, struct json_object *limits, const char *key,
		       const struct bucket_spec *bucket)
{
	struct json_object *o;

	if (!bucket_limits(bucket))
		return;
	o = json_object_new_object();
	add_number(w, o, "size", bucket->size);
	add_number(w, o, "one_time_burst", bucket->one_time_burst);
	add_number(w, o, "refill_time", bucket->refill_ms);
	add_number(w, o, "refill", bucket->refill == bucket->size ? 0 : bucket->refill);
	add(w, limits, key, o);
}

static void add_limits(struct writer *w, struct json_object *object, const char *key,
		       const struct limits *limits)
{
	struct json_object *o = json_object_new_object();

	add_bucket(w, o, "bandwidth", &limits->bytes);
	add_bucket(w, o, "ops", &limits->ops);
	add_part(w, object, key, o);
}

static struct json_object *balloon(struct writer *w, const struct balloon_config *cfg)
{
	struct json_object *o = json_object_new_object();

	add_number(w, o, "amount_mib", cfg->amount_mib);
	if (cfg->keep_on_oom)
		add(w, o, "deflate_on_oom", json_object_new_boolean(false));
	if (cfg->no_reporting)
		add(w, o, "free_page_reporting", json_object_new_boolean(false));
	return o;
}

static struct json_object *drive(struct writer *w, const struct disk_config *disk)
{
	static const char *const direct[] = {
		[DISK_DIRECT_AUTO] = NULL,
		[DISK_DIRECT_ON] = "on",
		[DISK_DIRECT_OFF] = "off",
	};
	struct json_object *o = json_object_new_object();

	add_string(w, o, "drive_id", disk->id[0] ? disk->id : NULL);
	add_string(w, o, "path_on_host", disk->path);
	add_true(w, o, "is_root_device", disk->root);
	add_true(w, o, "is_read_only", disk->read_only);
	add_string(w, o, "serial", disk->serial[0] ? disk->serial : NULL);
	add_string(w, o, "direct", direct[disk->direct]);
	add_number(w, o, "queues", disk->queues);
	add_true(w, o, "fixed_buffers", disk->fixed_buffers);
	add_true(w, o, "sqpoll", disk->sqpoll);
	add_limits(w, o, "rate_limiter", &disk->limits);
	return o;
}

static void add_addresses(struct writer *w, struct json_object *object, const char *key,
			  const struct ip_addr *ips, size_t n,
			  struct ip_text (*show)(const struct ip_addr *ip))
{
	struct json_object *array;

	if (!n)
		return;
	array = json_object_new_array();
	for (size_t i = 0; i < n; i++)
		append(w, array, json_object_new_string(show(&ips[i]).text));
	add(w, object, key, array);
}

static struct json_object *interface(struct writer *w, const struct net_config *net)
{
	struct json_object *o = json_object_new_object();

	add_string(w, o, "iface_id", net->id[0] ? net->id : NULL);
	if (net->mode == NET_TAP)
		add_string(w, o, "host_dev_name", net->tap);
	else
		add_string(w, o, "mode", net->mode == NET_NAT ? "nat" : "user");
	add_string(w, o, "guest_mac", net->has_mac ? mac_show(net->mac).text : NULL);
	add_number(w, o, "mtu", net->mtu);
	add_number(w, o, "queues", net->queues);
	add_limits(w, o, "rx_rate_limiter", &net->rx_limits);
	add_limits(w, o, "tx_rate_limiter", &net->tx_limits);
	add_addresses(w, o, "ip", net->ips, net->nips, ip_show_prefix);
	add_addresses(w, o, "gw", net->gateways, net->ngateways, ip_show);
	add_addresses(w, o, "dns", net->dns, net->ndns, ip_show);
	if (net->unfiltered)
		add(w, o, "filter", json_object_new_boolean(false));
	return o;
}

static struct json_object *workload(struct writer *w, const struct boot_config *cfg)
{
	struct json_object *o = json_object_new_object();

	if (cfg->argv)
		add(w, o, "argv", strings(w, cfg->argv));
	if (cfg->env && cfg->env[0])
		add(w, o, "env", strings(w, cfg->env));
	add_string(w, o, "workdir", cfg->workdir);
	return o;
}

static struct json_object *forward(struct writer *w, const struct forward_config *f)
{
	struct json_object *o;
	char *text;

	if (asprintf(&text, "%s=%s", f->path, f->guest) < 0) {
		w->failed = true;
		return NULL;
	}
	o = json_object_new_string(text);
	free(text);
	return o;
}

static void add_lists(struct writer *w, struct json_object *root, const struct boot_config *cfg)
{
	struct json_object *drives = json_object_new_array();
	struct json_object *nets = json_object_new_array();
	struct json_object *ports = json_object_new_array();
	struct json_object *allow = json_object_new_array();
	struct json_object *forwards = json_object_new_array();

	for (size_t i = 0; i < cfg->ndisks; i++)
		append(w, drives, drive(w, &cfg->disks[i]));
	for (size_t i = 0; i < cfg->nnets; i++)
		append(w, nets, interface(w, &cfg->nets[i]));
	for (size_t i = 0; i < cfg->npublish; i++)
		append(w, ports, json_object_new_string(publish_show(&cfg->publish[i]).text));
	for (size_t i = 0; i < cfg->nallow; i++)
		append(w, allow, json_object_new_string(cfg->allow[i]));
	for (size_t i = 0; i < cfg->nforwards; i++)
		append(w, forwards, forward(w, &cfg->forwards[i]));

	struct {
		const char *key;
		struct json_object *array;
		size_t n;
	} const lists[] = {
		{ "drives", drives, cfg->ndisks },       { "network-interfaces", nets, cfg->nnets },
		{ "publish", ports, cfg->npublish },     { "allow", allow, cfg->nallow },
		{ "forward", forwards, cfg->nforwards },
	};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		if (lists[i].n)
			add(w, root, lists[i].key, lists[i].array);
		else
			json_object_put(lists[i].array);
	}
}

static void add_timeout(struct writer *w, struct json_object *root, uint64_t ms)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64 "ms", ms);
	add_string(w, root, "timeout", ms ? text : NULL);
}

char *config_to_json(const struct boot_config *cfg)
{
	struct writer w = { .failed = false };
	struct json_object *root = json_object_new_object();
	const char *text = NULL;
	char *copy = NULL;

	add_string(&w, root, "name", cfg->name);
	add_part(&w, root, "boot-source", boot_source(&w, cfg));
	add_part(&w, root, "machine-config", machine_config(&w, cfg));
	add_part(&w, root, "balloon", balloon(&w, &cfg->balloon));
	add_string(&w, root, "rootfs", cfg->rootfs);
	add_lists(&w, root, cfg);
	add_string(&w, root, "append", cfg->append);
	add_part(&w, root, "workload", workload(&w, cfg));
	add_true(&w, root, "init", cfg->init);
	add_timeout(&w, root, cfg->timeout_ms);
	if (root && !w.failed)
		text = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY |
								    JSON_C_TO_STRING_SPACED |
								    JSON_C_TO_STRING_NOSLASHESCAPE);
	if (text && asprintf(&copy, "%s\n", text) < 0)
		copy = NULL;
	json_object_put(root);
	return copy;
}

int config_to_checked_json(const struct boot_config *cfg, const char *path, char **text,
			   struct error *err)
{
	AUTO_FREE char *json = config_to_json(cfg);
	struct boot_config check;
	int ret;

	if (!json)
		return error_set(err, ENOMEM, "%s: out of memory", word_show(path).text);
	config_init(&check);
	ret = config_parse_json(&check, json, strlen(json), path, err);
	if (ret == 0)
		ret = config_finish(&check, err);
	config_deinit(&check);
	if (ret == 0)
		*text = steal_ptr(json);
	return ret;
}
