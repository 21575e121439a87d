// SPDX-License-Identifier: Apache-2.0
#include "device/cmos.h"

#include <criterion/criterion.h>

static void expect_time(time_t now, const uint8_t regs[8])
{
	static const uint8_t index[] = { 0x00, 0x02, 0x04, 0x06, 0x07, 0x08, 0x09, 0x32 };

	for (size_t i = 0; i < sizeof(index); i++)
		cr_assert_eq(cmos_register(index[i], now), regs[i], "register %#x at %lld",
			     index[i], (long long)now);
}

/* Seconds, minutes, hours, day of the week (Sunday is 1), day, month, year, century. */
Test(cmos, times)
{
	expect_time(0, (uint8_t[]){ 0, 0, 0, 5, 0x01, 0x01, 0x70, 0x19 });
	expect_time(946684799, (uint8_t[]){ 0x59, 0x59, 0x23, 6, 0x31, 0x12, 0x99, 0x19 });
	expect_time(946684800, (uint8_t[]){ 0, 0, 0, 7, 0x01, 0x01, 0x00, 0x20 });
	expect_time(1709210096, (uint8_t[]){ 0x56, 0x34, 0x12, 5, 0x29, 0x02, 0x24, 0x20 });
	expect_time(4102444800, (uint8_t[]){ 0, 0, 0, 6, 0x01, 0x01, 0x00, 0x21 });
}

/* The time zone of the host is not the guest's business. */
Test(cmos, universal_time)
{
	setenv("TZ", "Asia/Kathmandu", 1);
	tzset();
	expect_time(0, (uint8_t[]){ 0, 0, 0, 5, 0x01, 0x01, 0x70, 0x19 });
}

Test(cmos, status)
{
	cr_assert_not(cmos_register(0x0a, 0) & 0x80, "no update in progress, ever");
	cr_assert_eq(cmos_register(0x0b, 0) & 0x06, 0x02, "24 hours, decimal");
	cr_assert(cmos_register(0x0d, 0) & 0x80, "the battery is good");
	for (int i = 0; i < 128; i++)
		cr_assert_eq(cmos_register((uint8_t)(i | 0x80), 86399),
			     cmos_register((uint8_t)i, 86399), "bit 7 is the NMI mask");
	cr_assert_eq(cmos_register(0x10, 0), 0);
	cr_assert_eq(cmos_register(0x7f, 0), 0);
}
