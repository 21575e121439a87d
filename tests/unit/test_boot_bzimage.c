// SPDX-License-Identifier: Apache-2.0
#include "test_boot.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "boot/unpack.h"

#define SETUP_SECTS 2u
#define SETUP_SIZE  ((SETUP_SECTS + 1) * 512u)
#define PAYLOAD_OFF 100u

enum format { GZIP, XZ, ZSTD, LZ4, FORMATS };

static const char *const names[] = { "gzip", "xz", "zstd", "lz4" };

struct bytes {
	uint8_t *p;
	size_t len;
};

static void bytes_add(struct bytes *b, const void *data, size_t len)
{
	b->p = realloc(b->p, b->len + len);
	cr_assert_not_null(b->p);
	memcpy(b->p + b->len, data, len);
	b->len += len;
}

static void add_gzip(struct bytes *b, const void *data, size_t len)
{
	size_t max = len + len / 8 + 1024;
	uint8_t *buf = malloc(max);
	z_stream z = { .next_in = (uint8_t *)data,
		       .avail_in = (uInt)len,
		       .next_out = buf,
		       .avail_out = (uInt)max };

	cr_assert_eq(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	cr_assert_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	bytes_add(b, buf, z.total_out);
	deflateEnd(&z);
	free(buf);
}

/* The filters that the kernel's build uses. */
static void add_xz(struct bytes *b, const void *data, size_t len)
{
	size_t max = lzma_stream_buffer_bound(len) + 1024, out = 0;
	uint8_t *buf = malloc(max);
	lzma_options_lzma opt;
	lzma_filter filters[] = {
		{ .id = LZMA_FILTER_X86 },
		{ .id = LZMA_FILTER_LZMA2, .options = &opt },
		{ .id = LZMA_VLI_UNKNOWN },
	};

	lzma_lzma_preset(&opt, 1);
	cr_assert_eq(lzma_stream_buffer_encode(filters, LZMA_CHECK_CRC32, NULL, data, len, buf,
					       &out, max),
		     LZMA_OK);
	bytes_add(b, buf, out);
	free(buf);
}

static void add_zstd(struct bytes *b, const void *data, size_t len)
{
	size_t max = ZSTD_compressBound(len);
	uint8_t *buf = malloc(max);
	size_t n = ZSTD_compress(buf, max, data, len, 3);

	cr_assert_not(ZSTD_isError(n));
	bytes_add(b, buf, n);
	free(buf);
}

static void add_lz4(struct bytes *b, const void *data, size_t len)
{
	const uint8_t *p = data;

	bytes_add(b, "\x02\x21\x4c\x18", 4);
	while (len) {
		int n = (int)(len < 8 * MIB ? len : 8 * MIB);
		char *buf = malloc((size_t)LZ4_compressBound(n));
		uint32_t packed = (uint32_t)LZ4_compress_default((const char *)p, buf, n,
								 LZ4_compressBound(n));

		bytes_add(b, &packed, sizeof(packed));
		bytes_add(b, buf, packed);
		free(buf);
		p += n;
		len -= (size_t)n;
	}
}

/* A bzImage around @data as the kernel's build would make it: with the unpacked length at its end.
 */
static struct bytes bzimage_new(enum format format, const void *data, size_t len)
{
	static void (*const add[])(struct bytes *, const void *, size_t) = { add_gzip, add_xz,
									     add_zstd, add_lz4 };
	uint32_t unpacked = (uint32_t)len;
	struct bytes b = { 0 };
	uint8_t setup[SETUP_SIZE + PAYLOAD_OFF] = { 0 };

	bytes_add(&b, setup, sizeof(setup));
	add[format](&b, data, len);
	if (format != GZIP)
		bytes_add(&b, &unpacked, sizeof(unpacked));

	struct setup_header hdr = {
		.setup_sects = SETUP_SECTS,
		.boot_flag = 0xaa55,
		.header = 0x53726448,
		.version = 0x20f,
		.xloadflags = XLF_KERNEL_64,
		.payload_offset = PAYLOAD_OFF,
		.payload_length = (uint32_t)(b.len - sizeof(setup)),
	};
	/* A signature or padding may follow the payload. */
	bytes_add(&b, "signature", 9);
	memcpy(b.p + offsetof(struct boot_params, hdr), &hdr, sizeof(hdr));
	return b;
}

static struct setup_header *bzimage_header(struct bytes *b)
{
	return (void *)(b->p + offsetof(struct boot_params, hdr));
}

static int load(uint64_t ram, const struct bytes *b, struct kernel_image *k, struct error *err)
{
	struct guest_mem mem = test_mem(ram);
	int fd = test_file(b->p, b->len);
	int ret = boot_load_kernel(&mem, fd, "/x/bzImage", k, err);

	close(fd);
	guest_mem_deinit(&mem);
	return ret;
}

static void expect_refused(uint64_t ram, struct bytes *b, int errnum, const char *words)
{
	struct kernel_image k;
	struct error err = { "" };

	cr_expect_eq(load(ram, b, &k, &err), -errnum, "%s", err.text);
	cr_expect(strstr(err.text, words), "\"%s\" lacks \"%s\"", err.text, words);
	cr_expect(strstr(err.text, "/x/bzImage"), "no path in: %s", err.text);
	free(b->p);
}

static struct bytes sound(enum format format)
{
	struct test_elf *elf = test_elf_new();
	struct bytes b = bzimage_new(format, elf, sizeof(*elf));

	free(elf);
	return b;
}

Test(boot_bzimage, loads_every_format)
{
	struct test_elf *elf = test_elf_new();

	for (enum format f = GZIP; f < FORMATS; f++) {
		struct guest_mem mem = test_mem(32 * MIB);
		struct bytes b = bzimage_new(f, elf, sizeof(*elf));
		int fd = test_file(b.p, b.len);
		struct kernel_image k = { 0 };
		struct error err = { "" };

		cr_expect_eq(boot_load_kernel(&mem, fd, "bzImage", &k, &err), 0, "%s: %s", names[f],
			     err.text);
		cr_expect_eq(k.entry, TEST_ENTRY);
		cr_expect_eq(k.end, TEST_DATA_GPA + TEST_DATA_MEM);
		cr_expect_eq(memcmp(mem.base + TEST_TEXT_GPA, elf->text, TEST_TEXT_SIZE), 0, "%s",
			     names[f]);
		cr_expect_eq(memcmp(mem.base + TEST_DATA_GPA, elf->data, TEST_DATA_SIZE), 0, "%s",
			     names[f]);
		close(fd);
		free(b.p);
		guest_mem_deinit(&mem);
	}
	free(elf);
}

Test(boot_bzimage, unpacks_more_than_one_lz4_block)
{
	size_t len = 17 * MIB + 5, out = 0;
	uint8_t *data = malloc(len), *back = malloc(len);
	struct bytes b = { 0 };

	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i >> 10);
	add_lz4(&b, data, len);
	cr_expect_eq(unpack(b.p, b.len, back, len, &out), 0);
	cr_expect_eq(out, len);
	cr_expect_eq(memcmp(data, back, len), 0);
	cr_expect_eq(unpack(b.p, b.len, back, len - 1, &out), -ENOSPC);
	free(data);
	free(back);
	free(b.p);
}

