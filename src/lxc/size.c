// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "config/set.h"
#include "config/words.h"
#include "lxc/steps.h"

#define MIB ((uint64_t)1 << 20)

/* What the guest's kernel takes for itself, which a container's limit does not count. */
#define KERNEL_MIB 64
/* A root directory is written to in the guest's memory: with less there is no room for that. */
#define LEAST_MIB 128

#define PERIOD_DEFAULT 100000 /* us: the kernel's own */
#define CPU_NUMBERS    8192   /* what the kernel can be built for */

/* What stands for cgroup v2 counts before what stands for v1, as on any host that has both. */
static int prefer(struct import *im, const struct lxc_item *v2, const struct lxc_item *v1,
		  const struct lxc_item **out)
{
	*out = v2 ? v2 : v1;
	return v2 && v1 ? import_note(im, LXC_UNUSED, v1, "%s says it for cgroup v2", v2->key) : 0;
}

/* ---- memory ---- */

static int set_memory(struct import *im, const struct lxc_item *item, uint64_t bytes)
{
	uint64_t mib = bytes / MIB + (bytes % MIB != 0);
	struct error why;

	mib += KERNEL_MIB;
	if (mib < LEAST_MIB)
		mib = LEAST_MIB;
	if (set_mem_mib(im->cfg, "the memory", (int64_t)mib, &why) < 0)
		return import_note(im, LXC_UNSUPPORTED, item,
				   "%s; kvmbox's default of 256 MiB it is, unless --mem says more",
				   why.text);
	return import_note(
		im, LXC_BECOMES, item,
		"machine-config.mem_size_mib %llu: %s and %d MiB for the guest's kernel, "
		"or %d at the least; what is written to a root directory is in it as well",
		(unsigned long long)mib, word_show_size(bytes).text, KERNEL_MIB, LEAST_MIB);
}

static int import_memory(struct import *im)
{
	const struct lxc_item *item = NULL;
	uint64_t bytes = 0;
	int ret = prefer(im, im->memory_max, im->memory_limit, &item);

	if (ret < 0)
		return ret;
	if (im->cfg->mem_bytes)
		return item ? import_note(im, LXC_UNUSED, item, "--mem says it") : 0;
	if (!item)
		return import_note(
			im, LXC_BECOMES, NULL,
			"no limit of memory: the VM has 256 MiB, unless --mem says more");
	if (strcmp(item->value, "max") == 0 || strcmp(item->value, "-1") == 0)
		return import_note(
			im, LXC_BECOMES, item,
			"nothing, as there is no limit in it: the VM has 256 MiB, unless "
			"--mem says more");
	ret = parse_size(item->value, &bytes);
	if (ret == -ERANGE)
		return set_memory(im, item, INT64_MAX);
	if (ret < 0)
		return import_refuse(im, item, "\"%s\" is not a size such as 512M, or max",
				     word_show(item->value).text);
	return set_memory(im, item, bytes);
}

/* ---- CPUs ---- */

static int parse_count(struct import *im, const struct lxc_item *item, const char *s, int64_t *out)
{
	if (parse_integer(s, out) < 0 || *out <= 0)
		return import_refuse(im, item, "\"%s\" is not a number of microseconds",
				     word_show(s).text);
	return 0;
}

/* A time in each period; *@cpus is how many CPUs that is, rounded up, or 0 for no limit. */
static int read_quota(struct import *im, const struct lxc_item *item, const char *quota_text,
		      const char *period_text, int64_t *cpus)
{
	int64_t quota = 0, period = PERIOD_DEFAULT;
	int ret = 0;

	*cpus = 0;
	if (period_text)
		ret = parse_count(im, item, period_text, &period);
	if (ret < 0 || strcmp(quota_text, "max") == 0 || strcmp(quota_text, "-1") == 0)
		return ret;
	ret = parse_count(im, item, quota_text, &quota);
	if (ret == 0)
		*cpus = quota / period + (quota % period != 0);
	return ret;
}

/* "QUOTA PERIOD" or "QUOTA". */
static int read_cpu_max(struct import *im, const struct lxc_item *item, int64_t *cpus)
{
	AUTO_FREE char *copy = strdup(item->value);
	char *rest = NULL;
	char *quota, *period;

	if (!copy)
		return error_set(im->err, ENOMEM, "out of memory");
	quota = strtok_r(copy, " \t", &rest);
	period = strtok_r(NULL, " \t", &rest);
	if (!quota || strtok_r(NULL, " \t", &rest))
		return import_refuse(im, item,
				     "\"%s\" is not a quota and a period such as 150000 100000",
				     word_show(item->value).text);
	return read_quota(im, item, quota, period, cpus);
}

