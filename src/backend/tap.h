// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/netport.h"

/*
 * Open the existing tap interface @name with @pairs queues (more than one needs a tap that was made
 * with IFF_MULTI_QUEUE). On success *@out is owned by the caller, freed with (*out)->ops->free().
 * Returns 0, or negative errno with the sentence in @err.
 */
int tap_open(const char *name, unsigned int pairs, struct netport **out, struct error *err);
