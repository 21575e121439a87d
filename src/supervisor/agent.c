// SPDX-License-Identifier: Apache-2.0
#include "supervisor/agent.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

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

size_t agent_character(const uint8_t *text, size_t left)
{
	/* Less would be another form of a shorter one, or a C1 control character. */
	static const uint32_t least[] = { 0, 0, 0xa0, 0x800, 0x10000 };
	uint8_t lead = text[0];
	size_t len = lead < 0xc0 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf8 ? 4 : 0;

	if (lead >= 0x20 && lead < 0x7f)
		return 1;
	if (!len || len > left)
		return 0;
	uint32_t c = lead & (0x7fu >> len);

	for (size_t i = 1; i < len; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (text[i] & 0x3f);
	}
	bool surrogate = c >= 0xd800 && c <= 0xdfff;
	return c < least[len] || c > 0x10ffff || surrogate ? 0 : len;
}

void agent_text(char *out, size_t size, const uint8_t *text, size_t len)
{
	size_t n = 0, i = 0;

	while (i < len) {
		size_t good = agent_character(text + i, len - i);
		size_t take = good ? good : 1;

		if (n + take >= size)
			break;
		if (good)
			memcpy(out + n, text + i, good);
		else
			out[n] = text[i] < 0x80 ? ' ' : '?';
		n += take;
		i += take;
	}
	out[n] = '\0';
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
		agent_text(a->error, sizeof(a->error), payload, len);
		break;
	}
}

/* Returns false when the stream must end. */
static bool digest(struct agent *a)
{
	size_t pos = 0;

	while (a->len - pos >= sizeof(struct kvmbox_frame)) {
		struct kvmbox_frame frame;

		memcpy(&frame, a->buf + pos, sizeof(frame));
		if (frame.len > KVMBOX_FRAME_MAX)
			return false;
		if (a->len - pos < sizeof(frame) + frame.len)
			break;
		handle_frame(a, frame.type, a->buf + pos + sizeof(frame), frame.len);
		pos += sizeof(frame) + frame.len;
	}
	memmove(a->buf, a->buf + pos, a->len - pos);
	a->len -= pos;
	return true;
}

void agent_read(struct agent *a)
{
	ssize_t n = recv(a->fd, a->buf + a->len, sizeof(a->buf) - a->len, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		agent_close(a);
		return;
	}
	a->len += (size_t)n;
	if (!digest(a))
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
