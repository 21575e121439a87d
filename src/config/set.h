// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config.h"

/*
 * The one place where each value is checked and entered, whether it came from an option or from a
 * key in a file. @where names that option or key ("--cpus", "vm.json: machine-config.vcpu_count")
 * and opens every sentence. All return 0 or negative errno with a sentence, and change nothing
 * then; what was there before is replaced.
 */
int set_name(struct boot_config *cfg, const char *where, const char *name, struct error *err);
int set_cpus(struct boot_config *cfg, const char *where, int64_t cpus, struct error *err);
int set_mem(struct boot_config *cfg, const char *where, const char *size, struct error *err);
int set_mem_mib(struct boot_config *cfg, const char *where, int64_t mib, struct error *err);
int set_workdir(struct boot_config *cfg, const char *where, const char *dir, struct error *err);
int set_timeout(struct boot_config *cfg, const char *where, const char *time, struct error *err);

/* A host path in *@field: anything but an empty string. */
int set_path(char **field, const char *where, const char *path, struct error *err);

/* Words for the kernel's command line in *@field: no control characters. */
int set_kernel_words(char **field, const char *where, const char *words, struct error *err);

/* The workload: @argc words from @argv, the first of which may not be empty. */
int set_argv(struct boot_config *cfg, const char *where, const char *const *argv, size_t argc,
	     struct error *err);

/* Add NAME=VALUE, or replace the value that NAME has. */
int add_env(struct boot_config *cfg, const char *where, const char *assignment, struct error *err);

/* Add a disk. On success what @disk owns belongs to @cfg, and @disk is zeroed. */
int add_disk(struct boot_config *cfg, const char *where, struct disk_config *disk,
	     struct error *err);

/* The values of a disk's options, for both ways to write them. */
int set_disk_serial(struct disk_config *disk, const char *where, const char *serial,
		    struct error *err);
int set_disk_direct(struct disk_config *disk, const char *where, const char *mode,
		    struct error *err);
int set_disk_queues(struct disk_config *disk, const char *where, int64_t queues, struct error *err);

/* A decimal integer and nothing else. Returns 0, -EINVAL or -ERANGE. */
int parse_integer(const char *s, int64_t *value);

/* Release a NULL-terminated array and its strings; NULL is fine. */
void strings_free(char **strings);
