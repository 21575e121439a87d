// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * An HTTP/1.1 server on a unix socket, without threads: it has one descriptor to poll, and does
 * what can be done without waiting when that is readable. How much memory a client can make it hold
 * is bounded, and so is the number of clients.
 */
struct http_server;

#define HTTP_BODY_MAX   65536      /* bytes of a request's body; more is answered with 413 */
#define HTTP_CLIENTS    64         /* at once; more wait, or take the place of one that is idle */
#define HTTP_STREAM_MAX (4u << 20) /* bytes of a stream that wait for the client to read them */

/* A request; all of it is borrowed for the time of the call. */
struct http_request {
	uint64_t id; /* to answer it by; never 0 */
	const char *method;
	const char *path;    /* without the query */
	const char *query;   /* "" if there is none */
	const char *upgrade; /* the protocol that the client asks to change to, or NULL */
	const char *body;    /* NUL-terminated */
	size_t body_len;
};

/*
 * Answer @req, now or later, by one of the functions below. A client that goes away takes its
 * requests along: answering one of them is in vain, and harmless.
 */
typedef void http_handler(void *ctx, const struct http_request *req);

/*
 * Serve @listen_fd, a listening unix socket, which the server takes. Returns 0, and *@out is freed
 * by http_server_free(), or negative errno.
 */
int http_server_new(int listen_fd, http_handler *handler, void *ctx, struct http_server **out);

/* Send what is left to be sent as far as that goes without waiting, and end it all. */
void http_server_free(struct http_server *s);

/* The descriptor to be polled for POLLIN, and what is to be done then. */
int http_server_fd(const struct http_server *s);
void http_server_run(struct http_server *s);

/* Whether the client of request @id is there yet, and not answered. */
bool http_is_waiting(struct http_server *s, uint64_t id);

/* Answer with @status and @body, which may be NULL (no content) and is taken. */
void http_reply(struct http_server *s, uint64_t id, unsigned int status, struct json_object *body);

/* Answer with @status and a sentence, as {"fault_message": ...}. */
void http_fault(struct http_server *s, uint64_t id, unsigned int status, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * Answer with a stream of text: begun once, then any number of pieces, then the end. http_stream()
 * returns false when the client is gone or has not read HTTP_STREAM_MAX bytes, and then the stream
 * is over.
 */
void http_stream_begin(struct http_server *s, uint64_t id);
bool http_stream(struct http_server *s, uint64_t id, const void *data, size_t len);
void http_stream_end(struct http_server *s, uint64_t id);

/*
 * Answer with 101 and the change to @protocol. Returns the connection's socket, non-blocking and
 * the caller's from then on, or -1 when the client is gone, or has not waited for the answer before
 * it sent more.
 */
int http_upgrade(struct http_server *s, uint64_t id, const char *protocol);
