// SPDX-License-Identifier: Apache-2.0
/* The ports of the PC that the machine has, and all that nobody answers. */
#include <linux/serial_reg.h>

#include "lib/payload.h"
#include "lib/virtio.h"

#define CMOS_INDEX   0x70
#define CMOS_DATA    0x71
#define I8042_DATA   0x60
#define I8042_STATUS 0x64
#define I8042_FULL   0x01
#define SERIAL_FIFO  64
#define NOBODYS_GPA  0xd0800000ull
#define UART(reg)    (SERIAL_PORT + (reg))

static void check_nobody(void)
{
	expect_eq("nobody.inb", inb(NOBODYS_PORT), 0xff);
	expect_eq("nobody.inw", inw(0x1234), 0xffff);
	expect_eq("nobody.inl", inl(0xcf8), 0xffffffff);
	expect_eq("nobody.last-port", inb(0xffff), 0xff);
	outb(NOBODYS_PORT, 1);
	outw(0x1234, 1);
	outl(0xcf8, 0x80000000);
	expect_eq("nobody.pci", inl(0xcfc), 0xffffffff);
	expect_eq("nobody.read8", read8(NOBODYS_GPA + 1), 0xff);
	expect_eq("nobody.read16", read16(NOBODYS_GPA + 3), 0xffff);
	expect_eq("nobody.read32", read32(NOBODYS_GPA), 0xffffffff);
	expect_eq("nobody.read64", read64(NOBODYS_GPA), ~0ull);
	write8(NOBODYS_GPA, 0);
	write64(NOBODYS_GPA, 0);
	expect_eq("nobody.written", read64(NOBODYS_GPA), ~0ull);
	/* Across two pages, of which neither, and then the second, is anything. */
	expect_eq("nobody.across", read32(NOBODYS_GPA + 0xffe), 0xffffffff);
	expect_eq("nobody.across-into", read32(DEVICE_BASE - 2) & 0xffff, 0xffff);
	/* Wider than the port, and past its end. */
	expect_eq("serial.inw", inw(UART(UART_SCR)), 0xffff);
	expect_eq("serial.inl", inl(UART(UART_MSR)), 0xffffffff);
}

