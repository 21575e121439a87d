// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/netport.h"

/*
 * Open the existing tap interface @name with @pairs queues (more than one needs a tap that was made
 * with IFF_MULTI_QUEUE). On success *@out is owned by the caller, freed with (*out)->ops->free().
 * Returns 0, or negative errno with the sentence in @err.
 */
int tap_open(const char *name, unsigned int pairs, struct netport **out, struct error *err);

/*
 * The same with a tap that is made for it, and goes when the last copy of its descriptors is
 * closed. -EBUSY: there is an interface @name.
 */
int tap_create(const char *name, unsigned int pairs, struct netport **out, struct error *err);
