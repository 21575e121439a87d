// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TAIL_BYTES 16384

/*
 * The end of the guest's console, kept for the case that it has to tell why the guest failed.
 * Bounded, whatever the guest writes.
 */
struct tail {
	char buf[TAIL_BYTES];
	size_t pos;   /* where the next byte goes */
	size_t total; /* bytes in buf */
};

void tail_add(struct tail *t, const uint8_t *data, size_t len);

/* Print the last @lines lines to stderr, with nothing in them that could steer a terminal. */
void tail_print(const struct tail *t, unsigned int lines);

/* Copy the first line that contains @what, from there on, to @out; false where there is none. */
bool tail_find(const struct tail *t, const char *what, char *out, size_t size);
