// SPDX-License-Identifier: Apache-2.0
#include "base/thread.h"

#define STACK_BYTES (128u << 10)

int thread_start(pthread_t *thread, void *(*fn)(void *ctx), void *ctx)
{
	pthread_attr_t attr;
	int ret = pthread_attr_init(&attr);

	if (ret)
		return -ret;
	ret = pthread_attr_setstacksize(&attr, STACK_BYTES);
	if (!ret)
		ret = pthread_create(thread, &attr, fn, ctx);
	pthread_attr_destroy(&attr);
	return -ret;
}
