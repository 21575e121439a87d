/* SPDX-License-Identifier: Apache-2.0 */
/* A sentence for the user about what went wrong, and the errno beside it. */
#ifndef KVMBOX_INIT_MESSAGE_H
#define KVMBOX_INIT_MESSAGE_H

struct message {
	char text[512];
};

/*
 * Writes the formatted text into *m (cut to fit), followed by ": " and the
 * description of err, a positive errno, unless that is 0. Returns -err, or
 * -EINVAL for 0, so that a failing function can return it.
 */
int message_set(struct message *m, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
