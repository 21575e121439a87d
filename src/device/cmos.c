// SPDX-License-Identifier: Apache-2.0
#include "device/cmos.h"

enum {
	CMOS_SECONDS = 0x00,
	CMOS_MINUTES = 0x02,
	CMOS_HOURS = 0x04,
	CMOS_WEEKDAY = 0x06,
	CMOS_DAY = 0x07,
	CMOS_MONTH = 0x08,
	CMOS_YEAR = 0x09,
	CMOS_STATUS_A = 0x0a,
	CMOS_STATUS_B = 0x0b,
	CMOS_STATUS_D = 0x0d,
	CMOS_CENTURY = 0x32,
};

static uint8_t bcd(int v)
{
	return (uint8_t)((v / 10 % 10) << 4 | v % 10);
}

uint8_t cmos_register(uint8_t index, time_t now)
{
	struct tm tm;

	gmtime_r(&now, &tm);
	switch (index & 0x7f) {
	case CMOS_SECONDS:
		return bcd(tm.tm_sec);
	case CMOS_MINUTES:
		return bcd(tm.tm_min);
	case CMOS_HOURS:
		return bcd(tm.tm_hour);
	case CMOS_WEEKDAY:
		return bcd(tm.tm_wday + 1);
	case CMOS_DAY:
		return bcd(tm.tm_mday);
	case CMOS_MONTH:
		return bcd(tm.tm_mon + 1);
	case CMOS_YEAR:
		return bcd(tm.tm_year % 100);
	case CMOS_CENTURY:
		return bcd(19 + tm.tm_year / 100);
	case CMOS_STATUS_A:
		return 0x26; /* 32.768 kHz base, no update in progress */
	case CMOS_STATUS_B:
		return 0x02; /* 24-hour mode */
	case CMOS_STATUS_D:
		return 0x80; /* the battery is good */
	default:
		return 0;
	}
}
