// SPDX-License-Identifier: Apache-2.0
#include "supervisor/control.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "kvmbox/agent.h"

static char dir[] = "/tmp/kvmbox-test-XXXXXX";
static int dir_fd;
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static struct control *control;
static struct logfile output_log, console_log;

/* What was asked of the supervisor. */
static unsigned int nstops, nkills, npauses, nresumes, nstats, nattached;
static uint64_t last_grace, stats_ids[8];
static int last_signal, kill_result, dial_result, attach_result;
static int agents[16];
static unsigned int nagents, nballoons;
static int64_t balloon_mib;
static bool have_balloon = true;
static char patched[300]; /* what was to be changed, and how */
static const char *status = "running";

static bool stuck;

static bool is_stuck(void *ctx)
{
	(void)ctx;
	return stuck;
}

static void stop(void *ctx, uint64_t grace_ms)
{
	cr_assert_eq(ctx, &control);
	nstops++;
	last_grace = grace_ms;
}

static int kill_workload(void *ctx, int signo)
{
	(void)ctx;
	nkills++;
	last_signal = signo;
	return kill_result;
}

static void pause_vm(void *ctx, bool pause)
{
	(void)ctx;
	if (pause)
		npauses++;
	else
		nresumes++;
}

static void get_stats(void *ctx, uint64_t id)
{
	(void)ctx;
	stats_ids[nstats++ % 8] = id;
}

static int dial(void *ctx, int fd)
{
	(void)ctx;
	if (fd >= 0 && dial_result)
		close(fd);
	else if (fd >= 0)
		agents[nagents++ % 16] = fd;
	return dial_result;
}

static int attach(void *ctx, int fd)
{
	(void)ctx;
	if (fd >= 0) {
		nattached++;
		cr_assert_eq(send(fd, "attached", 8, 0), 8);
		close(fd);
	}
	return attach_result;
}

/* 0 to 100 MiB. */
static int set_balloon_to(void *ctx, int64_t mib, struct error *e)
{
	(void)ctx;
	if (mib < 0 || mib > 100)
		return error_set(e, EINVAL, "%lld is out of range", (long long)mib);
	balloon_mib = mib;
	nballoons++;
	return 0;
}

static int patch(const char *what, const char *id, struct json_object *body, struct error *e)
{
	if (strcmp(id, "none") == 0)
		return error_set(e, ENOENT, "there is no such %s", what);
	snprintf(patched, sizeof(patched), "%s %s %s", what, id,
		 json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN));
	return 0;
}

static int patch_drive(void *ctx, const char *id, struct json_object *body, struct error *e)
{
	(void)ctx;
	return patch("drive", id, body, e);
}

static int patch_net(void *ctx, const char *id, struct json_object *body, struct error *e)
{
	(void)ctx;
	return patch("interface", id, body, e);
}

static struct json_object *get_balloon(void *ctx)
{
	struct json_object *o = have_balloon ? json_object_new_object() : NULL;

	(void)ctx;
	if (o)
		json_object_object_add(o, "amount_mib", json_object_new_int64(balloon_mib));
	return o;
}

static struct json_object *get_state(void *ctx)
{
	struct json_object *o = json_object_new_object();

	(void)ctx;
	json_object_object_add(o, "name", json_object_new_string("test"));
	json_object_object_add(o, "status", json_object_new_string(status));
	json_object_object_add(o, "exit_status", json_object_new_int(5));
	json_object_object_add(o, "reason", json_object_new_string("exited"));
	return o;
}

static struct json_object *get_config(void *ctx)
{
	(void)ctx;
	return json_tokener_parse("{\"cpus\":3}");
}

static void usage(void *ctx, struct json_object *stats)
{
	(void)ctx;
	json_object_object_add(stats, "cpu_s", json_object_new_int(77));
}

static const struct control_ops ops = {
	.is_stuck = is_stuck,
	.stop = stop,
	.kill = kill_workload,
	.pause = pause_vm,
	.get_stats = get_stats,
	.set_balloon = set_balloon_to,
	.patch_drive = patch_drive,
	.patch_net = patch_net,
	.balloon = get_balloon,
	.dial = dial,
	.attach = attach,
	.state = get_state,
	.config = get_config,
	.usage = usage,
};

