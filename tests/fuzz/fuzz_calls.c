// SPDX-License-Identifier: Apache-2.0
/*
 * Frames of agent.h that come to the supervisor from elsewhere than the control stream: from a
 * client that is attached to a workload (supervisor/output.c), or from the guest's agent in a
 * session of ours (supervisor/calls.c). The first byte says which, the second into pieces of what
 * length they are cut. What must hold: no more is taken than the window allows, only what makes
 * sense is passed on, and an answer is JSON.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "supervisor/calls.h"
#include "supervisor/output.h"

static size_t taken; /* from standard input, by the workload */

static void pair_of(int fds[2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds))
		abort();
}

static void run(int poll_fd, void (*go)(void *ctx), void *ctx)
{
	struct pollfd p = { .fd = poll_fd, .events = POLLIN };

	for (int i = 0; poll(&p, 1, 0) == 1; i++) {
		if (i > 1000)
			abort();
		go(ctx);
	}
}

/* ---- an attached client ---- */

static void on_written(void *ctx, const uint8_t *data, size_t len)
{
	(void)ctx;
	(void)data;
	(void)len;
}

static void on_signal(void *ctx, int signo)
{
	(void)ctx;
	if (signo < 1 || signo > 64)
		abort();
}

static void on_winsize(void *ctx, uint32_t rows, uint32_t cols)
{
	(void)ctx;
	if (!rows || rows > 65535 || !cols || cols > 65535)
		abort();
}

static void output_go(void *ctx)
{
	output_run(ctx);
}

/* The room that the client has been given; its frames come whole, as nothing else fills up. */
static size_t hear_room(int fd)
{
	static uint8_t buf[1 << 20];
	ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
	struct kvmbox_frame f;
	struct kvmbox_room room;
	size_t sum = 0;

	for (size_t at = 0; n > 0 && at < (size_t)n; at += sizeof(f) + f.len) {
		if ((size_t)n - at < sizeof(f))
			abort();
		memcpy(&f, buf + at, sizeof(f));
		if (f.len > (size_t)n - at - sizeof(f))
			abort();
		if (f.type != KVMBOX_FRAME_ROOM)
			continue;
		memcpy(&room, buf + at + sizeof(f), sizeof(room));
		sum += room.bytes;
	}
	return sum;
}

static void drain(int fd)
{
	static char buf[1 << 16];
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		taken += (size_t)n;
}

static void attached_client(const uint8_t *data, size_t size, size_t part)
{
	static const struct output_ops ops = { on_written, on_signal, on_winsize };
	struct kvmbox_exit end = { KVMBOX_EXIT_EXITED, 0 };
	int client[2], other[2], in[2], out[2];
	size_t room = 0;
	struct output *o;

	taken = 0;
	if (output_new(&ops, NULL, &o))
		abort();
	pair_of(client);
	pair_of(other);
	pair_of(in);
	pair_of(out);
	output_attach(o, client[0]);
	output_attach(o, other[0]);
	for (size_t at = 0, n; at < size; at += n) {
		n = part < size - at ? part : size - at;
		if (at / part == 2)
			output_stream(o, KVMBOX_STREAM_IN, in[0], false);
		if (send(client[1], data + at, n, MSG_NOSIGNAL) < 0)
			break;
		run(output_fd(o), output_go, o);
		drain(in[1]);
		room += hear_room(client[1]);
	}
	if (size <= 2 * part)
		output_stream(o, KVMBOX_STREAM_IN, in[0], false);
	run(output_fd(o), output_go, o);
	drain(in[1]);
	room += hear_room(client[1]);
	/* Input that comes after another's end is dropped, and room for it is given all the same.
	 */
	if (taken > room && recv(client[1], &(char){ 0 }, 1, MSG_PEEK | MSG_DONTWAIT) < 0)
		abort();
	output_stream(o, KVMBOX_STREAM_OUT, out[0], false);
	if (send(out[1], "last", 4, MSG_NOSIGNAL) != 4)
		abort();
	close(out[1]);
	run(output_fd(o), output_go, o);
	if (!output_ended(o))
		abort();
	output_exit(o, &end);
	output_free(o);
	close(client[1]);
	close(other[1]);
	close(in[1]);
}

/* ---- a hostile agent ---- */

static int agent_fds[2] = { -1, -1 };
static unsigned int nagents, nanswers;

static int dial(void *ctx, int fd)
{
	(void)ctx;
	agent_fds[nagents++] = fd;
	return 0;
}

static bool wanted(void *ctx, uint64_t id)
{
	(void)ctx;
	(void)id;
	return true;
}

static void on_health(void *ctx, uint64_t id, const struct kvmbox_health *health)
{
	(void)ctx;
	(void)health;
	if (id != 1)
		abort();
	nanswers++;
}

static void on_exec(void *ctx, uint64_t id, struct json_object *answer, const char *fault)
{
	struct json_tokener *tok;
	struct json_object *again;
	size_t len;

	(void)ctx;
	if (id != 2 || !answer != !!fault)
		abort();
	nanswers++;
	if (!answer)
		return;
	const char *text = json_object_to_json_string_length(answer, JSON_C_TO_STRING_PLAIN, &len);

	tok = json_tokener_new();
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	again = json_tokener_parse_ex(tok, text, (int)len);
	if (!again)
		abort();
	json_object_put(again);
	json_tokener_free(tok);
	json_object_put(answer);
}

static void calls_go(void *ctx)
{
	calls_run(ctx);
}

static void hostile_agent(const uint8_t *data, size_t size, size_t part)
{
	static const struct calls_ops ops = { dial, wanted, on_health, on_exec };
	struct json_object *request = json_tokener_parse("{\"argv\":[\"a\"],\"stdin\":\"b\"}");
	struct calls *c;

	nagents = nanswers = 0;
	if (calls_new(&ops, NULL, &c))
		abort();
	calls_health(c, 1);
	calls_exec(c, 2, request);
	json_object_put(request);
	if (nagents != 2)
		abort();
	for (size_t at = 0, n; at < size; at += n) {
		n = part < size - at ? part : size - at;
		/* In vain where the session has ended. */
		for (int i = 0; i < 2; i++)
			(void)!send(agent_fds[i], data + at, n, MSG_NOSIGNAL);
		run(calls_fd(c), calls_go, c);
	}
	close(agent_fds[0]);
	close(agent_fds[1]);
	run(calls_fd(c), calls_go, c);
	if (nanswers != 2)
		abort();
	calls_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	size_t part = 1 + data[1] * 16u;

	if (data[0] % 2)
		hostile_agent(data + 2, size - 2, part);
	else
		attached_client(data + 2, size - 2, part);
	return 0;
}
