// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "config/json_dup.h"
#include "config/set.h"
#include "config/words.h"

/*
 * The config file: Firecracker's keys, ours beside them.
 *
 * Each object is a table of keys, each key a function that checks one value and enters it through
 * set.h, as an option on the command line would. A null stands for a key that is not there, as it
 * does for Firecracker. What Firecracker knows and kvmbox cannot do is refused with a sentence
 * wherever the guest would notice the difference.
 */

/* Where in the document a value stands, from the inside out. */
struct at {
	const struct at *up;
	const char *key; /* NULL: element @index of an array */
	size_t index;
};

struct parse {
	struct boot_config *cfg;
	const char *path;
	struct error *err;
	struct disk_config *disk; /* the drive under way */
	size_t ndrives;
	struct net_config *net;     /* the network interface under way */
	struct limits *limits;      /* the limiter under way, */
	struct bucket_spec *bucket; /* and its token bucket */
	size_t nnets;
	const char *id; /* that a request is for */
	bool mem_given; /* by one of the two keys there are for it */
	bool argv_given;
};

struct key_spec {
	const char *name;
	int (*enter)(struct parse *p, const struct at *at, struct json_object *value);
};

struct where {
	char text[512];
};

static size_t write_keys(const struct at *at, char *buf, size_t size)
{
	size_t n = at->up ? write_keys(at->up, buf, size) : 0;

	if (n >= size)
		return size;
	if (at->key)
		return n + (size_t)snprintf(buf + n, size - n, "%s%s", n ? "." : "",
					    word_show(at->key).text);
	return n + (size_t)snprintf(buf + n, size - n, "[%zu]", at->index);
}

/* "FILE: KEY.KEY[N].KEY", the opening of every sentence. */
static struct where where(const struct parse *p, const struct at *at)
{
	struct where w;
	int n = snprintf(w.text, sizeof(w.text), "%s: ", word_show(p->path).text);

	write_keys(at, w.text + n, sizeof(w.text) - (size_t)n);
	return w;
}

__attribute__((format(printf, 3, 4))) static int refuse(struct parse *p, const struct at *at,
							const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return error_set(p->err, EINVAL, "%s: %s", where(p, at).text, text);
}

static const char *type_name(struct json_object *value)
{
	switch (json_object_get_type(value)) {
	case json_type_null:
		return "null";
	case json_type_boolean:
		return json_object_get_boolean(value) ? "true" : "false";
	case json_type_double:
	case json_type_int:
		return "a number";
	case json_type_object:
		return "an object";
	case json_type_array:
		return "an array";
	default:
		return "a string";
	}
}

static int wrong_type(struct parse *p, const struct at *at, struct json_object *value,
		      const char *wanted)
{
	return refuse(p, at, "expected %s, found %s", wanted, type_name(value));
}

/* The string of @value, borrowed from it. */
static int get_string(struct parse *p, const struct at *at, struct json_object *value,
		      const char **out)
{
	if (!json_object_is_type(value, json_type_string))
		return wrong_type(p, at, value, "a string");

	const char *s = json_object_get_string(value);

	if (strlen(s) != (size_t)json_object_get_string_len(value))
		return refuse(p, at, "the string holds a NUL character");
	*out = s;
	return 0;
}

static int get_integer(struct parse *p, const struct at *at, struct json_object *value,
		       int64_t *out)
{
	if (!json_object_is_type(value, json_type_int))
		return wrong_type(p, at, value, "a whole number");
	*out = json_object_get_int64(value);
	return 0;
}

static int get_boolean(struct parse *p, const struct at *at, struct json_object *value, bool *out)
{
	if (!json_object_is_type(value, json_type_boolean))
		return wrong_type(p, at, value, "true or false");
	*out = json_object_get_boolean(value);
	return 0;
}

/* One of the words in @words, a NULL-terminated list that a sentence can also show as @shown. */
static int check_word(struct parse *p, const struct at *at, struct json_object *value,
		      const char *const *words, const char *shown)
{
	const char *s;
	int ret = get_string(p, at, value, &s);

	if (ret < 0)
		return ret;
	for (; *words; words++) {
		if (strcmp(s, *words) == 0)
			return 0;
	}
	return refuse(p, at, "\"%s\" is not %s", word_show(s).text, shown);
}

static int enter_object(struct parse *p, const struct at *at, struct json_object *object,
			const struct key_spec *keys, size_t nkeys)
{
	if (!json_object_is_type(object, json_type_object))
		return wrong_type(p, at, object, "an object");
	json_object_object_foreach(object, name, value)
	{
		struct at here = { .up = at, .key = name };
		struct word_match match = { 0 };
		size_t i = 0;
		int ret;

		while (i < nkeys && strcmp(keys[i].name, name) != 0)
			word_match_try(&match, name, keys[i++].name);
		if (i == nkeys)
			return refuse(p, &here, "unknown key%s", word_show_match(&match).text);
		if (!value)
			continue;
		ret = keys[i].enter(p, &here, value);
		if (ret < 0)
			return ret;
	}
	return 0;
}

