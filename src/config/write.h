// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>

#include "config/config.h"

/*
 * @cfg as the JSON that config_parse_json() reads back to the same values, allocated and
 * NUL-terminated. What a config file has no key for (--json) is left out, as is all that is not
 * given. Returns NULL when memory ran out.
 */
char *config_to_json(const struct boot_config *cfg);

/*
 * The same, once config_parse_json() and config_finish() have accepted it, so that what is written
 * is sure to be taken by kvmbox boot --config. @path, for words only, is where it is to go. Returns
 * 0, and *@text is the caller's to free; or negative errno with a sentence.
 */
int config_to_checked_json(const struct boot_config *cfg, const char *path, char **text,
			   struct error *err);
