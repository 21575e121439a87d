// SPDX-License-Identifier: Apache-2.0
/*
 * A client is a slot with an input that goes straight to http_parser, one request that is collected
 * or waits for its answer, and an output that is sent as the socket takes it. While a request waits
 * for its answer nothing more is read, so that a client has one at a time, whatever it sends.
 *
 * A slot is known outside by a number with a generation in it, which each request changes: an
 * answer that comes after the client has gone, or a second one, finds nobody.
 */
#include "control/http.h"

#include <errno.h>
#include <http_parser.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/accept.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/text.h"

#define TARGET_MAX  1024 /* bytes of a request's path with its query */
#define UPGRADE_MAX 64
#define LISTENER    UINT64_MAX /* beside the clients' numbers */

enum phase {
	PHASE_READING,   /* a request */
	PHASE_ANSWERING, /* it waits for its answer */
	PHASE_STREAMING, /* which is a stream */
	PHASE_CLOSING,   /* what is left is sent, then the connection is closed */
};

/* What the header's names tell about the value that follows. */
enum field { FIELD_OTHER, FIELD_UPGRADE };

struct client {
	int fd; /* -1: the slot is free */
	uint32_t generation;
	enum phase phase;
	struct http_parser parser;
	char target[TARGET_MAX + 1];
	size_t target_len;
	char name[16]; /* of the header field being read, as much as matters */
	size_t name_len;
	bool value_begun;
	enum field field;
	char upgrade[UPGRADE_MAX + 1];
	size_t upgrade_len;
	char *body;
	size_t body_len;
	unsigned int fault; /* HTTP status that the parser's callbacks have found fitting, or 0 */
	bool complete;      /* the request */
	bool keep_alive;

	struct buffer out;
	uint64_t heard; /* when it last sent or took something, as the server counts */
};

struct http_server {
	struct acceptor acceptor;
	int epoll_fd;
	http_handler *handler;
	void *ctx;
	bool full; /* no slot is free, and nobody is accepted */
	uint64_t now;
	struct client clients[HTTP_CLIENTS];
};

static uint64_t client_id(const struct http_server *s, const struct client *c)
{
	return (uint64_t)c->generation << 32 | (uint64_t)(c - s->clients);
}

/* The client that has this number now, or NULL. */
static struct client *client_find(struct http_server *s, uint64_t id)
{
	struct client *c = &s->clients[(uint32_t)id % HTTP_CLIENTS];

	return c->fd >= 0 && client_id(s, c) == id ? c : NULL;
}

/* ---- what is sent ---- */

static void watch(struct http_server *s, struct client *c)
{
	struct epoll_event ev = { .data.u64 = client_id(s, c) };

	/* Who does not read answers gets no more of them. */
	if (c->out.len)
		ev.events = EPOLLOUT;
	else if (c->phase == PHASE_READING)
		ev.events = EPOLLIN;
	epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev);
}

static void watch_listener(struct http_server *s)
{
	struct epoll_event ev = { .events = s->full ? 0 : EPOLLIN, .data.u64 = LISTENER };

	epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, s->acceptor.fd, &ev);
}

/* There may be a slot for the next one now. */
static void accept_again(struct http_server *s)
{
	if (!s->full)
		return;
	s->full = false;
	watch_listener(s);
}

/* Forget the client; its socket, if it is still open, is the caller's. */
static void client_free(struct http_server *s, struct client *c)
{
	buffer_free(&c->out);
	free(c->body);
	*c = (struct client){ .fd = -1, .generation = c->generation + 1 };
	accept_again(s);
}

static void client_close(struct http_server *s, struct client *c)
{
	close(c->fd);
	client_free(s, c);
}

static bool out_add(struct client *c, const void *data, size_t len)
{
	return buffer_add(&c->out, data, len, SIZE_MAX);
}

/* JSON is UTF-8 (RFC 8259, 8.1), and a path or a file's name that is told in it may be anything. */
static bool out_add_json(struct client *c, const char *text, size_t len)
{
	if (!out_add(c, text, len))
		return false;
	text_disarm((uint8_t *)c->out.bytes + c->out.off + c->out.len - len, len);
	return out_add(c, "\n", 1);
}