#define ENTER_OBJECT(p, at, value, keys) \
	enter_object(p, at, value, keys, sizeof(keys) / sizeof((keys)[0]))

/* Call @enter for each element of the array @value. */
static int enter_array(struct parse *p, const struct at *at, struct json_object *value,
		       int (*enter)(struct parse *p, const struct at *at, struct json_object *v))
{
	if (!json_object_is_type(value, json_type_array))
		return wrong_type(p, at, value, "an array");

	size_t n = json_object_array_length(value);
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < n; i++) {
		struct at here = { .up = at, .index = i };

		ret = enter(p, &here, json_object_array_get_idx(value, i));
	}
	return ret;
}

static bool is_empty(struct json_object *value)
{
	switch (json_object_get_type(value)) {
	case json_type_null:
		return true;
	case json_type_object:
		return json_object_object_length(value) == 0;
	case json_type_array:
		return json_object_array_length(value) == 0;
	case json_type_string:
		return json_object_get_string_len(value) == 0;
	default:
		return false;
	}
}

/* A key that Firecracker knows and that promises the guest something kvmbox cannot give it. */
static int not_supported(struct parse *p, const struct at *at, struct json_object *value)
{
	if (is_empty(value))
		return 0;
	return refuse(p, at, "this is not supported yet; take it out, or make it null");
}

/* A key that changes nothing for the guest, so that its absence here may pass with a word. */
static int not_done(struct parse *p, const struct at *at, struct json_object *value)
{
	if (!json_object_is_type(value, json_type_object))
		return wrong_type(p, at, value, "an object");
	log_line("%s: ignored, kvmbox has no such thing; the guest is not affected",
		 where(p, at).text);
	return 0;
}

static int not_limited(struct parse *p, const struct at *at, struct json_object *value)
{
	if (!json_object_is_type(value, json_type_object))
		return wrong_type(p, at, value, "an object");
	json_object_object_foreach(value, name, limit)
	{
		(void)name;
		if (!is_empty(limit))
			return refuse(p, at,
				      "this device cannot be limited; take it out, or make it "
				      "null");
	}
	return 0;
}

/* Limits: Firecracker's token buckets, which have one key more here (refill). */

static int enter_tokens(struct parse *p, const struct at *at, struct json_object *value,
			uint64_t max, uint64_t *out)
{
	int64_t n = 0;
	int ret = get_integer(p, at, value, &n);

	if (ret < 0)
		return ret;
	if (n < 0 || (uint64_t)n > max)
		return refuse(p, at, "%lld is out of range, it is 0 to %llu", (long long)n,
			      (unsigned long long)max);
	*out = (uint64_t)n;
	return 0;
}

static int enter_bucket_size(struct parse *p, const struct at *at, struct json_object *value)
{
	return enter_tokens(p, at, value, BUCKET_TOKENS_MAX, &p->bucket->size);
}

static int enter_bucket_burst(struct parse *p, const struct at *at, struct json_object *value)
{
	return enter_tokens(p, at, value, BUCKET_TOKENS_MAX, &p->bucket->one_time_burst);
}

static int enter_bucket_time(struct parse *p, const struct at *at, struct json_object *value)
{
	return enter_tokens(p, at, value, BUCKET_REFILL_MS_MAX, &p->bucket->refill_ms);
}

static int enter_bucket_refill(struct parse *p, const struct at *at, struct json_object *value)
{
	return enter_tokens(p, at, value, BUCKET_TOKENS_MAX, &p->bucket->refill);
}

/* As Firecracker has it, nothing is limited where the size or the time is 0. */
static int enter_bucket(struct parse *p, const struct at *at, struct json_object *value,
			struct bucket_spec *out)
{
	static const struct key_spec keys[] = {
		{ "size", enter_bucket_size },
		{ "one_time_burst", enter_bucket_burst },
		{ "refill_time", enter_bucket_time },
		{ "refill", enter_bucket_refill },
	};
	static const char *const required[] = { "size", "refill_time" };
	struct bucket_spec bucket = { 0 };
	int ret;

	p->bucket = &bucket;
	ret = ENTER_OBJECT(p, at, value, keys);
	p->bucket = NULL;
	for (size_t i = 0; ret == 0 && i < sizeof(required) / sizeof(required[0]); i++)
		if (!json_object_object_get(value, required[i]))
			ret = refuse(p, at, "the key %s is missing", required[i]);
	if (ret < 0)
		return ret;
	if (!json_object_object_get(value, "refill"))
		bucket.refill = bucket.size;
	if (!bucket.size || !bucket.refill_ms || !bucket.refill)
		bucket = (struct bucket_spec){ 0 };
	*out = bucket;
	return 0;
}

static int enter_bandwidth(struct parse *p, const struct at *at, struct json_object *value)
{
	return enter_bucket(p, at, value, &p->limits->bytes);
}

static int enter_ops(struct parse *p, const struct at *at, struct json_object *value)
{
	return enter_bucket(p, at, value, &p->limits->ops);
}

