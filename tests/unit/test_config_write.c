// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/write.h"

static struct boot_config cfg, again;
static struct error err;
static char *text;

static void setup(void)
{
	config_init(&cfg);
	config_init(&again);
	err.text[0] = '\0';
	text = NULL;
}

static void teardown(void)
{
	config_deinit(&cfg);
	config_deinit(&again);
	free(text);
}

TestSuite(config_write, .init = setup, .fini = teardown);

static void parse(struct boot_config *into, const char *json)
{
	cr_assert_eq(config_parse_json(into, json, strlen(json), "vm.json", &err), 0, "%s\n%s",
		     json, err.text);
}

/* @json into cfg, and what config_to_json() makes of that into again. */
static void round_trip(const char *json)
{
	parse(&cfg, json);
	text = config_to_json(&cfg);
	cr_assert_not_null(text);
	parse(&again, text);
}

static void expect_same(const char *a, const char *b)
{
	cr_expect_eq(!a, !b, "%s and %s", a ? a : "NULL", b ? b : "NULL");
	if (a && b)
		cr_expect_str_eq(a, b);
}

static void expect_same_list(char **a, char **b)
{
	size_t i = 0;

	cr_assert(a && b);
	for (; a[i] && b[i]; i++)
		cr_expect_str_eq(a[i], b[i]);
	cr_expect_eq(a[i], b[i]);
}

static void expect_same_disk(const struct disk_config *a, const struct disk_config *b)
{
	expect_same(a->path, b->path);
	expect_same(a->id, b->id);
	expect_same(a->serial, b->serial);
	cr_expect_eq(a->read_only, b->read_only);
	cr_expect_eq(a->root, b->root);
	cr_expect_eq(a->direct, b->direct);
	cr_expect_eq(a->queues, b->queues);
	cr_expect_eq(a->fixed_buffers, b->fixed_buffers);
	cr_expect_eq(a->sqpoll, b->sqpoll);
	cr_expect_eq(memcmp(&a->limits, &b->limits, sizeof(a->limits)), 0);
}

static void expect_same_ips(const struct ip_addr *a, const struct ip_addr *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		cr_expect_str_eq(ip_show_prefix(&a[i]).text, ip_show_prefix(&b[i]).text);
}

static void expect_same_net(const struct net_config *a, const struct net_config *b)
{
	cr_expect_eq(a->mode, b->mode);
	expect_same(a->tap, b->tap);
	expect_same(a->id, b->id);
	cr_expect_eq(a->has_mac, b->has_mac);
	cr_expect_eq(memcmp(a->mac, b->mac, sizeof(a->mac)), 0);
	cr_expect_eq(a->mtu, b->mtu);
	cr_expect_eq(a->queues, b->queues);
	cr_expect_eq(memcmp(&a->rx_limits, &b->rx_limits, sizeof(a->rx_limits)), 0);
	cr_expect_eq(memcmp(&a->tx_limits, &b->tx_limits, sizeof(a->tx_limits)), 0);
	cr_expect_eq(a->unfiltered, b->unfiltered);
	cr_assert_eq(a->nips, b->nips);
	cr_assert_eq(a->ngateways, b->ngateways);
	cr_assert_eq(a->ndns, b->ndns);
	expect_same_ips(a->ips, b->ips, a->nips);
	expect_same_ips(a->gateways, b->gateways, a->ngateways);
	expect_same_ips(a->dns, b->dns, a->ndns);
}

/* A file with every key that has a field. */
static const char full[] =
	"{ \"name\": \"web.1\", \"rootfs\": \"./r\\u00f6\\\"ot\", \"append\": \"debug a=\\\"b "
	"c\\\"\","
	"  \"timeout\": \"1500ms\","
	"  \"boot-source\": { \"kernel_image_path\": \"/k\", \"initrd_path\": \"/i\","
	"                     \"boot_args\": \"ro\" },"
	"  \"machine-config\": { \"vcpu_count\": 3, \"mem_size_mib\": 640, \"cpu_weight\": 7,"
	"                      \"io_weight\": 8 },"
	"  \"balloon\": { \"amount_mib\": 9, \"deflate_on_oom\": false,"
	"               \"free_page_reporting\": false },"
	"  \"drives\": [ { \"drive_id\": \"data_1\", \"path_on_host\": \"d\", \"serial\": \"A1\", "
	"\"direct\": \"off\","
	"                  \"queues\": 3, \"fixed_buffers\": true, \"sqpoll\": true,"
	"                  \"rate_limiter\": {"
	"                    \"bandwidth\": { \"size\": 10, \"refill_time\": 20,"
	"                                     \"one_time_burst\": 30, \"refill\": 40 },"
	"                    \"ops\": { \"size\": 5, \"refill_time\": 6 } } },"
	"                { \"path_on_host\": \"e\", \"direct\": \"on\", \"is_root_device\": true,"
	"                  \"is_read_only\": true } ],"
	"  \"network-interfaces\": ["
	"    { \"iface_id\": \"eth0\", \"host_dev_name\": \"tap7\", \"guest_mac\": "
	"\"02:00:00:00:00:AB\", \"mtu\": 1400,"
	"      \"queues\": 2, \"ip\": [ \"192.0.2.2/24\", \"2001:db8::2/64\" ],"
	"      \"gw\": [ \"192.0.2.1\", \"2001:db8::1\" ], \"dns\": [ \"192.0.2.53\" ],"
	"      \"filter\": false },"
	"    { \"mode\": \"nat\", \"queues\": 4,"
	"      \"rx_rate_limiter\": { \"ops\": { \"size\": 1, \"refill_time\": 2 } },"
	"      \"tx_rate_limiter\": { \"bandwidth\": { \"size\": 3, \"refill_time\": 4 } } }, { "
	"\"mode\": \"user\", \"mtu\": 9000 } ],"
	"  \"publish\": [ \"8080:80\", \"127.0.0.1:53:5353/udp\", \"[::1]:2222:22\" ],"
	"  \"allow\": [ \"db\", \"*\" ],"
	"  \"forward\": [ \"d.sock=unix:/run/d.sock\", \"/run/x=tcp:[::1]:80\" ],"
	"  \"workload\": { \"argv\": [ \"/bin/echo\", \"\", \"a b\" ],"
	"                  \"env\": { \"A\": \"1\", \"B\": \"x=y\" }, \"workdir\": \"/srv\" }, "
	"\"init\": true }";