/* Send what the socket takes. False: the client is gone, and its slot free. */
static bool flush(struct http_server *s, struct client *c)
{
	size_t before = c->out.len;

	if (buffer_send(&c->out, c->fd) || (!c->out.len && c->phase == PHASE_CLOSING)) {
		client_close(s, c);
		return false;
	}
	if (c->out.len != before)
		c->heard = ++s->now;
	watch(s, c);
	return true;
}

/* Ready for the client's next request, or done with it. */
static void answered(struct http_server *s, struct client *c)
{
	free(c->body);
	c->body = NULL;
	c->body_len = c->target_len = c->upgrade_len = c->name_len = 0;
	c->complete = false;
	c->generation++;
	c->phase = c->keep_alive ? PHASE_READING : PHASE_CLOSING;
	if (c->keep_alive)
		http_parser_pause(&c->parser, 0);
	accept_again(s);
	flush(s, c);
}

static const char *status_text(unsigned int status)
{
	switch (status) {
	case 101:
		return "Switching Protocols";
	case 200:
		return "OK";
	case 204:
		return "No Content";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 413:
		return "Payload Too Large";
	case 503:
		return "Service Unavailable";
	default:
		return "Bad Request";
	}
}

static bool out_head(struct client *c, unsigned int status, const char *fields)
{
	char head[256];
	int n = snprintf(head, sizeof(head), "HTTP/1.1 %u %s\r\nServer: kvmbox\r\n%s%s\r\n", status,
			 status_text(status), fields,
			 c->keep_alive || status == 101 ? "" : "Connection: close\r\n");

	return out_add(c, head, (size_t)n);
}

/* The client that waits for the answer to @id. NULL: it is gone. */
static struct client *find(struct http_server *s, uint64_t id, enum phase phase)
{
	struct client *c = client_find(s, id);

	return c && c->phase == phase ? c : NULL;
}

bool http_is_waiting(struct http_server *s, uint64_t id)
{
	return client_find(s, id);
}

void http_reply(struct http_server *s, uint64_t id, unsigned int status, struct json_object *body)
{
	struct client *c = find(s, id, PHASE_ANSWERING);
	const char *none = status == 204 ? "" : "Content-Length: 0\r\n";
	char fields[96];

	if (c) {
		size_t len = 0;
		const char *text =
			body ? json_object_to_json_string_length(
				       body,
				       JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE,
				       &len)
			     : "";

		if (body)
			snprintf(fields, sizeof(fields),
				 "Content-Type: application/json\r\nContent-Length: %zu\r\n",
				 len + 1);
		if (out_head(c, status, body ? fields : none) &&
		    (!body || out_add_json(c, text, len)))
			answered(s, c);
		else
			client_close(s, c);
	}
	json_object_put(body);
}

void http_fault(struct http_server *s, uint64_t id, unsigned int status, const char *fmt, ...)
{
	struct json_object *body = json_object_new_object();
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_object_object_add(body, "fault_message", json_object_new_string(text));
	http_reply(s, id, status, body);
}

void http_stream_begin(struct http_server *s, uint64_t id)
{
	struct client *c = find(s, id, PHASE_ANSWERING);

	if (!c)
		return;
	c->phase = PHASE_STREAMING;
	if (out_head(c, 200,
		     "Content-Type: text/plain; charset=utf-8\r\n"
		     "Transfer-Encoding: chunked\r\n"))
		flush(s, c);
	else
		client_close(s, c);
}

bool http_stream(struct http_server *s, uint64_t id, const void *data, size_t len)
{
	struct client *c = find(s, id, PHASE_STREAMING);
	char size[24];

	if (!c || !len)
		return c;
	int n = snprintf(size, sizeof(size), "%zx\r\n", len);

	if (c->out.len > HTTP_STREAM_MAX || !out_add(c, size, (size_t)n) ||
	    !out_add(c, data, len) || !out_add(c, "\r\n", 2)) {
		/* Without the last piece, so that the client sees that something is missing. */
		client_close(s, c);
		return false;
	}
	return flush(s, c);
}

