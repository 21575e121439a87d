// SPDX-License-Identifier: Apache-2.0
#include "supervisor/calls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "common/frame.h"
#include "supervisor/agent.h"

#define EXECS_MAX         12 /* of the calls, so that there is always one for the guest's health */
#define CALLS_MAX         16
#define HEALTH_TIMEOUT_NS 2000000000ull
#define BEGIN_TIMEOUT_NS  30000000000ull /* for a command to begin */
#define TICK_NS           250000000
#define TIMER             CALLS_MAX

struct call {
	uint64_t id;
	int fd;
	bool exec;            /* otherwise for the guest's health */
	uint64_t deadline_ns; /* 0: none */
	struct frame_reader reader;
	struct buffer out, err;
	bool truncated;
	char error[512];
};

struct calls {
	const struct calls_ops *ops;
	void *ctx;
	int epoll_fd, timer_fd;
	struct call *calls[CALLS_MAX];
	unsigned int ntimed;
};

static void timer_set(const struct calls *c, bool on)
{
	struct itimerspec t = { .it_interval.tv_nsec = on ? TICK_NS : 0,
				.it_value.tv_nsec = on ? TICK_NS : 0 };

	timerfd_settime(c->timer_fd, 0, &t, NULL);
}

static void time_begin(struct calls *c, struct call *call, uint64_t timeout_ns)
{
	call->deadline_ns = clock_now_ns() + timeout_ns;
	if (!c->ntimed++)
		timer_set(c, true);
}

static void time_end(struct calls *c, struct call *call)
{
	if (call->deadline_ns && !--c->ntimed)
		timer_set(c, false);
	call->deadline_ns = 0;
}

static void call_free(struct calls *c, unsigned int i)
{
	struct call *call = c->calls[i];

	time_end(c, call);
	close(call->fd);
	buffer_free(&call->out);
	buffer_free(&call->err);
	free(call);
	c->calls[i] = NULL;
}

static void call_failed(struct calls *c, unsigned int i, const char *fault)
{
	uint64_t id = c->calls[i]->id;
	bool exec = c->calls[i]->exec;
	char text[sizeof(c->calls[i]->error)];

	memcpy(text, c->calls[i]->error, sizeof(text));
	call_free(c, i);
	if (exec)
		c->ops->exec(c->ctx, id, NULL, text[0] ? text : fault);
	else
		c->ops->health(c->ctx, id, NULL);
}

static bool text_add(struct buffer *t, const void *data, size_t len)
{
	return buffer_add(t, data, len, SIZE_MAX);
}

static void add_output(struct call *call, const uint8_t *data, size_t len)
{
	struct kvmbox_data head;

	if (len < sizeof(head))
		return;
	memcpy(&head, data, sizeof(head));
	len -= sizeof(head);
	struct buffer *t = head.stream == KVMBOX_STREAM_ERR ? &call->err : &call->out;

	if (len > CALLS_OUTPUT_MAX - t->len) {
		len = CALLS_OUTPUT_MAX - t->len;
		call->truncated = true;
	}
	if (len && !text_add(t, data + sizeof(head), len))
		call->truncated = true;
}

/* JSON is UTF-8, and what the guest wrote may be anything. */
static struct json_object *text_json(const struct buffer *t)
{
	static const char instead[] = "\xef\xbf\xbd";
	struct buffer clean = { 0 };
	struct json_object *json;
	size_t n;

	for (size_t i = 0; i < t->len; i += n) {
		const uint8_t *at = (const uint8_t *)t->bytes + i;
		bool space = *at == '\n' || *at == '\t' || *at == '\r';
		size_t good = space ? 1 : text_character(at, t->len - i);

		n = good ? good : 1;
		if (!text_add(&clean, good ? t->bytes + i : instead, good ? good : 3))
			break;
	}
	json = json_object_new_string_len(clean.len ? clean.bytes : "", (int)clean.len);
	buffer_free(&clean);
	return json;
}

static void exec_ended(struct calls *c, unsigned int i, const struct kvmbox_exit *e)
{
	struct call *call = c->calls[i];
	struct json_object *answer = json_object_new_object();
	uint64_t id = call->id;

	json_object_object_add(answer, "exit_status", json_object_new_int(agent_exit_status(e)));
	json_object_object_add(answer, "stdout", text_json(&call->out));
	json_object_object_add(answer, "stderr", text_json(&call->err));
	if (call->truncated)
		json_object_object_add(answer, "truncated", json_object_new_boolean(true));
	if (call->error[0])
		json_object_object_add(answer, "error", json_object_new_string(call->error));
	call_free(c, i);
	c->ops->exec(c->ctx, id, answer, NULL);
}

