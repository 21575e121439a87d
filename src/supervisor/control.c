// SPDX-License-Identifier: Apache-2.0
#include "supervisor/control.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "config/set.h"
#include "control/http.h"
#include "supervisor/calls.h"

#define WAITERS_MAX    HTTP_CLIENTS /* a client waits for one thing at a time */
#define GRACE_MS       10000
#define GRACE_MS_MAX   3600000
#define AGENT_PROTOCOL "kvmbox-agent"

/* What a client waits for. */
enum wait {
	WAIT_NOTHING,
	WAIT_END,
	WAIT_PAUSE,
	WAIT_RESUME,
	WAIT_STATS,
	WAIT_LOG, /* for more of a log */
};

struct waiter {
	enum wait wait;
	uint64_t id;
	enum control_log log;
	bool have_health; /* WAIT_STATS */
	struct kvmbox_health health;
};

struct control {
	const struct control_ops *ops;
	void *ctx;
	const struct logfile *logs[CONTROL_LOGS];
	struct http_server *http;
	struct calls *calls;
	int epoll_fd;
	bool paused;
	struct waiter waiters[WAITERS_MAX];
};

/* ---- who waits ---- */

static struct waiter *waiter_add(struct control *c, enum wait wait, uint64_t id)
{
	struct waiter *w = c->waiters;

	/* Those whose clients have gone make room, and there are no more clients than waiters. */
	while (w->wait != WAIT_NOTHING && http_is_waiting(c->http, w->id))
		w++;
	*w = (struct waiter){ .wait = wait, .id = id };
	return w;
}

static struct waiter *waiter_find(struct control *c, enum wait wait, uint64_t id)
{
	for (unsigned int i = 0; i < WAITERS_MAX; i++)
		if (c->waiters[i].wait == wait && c->waiters[i].id == id)
			return &c->waiters[i];
	return NULL;
}

/* Tell all that wait for it that it is done; with @fault, that it will not be. */
static void waiters_answer(struct control *c, enum wait wait, const char *fault)
{
	for (unsigned int i = 0; i < WAITERS_MAX; i++) {
		if (c->waiters[i].wait != wait)
			continue;
		c->waiters[i].wait = WAIT_NOTHING;
		if (fault)
			http_fault(c->http, c->waiters[i].id, 503, "%s", fault);
		else
			http_reply(c->http, c->waiters[i].id, 204, NULL);
	}
}

void control_paused(struct control *c)
{
	c->paused = true;
	waiters_answer(c, WAIT_PAUSE, NULL);
}

void control_resumed(struct control *c)
{
	c->paused = false;
	waiters_answer(c, WAIT_RESUME, NULL);
	waiters_answer(c, WAIT_PAUSE, "the VM was resumed before it had paused");
}

void control_logged(struct control *c, enum control_log log, const void *data, size_t len)
{
	for (unsigned int i = 0; i < WAITERS_MAX; i++) {
		struct waiter *w = &c->waiters[i];

		if (w->wait == WAIT_LOG && w->log == log && !http_stream(c->http, w->id, data, len))
			w->wait = WAIT_NOTHING;
	}
}

/* ---- requests in parts ---- */

/* The value of @name in the query, into @value, as much of it as fits; false: it is not there. */
static bool query_value(const char *query, const char *name, char *value, size_t size)
{
	size_t len = strlen(name);

	for (const char *p = query; *p; p += strcspn(p, "&"), p += *p == '&') {
		size_t n = strcspn(p, "&");

		if (strncmp(p, name, len) != 0 || p[len] != '=')
			continue;
		snprintf(value, size, "%.*s", (int)(n - len - 1), p + len + 1);
		return true;
	}
	return false;
}

/* All of @text as one JSON value; NULL: it is not that. */
static struct json_object *parse_json(const char *text, size_t len)
{
	struct json_tokener *tok = json_tokener_new();
	struct json_object *value;