/* "0-3,7"; *@cpus is how many are in it. */
static int read_cpuset(struct import *im, const struct lxc_item *item, int64_t *cpus)
{
	bool seen[CPU_NUMBERS] = { false };
	const char *s = item->value;

	*cpus = 0;
	for (;;) {
		unsigned long first, last;
		char *end;

		s += strspn(s, " \t");
		/* strtoul() itself takes signs, which no list has. */
		first = last = *s >= '0' && *s <= '9' ? strtoul(s, &end, 10) : CPU_NUMBERS;
		if (first < CPU_NUMBERS && *end == '-' && end[1] >= '0' && end[1] <= '9')
			last = strtoul(end + 1, &end, 10);
		if (first >= CPU_NUMBERS || last >= CPU_NUMBERS || first > last)
			break;
		for (; first <= last; first++) {
			*cpus += !seen[first];
			seen[first] = true;
		}
		end += strspn(end, " \t");
		if (!*end)
			return 0;
		if (*end != ',')
			break;
		s = end + 1;
	}
	return import_refuse(im, item, "\"%s\" is not a list of CPUs such as 0-3,7",
			     word_show(item->value).text);
}

/* The lesser of two limits, of which 0 is none. */
static int64_t lesser(int64_t a, int64_t b)
{
	if (!a || !b)
		return a + b;
	return a < b ? a : b;
}

static int note_cpus(struct import *im, const struct lxc_item *item, int64_t own, const char *more)
{
	if (!item)
		return 0;
	if (!own)
		return import_note(im, LXC_BECOMES, item, "nothing, as there is no limit in it");
	return import_note(im, LXC_BECOMES, item,
			   "machine-config.vcpu_count, which is %u: the limit is %lld CPU%s%s",
			   im->cfg->cpus, (long long)own, own == 1 ? "" : "s", more);
}

static int set_vcpus(struct import *im, const struct lxc_item *quota_item, int64_t quota,
		     const struct lxc_item *set_item, int64_t set)
{
	int64_t cpus = lesser(quota, set);
	int ret;

	if (!cpus)
		ret = import_note(im, LXC_BECOMES, NULL,
				  "no limit of CPUs: the VM has one, unless --cpus says more");
	else
		ret = set_cpus(im->cfg, "the CPUs", cpus < CONFIG_CPUS_MAX ? cpus : CONFIG_CPUS_MAX,
			       im->err);
	if (ret == 0)
		ret = note_cpus(im, quota_item, quota, ", rounded up");
	if (ret == 0)
		ret = note_cpus(im, set_item, set,
				", to which the VM is not pinned (taskset -c LIST kvmbox boot does "
				"that)");
	return ret;
}

static int import_cpus(struct import *im)
{
	const struct lxc_item *quota_item = NULL, *set_item = NULL;
	int64_t quota = 0, set = 0;
	int ret = prefer(im, im->cpu_max, im->cpu_quota, &quota_item);

	if (ret == 0)
		ret = prefer(im, im->cpuset, im->cpuset_v1, &set_item);
	if (ret < 0)
		return ret;
	if (im->cpu_period)
		ret = import_note(im, LXC_BECOMES, im->cpu_period,
				  "the period of lxc.cgroup.cpu.cfs_quota_us");
	if (ret == 0 && quota_item && quota_item == im->cpu_max)
		ret = read_cpu_max(im, quota_item, &quota);
	else if (ret == 0 && quota_item)
		ret = read_quota(im, quota_item, quota_item->value,
				 im->cpu_period ? im->cpu_period->value : NULL, &quota);
	if (ret == 0 && set_item)
		ret = read_cpuset(im, set_item, &set);
	if (ret < 0)
		return ret;
	if (!im->cfg->cpus)
		return set_vcpus(im, quota_item, quota, set_item, set);
	if (quota_item)
		ret = import_note(im, LXC_UNUSED, quota_item, "--cpus says it");
	return ret == 0 && set_item ? import_note(im, LXC_UNUSED, set_item, "--cpus says it") : ret;
}

int import_size(struct import *im)
{
	int ret = import_memory(im);

	return ret == 0 ? import_cpus(im) : ret;
}