Test(boot_bzimage, zero_setup_sectors_mean_four)
{
	struct bytes b = sound(GZIP);
	struct kernel_image k;
	struct error err;

	struct bytes five = { 0 };
	uint8_t pad[5 * 512 - SETUP_SIZE] = { 0 };

	bzimage_header(&b)->setup_sects = 0;
	bytes_add(&five, b.p, SETUP_SIZE);
	bytes_add(&five, pad, sizeof(pad));
	bytes_add(&five, b.p + SETUP_SIZE, b.len - SETUP_SIZE);
	cr_expect_eq(load(32 * MIB, &five, &k, &err), 0, "%s", err.text);
	free(b.p);
	free(five.p);
}

Test(boot_bzimage, refuses_old_protocols_and_32_bit_kernels)
{
	struct bytes b = sound(GZIP);

	bzimage_header(&b)->version = 0x20b;
	expect_refused(32 * MIB, &b, ENOEXEC, "boot protocol 2.11: 2.12");
	b = sound(GZIP);
	bzimage_header(&b)->xloadflags = 0;
	expect_refused(32 * MIB, &b, ENOEXEC, "32-bit");
}

Test(boot_bzimage, refuses_a_file_without_the_magic)
{
	struct bytes b = sound(GZIP);

	bzimage_header(&b)->header = 0;
	expect_refused(32 * MIB, &b, ENOEXEC, "neither an ELF vmlinux nor a bzImage");
	b = sound(GZIP);
	bzimage_header(&b)->boot_flag = 0;
	expect_refused(32 * MIB, &b, ENOEXEC, "neither an ELF vmlinux nor a bzImage");
}

Test(boot_bzimage, refuses_payloads_outside_of_the_file)
{
	static const struct {
		uint32_t off, len;
	} bad[] = { { PAYLOAD_OFF, UINT32_MAX }, { UINT32_MAX, UINT32_MAX },
		    { UINT32_MAX, 100 },         { 0, 100 },
		    { PAYLOAD_OFF, 0 },          { PAYLOAD_OFF, 4 } };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct bytes b = sound(GZIP);

		bzimage_header(&b)->payload_offset = bad[i].off;
		bzimage_header(&b)->payload_length = bad[i].len;
		expect_refused(32 * MIB, &b, ENODATA, "cut short or damaged");
	}
}

Test(boot_bzimage, refuses_every_truncation)
{
	struct bytes b = sound(ZSTD);
	size_t payload_end = SETUP_SIZE + PAYLOAD_OFF + bzimage_header(&b)->payload_length;
	struct guest_mem mem = test_mem(32 * MIB);
	struct kernel_image k;
	struct error err;
	int fd = test_file(b.p, b.len);

	for (size_t len = payload_end; len-- > 0;) {
		cr_assert_eq(ftruncate(fd, (off_t)len), 0);
		cr_assert_lt(boot_load_kernel(&mem, fd, "bzImage", &k, &err), 0, "%zu bytes", len);
	}
	close(fd);
	free(b.p);
	guest_mem_deinit(&mem);
}