	if (!tok)
		return NULL;
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	/* With its NUL, which ends a value that could go on, and where strict parsing stops. */
	value = json_tokener_parse_ex(tok, text, (int)len + 1);
	if (json_tokener_get_error(tok) != json_tokener_success || strlen(text) != len) {
		json_object_put(value);
		value = NULL;
	}
	json_tokener_free(tok);
	return value;
}

/* The object in the body; an empty body is an empty object. NULL: it was answered. */
static struct json_object *body_object(struct control *c, const struct http_request *req)
{
	struct json_object *body =
		req->body_len ? parse_json(req->body, req->body_len) : json_object_new_object();

	if (json_object_is_type(body, json_type_object))
		return body;
	json_object_put(body);
	http_fault(c->http, req->id, 400, "the body of this request is a JSON object");
	return NULL;
}

/* A member that is a string; NULL where it is not there, or something else. */
static const char *string_member(struct json_object *o, const char *key)
{
	struct json_object *value = json_object_object_get(o, key);

	return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

/* What a client sent, for a sentence: it may be any bytes, and the answer is JSON. */
static struct text_shown {
	char text[200];
} text_show(const char *s)
{
	struct text_shown shown;

	if (!s)
		s = "null";
	text_keep(shown.text, sizeof(shown.text), s, strlen(s));
	return shown;
}

/* By name, with or without SIG, or number. 0: there is none like this. */
static int signal_number(struct json_object *value)
{
	const char *name = json_object_get_string(value);
	int64_t n;

	if (!json_object_is_type(value, json_type_string) &&
	    !json_object_is_type(value, json_type_int))
		return 0;
	if (!parse_integer(name, &n))
		return n >= 1 && n < NSIG ? (int)n : 0;
	if (strncasecmp(name, "SIG", 3) == 0)
		name += 3;
	for (int signo = 1; signo < NSIG; signo++) {
		const char *abbrev = sigabbrev_np(signo);

		if (abbrev && strcasecmp(abbrev, name) == 0)
			return signo;
	}
	return 0;
}

/* ---- the resources ---- */

static void get_instance(struct control *c, const struct http_request *req)
{
	struct json_object *state = c->ops->state(c->ctx);
	struct json_object *o = json_object_new_object();
	const char *status = string_member(state, "status");
	const char *word = status && strcmp(status, "starting") == 0 ? "Not started" : "Running";

	json_object_object_add(o, "id", json_object_get(json_object_object_get(state, "name")));
	json_object_object_add(o, "state", json_object_new_string(c->paused ? "Paused" : word));
	json_object_object_add(o, "app_name", json_object_new_string("kvmbox"));
	json_object_object_add(o, "vmm_version", json_object_new_string(KVMBOX_VERSION));
	json_object_put(state);
	http_reply(c->http, req->id, 200, o);
}

static void get_version(struct control *c, const struct http_request *req)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "kvmbox_version", json_object_new_string(KVMBOX_VERSION));
	http_reply(c->http, req->id, 200, o);
}

static void get_state(struct control *c, const struct http_request *req)
{
	http_reply(c->http, req->id, 200, c->ops->state(c->ctx));
}

static void get_config(struct control *c, const struct http_request *req)
{
	http_reply(c->http, req->id, 200, c->ops->config(c->ctx));
}

static void patch_vm(struct control *c, const struct http_request *req)
{
	struct json_object *body = body_object(c, req);

	if (!body)
		return;
	const char *word = string_member(body, "state");
	bool pause = word && strcmp(word, "Paused") == 0;

	if (!pause && (!word || strcmp(word, "Resumed") != 0))
		http_fault(c->http, req->id, 400, "state must be \"Paused\" or \"Resumed\"");
	else if (pause == c->paused)
		http_fault(c->http, req->id, 400, "the VM is %s",
			   pause ? "paused already" : "not paused");
	else {
		waiter_add(c, pause ? WAIT_PAUSE : WAIT_RESUME, req->id);
		c->ops->pause(c->ctx, pause);
	}
	json_object_put(body);
}

