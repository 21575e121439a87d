// SPDX-License-Identifier: Apache-2.0
#include "control/client.h"

#include <errno.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "fake_server.h"

static struct fake_server server;
static struct error err;

/* Where nobody answers, the client waits for as short as is good for a test. */
static bool nobody_answers;

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	const struct timeval *limit = value, soon = { .tv_usec = 200000 };
	bool is_limit = level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO);

	if (nobody_answers && is_limit && limit->tv_sec)
		value = &soon;
	return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

static int request(const char *answer, size_t piece, struct json_object **json)
{
	const char *const answers[] = { answer, NULL };
	struct json_object *body = json_tokener_parse("{\"timeout_s\":10}");

	fake_server_init(&server);
	fake_server_start(&server, answers, piece);
	int ret = client_request(&server.vm, "POST", "/stop", body, CLIENT_SOON, json, &err);

	json_object_put(body);
	fake_server_deinit(&server);
	return ret;
}

/* In one piece, and in as many as there are bytes. */
static const size_t pieces[] = { 0, 1, 7 };

#define EACH_PIECE(p) \
	for (const size_t *p = pieces; p < pieces + sizeof(pieces) / sizeof(*pieces); p++)

Test(client, request)
{
	EACH_PIECE(piece)
	{
		struct json_object *json = NULL;

		cr_assert_eq(request("HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n"
				     "{\"exit_status\":3}",
				     *piece, &json),
			     0, "%s", err.text);
		cr_assert_eq(json_object_get_int(json_object_object_get(json, "exit_status")), 3);
		json_object_put(json);
		cr_assert(strstr(server.question, "POST /stop HTTP/1.1\r\n"));
		cr_assert(strstr(server.question, "Content-Length: 16\r\n"), "%s", server.question);
		cr_assert(strstr(server.question, "\r\n\r\n{\"timeout_s\":10}"));
	}
}

Test(client, other_answers)
{
	struct json_object *json = NULL;

	cr_assert_eq(request("HTTP/1.1 204 No Content\r\n\r\n", 0, &json), 0, "%s", err.text);
	cr_assert_null(json);
	cr_assert_eq(request("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
			     "3\r\n[1,\r\n3\r\n 2]\r\n0\r\n\r\n",
			     1, &json),
		     0, "%s", err.text);
	cr_assert_eq(json_object_array_length(json), 2);
	json_object_put(json);
	/* A body that ends with the connection, and one answer behind another. */
	cr_assert_eq(request("HTTP/1.1 200 OK\r\n\r\n[]", 0, &json), 0, "%s", err.text);
	json_object_put(json);
	cr_assert_eq(request("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"
			     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
			     0, &json),
		     0, "%s", err.text);
	cr_assert(json_object_is_type(json, json_type_array));
	json_object_put(json);
}

Test(client, refusals)
{
	EACH_PIECE(piece)
	{
		cr_assert_eq(request("HTTP/1.1 400 Bad Request\r\nContent-Length: 42\r\n\r\n"
				     "{\"fault_message\":\"there is no \\u001b[2J \"}",
				     *piece, NULL),
			     -EREMOTEIO);
		cr_assert_str_eq(err.text, "web: there is no  [2J ");
	}
	cr_assert_eq(request("HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops", 0, NULL),
		     -EREMOTEIO);
	cr_assert_str_eq(err.text, "web: it refused with status 500");
}

Test(client, nonsense)
{
	static const struct {
		const char *answer;
		int ret;
	} cases[] = {
		{ "", -ECONNRESET },
		{ "HTTP/1.1 20", -ECONNRESET },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[1]", -ECONNRESET },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", -ECONNRESET },
		{ "SSH-2.0-OpenSSH_9.2\r\n", -EPROTO },
		{ "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n[1]", -EPROTO },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", -EPROTO },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1,", -EPROTO },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct json_object *json = NULL;

		cr_assert_eq(request(cases[i].answer, 0, &json), cases[i].ret, "%s: %s",
			     cases[i].answer, err.text);
	}
}

Test(client, too_long)
{
	static char answer[CLIENT_BODY_MAX + 200];
	int len = snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\n\r\n\"");

	memset(answer + len, 'x', CLIENT_BODY_MAX + 2);
	cr_assert_eq(request(answer, 0, NULL), -EPROTO);
	answer[len + CLIENT_BODY_MAX - 2] = '"';
	answer[len + CLIENT_BODY_MAX - 1] = '\0';
	cr_assert_eq(request(answer, 0, NULL), 0, "%s", err.text);
}

