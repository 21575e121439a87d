// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"

static struct boot_config cfg;
static struct error err;

static void setup(void)
{
	config_init(&cfg);
	err.text[0] = '\0';
}

static void teardown(void)
{
	config_deinit(&cfg);
}

TestSuite(config_json, .init = setup, .fini = teardown);

static int parse(const char *text)
{
	return config_parse_json(&cfg, text, strlen(text), "vm.json", &err);
}

static void expect_ok(const char *text)
{
	cr_assert_eq(parse(text), 0, "%s\n%s", text, err.text);
}

struct refusal {
	const char *text;
	const char *sentence; /* part of it */
};

/* Each of @cases is refused with its sentence, which names the file. */
static void expect_refused(const struct refusal *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		teardown();
		setup();
		cr_expect_lt(parse(cases[i].text), 0, "accepted: %s", cases[i].text);
		cr_expect(strstr(err.text, cases[i].sentence), "%s\n  says: %s\n  not: %s",
			  cases[i].text, err.text, cases[i].sentence);
		cr_expect_eq(strncmp(err.text, "vm.json:", 8), 0, "%s", err.text);
		cr_expect_not(strchr(err.text, '\n'), "%s", err.text);
	}
}

#define EXPECT_REFUSED(cases) expect_refused(cases, sizeof(cases) / sizeof((cases)[0]))

/* What config_parse_json() wrote to stderr while it read @text. */
static void parse_and_listen(const char *text, char *heard, size_t size)
{
	int saved = dup(STDERR_FILENO);
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);

	int ret = parse(text);

	dup2(saved, STDERR_FILENO);
	close(saved);

	ssize_t n = read(ends[0], heard, size - 1);

	close(ends[0]);
	cr_assert_eq(ret, 0, "%s", err.text);
	cr_assert_geq(n, 0);
	heard[n] = '\0';
}

/* As Firecracker's own documentation has it, every key that it knows of. */
static const char firecracker[] =
	"{\n"
	"  \"boot-source\": {\n"
	"    \"kernel_image_path\": \"vmlinux.bin\",\n"
	"    \"boot_args\": \"console=ttyS0 reboot=k panic=1 pci=off\",\n"
	"    \"initrd_path\": null\n"
	"  },\n"
	"  \"drives\": [\n"
	"    {\n"
	"      \"drive_id\": \"scratch\",\n"
	"      \"partuuid\": null,\n"
	"      \"is_root_device\": false,\n"
	"      \"cache_type\": \"Writeback\",\n"
	"      \"is_read_only\": true,\n"
	"      \"path_on_host\": \"scratch.img\",\n"
	"      \"io_engine\": \"Async\",\n"
	"      \"rate_limiter\": { \"bandwidth\": null, \"ops\": null },\n"
	"      \"socket\": null\n"
	"    },\n"
	"    {\n"
	"      \"drive_id\": \"rootfs\",\n"
	"      \"is_root_device\": true,\n"
	"      \"cache_type\": \"Unsafe\",\n"
	"      \"is_read_only\": false,\n"
	"      \"path_on_host\": \"bionic.rootfs.ext4\",\n"
	"      \"io_engine\": \"Sync\",\n"
	"      \"rate_limiter\": null\n"
	"    }\n"
	"  ],\n"
	"  \"machine-config\": {\n"
	"    \"vcpu_count\": 2,\n"
	"    \"mem_size_mib\": 128,\n"
	"    \"smt\": false,\n"
	"    \"track_dirty_pages\": false,\n"
	"    \"cpu_template\": \"None\",\n"
	"    \"huge_pages\": \"None\"\n"
	"  },\n"
	"  \"cpu-config\": null,\n"
	"  \"balloon\": null,\n"
	"  \"network-interfaces\": [],\n"
	"  \"vsock\": null,\n"
	"  \"logger\": null,\n"
	"  \"metrics\": null,\n"
	"  \"mmds-config\": null,\n"
	"  \"entropy\": null,\n"
	"  \"pmem\": [],\n"
	"  \"memory-hotplug\": null,\n"
	"  \"serial\": null\n"
	"}\n";

Test(config_json, firecracker_file)
{
	expect_ok(firecracker);
	cr_expect_str_eq(cfg.kernel, "vmlinux.bin");
	cr_expect_str_eq(cfg.boot_args, "console=ttyS0 reboot=k panic=1 pci=off");
	cr_expect_null(cfg.initrd);
	cr_expect_eq(cfg.cpus, 2);
	cr_expect_eq(cfg.mem_bytes, 128ull << 20);

	cr_assert_eq(config_finish(&cfg, &err), 0, "%s", err.text);
	cr_assert_eq(cfg.ndisks, 2);
	cr_expect_str_eq(cfg.disks[0].path, "bionic.rootfs.ext4");
	cr_expect(cfg.disks[0].root);
	cr_expect_not(cfg.disks[0].read_only);
	cr_expect_str_eq(cfg.disks[1].path, "scratch.img");
	cr_expect_not(cfg.disks[1].root);
	cr_expect(cfg.disks[1].read_only);
	cr_expect(cfg.full_system);
	cr_expect_null(cfg.argv);
	cr_expect_eq(strncmp(cfg.name, "kvmbox-", 7), 0);
	cr_expect_eq(strlen(cfg.name), strlen("kvmbox-12345678"));
}