void http_stream_end(struct http_server *s, uint64_t id)
{
	struct client *c = find(s, id, PHASE_STREAMING);

	if (!c)
		return;
	if (out_add(c, "0\r\n\r\n", 5))
		answered(s, c);
	else
		client_close(s, c);
}

int http_upgrade(struct http_server *s, uint64_t id, const char *protocol)
{
	struct client *c = find(s, id, PHASE_ANSWERING);
	char fields[128];

	if (!c)
		return -1;
	snprintf(fields, sizeof(fields), "Connection: Upgrade\r\nUpgrade: %s\r\n", protocol);
	/* All of it at once: there is nothing before it, and it is short. */
	if (c->out.len || !out_head(c, 101, fields) || buffer_send(&c->out, c->fd) || c->out.len) {
		client_close(s, c);
		return -1;
	}
	int fd = c->fd;

	epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	client_free(s, c);
	return fd;
}

/* ---- what is read ---- */

static struct client *client_of(const struct http_parser *p)
{
	return p->data;
}

static int on_url(struct http_parser *p, const char *at, size_t len)
{
	struct client *c = client_of(p);

	if (len > TARGET_MAX - c->target_len) {
		c->fault = 400;
		return 1;
	}
	memcpy(c->target + c->target_len, at, len);
	c->target_len += len;
	return 0;
}

static int on_field(struct http_parser *p, const char *at, size_t len)
{
	struct client *c = client_of(p);

	if (c->value_begun) {
		c->value_begun = false;
		c->name_len = 0;
	}
	for (size_t i = 0; i < len && c->name_len < sizeof(c->name); i++)
		c->name[c->name_len++] = at[i];
	return 0;
}

static int on_value(struct http_parser *p, const char *at, size_t len)
{
	struct client *c = client_of(p);

	if (!c->value_begun) {
		c->value_begun = true;
		c->field = c->name_len == 7 && strncasecmp(c->name, "upgrade", 7) == 0
				   ? FIELD_UPGRADE
				   : FIELD_OTHER;
	}
	if (c->field != FIELD_UPGRADE)
		return 0;
	if (len > UPGRADE_MAX - c->upgrade_len) {
		c->fault = 400;
		return 1;
	}
	memcpy(c->upgrade + c->upgrade_len, at, len);
	c->upgrade_len += len;
	return 0;
}

static int on_body(struct http_parser *p, const char *at, size_t len)
{
	struct client *c = client_of(p);

	if (len > HTTP_BODY_MAX - c->body_len) {
		c->fault = 413;
		return 1;
	}
	char *body = realloc(c->body, c->body_len + len + 1);

	if (!body) {
		c->fault = 503;
		return 1;
	}
	memcpy(body + c->body_len, at, len);
	c->body = body;
	c->body_len += len;
	return 0;
}

static int on_complete(struct http_parser *p)
{
	struct client *c = client_of(p);

	c->complete = true;
	c->keep_alive = http_should_keep_alive(p) && !p->upgrade;
	/* What follows is the next request's, and its turn comes when this one is answered. */
	http_parser_pause(p, 1);
	return 0;
}

static const struct http_parser_settings settings = {
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_body = on_body,
	.on_message_complete = on_complete,
};

static void handle_request(struct http_server *s, struct client *c)
{
	char *query;

	c->phase = PHASE_ANSWERING;
	c->target[c->target_len] = '\0';
	c->upgrade[c->upgrade_len] = '\0';
	query = strchr(c->target, '?');
	if (query)
		*query++ = '\0';
	if (c->body)
		c->body[c->body_len] = '\0';
	watch(s, c);

	struct http_request req = {
		.id = client_id(s, c),
		.method = http_method_str((enum http_method)c->parser.method),
		.path = c->target,
		.query = query ? query : "",
		.upgrade = c->parser.upgrade && c->upgrade_len ? c->upgrade : NULL,
		.body = c->body ? c->body : "",
		.body_len = c->body_len,
	};

	s->handler(s->ctx, &req);
}