static void put_actions(struct control *c, const struct http_request *req)
{
	struct json_object *body = body_object(c, req);

	if (!body)
		return;
	const char *type = string_member(body, "action_type");

	if (type && strcmp(type, "SendCtrlAltDel") == 0) {
		c->ops->stop(c->ctx, GRACE_MS);
		http_reply(c->http, req->id, 204, NULL);
	} else {
		http_fault(c->http, req->id, 400,
			   "action_type must be \"SendCtrlAltDel\": the VM runs since kvmbox boot");
	}
	json_object_put(body);
}

static void get_balloon(struct control *c, const struct http_request *req)
{
	struct json_object *o = c->ops->balloon(c->ctx);

	if (o)
		http_reply(c->http, req->id, 200, o);
	else
		http_fault(c->http, req->id, 400, "the VM has no balloon");
}

static void patch_balloon(struct control *c, const struct http_request *req)
{
	struct json_object *body = body_object(c, req);
	struct json_object *amount;
	struct error err;

	if (!body)
		return;
	if (!json_object_object_get_ex(body, "amount_mib", &amount) ||
	    !json_object_is_type(amount, json_type_int))
		http_fault(c->http, req->id, 400, "amount_mib must be a number of MiB");
	else if (c->ops->set_balloon(c->ctx, json_object_get_int64(amount), &err))
		http_fault(c->http, req->id, 400, "%s", err.text);
	else
		http_reply(c->http, req->id, 204, NULL);
	json_object_put(body);
}

/* Change what the last component of the path names. */
static void patch_part(struct control *c, const struct http_request *req,
		       int (*patch)(void *ctx, const char *id, struct json_object *body,
				    struct error *err))
{
	struct json_object *body = body_object(c, req);
	struct error err;

	if (!body)
		return;
	if (patch(c->ctx, strrchr(req->path, '/') + 1, body, &err))
		http_fault(c->http, req->id, 400, "%s", err.text);
	else
		http_reply(c->http, req->id, 204, NULL);
	json_object_put(body);
}

static void patch_drive(struct control *c, const struct http_request *req)
{
	patch_part(c, req, c->ops->patch_drive);
}

static void patch_net(struct control *c, const struct http_request *req)
{
	patch_part(c, req, c->ops->patch_net);
}

static void post_stop(struct control *c, const struct http_request *req)
{
	struct json_object *body = body_object(c, req);
	struct json_object *timeout;
	double ms = GRACE_MS;
	bool good = true;

	if (!body)
		return;
	if (json_object_object_get_ex(body, "timeout_s", &timeout)) {
		good = json_object_is_type(timeout, json_type_int) ||
		       json_object_is_type(timeout, json_type_double);
		ms = json_object_get_double(timeout) * 1000;
	}
	if (good && ms >= 0 && ms <= GRACE_MS_MAX) {
		c->ops->stop(c->ctx, (uint64_t)ms);
		http_reply(c->http, req->id, 204, NULL);
	} else {
		http_fault(c->http, req->id, 400, "timeout_s is a number from 0 to %d",
			   GRACE_MS_MAX / 1000);
	}
	json_object_put(body);
}

static void post_kill(struct control *c, const struct http_request *req)
{
	struct json_object *body = body_object(c, req);
	struct json_object *value;
	int signo = 0;

	if (!body)
		return;
	bool given = json_object_object_get_ex(body, "signal", &value);

	if (given)
		signo = signal_number(value);
	if (given && !signo)
		http_fault(c->http, req->id, 400, "there is no signal %s",
			   text_show(json_object_get_string(value)).text);
	else if (c->ops->kill(c->ctx, signo))
		http_fault(c->http, req->id, 503, "the workload does not run yet, or any more");
	else
		http_reply(c->http, req->id, 204, NULL);
	json_object_put(body);
}

static void get_wait(struct control *c, const struct http_request *req)
{
	waiter_add(c, WAIT_END, req->id);
}

