// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "config/set.h"
#include "config/words.h"

#define CPUS_DEFAULT 1
#define MEM_DEFAULT  (256ull << 20)

void config_init(struct boot_config *cfg)
{
	*cfg = (struct boot_config){ 0 };
}

void config_deinit(struct boot_config *cfg)
{
	free(cfg->name);
	free(cfg->kernel);
	free(cfg->initrd);
	free(cfg->append);
	free(cfg->boot_args);
	free(cfg->rootfs);
	free(cfg->workdir);
	strings_free(cfg->argv);
	strings_free(cfg->env);
	for (size_t i = 0; i < cfg->ndisks; i++)
		free(cfg->disks[i].path);
	for (size_t i = 0; i < cfg->nforwards; i++) {
		free(cfg->forwards[i].path);
		free(cfg->forwards[i].guest);
	}
	config_init(cfg);
}

/* Move the root drive to the front, where it is /dev/vda. Returns it, or NULL if there is none. */
static const struct disk_config *root_to_front(struct boot_config *cfg)
{
	for (size_t i = 0; i < cfg->ndisks; i++) {
		if (!cfg->disks[i].root)
			continue;

		struct disk_config root = cfg->disks[i];

		memmove(&cfg->disks[1], &cfg->disks[0], i * sizeof(root));
		cfg->disks[0] = root;
		return &cfg->disks[0];
	}
	return NULL;
}

/* Two answers to the same question are a mistake of which only the user knows the right half. */
static int check_conflicts(const struct boot_config *cfg, const struct disk_config *root,
			   struct error *err)
{
	if (cfg->initrd && cfg->init)
		return error_set(
			err, EINVAL,
			"the initrd %s brings its own init, so there is none for --init to "
			"run; leave out one of the two",
			word_show(cfg->initrd).text);
	if (cfg->initrd && cfg->argv)
		return error_set(err, EINVAL,
				 "the initrd %s brings its own init, so the command %s would never "
				 "be run; leave out one of the two",
				 word_show(cfg->initrd).text, word_show(cfg->argv[0]).text);
	if (cfg->initrd && cfg->rootfs)
		return error_set(
			err, EINVAL,
			"the initrd %s brings its own init, which knows nothing of --rootfs "
			"%s; leave out one of the two, or give the image with --disk",
			word_show(cfg->initrd).text, word_show(cfg->rootfs).text);
	if (cfg->rootfs && root)
		return error_set(err, EINVAL,
				 "both --rootfs %s and the root drive %s want to be the root file "
				 "system; leave out one of the two",
				 word_show(cfg->rootfs).text, word_show(root->path).text);
	if (cfg->full_system && (cfg->workdir || cfg->env[0]))
		return error_set(
			err, EINVAL,
			"%s boots its own init, so %s would reach no command; leave it out%s",
			word_show(cfg->initrd ? cfg->initrd : root->path).text,
			cfg->workdir ? "the working directory (--workdir)"
				     : "the environment (--env)",
			cfg->initrd ? "" : ", or add a command after --");
	return 0;
}

/* What is for a VM in the background, and what a machine without our agent cannot do. */
static int check_ways(const struct boot_config *cfg, struct error *err)
{
	if (!cfg->detach && (cfg->interactive || cfg->terminal || cfg->remove))
		return error_set(err, EINVAL,
				 "%s is for a VM in the background (--detach); one in the "
				 "foreground %s anyway",
				 cfg->interactive ? "--interactive"
				 : cfg->terminal  ? "--tty"
						  : "--rm",
				 cfg->interactive ? "reads its standard input"
				 : cfg->terminal  ? "gets a terminal where kvmbox has one"
						  : "leaves nothing behind");
	if (cfg->detach && cfg->json)
		return error_set(
			err, EINVAL,
			"--json reports at the end, when a VM in the background has nobody "
			"to report to; kvmbox inspect tells the same of it");
	if (cfg->full_system && (cfg->detach || cfg->nforwards))
		return error_set(err, EINVAL,
				 "%s boots its own init, which answers no kvmbox: %s does not work "
				 "with it",
				 word_show(cfg->initrd ? cfg->initrd : cfg->disks[0].path).text,
				 cfg->detach ? "--detach" : "--forward");
	return 0;
}

static int set_default_name(struct boot_config *cfg, struct error *err)
{
	uint32_t id;
	char name[sizeof("kvmbox-12345678")];

	if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id))
		return error_set(err, EIO, "the host gives no random numbers to make a name from");
	snprintf(name, sizeof(name), "kvmbox-%08x", id);
	return set_name(cfg, "--name", name, err);
}

static int set_default_init(struct boot_config *cfg, struct error *err)
{
	static const char *const init[] = { "/sbin/init" };

	return set_argv(cfg, "--init", init, 1, err);
}

static int check_balloon(const struct boot_config *cfg, struct error *err)
{
	uint32_t amount;

	if (!cfg->balloon.amount_mib)
		return 0;
	for (size_t i = 0; i < cfg->ndisks; i++) {
		if (cfg->disks[i].fixed_buffers)
			return error_set(
				err, EINVAL,
				"the fixed buffers of the disk %s pin the guest's memory, so "
				"a balloon can take nothing of it; leave out one of the two",
				word_show(cfg->disks[i].path).text);
	}
	return set_balloon(&amount, "balloon.amount_mib", cfg->balloon.amount_mib, cfg->mem_bytes,
			   err);
}

int config_finish(struct boot_config *cfg, struct error *err)
{
	const struct disk_config *root = root_to_front(cfg);
	int ret = 0;

	if (!cfg->env) {
		cfg->env = calloc(1, sizeof(*cfg->env));
		if (!cfg->env)
			return error_set(err, ENOMEM, "out of memory");
	}
	if (!cfg->cpus)
		cfg->cpus = CPUS_DEFAULT;
	if (!cfg->mem_bytes)
		cfg->mem_bytes = MEM_DEFAULT;
	if (!cfg->name)
		ret = set_default_name(cfg, err);
	if (ret == 0 && cfg->init && !cfg->argv)
		ret = set_default_init(cfg, err);
	if (ret < 0)
		return ret;
	cfg->full_system = cfg->initrd || (root && !cfg->argv);
	ret = check_conflicts(cfg, root, err);
	if (ret == 0)
		ret = check_ways(cfg, err);
	if (ret == 0)
		ret = check_balloon(cfg, err);
	return ret < 0 ? ret : check_nets(cfg, err);
}
