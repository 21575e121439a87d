// SPDX-License-Identifier: Apache-2.0
/*
 * The devices of a PC that are not virtio, and the bus: any accesses to the serial port, with input
 * coming in between, to the keyboard controller and to the clock, beside models of what they are to
 * do; and accesses of any width anywhere on a bus with ranges at its very ends.
 */
#include <fcntl.h>
#include <linux/serial_reg.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../unit/guest_driver.h"
#include "device/cmos.h"
#include "device/i8042.h"
#include "device/serial.h"
#include "input.h"
#include "vm/bus.h"

#define STEPS_MAX 4000

enum step {
	STEP_SERIAL_READ,
	STEP_SERIAL_WRITE,
	STEP_SERIAL_INPUT,
	STEP_SERIAL_STRAY,
	STEP_I8042_READ,
	STEP_I8042_WRITE,
	STEP_CMOS,
	STEP_BUS_READ,
	STEP_BUS_WRITE,
	STEP_COUNT,
};

/* The serial port, and what its registers and its buffer must be. */
static struct {
	struct serial s;
	int irq, room, out[2];
	uint8_t lcr, mcr, ier, scr, divisor[2];
	uint8_t fifo[SERIAL_FIFO];
	size_t held;
} uart;

static struct {
	struct i8042 k;
	bool to_output; /* the next data is for the port with the reset line */
	bool answer;
} keyboard;

/* ---- the serial port ---- */

static void serial_begin(void)
{
	serial_init(&uart.s, uart.irq, uart.out[1], uart.room);
	uart.lcr = uart.mcr = uart.ier = uart.scr = 0;
	uart.divisor[0] = 1;
	uart.divisor[1] = 0;
	uart.held = 0;
}

static bool take_event(int fd)
{
	uint64_t n;

	return read(fd, &n, sizeof(n)) == sizeof(n);
}

static void hold(uint8_t byte)
{
	if (uart.held < SERIAL_FIFO)
		uart.fifo[uart.held++] = byte;
}

static bool dlab(void)
{
	return uart.lcr & UART_LCR_DLAB;
}

static uint8_t take_held(void)
{
	uint8_t byte = uart.held ? uart.fifo[0] : 0;

	if (uart.held) {
		memmove(uart.fifo, uart.fifo + 1, --uart.held);
		guest_require(take_event(uart.room) == !uart.held);
	}
	return byte;
}

static void serial_read_one(uint32_t reg)
{
	uint8_t got = serial_read(&uart.s, reg);

	switch (reg) {
	case UART_RX:
		guest_require(got == (dlab() ? uart.divisor[0] : take_held()));
		break;
	case UART_IER:
		guest_require(got == (dlab() ? uart.divisor[1] : uart.ier));
		break;
	case UART_IIR:
		guest_require(((got & 0xf) == UART_IIR_RDI) ==
			      (uart.held && uart.ier & UART_IER_RDI));
		guest_require((got & 0xf) != UART_IIR_THRI || uart.ier & UART_IER_THRI);
		break;
	case UART_LCR:
		guest_require(got == uart.lcr);
		break;
	case UART_MCR:
		guest_require(got == uart.mcr);
		break;
	case UART_LSR:
		guest_require(got ==
			      (UART_LSR_TEMT | UART_LSR_THRE | (uart.held ? UART_LSR_DR : 0)));
		break;
	case UART_SCR:
		guest_require(got == uart.scr);
		break;
	}
}

/* A byte comes out, to the console or to the input, or none. */
static void expect_output(uint8_t byte)
{
	uint8_t got;
	bool out = !dlab() && !(uart.mcr & UART_MCR_LOOP);

	guest_require((read(uart.out[0], &got, 1) == 1) == out);
	guest_require(!out || got == byte);
	if (!dlab() && !out)
		hold(byte);
}

static void serial_write_one(uint32_t reg, uint8_t value)
{
	bool asked = uart.ier & UART_IER_THRI;

	take_event(uart.irq);
	serial_write(&uart.s, reg, value);
	if (dlab() && reg <= UART_IER)
		uart.divisor[reg] = value;
	switch (reg) {
	case UART_TX:
		/* Whoever waits for that must hear of it. */
		if (!dlab() && asked)
			guest_require(take_event(uart.irq));
		expect_output(value);
		return;
	case UART_IER:
		if (!dlab())
			uart.ier = value & 0x0f;
		break;
	case UART_FCR:
		if (value & UART_FCR_CLEAR_RCVR) {
			guest_require(take_event(uart.room) == (uart.held > 0));
			uart.held = 0;
		}
		break;
	case UART_LCR:
		uart.lcr = value;
		break;
	case UART_MCR:
		uart.mcr = value & 0x1f;
		break;
	case UART_SCR:
		uart.scr = value;
		break;
	}
	guest_require(read(uart.out[0], &value, 1) == -1);
}

static void serial_input(struct input *in, size_t len)
{
	uint8_t data[256];

	input_take(in, data, len);
	take_event(uart.irq);
	serial_receive(&uart.s, data, len);
	for (size_t i = 0; i < len; i++)
		hold(data[i]);
	if (uart.held && uart.ier & UART_IER_RDI)
		guest_require(take_event(uart.irq));
}

