// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>

#include "boot/boot.h"
#include "boot/image.h"

/* Whether @img has a Linux setup header (Documentation/arch/x86/boot.rst) of whatever version. */
bool bzimage_probe(const struct image *img);

/*
 * Unpack the vmlinux inside the bzImage @img into memory; *@out then describes it, and its data is
 * the caller's to free. Returns 0, or negative errno with the sentence in @err.
 */
int bzimage_unpack(const struct guest_mem *mem, const struct image *img, struct image *out,
		   struct error *err);