static int enter_limits(struct parse *p, const struct at *at, struct json_object *value,
			struct limits *out)
{
	static const struct key_spec keys[] = {
		{ "bandwidth", enter_bandwidth },
		{ "ops", enter_ops },
	};

	p->limits = out;
	return ENTER_OBJECT(p, at, value, keys);
}

static int enter_ignored_boolean(struct parse *p, const struct at *at, struct json_object *value)
{
	bool ignored;

	return get_boolean(p, at, value, &ignored);
}

/* boot-source */

static int enter_kernel(struct parse *p, const struct at *at, struct json_object *value)
{
	const char *s;
	int ret = get_string(p, at, value, &s);

	return ret < 0 ? ret : set_path(&p->cfg->kernel, where(p, at).text, s, p->err);
}

static int enter_initrd(struct parse *p, const struct at *at, struct json_object *value)
{
	const char *s;
	int ret = get_string(p, at, value, &s);

	return ret < 0 ? ret : set_path(&p->cfg->initrd, where(p, at).text, s, p->err);
}

static int enter_boot_args(struct parse *p, const struct at *at, struct json_object *value)
{
	const char *s;
	int ret = get_string(p, at, value, &s);

	return ret < 0 ? ret : set_kernel_words(&p->cfg->boot_args, where(p, at).text, s, p->err);
}

static int enter_boot_source(struct parse *p, const struct at *at, struct json_object *value)
{
	static const struct key_spec keys[] = {
		{ "kernel_image_path", enter_kernel },
		{ "initrd_path", enter_initrd },
		{ "boot_args", enter_boot_args },
	};

	return ENTER_OBJECT(p, at, value, keys);
}

/* machine-config */

static int enter_vcpu_count(struct parse *p, const struct at *at, struct json_object *value)
{
	int64_t n = 0;
	int ret = get_integer(p, at, value, &n);

	return ret < 0 ? ret : set_cpus(p->cfg, where(p, at).text, n, p->err);
}

static int enter_weight(struct parse *p, const struct at *at, struct json_object *value,
			unsigned int *field)
{
	int64_t n = 0;
	int ret = get_integer(p, at, value, &n);

	return ret < 0 ? ret : set_weight(field, where(p, at).text, n, p->err);
}

static int enter_cpu_weight(struct parse *p, const struct at *at, struct json_object *value)
{
	return enter_weight(p, at, value, &p->cfg->cpu_weight);
}

static int enter_io_weight(struct parse *p, const struct at *at, struct json_object *value)
{
	return enter_weight(p, at, value, &p->cfg->io_weight);
}

static int check_only_mem(struct parse *p, const struct at *at)
{
	if (p->mem_given)
		return refuse(p, at,
			      "the memory's size is given both as mem_size and as mem_size_mib; "
			      "leave out one of the two");
	p->mem_given = true;
	return 0;
}

static int enter_mem_size_mib(struct parse *p, const struct at *at, struct json_object *value)
{
	int64_t mib = 0;
	int ret = check_only_mem(p, at);

	if (ret == 0)
		ret = get_integer(p, at, value, &mib);
	return ret < 0 ? ret : set_mem_mib(p->cfg, where(p, at).text, mib, p->err);
}

static int enter_mem_size(struct parse *p, const struct at *at, struct json_object *value)
{
	const char *s = NULL;
	int ret = check_only_mem(p, at);

	if (ret == 0)
		ret = get_string(p, at, value, &s);
	return ret < 0 ? ret : set_mem(p->cfg, where(p, at).text, s, p->err);
}

static int enter_cpu_template(struct parse *p, const struct at *at, struct json_object *value)
{
	const char *s;
	int ret = get_string(p, at, value, &s);

	if (ret < 0)
		return ret;
	if (strcmp(s, "None") == 0)
		return 0;
	return refuse(p, at, "CPU templates are not supported yet; \"%s\" must be \"None\"",
		      word_show(s).text);
}

static int enter_huge_pages(struct parse *p, const struct at *at, struct json_object *value)
{
	static const char *const words[] = { "None", "2M", NULL };

	return check_word(p, at, value, words, "\"None\" or \"2M\"");
}

static int enter_machine_config(struct parse *p, const struct at *at, struct json_object *value)
{
	static const struct key_spec keys[] = {
		{ "vcpu_count", enter_vcpu_count },
		{ "cpu_weight", enter_cpu_weight },
		{ "io_weight", enter_io_weight },
		{ "mem_size_mib", enter_mem_size_mib },
		{ "mem_size", enter_mem_size },
		{ "smt", enter_ignored_boolean },
		{ "track_dirty_pages", enter_ignored_boolean },
		{ "cpu_template", enter_cpu_template },
		{ "huge_pages", enter_huge_pages },
	};

	return ENTER_OBJECT(p, at, value, keys);
}

/* drives */

static int enter_id(struct parse *p, const struct at *at, struct json_object *value, char *field)
{
	const char *id;
	int ret = get_string(p, at, value, &id);

	return ret < 0 ? ret : set_id(field, where(p, at).text, id, p->err);
}