static void check_serial_registers(void)
{
	outb(UART(UART_SCR), 0x5a);
	expect_eq("serial.scratch", inb(UART(UART_SCR)), 0x5a);
	expect_eq("serial.lsr", inb(UART(UART_LSR)), UART_LSR_TEMT | UART_LSR_THRE);
	expect_eq("serial.msr", inb(UART(UART_MSR)), UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
	expect_eq("serial.no-input", inb(UART(UART_RX)), 0);

	outb(UART(UART_LCR), UART_LCR_DLAB | UART_LCR_WLEN8);
	outb(UART(UART_DLL), 0x34);
	outb(UART(UART_DLM), 0x12);
	uint8_t low = inb(UART(UART_DLL)), high = inb(UART(UART_DLM));

	outb(UART(UART_LCR), UART_LCR_WLEN8);
	expect("serial.divisor", low == 0x34 && high == 0x12, "not what was written");
	expect_eq("serial.lcr", inb(UART(UART_LCR)), UART_LCR_WLEN8);
	outb(UART(UART_IER), 0xff);
	expect_eq("serial.ier", inb(UART(UART_IER)), 0x0f);
	outb(UART(UART_IER), 0);
}

/* With the transmitter's own output as the input; nothing of it may reach the console. */
static void check_serial_loopback(void)
{
	uint8_t lsr_before, lsr_after, got[4], msr, more, empty;

	outb(UART(UART_FCR), UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT);
	outb(UART(UART_MCR), UART_MCR_LOOP | UART_MCR_RTS | UART_MCR_OUT2);
	msr = inb(UART(UART_MSR));
	lsr_before = inb(UART(UART_LSR));
	for (uint8_t i = 0; i < 4; i++)
		outb(UART(UART_TX), (uint8_t)(0xa0 + i));
	lsr_after = inb(UART(UART_LSR));
	for (int i = 0; i < 4; i++)
		got[i] = inb(UART(UART_RX));
	empty = inb(UART(UART_LSR));

	/* Overfill; what does not fit is lost. */
	for (int i = 0; i < SERIAL_FIFO + 16; i++)
		outb(UART(UART_TX), (uint8_t)i);
	int held = 0;
	bool in_order = true;

	while (inb(UART(UART_LSR)) & UART_LSR_DR && held < 1000)
		in_order &= inb(UART(UART_RX)) == (uint8_t)held++;

	outb(UART(UART_TX), 1);
	outb(UART(UART_FCR), UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	more = inb(UART(UART_LSR));
	outb(UART(UART_MCR), 0);

	expect_eq("loopback.msr", msr, UART_MSR_CTS | UART_MSR_DCD);
	expect_eq("loopback.lsr-empty", lsr_before & UART_LSR_DR, 0);
	expect_eq("loopback.lsr-ready", lsr_after & UART_LSR_DR, UART_LSR_DR);
	expect("loopback.bytes",
	       got[0] == 0xa0 && got[1] == 0xa1 && got[2] == 0xa2 && got[3] == 0xa3,
	       "not those sent");
	expect_eq("loopback.lsr-taken", empty & UART_LSR_DR, 0);
	expect_eq("loopback.fifo", (unsigned int)held, SERIAL_FIFO);
	expect("loopback.order", in_order, "bytes out of order");
	expect_eq("loopback.clear", more & UART_LSR_DR, 0);
}

static uint8_t iir(void)
{
	return inb(UART(UART_IIR)) & UART_IIR_ID;
}

static void check_serial_interrupts(void)
{
	uint8_t none, thr, thr_again, rx, rx_again, after_rx, thr_after_write, fifo;

	outb(UART(UART_FCR), UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	fifo = inb(UART(UART_IIR)) & 0xc0;
	outb(UART(UART_MCR), UART_MCR_LOOP);
	outb(UART(UART_IER), 0);
	none = inb(UART(UART_IIR)) & 0x0f;
	outb(UART(UART_IER), UART_IER_THRI);
	thr = iir();
	thr_again = inb(UART(UART_IIR)) & 0x0f;
	outb(UART(UART_TX), 'a');
	thr_after_write = iir();
	/* Input comes first, and reading its identity does not take it. */
	outb(UART(UART_IER), UART_IER_THRI | UART_IER_RDI);
	rx = iir();
	rx_again = iir();
	inb(UART(UART_RX));
	outb(UART(UART_IER), UART_IER_RDI);
	after_rx = inb(UART(UART_IIR)) & 0x0f;
	outb(UART(UART_IER), 0);
	outb(UART(UART_MCR), 0);

	expect_eq("interrupt.fifo-bits", fifo, 0xc0);
	expect_eq("interrupt.none", none, UART_IIR_NO_INT);
	expect_eq("interrupt.thr", thr, UART_IIR_THRI);
	expect_eq("interrupt.thr-acknowledged", thr_again, UART_IIR_NO_INT);
	expect_eq("interrupt.thr-after-write", thr_after_write, UART_IIR_THRI);
	expect_eq("interrupt.rx", rx, UART_IIR_RDI);
	expect_eq("interrupt.rx-stays", rx_again, UART_IIR_RDI);
	expect_eq("interrupt.rx-taken", after_rx, UART_IIR_NO_INT);
}

static void check_i8042(void)
{
	uint8_t status = inb(I8042_STATUS);

	expect_eq("i8042.empty", status & I8042_FULL, 0);
	expect("i8042.input-empty", !(status & 0x02), "never ready for a command");
	outb(I8042_STATUS, 0xaa);
	expect_eq("i8042.full", inb(I8042_STATUS) & I8042_FULL, I8042_FULL);
	expect_eq("i8042.self-test", inb(I8042_DATA), 0x55);
	expect_eq("i8042.taken", inb(I8042_STATUS) & I8042_FULL, 0);
	outb(I8042_STATUS, 0xab);
	expect_eq("i8042.no-keyboard", inb(I8042_DATA), 0x01);
	outb(I8042_STATUS, 0x60);
	outb(I8042_DATA, 0x34);
	outb(I8042_STATUS, 0x20);
	expect_eq("i8042.control", inb(I8042_DATA), 0x34);
	outb(I8042_DATA, 0xff);
	expect_eq("i8042.resend", inb(I8042_DATA), 0xfe);
	/* The output port with the reset line high does not reset; nor does an unknown command. */
	outb(I8042_STATUS, 0xd1);
	outb(I8042_DATA, 0x03);
	outb(I8042_STATUS, 0x99);
	ok("i8042.alive");
}

static uint8_t cmos(uint8_t index)
{
	outb(CMOS_INDEX, index);
	return inb(CMOS_DATA);
}

static bool is_bcd(uint8_t v, uint8_t min, uint8_t max)
{
	return (v & 0x0f) <= 9 && v >= min && v <= max;
}

static void check_cmos(void)
{
	expect_eq("cmos.no-update", cmos(0x0a) & 0x80, 0);
	expect_eq("cmos.24-hour-bcd", cmos(0x0b) & 0x06, 0x02);
	expect_eq("cmos.battery", cmos(0x0d), 0x80);
	expect("cmos.second", is_bcd(cmos(0x00), 0, 0x60), "no BCD second");
	expect("cmos.minute", is_bcd(cmos(0x02), 0, 0x59), "no BCD minute");
	expect("cmos.hour", is_bcd(cmos(0x04), 0, 0x23), "no BCD hour");
	expect("cmos.day", is_bcd(cmos(0x07), 1, 0x31), "no BCD day");
	expect("cmos.month", is_bcd(cmos(0x08), 1, 0x12), "no BCD month");
	expect("cmos.century", is_bcd(cmos(0x32), 0x20, 0x21), "neither this century nor the next");
	expect_eq("cmos.nmi-bit", cmos(0x8d), 0x80);
	expect_eq("cmos.unknown", cmos(0x7f), 0);
}

void payload_main(void)
{
	check_nobody();
	check_serial_registers();
	check_serial_loopback();
	check_serial_interrupts();
	check_i8042();
	check_cmos();
}