static void get_logs(struct control *c, const struct http_request *req)
{
	enum control_log which = CONTROL_LOG_OUTPUT;
	char value[24];
	int64_t lines = -1;
	size_t len;

	if (query_value(req->query, "source", value, sizeof(value))) {
		if (strcmp(value, "console") == 0) {
			which = CONTROL_LOG_CONSOLE;
		} else if (strcmp(value, "output") != 0) {
			http_fault(c->http, req->id, 400, "source is output or console");
			return;
		}
	}
	if (query_value(req->query, "tail", value, sizeof(value)) &&
	    (parse_integer(value, &lines) || lines < 0)) {
		http_fault(c->http, req->id, 400, "tail is a number of lines");
		return;
	}
	if (!c->logs[which]) {
		http_fault(c->http, req->id, 400,
			   "a VM in the foreground has its output there, and no log of it");
		return;
	}
	AUTO_FREE char *text = logfile_read(c->logs[which], &len);

	if (!text) {
		http_fault(c->http, req->id, 503, "out of memory");
		return;
	}
	size_t from = lines < 0 ? 0 : logfile_tail(text, len, (unsigned long)lines);

	http_stream_begin(c->http, req->id);
	http_stream(c->http, req->id, text + from, len - from);
	if (query_value(req->query, "follow", value, sizeof(value)) && strcmp(value, "true") == 0)
		waiter_add(c, WAIT_LOG, req->id)->log = which;
	else
		http_stream_end(c->http, req->id);
}

static void get_stats(struct control *c, const struct http_request *req)
{
	waiter_add(c, WAIT_STATS, req->id);
	/* A guest that is paused would be waited for in vain. */
	if (c->paused)
		c->ops->get_stats(c->ctx, req->id);
	else
		calls_health(c->calls, req->id);
}

static void get_health(struct control *c, const struct http_request *req)
{
	calls_health(c->calls, req->id);
}

static void post_exec(struct control *c, const struct http_request *req)
{
	struct json_object *body = body_object(c, req);

	if (!body)
		return;
	calls_exec(c->calls, req->id, body);
	json_object_put(body);
}

/* Hand the client's socket over, once it speaks the agent's protocol. */
static void upgrade(struct control *c, const struct http_request *req,
		    int (*take)(void *ctx, int fd))
{
	if (!req->upgrade || strcmp(req->upgrade, AGENT_PROTOCOL) != 0) {
		http_fault(c->http, req->id, 400,
			   "this resource wants Connection: Upgrade and Upgrade: " AGENT_PROTOCOL);
		return;
	}
	/* Asked without a socket, it says whether it would take one. */
	int ret = take(c->ctx, -1);

	if (ret) {
		http_fault(c->http, req->id, ret == -ENOTSUP ? 400 : 503, "%s",
			   ret == -ENOTSUP  ? "the VM runs in the foreground: its workload is "
					      "attached to where it was started"
			   : ret == -ENOSPC ? "too many are attached to the VM"
					    : "the guest is not up yet, or not any more");
		return;
	}
	int fd = http_upgrade(c->http, req->id, AGENT_PROTOCOL);

	if (fd >= 0)
		take(c->ctx, fd);
}

static void get_agent(struct control *c, const struct http_request *req)
{
	upgrade(c, req, c->ops->dial);
}

static void get_attach(struct control *c, const struct http_request *req)
{
	upgrade(c, req, c->ops->attach);
}

/* Who is to listen for a resource to be of any use: nobody is asked in vain. */
enum listener { NOBODY, MONITOR, GUEST };

