// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The user's terminal on standard input, lent to the guest: raw while the VM runs, and put back
 * however kvmbox ends (a kill -9 of kvmbox itself excepted).
 */

/* Whether standard input and output are both a terminal. */
bool terminal_present(void);

/* Enter raw mode, remembering the state for terminal_restore() and exit(). 0 or negative errno. */
int terminal_make_raw(void);

/* Put the terminal back; harmless when it was not changed. */
void terminal_restore(void);

/* Size in characters; false where it is unknown. */
bool terminal_size(uint32_t *rows, uint32_t *cols);

/*
 * The way out of a guest that does not answer: Ctrl-] three times within a second. Feed it what was
 * typed; returns true when that was it. @now_ns is CLOCK_MONOTONIC.
 */
struct terminal_escape {
	unsigned int count;
	uint64_t first_ns;
};
bool terminal_escaped(struct terminal_escape *e, const uint8_t *typed, size_t len, uint64_t now_ns);
