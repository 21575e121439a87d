// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config.h"
#include "supervisor/netstate.h"

/*
 * The rules around a guest's tap (edgerules.h), and who of the guests may talk to whom: with NAT a
 * guest's table lets in those that are in its sets "allowed4" and "allowed6", on a tap it keeps out
 * those in its set "others". Each VM enters itself into the tables of those that were there before,
 * and is taken out when it ends, or as one of the dead by the next that starts.
 */

/*
 * Put rules around the tap of the card @net of @cfg, in a table of the name that *@state then has.
 * Returns 0; or negative errno with the sentence in @err and nothing left.
 */
int edge_open(struct netstate *state, const struct boot_config *cfg, const struct net_config *net,
	      const uint8_t mac[6], struct error *err);

/* Remove them. */
void edge_close(struct netstate *state);

/*
 * With netstate_lock(). Carry out @rules, which make the tables of *@own, together with what they
 * have to know of the other guests, and let those know of *@own. Returns 0, or negative errno with
 * the sentence.
 */
int edge_load(const struct netstate *own, const char *rules, struct error *err);

/*
 * With netstate_lock(). Remove the tables, and with NAT the tap, of *@card, and what the other
 * guests' tables have of it, and forget it. Where that fails, @failed and the reason are logged,
 * and it is left for the next start to remove. Nothing is done without a file.
 */
void edge_drop(struct netstate *card, const char *failed);

/* With netstate_lock(). edge_drop() for what dead VMs have left. */
void edge_remove_dead(void);