/* Returns false when the call is over, and its slot free. */
static bool handle_frame(struct calls *c, unsigned int i, uint16_t type, const uint8_t *data,
			 size_t len)
{
	struct call *call = c->calls[i];
	struct kvmbox_health health;
	struct kvmbox_exit end;

	switch (type) {
	case KVMBOX_FRAME_HEALTH:
		if (call->exec || len < sizeof(health))
			break;
		memcpy(&health, data, sizeof(health));
		uint64_t id = call->id;

		call_free(c, i);
		c->ops->health(c->ctx, id, &health);
		return false;
	case KVMBOX_FRAME_DATA:
		add_output(call, data, len);
		break;
	case KVMBOX_FRAME_ERROR:
		text_keep(call->error, sizeof(call->error), data, len);
		break;
	case KVMBOX_FRAME_EXIT:
		if (!call->exec || len < sizeof(end))
			break;
		memcpy(&end, data, sizeof(end));
		exec_ended(c, i, &end);
		return false;
	}
	return true;
}

static void call_read(struct calls *c, unsigned int i)
{
	struct call *call = c->calls[i];
	struct kvmbox_frame frame;
	const uint8_t *payload;
	ssize_t n = frame_fill(&call->reader, call->fd);
	int ret;

	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		call_failed(c, i, "the guest's agent does not answer");
		return;
	}
	if (call->exec)
		time_end(c, call);
	while ((ret = frame_next(&call->reader, &frame, &payload)) > 0)
		if (!handle_frame(c, i, frame.type, payload, frame.len))
			return;
	if (ret < 0)
		call_failed(c, i, "the guest's agent answers nonsense");
}

static void check_clock(struct calls *c)
{
	uint64_t now = clock_now_ns(), ticks;

	if (read(c->timer_fd, &ticks, sizeof(ticks)) != sizeof(ticks))
		return;
	for (unsigned int i = 0; i < CALLS_MAX; i++)
		if (c->calls[i] && c->calls[i]->deadline_ns && now >= c->calls[i]->deadline_ns)
			call_failed(c, i, "the guest's agent does not answer");
}

void calls_run(struct calls *c)
{
	struct epoll_event events[CALLS_MAX + 1];
	int n = epoll_wait(c->epoll_fd, events, CALLS_MAX + 1, 0);

	for (int k = 0; k < n; k++) {
		uint32_t i = events[k].data.u32;

		if (i == TIMER)
			check_clock(c);
		else if (c->calls[i])
			call_read(c, i);
	}
}

int calls_fd(const struct calls *c)
{
	return c->epoll_fd;
}

/* A slot of those from @first up to @end, if need be one that nobody waits for. @end: none. */
static unsigned int find_slot(struct calls *c, unsigned int first, unsigned int end)
{
	for (unsigned int i = first; i < end; i++)
		if (c->calls[i] && !c->ops->wanted(c->ctx, c->calls[i]->id))
			call_free(c, i);
	while (first < end && c->calls[first])
		first++;
	return first;
}

/*
 * A call in slot @i, whose first bytes are @data, which fit into a socket's buffer. Returns the
 * call, or NULL.
 */
static struct call *call_begin(struct calls *c, unsigned int i, uint64_t id, const void *data,
			       size_t len)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = i };
	AUTO_FREE struct call *call = calloc(1, sizeof(*call));
	int pair[2];

	if (!call || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		return NULL;
	AUTO_CLOSE int ours = pair[0], theirs = pair[1];

	if (send(ours, data, len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)len ||
	    epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, ours, &ev) ||
	    c->ops->dial(c->ctx, steal_fd(&theirs)))
		return NULL;
	call->id = id;
	call->fd = steal_fd(&ours);
	c->calls[i] = call;
	return steal_ptr(call);
}

void calls_health(struct calls *c, uint64_t id)
{
	struct kvmbox_frame frame = { .type = KVMBOX_FRAME_HEALTH };
	unsigned int i = find_slot(c, EXECS_MAX, CALLS_MAX);
	struct call *call = i < CALLS_MAX ? call_begin(c, i, id, &frame, sizeof(frame)) : NULL;

	if (!call) {
		c->ops->health(c->ctx, id, NULL);
		return;
	}
	time_begin(c, call, HEALTH_TIMEOUT_NS);
}

/* ---- exec ---- */

