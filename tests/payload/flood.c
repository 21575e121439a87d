// SPDX-License-Identifier: Apache-2.0
/* A long stream over the serial port, out ("out") or in and out again ("echo"). */
#include <linux/serial_reg.h>

#include "lib/payload.h"
#include "pattern.h"

#define UART(reg) ((uint16_t)(SERIAL_PORT + (reg)))
#define PART      1024u

static uint8_t chunk[PART];

static void send_bytes(uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++)
		outb(UART(UART_TX), pattern_stream(i));
}

/* As one instruction: several bytes may then come to the monitor in one exit. */
static void send_string(uint32_t from)
{
	const uint8_t *p = chunk;
	uint64_t n = PART;

	for (uint32_t i = 0; i < PART; i++)
		chunk[i] = pattern_stream(from + i);
	asm volatile("rep outsb" : "+S"(p), "+c"(n) : "d"(UART(UART_TX)) : "memory");
}

static void send_stream(void)
{
	send_bytes(0, PATTERN_STREAM_BYTES / 2);
	for (uint32_t i = PATTERN_STREAM_BYTES / 2; i < PATTERN_STREAM_BYTES; i += PART)
		send_string(i);
}

static void echo_stream(void)
{
	for (uint32_t i = 0; i < PATTERN_STREAM_BYTES; i++) {
		while (!(inb(UART(UART_LSR)) & UART_LSR_DR))
			;
		outb(UART(UART_TX), inb(UART(UART_RX)));
	}
}

void payload_main(void)
{
	outb(UART(UART_FCR), UART_FCR_ENABLE_FIFO);
	if (cmdline_has("out"))
		send_stream();
	if (cmdline_has("echo"))
		echo_stream();
	ok("flood");
}
