// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/netport.h"

/*
 * A port over @fd, the stream socket of a running passt: frames with their length in four bytes
 * before each, big endian (what QEMU calls a stream netdev). Takes @fd on success; then *@out is
 * owned by the caller. Returns 0 or negative errno.
 */
int passt_port_new(int fd, struct netport **out);