/* What is wrong with the request; NULL: nothing. */
static const char *add_strings(struct buffer *t, struct json_object *list, uint32_t *count)
{
	*count = 0;
	if (!list)
		return NULL;
	if (!json_object_is_type(list, json_type_array))
		return "argv and env are arrays of strings";
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *s = json_object_array_get_idx(list, i);

		if (!json_object_is_type(s, json_type_string))
			return "argv and env are arrays of strings";
		const char *string = json_object_get_string(s);
		size_t len = (size_t)json_object_get_string_len(s);

		if (strlen(string) != len)
			return "argv and env cannot have a NUL in them";
		if (!text_add(t, string, len + 1))
			return "out of memory";
		++*count;
	}
	return NULL;
}

/* What is wrong with the request; NULL: nothing, and *@s is the string or "". */
static const char *optional_string(struct json_object *request, const char *key, const char **s,
				   size_t *len)
{
	struct json_object *value = json_object_object_get(request, key);

	*s = "";
	*len = 0;
	if (!value)
		return NULL;
	if (!json_object_is_type(value, json_type_string))
		return "workdir and stdin are strings";
	*s = json_object_get_string(value);
	*len = (size_t)json_object_get_string_len(value);
	return NULL;
}

static const char *exec_frames(struct buffer *t, struct json_object *request)
{
	struct {
		struct kvmbox_frame frame;
		struct kvmbox_exec exec;
	} head = { .frame.type = KVMBOX_FRAME_EXEC, .exec.flags = KVMBOX_EXEC_STDIN };
	struct {
		struct kvmbox_frame frame;
		struct kvmbox_data data;
	} data = { .frame = { .type = KVMBOX_FRAME_DATA, .len = sizeof(struct kvmbox_data) },
		   .data.stream = KVMBOX_STREAM_IN };
	const char *workdir, *input, *fault;
	size_t workdir_len, input_len;

	if (!text_add(t, &head, sizeof(head)))
		return "out of memory";
	fault = optional_string(request, "workdir", &workdir, &workdir_len);
	if (!fault)
		fault = optional_string(request, "stdin", &input, &input_len);
	if (!fault)
		fault = add_strings(t, json_object_object_get(request, "argv"), &head.exec.argc);
	if (!fault && !head.exec.argc)
		fault = "argv is missing: an array of strings, the command first";
	if (!fault)
		fault = add_strings(t, json_object_object_get(request, "env"), &head.exec.envc);
	if (fault)
		return fault;
	if (strlen(workdir) != workdir_len)
		return "workdir cannot have a NUL in it";
	if (!text_add(t, workdir, workdir_len + 1))
		return "out of memory";
	head.frame.len = (uint32_t)(t->len - sizeof(head.frame));
	if (head.frame.len > KVMBOX_FRAME_MAX || input_len > KVMBOX_STDIN_WINDOW)
		return "the request is too long: 64 KiB of arguments and 64 KiB of standard input "
		       "are the most";
	memcpy(t->bytes, &head, sizeof(head));
	/* A frame of any length is a good one, but its head counts against the longest. */
	for (size_t left = input_len, n; left; input += n, left -= n) {
		n = left < 32768 ? left : 32768;
		data.frame.len = (uint32_t)(sizeof(data.data) + n);
		if (!text_add(t, &data, sizeof(data)) || !text_add(t, input, n))
			return "out of memory";
	}
	data.frame.len = sizeof(data.data);
	return text_add(t, &data, sizeof(data)) ? NULL : "out of memory";
}

void calls_exec(struct calls *c, uint64_t id, struct json_object *request)
{
	struct buffer t = { 0 };
	const char *fault = exec_frames(&t, request);
	unsigned int i = fault ? 0 : find_slot(c, 0, EXECS_MAX);
	struct call *call = NULL;

	if (!fault && i == EXECS_MAX)
		fault = "too many commands run at the same time";
	if (!fault)
		call = call_begin(c, i, id, t.bytes, t.len);
	buffer_free(&t);
	if (call) {
		call->exec = true;
		time_begin(c, call, BEGIN_TIMEOUT_NS);
	} else {
		c->ops->exec(c->ctx, id, NULL,
			     fault ? fault : "the guest's agent cannot be reached");
	}
}

int calls_new(const struct calls_ops *ops, void *ctx, struct calls **out)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = TIMER };
	struct calls *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->ops = ops;
	c->ctx = ctx;
	c->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (c->timer_fd < 0 || c->epoll_fd < 0 ||
	    epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, c->timer_fd, &ev)) {
		int ret = -errno;

		calls_free(c);
		return ret;
	}
	*out = c;
	return 0;
}

void calls_free(struct calls *c)
{
	if (!c)
		return;
	for (unsigned int i = 0; i < CALLS_MAX; i++)
		if (c->calls[i])
			call_free(c, i);
	if (c->epoll_fd >= 0)
		close(c->epoll_fd);
	if (c->timer_fd >= 0)
		close(c->timer_fd);
	free(c);
}
