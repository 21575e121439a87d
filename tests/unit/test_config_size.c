// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>

#include "config/config.h"
#include "config/words.h"

#define UNTOUCHED 0x5a5a5a5a5a5a5a5aull

Test(config_size, sizes)
{
	static const struct {
		const char *text;
		int ret;
		uint64_t bytes;
	} cases[] = {
		{ "0", 0, 0 },
		{ "512", 0, 512 },
		{ "512b", 0, 512 },
		{ "64K", 0, 64ull << 10 },
		{ "64k", 0, 64ull << 10 },
		{ "64KB", 0, 64ull << 10 },
		{ "64KiB", 0, 64ull << 10 },
		{ "256M", 0, 256ull << 20 },
		{ "1.5G", 0, 3ull << 29 },
		{ "2GiB", 0, 2ull << 30 },
		{ "2gib", 0, 2ull << 30 },
		{ "1T", 0, 1ull << 40 },
		{ "0.25K", 0, 256 },
		{ "0.3G", 0, 322122547 },
		{ "1.0000000009K", 0, 1024 },
		{ "1.00000000000000000000000000000000001K", 0, 1024 },
		{ "16777215T", 0, 16777215ull << 40 },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -ERANGE, 0 },
		{ "99999999999999999999999", -ERANGE, 0 },
		{ "16777216T", -ERANGE, 0 },
		{ "18014398509481984K", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "M", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "+1", -EINVAL, 0 },
		{ " 1", -EINVAL, 0 },
		{ "1 ", -EINVAL, 0 },
		{ "1 M", -EINVAL, 0 },
		{ "1.", -EINVAL, 0 },
		{ ".5G", -EINVAL, 0 },
		{ "1.5", -EINVAL, 0 },
		{ "1.5B", -EINVAL, 0 },
		{ "1.5.5G", -EINVAL, 0 },
		{ "1P", -EINVAL, 0 },
		{ "1iB", -EINVAL, 0 },
		{ "1Mi", -EINVAL, 0 },
		{ "1MiBs", -EINVAL, 0 },
		{ "1MM", -EINVAL, 0 },
		{ "0x10", -EINVAL, 0 },
		{ "1e6", -EINVAL, 0 },
		{ "1,5G", -EINVAL, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t bytes = UNTOUCHED;
		int ret = parse_size(cases[i].text, &bytes);

		cr_expect_eq(ret, cases[i].ret, "\"%s\": %d", cases[i].text, ret);
		cr_expect_eq(bytes, ret == 0 ? cases[i].bytes : UNTOUCHED, "\"%s\": %llu",
			     cases[i].text, (unsigned long long)bytes);
	}
}

Test(config_size, durations)
{
	static const struct {
		const char *text;
		int ret;
		uint64_t ms;
	} cases[] = {
		{ "0", 0, 0 },
		{ "0ms", 0, 0 },
		{ "0.0h", 0, 0 },
		{ "5", 0, 5000 },
		{ "5s", 0, 5000 },
		{ "1.5s", 0, 1500 },
		{ "0.001", 0, 1 },
		{ "200ms", 0, 200 },
		{ "2m", 0, 120000 },
		{ "1h", 0, 3600000 },
		{ "0.5h", 0, 1800000 },
		{ "876000h", 0, 876000ull * 3600000 },
		/* too short to count is not "none" */
		{ "0.0001s", 0, 1 },
		{ "0.1ms", 0, 1 },
		{ "876001h", -ERANGE, 0 },
		{ "18446744073709551615", -ERANGE, 0 },
		{ "18446744073709551616ms", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "s", -EINVAL, 0 },
		{ "-5s", -EINVAL, 0 },
		{ "5 s", -EINVAL, 0 },
		{ "5S", -EINVAL, 0 },
		{ "5d", -EINVAL, 0 },
		{ "5sec", -EINVAL, 0 },
		{ "1m30s", -EINVAL, 0 },
		{ "1.s", -EINVAL, 0 },
		{ "1e3", -EINVAL, 0 },
		{ "inf", -EINVAL, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t ms = UNTOUCHED;
		int ret = parse_duration(cases[i].text, &ms);

		cr_expect_eq(ret, cases[i].ret, "\"%s\": %d", cases[i].text, ret);
		cr_expect_eq(ms, ret == 0 ? cases[i].ms : UNTOUCHED, "\"%s\": %llu", cases[i].text,
			     (unsigned long long)ms);
	}
}

Test(config_words, nearest)
{
	static const char *const known[] = { "vcpu_count", "mem_size_mib", "mem_size", "smt",
					     "ro" };
	static const struct {
		const char *typed;
		const char *nearest;
	} cases[] = {
		{ "vcpu_conut", "vcpu_count" },
		{ "vcpu-count", "vcpu_count" },
		{ "mem_size_mb", "mem_size_mib" },
		{ "memsize", "mem_size" },
		{ "smp", "smt" },
		{ "r", "ro" },
		{ "x", NULL },
		{ "frobnicate", NULL },
		{ "", NULL },
		{ "a_word_that_is_longer_than_any_key_that_is_known_here", NULL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct word_match match = { 0 };

		for (size_t j = 0; j < sizeof(known) / sizeof(known[0]); j++)
			word_match_try(&match, cases[i].typed, known[j]);
		if (cases[i].nearest)
			cr_expect_str_eq(match.word ? match.word : "none", cases[i].nearest,
					 "\"%s\"", cases[i].typed);
		else
			cr_expect_null(match.word, "\"%s\"", cases[i].typed);
	}
}

Test(config_words, shown_on_one_line)
{
	char longer[4096];

	cr_expect_str_eq(word_show("a\nb\033[31mc\177").text, "a?b?[31mc?");
	cr_expect_str_eq(word_show("\xc3\xa4").text, "\xc3\xa4");
	cr_expect_str_eq(word_show("").text, "");

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';

	struct word_shown shown = word_show(longer);

	cr_expect_eq(strlen(shown.text), sizeof(shown.text) - 1);
	cr_expect_str_eq(shown.text + strlen(shown.text) - 4, "x...");
}

Test(config_words, sizes_for_people)
{
	cr_expect_str_eq(word_show_size(0).text, "0 bytes");
	cr_expect_str_eq(word_show_size(1023).text, "1023 bytes");
	cr_expect_str_eq(word_show_size(32ull << 20).text, "32 MiB");
	cr_expect_str_eq(word_show_size(1536).text, "1.5 KiB");
	cr_expect_str_eq(word_show_size(UINT64_MAX).text, "16777216 TiB");
}