/* Past its registers there is nothing, and nothing comes of it. */
static void serial_stray(uint32_t reg, uint8_t value)
{
	if (reg < SERIAL_PORTS)
		return;
	guest_require(serial_read(&uart.s, reg) == 0);
	serial_write(&uart.s, reg, value);
	guest_require(read(uart.out[0], &value, 1) == -1);
}

/* ---- the keyboard controller and the clock ---- */

static void i8042_read_one(bool status)
{
	uint8_t got = i8042_read(&keyboard.k, status ? I8042_STATUS_PORT : I8042_DATA_PORT);

	if (status) {
		guest_require((got & 1) == keyboard.answer);
		guest_require(!(got & 2));
	} else {
		keyboard.answer = false;
	}
}

static void i8042_write_one(bool command, uint8_t value)
{
	int reset = i8042_write(&keyboard.k, command ? I8042_STATUS_PORT : I8042_DATA_PORT, value);
	bool line_low = command ? value == 0xfe : keyboard.to_output && !(value & 1);

	guest_require(reset == line_low);
	keyboard.to_output = command && value == 0xd1;
	keyboard.answer = keyboard.k.full;
}

static void cmos_read_one(uint8_t index, uint32_t now)
{
	uint8_t got = cmos_register(index, (time_t)now);

	if ((index & 0x7f) < 0x0a || (index & 0x7f) == 0x32)
		guest_require((got & 0xf) <= 9 && got >> 4 <= 9);
	guest_require((index & 0x7f) != 0x0a || !(got & 0x80));
}

/* ---- the bus ---- */

static const struct bus_range ranges[] = {
	{ .base = 0, .size = 1 },
	{ .base = 0x60, .size = 5 },
	{ .base = 0x3f8, .size = 8 },
	{ .base = 0xd0000000, .size = 0x1000 },
	{ .base = 0xd0001000, .size = 0x1000 },
	{ .base = UINT64_MAX - 15, .size = 16 },
};
#define RANGES (sizeof(ranges) / sizeof(ranges[0]))

static struct bus bus;
static unsigned int reached;

static void check_access(const void *ctx, uint64_t off, uint32_t len)
{
	const struct bus_range *r = ctx;

	guest_require(off < r->size && len <= r->size - off);
	reached++;
}

static void range_read(void *ctx, uint64_t off, void *data, uint32_t len)
{
	check_access(ctx, off, len);
	memset(data, 0, len);
}

static void range_write(void *ctx, uint64_t off, const void *data, uint32_t len)
{
	(void)data;
	check_access(ctx, off, len);
}

/* Near the edges of a range, mostly. */
static void bus_access(struct input *in, bool write)
{
	uint8_t which = input_u8(in);
	const struct bus_range *r = &ranges[which % RANGES];
	uint64_t addr = which & 0x80 ? input_u64(in) : r->base + input_u16(in) % 0x1010 - 8;
	uint32_t len = 1u << which / 16 % 4;
	uint8_t data[8] = { 0 };
	unsigned int before = reached;
	bool answered;

	if (write)
		answered = bus_write(&bus, addr, data, len);
	else
		answered = bus_read(&bus, addr, data, len);
	guest_require(answered == (reached == before + 1));
	for (uint32_t i = 0; !write && i < len; i++)
		guest_require(data[i] == (answered ? 0 : 0xff));
}

static void world_init(void)
{
	static const struct bus_ops ops = { range_read, range_write };

	uart.irq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	uart.room = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	guest_require(pipe2(uart.out, O_CLOEXEC | O_NONBLOCK) == 0);
	for (size_t i = 0; i < RANGES; i++)
		guest_require(bus_add(&bus, ranges[i].base, ranges[i].size, &ops,
				      (void *)(uintptr_t)&ranges[i]) == 0);
}

static void run_step(struct input *in)
{
	enum step step = input_u8(in) % STEP_COUNT;
	uint8_t arg = input_u8(in);

	switch (step) {
	case STEP_SERIAL_READ:
		serial_read_one(arg % SERIAL_PORTS);
		break;
	case STEP_SERIAL_WRITE:
		serial_write_one(arg % SERIAL_PORTS, input_u8(in));
		break;
	case STEP_SERIAL_INPUT:
		serial_input(in, arg);
		break;
	case STEP_SERIAL_STRAY:
		serial_stray(input_u32(in), arg);
		break;
	case STEP_I8042_READ:
		i8042_read_one(arg & 1);
		break;
	case STEP_I8042_WRITE:
		i8042_write_one(arg & 1, input_u8(in));
		break;
	case STEP_CMOS:
		cmos_read_one(arg, input_u32(in));
		break;
	default:
		bus_access(in, step == STEP_BUS_WRITE);
	}
	guest_require(serial_room(&uart.s) == SERIAL_FIFO - uart.held);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	if (!bus.nranges)
		world_init();
	serial_begin();
	memset(&keyboard, 0, sizeof(keyboard));
	for (int i = 0; i < STEPS_MAX && in.left; i++)
		run_step(&in);
	serial_deinit(&uart.s);
	take_event(uart.irq);
	take_event(uart.room);
	return 0;
}