Test(config_json, our_keys)
{
	expect_ok("{ \"name\": \"web.1\", \"rootfs\": \"./root\", \"append\": \"debug\","
		  "  \"timeout\": \"1.5m\","
		  "  \"machine-config\": { \"mem_size\": \"0.5G\" },"
		  "  \"drives\": [ { \"path_on_host\": \"d\", \"serial\": \"A1\","
		  "                  \"direct\": \"off\", \"queues\": 3,"
		  "                  \"fixed_buffers\": true, \"sqpoll\": true } ],"
		  "  \"workload\": { \"argv\": [\"/bin/echo\", \"\", \"a b\"],"
		  "                  \"env\": { \"A\": \"1\", \"B\": \"x=y\" },"
		  "                  \"workdir\": \"/srv\" } }");
	cr_expect_str_eq(cfg.name, "web.1");
	cr_expect_str_eq(cfg.rootfs, "./root");
	cr_expect_str_eq(cfg.append, "debug");
	cr_expect_eq(cfg.timeout_ms, 90000);
	cr_expect_eq(cfg.mem_bytes, 512ull << 20);
	cr_assert_eq(cfg.ndisks, 1);
	cr_expect_str_eq(cfg.disks[0].serial, "A1");
	cr_expect_eq(cfg.disks[0].direct, DISK_DIRECT_OFF);
	cr_expect_eq(cfg.disks[0].queues, 3);
	cr_expect(cfg.disks[0].fixed_buffers && cfg.disks[0].sqpoll);
	cr_expect_str_eq(cfg.argv[0], "/bin/echo");
	cr_expect_str_eq(cfg.argv[1], "");
	cr_expect_str_eq(cfg.argv[2], "a b");
	cr_expect_null(cfg.argv[3]);
	cr_expect_str_eq(cfg.env[0], "A=1");
	cr_expect_str_eq(cfg.env[1], "B=x=y");
	cr_expect_null(cfg.env[2]);
	cr_expect_str_eq(cfg.workdir, "/srv");

	cr_assert_eq(config_finish(&cfg, &err), 0, "%s", err.text);
	cr_expect_not(cfg.full_system);
}

Test(config_json, other_spellings)
{
	expect_ok("{ \"workload\": { \"cmd\": [\"ls\"], \"env\": [\"A=1\", \"A=2\", \"B=\"] },"
		  "  \"timeout\": 2.5 }");
	cr_expect_str_eq(cfg.argv[0], "ls");
	cr_expect_str_eq(cfg.env[0], "A=2");
	cr_expect_str_eq(cfg.env[1], "B=");
	cr_expect_null(cfg.env[2]);
	cr_expect_eq(cfg.timeout_ms, 2500);
	expect_ok("{ \"timeout\": 3 }");
	cr_expect_eq(cfg.timeout_ms, 3000);
}

Test(config_json, root_drive_with_workload_is_no_full_system)
{
	expect_ok("{ \"drives\": [ { \"path_on_host\": \"r\", \"is_root_device\": true } ],"
		  "  \"workload\": { \"argv\": [\"ls\"] } }");
	cr_assert_eq(config_finish(&cfg, &err), 0, "%s", err.text);
	cr_expect_not(cfg.full_system);
	cr_expect(cfg.disks[0].root);
}

Test(config_json, init)
{
	expect_ok("{ \"drives\": [ { \"path_on_host\": \"r\", \"is_root_device\": true } ],"
		  "  \"init\": true }");
	cr_assert_eq(config_finish(&cfg, &err), 0, "%s", err.text);
	cr_expect(cfg.init);
	cr_expect_not(cfg.full_system);
	cr_expect_str_eq(cfg.argv[0], "/sbin/init");
	cr_expect_null(cfg.argv[1]);
}

Test(config_json, nothing_given)
{
	expect_ok("{}");
	expect_ok(" \n\t{ \"workload\": {}, \"boot-source\": {}, \"machine-config\": {} } \n");
	cr_assert_eq(config_finish(&cfg, &err), 0, "%s", err.text);
	cr_expect_eq(cfg.cpus, 1);
	cr_expect_eq(cfg.mem_bytes, 256ull << 20);
	cr_expect_eq(cfg.timeout_ms, 0);
	cr_assert_not_null(cfg.env);
	cr_expect_null(cfg.env[0]);
	cr_expect_not(cfg.init);
	cr_expect_not(cfg.full_system);
}

Test(config_json, null_is_not_given)
{
	expect_ok("{ \"name\": null, \"boot-source\": null, \"drives\": null, \"workload\": null,"
		  "  \"machine-config\": { \"vcpu_count\": null, \"cpu_template\": null },"
		  "  \"timeout\": null, \"rootfs\": null, \"append\": null }");
	cr_expect_null(cfg.name);
	cr_expect_eq(cfg.cpus, 0);
}

Test(config_json, accepted_and_without_effect)
{
	expect_ok("{ \"entropy\": {}, \"balloon\": {}, \"vsock\": {}, \"cpu-config\": {} }");
	expect_ok("{ \"entropy\": { \"rate_limiter\": { \"bandwidth\": null } } }");
	expect_ok("{ \"cpu-config\": \"\" }");
	expect_ok("{ \"machine-config\": { \"smt\": true, \"track_dirty_pages\": true,"
		  "                        \"huge_pages\": \"2M\" } }");
	expect_ok("{ \"drives\": [ { \"path_on_host\": \"d\", \"partuuid\": \"\","
		  "                  \"rate_limiter\": {} } ] }");
}

