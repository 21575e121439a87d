// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * Find a key that stands twice in one object of @text, a NUL-terminated JSON document that a strict
 * parser has accepted: such parsers keep the last value and drop the first without a word. Two
 * spellings of one key ("a" and "\u0061") pass for different. Returns the second key's opening
 * quote, or NULL where there is none or memory ran out.
 */
const char *json_find_duplicate(const char *text);
