/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the machine description (the properties in kvmbox/agent.h). */
#ifndef KVMBOX_INIT_DESCRIPTION_H
#define KVMBOX_INIT_DESCRIPTION_H

#include "init/message.h"

#include <stdbool.h>
#include <stdint.h>

#define DESCRIPTION_NETS_MAX 8

struct net_description {
	uint8_t mac[6];
	uint32_t mtu;     /* 0: not given */
	char **addresses; /* ADDRESS/PREFIX, ends in NULL, may hold none */
	char **gateways;  /* likewise */
};

struct description {
	char **argv;    /* at least one string, ends in NULL */
	char **env;     /* NAME=VALUE, ends in NULL, may hold none */
	char *cwd;      /* NULL: "/" */
	char *hostname; /* NULL: the kernel's default */
	bool init;      /* the command is a system's init */
	bool terminal;
	uint16_t rows; /* 0: not given */
	uint16_t cols;
	struct {
		char *device;
		char *fstype;
		bool read_only;
		bool overlay;
	} root;
	struct net_description nets[DESCRIPTION_NETS_MAX];
	unsigned int nnets;
	char **dns; /* ends in NULL, may hold none */
};

/*
 * Reads the description in the directory base into *d, which the caller frees
 * with description_deinit(). Returns 0; or a negative errno with a sentence in
 * *why, and then *d holds nothing.
 */
int description_init(struct description *d, const char *base, struct message *why);
void description_deinit(struct description *d);

#endif