Test(config_json, balloon)
{
	expect_ok("{ \"balloon\": { \"amount_mib\": 0, \"deflate_on_oom\": true,"
		  "                 \"stats_polling_interval_s\": 0, \"free_page_hinting\": false,"
		  "                 \"free_page_reporting\": true } }");
	cr_expect_not(cfg.balloon.amount_mib || cfg.balloon.keep_on_oom ||
		      cfg.balloon.no_reporting);
	expect_ok("{ \"balloon\": { \"amount_mib\": 100, \"deflate_on_oom\": false,"
		  "                 \"free_page_reporting\": false } }");
	cr_expect_eq(cfg.balloon.amount_mib, 100);
	cr_expect(cfg.balloon.keep_on_oom && cfg.balloon.no_reporting);
}

Test(config_json, balloon_refused)
{
	static const struct refusal cases[] = {
		{ "{\"balloon\":true}", "balloon: expected an object, found true" },
		{ "{\"balloon\":{\"amount\":1}}", "balloon.amount: unknown key" },
		{ "{\"balloon\":{\"amount_mib\":-1}}",
		  "balloon.amount_mib: -1 is not a number of MiB" },
		{ "{\"balloon\":{\"amount_mib\":\"1M\"}}", "amount_mib: expected a whole number" },
		{ "{\"balloon\":{\"amount_mib\":9223372036854775807}}",
		  "9223372036854775807 is not a number of MiB" },
		{ "{\"balloon\":{\"stats_polling_interval_s\":1}}",
		  "balloon.stats_polling_interval_s: statistics of the balloon are not supported "
		  "yet" },
		{ "{\"balloon\":{\"free_page_hinting\":true}}", "hints are not supported" },
		{ "{\"balloon\":{\"deflate_on_oom\":1}}", "expected true or false" },
	};

	EXPECT_REFUSED(cases);
}

static void expect_finish_refused(const char *text, const char *sentence)
{
	expect_ok(text);
	cr_expect_eq(config_finish(&cfg, &err), -EINVAL);
	cr_expect(strstr(err.text, sentence), "%s", err.text);
}

Test(config_json, balloon_of_all_memory)
{
	expect_finish_refused(
		"{ \"machine-config\": { \"mem_size_mib\": 64 },"
		"  \"balloon\": { \"amount_mib\": 64 } }",
		"balloon.amount_mib: 64 is out of range, of 64 MiB of memory 0 to 63");
}

Test(config_json, balloon_of_pinned_memory)
{
	expect_finish_refused(
		"{ \"drives\": [ { \"path_on_host\": \"d\", \"fixed_buffers\": true } ],"
		"  \"balloon\": { \"amount_mib\": 1 } }",
		"the fixed buffers of the disk d pin");
}

static void expect_bucket(const struct bucket_spec *got, uint64_t refill, uint64_t ms,
			  uint64_t size, uint64_t once)
{
	struct bucket_spec want = { refill, ms, size, once };

	cr_expect_eq(memcmp(got, &want, sizeof(want)), 0);
}

Test(config_json, limits)
{
	expect_ok("{ \"drives\": [ { \"path_on_host\": \"d\", \"rate_limiter\": {"
		  "    \"bandwidth\": { \"size\": 1000, \"one_time_burst\": 5000,"
		  "                     \"refill_time\": 100 },"
		  "    \"ops\": { \"size\": 7, \"refill_time\": 1000, \"refill\": 70,"
		  "               \"one_time_burst\": null } } } ],"
		  "  \"network-interfaces\": [ { \"mode\": \"nat\","
		  "    \"rx_rate_limiter\": { \"ops\": { \"size\": 1, \"refill_time\": 2 } },"
		  "    \"tx_rate_limiter\": { \"bandwidth\": { \"size\": 3, \"refill_time\": 4 },"
		  "                         \"ops\": null } } ] }");
	expect_bucket(&cfg.disks[0].limits.bytes, 1000, 100, 1000, 5000);
	expect_bucket(&cfg.disks[0].limits.ops, 70, 1000, 7, 0);
	expect_bucket(&cfg.nets[0].rx_limits.ops, 1, 2, 1, 0);
	expect_bucket(&cfg.nets[0].rx_limits.bytes, 0, 0, 0, 0);
	expect_bucket(&cfg.nets[0].tx_limits.bytes, 3, 4, 3, 0);
	expect_bucket(&cfg.nets[0].tx_limits.ops, 0, 0, 0, 0);
}

/* Firecracker takes a 0 for "no limit". */
Test(config_json, limits_of_nothing)
{
	expect_ok("{ \"drives\": [ { \"path_on_host\": \"d\", \"rate_limiter\": {"
		  "    \"bandwidth\": { \"size\": 0, \"refill_time\": 100 },"
		  "    \"ops\": { \"size\": 7, \"refill_time\": 0 } } } ] }");
	expect_bucket(&cfg.disks[0].limits.bytes, 0, 0, 0, 0);
	expect_bucket(&cfg.disks[0].limits.ops, 0, 0, 0, 0);
}

