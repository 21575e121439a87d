// SPDX-License-Identifier: Apache-2.0
#include "supervisor/calls.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

enum { CALLS = 16, EXECS = 12 };

static struct calls *c;
static int agents[64]; /* the guest's ends, in the order of the calls */
static unsigned int nagents;
static bool unreachable, unwanted;

static unsigned int nhealths, nexecs;
static uint64_t last_id;
static bool have_health;
static struct kvmbox_health health;
static struct json_object *answer;
static char fault[256];

static time_t ahead_s;

/* A clock that can be put forward. */
int clock_gettime(clockid_t which, struct timespec *now)
{
	int ret = (int)syscall(SYS_clock_gettime, which, now);

	now->tv_sec += ahead_s;
	return ret;
}

static int dial(void *ctx, int fd)
{
	cr_assert_eq(ctx, agents);
	if (unreachable) {
		close(fd);
		return -ENOTCONN;
	}
	agents[nagents++ % 64] = fd;
	return 0;
}

static bool wanted(void *ctx, uint64_t id)
{
	(void)ctx;
	(void)id;
	return !unwanted;
}

static void on_health(void *ctx, uint64_t id, const struct kvmbox_health *h)
{
	(void)ctx;
	nhealths++;
	last_id = id;
	have_health = h;
	if (h)
		health = *h;
}

static void on_exec(void *ctx, uint64_t id, struct json_object *a, const char *f)
{
	(void)ctx;
	nexecs++;
	last_id = id;
	json_object_put(answer);
	answer = a;
	snprintf(fault, sizeof(fault), "%s", f ? f : "");
}

static const struct calls_ops ops = { dial, wanted, on_health, on_exec };

static void setup(void)
{
	cr_assert_eq(calls_new(&ops, agents, &c), 0);
}

static void teardown(void)
{
	calls_free(c);
	json_object_put(answer);
}

TestSuite(supervisor_calls, .init = setup, .fini = teardown, .timeout = 60);

static void run(void)
{
	struct pollfd p = { .fd = calls_fd(c), .events = POLLIN };

	for (int i = 0; poll(&p, 1, 0) == 1; i++) {
		cr_assert_lt(i, 100000, "it never comes to rest");
		calls_run(c);
	}
}

static void put(int fd, const void *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = send(fd, (const char *)data + done, len - done,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		run();
		if (n < 0 && errno != EAGAIN)
			return;
		done += n < 0 ? 0 : (size_t)n;
	}
}

static void put_frame(int fd, uint16_t type, const void *payload, size_t len)
{
	struct kvmbox_frame f = { .type = type, .len = (uint32_t)len };

	put(fd, &f, sizeof(f));
	put(fd, payload, len);
}

static void put_output(int fd, enum kvmbox_stream which, const char *text, size_t len)
{
	static char buf[KVMBOX_FRAME_MAX];
	struct kvmbox_data d = { which };

	memcpy(buf, &d, sizeof(d));
	memcpy(buf + sizeof(d), text, len);
	put_frame(fd, KVMBOX_FRAME_DATA, buf, sizeof(d) + len);
}

static void put_exit(int fd, uint32_t kind, uint32_t value)
{
	struct kvmbox_exit e = { kind, value };

	put_frame(fd, KVMBOX_FRAME_EXIT, &e, sizeof(e));
}

static void exec_with_id(uint64_t id, const char *request)
{
	struct json_object *o = json_tokener_parse(request);

	cr_assert_not_null(o);
	calls_exec(c, id, o);
	json_object_put(o);
}

static void exec(const char *request)
{
	exec_with_id(7, request);
}

static const char *text_of(const char *key)
{
	return json_object_get_string(json_object_object_get(answer, key));
}

Test(supervisor_calls, health)
{
	struct kvmbox_health h = { .boot_ns = 5, .memory_total = 6, .processes = 7 };
	struct kvmbox_frame f;

	calls_health(c, 42);
	cr_assert_eq(nagents, 1);
	cr_assert_eq(recv(agents[0], &f, sizeof(f), 0), sizeof(f));
	cr_assert(f.type == KVMBOX_FRAME_HEALTH && f.len == 0);
	/* What is not to the point, or too short, is skipped. */
	put_frame(agents[0], KVMBOX_FRAME_HEALTH, &h, sizeof(h) - 1);
	put_frame(agents[0], 9999, "x", 1);
	put_exit(agents[0], KVMBOX_EXIT_EXITED, 0);
	cr_assert_eq(nhealths, 0);
	put_frame(agents[0], KVMBOX_FRAME_HEALTH, &h, sizeof(h));
	cr_assert(nhealths == 1 && last_id == 42 && have_health);
	cr_assert(health.boot_ns == 5 && health.processes == 7);
	cr_assert_eq(recv(agents[0], &f, 1, 0), 0, "the session is over");
	cr_assert_eq(nexecs, 0);
}

