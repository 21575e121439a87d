// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.h"

/*
 * Carry out @commands, in the language of nft(8), as one transaction: all of them or none. It is
 * done by libnftables in a process of its own, so that neither the supervisor nor the monitor
 * carries that library along. Returns 0, or negative errno with the sentence in @err.
 */
int nft_run(const char *commands, struct error *err);

/*
 * Likewise, and *@json is what they print, as libnftables-json(5) has it, for the caller to free.
 */
int nft_query(const char *commands, char **json, struct error *err);