Test(config_json, limits_refused)
{
	static const struct refusal cases[] = {
		{ "{\"drives\":[{\"rate_limiter\":{\"iops\":{}}}]}",
		  "drives[0].rate_limiter.iops: unknown key; did you mean ops?" },
		{ "{\"drives\":[{\"rate_limiter\":{\"ops\":5}}]}",
		  "drives[0].rate_limiter.ops: expected an object, found a number" },
		{ "{\"drives\":[{\"rate_limiter\":{\"ops\":{\"refill_time\":1}}}]}",
		  "drives[0].rate_limiter.ops: the key size is missing" },
		{ "{\"drives\":[{\"rate_limiter\":{\"ops\":{\"size\":-1,\"refill_time\":1}}}]}",
		  "ops.size: -1 is out of range, it is 0 to 4611686018427387904" },
		{ "{\"drives\":[{\"rate_limiter\":{\"ops\":{\"size\":1.5,\"refill_time\":1}}}]}",
		  "ops.size: expected a whole number" },
		{ "{\"drives\":[{\"rate_limiter\":{\"bandwidth\":{\"size\":9223372036854775807,"
		  "\"refill_time\":1}}}]}",
		  "bandwidth.size: 9223372036854775807 is out of range" },
		{ "{\"drives\":[{\"rate_limiter\":{\"ops\":{\"size\":1,"
		  "\"refill_time\":9223372036854775807}}}]}",
		  "ops.refill_time: 9223372036854775807 is out of range" },
	};

	EXPECT_REFUSED(cases);
}

Test(config_json, warned_of)
{
	static const char *const keys[] = { "logger", "metrics", "mmds-config" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		char text[64], heard[512], opening[64];

		snprintf(text, sizeof(text), "{ \"%s\": { \"level\": \"Debug\" } }", keys[i]);
		snprintf(opening, sizeof(opening), "kvmbox: vm.json: %s: ignored", keys[i]);
		parse_and_listen(text, heard, sizeof(heard));
		cr_expect_eq(strncmp(heard, opening, strlen(opening)), 0, "%s", heard);
		cr_expect_eq(strchr(heard, '\n') - heard, (ptrdiff_t)strlen(heard) - 1, "%s",
			     heard);
	}
}

Test(config_json, unknown_keys)
{
	static const struct refusal cases[] = {
		{ "{\"machine-config\":{\"vcpu_conut\":1}}",
		  "machine-config.vcpu_conut: unknown key; did you mean vcpu_count?" },
		{ "{\"machine_config\":{}}",
		  "machine_config: unknown key; did you mean machine-config?" },
		{ "{\"boot-source\":{\"kernel\":\"x\"}}", "boot-source.kernel: unknown key" },
		{ "{\"drives\":[{\"path_on_host\":\"a\"},{\"path\":\"a\"}]}",
		  "drives[1].path: unknown key" },
		{ "{\"workload\":{\"agv\":[]}}", "workload.agv: unknown key; did you mean argv?" },
		{ "{\"entropy\":{\"x\":1}}", "entropy.x: unknown key" },
		{ "{\"frobnicate\":null}", "frobnicate: unknown key" },
		{ "{\"\":1}", ": unknown key" },
		{ "{\"a\\nb\":1}", "a?b: unknown key" },
	};

	EXPECT_REFUSED(cases);
}

