// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERIAL_PORT     0x3f8u
#define SERIAL_PORTS    8u
#define SERIAL_GSI      4u
#define SERIAL_CLOCK_HZ 1843200u /* so that divisor 1 is 115200 baud */
#define SERIAL_FIFO     64u      /* bytes of input held for the guest */

/*
 * A 16550A at the legacy COM1 address. Its registers are used by vCPU threads, its input comes from
 * the loop's; one lock covers it.
 */
struct serial {
	pthread_mutex_t lock;
	int irq_fd; /* pulses the interrupt line */
	int out_fd; /* where the guest's bytes go; a write may block, which stalls that vCPU only */
	int room_fd; /* eventfd, signalled when the guest has taken the last byte of input */
	uint8_t ier, lcr, mcr, scr, fcr;
	uint8_t divisor[2];
	bool thr_empty_pending; /* the THR-empty interrupt is due */
	bool irq_high;
	uint8_t fifo[SERIAL_FIFO];
	unsigned int fifo_head, fifo_len;
};

/* The descriptors stay the caller's. */
void serial_init(struct serial *s, int irq_fd, int out_fd, int room_fd);
void serial_deinit(struct serial *s);

/* Register accesses at @off (0 .. 7) from SERIAL_PORT; only byte accesses mean anything. */
uint8_t serial_read(struct serial *s, uint32_t off);
void serial_write(struct serial *s, uint32_t off, uint8_t value);

/* Bytes of input that serial_receive() would take now. */
size_t serial_room(struct serial *s);

/* Hand input to the guest; at most serial_room() bytes. */
void serial_receive(struct serial *s, const uint8_t *data, size_t len);
