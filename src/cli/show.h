// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>

#include <json-c/json.h>

#include "control/state.h"

/* What commands print of VMs, made fit for a line of a terminal. */
struct shown {
	char text[128];
};

/* A length of time: "5 s", "12 min", "3 h", "9 d". */
struct shown show_age(double seconds);

/* How a VM is at @now (seconds since 1970): "running 5 min", "exited (7) 2 h ago", "died". */
struct shown show_status(const struct state *s, double now);

/* Of its configuration: the command ("" if the guest's own), CPUs, memory, published ports. */
struct shown show_command(const struct state *s);
struct shown show_cpus(const struct state *s);
struct shown show_memory(const struct state *s);
struct shown show_ports(const struct state *s);

/* The member of @o that a path such as "memory.guest_free_bytes" leads to, or NULL. */
struct json_object *show_find(struct json_object *o, const char *path);

/*
 * A table on standard output, of @ncolumns columns and rows of as many cells, below a @heading of
 * as many words; the columns are as wide as they must be.
 */
void show_table(const char *const *heading, const struct shown *cells, size_t ncolumns,
		size_t nrows);
