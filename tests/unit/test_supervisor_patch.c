// SPDX-License-Identifier: Apache-2.0
#include "supervisor/patch.h"

#include <criterion/criterion.h>
#include <json-c/json.h>
#include <string.h>

static struct boot_config cfg;
static struct message msg;
static struct error err;

/* The root, and of the others one with an id and one without. */
static void setup(void)
{
	cfg = (struct boot_config){
		.ndisks = 3,
		.disks = { { .root = true }, { .id = "data" }, { .limits.ops = { 1, 2, 3, 4 } } },
		.nnets = 2,
		.nets = { { .mode = NET_NAT }, { .id = "out" } },
	};
}

TestSuite(supervisor_patch, .init = setup);

typedef int patch_fn(struct boot_config *cfg, const char *id, struct json_object *body,
		     struct message *msg, struct error *err);

static int patch(patch_fn *fn, const char *id, const char *body)
{
	struct json_object *o = json_tokener_parse(body);

	cr_assert_not_null(o, "%s", body);
	int ret = fn(&cfg, id, o, &msg, &err);

	json_object_put(o);
	return ret;
}

static void expect_bucket(const struct bucket_spec *is, uint64_t refill, uint64_t ms, uint64_t size,
			  uint64_t once)
{
	struct bucket_spec wanted = { refill, ms, size, once };

	cr_assert_eq(memcmp(is, &wanted, sizeof(wanted)), 0);
}

Test(supervisor_patch, drive)
{
	cr_assert_eq(patch(patch_drive, "data",
			   "{\"drive_id\":\"data\",\"rate_limiter\":{\"bandwidth\":{\"size\":100,"
			   "\"one_time_burst\":7,\"refill_time\":50}}}"),
		     0, "%s", err.text);
	cr_assert(msg.type == MESSAGE_DISK_LIMITS && msg.value == 1);
	expect_bucket(&msg.limits[0].bytes, 100, 50, 100, 7);
	expect_bucket(&msg.limits[0].ops, 0, 0, 0, 0);
	expect_bucket(&cfg.disks[1].limits.bytes, 100, 50, 100, 7);
}

/* What is not named stays, and a bucket of nothing is no limit. */
Test(supervisor_patch, a_bucket_of_two)
{
	cr_assert_eq(patch(patch_drive, "vdc",
			   "{\"rate_limiter\":{\"ops\":null,\"bandwidth\":{\"size\":1,"
			   "\"refill_time\":2}}}"),
		     0);
	cr_assert_eq(msg.value, 2);
	expect_bucket(&msg.limits[0].bytes, 1, 2, 1, 0);
	expect_bucket(&msg.limits[0].ops, 1, 2, 3, 4);
	cr_assert_eq(patch(patch_drive, "vdc",
			   "{\"rate_limiter\":{\"ops\":{\"size\":0,\"refill_time\":0}}}"),
		     0);
	expect_bucket(&msg.limits[0].bytes, 1, 2, 1, 0);
	expect_bucket(&msg.limits[0].ops, 0, 0, 0, 0);
}

/* Where the root is none of these, it is before them. */
Test(supervisor_patch, names)
{
	static const char any[] = "{\"rate_limiter\":{\"ops\":{\"size\":1,\"refill_time\":1}}}";

	cr_assert_lt(patch(patch_drive, "vdb", any), 0, "it has an id");
	cr_assert_eq(patch(patch_drive, "vda", any), 0);
	cr_assert_eq(msg.value, 0);
	cfg.disks[0].root = false;
	cr_assert_lt(patch(patch_drive, "vda", any), 0);
	cr_assert_eq(patch(patch_drive, "vdd", any), 0);
	cr_assert_eq(msg.value, 3);
	cr_assert_eq(patch(patch_drive, "data", any), 0);
	cr_assert_eq(msg.value, 2);
	cfg.full_system = true;
	cr_assert_eq(patch(patch_drive, "vda", any), 0);
	cr_assert_eq(msg.value, 0);
}

Test(supervisor_patch, net)
{
	cr_assert_eq(patch(patch_net, "eth0",
			   "{\"rx_rate_limiter\":{\"bandwidth\":{\"size\":1,\"refill_time\":2}},"
			   "\"tx_rate_limiter\":{\"ops\":{\"size\":3,\"refill_time\":4}}}"),
		     0, "%s", err.text);
	cr_assert(msg.type == MESSAGE_NET_LIMITS && msg.value == 0);
	expect_bucket(&msg.limits[0].bytes, 1, 2, 1, 0);
	expect_bucket(&msg.limits[1].ops, 3, 4, 3, 0);
	cr_assert_eq(patch(patch_net, "out",
			   "{\"iface_id\":\"out\",\"tx_rate_limiter\":{\"ops\":{\"size\":3,"
			   "\"refill_time\":4}}}"),
		     0);
	cr_assert_eq(msg.value, 1);
	expect_bucket(&msg.limits[0].ops, 0, 0, 0, 0);
	expect_bucket(&msg.limits[1].ops, 3, 4, 3, 0);
}

/* One sentence, and all is as it was, also where the first half was right. */
Test(supervisor_patch, refused)
{
	static const struct {
		patch_fn *fn;
		const char *id, *body, *sentence;
	} cases[] = {
		{ patch_drive, "vdx", "{}", "the VM has no drive \"vdx\"" },
		{ patch_drive, "\x1b", "{}", "the VM has no drive \" \"" },
		{ patch_net, "eth1", "{}", "the VM has no network interface \"eth1\"" },
		{ patch_drive, "data", "{}", "give a rate_limiter" },
		{ patch_drive, "data", "{\"rate_limiter\":null}", "give a rate_limiter" },
		{ patch_net, "eth0", "{}", "give an rx_rate_limiter or a tx_rate_limiter" },
		{ patch_drive, "data", "{\"drive_id\":\"vda\"}",
		  "drive: drive_id: \"vda\" is not the \"data\" of the path" },
		{ patch_drive, "data", "{\"path_on_host\":\"x\"}", "a disk keeps its file" },
		{ patch_drive, "data", "{\"rate_limit\":{}}",
		  "drive: rate_limit: unknown key; did you mean rate_limiter?" },
		{ patch_drive, "data", "{\"rate_limiter\":5}", "rate_limiter: expected an object" },
		{ patch_drive, "data",
		  "{\"rate_limiter\":{\"bandwidth\":{\"size\":1,\"refill_time\":1},"
		  "\"ops\":{\"size\":1}}}",
		  "drive: rate_limiter.ops: the key refill_time is missing" },
		{ patch_net, "eth0",
		  "{\"rx_rate_limiter\":{\"ops\":{\"size\":1,\"refill_time\":1}},"
		  "\"tx_rate_limiter\":{\"ops\":{\"size\":-1,\"refill_time\":1}}}",
		  "network-interface: tx_rate_limiter.ops.size: -1 is out of range" },
	};
	struct boot_config before = cfg;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		err.text[0] = '\0';
		cr_expect_lt(patch(cases[i].fn, cases[i].id, cases[i].body), 0, "%s",
			     cases[i].body);
		cr_expect(strstr(err.text, cases[i].sentence), "\"%s\" for %s", err.text,
			  cases[i].body);
		cr_expect_eq(memcmp(&cfg, &before, sizeof(cfg)), 0, "%s", cases[i].body);
	}
}