Test(supervisor_calls, health_that_does_not_come)
{
	struct kvmbox_frame too_long = { KVMBOX_FRAME_HEALTH, 0, KVMBOX_FRAME_MAX + 1 };
	struct pollfd p = { .fd = calls_fd(c), .events = POLLIN };
	uint64_t begin;

	unreachable = true;
	calls_health(c, 1);
	cr_assert(nhealths == 1 && last_id == 1 && !have_health);
	unreachable = false;
	calls_health(c, 2);
	close(agents[0]);
	run();
	cr_assert(nhealths == 2 && last_id == 2 && !have_health);
	calls_health(c, 3);
	put(agents[1], &too_long, sizeof(too_long));
	cr_assert(nhealths == 3 && last_id == 3 && !have_health);
	/* A guest that says something else for ever is not waited for either. */
	calls_health(c, 4);
	begin = clock_now_ns();
	while (nhealths == 3) {
		cr_assert_lt(clock_now_ns() - begin, 5000000000ull);
		put_output(agents[2], KVMBOX_STREAM_OUT, "x", 1);
		poll(&p, 1, 10);
		run();
	}
	cr_assert(last_id == 4 && !have_health);
	/* And then the clock has nothing to do. */
	cr_assert_eq(poll(&p, 1, 400), 0);
}

Test(supervisor_calls, exec_request)
{
	struct {
		struct kvmbox_frame f;
		struct kvmbox_exec e;
	} head;
	static const char strings[] = "ls\0-l\0A=b\0/tmp"; /* and its NUL */
	char buf[64];
	struct kvmbox_frame f;
	struct kvmbox_data d;

	exec("{\"argv\":[\"ls\",\"-l\"],\"env\":[\"A=b\"],\"workdir\":\"/"
	     "tmp\",\"stdin\":\"i\\u0000n\"}");
	cr_assert_eq(recv(agents[0], &head, sizeof(head), 0), sizeof(head));
	cr_assert_eq(head.f.type, KVMBOX_FRAME_EXEC);
	cr_assert_eq(head.f.len, sizeof(head.e) + sizeof(strings));
	cr_assert(head.e.flags == KVMBOX_EXEC_STDIN && head.e.argc == 2 && head.e.envc == 1);
	cr_assert_eq(recv(agents[0], buf, sizeof(strings), 0), sizeof(strings));
	cr_assert_eq(memcmp(buf, strings, sizeof(strings)), 0);
	cr_assert_eq(recv(agents[0], &f, sizeof(f), 0), sizeof(f));
	cr_assert(f.type == KVMBOX_FRAME_DATA && f.len == sizeof(d) + 3);
	cr_assert_eq(recv(agents[0], &d, sizeof(d), 0), sizeof(d));
	cr_assert_eq(d.stream, KVMBOX_STREAM_IN);
	cr_assert_eq(recv(agents[0], buf, 3, 0), 3);
	cr_assert_eq(memcmp(buf, "i\0n", 3), 0);
	cr_assert_eq(recv(agents[0], &f, sizeof(f), 0), sizeof(f));
	cr_assert(f.type == KVMBOX_FRAME_DATA && f.len == sizeof(d));
}

Test(supervisor_calls, exec_answer)
{
	exec("{\"argv\":[\"ls\"]}");
	put_output(agents[0], KVMBOX_STREAM_OUT, "one ", 4);
	put_output(agents[0], KVMBOX_STREAM_ERR, "err", 3);
	put_output(agents[0], KVMBOX_STREAM_OUT, "two\n", 4);
	put_output(agents[0], KVMBOX_STREAM_OUT, "", 0);
	cr_assert_eq(nexecs, 0);
	put_exit(agents[0], KVMBOX_EXIT_EXITED, 3);
	cr_assert(nexecs == 1 && last_id == 7 && answer);
	cr_assert_str_eq(json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN),
			 "{\"exit_status\":3,\"stdout\":\"one two\\n\",\"stderr\":\"err\"}");
	exec("{\"argv\":[\"ls\"]}");
	put_exit(agents[1], KVMBOX_EXIT_SIGNALED, 9);
	cr_assert_str_eq(text_of("exit_status"), "137");
	exec("{\"argv\":[\"ls\"]}");
	put_frame(agents[2], KVMBOX_FRAME_ERROR, "it is not there", 15);
	put_exit(agents[2], KVMBOX_EXIT_EXITED, 127);
	cr_assert_str_eq(text_of("exit_status"), "127");
	cr_assert_str_eq(text_of("error"), "it is not there");
	exec("{\"argv\":[\"ls\"]}");
	put_exit(agents[3], 12345, UINT32_MAX);
	cr_assert_str_eq(text_of("exit_status"), "125");
}

