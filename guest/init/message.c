// SPDX-License-Identifier: Apache-2.0
#include "init/message.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int message_set(struct message *m, int err, const char *fmt, ...)
{
	size_t len;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(m->text, sizeof(m->text), fmt, ap);
	va_end(ap);
	if (!err)
		return -EINVAL;
	len = strlen(m->text);
	snprintf(m->text + len, sizeof(m->text) - len, ": %s", strerror(err));
	return -err;
}
