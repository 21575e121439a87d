// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <sys/types.h>

#include "config/config.h"
#include "jail/jail.h"
#include "supervisor/net.h"

/* What state.json tells of a VM (control/state.h). */
struct record {
	const struct boot_config *cfg;
	const struct nets *nets;
	const char *directory; /* where it was started, before it detaches; NULL: not known */
	const char *status;
	pid_t monitor; /* 0: there is none yet */
	bool terminal;
	const struct jail *jail; /* the monitor's; NULL: none, or not yet */
	bool running;            /* and what that lacks is known */
	/* seconds since 1970; 0: not yet */
	double created, started, finished;
	/* once it has finished */
	int exit_status;
	const char *reason;
	const char *error; /* a sentence, or "" */
};

/* The object; the caller's. */
struct json_object *record_state(const struct record *r);

/* As kvmbox boot --config takes it; the caller's. */
struct json_object *record_config(const struct record *r);

/* This moment, in seconds since 1970. */
double record_now(void);
