// SPDX-License-Identifier: Apache-2.0
#include "device/i8042.h"

#include <criterion/criterion.h>

static struct i8042 k;

static int command(uint8_t value)
{
	return i8042_write(&k, I8042_STATUS_PORT, value);
}

static int data(uint8_t value)
{
	return i8042_write(&k, I8042_DATA_PORT, value);
}

static uint8_t status(void)
{
	return i8042_read(&k, I8042_STATUS_PORT);
}

static void expect_answer(uint8_t value)
{
	cr_assert(status() & 1, "there is an answer");
	cr_assert_eq(i8042_read(&k, I8042_DATA_PORT), value);
	cr_assert_not(status() & 1, "it was taken");
}

/* A status of 0 or 0xff makes kernels try again thousands of times. */
Test(i8042, at_rest)
{
	cr_assert_not(status() & 1, "no answer waits");
	cr_assert_not(status() & 2, "and commands are taken");
	cr_assert_neq(status(), 0);
}

Test(i8042, reset)
{
	cr_assert_eq(command(0xfe), 1);
}

Test(i8042, reset_by_the_output_port)
{
	cr_assert_eq(command(0xd1), 0);
	cr_assert_eq(data(0x03), 0, "the line is high");
	cr_assert_eq(command(0xd1), 0);
	cr_assert_eq(data(0x02), 1, "and low");
}

/* The operand belongs to the command that asked for it. */
Test(i8042, no_reset_by_other_data)
{
	for (int value = 0; value < 256; value++)
		cr_assert_eq(data((uint8_t)value), 0);
	cr_assert_eq(command(0xd1), 0);
	cr_assert_eq(command(0x20), 0);
	cr_assert_eq(data(0), 0);
	cr_assert_eq(command(0x60), 0);
	cr_assert_eq(data(0), 0);
}

Test(i8042, nothing_but_fe_resets)
{
	for (int value = 0; value < 256; value++)
		cr_assert_eq(command((uint8_t)value), value == 0xfe, "command %#x", value);
}

Test(i8042, probing)
{
	command(0xaa);
	expect_answer(0x55);
	command(0xab);
	cr_assert(status() & 1);
	cr_assert_neq(i8042_read(&k, I8042_DATA_PORT), 0, "no keyboard");
	command(0xa9);
	cr_assert_neq(i8042_read(&k, I8042_DATA_PORT), 0, "no mouse");
	command(0x60);
	data(0x47);
	cr_assert_not(status() & 1);
	command(0x20);
	expect_answer(0x47);
	/* To the keyboard, which is not there to acknowledge it. */
	data(0xf2);
	cr_assert_neq(i8042_read(&k, I8042_DATA_PORT), 0xfa);
}