/* JSON is text: what is none in the output does not make the answer something else. */
Test(supervisor_calls, output_that_is_not_text)
{
	static const char bytes[] = "a\xff\xc3\xa9\0\x1b[\tz\xed\xa0\x80";

	exec("{\"argv\":[\"x\"]}");
	put_output(agents[0], KVMBOX_STREAM_OUT, bytes, sizeof(bytes) - 1);
	put_exit(agents[0], KVMBOX_EXIT_EXITED, 0);
	cr_assert_str_eq(text_of("stdout"), "a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd[\tz"
					    "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
}

Test(supervisor_calls, more_output_than_is_kept)
{
	static char piece[32768];

	memset(piece, 'x', sizeof(piece));
	exec("{\"argv\":[\"yes\"]}");
	for (unsigned int i = 0; i < 3 * CALLS_OUTPUT_MAX / sizeof(piece); i++)
		put_output(agents[0], KVMBOX_STREAM_OUT, piece, sizeof(piece));
	put_output(agents[0], KVMBOX_STREAM_ERR, "err", 3);
	put_exit(agents[0], KVMBOX_EXIT_EXITED, 0);
	cr_assert_eq(strlen(text_of("stdout")), CALLS_OUTPUT_MAX);
	cr_assert_str_eq(text_of("stderr"), "err");
	cr_assert_str_eq(text_of("truncated"), "true");
}

Test(supervisor_calls, requests_that_are_wrong)
{
	static const struct {
		const char *request, *fault;
	} bad[] = {
		{ "{}", "argv is missing" },
		{ "{\"argv\":[]}", "argv is missing" },
		{ "{\"argv\":null}", "argv is missing" },
		{ "{\"argv\":\"ls\"}", "arrays of strings" },
		{ "{\"argv\":{\"0\":\"ls\"}}", "arrays of strings" },
		{ "{\"argv\":[\"ls\",null]}", "arrays of strings" },
		{ "{\"argv\":[\"ls\",5]}", "arrays of strings" },
		{ "{\"argv\":[[\"ls\"]]}", "arrays of strings" },
		{ "{\"argv\":[\"ls\"],\"env\":\"A=b\"}", "arrays of strings" },
		{ "{\"argv\":[\"ls\"],\"env\":[1e99]}", "arrays of strings" },
		{ "{\"argv\":[\"l\\u0000s\"]}", "NUL" },
		{ "{\"argv\":[\"ls\"],\"workdir\":5}", "are strings" },
		{ "{\"argv\":[\"ls\"],\"workdir\":\"/\\u0000\"}", "NUL" },
		{ "{\"argv\":[\"ls\"],\"stdin\":[\"x\"]}", "are strings" },
	};

	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		exec(bad[i].request);
		cr_assert_eq(nexecs, i + 1, "%s", bad[i].request);
		cr_assert_null(answer, "%s", bad[i].request);
		cr_assert(strstr(fault, bad[i].fault), "%s: %s", bad[i].request, fault);
	}
	cr_assert_eq(nagents, 0);
}