static const struct resource {
	const char *method, *path; /* with a slash at its end: those below it */
	void (*handle)(struct control *c, const struct http_request *req);
	enum listener asks;
} resources[] = {
	{ "GET", "/", get_instance, NOBODY },
	{ "GET", "/version", get_version, NOBODY },
	{ "GET", "/vm/config", get_config, NOBODY },
	{ "PATCH", "/vm", patch_vm, MONITOR },
	{ "PUT", "/actions", put_actions, NOBODY },
	{ "GET", "/state", get_state, NOBODY },
	{ "GET", "/stats", get_stats, MONITOR },
	{ "GET", "/health", get_health, GUEST },
	{ "GET", "/logs", get_logs, NOBODY },
	{ "GET", "/wait", get_wait, NOBODY },
	{ "POST", "/stop", post_stop, NOBODY },
	{ "POST", "/kill", post_kill, NOBODY },
	{ "POST", "/exec", post_exec, GUEST },
	{ "GET", "/agent", get_agent, GUEST },
	{ "GET", "/attach", get_attach, NOBODY },
	{ "GET", "/balloon", get_balloon, NOBODY },
	{ "PATCH", "/balloon", patch_balloon, MONITOR },
	{ "PATCH", "/drives/", patch_drive, MONITOR },
	{ "PATCH", "/network-interfaces/", patch_net, MONITOR },
};

static bool is_resource(const struct resource *r, const char *path)
{
	size_t len = strlen(r->path);

	if (len < 2 || r->path[len - 1] != '/')
		return strcmp(r->path, path) == 0;
	return strncmp(r->path, path, len) == 0 && path[len] && !strchr(path + len, '/');
}

static void answer(struct control *c, const struct http_request *req, const struct resource *r)
{
	if (r->asks != NOBODY && c->ops->is_stuck(c->ctx))
		http_fault(c->http, req->id, 503, "the VM's monitor does not answer");
	else if (r->asks == GUEST && c->paused)
		http_fault(c->http, req->id, 503, "the VM is paused");
	else
		r->handle(c, req);
}

static void handle_request(void *ctx, const struct http_request *req)
{
	struct control *c = ctx;
	bool known = false;

	for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]); i++) {
		const struct resource *r = &resources[i];

		if (!is_resource(r, req->path))
			continue;
		if (strcmp(r->method, req->method) == 0) {
			answer(c, req, r);
			return;
		}
		known = true;
	}
	if (known)
		http_fault(c->http, req->id, 405, "%s does not go with %s", req->method, req->path);
	else
		http_fault(c->http, req->id, 404, "there is no resource %s",
			   text_show(req->path).text);
}

/* ---- what the agent answers ---- */

static struct json_object *add_object(struct json_object *o, const char *key)
{
	struct json_object *member = json_object_new_object();

	json_object_object_add(o, key, member);
	return member;
}

static void add_number(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

static void health_came(void *ctx, uint64_t id, const struct kvmbox_health *health)
{
	struct control *c = ctx;
	struct waiter *w = waiter_find(c, WAIT_STATS, id);

	if (w) {
		w->have_health = health;
		if (health)
			w->health = *health;
		c->ops->get_stats(c->ctx, id);
		return;
	}
	if (!health) {
		http_fault(c->http, id, 503, "the guest's agent does not answer");
		return;
	}
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "boot_s", json_object_new_double((double)health->boot_ns / 1e9));
	add_number(o, "memory_total_bytes", health->memory_total);
	add_number(o, "memory_free_bytes", health->memory_free);
	add_number(o, "processes", health->processes);
	json_object_object_add(o, "load", json_object_new_double(health->load_hundredths / 100.0));
	http_reply(c->http, id, 200, o);
}

static void exec_ended(void *ctx, uint64_t id, struct json_object *answer, const char *fault)
{
	struct control *c = ctx;

	if (answer)
		http_reply(c->http, id, 200, answer);
	else
		http_fault(c->http, id, 400, "%s", fault);
}

static int calls_dial(void *ctx, int fd)
{
	struct control *c = ctx;

	return c->ops->dial(c->ctx, fd);
}

static bool calls_wanted(void *ctx, uint64_t id)
{
	struct control *c = ctx;

	return http_is_waiting(c->http, id);
}

static const struct calls_ops calls_ops = { calls_dial, calls_wanted, health_came, exec_ended };

