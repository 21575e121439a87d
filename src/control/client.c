// SPDX-License-Identifier: Apache-2.0
#include "control/client.h"

#include <errno.h>
#include <http_parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

#define SOON_S      30    /* for an answer that takes no time */
#define PIECE       16384 /* bytes read at once */
#define SENTENCE    400   /* bytes of the supervisor's that are shown */
#define HEADER_MAX  512
#define UPGRADE_KEY "Connection: Upgrade\r\nUpgrade: kvmbox-agent\r\n"

struct exchange {
	const struct state *vm;
	struct error *err;
	int fd;
	http_parser parser;
	bool complete;
	char *body; /* owned; what the sink does not get */
	size_t len;
	client_sink *sink; /* NULL: the body is kept */
	void *ctx;
	int ret; /* why the parser was stopped, or 0 */
};

/* ---- the answer ---- */

static bool is_yes(const struct exchange *x)
{
	return x->parser.status_code == 101 || x->parser.status_code / 100 == 2;
}

static int take_body(http_parser *parser, const char *bytes, size_t len)
{
	struct exchange *x = parser->data;

	if (x->sink && is_yes(x)) {
		x->ret = x->sink(x->ctx, bytes, len, x->err);
		return x->ret < 0;
	}
	if (len > CLIENT_BODY_MAX - x->len) {
		x->ret = error_set(x->err, EPROTO, "the answer of the VM \"%s\" is too long",
				   x->vm->name);
		return 1;
	}
	char *grown = realloc(x->body, x->len + len + 1);

	if (!grown) {
		x->ret = error_set(x->err, ENOMEM, "out of memory");
		return 1;
	}
	memcpy(grown + x->len, bytes, len);
	x->body = grown;
	x->len += len;
	x->body[x->len] = '\0';
	return 0;
}

static int take_end(http_parser *parser)
{
	struct exchange *x = parser->data;

	x->complete = true;
	http_parser_pause(parser, 1); /* what may follow is not for it */
	return 0;
}

static int no_answer(const struct exchange *x, int errnum)
{
	if (errnum == EAGAIN)
		return error_set(x->err, ETIMEDOUT,
				 "the VM \"%s\" does not answer; kvmbox kill %s ends it, and if "
				 "that does not either, kill its supervisor",
				 x->vm->name, x->vm->name);
	return error_set(x->err, ECONNRESET, "the VM \"%s\" ended before its answer was complete",
			 x->vm->name);
}

/*
 * Read until the answer is complete; of an upgrade, nothing behind its header. To know where that
 * ends, bytes are looked at before they are taken.
 */
static int receive_answer(struct exchange *x)
{
	static const http_parser_settings settings = {
		.on_body = take_body,
		.on_message_complete = take_end,
	};
	AUTO_FREE char *buf = malloc(PIECE);

	if (!buf)
		return error_set(x->err, ENOMEM, "out of memory");
	http_parser_init(&x->parser, HTTP_RESPONSE);
	x->parser.data = x;
	while (!x->complete) {
		ssize_t n = recv(x->fd, buf, PIECE, MSG_PEEK);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return no_answer(x, errno);
		size_t used = http_parser_execute(&x->parser, &settings, buf, (size_t)n);

		if (x->ret < 0)
			return x->ret;
		/* At the end of the stream, the parser knows whether that was to be expected. */
		if (n == 0 && !x->complete)
			return no_answer(x, 0);
		if (!x->complete && used != (size_t)n)
			return error_set(
				x->err, EPROTO, "the answer of the VM \"%s\" makes no sense: %s",
				x->vm->name, http_errno_description(HTTP_PARSER_ERRNO(&x->parser)));
		if (recv(x->fd, buf, used, 0) < 0)
			return no_answer(x, errno);
	}
	return 0;
}

/* The sentence of an answer that is a no. */
static int refused(const struct exchange *x)
{
	struct json_object *json = x->body ? json_tokener_parse(x->body) : NULL;
	struct json_object *message;
	char text[SENTENCE];

	if (json_object_is_type(json, json_type_object) &&
	    json_object_object_get_ex(json, "fault_message", &message) &&
	    json_object_is_type(message, json_type_string))
		text_keep(text, sizeof(text), json_object_get_string(message),
			  (size_t)json_object_get_string_len(message));
	else
		snprintf(text, sizeof(text), "it refused with status %u", x->parser.status_code);
	json_object_put(json);
	return error_set(x->err, EREMOTEIO, "%s: %s", x->vm->name, text);
}