Test(client, nobody_there)
{
	fake_server_init(&server);
	cr_assert_eq(client_request(&server.vm, "GET", "/", NULL, CLIENT_SOON, NULL, &err),
		     -ENOTCONN);
	cr_assert_str_eq(err.text, "the VM \"web\" is not running");
	fake_server_deinit(&server);
	cr_assert_eq(client_request(&server.vm, "GET", "/", NULL, CLIENT_SOON, NULL, &err),
		     -ENOTCONN);
}

/* A supervisor that is stopped: at first its backlog takes who comes, then nobody. */
Test(client, nobody_answers, .timeout = 20)
{
	static const enum client_patience patience[] = { CLIENT_SOON, CLIENT_FOREVER };

	nobody_answers = true;
	fake_server_init(&server);
	cr_assert_eq(listen(server.listener, 0), 0);
	cr_assert_eq(client_request(&server.vm, "GET", "/", NULL, CLIENT_SOON, NULL, &err),
		     -ETIMEDOUT);
	cr_assert(strstr(err.text, "the VM \"web\" does not answer"), "%s", err.text);
	for (size_t i = 0; i < 2; i++) {
		cr_assert_eq(client_request(&server.vm, "GET", "/", NULL, patience[i], NULL, &err),
			     -ETIMEDOUT);
		cr_assert(strstr(err.text, "does not answer"), "%s", err.text);
	}
	fake_server_deinit(&server);
}

struct heard {
	char text[64];
	size_t len;
	size_t enough;
};

static int hear(void *ctx, const void *bytes, size_t len, struct error *e)
{
	struct heard *h = ctx;

	cr_assert_lt(h->len + len, sizeof(h->text));
	memcpy(h->text + h->len, bytes, len);
	h->len += len;
	return h->enough && h->len >= h->enough ? error_set(e, EPIPE, "enough") : 0;
}

static int stream(const char *answer, size_t piece, struct heard *h)
{
	const char *const answers[] = { answer, NULL };

	fake_server_init(&server);
	fake_server_start(&server, answers, piece);
	int ret = client_stream(&server.vm, "/logs", hear, h, &err);

	fake_server_deinit(&server);
	return ret;
}

Test(client, stream)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
				     "6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n"
				     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nworse";

	EACH_PIECE(piece)
	{
		struct heard all = { .enough = 0 }, some = { .enough = 3 };

		cr_assert_eq(stream(answer, *piece, &all), 0, "%s", err.text);
		cr_assert_str_eq(all.text, "hello world");
		cr_assert_eq(stream(answer, *piece, &some), -EPIPE);
		cr_assert_str_eq(err.text, "enough");
	}
	struct heard none = { .enough = 0 };

	cr_assert_eq(stream("HTTP/1.1 404 Not Found\r\nContent-Length: 23\r\n\r\n"
			    "{\"fault_message\":\"no!\"}",
			    0, &none),
		     -EREMOTEIO);
	cr_assert_eq(none.len, 0);
}

/* What comes right behind the header is for whoever gets the connection. */
Test(client, upgrade)
{
	static const char *const answers[] = {
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
		"Upgrade: kvmbox-agent\r\n\r\nHTTP/1.1 first bytes",
		NULL,
	};

	EACH_PIECE(piece)
	{
		char text[64] = "";
		size_t len = 0;
		ssize_t n;

		fake_server_init(&server);
		fake_server_start(&server, answers, *piece);
		int fd = client_upgrade(&server.vm, "/agent", &err);

		cr_assert_geq(fd, 0, "%s", err.text);
		while ((n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
			len += (size_t)n;
		cr_assert_str_eq(text, "HTTP/1.1 first bytes");
		close(fd);
		fake_server_deinit(&server);
		cr_assert(strstr(server.question, "GET /agent HTTP/1.1\r\n"));
		cr_assert(strstr(server.question,
				 "Connection: Upgrade\r\nUpgrade: kvmbox-agent\r\n"));
	}
}

Test(client, no_upgrade)
{
	static const char *const answers[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 409 Conflict\r\nContent-Length: 31\r\n\r\n"
		"{\"fault_message\":\"not so fast\"}",
		NULL,
	};

	fake_server_init(&server);
	fake_server_start(&server, answers, 0);
	cr_assert_eq(client_upgrade(&server.vm, "/agent", &err), -EPROTO);
	cr_assert_eq(client_upgrade(&server.vm, "/agent", &err), -EREMOTEIO);
	fake_server_deinit(&server);
}
