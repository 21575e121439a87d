// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

Test(config_disk, accepted)
{
	static const struct {
		const char *text;
		struct disk_config want;
	} cases[] = {
		{ "a.img", { .path = (char *)"a.img" } },
		{ "/dev/vg/lv,ro", { .path = (char *)"/dev/vg/lv", .read_only = true } },
		{ "a,serial=S-1", { .path = (char *)"a", .serial = "S-1" } },
		{ "a,serial=12345678901234567890",
		  { .path = (char *)"a", .serial = "12345678901234567890" } },
		{ "a,direct=on", { .path = (char *)"a", .direct = DISK_DIRECT_ON } },
		{ "a,direct=off", { .path = (char *)"a", .direct = DISK_DIRECT_OFF } },
		{ "a,direct=auto", { .path = (char *)"a", .direct = DISK_DIRECT_AUTO } },
		{ "a,queues=1", { .path = (char *)"a", .queues = 1 } },
		{ "a,queues=16", { .path = (char *)"a", .queues = 16 } },
		{ "a,queues=2,direct=on,ro,serial=x",
		  { .path = (char *)"a",
		    .read_only = true,
		    .serial = "x",
		    .direct = DISK_DIRECT_ON,
		    .queues = 2 } },
		{ "a,fixed-buffers=on", { .path = (char *)"a", .fixed_buffers = true } },
		{ "a,fixed-buffers=on,fixed-buffers=off", { .path = (char *)"a" } },
		{ "a,sqpoll=on", { .path = (char *)"a", .sqpoll = true } },
		{ "a,sqpoll=off", { .path = (char *)"a" } },
		{ "a,iops=100", { .path = (char *)"a", .limits.ops = { 100, 1000, 10, 0 } } },
		{ "a,iops=3", { .path = (char *)"a", .limits.ops = { 3, 1000, 1, 0 } } },
		{ "a,iops-burst=50,iops=100",
		  { .path = (char *)"a", .limits.ops = { 100, 1000, 50, 0 } } },
		{ "a,bw=10M,bw-burst=1.5G,iops=1",
		  { .path = (char *)"a",
		    .limits = { .bytes = { 10 << 20, 1000, 3ull << 29, 0 },
				.ops = { 1, 1000, 1, 0 } } } },
		{ "a,bw=4611686018427387904",
		  { .path = (char *)"a",
		    .limits.bytes = { 1ull << 62, 1000, (1ull << 62) / 10, 0 } } },
		{ "with,,comma,ro", { .path = (char *)"with,comma", .read_only = true } },
		{ ",,", { .path = (char *)"," } },
		{ "a=b", { .path = (char *)"a=b" } },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct disk_config *want = &cases[i].want;
		struct disk_config got;
		struct error err = { "" };

		cr_assert_eq(parse_disk(cases[i].text, &got, &err), 0, "\"%s\": %s", cases[i].text,
			     err.text);
		cr_expect_str_eq(got.path, want->path);
		cr_expect_eq(got.read_only, want->read_only, "\"%s\"", cases[i].text);
		cr_expect_not(got.root);
		cr_expect_str_eq(got.serial, want->serial);
		cr_expect_eq(got.direct, want->direct, "\"%s\"", cases[i].text);
		cr_expect_eq(got.queues, want->queues, "\"%s\"", cases[i].text);
		cr_expect_eq(got.fixed_buffers, want->fixed_buffers, "\"%s\"", cases[i].text);
		cr_expect_eq(got.sqpoll, want->sqpoll, "\"%s\"", cases[i].text);
		cr_expect_eq(memcmp(&got.limits, &want->limits, sizeof(got.limits)), 0, "\"%s\"",
			     cases[i].text);
		cr_expect(bucket_spec_ok(&got.limits.ops) && bucket_spec_ok(&got.limits.bytes));
		free(got.path);
	}
}

Test(config_disk, refused)
{
	static const struct {
		const char *text;
		const char *sentence;
	} cases[] = {
		{ "", "path is empty" },
		{ ",ro", "path is empty" },
		{ "a,", "unknown option \"\"" },
		{ "a,rw", "did you mean ro?" },
		{ "a,sreial=1", "did you mean serial?" },
		{ "a,cache=none", "unknown option \"cache\"" },
		{ "a,ro=1", "ro takes no value" },
		{ "a,serial", "serial needs a value" },
		{ "a,direct", "direct needs a value" },
		{ "a,queues", "queues needs a value" },
		{ "a,serial=", "1 to 20" },
		{ "a,serial=123456789012345678901", "has 21 characters" },
		{ "a,serial=a b", "not a serial number" },
		{ "a,serial=\xc3\xa4", "not a serial number" },
		{ "a,direct=yes", "\"yes\" is none of on, off and auto" },
		{ "a,direct=", "none of on, off and auto" },
		{ "a,fixed-buffer=on", "did you mean fixed-buffers?" },
		{ "a,fixed-buffers", "fixed-buffers needs a value" },
		{ "a,fixed-buffers=yes", "fixed-buffers: \"yes\" is neither on nor off" },
		{ "a,iops", "iops needs a value" },
		{ "a,iops=0", "--disk: iops: with 0 nothing would ever pass" },
		{ "a,iops=-5", "\"-5\" is not a number such as 1000" },
		{ "a,iops=1.5", "\"1.5\" is not a number such as 1000" },
		{ "a,iops=many", "\"many\" is not a number such as 1000" },
		{ "a,iops=1k", "\"1k\" is not a number such as 1000" },
		{ "a,iops-burst=5", "iops-burst is of no use without iops" },
		{ "a,iops=5,bw-burst=5", "bw-burst is of no use without bw" },
		{ "a,bw=fast", "\"fast\" is not a size such as 512K or 1.5G" },
		{ "a,bw=0", "with 0 nothing would ever pass" },
		{ "a,bps=1M", "unknown option \"bps\"" },
		{ "a,sqpoll", "sqpoll needs a value" },
		{ "a,sqpoll=1", "sqpoll: \"1\" is neither on nor off" },
		{ "a,queues=0", "1 to 16 queues" },
		{ "a,queues=17", "1 to 16 queues" },
		{ "a,queues=-1", "1 to 16 queues" },
		{ "a,queues=two", "not a number of queues" },
		{ "a,queues=", "not a number of queues" },
		{ "a,queues=99999999999999999999", "not a number of queues" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct disk_config got = { .path = (char *)"untouched" };
		struct error err = { "" };

		cr_expect_eq(parse_disk(cases[i].text, &got, &err), -EINVAL, "\"%s\"",
			     cases[i].text);
		cr_expect(strstr(err.text, cases[i].sentence), "\"%s\": %s", cases[i].text,
			  err.text);
		cr_expect_eq(strncmp(err.text, "--disk: ", 8), 0, "%s", err.text);
		cr_expect_str_eq(got.path, "untouched");
	}
}

Test(config_disk, limits_out_of_bounds)
{
	static const char *const cases[] = { "a,iops=4611686018427387905",
					     "a,iops=99999999999999999999", "a,bw=5000000T",
					     "a,bw=99999999999999999999",
					     "a,bw=1,bw-burst=9999999T" };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct disk_config got;
		struct error err = { "" };

		cr_expect_eq(parse_disk(cases[i], &got, &err), -ERANGE, "\"%s\"", cases[i]);
		cr_expect(strstr(err.text, "is more than any limit"), "%s", err.text);
	}
}