static int refuse_same_id(struct parse *p, const struct at *at, const char *array, size_t i,
			  const char *id)
{
	return refuse(p, at, "%s[%zu] is called \"%s\" already", array, i, id);
}

static int enter_drive_id(struct parse *p, const struct at *at, struct json_object *value)
{
	char *id = p->disk->id;
	int ret = enter_id(p, at, value, id);

	for (size_t i = 0; !ret && i < p->cfg->ndisks; i++)
		if (strcmp(p->cfg->disks[i].id, id) == 0)
			ret = refuse_same_id(p, at, "drives", i, id);
	return ret;
}

static int enter_drive_path(struct parse *p, const struct at *at, struct json_object *value)
{
	const char *s;
	int ret = get_string(p, at, value, &s);

	return ret < 0 ? ret : set_path(&p->disk->path, where(p, at).text, s, p->err);
}

static int enter_drive_root(struct parse *p, const struct at *at, struct json_object *value)
{
	return get_boolean(p, at, value, &p->disk->root);
}

static int enter_drive_read_only(struct parse *p, const struct at *at, struct json_object *value)
{
	return get_boolean(p, at, value, &p->disk->read_only);
}

static int enter_cache_type(struct parse *p, const struct at *at, struct json_object *value)
{
	static const char *const words[] = { "Unsafe", "Writeback", NULL };

	return check_word(p, at, value, words, "\"Unsafe\" or \"Writeback\"");
}

static int enter_io_engine(struct parse *p, const struct at *at, struct json_object *value)
{
	static const char *const words[] = { "Sync", "Async", NULL };

	return check_word(p, at, value, words, "\"Sync\" or \"Async\"");
}

static int enter_partuuid(struct parse *p, const struct at *at, struct json_object *value)
{
	if (is_empty(value))
		return 0;
	return refuse(p, at,
		      "booting from a partition is not supported yet; give an image of the file "
		      "system itself, and take this out");
}

static int enter_serial(struct parse *p, const struct at *at, struct json_object *value)
{
	const char *s;
	int ret = get_string(p, at, value, &s);

	return ret < 0 ? ret : set_disk_serial(p->disk, where(p, at).text, s, p->err);
}

static int enter_direct(struct parse *p, const struct at *at, struct json_object *value)
{
	const char *s;
	int ret = get_string(p, at, value, &s);

	return ret < 0 ? ret : set_disk_direct(p->disk, where(p, at).text, s, p->err);
}

static int enter_queues(struct parse *p, const struct at *at, struct json_object *value)
{
	int64_t n = 0;
	int ret = get_integer(p, at, value, &n);

	return ret < 0 ? ret : set_disk_queues(p->disk, where(p, at).text, n, p->err);
}

static int enter_fixed_buffers(struct parse *p, const struct at *at, struct json_object *value)
{
	return get_boolean(p, at, value, &p->disk->fixed_buffers);
}

static int enter_sqpoll(struct parse *p, const struct at *at, struct json_object *value)
{
	return get_boolean(p, at, value, &p->disk->sqpoll);
}

static int enter_drive_limits(struct parse *p, const struct at *at, struct json_object *value)
{
	return enter_limits(p, at, value, &p->disk->limits);
}

static int enter_drive(struct parse *p, const struct at *at, struct json_object *value)
{
	static const struct key_spec keys[] = {
		{ "drive_id", enter_drive_id },
		{ "path_on_host", enter_drive_path },
		{ "is_root_device", enter_drive_root },
		{ "is_read_only", enter_drive_read_only },
		{ "cache_type", enter_cache_type },
		{ "io_engine", enter_io_engine },
		{ "partuuid", enter_partuuid },
		{ "rate_limiter", enter_drive_limits },
		{ "socket", not_supported },
		{ "serial", enter_serial },
		{ "direct", enter_direct },
		{ "queues", enter_queues },
		{ "fixed_buffers", enter_fixed_buffers },
		{ "sqpoll", enter_sqpoll },
	};
	struct disk_config disk = { 0 };
	int ret = 0;

	if (p->ndrives == CONFIG_DISKS_MAX)
		return refuse(p, at, "a VM has at most %d disks", CONFIG_DISKS_MAX);
	p->disk = &disk;
	ret = ENTER_OBJECT(p, at, value, keys);
	if (ret == 0 && !disk.path)
		ret = refuse(p, at, "the key path_on_host is missing");
	if (ret == 0)
		ret = add_disk(p->cfg, where(p, at).text, &disk, p->err);
	p->disk = NULL;
	p->ndrives++;
	free(disk.path);
	return ret;
}

static int enter_drives(struct parse *p, const struct at *at, struct json_object *value)
{
	return enter_array(p, at, value, enter_drive);
}

/* network-interfaces */

static int enter_net_id(struct parse *p, const struct at *at, struct json_object *value)
{
	char *id = p->net->id;
	int ret = enter_id(p, at, value, id);

	for (size_t i = 0; !ret && i < p->cfg->nnets; i++)
		if (strcmp(p->cfg->nets[i].id, id) == 0)
			ret = refuse_same_id(p, at, "network-interfaces", i, id);
	return ret;
}