Test(supervisor_calls, as_long_as_can_be)
{
	char *request = malloc(3 * 65536);
	int n = sprintf(request, "{\"argv\":[\"%0*d\"],\"stdin\":\"%0*d\"}", 65000, 1,
			KVMBOX_STDIN_WINDOW, 2);
	size_t total = 0;
	char buf[4096];
	ssize_t got;

	cr_assert_gt(n, 0);
	exec(request);
	cr_assert_eq(nexecs, 0, "%s", fault);
	while ((got = recv(agents[0], buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		total += (size_t)got;
	cr_assert_gt(total, 65000 + KVMBOX_STDIN_WINDOW);
	sprintf(request, "{\"argv\":[\"%0*d\"]}", 65536, 1);
	exec(request);
	cr_assert(strstr(fault, "too long"), "%s", fault);
	sprintf(request, "{\"argv\":[\"a\"],\"stdin\":\"%0*d\"}", KVMBOX_STDIN_WINDOW + 1, 1);
	exec(request);
	cr_assert(strstr(fault, "too long"), "%s", fault);
	free(request);
}

Test(supervisor_calls, hostile_agents)
{
	struct kvmbox_frame too_long = { KVMBOX_FRAME_DATA, 0, UINT32_MAX };

	exec("{\"argv\":[\"a\"]}");
	put(agents[0], &too_long, sizeof(too_long));
	cr_assert(nexecs == 1 && !answer && strstr(fault, "nonsense"));
	exec("{\"argv\":[\"a\"]}");
	close(agents[1]);
	run();
	cr_assert(nexecs == 2 && !answer && strstr(fault, "does not answer"));
	/* What it has said of it is more to the point. */
	exec("{\"argv\":[\"a\"]}");
	put_frame(agents[2], KVMBOX_FRAME_ERROR, "no \x1b[2J more", 12);
	close(agents[2]);
	run();
	cr_assert_str_eq(fault, "no  [2J more");
	unreachable = true;
	exec("{\"argv\":[\"a\"]}");
	cr_assert(nexecs == 4 && !answer && strstr(fault, "cannot be reached"));
	/* Frames that are too short, or not of a command's session. */
	unreachable = false;
	exec("{\"argv\":[\"a\"]}");
	put_frame(agents[3], KVMBOX_FRAME_EXIT, "abc", 3);
	put_frame(agents[3], KVMBOX_FRAME_DATA, "abc", 3);
	put_frame(agents[3], KVMBOX_FRAME_HEALTH, &health, sizeof(health));
	cr_assert_eq(nexecs, 4);
	cr_assert_eq(nhealths, 0);
	put_exit(agents[3], KVMBOX_EXIT_EXITED, 0);
	cr_assert(nexecs == 5 && answer);
}

/* Commands that run for ever leave room for the guest's health, and go when nobody waits. */
Test(supervisor_calls, more_than_at_once)
{
	char byte;

	for (unsigned int i = 0; i < EXECS; i++)
		exec("{\"argv\":[\"sleep\",\"9999\"]}");
	cr_assert(nagents == EXECS && nexecs == 0);
	exec("{\"argv\":[\"ls\"]}");
	cr_assert(nexecs == 1 && !answer && strstr(fault, "too many"));
	for (unsigned int i = EXECS; i < CALLS; i++)
		calls_health(c, i);
	cr_assert(nagents == CALLS && nhealths == 0);
	calls_health(c, 99);
	cr_assert(nhealths == 1 && last_id == 99 && !have_health);
	unwanted = true;
	exec("{\"argv\":[\"ls\"]}");
	cr_assert_eq(nagents, CALLS + 1);
	cr_assert_eq(nexecs, 1);
	cr_assert_eq(recv(agents[0], &(char[4096]){ 0 }, 4096, 0) > 0, true);
	cr_assert_eq(recv(agents[0], &byte, 1, 0), 0, "its session is over");
	put_exit(agents[CALLS], KVMBOX_EXIT_EXITED, 0);
	cr_assert(nexecs == 2 && answer);
}

/* A command has to begin in time, and may then take as long as it likes. */
Test(supervisor_calls, exec_that_does_not_begin)
{
	struct kvmbox_started started = { 1 };
	struct pollfd p = { .fd = calls_fd(c), .events = POLLIN };

	exec_with_id(1, "{\"argv\":[\"a\"]}");
	exec_with_id(2, "{\"argv\":[\"b\"]}");
	put_frame(agents[1], KVMBOX_FRAME_STARTED, &started, sizeof(started));
	cr_assert_eq(poll(&p, 1, 1000), 1);
	run();
	cr_assert_eq(nexecs, 0);
	ahead_s = 31;
	cr_assert_eq(poll(&p, 1, 1000), 1);
	run();
	cr_assert(nexecs == 1 && last_id == 1 && !answer);
	cr_assert(strstr(fault, "does not answer"), "%s", fault);
	cr_assert_eq(poll(&p, 1, 400), 0);
	put_exit(agents[1], KVMBOX_EXIT_EXITED, 0);
	cr_assert(nexecs == 2 && last_id == 2 && answer);
}