Test(config_json, wrong_types)
{
	static const struct refusal cases[] = {
		{ "12", "expected an object with keys" },
		{ "null", "expected an object with keys" },
		{ "[]", "found an array" },
		{ "\"x\"", "found a string" },
		{ "{\"name\":1}", "name: expected a string, found a number" },
		{ "{\"rootfs\":[]}", "rootfs: expected a string, found an array" },
		{ "{\"append\":{}}", "append: expected a string, found an object" },
		{ "{\"timeout\":true}", "timeout: expected a string, found true" },
		{ "{\"boot-source\":[]}", "boot-source: expected an object, found an array" },
		{ "{\"boot-source\":{\"kernel_image_path\":1}}",
		  "boot-source.kernel_image_path: expected a string" },
		{ "{\"boot-source\":{\"initrd_path\":false}}",
		  "boot-source.initrd_path: expected a string, found false" },
		{ "{\"boot-source\":{\"boot_args\":[]}}",
		  "boot-source.boot_args: expected a string" },
		{ "{\"drives\":{}}", "drives: expected an array, found an object" },
		{ "{\"drives\":[1]}", "drives[0]: expected an object, found a number" },
		{ "{\"drives\":[null]}", "drives[0]: expected an object, found null" },
		{ "{\"drives\":[{\"drive_id\":1}]}", "drives[0].drive_id: expected a string" },
		{ "{\"drives\":[{\"path_on_host\":1}]}",
		  "drives[0].path_on_host: expected a string" },
		{ "{\"drives\":[{\"is_root_device\":1}]}",
		  "drives[0].is_root_device: expected true or false, found a number" },
		{ "{\"init\":\"/sbin/init\"}", "init: expected true or false, found a string" },
		{ "{\"drives\":[{\"is_read_only\":\"true\"}]}",
		  "drives[0].is_read_only: expected true or false, found a string" },
		{ "{\"drives\":[{\"cache_type\":1}]}", "drives[0].cache_type: expected a string" },
		{ "{\"drives\":[{\"io_engine\":1}]}", "drives[0].io_engine: expected a string" },
		{ "{\"drives\":[{\"rate_limiter\":1}]}",
		  "drives[0].rate_limiter: expected an object" },
		{ "{\"drives\":[{\"serial\":1}]}", "drives[0].serial: expected a string" },
		{ "{\"drives\":[{\"direct\":true}]}", "drives[0].direct: expected a string" },
		{ "{\"drives\":[{\"queues\":\"2\"}]}",
		  "drives[0].queues: expected a whole number" },
		{ "{\"machine-config\":1}", "machine-config: expected an object" },
		{ "{\"machine-config\":{\"vcpu_count\":\"2\"}}",
		  "machine-config.vcpu_count: expected a whole number, found a string" },
		{ "{\"machine-config\":{\"vcpu_count\":2.0}}",
		  "machine-config.vcpu_count: expected a whole number" },
		{ "{\"machine-config\":{\"mem_size_mib\":\"128\"}}",
		  "machine-config.mem_size_mib: expected a whole number" },
		{ "{\"machine-config\":{\"mem_size\":128}}",
		  "machine-config.mem_size: expected a string" },
		{ "{\"machine-config\":{\"smt\":0}}",
		  "machine-config.smt: expected true or false" },
		{ "{\"machine-config\":{\"track_dirty_pages\":0}}",
		  "machine-config.track_dirty_pages: expected true or false" },
		{ "{\"machine-config\":{\"cpu_template\":1}}",
		  "machine-config.cpu_template: expected a string" },
		{ "{\"machine-config\":{\"huge_pages\":true}}",
		  "machine-config.huge_pages: expected a string" },
		{ "{\"logger\":\"x\"}", "logger: expected an object" },
		{ "{\"entropy\":true}", "entropy: expected an object" },
		{ "{\"workload\":[]}", "workload: expected an object" },
		{ "{\"workload\":{\"argv\":\"ls -l\"}}",
		  "workload.argv: expected an array of strings, found a string" },
		{ "{\"workload\":{\"argv\":[\"a\",1]}}", "workload.argv[1]: expected a string" },
		{ "{\"workload\":{\"argv\":[null]}}",
		  "workload.argv[0]: expected a string, found null" },
		{ "{\"workload\":{\"env\":\"A=1\"}}", "workload.env: expected an object of names" },
		{ "{\"workload\":{\"env\":[1]}}", "workload.env[0]: expected a string" },
		{ "{\"workload\":{\"env\":{\"A\":1}}}", "workload.env.A: expected a string" },
		{ "{\"workload\":{\"env\":{\"A\":null}}}", "workload.env.A: expected a string" },
		{ "{\"workload\":{\"workdir\":1}}", "workload.workdir: expected a string" },
	};

	EXPECT_REFUSED(cases);
}

