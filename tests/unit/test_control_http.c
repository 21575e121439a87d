// SPDX-License-Identifier: Apache-2.0
#include "control/http.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct http_server *s;
static struct sockaddr_un address = { .sun_family = AF_UNIX };

/* What the handler was told last, and what it is to do. */
static unsigned int nrequests;
static uint64_t last_id, ids[256];
static char last_method[16], last_path[1100], last_query[1100], last_upgrade[80];
static char *last_body;
static size_t last_body_len;
static bool answer_at_once;

static void handle(void *ctx, const struct http_request *req)
{
	cr_assert_eq(ctx, &address);
	ids[nrequests++ % 256] = last_id = req->id;
	cr_assert(req->id);
	snprintf(last_method, sizeof(last_method), "%s", req->method);
	snprintf(last_path, sizeof(last_path), "%s", req->path);
	snprintf(last_query, sizeof(last_query), "%s", req->query);
	snprintf(last_upgrade, sizeof(last_upgrade), "%s", req->upgrade ? req->upgrade : "");
	free(last_body);
	last_body = malloc(req->body_len + 1);
	memcpy(last_body, req->body, req->body_len + 1);
	last_body_len = req->body_len;
	if (answer_at_once)
		http_reply(s, req->id, 204, NULL);
}

static void setup(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(address);

	/* An abstract name that the kernel chooses. */
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	cr_assert_eq(listen(fd, SOMAXCONN), 0);
	cr_assert_eq(http_server_new(fd, handle, &address, &s), 0);
}

static void teardown(void)
{
	http_server_free(s);
	free(last_body);
}

TestSuite(control_http, .init = setup, .fini = teardown, .timeout = 60);

static int client_new(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(connect(fd, (struct sockaddr *)&address, (socklen_t)(sizeof(sa_family_t) + 6)),
		     0);
	return fd;
}

static bool is_busy(void)
{
	struct pollfd p = { .fd = http_server_fd(s), .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

/* Until there is nothing more to do; one that never comes to rest fails. */
static void run(void)
{
	for (int i = 0; is_busy(); i++) {
		cr_assert_lt(i, 100000, "the server never comes to rest");
		http_server_run(s);
	}
}

static void say(int fd, const char *text)
{
	cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
	run();
}

/* All that has come, NUL-terminated, in a buffer of the next call's; *@ended: and then the end. */
static const char *hear(int fd, bool *ended)
{
	static char buf[1 << 20];
	size_t len = 0;

	*ended = false;
	for (;;) {
		ssize_t n = recv(fd, buf + len, sizeof(buf) - 1 - len, MSG_DONTWAIT);

		if (n <= 0) {
			*ended = n == 0 || errno == ECONNRESET;
			break;
		}
		len += (size_t)n;
	}
	buf[len] = '\0';
	return buf;
}

static void expect_answer(int fd, const char *text, bool end)
{
	bool ended;
	const char *heard = hear(fd, &ended);

	cr_assert(strstr(heard, text), "\"%s\" is not in \"%s\"", text, heard);
	cr_assert_eq(ended, end, "%s", heard);
}

static void reply_json(uint64_t id)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "a", json_object_new_int(1));
	http_reply(s, id, 200, o);
}