void control_stats(struct control *c, uint64_t id, const struct vm_stats *stats)
{
	struct waiter *w = waiter_find(c, WAIT_STATS, id);
	struct timespec now;

	if (!w)
		return;
	w->wait = WAIT_NOTHING;

	struct json_object *o = json_object_new_object();
	struct json_object *memory = add_object(o, "memory");
	struct json_object *disk, *exits;

	clock_gettime(CLOCK_REALTIME, &now);
	json_object_object_add(
		o, "time_s",
		json_object_new_double((double)now.tv_sec + (double)now.tv_nsec / 1e9));
	if (w->have_health) {
		add_number(memory, "guest_total_bytes", w->health.memory_total);
		add_number(memory, "guest_free_bytes", w->health.memory_free);
	}
	if (stats->have_balloon) {
		add_number(memory, "balloon_target_bytes", stats->balloon_target);
		add_number(memory, "balloon_bytes", stats->balloon_actual);
		add_number(memory, "reported_bytes", stats->balloon_reported);
	}
	c->ops->usage(c->ctx, o);
	disk = add_object(o, "disk");
	add_number(disk, "read_bytes", stats->disk_read);
	add_number(disk, "written_bytes", stats->disk_written);
	exits = add_object(o, "exits");
	add_number(exits, "all", stats->exits);
	add_number(exits, "user", stats->user_exits);
	add_number(exits, "pio", stats->pio_exits);
	add_number(exits, "mmio", stats->mmio_exits);
	add_number(exits, "halt", stats->halts);
	add_number(o, "interrupts", stats->irqs);
	http_reply(c->http, id, 200, o);
}

/* ---- the rest ---- */

int control_fd(const struct control *c)
{
	return c->epoll_fd;
}

void control_run(struct control *c)
{
	calls_run(c->calls);
	http_server_run(c->http);
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, SOMAXCONN))
		return -errno;
	return steal_fd(&fd);
}

static int watch(const struct control *c, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN };

	return epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

int control_new(const char *path, const struct control_ops *ops, void *ctx,
		const struct logfile *const logs[CONTROL_LOGS], struct control **out)
{
	struct control *c = calloc(1, sizeof(*c));
	AUTO_CLOSE int fd = c ? listen_at(path) : -ENOMEM;
	int ret = fd < 0 ? fd : 0;

	if (!c)
		return ret;
	c->ops = ops;
	c->ctx = ctx;
	for (int i = 0; i < CONTROL_LOGS; i++)
		c->logs[i] = logs[i];
	c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!ret && c->epoll_fd < 0)
		ret = -errno;
	if (!ret)
		ret = http_server_new(fd, handle_request, c, &c->http);
	if (!ret)
		steal_fd(&fd);
	if (!ret)
		ret = calls_new(&calls_ops, c, &c->calls);
	if (!ret)
		ret = watch(c, http_server_fd(c->http));
	if (!ret)
		ret = watch(c, calls_fd(c->calls));
	if (ret) {
		control_free(c, NULL);
		return ret;
	}
	*out = c;
	return 0;
}

static struct json_object *end_of(struct json_object *state)
{
	static const char *const keys[] = { "exit_status", "reason", "error" };
	struct json_object *o = json_object_new_object();
	struct json_object *value;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (json_object_object_get_ex(state, keys[i], &value))
			json_object_object_add(o, keys[i], json_object_get(value));
	return o;
}

void control_free(struct control *c, struct json_object *state)
{
	if (!c)
		return;
	for (unsigned int i = 0; i < WAITERS_MAX; i++) {
		if (c->waiters[i].wait == WAIT_END && state)
			http_reply(c->http, c->waiters[i].id, 200, end_of(state));
		else if (c->waiters[i].wait == WAIT_LOG)
			http_stream_end(c->http, c->waiters[i].id);
	}
	calls_free(c->calls);
	http_server_free(c->http);
	if (c->epoll_fd >= 0)
		close(c->epoll_fd);
	free(c);
}
