// SPDX-License-Identifier: Apache-2.0
#include "boot/bzimage.h"

#include <asm/bootparam.h>
#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/cleanup.h"
#include "boot/unpack.h"

#define SETUP_MAGIC       0x53726448u /* "HdrS" */
#define SETUP_BOOT_FLAG   0xaa55u
#define SETUP_VERSION_MIN 0x20cu /* has xloadflags */
#define SETUP_SECTS_UNSET 4u     /* what 0 means in setup_sects */
#define SECTOR            512u

static int setup_read(const struct image *img, struct setup_header *hdr)
{
	return image_read(img, offsetof(struct boot_params, hdr), hdr, sizeof(*hdr));
}

bool bzimage_probe(const struct image *img)
{
	struct setup_header hdr;

	return !setup_read(img, &hdr) && hdr.boot_flag == SETUP_BOOT_FLAG &&
	       hdr.header == SETUP_MAGIC;
}

static int unpack_error(const struct image *img, int ret, struct error *err)
{
	switch (ret) {
	case -EPROTONOSUPPORT:
		return error_set(err, ENOEXEC,
				 "\"%s\" is a bzImage compressed in a way that is not supported: "
				 "gzip, xz, zstd and lz4 are",
				 img->path);
	case -ENOSPC:
		return error_set(err, ENOEXEC,
				 "\"%s\" is damaged: its kernel unpacks to more than it says",
				 img->path);
	case -EBADMSG:
		return error_set(err, ENOEXEC, "\"%s\" is damaged: its kernel cannot be unpacked",
				 img->path);
	default:
		return error_set(err, -ret, "cannot unpack the kernel in \"%s\": %s", img->path,
				 strerror(-ret));
	}
}

int bzimage_unpack(const struct guest_mem *mem, const struct image *img, struct image *out,
		   struct error *err)
{
	AUTO_FREE uint8_t *packed = NULL;
	AUTO_FREE uint8_t *unpacked = NULL;
	struct setup_header hdr;
	uint32_t unpacked_len;
	size_t len;
	int ret = setup_read(img, &hdr);

	if (ret)
		return image_read_error(img, ret, err);
	if (hdr.version < SETUP_VERSION_MIN)
		return error_set(err, ENOEXEC,
				 "\"%s\" is a bzImage of boot protocol %u.%02u: 2.12 (Linux 3.8) "
				 "is the oldest supported",
				 img->path, hdr.version >> 8, hdr.version & 0xffu);
	if (!(hdr.xloadflags & XLF_KERNEL_64))
		return error_set(err, ENOEXEC,
				 "\"%s\" is a 32-bit kernel: it must be one for x86-64", img->path);

	/* No sum here can overflow: 32-bit numbers in 64-bit arithmetic. */
	uint64_t setup = ((hdr.setup_sects ? hdr.setup_sects : SETUP_SECTS_UNSET) + 1u) * SECTOR;
	uint64_t off = setup + hdr.payload_offset;
	uint64_t payload = hdr.payload_length;

	if (hdr.payload_offset == 0 || payload <= sizeof(unpacked_len) || off + payload > img->size)
		return error_set(err, ENODATA,
				 "\"%s\" is cut short or damaged: its kernel is said to lie at "
				 "%#llx with %s, but the file has %s",
				 img->path, (unsigned long long)off, SIZE_TEXT(payload),
				 SIZE_TEXT(img->size));

	/*
	 * The kernel's build ends every payload with the unpacked length: it is part of a gzip
	 * stream and appended to the others. It is only believed as an upper bound.
	 */
	ret = image_read(img, off + payload - sizeof(unpacked_len), &unpacked_len,
			 sizeof(unpacked_len));
	if (ret)
		return image_read_error(img, ret, err);
	unpacked_len = le32toh(unpacked_len);
	if (unpacked_len > mem->regions[0].size || payload > mem->regions[0].size)
		return error_set(err, ENOSPC,
				 "the kernel in \"%s\" unpacks to %s, but the guest has %s of RAM: "
				 "give it more with --mem",
				 img->path, SIZE_TEXT(unpacked_len), SIZE_TEXT(mem->size));

	packed = malloc(payload);
	unpacked = malloc(unpacked_len ? unpacked_len : 1);
	if (!packed || !unpacked)
		return unpack_error(img, -ENOMEM, err);
	ret = image_read(img, off, packed, payload);
	if (ret)
		return image_read_error(img, ret, err);

	/* Of the four formats only lz4 cares where its input ends, and there the length is
	 * appended. */
	bool lz4 = packed[0] == 0x02;

	ret = unpack(packed, payload - (lz4 ? sizeof(unpacked_len) : 0), unpacked, unpacked_len,
		     &len);
	if (ret)
		return unpack_error(img, ret, err);
	*out = (struct image){
		.path = img->path, .fd = -1, .data = steal_ptr(unpacked), .size = len
	};
	return 0;
}
