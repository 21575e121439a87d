// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "boot/boot.h"
#include "boot/image.h"

/*
 * Load the ELF64 x86-64 executable @img at the physical addresses it was linked for. All of its
 * headers are checked before the first byte of guest RAM is written.
 * Returns 0 with *@out filled in, or negative errno with the sentence in @err.
 */
int elf_load(const struct guest_mem *mem, const struct image *img, struct kernel_image *out,
	     struct error *err);
