// SPDX-License-Identifier: Apache-2.0
#include "lxc/report.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static bool is_same(const struct lxc_note *note, enum lxc_outcome outcome, const char *key,
		    const char *text)
{
	return note->outcome == outcome && note->key && key && strcmp(note->key, key) == 0 &&
	       strcmp(note->text, text) == 0;
}

/* Enter @note behind all that are of the same line or earlier ones. */
static int insert(struct lxc_report *report, const struct lxc_note *note)
{
	size_t at = report->n;

	if (report->n == LXC_NOTES_MAX)
		return -E2BIG;
	if (report->n % 64 == 0) {
		struct lxc_note *grown =
			reallocarray(report->notes, report->n + 64, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		report->notes = grown;
	}
	while (at > 0 && report->notes[at - 1].order > note->order)
		at--;
	memmove(&report->notes[at + 1], &report->notes[at], (report->n - at) * sizeof(*note));
	report->notes[at] = *note;
	report->n++;
	return 0;
}

int lxc_report_add(struct lxc_report *report, enum lxc_outcome outcome, const struct lxc_item *item,
		   const char *fmt, va_list ap)
{
	struct lxc_note note = { .outcome = outcome, .count = 1, .order = SIZE_MAX };
	AUTO_FREE char *text = NULL;
	AUTO_FREE char *file = item ? strdup(item->file) : NULL;
	AUTO_FREE char *key = item ? strdup(item->key) : NULL;
	int ret;

	if (vasprintf(&text, fmt, ap) < 0) {
		text = NULL;
		return -ENOMEM;
	}
	if (item && (!file || !key))
		return -ENOMEM;
	for (size_t i = 0; i < report->n; i++) {
		if (is_same(&report->notes[i], outcome, key, text)) {
			report->notes[i].count++;
			return 0;
		}
	}
	note.file = file;
	note.key = key;
	note.text = text;
	if (item) {
		note.line = item->line;
		note.order = item->order;
	}
	ret = insert(report, &note);
	if (ret == 0) {
		steal_ptr(file);
		steal_ptr(key);
		steal_ptr(text);
	}
	return ret;
}

size_t lxc_report_count(const struct lxc_report *report, enum lxc_outcome outcome)
{
	size_t n = 0;

	for (size_t i = 0; i < report->n; i++)
		n += report->notes[i].outcome == outcome;
	return n;
}

void lxc_report_deinit(struct lxc_report *report)
{
	for (size_t i = 0; i < report->n; i++) {
		free(report->notes[i].file);
		free(report->notes[i].key);
		free(report->notes[i].text);
	}
	free(report->notes);
	*report = (struct lxc_report){ 0 };
}