Test(config_json, bad_values)
{
	static const struct refusal cases[] = {
		{ "{\"name\":\"\"}", "name: the name is empty" },
		{ "{\"name\":\"a b\"}", "holds the character ' '" },
		{ "{\"name\":\"-a\"}", "does not begin with a letter or digit" },
		{ "{\"name\":\"a\\u0000b\"}", "name: the string holds a NUL character" },
		{ "{\"name\":\"\xc3\xa4\"}", "does not begin with a letter or digit" },
		{ "{\"name\":\"a\xc3\xa4\"}", "holds the character '?'" },
		{ "{\"rootfs\":\"\"}", "rootfs: the path is empty" },
		{ "{\"append\":\"a\\nb\"}", "append: \"a?b\" holds a control character" },
		{ "{\"timeout\":\"5d\"}", "timeout: \"5d\" is not a time" },
		{ "{\"timeout\":-1}", "timeout: \"-1\" is not a time" },
		{ "{\"timeout\":1e300}", "timeout: \"1e300\" is not a time" },
		{ "{\"timeout\":99999999999999}", "more than a hundred years" },
		{ "{\"boot-source\":{\"kernel_image_path\":\"\"}}",
		  "boot-source.kernel_image_path: the path is empty" },
		{ "{\"boot-source\":{\"initrd_path\":\"\"}}",
		  "boot-source.initrd_path: the path is empty" },
		{ "{\"boot-source\":{\"boot_args\":\"\\u001b\"}}", "holds a control character" },
		{ "{\"machine-config\":{\"vcpu_count\":0}}",
		  "machine-config.vcpu_count: 0 is out of range, a VM has 1 to 32 CPUs" },
		{ "{\"machine-config\":{\"vcpu_count\":33}}", "33 is out of range" },
		{ "{\"machine-config\":{\"vcpu_count\":-1}}", "-1 is out of range" },
		{ "{\"machine-config\":{\"vcpu_count\":4294967297}}",
		  "4294967297 is out of range" },
		{ "{\"machine-config\":{\"vcpu_count\":99999999999999999999999}}",
		  "is out of range" },
		{ "{\"machine-config\":{\"mem_size_mib\":31}}",
		  "machine-config.mem_size_mib: 31 MiB is less than the 32 MiB" },
		{ "{\"machine-config\":{\"mem_size_mib\":0}}", "less than the 32 MiB" },
		{ "{\"machine-config\":{\"mem_size_mib\":-5}}", "-5 is not a number of MiB" },
		{ "{\"machine-config\":{\"mem_size_mib\":1073741824}}",
		  "more than all the memory" },
		{ "{\"machine-config\":{\"mem_size_mib\":17592186044417}}",
		  "more than any memory" },
		{ "{\"machine-config\":{\"mem_size\":\"512\"}}", "did you mean 512M?" },
		{ "{\"machine-config\":{\"mem_size\":\"lots\"}}", "\"lots\" is not a size" },
		{ "{\"machine-config\":{\"mem_size\":\"1G\",\"mem_size_mib\":1024}}",
		  "both as mem_size and as mem_size_mib" },
		{ "{\"machine-config\":{\"huge_pages\":\"1G\"}}",
		  "\"1G\" is not \"None\" or \"2M\"" },
		{ "{\"drives\":[{}]}", "drives[0]: the key path_on_host is missing" },
		{ "{\"drives\":[{\"path_on_host\":null}]}",
		  "drives[0]: the key path_on_host is missing" },
		{ "{\"drives\":[{\"path_on_host\":\"\"}]}",
		  "drives[0].path_on_host: the path is empty" },
		{ "{\"drives\":[{\"drive_id\":\"\"}]}", "drives[0].drive_id: the id is empty" },
		{ "{\"drives\":[{\"drive_id\":\"a/b\"}]}",
		  "drives[0].drive_id: \"a/b\" is not an id" },
		{ "{\"drives\":[{\"drive_id\":\"0123456789abcdef0123456789abcdef0123456789abcdef"
		  "0123456789abcdefX\"}]}",
		  "has 65 characters, an id has at most 64" },
		{ "{\"drives\":[{\"drive_id\":\"a\",\"path_on_host\":\"1\"},"
		  "{\"drive_id\":\"a\",\"path_on_host\":\"2\"}]}",
		  "drives[1].drive_id: drives[0] is called \"a\" already" },
		{ "{\"drives\":[{\"path_on_host\":\"1\",\"is_root_device\":true},"
		  "{\"path_on_host\":\"2\",\"is_root_device\":true}]}",
		  "drives[1]: 2 cannot be the root device, because 1 is it already" },
		{ "{\"drives\":[{\"cache_type\":\"None\"}]}",
		  "drives[0].cache_type: \"None\" is not \"Unsafe\" or \"Writeback\"" },
		{ "{\"drives\":[{\"io_engine\":\"sync\"}]}",
		  "drives[0].io_engine: \"sync\" is not \"Sync\" or \"Async\"" },
		{ "{\"drives\":[{\"serial\":\"\"}]}", "drives[0].serial: " },
		{ "{\"drives\":[{\"direct\":\"yes\"}]}", "drives[0].direct: \"yes\" is none of" },
		{ "{\"drives\":[{\"queues\":17}]}", "drives[0].queues: 17 is out of range" },
		{ "{\"workload\":{\"argv\":[]}}", "workload.argv: the command is empty" },
		{ "{\"workload\":{\"argv\":[\"\"]}}",
		  "workload.argv: the command's name is empty" },
		{ "{\"workload\":{\"argv\":[\"a\"],\"cmd\":[\"a\"]}}", "both as argv and as cmd" },
		{ "{\"workload\":{\"argv\":[\"a\\u0000b\"]}}",
		  "workload.argv[0]: the string holds a NUL" },
		{ "{\"workload\":{\"env\":[\"A\"]}}", "workload.env[0]: \"A\" has no '='" },
		{ "{\"workload\":{\"env\":[\"=A\"]}}", "has no name before its '='" },
		{ "{\"workload\":{\"env\":{\"\":\"A\"}}}", "has no name before its '='" },
		{ "{\"workload\":{\"env\":{\"A=B\":\"A\"}}}", "cannot have a '='" },
		{ "{\"workload\":{\"workdir\":\"srv\"}}",
		  "workload.workdir: \"srv\" is not an absolute path" },
	};

	EXPECT_REFUSED(cases);
}

Test(config_json, network)
{
	expect_ok(
		"{ \"network-interfaces\": [\n"
		"  { \"iface_id\": \"eth0\", \"guest_mac\": \"06:00:AC:10:00:02\",\n"
		"    \"host_dev_name\": \"tap0\", \"rx_rate_limiter\": null,\n"
		"    \"ip\": [ \"192.0.2.2/24\", \"2001:db8::2/64\" ], \"gw\": [ \"192.0.2.1\" ],\n"
		"    \"dns\": [ \"192.0.2.3\" ], \"mtu\": 9000, \"queues\": 4 },\n"
		"  { \"mode\": \"nat\" } ],\n"
		"  \"publish\": [ \"8080:80\", \"[::1]:53:53/udp\" ] }");
	cr_assert_eq(cfg.nnets, 2);
	cr_expect_eq(cfg.nets[0].mode, NET_TAP);
	cr_expect_str_eq(cfg.nets[0].id, "eth0");
	cr_expect_str_eq(cfg.nets[0].tap, "tap0");
	cr_expect_eq(memcmp(cfg.nets[0].mac, "\x06\0\xac\x10\0\2", 6), 0);
	cr_expect_eq(cfg.nets[0].nips, 2);
	cr_expect_eq(cfg.nets[0].ngateways, 1);
	cr_expect_eq(cfg.nets[0].ndns, 1);
	cr_expect_eq(cfg.nets[0].mtu, 9000);
	cr_expect_eq(cfg.nets[0].queues, 4);
	cr_expect_eq(cfg.nets[1].mode, NET_NAT);
	cr_assert_eq(cfg.npublish, 2);
	cr_expect_eq(cfg.publish[0].host_port, 8080);
	cr_expect(cfg.publish[1].udp);
}

