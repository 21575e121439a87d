// SPDX-License-Identifier: Apache-2.0
#include "supervisor/agent.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "supervisor/supervisor.h"

void agent_init(struct agent *a)
{
	memset(a, 0, sizeof(*a));
	a->fd = -1;
}

void agent_connect(struct agent *a, int fd)
{
	if (a->fd >= 0 || a->hello_ns)
		close(fd);
	else
		a->fd = fd;
}

void agent_close(struct agent *a)
{
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
}

static void handle_frame(struct agent *a, uint16_t type, const uint8_t *payload, size_t len)
{
	struct kvmbox_hello hello;

	switch (type) {
	case KVMBOX_FRAME_HELLO:
		if (len < sizeof(hello) || a->hello_ns)
			return;
		memcpy(&hello, payload, sizeof(hello));
		a->hello_ns = clock_now_ns();
		if (hello.version != KVMBOX_AGENT_VERSION)
			log_line("the guest's init speaks version %u of the agent protocol, this "
				 "kvmbox version %u: use the init.cpio that came with it",
				 hello.version, KVMBOX_AGENT_VERSION);
		break;
	case KVMBOX_FRAME_STARTED:
		if (!a->started_ns)
			a->started_ns = clock_now_ns();
		break;
	case KVMBOX_FRAME_EXIT:
		if (len < sizeof(a->exit) || a->exit_ns)
			return;
		memcpy(&a->exit, payload, sizeof(a->exit));
		a->exit_ns = clock_now_ns();
		break;
	case KVMBOX_FRAME_ERROR:
		text_keep(a->error, sizeof(a->error), payload, len);
		break;
	}
}

void agent_read(struct agent *a)
{
	struct kvmbox_frame frame;
	const uint8_t *payload;
	ssize_t n = frame_fill(&a->reader, a->fd);
	int ret = 0;

	if (n == -EAGAIN)
		return;
	while (n > 0 && (ret = frame_next(&a->reader, &frame, &payload)) > 0)
		handle_frame(a, frame.type, payload, frame.len);
	if (n <= 0 || ret < 0)
		agent_close(a);
}

static void send_frame(struct agent *a, uint16_t type, const void *payload, uint32_t len)
{
	struct kvmbox_frame frame = { .type = type, .len = len };
	uint8_t buf[sizeof(frame) + sizeof(struct kvmbox_winsize)];

	if (a->fd < 0)
		return;
	memcpy(buf, &frame, sizeof(frame));
	if (len)
		memcpy(buf + sizeof(frame), payload, len);
	ssize_t ret = send(a->fd, buf, sizeof(frame) + len, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)ret; /* a guest that does not read its control stream is ended when the grace is over
		    */
}

void agent_signal(struct agent *a, int signo)
{
	struct kvmbox_signal s = { .signo = (uint32_t)signo };

	send_frame(a, KVMBOX_FRAME_SIGNAL, &s, sizeof(s));
}

void agent_winsize(struct agent *a, uint32_t rows, uint32_t cols)
{
	struct kvmbox_winsize w = { .rows = rows, .cols = cols };

	send_frame(a, KVMBOX_FRAME_WINSIZE, &w, sizeof(w));
}

void agent_shutdown(struct agent *a)
{
	send_frame(a, KVMBOX_FRAME_SHUTDOWN, NULL, 0);
}

int agent_exit_status(const struct kvmbox_exit *e)
{
	switch (e->kind) {
	case KVMBOX_EXIT_EXITED:
		return (int)(e->value & 0xff);
	case KVMBOX_EXIT_SIGNALED:
		return 128 + (int)(e->value & 0x7f);
	default:
		return STATUS_ERROR;
	}
}
