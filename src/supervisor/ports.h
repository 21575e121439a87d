// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config.h"

/*
 * Take a published port of the host, so that nobody else answers there: a bound socket that listens
 * to nothing. Returns its descriptor, the caller's to close, or negative errno with the sentence in
 * @err (in use, no such address of this host, below 1024 and not root, ...).
 */
int port_hold(const struct publish_config *publish, struct error *err);
