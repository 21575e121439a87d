// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * Words for sentences about what a user typed: the nearest known word, and foreign text made fit to
 * be shown on one line of a terminal.
 */

struct word_match {
	const char *word; /* the nearest known word so far, or NULL while none is near */
	unsigned int distance;
};

/*
 * Remember @known in *@match if @typed may well be a misspelling of it, and a likelier one than
 * what is there. Start with a zeroed match. @known must outlive it.
 */
void word_match_try(struct word_match *match, const char *typed, const char *known);

struct word_shown {
	char text[208];
};

/*
 * @s for use within a sentence: control characters as '?', and cut short with "..." when it is
 * longer than any sentence should be.
 */
struct word_shown word_show(const char *s);

/* @bytes for people: "512 bytes", "32 MiB", "7.8 GiB". */
struct word_shown word_show_size(unsigned long long bytes);

/* "; did you mean WORD?" or "", to stand at the end of a sentence. */
struct word_shown word_show_match(const struct word_match *match);