Test(control_http, requests)
{
	int fd = client_new();

	say(fd, "GET /some/path?a=b&c HTTP/1.1\r\nHost: x\r\n\r\n");
	cr_assert_eq(nrequests, 1);
	cr_assert_str_eq(last_method, "GET");
	cr_assert_str_eq(last_path, "/some/path");
	cr_assert_str_eq(last_query, "a=b&c");
	cr_assert_str_eq(last_body, "");
	reply_json(last_id);
	run();
	expect_answer(fd,
		      "HTTP/1.1 200 OK\r\nServer: kvmbox\r\n"
		      "Content-Type: application/json\r\nContent-Length: 8\r\n\r\n{\"a\":1}\n",
		      false);
	/* The connection is kept; nothing of the last request is left. */
	say(fd, "PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello");
	cr_assert_eq(nrequests, 2);
	cr_assert_str_eq(last_method, "PUT");
	cr_assert_str_eq(last_path, "/");
	cr_assert_str_eq(last_query, "");
	cr_assert_str_eq(last_body, "hello");
	http_reply(s, last_id, 204, NULL);
	expect_answer(fd, "HTTP/1.1 204 No Content\r\nServer: kvmbox\r\n\r\n", false);
	/* An answer that could have a body, and has none, says so. */
	say(fd, "GET / HTTP/1.1\r\n\r\n");
	http_reply(s, last_id, 200, NULL);
	expect_answer(fd, "200 OK\r\nServer: kvmbox\r\nContent-Length: 0\r\n\r\n", false);
	say(fd, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
	http_fault(s, last_id, 404, "there is no \"%s\"", "x");
	expect_answer(fd,
		      "Connection: close\r\n\r\n{\"fault_message\":\"there is no \\\"x\\\"\"}\n",
		      true);
	close(fd);
}

/* As JSON is, whatever a client or the host's files are called. */
Test(control_http, answers_are_utf8)
{
	int fd = client_new();

	say(fd, "GET /\xad\xc3\xbc\xe2\x82 HTTP/1.1\r\n\r\n");
	cr_assert_str_eq(last_path, "/\xad\xc3\xbc\xe2\x82");
	http_fault(s, last_id, 404, "there is no %s", last_path);
	expect_answer(fd, "{\"fault_message\":\"there is no /?\xc3\xbc??\"}\n", false);
	/* Cut off within a character. */
	say(fd, "GET / HTTP/1.1\r\n\r\n");
	http_fault(s, last_id, 400, "%1021d\xe2\x82\xac", 5);
	expect_answer(fd, "    5??\"}\n", false);
	close(fd);
}

Test(control_http, byte_by_byte)
{
	static const char text[] =
		"POST /exec?q=1 HTTP/1.1\r\nHost: localhost\r\nUpgrade: thing\r\n"
		"Connection: Upgrade\r\nContent-Length: 4\r\n\r\nbody";
	int fd = client_new();

	for (const char *p = text; *p; p++) {
		char one[2] = { *p, '\0' };

		cr_assert_eq(nrequests, 0);
		say(fd, one);
	}
	cr_assert_eq(nrequests, 1);
	cr_assert_str_eq(last_path, "/exec");
	cr_assert_str_eq(last_query, "q=1");
	cr_assert_str_eq(last_upgrade, "thing");
	cr_assert_str_eq(last_body, "body");
	close(fd);
}

Test(control_http, chunked_body)
{
	int fd = client_new();

	say(fd, "POST / HTTP/1.1\r\nTransfer-Encoding: "
		"chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
	cr_assert_eq(nrequests, 1);
	cr_assert_str_eq(last_body, "abcde");
	close(fd);
}

/* The second request before the first one's answer ends the connection. */
Test(control_http, pipelining)
{
	int fd = client_new();

	say(fd, "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
	cr_assert_eq(nrequests, 0);
	expect_answer(fd, "400 Bad Request", true);
	close(fd);
}

/* One that comes while the first is being answered waits for its turn. */
Test(control_http, a_request_too_early)
{
	int fd = client_new();

	say(fd, "GET /1 HTTP/1.1\r\n\r\n");
	say(fd, "GET /2 HTTP/1.1\r\n\r\n");
	cr_assert_eq(nrequests, 1);
	http_reply(s, last_id, 204, NULL);
	run();
	cr_assert_eq(nrequests, 2);
	cr_assert_str_eq(last_path, "/2");
	close(fd);
}

Test(control_http, bad_requests)
{
	static const char *const bad[] = {
		"\r\n\r\nhello\r\n\r\n",
		"GET\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"\x16\x03\x01\x02",
		"HTTP/1.1 200 OK\r\n\r\n",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int fd = client_new();

		say(fd, bad[i]);
		expect_answer(fd, "HTTP/1.1 400 Bad Request", true);
		close(fd);
	}
	cr_assert_eq(nrequests, 0);
}

static char *repeat(const char *before, char c, size_t n, const char *after)
{
	char *text = malloc(strlen(before) + n + strlen(after) + 1);

	strcpy(text, before);
	memset(text + strlen(before), c, n);
	strcpy(text + strlen(before) + n, after);
	return text;
}

/* Send @text, which may be more than is listened to. */
static void say_long(int fd, const char *text)
{
	for (size_t left = strlen(text); left;) {
		ssize_t n = send(fd, text, left < 4096 ? left : 4096, MSG_NOSIGNAL | MSG_DONTWAIT);

		run();
		if (n < 0)
			return;
		text += n;
		left -= (size_t)n;
	}
}

static void expect_refused(char *text, const char *status)
{
	int fd = client_new();

	say_long(fd, text);
	expect_answer(fd, status, true);
	close(fd);
	free(text);
	cr_assert_eq(nrequests, 0);
}

Test(control_http, too_long)
{
	expect_refused(repeat("GET /", 'a', 1024, " HTTP/1.1\r\n\r\n"), "400 Bad Request");
	expect_refused(repeat("GET / HTTP/1.1\r\nX: ", 'a', 200000, "\r\n\r\n"), "400 Bad Request");
	expect_refused(repeat("GET / HTTP/1.1\r\nUpgrade: ", 'a', 65, "\r\n\r\n"), "400 Bad");
	expect_refused(repeat("PUT / HTTP/1.1\r\nContent-Length: 65537\r\n\r\n", 'a', 65537, ""),
		       "413 Payload Too Large");
}

Test(control_http, as_long_as_can_be)
{
	char *path = repeat("GET /", 'a', 1023, " HTTP/1.1\r\n\r\n");
	char *body = repeat("PUT / HTTP/1.1\r\nContent-Length: 65536\r\n\r\n", 'a', 65536, "");
	int fd = client_new();

	answer_at_once = true;
	say_long(fd, path);
	cr_assert_eq(nrequests, 1);
	cr_assert_eq(strlen(last_path), 1024);
	say_long(fd, body);
	cr_assert_eq(nrequests, 2);
	cr_assert_eq(last_body_len, 65536);
	expect_answer(fd, "204", false);
	free(path);
	free(body);
	close(fd);
}

Test(control_http, client_leaves_before_the_answer)
{
	int fd = client_new();
	uint64_t id;

	say(fd, "GET /1 HTTP/1.1\r\n\r\n");
	id = last_id;
	cr_assert(http_is_waiting(s, id));
	close(fd);
	run();
	cr_assert_not(http_is_waiting(s, id));
	reply_json(id);
	/* The next client is not given what was for the one before. */
	fd = client_new();
	say(fd, "GET /2 HTTP/1.1\r\n\r\n");
	cr_assert_neq(last_id, id);
	reply_json(id);
	http_stream_begin(s, id);
	cr_assert_not(http_stream(s, id, "x", 1));
	http_stream_end(s, id);
	cr_assert_eq(http_upgrade(s, id, "x"), -1);
	expect_answer(fd, "", false);
	http_reply(s, last_id, 204, NULL);
	expect_answer(fd, "204", false);
	close(fd);
}

/* Nor is a client's next request given a second answer to its last one. */
Test(control_http, an_answer_is_for_one_request)
{
	int fd = client_new();
	bool ended;
	uint64_t id;

	say(fd, "GET /1 HTTP/1.1\r\n\r\n");
	id = last_id;
	http_reply(s, id, 204, NULL);
	say(fd, "GET /2 HTTP/1.1\r\n\r\n");
	hear(fd, &ended);
	cr_assert_eq(nrequests, 2);
	cr_assert_not(http_is_waiting(s, id));
	reply_json(id);
	run();
	cr_assert_str_empty(hear(fd, &ended));
	close(fd);
}

Test(control_http, half_closed_client_is_answered)
{
	int fd = client_new();

	say(fd, "GET /1 HTTP/1.1\r\n\r\n");
	shutdown(fd, SHUT_WR);
	run();
	http_reply(s, last_id, 204, NULL);
	run();
	expect_answer(fd, "204", true);
	close(fd);
}

Test(control_http, streams)
{
	int fd = client_new();
	bool ended;

	say(fd, "GET /logs HTTP/1.1\r\n\r\n");
	http_stream_begin(s, last_id);
	cr_assert(http_stream(s, last_id, "one", 3));
	cr_assert(http_stream(s, last_id, NULL, 0));
	cr_assert(http_stream(s, last_id, "two\n", 4));
	expect_answer(fd, "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n4\r\ntwo\n\r\n", false);
	http_stream_end(s, last_id);
	cr_assert_str_eq(hear(fd, &ended), "0\r\n\r\n");
	cr_assert_not(ended);
	say(fd, "GET /again HTTP/1.1\r\n\r\n");
	cr_assert_eq(nrequests, 2);
	close(fd);
}

/* A reader that is slow gets all; one that does not read at all is left when too much waits. */
Test(control_http, slow_reader)
{
	static char piece[4096];
	enum { PIECES = 4096 };
	int slow = client_new(), deaf = client_new();
	size_t sent = 0, heard = 0;
	uint64_t slow_id, deaf_id;
	bool ended;

	memset(piece, 'Z', sizeof(piece));
	say(slow, "GET /slow HTTP/1.1\r\n\r\n");
	slow_id = last_id;
	say(deaf, "GET /deaf HTTP/1.1\r\n\r\n");
	deaf_id = last_id;
	http_stream_begin(s, slow_id);
	http_stream_begin(s, deaf_id);
	bool listens = true;

	for (unsigned int i = 0; i < PIECES; i++) {
		cr_assert(http_stream(s, slow_id, piece, sizeof(piece)), "%u", i);
		if (listens)
			listens = http_stream(s, deaf_id, piece, sizeof(piece));
		if (listens)
			sent += sizeof(piece);
		run();
		if (i % 64 == 63) {
			for (const char *p = hear(slow, &ended); *p; p++)
				heard += *p == 'Z';
			run();
		}
	}
	cr_assert_not(listens);
	cr_assert_geq(sent, HTTP_STREAM_MAX);
	cr_assert_leq(sent, HTTP_STREAM_MAX + (1u << 20));
	cr_assert_not(http_stream(s, deaf_id, "x", 1));
	http_stream_end(s, slow_id);
	for (int i = 0; i < 100; i++) {
		for (const char *p = hear(slow, &ended); *p; p++)
			heard += *p == 'Z';
		run();
	}
	cr_assert_eq(heard, PIECES * sizeof(piece));
	close(slow);
	close(deaf);
}

/* Who sends request after request, and reads no answer, is not listened to for long. */
Test(control_http, answers_that_nobody_reads)
{
	int fd = client_new();
	char *text = repeat("", 'a', 10000, "");
	unsigned int i, before = 0;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (i = 0; i < 10000; i++) {
		static const char req[] = "GET / HTTP/1.1\r\n\r\n";

		if (send(fd, req, sizeof(req) - 1, MSG_NOSIGNAL) < 0)
			break;
		before = nrequests;
		run();
		if (nrequests == before)
			break;
		struct json_object *o = json_object_new_string(text);

		http_reply(s, last_id, 200, o);
	}
	cr_assert_lt(i, 100, "%u answers were piled up", i);
	/* As soon as it reads, it is. */
	for (int k = 0; k < 100; k++) {
		bool ended;

		hear(fd, &ended);
		cr_assert_not(ended);
		run();
	}
	cr_assert_eq(nrequests, before + 1);
	free(text);
	close(fd);
}

Test(control_http, upgrade)
{
	int fd = client_new(), taken;
	char buf[16];

	say(fd, "GET /agent HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: thing\r\n\r\n");
	cr_assert_str_eq(last_upgrade, "thing");
	taken = http_upgrade(s, last_id, "thing");
	cr_assert_geq(taken, 0);
	cr_assert(fcntl(taken, F_GETFL) & O_NONBLOCK);
	expect_answer(fd,
		      "HTTP/1.1 101 Switching Protocols\r\nServer: kvmbox\r\n"
		      "Connection: Upgrade\r\nUpgrade: thing\r\n\r\n",
		      false);
	/* The server listens to it no more, and has room for another. */
	say(fd, "anything");
	cr_assert_eq(recv(taken, buf, sizeof(buf), 0), 8);
	cr_assert_eq(nrequests, 1);
	close(taken);
	close(fd);
}

/* Bytes behind the request are lost to the new protocol: it is refused. */
Test(control_http, upgrade_with_leftovers)
{
	int fd = client_new();

	say(fd, "GET /agent HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: thing\r\n\r\nleft");
	cr_assert_eq(nrequests, 0);
	expect_answer(fd, "400 Bad Request", true);
	close(fd);
	/* Those that come after it has been read stay in the socket. */
	fd = client_new();
	say(fd, "GET /agent HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: thing\r\n\r\n");
	say(fd, "later");
	int taken = http_upgrade(s, last_id, "thing");
	char buf[16];

	cr_assert_eq(recv(taken, buf, sizeof(buf), 0), 5);
	close(taken);
	close(fd);
}

/* One that is refused what it wanted has said too much for another request. */
Test(control_http, upgrade_refused)
{
	int fd = client_new();

	say(fd, "GET /agent HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: thing\r\n\r\n");
	http_fault(s, last_id, 503, "no");
	expect_answer(fd, "503 Service Unavailable", true);
	close(fd);
}

Test(control_http, more_clients_than_slots)
{
	enum { MORE = HTTP_CLIENTS + 10 };
	int fds[MORE];

	for (unsigned int i = 0; i < MORE; i++) {
		fds[i] = client_new();
		say(fds[i], "GET / HTTP/1.1\r\n\r\n");
	}
	cr_assert_eq(nrequests, HTTP_CLIENTS);
	run();
	/* Some leave, one is answered: as many take their places. */
	for (unsigned int i = 0; i < 5; i++)
		close(fds[i]);
	run();
	cr_assert_eq(nrequests, HTTP_CLIENTS + 5);
	http_reply(s, ids[7], 204, NULL);
	run();
	cr_assert_eq(nrequests, HTTP_CLIENTS + 6);
	for (unsigned int i = 5; i < MORE; i++)
		close(fds[i]);
	run();
}

/* Whoever is there and says nothing does not keep others out. */
Test(control_http, silent_clients)
{
	int fds[HTTP_CLIENTS], fd;

	for (unsigned int i = 0; i < HTTP_CLIENTS; i++) {
		fds[i] = client_new();
		run();
	}
	say(fds[0], "GET / HT");
	fd = client_new();
	say(fd, "GET / HTTP/1.1\r\n\r\n");
	cr_assert_eq(nrequests, 1);
	/* The one that had been silent for longest has gone. */
	expect_answer(fds[1], "", true);
	expect_answer(fds[0], "", false);
	say(fds[0], "TP/1.1\r\n\r\n");
	cr_assert_eq(nrequests, 2);
	for (unsigned int i = 0; i < HTTP_CLIENTS; i++)
		close(fds[i]);
	close(fd);
}

/* Without descriptors clients are sent away, and the server comes to rest. */
Test(control_http, no_descriptors)
{
	struct rlimit limit, old;
	int fds[8];

	for (unsigned int i = 0; i < 8; i++)
		fds[i] = client_new();
	getrlimit(RLIMIT_NOFILE, &old);
	limit = old;
	limit.rlim_cur = (rlim_t)fds[7] + 1;
	setrlimit(RLIMIT_NOFILE, &limit);
	run();
	setrlimit(RLIMIT_NOFILE, &old);
	for (unsigned int i = 0; i < 8; i++)
		close(fds[i]);
	run();
	fds[0] = client_new();
	say(fds[0], "GET / HTTP/1.1\r\n\r\n");
	cr_assert_eq(nrequests, 1);
	close(fds[0]);
}

Test(control_http, what_is_left_is_sent_at_the_end)
{
	int fd = client_new();

	say(fd, "GET / HTTP/1.1\r\n\r\n");
	http_reply(s, last_id, 204, NULL);
	http_server_free(s);
	s = NULL;
	expect_answer(fd, "204", true);
	close(fd);
}
