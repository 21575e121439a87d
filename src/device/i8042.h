// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

/*
 * The corner of a PC's keyboard controller (ports 0x60 and 0x64) that kernels need: the reset line,
 * and enough answers for a driver to find out quickly that nothing is plugged in.
 */
#define I8042_DATA_PORT   0x60u
#define I8042_STATUS_PORT 0x64u

struct i8042 {
	uint8_t control; /* the command byte */
	uint8_t output;  /* answer waiting at the data port */
	uint8_t full;    /* whether there is one */
	uint8_t pending; /* command that takes its operand at the data port */
};

uint8_t i8042_read(struct i8042 *k, uint16_t port);

/* Returns 1 when the write pulls the reset line, else 0. */
int i8042_write(struct i8042 *k, uint16_t port, uint8_t value);
