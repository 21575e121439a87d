// SPDX-License-Identifier: Apache-2.0
#include "base/read.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"

#define FIRST 4096u

int read_whole(int fd, size_t max, char **text, size_t *len)
{
	AUTO_FREE char *bytes = NULL;
	size_t n = 0, room = 0;
	ssize_t got;

	do {
		if (n == room) {
			room = room ? 2 * room : FIRST;
			if (room > max)
				room = max;
			char *grown = realloc(bytes, room + 1);

			if (!grown)
				return -ENOMEM;
			bytes = grown;
		}
		got = n < max ? read(fd, bytes + n, room - n) : 0;
		if (got < 0 && errno != EINTR)
			return -errno;
		n += got > 0 ? (size_t)got : 0;
	} while (got);
	bytes[n] = '\0';
	*text = steal_ptr(bytes);
	*len = n;
	return 0;
}