/* A string that @set enters into the network interface under way. */
static int net_string(struct parse *p, const struct at *at, struct json_object *value,
		      int (*set)(struct net_config *net, const char *where, const char *value,
				 struct error *err))
{
	const char *s;
	int ret = get_string(p, at, value, &s);

	return ret < 0 ? ret : set(p->net, where(p, at).text, s, p->err);
}

/* Likewise a number. */
static int net_integer(struct parse *p, const struct at *at, struct json_object *value,
		       int (*set)(struct net_config *net, const char *where, int64_t value,
				  struct error *err))
{
	int64_t n = 0;
	int ret = get_integer(p, at, value, &n);

	return ret < 0 ? ret : set(p->net, where(p, at).text, n, p->err);
}

static int enter_net_mode(struct parse *p, const struct at *at, struct json_object *value)
{
	return net_string(p, at, value, set_net_mode);
}

static int enter_net_tap(struct parse *p, const struct at *at, struct json_object *value)
{
	return net_string(p, at, value, set_net_tap);
}

static int enter_net_mac(struct parse *p, const struct at *at, struct json_object *value)
{
	return net_string(p, at, value, set_net_mac);
}

static int enter_net_mtu(struct parse *p, const struct at *at, struct json_object *value)
{
	return net_integer(p, at, value, set_net_mtu);
}

static int enter_net_queues(struct parse *p, const struct at *at, struct json_object *value)
{
	return net_integer(p, at, value, set_net_queues);
}

static int enter_net_ip(struct parse *p, const struct at *at, struct json_object *value)
{
	return net_string(p, at, value, add_net_ip);
}

static int enter_net_gateway(struct parse *p, const struct at *at, struct json_object *value)
{
	return net_string(p, at, value, add_net_gateway);
}

static int enter_net_dns(struct parse *p, const struct at *at, struct json_object *value)
{
	return net_string(p, at, value, add_net_dns);
}

static int enter_net_ips(struct parse *p, const struct at *at, struct json_object *value)
{
	return enter_array(p, at, value, enter_net_ip);
}

static int enter_net_gateways(struct parse *p, const struct at *at, struct json_object *value)
{
	return enter_array(p, at, value, enter_net_gateway);
}

static int enter_net_dns_list(struct parse *p, const struct at *at, struct json_object *value)
{
	return enter_array(p, at, value, enter_net_dns);
}

static int enter_rx_limits(struct parse *p, const struct at *at, struct json_object *value)
{
	return enter_limits(p, at, value, &p->net->rx_limits);
}

static int enter_tx_limits(struct parse *p, const struct at *at, struct json_object *value)
{
	return enter_limits(p, at, value, &p->net->tx_limits);
}

static int enter_net_filter(struct parse *p, const struct at *at, struct json_object *value)
{
	bool filter = true;
	int ret = get_boolean(p, at, value, &filter);

	p->net->unfiltered = !filter;
	return ret;
}

static int enter_net(struct parse *p, const struct at *at, struct json_object *value)
{
	static const struct key_spec keys[] = {
		{ "iface_id", enter_net_id },
		{ "guest_mac", enter_net_mac },
		{ "host_dev_name", enter_net_tap },
		{ "rx_rate_limiter", enter_rx_limits },
		{ "tx_rate_limiter", enter_tx_limits },
		{ "mode", enter_net_mode },
		{ "mtu", enter_net_mtu },
		{ "queues", enter_net_queues },
		{ "ip", enter_net_ips },
		{ "gw", enter_net_gateways },
		{ "dns", enter_net_dns_list },
		{ "filter", enter_net_filter },
	};
	struct net_config net = { .mode = NET_TAP };
	int ret;

	if (p->nnets == CONFIG_NETS_MAX)
		return refuse(p, at, "a VM has at most %d network cards", CONFIG_NETS_MAX);
	p->net = &net;
	ret = ENTER_OBJECT(p, at, value, keys);
	if (ret == 0 && net.mode == NET_TAP && !net.tap[0])
		ret = refuse(p, at, "the key host_dev_name is missing");
	if (ret == 0 && net.mode != NET_TAP && net.tap[0])
		ret = refuse(p, at,
			     "host_dev_name and mode exclude each other; leave out one of the two");
	if (ret == 0)
		ret = check_net(&net, where(p, at).text, p->err);
	if (ret == 0)
		ret = add_net(p->cfg, where(p, at).text, &net, p->err);
	p->net = NULL;
	p->nnets++;
	return ret;
}

static int enter_nets(struct parse *p, const struct at *at, struct json_object *value)
{
	return enter_array(p, at, value, enter_net);
}

static int enter_publish_one(struct parse *p, const struct at *at, struct json_object *value)
{
	const char *s;
	int ret = get_string(p, at, value, &s);

	return ret < 0 ? ret : add_publish(p->cfg, where(p, at).text, s, p->err);
}

