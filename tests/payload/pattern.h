// SPDX-License-Identifier: Apache-2.0
#pragma once

/* What the harness and its payloads know of each other's bytes. */

#include <stdint.h>

/* 32-bit word number @i of a disk as the harness makes it. */
static inline uint32_t pattern_disk(uint64_t i)
{
	return (uint32_t)i * 2654435761u + 12345u;
}

/* Word number @i of the block that a payload writes as its number @seed. */
static inline uint32_t pattern_block(uint32_t seed, uint32_t i)
{
	return 0xb0000000u + (seed << 12) + i;
}

#define PATTERN_STREAM_BYTES 65536u

/* Byte number @i of a long stream over the serial port. */
static inline uint8_t pattern_stream(uint32_t i)
{
	return (uint8_t)(i * 167u + (i >> 8) * 13u + 1u);
}
