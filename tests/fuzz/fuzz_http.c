// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes of clients at the control socket, cut anywhere. The first byte says into pieces of what
 * length they are cut; 0xff, which HTTP has no use for, ends a client and begins the next. What
 * must hold: the socket is always served, comes to rest, and answers with JSON where it says so.
 */
#include "supervisor/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "kvmbox/agent.h"
#include "supervisor/patch.h"

static char dir[] = "/tmp/kvmbox-fuzz-XXXXXX";
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static struct control *control;
static struct logfile logfile;
static int dir_fd;

/* What is there to be changed. */
static struct boot_config machine = {
	.ndisks = 2,
	.disks = { { .root = true }, { .id = "data" } },
	.nnets = 2,
	.nets = { { .mode = NET_NAT }, { .id = "out" } },
};

static bool is_stuck(void *ctx)
{
	(void)ctx;
	return false;
}

static void stop(void *ctx, uint64_t grace_ms)
{
	(void)ctx;
	if (grace_ms > 3600000)
		abort();
}

static int kill_workload(void *ctx, int signo)
{
	(void)ctx;
	if (signo < 0 || signo > 64)
		abort();
	return signo == 9 ? -1 : 0;
}

static void pause_vm(void *ctx, bool pause)
{
	(void)ctx;
	if (pause)
		control_paused(control);
	else
		control_resumed(control);
}

static void get_stats(void *ctx, uint64_t id)
{
	struct vm_stats stats = { .exits = UINT64_MAX };

	(void)ctx;
	control_stats(control, id, &stats);
}

/* An agent that says everything at once. */
static int dial(void *ctx, int fd)
{
	struct {
		struct kvmbox_frame health_frame;
		struct kvmbox_health health;
		struct kvmbox_frame data_frame;
		struct kvmbox_data data;
		char text[4];
		struct kvmbox_frame exit_frame;
		struct kvmbox_exit exit;
	} __attribute__((packed)) all = {
		.health_frame = { KVMBOX_FRAME_HEALTH, 0, sizeof(all.health) },
		.data_frame = { KVMBOX_FRAME_DATA, 0, sizeof(all.data) + sizeof(all.text) },
		.data = { KVMBOX_STREAM_OUT },
		.text = "a\xff\n",
		.exit_frame = { KVMBOX_FRAME_EXIT, 0, sizeof(all.exit) },
	};

	(void)ctx;
	if (fd >= 0) {
		if (send(fd, &all, sizeof(all), MSG_NOSIGNAL) != sizeof(all))
			abort();
		close(fd);
	}
	return 0;
}

static int attach(void *ctx, int fd)
{
	(void)ctx;
	if (fd >= 0)
		close(fd);
	return 0;
}

static struct json_object *make_object(void *ctx)
{
	struct json_object *o = json_object_new_object();

	(void)ctx;
	json_object_object_add(o, "name", json_object_new_string("fuzz"));
	json_object_object_add(o, "exit_status", json_object_new_int(0));
	return o;
}

static void usage(void *ctx, struct json_object *stats)
{
	(void)ctx;
	json_object_object_add(stats, "cpu_s", json_object_new_double(1));
}

static int set_balloon_to(void *ctx, int64_t mib, struct error *err)
{
	(void)ctx;
	return mib < 0 ? error_set(err, EINVAL, "%lld is out of range", (long long)mib) : 0;
}

static struct json_object *get_balloon(void *ctx)
{
	(void)ctx;
	return json_object_new_object();
}

static int change_drive(void *ctx, const char *id, struct json_object *body, struct error *err)
{
	struct message msg;

	(void)ctx;
	return patch_drive(&machine, id, body, &msg, err);
}

static int change_net(void *ctx, const char *id, struct json_object *body, struct error *err)
{
	struct message msg;

	(void)ctx;
	return patch_net(&machine, id, body, &msg, err);
}

static const struct control_ops ops = {
	.is_stuck = is_stuck,
	.stop = stop,
	.kill = kill_workload,
	.pause = pause_vm,
	.get_stats = get_stats,
	.dial = dial,
	.attach = attach,
	.state = make_object,
	.config = make_object,
	.usage = usage,
	.set_balloon = set_balloon_to,
	.balloon = get_balloon,
	.patch_drive = change_drive,
	.patch_net = change_net,
};

static void remove_dir(void)
{
	unlinkat(dir_fd, "output.log", 0);
	rmdir(dir);
}

static void make_dir(void)
{
	if (address.sun_path[0])
		return;
	if (!mkdtemp(dir))
		abort();
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/control.sock", dir);
	dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (logfile_open(&logfile, dir_fd, "output.log"))
		abort();
	logfile_write(&logfile, "a line\nanother\n", 15);
	atexit(remove_dir);
}

static void run(void)
{
	struct pollfd p = { .fd = control_fd(control), .events = POLLIN };

	for (int i = 0; poll(&p, 1, 0) == 1; i++) {
		if (i > 1000)
			abort();
		control_run(control);
	}
}

static int client_new(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		abort();
	run();
	return fd;
}

/* The JSON of an answer that came whole is JSON. */
static void check_answer(char *answer)
{
	char *body = strstr(answer, "\r\n\r\n");
	const char *length = strstr(answer, "Content-Length: ");
	const char *type = strstr(answer, "application/json");
	struct json_tokener *tok;
	struct json_object *o;

	if (!body || !length || length > body || !type || type > body)
		return;
	body += 4;
	size_t len = (size_t)atoi(length + 16);

	if (len > strlen(body))
		abort();
	tok = json_tokener_new();
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	o = json_tokener_parse_ex(tok, body, (int)len);
	if (!o || json_tokener_get_error(tok) != json_tokener_success)
		abort();
	json_object_put(o);
	json_tokener_free(tok);
}

static void hear(int fd)
{
	static char buf[1 << 16];
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT)) > 0) {
		buf[n] = '\0';
		check_answer(buf);
		run();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct logfile *logs[CONTROL_LOGS] = { &logfile, NULL };
	size_t part = size ? 1 + data[0] * 16u : 1;
	struct json_object *state;
	int fd;

	make_dir();
	if (control_new(address.sun_path, &ops, NULL, logs, &control))
		abort();
	fd = client_new();
	for (size_t at = 1, n; at < size; at += n) {
		const uint8_t *end = memchr(data + at, 0xff, size - at);

		n = end ? (size_t)(end - data) - at : size - at;
		if (!n) {
			close(fd);
			fd = client_new();
			n = 1;
			continue;
		}
		n = n < part ? n : part;
		if (send(fd, data + at, n, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
			run();
		hear(fd);
		control_logged(control, CONTROL_LOG_OUTPUT, "more\n", 5);
	}
	hear(fd);
	close(fd);
	run();
	state = make_object(NULL);
	control_free(control, state);
	json_object_put(state);
	unlink(address.sun_path);
	return 0;
}
