// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Bytes of the well-formed UTF-8 character that the @left bytes (1 or more) at @text begin with, or
 * 0. */
size_t text_utf8(const uint8_t *text, size_t left);

/* Bytes of the well-formed, printable UTF-8 character that the @left bytes at @text begin with, or
 * 0. */
size_t text_character(const uint8_t *text, size_t left);

/*
 * Make the @len foreign bytes at @text such that they cannot steer a terminal, in place: lines of
 * well-formed, printable UTF-8 stay, and all else becomes '?'.
 */
void text_disarm(uint8_t *text, size_t len);

/*
 * Write the @len foreign bytes at @bytes to @out, of @size bytes, as a string that cannot steer a
 * terminal: well-formed, printable UTF-8 stays, control characters become spaces and all else
 * becomes '?'. What does not fit is left out.
 */
void text_keep(char *out, size_t size, const void *bytes, size_t len);

/*
 * Print @text to @f, where a line has been begun and is at @column: broken at spaces, so that no
 * line but that of a longer word is over @width, and with all lines but the first put there, too.
 */
void text_print_wrapped(FILE *f, int column, int width, const char *text);

/* Whether @word is one of the words in @list, between which there is white space. */
bool text_has_word(const char *list, const char *word);