Test(config_json, network_refused)
{
	static const struct refusal cases[] = {
		{ "{\"network-interfaces\":[{\"iface_id\":\"eth0\"}]}",
		  "network-interfaces[0]: the key host_dev_name is missing" },
		{ "{\"network-interfaces\":[{\"iface_id\":\"\"}]}", "iface_id: the id is empty" },
		{ "{\"network-interfaces\":[{\"iface_id\":\"a\",\"mode\":\"nat\"},"
		  "{\"iface_id\":\"a\",\"mode\":\"nat\"}]}",
		  "network-interfaces[1].iface_id: network-interfaces[0] is called \"a\" already" },
		{ "{\"network-interfaces\":[{\"mode\":\"bridge\"}]}",
		  "network-interfaces[0].mode: \"bridge\" is none of tap, nat and user" },
		{ "{\"network-interfaces\":[{\"mode\":\"nat\",\"host_dev_name\":\"t\"}]}",
		  "host_dev_name and mode exclude each other" },
		{ "{\"network-interfaces\":[{\"mode\":\"nat\",\"ip\":[\"1.2.3.4/8\"]}]}",
		  "network-interfaces[0]: ip, gw and dns are for a tap" },
		{ "{\"network-interfaces\":[{\"host_dev_name\":\"t\",\"ip\":\"1.2.3.4/8\"}]}",
		  "network-interfaces[0].ip: expected an array" },
		{ "{\"network-interfaces\":[{\"host_dev_name\":\"t\",\"gw\":[\"x\"]}]}",
		  "network-interfaces[0].gw[0]: \"x\" is not an address" },
		{ "{\"network-interfaces\":[{\"host_dev_name\":\"t\",\"mtu\":20}]}",
		  "network-interfaces[0].mtu: 20 is out of range" },
		{ "{\"network-interfaces\":[{\"host_dev_name\":\"t\",\"tx_rate_limiter\":"
		  "{\"ops\":{\"size\":1}}}]}",
		  "network-interfaces[0].tx_rate_limiter.ops: the key refill_time is missing" },
		{ "{\"network-interfaces\":[{\"mode\":\"nat\"},{\"mode\":\"nat\"},{\"mode\":"
		  "\"nat\"},"
		  "{\"mode\":\"nat\"},{\"mode\":\"nat\"}]}",
		  "network-interfaces[4]: a VM has at most 4 network cards" },
		{ "{\"publish\":[\"80\"]}", "publish[0]: \"80\" is not [ADDR:]HOST:GUEST" },
		{ "{\"publish\":[\"80:80\",\"80:81\"]}", "are the same port of the host" },
	};

	EXPECT_REFUSED(cases);
}

Test(config_json, not_supported)
{
	static const struct refusal cases[] = {
		{ "{\"vsock\":{\"guest_cid\":3}}", "vsock: this is not supported yet" },
		{ "{\"cpu-config\":\"t.json\"}", "cpu-config: this is not supported yet" },
		{ "{\"pmem\":[{}]}", "pmem: this is not supported yet" },
		{ "{\"memory-hotplug\":{\"a\":1}}", "memory-hotplug: this is not supported yet" },
		{ "{\"serial\":{\"serial_out_path\":\"x\"}}", "serial: this is not supported yet" },
		{ "{\"machine-config\":{\"cpu_template\":\"T2\"}}",
		  "machine-config.cpu_template: CPU templates are not supported yet" },
		{ "{\"drives\":[{\"socket\":\"/run/x\"}]}",
		  "drives[0].socket: this is not supported yet" },
		{ "{\"drives\":[{\"partuuid\":\"eaf1-01\"}]}",
		  "drives[0].partuuid: booting from a partition" },
		{ "{\"entropy\":{\"rate_limiter\":{\"bandwidth\":{\"size\":1}}}}",
		  "entropy.rate_limiter: this device cannot be limited" },
	};

	EXPECT_REFUSED(cases);
}

