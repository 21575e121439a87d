// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * A failure that a person will read: one sentence that says what went wrong, where, and what would
 * be right. It is written once, at the place that knows those three things; everything below that
 * place returns a bare negative errno.
 */
struct error {
	char text[1024];
};

/*
 * Write the sentence of a failure (no full stop, no newline). @errnum is a positive errno.
 * Returns -@errnum, so that "return error_set(...)" both explains and fails.
 */
int error_set(struct error *err, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
