// SPDX-License-Identifier: Apache-2.0
#include "cli/show.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <string.h>

Test(show, age)
{
	static const struct {
		double seconds;
		const char *text;
	} cases[] = {
		{ -5, "0 s" },      { 0, "0 s" },      { 0.9, "0 s" },      { 1, "1 s" },
		{ 119, "119 s" },   { 120, "2 min" },  { 7199, "119 min" }, { 7200, "2 h" },
		{ 172799, "47 h" }, { 172800, "2 d" }, { 1e9, "11574 d" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_assert_str_eq(show_age(cases[i].seconds).text, cases[i].text);
}

static struct state vm(const char *json, bool alive)
{
	struct state s = { .alive = alive, .dir_fd = -1, .json = json_tokener_parse(json) };

	cr_assert(s.json);
	return s;
}

static const char *status_of(const char *json, bool alive)
{
	static struct shown shown;
	struct state s = vm(json, alive);

	shown = show_status(&s, 1000);
	state_deinit(&s);
	return shown.text;
}

Test(show, status)
{
	cr_assert_str_eq(status_of("{}", true), "starting");
	cr_assert_str_eq(status_of("{\"status\":\"running\"}", true), "running");
	cr_assert_str_eq(status_of("{\"status\":\"running\",\"started\":700.5}", true),
			 "running 4 min");
	cr_assert_str_eq(status_of("{\"status\":\"running\",\"started\":700}", false), "died");
	cr_assert_str_eq(status_of("{\"status\":\"paused\",\"started\":700}", true), "paused");
	cr_assert_str_eq(status_of("{\"status\":\"exited\",\"started\":1,\"finished\":990,"
				   "\"exit_status\":7}",
				   false),
			 "exited (7) 10 s ago");
	cr_assert_str_eq(
		status_of("{\"status\":\"failed\",\"finished\":990,\"exit_status\":125}", false),
		"failed (125) 10 s ago");
}

Test(show, configuration)
{
	struct state s =
		vm("{\"config\":{\"machine-config\":{\"vcpu_count\":2,\"mem_size_mib\":512},"
		   "\"publish\":[\"8080:80\",\"53:53/udp\"],"
		   "\"workload\":{\"argv\":[\"sh\",\"-c\",\"\\u001b[2J \\u009b x\\ny\"]}}}",
		   true);

	cr_assert_str_eq(show_command(&s).text, "sh -c  [2J ?? x y");
	cr_assert_str_eq(show_cpus(&s).text, "2");
	cr_assert_str_eq(show_memory(&s).text, "512 MiB");
	cr_assert_str_eq(show_ports(&s).text, "8080:80, 53:53/udp");
	state_deinit(&s);

	s = vm("{\"config\":{\"machine-config\":{\"mem_size\":\"1610616832\"},"
	       "\"workload\":{\"argv\":[\"0123456789012345678901234567\",\"abc\"]}}}",
	       true);
	cr_assert_str_eq(show_memory(&s).text, "1.5 GiB");
	cr_assert_str_eq(show_command(&s).text, "012345678901234567890123456...");
	state_deinit(&s);
}

/* A state that is not as it should be is no more than empty cells. */
Test(show, nonsense)
{
	static const char *const cases[] = {
		"{}",
		"{\"config\":5}",
		"{\"config\":{\"machine-config\":[],\"publish\":{},\"workload\":null}}",
		"{\"config\":{\"workload\":{\"argv\":\"sh\"},\"publish\":\"80:80\"}}",
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct state s = vm(cases[i], true);

		cr_assert_str_eq(show_command(&s).text, "");
		cr_assert_str_eq(show_cpus(&s).text, "");
		cr_assert_str_eq(show_memory(&s).text, "");
		cr_assert_str_eq(show_ports(&s).text, "");
		state_deinit(&s);
	}
}

Test(show, long_lists)
{
	struct json_object *ports = json_object_new_array(), *config = json_object_new_object();
	struct state s = vm("{}", true);

	for (int i = 0; i < 64; i++)
		json_object_array_add(ports, json_object_new_string("192.168.100.200:65535:65535"));
	json_object_object_add(config, "publish", ports);
	json_object_object_add(s.json, "config", config);
	struct shown shown = show_ports(&s);

	cr_assert_lt(strlen(shown.text), sizeof(shown.text));
	cr_assert_str_eq(shown.text + strlen(shown.text) - 3, "...");
	state_deinit(&s);
}

Test(show, find)
{
	struct json_object *o = json_tokener_parse("{\"a\":{\"b\":{\"c\":1}},\"n\":null}");

	cr_assert_eq(json_object_get_int(show_find(o, "a.b.c")), 1);
	cr_assert_eq(show_find(o, ""), o);
	cr_assert_null(show_find(o, "a.x.c"));
	cr_assert_null(show_find(o, "a.b.c.d"));
	cr_assert_null(show_find(o, "n.x"));
	cr_assert_null(show_find(NULL, "a"));
	json_object_put(o);
}

Test(show, table, .init = cr_redirect_stdout)
{
	static const char *const heading[] = { "NAME", "PORTS", "MEM" };
	static const struct shown cells[] = {
		{ "a" }, { "" },       { "1 MiB" }, { "b\xc3\xa4r" }, { "1:2" },
		{ "" },  { "longer" }, { "" },      { "" },
	};

	show_table(heading, cells, 3, 3);
	fflush(stdout);
	cr_assert_stdout_eq_str("NAME    PORTS  MEM\n"
				"a              1 MiB\n"
				"b\xc3\xa4r     1:2\n"
				"longer\n");
}
