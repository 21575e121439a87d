// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A file to be loaded, or what was unpacked from one: bytes that can be read at an offset. */
struct image {
	const char *path;    /* for words only */
	int fd;              /* borrowed; not used where @data is set */
	const uint8_t *data; /* borrowed; NULL: the bytes are read from @fd */
	uint64_t size;
};

/*
 * Take the regular file @fd as an image; @what ("a kernel") completes the sentence where it is
 * none. Returns 0, or negative errno with the sentence in @err.
 */
int image_open(struct image *img, int fd, const char *path, const char *what, struct error *err);

/*
 * Copy the @len bytes at @off to @dst. Returns 0, -ENODATA where the image ends before (also when
 * the file has shrunk since it was opened), or the negative errno of the read; @dst is then
 * undefined.
 */
int image_read(const struct image *img, uint64_t off, void *dst, uint64_t len);

/* The same into memory that is zero already, so that holes in the file need no copy. */
int image_load(const struct image *img, uint64_t off, void *dst, uint64_t len);

/* The sentence of a failed image_read(). Returns @ret. */
int image_read_error(const struct image *img, int ret, struct error *err);

/* A size or address as a person reads it: "18.2 MiB". The text lives as long as the expression. */
struct size_text {
	char text[24];
};
struct size_text size_format(uint64_t bytes);
#define SIZE_TEXT(bytes) (size_format(bytes).text)