Test(boot_bzimage, names_the_formats_it_knows)
{
	static const char *const magics[] = { "BZh91", "\x5d\0\0\0\x02", "\x89LZO\0" };

	for (size_t i = 0; i < 3; i++) {
		struct bytes b = sound(GZIP);

		memcpy(b.p + SETUP_SIZE + PAYLOAD_OFF, magics[i], 5);
		expect_refused(32 * MIB, &b, ENOEXEC, "gzip, xz, zstd and lz4 are");
	}
}

Test(boot_bzimage, refuses_damaged_streams)
{
	for (enum format f = GZIP; f < FORMATS; f++) {
		struct bytes b = sound(f);
		size_t start = SETUP_SIZE + PAYLOAD_OFF;

		/* All but the magic number, and but the unpacked length at the end. */
		memset(b.p + start + 6, 0xff, bzimage_header(&b)->payload_length - 10);
		expect_refused(32 * MIB, &b, ENOEXEC, "damaged");
	}
}

Test(boot_bzimage, does_not_unpack_more_than_it_was_told)
{
	size_t len = 4 * MIB;
	uint8_t *zeroes = calloc(1, len);

	for (enum format f = GZIP; f < FORMATS; f++) {
		struct bytes b = bzimage_new(f, zeroes, len);
		uint32_t lie = 1000;
		size_t end = SETUP_SIZE + PAYLOAD_OFF + bzimage_header(&b)->payload_length;

		memcpy(b.p + end - sizeof(lie), &lie, sizeof(lie));
		expect_refused(32 * MIB, &b, ENOEXEC, "unpacks to more than it says");
	}
	free(zeroes);
}

Test(boot_bzimage, refuses_to_unpack_more_than_the_guest_can_hold)
{
	struct bytes b = sound(XZ);
	uint32_t len = 33 * MIB;
	size_t end = SETUP_SIZE + PAYLOAD_OFF + bzimage_header(&b)->payload_length;

	memcpy(b.p + end - sizeof(len), &len, sizeof(len));
	expect_refused(
		32 * MIB, &b, ENOSPC,
		"unpacks to 33 MiB, but the guest has 32 MiB of RAM: give it more with --mem");
}

Test(boot_bzimage, refuses_a_payload_that_is_no_elf)
{
	uint8_t zeroes[4096] = { 0 };
	struct bytes b = bzimage_new(GZIP, zeroes, sizeof(zeroes));

	expect_refused(32 * MIB, &b, ENOEXEC, "not an ELF vmlinux");
}

Test(boot_bzimage, checks_the_elf_inside)
{
	struct test_elf *elf = test_elf_new();

	elf->ph[1].p_paddr = 0x1000;
	struct bytes b = bzimage_new(LZ4, elf, sizeof(*elf));

	free(elf);
	expect_refused(32 * MIB, &b, ENOEXEC, "first MiB");
}

Test(boot_bzimage, xz_dictionaries_are_bounded)
{
	uint8_t data[512], out_buf[1024];
	struct bytes b = { 0 };
	size_t out;

	memset(data, 1, sizeof(data));
	add_xz(&b, data, sizeof(data));
	/*
	 * In the header of the first block: LZMA2's id, the length 1, the dictionary's size, of
	 * which 40 stands for 4 GiB - 1; the header ends in its CRC32.
	 */
	uint8_t *header = b.p + 12;
	size_t header_len = (header[0] + 1u) * 4u;
	uint8_t *lzma2 = memmem(header, header_len, "\x21\x01", 2);

	cr_assert_not_null(lzma2);
	lzma2[2] = 40;
	uint32_t crc = lzma_crc32(header, header_len - 4, 0);

	memcpy(header + header_len - 4, &crc, sizeof(crc));
	cr_expect_eq(unpack(b.p, b.len, out_buf, sizeof(out_buf), &out), -ENOMEM);
	free(b.p);
}

Test(boot_bzimage, loads_the_distributions_kernels)
{
	glob_t g;

	if (glob("/boot/vmlinuz-*", 0, NULL, &g))
		cr_skip_test("no kernel in /boot to load");
	for (size_t i = 0; i < g.gl_pathc; i++) {
		struct guest_mem mem = test_mem(512 * MIB);
		int fd = open(g.gl_pathv[i], O_RDONLY | O_CLOEXEC);
		struct kernel_image k = { 0 };
		struct error err = { "" };

		if (fd < 0)
			cr_skip_test("cannot read %s: %s", g.gl_pathv[i], strerror(errno));
		cr_expect_eq(boot_load_kernel(&mem, fd, g.gl_pathv[i], &k, &err), 0, "%s",
			     err.text);
		cr_expect_geq(k.entry, MIB);
		cr_expect_gt(k.end, k.entry);
		close(fd);
		guest_mem_deinit(&mem);
	}
	globfree(&g);
}
