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
int set_cpus_word(struct boot_config *cfg, const char *where, const char *cpus, struct error *err);
int set_weight(unsigned int *field, const char *where, int64_t weight, struct error *err);
int set_weight_word(unsigned int *field, const char *where, const char *weight, struct error *err);
int set_mem(struct boot_config *cfg, const char *where, const char *size, struct error *err);
int set_mem_mib(struct boot_config *cfg, const char *where, int64_t mib, struct error *err);
int set_workdir(struct boot_config *cfg, const char *where, const char *dir, struct error *err);
int set_timeout(struct boot_config *cfg, const char *where, const char *time, struct error *err);

/* "on" or "off". */
int set_switch(bool *on, const char *where, const char *value, struct error *err);

/* A host path in *@field: anything but an empty string. */
int set_path(char **field, const char *where, const char *path, struct error *err);

/* What the balloon is to take of the guest's memory, which has @mem_bytes; it must leave some. */
int set_balloon(uint32_t *amount_mib, const char *where, int64_t mib, uint64_t mem_bytes,
		struct error *err);

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

/* Add a network card, a published port, or the name of a VM that it may talk to. */
int add_net(struct boot_config *cfg, const char *where, const struct net_config *net,
	    struct error *err);
int add_publish(struct boot_config *cfg, const char *where, const char *publish, struct error *err);
int add_allow(struct boot_config *cfg, const char *where, const char *name, struct error *err);

/* An id of a disk or network card, in @field of CONFIG_ID_MAX characters and a NUL. */
int set_id(char *field, const char *where, const char *id, struct error *err);

/* Check that a VM may be called @name. */
int check_vm_name(const char *where, const char *name, struct error *err);

/* Add a forwarded socket: SOCKET=unix:PATH or SOCKET=tcp:ADDRESS:PORT. */
int add_forward(struct boot_config *cfg, const char *where, const char *forward, struct error *err);

/* The values of a network card's options, for both ways to write them. */
int set_net_mode(struct net_config *net, const char *where, const char *mode, struct error *err);
int set_net_tap(struct net_config *net, const char *where, const char *name, struct error *err);
int set_net_mac(struct net_config *net, const char *where, const char *mac, struct error *err);
int set_net_mtu(struct net_config *net, const char *where, int64_t mtu, struct error *err);
int set_net_queues(struct net_config *net, const char *where, int64_t queues, struct error *err);
int add_net_ip(struct net_config *net, const char *where, const char *ip, struct error *err);
int add_net_gateway(struct net_config *net, const char *where, const char *ip, struct error *err);
int add_net_dns(struct net_config *net, const char *where, const char *ip, struct error *err);

/*
 * The parts of a limit as options give them: so many bytes or operations a second, and how many may
 * come at once after a pause. limit_finish() puts them together: without a burst it is what comes
 * in a tenth of a second. @name is the option of the rate ("iops").
 */
int set_limit_size(uint64_t *tokens, const char *where, const char *size, struct error *err);
int set_limit_count(uint64_t *tokens, const char *where, const char *count, struct error *err);
int limit_finish(struct bucket_spec *limit, const char *where, const char *name, struct error *err);

/* Check what belongs together in @net, once it is complete. */
int check_net(const struct net_config *net, const char *where, struct error *err);

/* Check the network cards and published ports of @cfg against each other. */
int check_nets(const struct boot_config *cfg, struct error *err);

/*
 * Cut the next comma-separated piece off *@rest, in place, with each ",," made one literal comma.
 * NULL at the end.
 */
char *next_piece(char **rest);

/* A decimal integer and nothing else. Returns 0, -EINVAL or -ERANGE. */
int parse_integer(const char *s, int64_t *value);

/* Release a NULL-terminated array and its strings; NULL is fine. */
void strings_free(char **strings);
