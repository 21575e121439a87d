// SPDX-License-Identifier: Apache-2.0
#include "device/serial.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/serial_reg.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct serial s;
static int irq, room, out[2];

static void setup(void)
{
	irq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	room = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	cr_assert_eq(pipe2(out, O_CLOEXEC | O_NONBLOCK), 0);
	serial_init(&s, irq, out[1], room);
}

static void teardown(void)
{
	serial_deinit(&s);
	close(irq);
	close(room);
	close(out[0]);
	close(out[1]);
}

TestSuite(serial, .init = setup, .fini = teardown, .timeout = 60);

static uint64_t take(int event)
{
	uint64_t n = 0;

	return read(event, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void expect_output(const char *text)
{
	char buf[256] = "";

	cr_assert_eq(read(out[0], buf, sizeof(buf)), (ssize_t)strlen(text));
	cr_assert_str_eq(buf, text);
}

Test(serial, output)
{
	for (const char *p = "hello\n"; *p; p++) {
		cr_assert_eq(serial_read(&s, UART_LSR), UART_LSR_TEMT | UART_LSR_THRE);
		serial_write(&s, UART_TX, (uint8_t)*p);
	}
	expect_output("hello\n");
	cr_assert_eq(take(irq), 0, "interrupts are off");
}

/* Without an edge for each byte, user space in the guest prints one and waits for ever. */
Test(serial, interrupt_when_the_transmitter_is_empty)
{
	serial_write(&s, UART_IER, UART_IER_THRI);
	cr_assert_eq(take(irq), 1, "it is empty already");
	cr_assert_eq(serial_read(&s, UART_IIR) & 0xf, UART_IIR_THRI);
	cr_assert_eq(serial_read(&s, UART_IIR) & 0xf, UART_IIR_NO_INT, "reading acknowledges it");
	for (int i = 0; i < 100; i++) {
		serial_write(&s, UART_TX, 'x');
		cr_assert_eq(take(irq), 1, "byte %d", i);
		cr_assert_eq(serial_read(&s, UART_IIR) & 0xf, UART_IIR_THRI);
	}
	/* Nobody acknowledged the one before: another edge all the same. */
	serial_write(&s, UART_TX, 'x');
	serial_write(&s, UART_TX, 'x');
	cr_assert_eq(take(irq), 2);
	serial_write(&s, UART_IER, 0);
	cr_assert_eq(serial_read(&s, UART_IIR) & 0xf, UART_IIR_NO_INT);
	take(irq);
	serial_write(&s, UART_TX, 'x');
	cr_assert_eq(take(irq), 0);
}

Test(serial, input)
{
	serial_write(&s, UART_IER, UART_IER_RDI);
	cr_assert_eq(take(irq), 0);
	serial_receive(&s, (const uint8_t *)"abc", 3);
	cr_assert_eq(take(irq), 1);
	cr_assert_eq(serial_read(&s, UART_IIR) & 0xf, UART_IIR_RDI);
	cr_assert_eq(serial_room(&s), SERIAL_FIFO - 3);
	for (const char *p = "abc"; *p; p++) {
		cr_assert(serial_read(&s, UART_LSR) & UART_LSR_DR);
		cr_assert_eq(take(room), 0);
		cr_assert_eq(serial_read(&s, UART_RX), (uint8_t)*p);
	}
	cr_assert_not(serial_read(&s, UART_LSR) & UART_LSR_DR);
	cr_assert_eq(take(room), 1, "there is room again");
	cr_assert_eq(serial_read(&s, UART_IIR) & 0xf, UART_IIR_NO_INT);
	cr_assert_eq(serial_read(&s, UART_RX), 0, "nothing is left");
	cr_assert_eq(take(room), 0);
	serial_receive(&s, (const uint8_t *)"d", 1);
	cr_assert_eq(take(irq), 1);
}

/* Input before the driver has come interrupts once it asks for that. */
Test(serial, early_input)
{
	serial_receive(&s, (const uint8_t *)"abc", 3);
	cr_assert_eq(take(irq), 0);
	serial_write(&s, UART_IER, UART_IER_RDI);
	cr_assert_eq(take(irq), 1);
}

/* Input has priority over the transmitter, whose interrupt is not lost for it. */
Test(serial, priorities)
{
	serial_write(&s, UART_IER, UART_IER_RDI | UART_IER_THRI);
	serial_receive(&s, (const uint8_t *)"a", 1);
	cr_assert_eq(serial_read(&s, UART_IIR) & 0xf, UART_IIR_RDI);
	cr_assert_eq(serial_read(&s, UART_IIR) & 0xf, UART_IIR_RDI);
	serial_read(&s, UART_RX);
	cr_assert_eq(serial_read(&s, UART_IIR) & 0xf, UART_IIR_THRI);
	cr_assert_eq(serial_read(&s, UART_IIR) & 0xf, UART_IIR_NO_INT);
}

/* A flood in: what there is no room for is dropped, nothing is overwritten. */
Test(serial, input_flood)
{
	uint8_t flood[1000];

	for (size_t i = 0; i < sizeof(flood); i++)
		flood[i] = (uint8_t)i;
	for (int round = 0; round < 3; round++) {
		serial_receive(&s, flood, sizeof(flood));
		cr_assert_eq(serial_room(&s), 0);
		serial_receive(&s, flood, 1);
		for (size_t i = 0; i < SERIAL_FIFO; i++)
			cr_assert_eq(serial_read(&s, UART_RX), i);
		cr_assert_eq(serial_room(&s), SERIAL_FIFO);
		/* Begin in the middle of the buffer the next time. */
		serial_receive(&s, flood, 7);
		for (size_t i = 0; i < 7; i++)
			serial_read(&s, UART_RX);
	}
}

/* Drivers empty the buffer to start anew. */
Test(serial, clearing_the_fifo)
{
	serial_receive(&s, (const uint8_t *)"abc", 3);
	serial_write(&s, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	cr_assert_eq(serial_room(&s), SERIAL_FIFO);
	cr_assert_eq(take(room), 1);
	cr_assert_not(serial_read(&s, UART_LSR) & UART_LSR_DR);
	cr_assert_eq(serial_read(&s, UART_IIR) & 0xc0, 0xc0, "a 16550A with its FIFO on");
	serial_write(&s, UART_FCR, UART_FCR_CLEAR_RCVR);
	cr_assert_eq(take(room), 0, "it was empty");
	cr_assert_eq(serial_read(&s, UART_IIR) & 0xc0, 0);
}

/* How drivers find out that there is a 16550A. */
Test(serial, probing)
{
	serial_write(&s, UART_SCR, 0xa5);
	cr_assert_eq(serial_read(&s, UART_SCR), 0xa5);
	serial_write(&s, UART_IER, 0xff);
	cr_assert_eq(serial_read(&s, UART_IER), 0x0f);
	serial_write(&s, UART_IER, 0);
	serial_write(&s, UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	cr_assert_eq(serial_read(&s, UART_DLL), 1, "115200 baud");
	serial_write(&s, UART_DLL, 0x0c);
	serial_write(&s, UART_DLM, 0x34);
	cr_assert_eq(serial_read(&s, UART_DLL), 0x0c);
	cr_assert_eq(serial_read(&s, UART_DLM), 0x34);
	serial_write(&s, UART_LCR, UART_LCR_WLEN8);
	cr_assert_eq(serial_read(&s, UART_LCR), UART_LCR_WLEN8);
	cr_assert_eq(serial_read(&s, UART_IER), 0, "the divisor was another register");
	cr_assert_eq(read(out[0], (char[1]){ 0 }, 1), -1, "and not output");
	cr_assert_eq(serial_read(&s, UART_MSR), UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
}

Test(serial, loopback)
{
	serial_write(&s, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	cr_assert_eq(serial_read(&s, UART_MSR), UART_MSR_DCD | UART_MSR_CTS);
	serial_write(&s, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1 | UART_MCR_DTR);
	cr_assert_eq(serial_read(&s, UART_MSR), UART_MSR_RI | UART_MSR_DSR);
	serial_write(&s, UART_TX, 'x');
	cr_assert_eq(read(out[0], (char[1]){ 0 }, 1), -1, "nothing goes out");
	cr_assert_eq(serial_read(&s, UART_RX), 'x');
	for (int i = 0; i < 1000; i++)
		serial_write(&s, UART_TX, 'y');
	cr_assert_eq(serial_room(&s), 0);
	serial_write(&s, UART_MCR, 0xff);
	cr_assert_eq(serial_read(&s, UART_MCR), 0x1f);
}

/* Offsets past the last register and registers that cannot be written: nothing happens. */
Test(serial, strays)
{
	serial_write(&s, UART_LSR, 0xff);
	serial_write(&s, UART_MSR, 0xff);
	serial_write(&s, 8, 0xff);
	serial_write(&s, UINT32_MAX, 0xff);
	cr_assert_eq(serial_read(&s, UART_LSR), UART_LSR_TEMT | UART_LSR_THRE);
	cr_assert_eq(serial_read(&s, 8), 0);
	cr_assert_eq(serial_read(&s, UINT32_MAX), 0);
}

static void *write_one(void *arg)
{
	(void)arg;
	serial_write(&s, UART_TX, '!');
	return NULL;
}

/* A reader that is slow stalls the vCPU that prints, and nobody else. */
Test(serial, output_flood)
{
	char fill[4096];
	pthread_t vcpu;
	size_t filled = 0;
	ssize_t n;

	memset(fill, '.', sizeof(fill));
	while ((n = write(out[1], fill, sizeof(fill))) > 0)
		filled += (size_t)n;
	cr_assert_eq(pthread_create(&vcpu, NULL, write_one, NULL), 0);
	for (int i = 0; i < 100; i++) {
		serial_receive(&s, (const uint8_t *)"a", 1);
		cr_assert_eq(serial_read(&s, UART_RX), 'a');
	}
	while (filled && (n = read(out[0], fill, sizeof(fill))) > 0)
		filled -= (size_t)n < filled ? (size_t)n : filled;
	pthread_join(vcpu, NULL);
	while (read(out[0], fill, 1) != 1)
		;
	cr_assert_eq(fill[0], '!', "it was not lost");
}

/* Nobody reads any more: the guest goes on. */
Test(serial, reader_gone)
{
	signal(SIGPIPE, SIG_IGN);
	close(out[0]);
	serial_write(&s, UART_IER, UART_IER_THRI);
	for (int i = 0; i < 100; i++)
		serial_write(&s, UART_TX, 'x');
	cr_assert_eq(take(irq), 101);
}