static int enter_publish(struct parse *p, const struct at *at, struct json_object *value)
{
	return enter_array(p, at, value, enter_publish_one);
}

static int enter_allow_one(struct parse *p, const struct at *at, struct json_object *value)
{
	const char *s;
	int ret = get_string(p, at, value, &s);

	return ret < 0 ? ret : add_allow(p->cfg, where(p, at).text, s, p->err);
}

static int enter_allow(struct parse *p, const struct at *at, struct json_object *value)
{
	return enter_array(p, at, value, enter_allow_one);
}

static int enter_forward_one(struct parse *p, const struct at *at, struct json_object *value)
{
	const char *s;
	int ret = get_string(p, at, value, &s);

	return ret < 0 ? ret : add_forward(p->cfg, where(p, at).text, s, p->err);
}

static int enter_forward(struct parse *p, const struct at *at, struct json_object *value)
{
	return enter_array(p, at, value, enter_forward_one);
}

/* workload */

static int enter_argv(struct parse *p, const struct at *at, struct json_object *value)
{
	if (!json_object_is_type(value, json_type_array))
		return wrong_type(p, at, value, "an array of strings");
	if (p->argv_given)
		return refuse(p, at,
			      "the command is given both as argv and as cmd; leave out one of "
			      "the two");

	p->argv_given = true;

	size_t argc = json_object_array_length(value);
	AUTO_FREE const char **argv = calloc(argc + 1, sizeof(*argv));

	if (!argv)
		return error_set(p->err, ENOMEM, "%s: out of memory", where(p, at).text);
	for (size_t i = 0; i < argc; i++) {
		struct at here = { .up = at, .index = i };
		int ret = get_string(p, &here, json_object_array_get_idx(value, i), &argv[i]);

		if (ret < 0)
			return ret;
	}
	return set_argv(p->cfg, where(p, at).text, argv, argc, p->err);
}

static int enter_env_string(struct parse *p, const struct at *at, struct json_object *value)
{
	const char *s;
	int ret = get_string(p, at, value, &s);

	return ret < 0 ? ret : add_env(p->cfg, where(p, at).text, s, p->err);
}

static int enter_env_pair(struct parse *p, const struct at *at, struct json_object *value)
{
	AUTO_FREE char *assignment = NULL;
	const char *s;
	int ret;

	if (strchr(at->key, '='))
		return refuse(p, at, "the name of a variable cannot have a '='");
	ret = get_string(p, at, value, &s);
	if (ret < 0)
		return ret;

	size_t size = strlen(at->key) + 1 + strlen(s) + 1;

	assignment = malloc(size);
	if (!assignment)
		return error_set(p->err, ENOMEM, "%s: out of memory", where(p, at).text);
	snprintf(assignment, size, "%s=%s", at->key, s);
	return add_env(p->cfg, where(p, at).text, assignment, p->err);
}

static int enter_env(struct parse *p, const struct at *at, struct json_object *value)
{
	if (json_object_is_type(value, json_type_array))
		return enter_array(p, at, value, enter_env_string);
	if (!json_object_is_type(value, json_type_object))
		return wrong_type(p, at, value,
				  "an object of names and values, or an array of \"NAME=VALUE\"");
	json_object_object_foreach(value, name, content)
	{
		struct at here = { .up = at, .key = name };
		int ret = enter_env_pair(p, &here, content);

		if (ret < 0)
			return ret;
	}
	return 0;
}

static int enter_workdir(struct parse *p, const struct at *at, struct json_object *value)
{
	const char *s;
	int ret = get_string(p, at, value, &s);

	return ret < 0 ? ret : set_workdir(p->cfg, where(p, at).text, s, p->err);
}

static int enter_workload(struct parse *p, const struct at *at, struct json_object *value)
{
	static const struct key_spec keys[] = {
		{ "argv", enter_argv },
		{ "cmd", enter_argv },
		{ "env", enter_env },
		{ "workdir", enter_workdir },
	};

	return ENTER_OBJECT(p, at, value, keys);
}

/* the rest of the top level */

static int enter_name(struct parse *p, const struct at *at, struct json_object *value)
{
	const char *s;
	int ret = get_string(p, at, value, &s);

	return ret < 0 ? ret : set_name(p->cfg, where(p, at).text, s, p->err);
}

static int enter_rootfs(struct parse *p, const struct at *at, struct json_object *value)
{
	const char *s;
	int ret = get_string(p, at, value, &s);

	return ret < 0 ? ret : set_path(&p->cfg->rootfs, where(p, at).text, s, p->err);
}

static int enter_append(struct parse *p, const struct at *at, struct json_object *value)
{
	const char *s;
	int ret = get_string(p, at, value, &s);

	return ret < 0 ? ret : set_kernel_words(&p->cfg->append, where(p, at).text, s, p->err);
}

static int enter_init(struct parse *p, const struct at *at, struct json_object *value)
{
	return get_boolean(p, at, value, &p->cfg->init);
}

