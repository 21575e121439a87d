// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>

/* Close every descriptor of the process but the @n in @kept, which is put in order. */
void fds_close_others(int *kept, size_t n);
