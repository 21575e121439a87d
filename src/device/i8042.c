// SPDX-License-Identifier: Apache-2.0
#include "device/i8042.h"

#define STATUS_OUTPUT_FULL 0x01u
#define STATUS_COMMAND     0x08u /* last write went to the command port */
#define STATUS_UNLOCKED    0x10u

#define CMD_READ_CONTROL  0x20
#define CMD_WRITE_CONTROL 0x60
#define CMD_TEST_AUX      0xa9
#define CMD_SELF_TEST     0xaa
#define CMD_TEST_KEYBOARD 0xab
#define CMD_WRITE_OUTPUT  0xd1
#define CMD_AUX_LOOP      0xd3
#define CMD_AUX_SEND      0xd4
#define CMD_RESET         0xfe

static void answer(struct i8042 *k, uint8_t value)
{
	k->output = value;
	k->full = 1;
}

uint8_t i8042_read(struct i8042 *k, uint16_t port)
{
	if (port == I8042_STATUS_PORT)
		return (uint8_t)(STATUS_UNLOCKED | STATUS_COMMAND |
				 (k->full ? STATUS_OUTPUT_FULL : 0));
	k->full = 0;
	return k->output;
}

static int command(struct i8042 *k, uint8_t value)
{
	k->pending = 0;
	switch (value) {
	case CMD_RESET:
		return 1;
	case CMD_READ_CONTROL:
		answer(k, k->control);
		break;
	case CMD_SELF_TEST:
		answer(k, 0x55); /* passed */
		break;
	case CMD_TEST_KEYBOARD:
	case CMD_TEST_AUX:
		answer(k, 0x01); /* clock line stuck: nothing is plugged in */
		break;
	case CMD_WRITE_CONTROL:
	case CMD_WRITE_OUTPUT:
	case CMD_AUX_LOOP:
	case CMD_AUX_SEND:
		k->pending = value;
		break;
	}
	return 0;
}

int i8042_write(struct i8042 *k, uint16_t port, uint8_t value)
{
	if (port == I8042_STATUS_PORT)
		return command(k, value);
	if (k->pending == CMD_WRITE_CONTROL)
		k->control = value;
	/* Bit 0 of the output port is the reset line, active low. */
	int reset = k->pending == CMD_WRITE_OUTPUT && !(value & 1);
	/* Anything else would go to the keyboard, which answers "resend": it is not there. */
	if (!k->pending)
		answer(k, 0xfe);
	k->pending = 0;
	return reset;
}