Test(config_json, not_json)
{
	static const struct refusal cases[] = {
		{ "", "vm.json: the file is empty" },
		{ " \n", "vm.json: the file is empty" },
		{ "{", "vm.json:1:2: the file ends in the middle" },
		{ "{\"name\": \"a", "vm.json:1:12: the file ends in the middle" },
		{ "{\n  \"name\": \"a\",\n  \"rootfs\" \"b\"\n}",
		  "vm.json:3:12: this is not JSON" },
		{ "{\n  \"name\": \"a\",\n}", "vm.json:3:1: this is not JSON" },
		{ "{ \"name\": 'a' }", "vm.json:1:11: this is not JSON" },
		{ "{ name: 1 }", "vm.json:1:3: this is not JSON" },
		{ "{} {}", "vm.json:1:4: this is not JSON" },
		{ "{} x", "vm.json:1:4: this is not JSON" },
		{ "{ /* c */ }", "vm.json:1:3: this is not JSON" },
		{ "{\"\xc3\xa4\": x}", "vm.json:1:7: this is not JSON" },
		{ "{\"a\": \"\xff\"}", "this is not JSON" },
		{ "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "this is not JSON" },
		{ "\xef\xbb\xbf{}", "vm.json:1:1: this is not JSON" },
	};

	EXPECT_REFUSED(cases);
}

Test(config_json, nul_byte)
{
	cr_expect_eq(config_parse_json(&cfg, "{}\n\0{}", 6, "vm.json", &err), -EINVAL);
	cr_expect(strstr(err.text, "vm.json:2:1: this is not JSON: a NUL byte"), "%s", err.text);
}

Test(config_json, not_terminated)
{
	cr_expect_eq(config_parse_json(&cfg, "{\"name\":\"a\"}garbage", 12, "vm.json", &err), 0,
		     "%s", err.text);
	cr_expect_str_eq(cfg.name, "a");
}

Test(config_json, too_long)
{
	char *text = malloc(CONFIG_FILE_MAX);

	memset(text, ' ', CONFIG_FILE_MAX);
	cr_expect_eq(config_parse_json(&cfg, text, CONFIG_FILE_MAX, "vm.json", &err), -EFBIG);
	cr_expect(strstr(err.text, "256 KiB"), "%s", err.text);
	memcpy(text, "{}", 2);
	cr_expect_eq(config_parse_json(&cfg, text, CONFIG_FILE_MAX - 1, "vm.json", &err), 0);
	free(text);
}

Test(config_json, duplicate_keys)
{
	static const struct refusal cases[] = {
		{ "{\"name\":\"a\",\"name\":\"b\"}",
		  "vm.json:1:13: the key \"name\" stands twice" },
		{ "{\"drives\":[],\n \"drives\":[]}", "vm.json:2:2: the key \"drives\"" },
		{ "{\"drives\":[{},{\"serial\":\"\\\"}\",\"serial\":\"b\"}]}",
		  "the key \"serial\"" },
		{ "{\"workload\":{\"env\":{\"A\":\"1\",\"B\":\"{,\",\"A\":\"2\"}}}",
		  "the key \"A\"" },
		{ "{\"x\":{\"a\":[1,{\"a\":[]},{}],\"b\":-1.5e3,\"b\":true}}", "the key \"b\"" },
		{ "{\"name\":\"a\",'name':\"b\"}", "vm.json:1:13: the key \"name\"" },
		{ "{'a}\"]':[{'\"':1},2],'b':1,'b':2}", "the key \"b\"" },
	};

	EXPECT_REFUSED(cases);
	expect_ok("{\"workload\":{\"env\":{\"A\":\"1\",\"AA\":\"2\",\"a\":\"3\"},\"argv\":[\"A\","
		  "\"A\"]}}");
}

Test(config_json, too_many_drives)
{
	char text[4096] = "{\"drives\":[";

	for (int i = 0; i <= CONFIG_DISKS_MAX; i++)
		sprintf(text + strlen(text), "%s{\"path_on_host\":\"d%d\"}", i ? "," : "", i);
	strcat(text, "]}");
	cr_expect_eq(parse(text), -EINVAL);
	cr_expect(strstr(err.text, "drives[12]: a VM has at most 12 disks"), "%s", err.text);
}

Test(config_json, conflicts)
{
	static const struct refusal cases[] = {
		{ "{\"boot-source\":{\"initrd_path\":\"i.cpio\"},\"workload\":{\"argv\":[\"ls\"]}}",
		  "the initrd i.cpio brings its own init, so the command ls would never be run" },
		{ "{\"boot-source\":{\"initrd_path\":\"i.cpio\"},\"rootfs\":\"r\"}",
		  "the initrd i.cpio brings its own init, which knows nothing of --rootfs r" },
		{ "{\"rootfs\":\"r\",\"drives\":[{\"path_on_host\":\"d\",\"is_root_device\":true}]"
		  "}",
		  "both --rootfs r and the root drive d" },
		{ "{\"workload\":{\"env\":{\"A\":\"1\"}},"
		  "\"drives\":[{\"path_on_host\":\"d\",\"is_root_device\":true}]}",
		  "d boots its own init, so the environment (--env) would reach no command" },
		{ "{\"workload\":{\"workdir\":\"/\"},\"boot-source\":{\"initrd_path\":\"i\"}}",
		  "i boots its own init, so the working directory (--workdir)" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		teardown();
		setup();
		expect_ok(cases[i].text);
		cr_expect_eq(config_finish(&cfg, &err), -EINVAL, "%s", cases[i].text);
		cr_expect(strstr(err.text, cases[i].sentence), "%s", err.text);
	}
}

Test(config_json, forward)
{
	static const struct refusal cases[] = {
		{ "{\"forward\":\"a=unix:/b\"}", "forward" },
		{ "{\"forward\":[5]}", "forward[0]" },
		{ "{\"forward\":[null]}", "forward[0]" },
		{ "{\"forward\":[\"a=unix:/b\",\"x\"]}", "forward[1]: \"x\" is not SOCKET=" },
		{ "{\"forward\":[\"a=unix:/b\",\"a=unix:/c\"]}",
		  "forward[1]: the socket a is forwarded twice" },
		{ "{\"forward\":[\"../a=unix:/b\"]}", "must be an absolute path" },
		{ "{\"forwards\":[]}", "did you mean forward" },
		/* How a VM runs is no matter of its machine. */
		{ "{\"detach\":true}", "detach: unknown key" },
	};

	expect_ok("{\"forward\":[\"a=unix:/b\",\"/c=tcp:10.0.0.1:5\"]}");
	cr_assert_eq(cfg.nforwards, 2);
	cr_expect_str_eq(cfg.forwards[0].path, "a");
	cr_expect_str_eq(cfg.forwards[1].guest, "tcp:10.0.0.1:5");
	EXPECT_REFUSED(cases);
}