/* A string as --timeout takes it, or a number of seconds. */
static int enter_timeout(struct parse *p, const struct at *at, struct json_object *value)
{
	const char *s;
	int ret = 0;

	if (json_object_is_type(value, json_type_int) ||
	    json_object_is_type(value, json_type_double))
		s = json_object_to_json_string(value);
	else
		ret = get_string(p, at, value, &s);
	return ret < 0 ? ret : set_timeout(p->cfg, where(p, at).text, s, p->err);
}

/* The guest always has an entropy device; only a limit on it would be more than that. */
static int enter_entropy(struct parse *p, const struct at *at, struct json_object *value)
{
	static const struct key_spec keys[] = {
		{ "rate_limiter", not_limited },
	};

	return ENTER_OBJECT(p, at, value, keys);
}

/* How much that is of the memory, config_finish() sees. */
static int enter_balloon_amount(struct parse *p, const struct at *at, struct json_object *value)
{
	int64_t mib = 0;
	int ret = get_integer(p, at, value, &mib);

	if (ret == 0 && (mib < 0 || mib > UINT32_MAX))
		ret = refuse(p, at, "%lld is not a number of MiB", (long long)mib);
	if (ret == 0)
		p->cfg->balloon.amount_mib = (uint32_t)mib;
	return ret;
}

static int enter_balloon_oom(struct parse *p, const struct at *at, struct json_object *value)
{
	bool deflate = true;
	int ret = get_boolean(p, at, value, &deflate);

	p->cfg->balloon.keep_on_oom = !deflate;
	return ret;
}

static int enter_balloon_reporting(struct parse *p, const struct at *at, struct json_object *value)
{
	bool reporting = true;
	int ret = get_boolean(p, at, value, &reporting);

	p->cfg->balloon.no_reporting = !reporting;
	return ret;
}

/* What the guest's memory is used for, GET /stats tells without the balloon. */
static int enter_balloon_stats(struct parse *p, const struct at *at, struct json_object *value)
{
	int64_t seconds = 0;
	int ret = get_integer(p, at, value, &seconds);

	if (ret == 0 && seconds)
		ret = refuse(p, at, "statistics of the balloon are not supported yet; make it 0");
	return ret;
}

static int enter_balloon_hinting(struct parse *p, const struct at *at, struct json_object *value)
{
	bool hinting = false;
	int ret = get_boolean(p, at, value, &hinting);

	if (ret == 0 && hinting)
		ret = refuse(p, at, "hints are not supported; make it false");
	return ret;
}

static int enter_balloon(struct parse *p, const struct at *at, struct json_object *value)
{
	static const struct key_spec keys[] = {
		{ "amount_mib", enter_balloon_amount },
		{ "deflate_on_oom", enter_balloon_oom },
		{ "stats_polling_interval_s", enter_balloon_stats },
		{ "free_page_reporting", enter_balloon_reporting },
		{ "free_page_hinting", enter_balloon_hinting },
	};

	return ENTER_OBJECT(p, at, value, keys);
}

static const struct key_spec top_keys[] = {
	{ "boot-source", enter_boot_source },
	{ "drives", enter_drives },
	{ "network-interfaces", enter_nets },
	{ "machine-config", enter_machine_config },
	{ "entropy", enter_entropy },
	{ "logger", not_done },
	{ "metrics", not_done },
	{ "mmds-config", not_done },
	{ "vsock", not_supported },
	{ "balloon", enter_balloon },
	{ "cpu-config", not_supported },
	{ "pmem", not_supported },
	{ "memory-hotplug", not_supported },
	{ "serial", not_supported },
	{ "name", enter_name },
	{ "workload", enter_workload },
	{ "init", enter_init },
	{ "rootfs", enter_rootfs },
	{ "append", enter_append },
	{ "publish", enter_publish },
	{ "allow", enter_allow },
	{ "forward", enter_forward },
	{ "timeout", enter_timeout },
};

/* "FILE:LINE:COLUMN", both counted from 1, columns in characters. */
static struct where where_offset(const char *path, const char *text, size_t offset)
{
	size_t line = 1, column = 1;
	struct where w;

	for (size_t i = 0; i < offset; i++) {
		if (text[i] == '\n') {
			line++;
			column = 1;
		} else if (((unsigned char)text[i] & 0xc0) != 0x80) {
			column++;
		}
	}
	snprintf(w.text, sizeof(w.text), "%s:%zu:%zu", word_show(path).text, line, column);
	return w;
}

/* The document in @text, which ends in NUL at @len. Sets *@out, which is NULL for a bare null. */
static int read_document(const char *text, size_t len, const char *path, struct json_object **out,
			 struct error *err)
{
	struct json_tokener *tok = json_tokener_new();

