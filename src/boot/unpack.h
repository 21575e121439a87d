// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>

/*
 * Unpack the gzip, xz, zstd or legacy lz4 stream at the start of @src into @dst, at most @max
 * bytes; which of them it is, its magic number says. What follows the stream is ignored, except for
 * lz4, whose stream has no end of its own: there it ends with @len. Memory use is bounded (256 MiB
 * for xz's dictionary). Sets *@out to the bytes written.
 *
 * Returns 0, -EPROTONOSUPPORT for another magic number, -EBADMSG for a damaged or incomplete
 * stream, -ENOSPC when @max bytes do not hold it, or -ENOMEM.
 */
int unpack(const void *src, size_t len, void *dst, size_t max, size_t *out);