Test(config_write, every_field_comes_back)
{
	round_trip(full);
	expect_same(cfg.name, again.name);
	expect_same(cfg.kernel, again.kernel);
	expect_same(cfg.initrd, again.initrd);
	expect_same(cfg.append, again.append);
	expect_same(cfg.boot_args, again.boot_args);
	expect_same(cfg.rootfs, again.rootfs);
	expect_same(cfg.workdir, again.workdir);
	cr_expect_eq(again.cpus, 3);
	cr_expect_eq(again.cpu_weight, 7);
	cr_expect_eq(again.io_weight, 8);
	cr_expect_eq(again.mem_bytes, 640ull << 20);
	cr_expect_eq(again.timeout_ms, 1500);
	cr_expect(again.init);
	expect_same_list(cfg.argv, again.argv);
	expect_same_list(cfg.env, again.env);
	cr_expect_eq(memcmp(&cfg.balloon, &again.balloon, sizeof(cfg.balloon)), 0);
	cr_expect_eq(again.balloon.amount_mib, 9);
	cr_expect(again.balloon.keep_on_oom && again.balloon.no_reporting);
	cr_assert_eq(again.ndisks, 2);
	for (size_t i = 0; i < 2; i++)
		expect_same_disk(&cfg.disks[i], &again.disks[i]);
	cr_assert_eq(again.nnets, 3);
	for (size_t i = 0; i < 3; i++)
		expect_same_net(&cfg.nets[i], &again.nets[i]);
	cr_assert_eq(again.nforwards, 2);
	for (size_t i = 0; i < again.nforwards; i++) {
		cr_expect_str_eq(cfg.forwards[i].path, again.forwards[i].path);
		cr_expect_str_eq(cfg.forwards[i].guest, again.forwards[i].guest);
	}
	cr_assert_eq(again.nallow, 2);
	cr_expect_str_eq(again.allow[0], "db");
	cr_expect_str_eq(again.allow[1], "*");
	cr_expect(again.nets[0].unfiltered);
	cr_assert_eq(again.npublish, 3);
	for (size_t i = 0; i < 3; i++)
		cr_expect_str_eq(publish_show(&cfg.publish[i]).text,
				 publish_show(&again.publish[i]).text);
}

Test(config_write, nothing_given_is_nothing_written)
{
	round_trip("{}");
	cr_expect_str_eq(text, "{\n}\n");
}

Test(config_write, memory_that_is_no_whole_mib)
{
	round_trip("{ \"machine-config\": { \"mem_size\": \"65540K\" } }");
	cr_expect_eq(again.mem_bytes, 65540ull << 10);
}

Test(config_write, checked_text_is_accepted)
{
	parse(&cfg, "{ \"rootfs\": \"r\", \"machine-config\": { \"vcpu_count\": 2 } }");
	cr_assert_eq(config_to_checked_json(&cfg, "vm.json", &text, &err), 0, "%s", err.text);
	parse(&again, text);
	cr_expect_eq(again.cpus, 2);
}

Test(config_write, what_the_parser_refuses_is_not_handed_out)
{
	/* Not UTF-8, as a path on the command line may be. */
	cfg.rootfs = strdup("\xff");
	cr_expect_lt(config_to_checked_json(&cfg, "vm.json", &text, &err), 0);
	cr_expect_null(text);
	cr_expect(strstr(err.text, "vm.json"), "%s", err.text);
}

Test(config_write, what_does_not_belong_together_is_not_handed_out)
{
	parse(&cfg, "{ \"publish\": [ \"80:80\" ] }");
	cr_expect_lt(config_to_checked_json(&cfg, "vm.json", &text, &err), 0);
	cr_expect(strstr(err.text, "cannot be published"), "%s", err.text);
}
