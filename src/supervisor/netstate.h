// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/config.h"

/*
 * What stands on the host for the network cards of VMs, so that the next to come knows: a file for
 * each card in /run/kvmbox/net, named as the card's nftables tables. It is locked for as long as a
 * process lives that has its descriptor (the supervisor, and the monitor as its child): one that
 * can be locked is a dead VM's, and whatever is named so is to be removed.
 */
#define NETSTATE_TABLE_MAX 24 /* with the NUL */

struct netstate {
	char table[NETSTATE_TABLE_MAX];
	int fd;         /* holds the lock, and only reads, as the monitor has it; -1: no file */
	bool nat;       /* the interface is ours, too, and has the same name */
	uint64_t netns; /* in which all of it is */
	pid_t pid;      /* the supervisor's, since names are unique in one state directory only */
	char vm[CONFIG_NAME_MAX + 1];
	uint8_t mac[6];
	struct ip_addr ip4, ip6; /* the guest's, with nat; family 0: none */
	/* VMs that it may talk to; "*": all */
	char allow[CONFIG_ALLOWS_MAX][CONFIG_NAME_MAX + 1];
	size_t nallow;
};

/*
 * Whoever makes or removes any of this does it alone. Returns a descriptor, closing which ends
 * that, or negative errno with the sentence in @err.
 */
int netstate_lock(struct error *err);

/* Whether the name @table is taken. */
bool netstate_exists(const char *table);

/* Fill in *@s for a card of @cfg, without a table's name and a file. */
void netstate_init(struct netstate *s, const struct boot_config *cfg, const uint8_t mac[6]);

/* With netstate_lock(). Take the name s->table. Returns 0, or negative errno with the sentence. */
int netstate_take(struct netstate *s, struct error *err);

/* With netstate_lock(). Enter the rest of *@s. Returns 0, or negative errno with the sentence. */
int netstate_write(const struct netstate *s, struct error *err);

/*
 * With netstate_lock(). Those of other living VMs in this network namespace into *@list, to be
 * freed. Returns their number, or -ENOMEM.
 */
long netstate_others(const struct netstate *own, struct netstate **list);

/*
 * With netstate_lock(). Call @drop for each dead VM's card of this network namespace, to remove it
 * and then to forget it, or to leave it.
 */
void netstate_remove_dead(void (*drop)(struct netstate *dead));

/* With netstate_lock(). Forget *@s; what is named so has been removed. */
void netstate_forget(struct netstate *s);

/* Let go of the lock only: the file stays, for the next to remove it. */
void netstate_leave(struct netstate *s);

/* Whether both are cards of one VM. */
bool netstate_same_vm(const struct netstate *a, const struct netstate *b);

/* Whether the two VMs may talk to each other: one of them allows the other. */
bool netstate_allowed(const struct netstate *a, const struct netstate *b);

/*
 * A state file's text, and that text read into *@s, whose table is not touched. netstate_parse()
 * returns 0 or -EINVAL.
 */
char *netstate_text(const struct netstate *s);
int netstate_parse(struct netstate *s, const char *text);