static void refuse(struct http_server *s, struct client *c)
{
	unsigned int status = c->fault ? c->fault : 400;

	c->phase = PHASE_ANSWERING;
	c->keep_alive = false;
	http_fault(s, client_id(s, c), status, "%s",
		   status == 413          ? "the body is longer than 64 KiB"
		   : c->parser.http_errno ? http_errno_description(HTTP_PARSER_ERRNO(&c->parser))
					  : "the request cannot be read");
}

/*
 * A client sends its next request when it has the answer to the one before (pipelining, which is
 * rare, ends the connection).
 */
static void client_read(struct http_server *s, struct client *c)
{
	char buf[4096];
	ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_close(s, c);
		return;
	}
	c->heard = ++s->now;
	size_t used = http_parser_execute(&c->parser, &settings, buf, (size_t)n);
	enum http_errno err = HTTP_PARSER_ERRNO(&c->parser);

	if (c->complete && used == (size_t)n)
		handle_request(s, c);
	else if (c->complete || c->fault || (err != HPE_OK && err != HPE_PAUSED))
		refuse(s, c);
}

/* Whether it waits for nothing but itself: a request, or an answer that it does not read. */
static bool is_silent(const struct client *c)
{
	char byte;

	return c->phase == PHASE_CLOSING ||
	       (c->phase == PHASE_READING &&
		(c->out.len || recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0));
}

/*
 * A free slot, if need be that of the client that has been silent for longest. NULL: all wait for
 * us.
 */
static struct client *find_slot(struct http_server *s)
{
	struct client *silent = NULL;

	for (struct client *c = s->clients; c < s->clients + HTTP_CLIENTS; c++) {
		if (c->fd < 0)
			return c;
		if ((!silent || c->heard < silent->heard) && is_silent(c))
			silent = c;
	}
	if (silent)
		client_close(s, silent);
	return silent;
}

static void accept_client(struct http_server *s)
{
	struct client *c = find_slot(s);

	if (!c) {
		s->full = true;
		watch_listener(s);
		return;
	}
	int fd = acceptor_take(&s->acceptor);

	if (fd < 0)
		return;
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = client_id(s, c) };

	if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev)) {
		close(fd);
		return;
	}
	*c = (struct client){ .fd = fd, .generation = c->generation, .heard = ++s->now };
	http_parser_init(&c->parser, HTTP_REQUEST);
	c->parser.data = c;
}

void http_server_run(struct http_server *s)
{
	struct epoll_event events[16];
	int n = epoll_wait(s->epoll_fd, events, 16, 0);

	for (int i = 0; i < n; i++) {
		if (events[i].data.u64 == LISTENER) {
			accept_client(s);
			continue;
		}
		struct client *c = client_find(s, events[i].data.u64);

		if (!c)
			continue;
		if (events[i].events & (EPOLLHUP | EPOLLERR))
			client_close(s, c);
		else if (!(events[i].events & EPOLLOUT) || flush(s, c))
			if (events[i].events & EPOLLIN)
				client_read(s, c);
	}
}

int http_server_fd(const struct http_server *s)
{
	return s->epoll_fd;
}

int http_server_new(int listen_fd, http_handler *handler, void *ctx, struct http_server **out)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = LISTENER };
	AUTO_CLOSE int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct http_server *s;

	if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listen_fd, &ev))
		return -errno;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	acceptor_init(&s->acceptor, listen_fd);
	s->epoll_fd = steal_fd(&epoll_fd);
	s->handler = handler;
	s->ctx = ctx;
	for (unsigned int i = 0; i < HTTP_CLIENTS; i++)
		s->clients[i] = (struct client){ .fd = -1, .generation = 1 };
	*out = s;
	return 0;
}

void http_server_free(struct http_server *s)
{
	if (!s)
		return;
	for (unsigned int i = 0; i < HTTP_CLIENTS; i++)
		if (s->clients[i].fd >= 0 && flush(s, &s->clients[i]))
			client_close(s, &s->clients[i]);
	close(s->epoll_fd);
	acceptor_deinit(&s->acceptor);
	free(s);
}
