// SPDX-License-Identifier: Apache-2.0
#include "boot/image.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int image_open(struct image *img, int fd, const char *path, const char *what, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_set(err, errno, "cannot read \"%s\": %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "\"%s\" is not a regular file: %s must be one", path,
				 what);
	*img = (struct image){ .path = path, .fd = fd, .size = (uint64_t)st.st_size };
	return 0;
}

int image_read(const struct image *img, uint64_t off, void *dst, uint64_t len)
{
	uint8_t *p = dst;

	if (off > img->size || len > img->size - off)
		return -ENODATA;
	if (img->data) {
		memcpy(dst, img->data + off, len);
		return 0;
	}
	while (len) {
		ssize_t n = pread(img->fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		p += n;
		off += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

/* Narrow [*from, *end) to its first stretch of data, *from == *end where it is all a hole. */
static void find_data(const struct image *img, uint64_t *from, uint64_t *end)
{
	off_t data = lseek(img->fd, (off_t)*from, SEEK_DATA);

	/* A file system that knows nothing of holes says so, or calls all of it data. */
	if (data < 0 && errno != ENXIO)
		return;
	if (data < 0 || (uint64_t)data >= *end) {
		*from = *end;
		return;
	}
	off_t hole = lseek(img->fd, data, SEEK_HOLE);

	*from = (uint64_t)data;
	if (hole > data && (uint64_t)hole < *end)
		*end = (uint64_t)hole;
}

/*
 * A kernel's image has holes of some hundred KiB, each page of which would cost its time to copy.
 */
int image_load(const struct image *img, uint64_t off, void *dst, uint64_t len)
{
	uint8_t *p = dst;
	uint64_t next, end;

	if (off > img->size || len > img->size - off)
		return -ENODATA;
	if (img->data || !len)
		return image_read(img, off, dst, len);
	for (next = off; next < off + len; next = end) {
		end = off + len;
		find_data(img, &next, &end);
		int ret = image_read(img, next, p + (next - off), end - next);
		if (ret)
			return ret;
	}
	/* Past the end of a file that has shrunk, too, all is a hole. */
	return image_read(img, off + len - 1, p + len - 1, 1);
}

int image_read_error(const struct image *img, int ret, struct error *err)
{
	if (ret == -ENODATA)
		return error_set(err, ENODATA, "\"%s\" is cut short: it ends after %s", img->path,
				 SIZE_TEXT(img->size));
	return error_set(err, -ret, "cannot read \"%s\": %s", img->path, strerror(-ret));
}

struct size_text size_format(uint64_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	struct size_text out;
	unsigned int unit = 0;

	if (bytes < 1024) {
		snprintf(out.text, sizeof(out.text), "%u byte%s", (unsigned int)bytes,
			 bytes == 1 ? "" : "s");
		return out;
	}
	while (unit + 1 < sizeof(units) / sizeof(units[0]) && bytes >> (10 * (unit + 2)))
		unit++;

	double value = (double)bytes / (double)(1ull << (10 * (unit + 1)));

	if (value == (double)(uint64_t)value)
		snprintf(out.text, sizeof(out.text), "%.0f %s", value, units[unit]);
	else
		snprintf(out.text, sizeof(out.text), "%.1f %s", value, units[unit]);
	return out;
}
