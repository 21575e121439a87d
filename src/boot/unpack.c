// SPDX-License-Identifier: Apache-2.0
#include "boot/unpack.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <lz4.h>
#include <lzma.h>
#include <stdint.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

/* A kernel's dictionary is 32 MiB, or 128 MiB since Linux 6.12. */
#define XZ_MEMORY_MAX (256ull << 20)

#define LZ4_LEGACY_MAGIC 0x184c2102u
#define LZ4_LEGACY_BLOCK (8u << 20) /* what each block but the last unpacks to */

static int unpack_gzip(const uint8_t *src, size_t len, uint8_t *dst, size_t max, size_t *out)
{
	z_stream z = {
		.next_in = (uint8_t *)src,
		.avail_in = (uInt)(len < UINT_MAX ? len : UINT_MAX),
		.next_out = dst,
		.avail_out = (uInt)(max < UINT_MAX ? max : UINT_MAX),
	};

	if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
		return -ENOMEM;
	int ret = inflate(&z, Z_FINISH);

	*out = z.total_out;
	inflateEnd(&z);
	if (ret == Z_STREAM_END)
		return 0;
	if (ret == Z_MEM_ERROR)
		return -ENOMEM;
	return ret == Z_BUF_ERROR && z.avail_out == 0 ? -ENOSPC : -EBADMSG;
}

static int unpack_xz(const uint8_t *src, size_t len, uint8_t *dst, size_t max, size_t *out)
{
	uint64_t memlimit = XZ_MEMORY_MAX;
	size_t in_pos = 0, out_pos = 0;

	switch (lzma_stream_buffer_decode(&memlimit, 0, NULL, src, &in_pos, len, dst, &out_pos,
					  max)) {
	case LZMA_OK:
		*out = out_pos;
		return 0;
	case LZMA_BUF_ERROR:
		return -ENOSPC;
	case LZMA_MEM_ERROR:
	case LZMA_MEMLIMIT_ERROR:
		return -ENOMEM;
	default:
		return -EBADMSG;
	}
}

static int unpack_zstd(const uint8_t *src, size_t len, uint8_t *dst, size_t max, size_t *out)
{
	size_t frame = ZSTD_findFrameCompressedSize(src, len);

	if (ZSTD_isError(frame))
		return -EBADMSG;
	size_t n = ZSTD_decompress(dst, max, src, frame);

	if (!ZSTD_isError(n)) {
		*out = n;
		return 0;
	}
	switch (ZSTD_getErrorCode(n)) {
	case ZSTD_error_dstSize_tooSmall:
		return -ENOSPC;
	case ZSTD_error_memory_allocation:
		return -ENOMEM;
	default:
		return -EBADMSG;
	}
}

static int unpack_lz4(const uint8_t *src, size_t len, uint8_t *dst, size_t max, size_t *out)
{
	size_t in_pos = 0, out_pos = 0;

	while (in_pos < len) {
		uint32_t block;

		if (len - in_pos < sizeof(block))
			return -EBADMSG;
		memcpy(&block, src + in_pos, sizeof(block));
		block = le32toh(block);
		in_pos += sizeof(block);
		if (block == LZ4_LEGACY_MAGIC) /* archives may be concatenated */
			continue;
		if (block == 0 || block > (uint32_t)LZ4_compressBound(LZ4_LEGACY_BLOCK) ||
		    block > len - in_pos)
			return -EBADMSG;

		size_t room = max - out_pos;
		int n = LZ4_decompress_safe(
			(const char *)src + in_pos, (char *)dst + out_pos, (int)block,
			(int)(room < LZ4_LEGACY_BLOCK ? room : LZ4_LEGACY_BLOCK));

		/* The library does not tell a damaged block from one that is too large. */
		if (n < 0)
			return room < LZ4_LEGACY_BLOCK ? -ENOSPC : -EBADMSG;
		in_pos += block;
		out_pos += (size_t)n;
	}
	*out = out_pos;
	return 0;
}

static const struct unpacker {
	const char *magic;
	size_t magic_len;
	int (*unpack)(const uint8_t *src, size_t len, uint8_t *dst, size_t max, size_t *out);
} unpackers[] = {
	{ "\x1f\x8b", 2, unpack_gzip },
	{ "\xfd"
	  "7zXZ",
	  6, unpack_xz },
	{ "\x28\xb5\x2f\xfd", 4, unpack_zstd },
	{ "\x02\x21\x4c\x18", 4, unpack_lz4 },
};

int unpack(const void *src, size_t len, void *dst, size_t max, size_t *out)
{
	for (size_t i = 0; i < sizeof(unpackers) / sizeof(unpackers[0]); i++) {
		const struct unpacker *u = &unpackers[i];

		if (len >= u->magic_len && !memcmp(src, u->magic, u->magic_len))
			return u->unpack(src, len, dst, max, out);
	}
	return -EPROTONOSUPPORT;
}
