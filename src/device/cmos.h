// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>
#include <time.h>

#define CMOS_INDEX_PORT 0x70u
#define CMOS_DATA_PORT  0x71u

/*
 * What CMOS register @index of an MC146818 real-time clock reads at UTC time @now. The clock is in
 * binary-coded decimal, 24-hour mode, never in an update cycle. Registers without a meaning read 0.
 */
uint8_t cmos_register(uint8_t index, time_t now);