static void begin(const struct logfile *output)
{
	const struct logfile *logs[CONTROL_LOGS] = { output, &console_log };

	cr_assert_eq(control_new(address.sun_path, &ops, &control, logs, &control), 0);
}

static void setup(void)
{
	cr_assert_not_null(mkdtemp(dir));
	dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/control.sock", dir);
	cr_assert_eq(logfile_open(&output_log, dir_fd, "output.log"), 0);
	cr_assert_eq(logfile_open(&console_log, dir_fd, "console.log"), 0);
	begin(&output_log);
}

static void teardown(void)
{
	control_free(control, NULL);
	unlink(address.sun_path);
	unlinkat(dir_fd, "output.log", 0);
	unlinkat(dir_fd, "console.log", 0);
	rmdir(dir);
}

TestSuite(supervisor_control, .init = setup, .fini = teardown, .timeout = 60);

static void run(void)
{
	struct pollfd p = { .fd = control_fd(control), .events = POLLIN };

	for (int i = 0; poll(&p, 1, 0) == 1; i++) {
		cr_assert_lt(i, 100000, "it never comes to rest");
		control_run(control);
	}
}

static int client_new(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void ask_bytes(int fd, const char *method, const char *path, const char *body, size_t len)
{
	char head[512];
	int n = snprintf(head, sizeof(head), "%s %s HTTP/1.1\r\nContent-Length: %zu\r\n\r\n",
			 method, path, len);

	cr_assert_eq(send(fd, head, (size_t)n, MSG_NOSIGNAL), n);
	if (len)
		cr_assert_eq(send(fd, body, len, MSG_NOSIGNAL), (ssize_t)len);
	run();
}

static void ask(int fd, const char *method, const char *path, const char *body)
{
	ask_bytes(fd, method, path, body, strlen(body));
}

/* What has come, in a buffer of the next call's. */
static const char *hear(int fd)
{
	static char buf[1 << 20];
	size_t len = 0;
	ssize_t n;

	while ((n = recv(fd, buf + len, sizeof(buf) - 1 - len, MSG_DONTWAIT)) > 0)
		len += (size_t)n;
	buf[len] = '\0';
	return buf;
}

static unsigned int status_of(const char *answer)
{
	return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? (unsigned int)atoi(answer + 9) : 0;
}

/* One request on a connection of its own: the status, and @part is in the answer. */
static void expect(const char *method, const char *path, const char *body, unsigned int code,
		   const char *part)
{
	int fd = client_new();

	ask(fd, method, path, body);
	const char *answer = hear(fd);

	cr_assert_eq(status_of(answer), code, "%s %s %s: %s", method, path, body, answer);
	cr_assert(strstr(answer, part), "%s %s %s: \"%s\" is not in %s", method, path, body, part,
		  answer);
	close(fd);
	run();
}

static void expect_heard(int fd, unsigned int code, const char *part)
{
	const char *answer = hear(fd);

	cr_assert_eq(status_of(answer), code, "%s", answer);
	cr_assert(strstr(answer, part), "%s", answer);
}

Test(supervisor_control, what_it_is)
{
	expect("GET", "/", "", 200,
	       "\"id\":\"test\",\"state\":\"Running\",\"app_name\":\"kvmbox\"");
	status = "starting";
	expect("GET", "/", "", 200, "\"state\":\"Not started\"");
	status = "running";
	control_paused(control);
	expect("GET", "/", "", 200, "\"state\":\"Paused\"");
	expect("GET", "/version", "", 200, "\"kvmbox_version\":\"");
	expect("GET", "/vm/config", "", 200, "{\"cpus\":3}");
	expect("GET", "/state", "", 200, "\"status\":\"running\"");
}

Test(supervisor_control, what_it_is_not)
{
	expect("GET", "/nothing", "", 404, "there is no resource /nothing");
	expect("GET", "/vm/", "", 404, "");
	expect("GET", "//", "", 404, "");
	expect("GET", "/%2f", "", 404, "");
	expect("POST", "/", "", 405, "POST does not go with /");
	expect("DELETE", "/vm", "", 405, "");
	expect("GET", "/stop", "", 405, "");
	expect("POST", "/wait", "", 405, "");
	expect("GET", "/\xc3(", "", 404, "/?(");
	cr_assert(!nstops && !nkills);
}

/* The bodies that no resource takes. */
Test(supervisor_control, bodies_that_are_no_objects)
{
	static const char *const bad[] = {
		"null",     "[]",         "5",       "\"x\"",  "{",
		"{} {}",    "{}x",        "{\"a\":", "not it", "{\"a\":\"\xc3(\"}",
		"\x01\x02", "{\"a\":1,}",
	};
	static const char *const resources[][2] = {
		{ "PATCH", "/vm" },         { "PUT", "/actions" },
		{ "POST", "/stop" },        { "POST", "/kill" },
		{ "POST", "/exec" },        { "PATCH", "/balloon" },
		{ "PATCH", "/drives/vda" }, { "PATCH", "/network-interfaces/eth0" }
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		for (size_t k = 0; k < 8; k++)
			expect(resources[k][0], resources[k][1], bad[i], 400, "is a JSON object");
	int fd = client_new();

	ask_bytes(fd, "POST", "/kill", "{}\0x", 4);
	expect_heard(fd, 400, "is a JSON object");
	close(fd);
	cr_assert(!nstops && !nkills && !npauses && !nagents);

	/* As deep as a body can be. */
	char *deep = malloc(65537);

	memset(deep, '[', 65536);
	memcpy(deep, "{\"a\":", 5);
	deep[65536] = '\0';
	expect("POST", "/kill", deep, 400, "is a JSON object");
	free(deep);
}

Test(supervisor_control, pause_and_resume)
{
	int one = client_new(), two = client_new();

	expect("PATCH", "/vm", "{\"state\":\"Resumed\"}", 400, "the VM is not paused");
	ask(one, "PATCH", "/vm", "{\"state\":\"Paused\"}");
	ask(two, "PATCH", "/vm", "{\"state\":\"Paused\"}");
	cr_assert(npauses);
	cr_assert_str_empty(hear(one));
	control_paused(control);
	expect_heard(one, 204, "");
	expect_heard(two, 204, "");
	expect("PATCH", "/vm", "{\"state\":\"Paused\"}", 400, "paused already");
	ask(one, "PATCH", "/vm", "{\"state\":\"Resumed\"}");
	cr_assert_eq(nresumes, 1);
	control_resumed(control);
	expect_heard(one, 204, "");

	/* One that is resumed before it has paused, to be stopped for instance. */
	ask(one, "PATCH", "/vm", "{\"state\":\"Paused\"}");
	control_resumed(control);
	expect_heard(one, 503, "resumed before");

	static const char *const bad[] = { "{}",
					   "{\"state\":null}",
					   "{\"state\":5}",
					   "{\"state\":[\"Paused\"]}",
					   "{\"state\":\"paused\"}",
					   "" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect("PATCH", "/vm", bad[i], 400, "state must be");
	close(one);
	close(two);
}

Test(supervisor_control, balloon)
{
	static const char *const bad[] = { "{}",
					   "{\"amount_mib\":null}",
					   "{\"amount_mib\":\"5\"}",
					   "{\"amount_mib\":5.5}",
					   "{\"amount_mib\":[5]}",
					   "" };

	expect("GET", "/balloon", "", 200, "{\"amount_mib\":0}");
	expect("PATCH", "/balloon", "{\"amount_mib\":77}", 204, "");
	cr_assert(nballoons == 1 && balloon_mib == 77);
	expect("GET", "/balloon", "", 200, "{\"amount_mib\":77}");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect("PATCH", "/balloon", bad[i], 400, "amount_mib must be a number of MiB");
	expect("PATCH", "/balloon", "{\"amount_mib\":-1}", 400, "-1 is out of range");
	expect("PATCH", "/balloon", "{\"amount_mib\":101}", 400, "101 is out of range");
	cr_assert_eq(nballoons, 1);
	have_balloon = false;
	expect("GET", "/balloon", "", 400, "the VM has no balloon");
	have_balloon = true;
}

Test(supervisor_control, parts)
{
	expect("PATCH", "/drives/vd-a.1", "{\"a\":1}", 204, "");
	cr_assert_str_eq(patched, "drive vd-a.1 {\"a\":1}");
	expect("PATCH", "/network-interfaces/eth0", "{}", 204, "");
	cr_assert_str_eq(patched, "interface eth0 {}");
	expect("PATCH", "/drives/none", "{}", 400, "there is no such drive");
	expect("GET", "/drives/vda", "", 405, "GET does not go with /drives/vda");
	expect("PATCH", "/drives/", "{}", 404, "");
	expect("PATCH", "/drives", "{}", 404, "");
	expect("PATCH", "/drives/a/b", "{}", 404, "");
	cr_assert_str_eq(patched, "interface eth0 {}");
}

Test(supervisor_control, stop)
{
	static const char *const bad[] = {
		"{\"timeout_s\":-1}",    "{\"timeout_s\":3601}",
		"{\"timeout_s\":\"5\"}", "{\"timeout_s\":null}",
		"{\"timeout_s\":[1]}",   "{\"timeout_s\":true}",
		"{\"timeout_s\":1e300}", "{\"timeout_s\":99999999999999999999}",
		"{\"timeout_s\":{}}",
	};

	expect("POST", "/stop", "", 204, "");
	cr_assert_eq(last_grace, 10000);
	expect("POST", "/stop", "{\"timeout_s\":1.5}", 204, "");
	cr_assert_eq(last_grace, 1500);
	expect("POST", "/stop", "{\"timeout_s\":0}", 204, "");
	cr_assert_eq(last_grace, 0);
	expect("PUT", "/actions", "{\"action_type\":\"SendCtrlAltDel\"}", 204, "");
	cr_assert_eq(last_grace, 10000);
	cr_assert_eq(nstops, 4);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect("POST", "/stop", bad[i], 400, "from 0 to 3600");
	expect("PUT", "/actions", "{\"action_type\":\"InstanceStart\"}", 400,
	       "action_type must be");
	expect("PUT", "/actions", "{\"action_type\":null}", 400, "action_type must be");
	expect("PUT", "/actions", "", 400, "action_type must be");
	cr_assert_eq(nstops, 4);
}

Test(supervisor_control, kill)
{
	static const struct {
		const char *body;
		int signo;
	} good[] = { { "{\"signal\":\"SIGTERM\"}", 15 },
		     { "{\"signal\":\"term\"}", 15 },
		     { "{\"signal\":\"9\"}", 9 },
		     { "{\"signal\":9}", 9 },
		     { "{}", 0 },
		     { "", 0 } };
	/* None of these may end the VM, as no signal at all does. */
	static const char *const bad[] = {
		"{\"signal\":null}", "{\"signal\":0}",     "{\"signal\":-1}",
		"{\"signal\":65}",   "{\"signal\":\"\"}",  "{\"signal\":\"SIG\"}",
		"{\"signal\":1.5}",  "{\"signal\":[9]}",   "{\"signal\":{\"a\":9}}",
		"{\"signal\":true}", "{\"signal\":\"0\"}", "{\"signal\":99999999999999999999}",
	};

	for (unsigned int i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		expect("POST", "/kill", good[i].body, 204, "");
		cr_assert_eq(nkills, i + 1);
		cr_assert_eq(last_signal, good[i].signo, "%s", good[i].body);
	}
	unsigned int before = nkills;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect("POST", "/kill", bad[i], 400, "there is no signal");
	cr_assert_eq(nkills, before);
	kill_result = -ENOTCONN;
	expect("POST", "/kill", "{\"signal\":15}", 503, "does not run");
}

Test(supervisor_control, wait)
{
	int waits = client_new(), gone = client_new();
	struct json_object *state = get_state(NULL);

	ask(gone, "GET", "/wait", "");
	ask(waits, "GET", "/wait", "");
	close(gone);
	run();
	cr_assert_str_empty(hear(waits));
	control_free(control, state);
	control = NULL;
	expect_heard(waits, 200, "{\"exit_status\":5,\"reason\":\"exited\"}");
	json_object_put(state);
	close(waits);
}

/* However many come and go, whoever is there is not forgotten. */
Test(supervisor_control, many_who_wait)
{
	int waits = client_new(), later = client_new();
	struct json_object *state = get_state(NULL);

	ask(waits, "GET", "/wait", "");
	for (int i = 0; i < 500; i++) {
		int fd = client_new();

		if (i == 250)
			ask(later, "GET", "/wait", "");

		ask(fd, "GET", i % 2 ? "/wait" : "/logs?follow=true", "");
		close(fd);
		run();
	}
	control_free(control, state);
	control = NULL;
	expect_heard(waits, 200, "\"reason\":\"exited\"");
	expect_heard(later, 200, "\"reason\":\"exited\"");
	close(later);
	json_object_put(state);
	close(waits);
}

Test(supervisor_control, logs)
{
	int fd = client_new(), other = client_new();

	logfile_write(&output_log, "one\ntwo\nthree\n", 14);
	logfile_write(&console_log, "console\n", 8);
	expect("GET", "/logs", "", 200, "\r\n\r\ne\r\none\ntwo\nthree\n\r\n0\r\n\r\n");
	expect("GET", "/logs?tail=1", "", 200, "\r\n\r\n6\r\nthree\n\r\n0\r\n\r\n");
	expect("GET", "/logs?tail=0", "", 200, "\r\n\r\n0\r\n\r\n");
	expect("GET", "/logs?tail=999999&follow=false", "", 200, "e\r\none");
	expect("GET", "/logs?source=console&tail=5", "", 200, "8\r\nconsole\n\r\n0");
	expect("GET", "/logs?source=output", "", 200, "e\r\none");
	static const char *const bad[] = { "/logs?tail=-1", "/logs?tail=x",
					   "/logs?tail=", "/logs?tail=1e3",
					   "/logs?tail=99999999999999999999999999999999999" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect("GET", bad[i], "", 400, "tail is a number");
	expect("GET", "/logs?source=x", "", 400, "source is output or console");
	expect("GET", "/logs?source=console-and-something-much-longer", "", 400, "source is");

	ask(fd, "GET", "/logs?follow=true&tail=1", "");
	ask(other, "GET", "/logs?source=console&follow=true&tail=0", "");
	expect_heard(fd, 200, "6\r\nthree\n\r\n");
	hear(other);
	control_logged(control, CONTROL_LOG_OUTPUT, "four\n", 5);
	cr_assert_str_eq(hear(fd), "5\r\nfour\n\r\n");
	cr_assert_str_empty(hear(other));
	control_logged(control, CONTROL_LOG_CONSOLE, "c", 1);
	cr_assert_str_eq(hear(other), "1\r\nc\r\n");
	close(other);
	run();
	control_logged(control, CONTROL_LOG_CONSOLE, "d", 1);
	control_free(control, NULL);
	control = NULL;
	cr_assert_str_eq(hear(fd), "0\r\n\r\n");
	close(fd);
}

Test(supervisor_control, no_log)
{
	control_free(control, NULL);
	unlink(address.sun_path);
	begin(NULL);
	expect("GET", "/logs", "", 400, "in the foreground");
	expect("GET", "/logs?source=console", "", 200, "");
}

static void put_frame(int fd, uint16_t type, const void *payload, size_t len)
{
	struct kvmbox_frame f = { .type = type, .len = (uint32_t)len };

	cr_assert_eq(send(fd, &f, sizeof(f), MSG_NOSIGNAL), (ssize_t)sizeof(f));
	cr_assert_eq(send(fd, payload, len, MSG_NOSIGNAL), (ssize_t)len);
	run();
}

static const struct kvmbox_health healthy = { .boot_ns = 1500000000,
					      .memory_total = 1000,
					      .memory_free = 600,
					      .processes = 4,
					      .load_hundredths = 150 };

Test(supervisor_control, health)
{
	int fd = client_new();

	ask(fd, "GET", "/health", "");
	cr_assert_eq(nagents, 1);
	put_frame(agents[0], KVMBOX_FRAME_HEALTH, &healthy, sizeof(healthy));
	expect_heard(fd, 200,
		     "{\"boot_s\":1.5,\"memory_total_bytes\":1000,"
		     "\"memory_free_bytes\":600,\"processes\":4,\"load\":1.5}");
	close(fd);
	dial_result = -ENOTCONN;
	expect("GET", "/health", "", 503, "does not answer");
	control_paused(control);
	expect("GET", "/health", "", 503, "the VM is paused");
}

Test(supervisor_control, stats)
{
	struct vm_stats stats = {
		.exits = 12, .mmio_exits = 3, .irqs = 9, .disk_read = 512, .disk_written = 1024
	};
	int fd = client_new(), gone = client_new();

	ask(fd, "GET", "/stats", "");
	ask(gone, "GET", "/stats", "");
	cr_assert_eq(nstats, 0);
	put_frame(agents[0], KVMBOX_FRAME_HEALTH, &healthy, sizeof(healthy));
	close(agents[1]);
	run();
	cr_assert_eq(nstats, 2);
	close(gone);
	run();
	control_stats(control, stats_ids[1], &stats);
	control_stats(control, stats_ids[0] + 12345, &stats);
	control_stats(control, stats_ids[0], &stats);
	expect_heard(fd, 200, "\"memory\":{\"guest_total_bytes\":1000,\"guest_free_bytes\":600}");
	/* A second answer, which only a monitor that was taken over sends. */
	control_stats(control, stats_ids[0], &stats);
	cr_assert_str_empty(hear(fd));

	/* Without an agent that answers, and while nothing runs. */
	dial_result = -ENOTCONN;
	ask(fd, "GET", "/stats", "");
	cr_assert_eq(nstats, 3);
	stats.have_balloon = true;
	stats.balloon_target = 4096;
	stats.balloon_reported = 8192;
	control_stats(control, stats_ids[2], &stats);
	expect_heard(fd, 200,
		     "\"memory\":{\"balloon_target_bytes\":4096,\"balloon_bytes\":0,"
		     "\"reported_bytes\":8192}");
	dial_result = 0;
	control_paused(control);
	ask(fd, "GET", "/stats", "");
	cr_assert(nstats == 4 && nagents == 2);
	control_stats(control, stats_ids[3], &stats);
	expect_heard(fd, 200,
		     "\"cpu_s\":77,\"disk\":{\"read_bytes\":512,\"written_bytes\":1024},"
		     "\"exits\":{\"all\":12,\"user\":0,\"pio\":0,\"mmio\":3,\"halt\":0},"
		     "\"interrupts\":9");
	close(fd);
}

Test(supervisor_control, exec)
{
	struct kvmbox_exit e = { KVMBOX_EXIT_EXITED, 2 };
	char out[] = "\1\0\0\0hello\n";
	int fd = client_new();

	ask(fd, "POST", "/exec", "{\"argv\":[\"echo\",\"hello\"]}");
	cr_assert_eq(nagents, 1);
	put_frame(agents[0], KVMBOX_FRAME_DATA, out, sizeof(out) - 1);
	put_frame(agents[0], KVMBOX_FRAME_EXIT, &e, sizeof(e));
	expect_heard(fd, 200, "{\"exit_status\":2,\"stdout\":\"hello\\n\",\"stderr\":\"\"}");
	close(fd);
	expect("POST", "/exec", "{\"argv\":[null]}", 400, "arrays of strings");
	expect("POST", "/exec", "", 400, "argv is missing");
	dial_result = -ENOTCONN;
	expect("POST", "/exec", "{\"argv\":[\"a\"]}", 400, "cannot be reached");

	/* Whoever leaves makes room for other commands. */
	dial_result = 0;
	for (int i = 0; i < 40; i++) {
		fd = client_new();
		ask(fd, "POST", "/exec", "{\"argv\":[\"sleep\",\"9999\"]}");
		cr_assert_str_empty(hear(fd));
		close(fd);
		run();
	}
	cr_assert_eq(nagents, 41);
}

static void ask_upgrade(int fd, const char *path, const char *protocol)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "GET %s HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", path, protocol);
	cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
	run();
}

Test(supervisor_control, upgrades)
{
	static const char *const paths[] = { "/agent", "/attach" };
	int fd;

	for (size_t i = 0; i < 2; i++) {
		expect("GET", paths[i], "", 400, "wants Connection: Upgrade");
		fd = client_new();
		ask_upgrade(fd, paths[i], "websocket");
		expect_heard(fd, 400, "wants Connection: Upgrade");
		close(fd);
		fd = client_new();
		ask_upgrade(fd, paths[i], "kvmbox-agent");
		const char *answer = hear(fd);

		cr_assert_eq(status_of(answer), 101, "%s", answer);
		close(fd);
	}
	cr_assert(nagents == 1 && nattached == 1);
	static const struct {
		int result;
		unsigned int code;
		const char *part;
	} bad[] = { { -ENOTSUP, 400, "in the foreground" },
		    { -ENOSPC, 503, "too many" },
		    { -ENOTCONN, 503, "not up yet" } };

	for (size_t i = 0; i < 3; i++) {
		attach_result = dial_result = bad[i].result;
		for (size_t k = 0; k < 2; k++) {
			fd = client_new();
			ask_upgrade(fd, paths[k], "kvmbox-agent");
			expect_heard(fd, bad[i].code, bad[i].part);
			close(fd);
		}
	}
	cr_assert(nagents == 1 && nattached == 1);
}

/* A monitor that does not listen is asked nothing more; whoever ends it is heard. */
Test(supervisor_control, monitor_that_is_stuck)
{
	static const struct {
		const char *method, *path, *body;
	} vain[] = { { "PATCH", "/vm", "{\"state\":\"Paused\"}" },
		     { "GET", "/stats", "" },
		     { "GET", "/health", "" },
		     { "POST", "/exec", "{\"argv\":[\"a\"]}" },
		     { "GET", "/agent", "" },
		     { "PATCH", "/balloon", "{\"amount_mib\":1}" } };

	stuck = true;
	for (size_t i = 0; i < sizeof(vain) / sizeof(vain[0]); i++)
		expect(vain[i].method, vain[i].path, vain[i].body, 503, "does not answer");
	cr_assert(!npauses && !nstats && !nagents && !nballoons);
	expect("GET", "/state", "", 200, "\"name\"");
	expect("POST", "/kill", "", 204, "");
	expect("POST", "/stop", "", 204, "");
	cr_assert(nkills == 1 && nstops == 1);
	stuck = false;
	expect("PATCH", "/balloon", "{\"amount_mib\":1}", 204, "");
}

Test(supervisor_control, guest_that_is_paused)
{
	control_paused(control);
	expect("GET", "/health", "", 503, "the VM is paused");
	expect("POST", "/exec", "{\"argv\":[\"a\"]}", 503, "the VM is paused");
	expect("GET", "/agent", "", 503, "the VM is paused");
	cr_assert_eq(nagents, 0);
}

Test(supervisor_control, a_path_that_is_wrong)
{
	const struct logfile *logs[CONTROL_LOGS] = { NULL, NULL };
	struct control *another = NULL;
	char path[200];

	cr_assert_eq(control_new(address.sun_path, &ops, NULL, logs, &another), -EADDRINUSE);
	cr_assert_eq(control_new("/no/such/socket", &ops, NULL, logs, &another), -ENOENT);
	memset(path, 'a', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	cr_assert_eq(control_new(path, &ops, NULL, logs, &another), -ENAMETOOLONG);
	cr_assert_null(another);
}