/* ---- the question ---- */

/* @seconds for what is sent and received on @fd from now on; 0: as long as it takes. */
static void wait_at_most(int fd, time_t seconds)
{
	const struct timeval limit = { .tv_sec = seconds };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

static int connect_to(struct exchange *x)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int len = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/control.sock", x->vm->path);

	if (len < 0 || (size_t)len >= sizeof(addr.sun_path))
		return error_set(x->err, ENAMETOOLONG, "the path of the VM's socket is too long");
	x->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (x->fd < 0)
		return error_set(x->err, errno, "cannot make a socket: %s", strerror(errno));
	/* Once its backlog is full, a supervisor that is stopped would hold up who connects. */
	wait_at_most(x->fd, SOON_S);
	if (connect(x->fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return 0;
	if (errno == EAGAIN)
		return no_answer(x, errno);
	if (errno == ECONNREFUSED || errno == ENOENT)
		return error_set(x->err, ENOTCONN, "the VM \"%s\" is not running", x->vm->name);
	return error_set(x->err, errno, "cannot reach the VM \"%s\": %s", x->vm->name,
			 strerror(errno));
}

static int send_all(const struct exchange *x, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(x->fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		/* It may have answered already, and then closed: the answer tells more. */
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return 0;
		if (n < 0)
			return no_answer(x, errno);
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

static int send_question(const struct exchange *x, const char *method, const char *path,
			 struct json_object *body, const char *keys)
{
	const char *text = body ? json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN) : "";
	char header[HEADER_MAX];
	int len;

	if (!text)
		return error_set(x->err, ENOMEM, "out of memory");
	len = snprintf(header, sizeof(header),
		       "%s %s HTTP/1.1\r\nHost: localhost\r\n%s%sContent-Length: %zu\r\n\r\n",
		       method, path, keys, body ? "Content-Type: application/json\r\n" : "",
		       strlen(text));
	if (len < 0 || (size_t)len >= sizeof(header))
		return error_set(x->err, EMSGSIZE, "the request is too long");
	int ret = send_all(x, header, (size_t)len);

	return ret < 0 ? ret : send_all(x, text, strlen(text));
}

static int exchange(struct exchange *x, const char *method, const char *path,
		    struct json_object *body, const char *keys, enum client_patience patience)
{
	int ret = connect_to(x);

	if (ret < 0)
		return ret;
	if (patience == CLIENT_FOREVER)
		wait_at_most(x->fd, 0);
	ret = send_question(x, method, path, body, keys);
	if (ret == 0)
		ret = receive_answer(x);
	if (ret == 0 && !is_yes(x))
		ret = refused(x);
	return ret;
}

static void finish(struct exchange *x)
{
	if (x->fd >= 0)
		close(x->fd);
	free(x->body);
}

/* ---- what callers see ---- */

int client_request(const struct state *vm, const char *method, const char *path,
		   struct json_object *body, enum client_patience patience,
		   struct json_object **answer, struct error *err)
{
	struct exchange x = { .vm = vm, .err = err, .fd = -1 };
	int ret = exchange(&x, method, path, body, "Connection: close\r\n", patience);

	if (ret == 0 && answer) {
		*answer = x.body ? json_tokener_parse(x.body) : NULL;
		if (x.body && !*answer)
			ret = error_set(err, EPROTO, "the answer of the VM \"%s\" is not JSON",
					vm->name);
	}
	finish(&x);
	return ret;
}

int client_stream(const struct state *vm, const char *path, client_sink *fn, void *ctx,
		  struct error *err)
{
	struct exchange x = { .vm = vm, .err = err, .fd = -1, .sink = fn, .ctx = ctx };
	int ret = exchange(&x, "GET", path, NULL, "Connection: close\r\n", CLIENT_FOREVER);

	finish(&x);
	return ret;
}

int client_upgrade(const struct state *vm, const char *path, struct error *err)
{
	struct exchange x = { .vm = vm, .err = err, .fd = -1 };
	int ret = exchange(&x, "GET", path, NULL, UPGRADE_KEY, CLIENT_SOON);

	if (ret == 0 && x.parser.status_code != 101)
		ret = error_set(err, EPROTO, "the VM \"%s\" does not speak the agent's protocol",
				vm->name);
	if (ret == 0) {
		wait_at_most(x.fd, 0);
		ret = steal_fd(&x.fd);
	}
	finish(&x);
	return ret;
}
