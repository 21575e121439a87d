// SPDX-License-Identifier: Apache-2.0
#include "vm/stats.h"

#include <linux/kvm.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

uint64_t kvm_stat_read(int fd, const char *name)
{
	struct kvm_stats_header hdr;
	uint64_t value = 0;

	if (fd < 0 || pread(fd, &hdr, sizeof(hdr), 0) != sizeof(hdr))
		return 0;

	size_t step = sizeof(struct kvm_stats_desc) + hdr.name_size;
	AUTO_FREE uint8_t *buf = calloc(1, step + 1);
	if (!buf)
		return 0;
	struct kvm_stats_desc *desc = (void *)buf;
	for (uint32_t i = 0; i < hdr.num_desc; i++) {
		if (pread(fd, buf, step, (off_t)hdr.desc_offset + (off_t)(i * step)) !=
		    (ssize_t)step)
			return 0;
		if (strcmp(desc->name, name) || desc->size != 1)
			continue;
		if (pread(fd, &value, sizeof(value), (off_t)hdr.data_offset + desc->offset) !=
		    sizeof(value))
			return 0;
		return value;
	}
	return 0;
}