	if (!tok)
		return error_set(err, ENOMEM, "%s: out of memory", word_show(path).text);
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);

	/* The NUL is handed over as well: it ends a document that is one bare number. */
	struct json_object *root = json_tokener_parse_ex(tok, text, (int)len + 1);
	enum json_tokener_error code = json_tokener_get_error(tok);
	size_t offset = json_tokener_get_parse_end(tok);

	json_tokener_free(tok);
	if (code == json_tokener_success) {
		*out = root;
		return 0;
	}
	json_object_put(root);
	if (strspn(text, " \t\r\n") == len)
		return error_set(err, EINVAL, "%s: the file is empty, {} is the least there is",
				 word_show(path).text);
	if (offset >= len)
		return error_set(err, EINVAL,
				 "%s: the file ends in the middle of its JSON; a bracket, brace or "
				 "quote is not closed",
				 where_offset(path, text, len).text);
	return error_set(err, EINVAL, "%s: this is not JSON: %s",
			 where_offset(path, text, offset).text, json_tokener_error_desc(code));
}

static int enter_document(struct boot_config *cfg, struct json_object *root, const char *path,
			  struct error *err)
{
	struct parse p = { .cfg = cfg, .path = path, .err = err };

	if (!json_object_is_type(root, json_type_object))
		return error_set(err, EINVAL,
				 "%s: expected an object with keys such as \"boot-source\", found "
				 "%s",
				 word_show(path).text, type_name(root));
	return enter_object(&p, NULL, root, top_keys, sizeof(top_keys) / sizeof(top_keys[0]));
}

static int refuse_duplicate(const char *path, const char *text, const char *key, struct error *err)
{
	const char quote[] = { *key, '\0' };
	char name[64];

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(key + 1, quote), key + 1);
	return error_set(err, EINVAL, "%s: the key \"%s\" stands twice in the same object",
			 where_offset(path, text, (size_t)(key - text)).text, word_show(name).text);
}

int config_parse_json(struct boot_config *cfg, const char *text, size_t len, const char *path,
		      struct error *err)
{
	if (len >= CONFIG_FILE_MAX)
		return error_set(err, EFBIG, "%s: a config file has less than %d KiB",
				 word_show(path).text, CONFIG_FILE_MAX / 1024);

	const char *nul = memchr(text, '\0', len);

	if (nul)
		return error_set(err, EINVAL, "%s: this is not JSON: a NUL byte",
				 where_offset(path, text, (size_t)(nul - text)).text);

	AUTO_FREE char *copy = strndup(text, len);
	struct json_object *root = NULL;

	if (!copy)
		return error_set(err, ENOMEM, "%s: out of memory", word_show(path).text);

	int ret = read_document(copy, len, path, &root, err);

	if (ret < 0)
		return ret;

	const char *duplicate = json_find_duplicate(copy);

	if (duplicate)
		ret = refuse_duplicate(path, copy, duplicate, err);
	else
		ret = enter_document(cfg, root, path, err);
	json_object_put(root);
	return ret;
}

/* ---- requests while the VM runs ---- */

/* Firecracker has its clients say again which one they mean. */
static int check_id(struct parse *p, const struct at *at, struct json_object *value)
{
	const char *id;
	int ret = get_string(p, at, value, &id);

	if (ret == 0 && strcmp(id, p->id) != 0)
		ret = refuse(p, at, "\"%s\" is not the \"%s\" of the path", word_show(id).text,
			     word_show(p->id).text);
	return ret;
}

static int refuse_path(struct parse *p, const struct at *at, struct json_object *value)
{
	(void)value;
	return refuse(p, at, "a disk keeps its file while the VM runs");
}

static bool is_given(struct json_object *body, const char *key)
{
	return json_object_object_get(body, key);
}

int config_patch_drive(struct disk_config *disk, const char *id, struct json_object *body,
		       struct error *err)
{
	static const struct key_spec keys[] = {
		{ "drive_id", check_id },
		{ "path_on_host", refuse_path },
		{ "rate_limiter", enter_drive_limits },
	};
	struct disk_config patched = *disk;
	struct parse p = { .path = "drive", .err = err, .disk = &patched, .id = id };
	int ret = ENTER_OBJECT(&p, NULL, body, keys);

	if (ret == 0 && !is_given(body, "rate_limiter"))
		ret = error_set(err, EINVAL,
				"drive: nothing is to be changed; give a rate_limiter");
	if (ret == 0)
		disk->limits = patched.limits;
	return ret;
}

int config_patch_net(struct net_config *net, const char *id, struct json_object *body,
		     struct error *err)
{
	static const struct key_spec keys[] = {
		{ "iface_id", check_id },
		{ "rx_rate_limiter", enter_rx_limits },
		{ "tx_rate_limiter", enter_tx_limits },
	};
	struct net_config patched = *net;
	struct parse p = { .path = "network-interface", .err = err, .net = &patched, .id = id };
	int ret = ENTER_OBJECT(&p, NULL, body, keys);

	if (ret == 0 && !is_given(body, "rx_rate_limiter") && !is_given(body, "tx_rate_limiter"))
		ret = error_set(err, EINVAL,
				"network-interface: nothing is to be changed; give an "
				"rx_rate_limiter or a tx_rate_limiter");
	if (ret == 0) {
		net->rx_limits = patched.rx_limits;
		net->tx_limits = patched.tx_limits;
	}
	return ret;
}
