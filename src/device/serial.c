// SPDX-License-Identifier: Apache-2.0
/*
 * 16550A UART (National Semiconductor PC16550D), as much of it as an operating system uses: the
 * transmitter is always ready, since out_fd takes bytes at once or makes the vCPU wait; modem lines
 * are up; loopback mode works, because drivers probe with it.
 *
 * The interrupt line is edge-triggered (ISA): it is pulsed when the condition becomes true.
 */
#include "device/serial.h"

#include <errno.h>
#include <linux/serial_reg.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

static const uint64_t event_one = 1;

void serial_init(struct serial *s, int irq_fd, int out_fd, int room_fd)
{
	*s = (struct serial){
		.irq_fd = irq_fd,
		.out_fd = out_fd,
		.room_fd = room_fd,
		.divisor = { 1, 0 }, /* 115200 baud */
	};
	pthread_mutex_init(&s->lock, NULL);
}

void serial_deinit(struct serial *s)
{
	pthread_mutex_destroy(&s->lock);
}

static void signal_event(int fd)
{
	ssize_t ret = write(fd, &event_one, sizeof(event_one));

	(void)ret; /* fails only when the event is already pending */
}

/* The highest-priority interrupt that is pending, as IIR shows it. */
static uint8_t pending(const struct serial *s)
{
	if (s->ier & UART_IER_RDI && s->fifo_len)
		return UART_IIR_RDI;
	if (s->ier & UART_IER_THRI && s->thr_empty_pending)
		return UART_IIR_THRI;
	return UART_IIR_NO_INT;
}

static void update_irq(struct serial *s, bool again)
{
	bool high = pending(s) != UART_IIR_NO_INT;

	if (high && (!s->irq_high || again))
		signal_event(s->irq_fd);
	s->irq_high = high;
}

static void push_input(struct serial *s, uint8_t byte)
{
	if (s->fifo_len == SERIAL_FIFO)
		return;
	s->fifo[(s->fifo_head + s->fifo_len++) % SERIAL_FIFO] = byte;
}

static uint8_t pop_input(struct serial *s)
{
	if (!s->fifo_len)
		return 0;
	uint8_t byte = s->fifo[s->fifo_head];

	s->fifo_head = (s->fifo_head + 1) % SERIAL_FIFO;
	if (!--s->fifo_len)
		signal_event(s->room_fd);
	return byte;
}

static uint8_t read_msr(const struct serial *s)
{
	if (!(s->mcr & UART_MCR_LOOP))
		return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	return (uint8_t)((s->mcr & UART_MCR_RTS ? UART_MSR_CTS : 0) |
			 (s->mcr & UART_MCR_DTR ? UART_MSR_DSR : 0) |
			 (s->mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0) |
			 (s->mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0));
}

static uint8_t read_iir(struct serial *s)
{
	uint8_t id = pending(s);

	/* Reading it acknowledges the THR-empty interrupt, and only that. */
	if (id == UART_IIR_THRI)
		s->thr_empty_pending = false;
	return (uint8_t)(id | (s->fcr & UART_FCR_ENABLE_FIFO ? 0xc0 : 0));
}

uint8_t serial_read(struct serial *s, uint32_t off)
{
	uint8_t value = 0;

	pthread_mutex_lock(&s->lock);
	bool dlab = s->lcr & UART_LCR_DLAB;

	switch (off) {
	case UART_RX:
		value = dlab ? s->divisor[0] : pop_input(s);
		break;
	case UART_IER:
		value = dlab ? s->divisor[1] : s->ier;
		break;
	case UART_IIR:
		value = read_iir(s);
		break;
	case UART_LCR:
		value = s->lcr;
		break;
	case UART_MCR:
		value = s->mcr;
		break;
	case UART_LSR:
		value = (uint8_t)(UART_LSR_TEMT | UART_LSR_THRE | (s->fifo_len ? UART_LSR_DR : 0));
		break;
	case UART_MSR:
		value = read_msr(s);
		break;
	case UART_SCR:
		value = s->scr;
		break;
	}
	update_irq(s, false);
	pthread_mutex_unlock(&s->lock);
	return value;
}

/*
 * Outside of the lock: when whoever reads is slow, only the vCPU that prints waits. A signal (the
 * VM is ending) or a reader that is gone ends the wait, and the byte is lost.
 */
static void transmit(const struct serial *s, uint8_t byte)
{
	ssize_t ret = write(s->out_fd, &byte, 1);

	if (ret < 0 && errno == EAGAIN) {
		struct pollfd p = { .fd = s->out_fd, .events = POLLOUT };

		if (poll(&p, 1, -1) == 1)
			ret = write(s->out_fd, &byte, 1);
	}
	(void)ret;
}

void serial_write(struct serial *s, uint32_t off, uint8_t value)
{
	bool again = false, send = false;

	pthread_mutex_lock(&s->lock);
	bool dlab = s->lcr & UART_LCR_DLAB;

	switch (off) {
	case UART_TX:
		if (dlab) {
			s->divisor[0] = value;
			break;
		}
		if (s->mcr & UART_MCR_LOOP)
			push_input(s, value);
		else
			send = true;
		/* Sent in no time, so the register is empty anew, which is an edge of its own. */
		s->thr_empty_pending = true;
		again = s->ier & UART_IER_THRI;
		break;
	case UART_IER:
		if (dlab) {
			s->divisor[1] = value;
			break;
		}
		/* Enabling the interrupt while the register is empty raises it. */
		if (value & ~s->ier & UART_IER_THRI) {
			s->thr_empty_pending = true;
			again = true;
		}
		s->ier = value & 0x0f;
		break;
	case UART_FCR:
		s->fcr = value;
		if (value & UART_FCR_CLEAR_RCVR && s->fifo_len) {
			s->fifo_len = 0;
			signal_event(s->room_fd);
		}
		break;
	case UART_LCR:
		s->lcr = value;
		break;
	case UART_MCR:
		s->mcr = value & 0x1f;
		break;
	case UART_SCR:
		s->scr = value;
		break;
	}
	if (!send)
		update_irq(s, again);
	pthread_mutex_unlock(&s->lock);
	if (!send)
		return;
	transmit(s, value);
	pthread_mutex_lock(&s->lock);
	update_irq(s, again);
	pthread_mutex_unlock(&s->lock);
}

size_t serial_room(struct serial *s)
{
	pthread_mutex_lock(&s->lock);
	size_t room = SERIAL_FIFO - s->fifo_len;
	pthread_mutex_unlock(&s->lock);
	return room;
}

void serial_receive(struct serial *s, const uint8_t *data, size_t len)
{
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < len; i++)
		push_input(s, data[i]);
	update_irq(s, true);
	pthread_mutex_unlock(&s->lock);
}
