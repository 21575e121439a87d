// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>

#include "boot/boot.h"
#include "config/config.h"

/*
 * The nameservers in @text, a file as resolv.conf(5) has it, as many as fit. Addresses with a zone
 * (fe80::1%eth0), which mean nothing to another machine, are left out.
 */
void resolv_parse(const char *text, struct ip_list *out);

/*
 * The DNS servers that the host uses. Where it asks one of its own (127.0.0.53), which no guest can
 * reach, those that systemd-resolved asks in turn; *@loopback is set if there is no more to be
 * known than a resolver on an address of 127.0.0.0/8, and its family is 0 otherwise.
 */
void resolv_read(struct ip_list *out, struct ip_addr *loopback);
