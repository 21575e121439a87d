// SPDX-License-Identifier: Apache-2.0
#include "base/fds.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

void fds_close_others(int *kept, size_t n)
{
	unsigned int next = 0;

	qsort(kept, n, sizeof(kept[0]), compare);
	for (size_t i = 0; i < n; i++) {
		if (kept[i] < 0)
			continue;
		if ((unsigned int)kept[i] > next)
			close_range(next, (unsigned int)kept[i] - 1, 0);
		next = (unsigned int)kept[i] + 1;
	}
	close_range(next, UINT_MAX, 0);
}
