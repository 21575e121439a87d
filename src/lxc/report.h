// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdarg.h>
#include <stddef.h>

#include "lxc/items.h"

#define LXC_NOTES_MAX 8192

/* What the keys of a container's config became, for people and for programs. */

enum lxc_outcome {
	LXC_BECOMES,     /* something of the VM's */
	LXC_MEANINGLESS, /* behind the wall, that is, and the note says why */
	LXC_UNSUPPORTED, /* the note says what to do by hand */
	LXC_UNUSED,      /* by LXC as well: another line undoes it */
};

struct lxc_note {
	enum lxc_outcome outcome;
	char *file;        /* NULL: of the container as a whole */
	unsigned int line; /* of the first where @count are alike */
	unsigned int count;
	size_t order;
	char *key; /* or NULL */
	char *text;
};

/* In the order of the lines; notes of the container as a whole come last. */
struct lxc_report {
	struct lxc_note *notes;
	size_t n;
};

/*
 * Add a note of @item, or of the container as a whole where that is NULL; or count it in where
 * another line of the same key has the very same text. Returns 0, -ENOMEM, or -E2BIG when there are
 * LXC_NOTES_MAX.
 */
int lxc_report_add(struct lxc_report *report, enum lxc_outcome outcome, const struct lxc_item *item,
		   const char *fmt, va_list ap) __attribute__((format(printf, 4, 0)));

/* How many notes have @outcome. */
size_t lxc_report_count(const struct lxc_report *report, enum lxc_outcome outcome);

void lxc_report_deinit(struct lxc_report *report);
