// SPDX-License-Identifier: Apache-2.0
#include "config/set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/words.h"

#define MIB          (1ull << 20)
#define MEM_MIN      (32 * MIB)
#define MEM_ALIGN    4096u
#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static int no_memory(struct error *err)
{
	return error_set(err, ENOMEM, "out of memory while reading the configuration");
}

static bool has_control_characters(const char *s)
{
	for (; *s; s++) {
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return true;
	}
	return false;
}

static int replace_string(char **field, const char *value, struct error *err)
{
	char *copy = strdup(value);

	if (!copy)
		return no_memory(err);
	free(*field);
	*field = copy;
	return 0;
}

void strings_free(char **strings)
{
	for (size_t i = 0; strings && strings[i]; i++)
		free(strings[i]);
	free(strings);
}

int parse_integer(const char *s, int64_t *value)
{
	const char *digits = *s == '-' ? s + 1 : s;

	if (!*digits || strspn(digits, "0123456789") != strlen(digits))
		return -EINVAL;
	errno = 0;

	long long n = strtoll(s, NULL, 10);

	if (errno)
		return -errno;
	*value = n;
	return 0;
}

int check_vm_name(const char *where, const char *name, struct error *err)
{
	size_t len = strlen(name);

	if (len == 0)
		return error_set(err, EINVAL, "%s: the name is empty", where);
	if (len > CONFIG_NAME_MAX)
		return error_set(err, EINVAL,
				 "%s: \"%s\" has %zu characters, a name has at most %d", where,
				 word_show(name).text, len, CONFIG_NAME_MAX);
	if (!strchr(NAME_LETTERS, name[0]))
		return error_set(err, EINVAL,
				 "%s: \"%s\" does not begin with a letter or digit, as a name must",
				 where, word_show(name).text);

	size_t good = strspn(name, NAME_LETTERS "_.-");

	if (good != len) {
		char bad[] = { name[good], '\0' };

		if ((unsigned char)bad[0] >= 0x80)
			bad[0] = '?';
		return error_set(err, EINVAL,
				 "%s: \"%s\" holds the character '%s'; a name is made of letters, "
				 "digits, '_', '.' and '-'",
				 where, word_show(name).text, word_show(bad).text);
	}
	return 0;
}

int set_id(char *field, const char *where, const char *id, struct error *err)
{
	size_t len = strlen(id);

	if (len == 0)
		return error_set(err, EINVAL, "%s: the id is empty", where);
	if (len > CONFIG_ID_MAX)
		return error_set(err, EINVAL, "%s: \"%s\" has %zu characters, an id has at most %d",
				 where, word_show(id).text, len, CONFIG_ID_MAX);
	if (strspn(id, NAME_LETTERS "_.-") != len)
		return error_set(err, EINVAL,
				 "%s: \"%s\" is not an id, which is made of letters, digits, '_', "
				 "'.' and '-'",
				 where, word_show(id).text);
	memcpy(field, id, len + 1);
	return 0;
}

int set_name(struct boot_config *cfg, const char *where, const char *name, struct error *err)
{
	int ret = check_vm_name(where, name, err);

	return ret < 0 ? ret : replace_string(&cfg->name, name, err);
}

int set_cpus(struct boot_config *cfg, const char *where, int64_t cpus, struct error *err)
{
	if (cpus < 1 || cpus > CONFIG_CPUS_MAX)
		return error_set(err, EINVAL, "%s: %lld is out of range, a VM has 1 to %d CPUs",
				 where, (long long)cpus, CONFIG_CPUS_MAX);
	cfg->cpus = (unsigned int)cpus;
	return 0;
}

/* Enter @bytes if they lie between what a guest needs and what the host has. */
static int set_mem_bytes(struct boot_config *cfg, const char *where, uint64_t bytes,
			 struct error *err)
{
	uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

	if (bytes < MEM_MIN)
		return error_set(err, EINVAL, "%s: %s is less than the 32 MiB that a guest needs",
				 where, word_show_size(bytes).text);
	if (bytes > host)
		return error_set(err, EINVAL, "%s: %s is more than all the memory of this host, %s",
				 where, word_show_size(bytes).text, word_show_size(host).text);
	cfg->mem_bytes = bytes / MEM_ALIGN * MEM_ALIGN;
	return 0;
}

int set_cpus_word(struct boot_config *cfg, const char *where, const char *cpus, struct error *err)
{
	int64_t n;

	if (parse_integer(cpus, &n) < 0)
		return error_set(err, EINVAL, "%s: \"%s\" is not a number from 1 to %d", where,
				 word_show(cpus).text, CONFIG_CPUS_MAX);
	return set_cpus(cfg, where, n, err);
}

int set_weight(unsigned int *field, const char *where, int64_t weight, struct error *err)
{
	if (weight < 1 || weight > CONFIG_WEIGHT_MAX)
		return error_set(err, EINVAL, "%s: %lld is out of range, a weight is 1 to %d",
				 where, (long long)weight, CONFIG_WEIGHT_MAX);
	*field = (unsigned int)weight;
	return 0;
}

int set_weight_word(unsigned int *field, const char *where, const char *weight, struct error *err)
{
	int64_t n;

	if (parse_integer(weight, &n) < 0)
		return error_set(err, EINVAL, "%s: \"%s\" is not a number from 1 to %d", where,
				 word_show(weight).text, CONFIG_WEIGHT_MAX);
	return set_weight(field, where, n, err);
}

int set_mem(struct boot_config *cfg, const char *where, const char *size, struct error *err)
{
	uint64_t bytes = 0;
	int64_t bare;
	int ret = parse_size(size, &bytes);

	if (ret == -ERANGE)
		return error_set(err, ERANGE, "%s: %s is more than any memory", where,
				 word_show(size).text);
	if (ret < 0)
		return error_set(err, EINVAL, "%s: \"%s\" is not a size such as 512M or 1.5G",
				 where, word_show(size).text);
	/* The commonest slip: QEMU takes a bare number for MiB. */
	if (bytes < MEM_MIN && bytes >= MEM_MIN / MIB && parse_integer(size, &bare) == 0)
		return error_set(err, EINVAL,
				 "%s: %llu bytes is less than the 32 MiB that a guest needs; did "
				 "you mean %lldM?",
				 where, (unsigned long long)bytes, (long long)bare);
	return set_mem_bytes(cfg, where, bytes, err);
}

int set_mem_mib(struct boot_config *cfg, const char *where, int64_t mib, struct error *err)
{
	uint64_t bytes;

	if (mib < 0)
		return error_set(err, EINVAL, "%s: %lld is not a number of MiB", where,
				 (long long)mib);
	if (__builtin_mul_overflow((uint64_t)mib, MIB, &bytes))
		return error_set(err, ERANGE, "%s: %lld MiB is more than any memory", where,
				 (long long)mib);
	return set_mem_bytes(cfg, where, bytes, err);
}

int set_balloon(uint32_t *amount_mib, const char *where, int64_t mib, uint64_t mem_bytes,
		struct error *err)
{
	if (mib < 0 || (uint64_t)mib >= mem_bytes / MIB)
		return error_set(err, EINVAL,
				 "%s: %lld is out of range, of %llu MiB of memory 0 to %llu can be "
				 "given up",
				 where, (long long)mib, (unsigned long long)(mem_bytes / MIB),
				 (unsigned long long)(mem_bytes / MIB - 1));
	*amount_mib = (uint32_t)mib;
	return 0;
}

int set_workdir(struct boot_config *cfg, const char *where, const char *dir, struct error *err)
{
	if (dir[0] != '/')
		return error_set(err, EINVAL,
				 "%s: \"%s\" is not an absolute path in the guest, such as /srv",
				 where, word_show(dir).text);
	return replace_string(&cfg->workdir, dir, err);
}

int set_timeout(struct boot_config *cfg, const char *where, const char *time, struct error *err)
{
	int ret = parse_duration(time, &cfg->timeout_ms);

	if (ret == -ERANGE)
		return error_set(err, ERANGE, "%s: %s is more than a hundred years", where,
				 word_show(time).text);
	if (ret < 0)
		return error_set(err, EINVAL,
				 "%s: \"%s\" is not a time such as 30s, 500ms, 2m or 1h", where,
				 word_show(time).text);
	return 0;
}

int set_switch(bool *on, const char *where, const char *value, struct error *err)
{
	if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
		return error_set(err, EINVAL, "%s: \"%s\" is neither on nor off", where,
				 word_show(value).text);
	*on = strcmp(value, "on") == 0;
	return 0;
}

int set_path(char **field, const char *where, const char *path, struct error *err)
{
	if (!*path)
		return error_set(err, EINVAL, "%s: the path is empty", where);
	return replace_string(field, path, err);
}

int set_kernel_words(char **field, const char *where, const char *words, struct error *err)
{
	if (has_control_characters(words))
		return error_set(
			err, EINVAL,
			"%s: \"%s\" holds a control character, which a kernel command line "
			"cannot carry",
			where, word_show(words).text);
	return replace_string(field, words, err);
}

int set_argv(struct boot_config *cfg, const char *where, const char *const *argv, size_t argc,
	     struct error *err)
{
	if (argc == 0)
		return error_set(err, EINVAL, "%s: the command is empty", where);
	if (!argv[0][0])
		return error_set(err, EINVAL, "%s: the command's name is empty", where);

	char **copy = calloc(argc + 1, sizeof(*copy));

	if (!copy)
		return no_memory(err);
	for (size_t i = 0; i < argc; i++) {
		copy[i] = strdup(argv[i]);
		if (!copy[i]) {
			strings_free(copy);
			return no_memory(err);
		}
	}
	strings_free(cfg->argv);
	cfg->argv = copy;
	return 0;
}

int add_env(struct boot_config *cfg, const char *where, const char *assignment, struct error *err)
{
	const char *equals = strchr(assignment, '=');

	if (!equals)
		return error_set(err, EINVAL, "%s: \"%s\" has no '=', it must be NAME=VALUE", where,
				 word_show(assignment).text);
	if (equals == assignment)
		return error_set(err, EINVAL, "%s: \"%s\" has no name before its '='", where,
				 word_show(assignment).text);

	size_t prefix = (size_t)(equals - assignment) + 1;
	size_t n = 0;

	for (; cfg->env && cfg->env[n]; n++) {
		if (strncmp(cfg->env[n], assignment, prefix) == 0)
			return replace_string(&cfg->env[n], assignment, err);
	}

	char **grown = reallocarray(cfg->env, n + 2, sizeof(*grown));

	if (!grown)
		return no_memory(err);
	grown[n] = NULL;
	grown[n + 1] = NULL;
	cfg->env = grown;
	return replace_string(&cfg->env[n], assignment, err);
}

int add_disk(struct boot_config *cfg, const char *where, struct disk_config *disk,
	     struct error *err)
{
	if (cfg->ndisks == CONFIG_DISKS_MAX)
		return error_set(err, EINVAL, "%s: a VM has at most %d disks", where,
				 CONFIG_DISKS_MAX);
	for (size_t i = 0; disk->root && i < cfg->ndisks; i++) {
		if (cfg->disks[i].root)
			return error_set(
				err, EINVAL,
				"%s: %s cannot be the root device, because %s is it already", where,
				word_show(disk->path).text, word_show(cfg->disks[i].path).text);
	}
	cfg->disks[cfg->ndisks++] = *disk;
	*disk = (struct disk_config){ 0 };
	return 0;
}

int set_disk_serial(struct disk_config *disk, const char *where, const char *serial,
		    struct error *err)
{
	size_t len = strlen(serial);

	if (len == 0 || len > CONFIG_SERIAL_MAX)
		return error_set(
			err, EINVAL,
			"%s: \"%s\" has %zu characters, a disk's serial number has 1 to %d", where,
			word_show(serial).text, len, CONFIG_SERIAL_MAX);
	if (strspn(serial, NAME_LETTERS "_.:+-") != len)
		return error_set(err, EINVAL,
				 "%s: \"%s\" is not a serial number, which is made of letters, "
				 "digits, '_', '.', ':', '+' and '-'",
				 where, word_show(serial).text);
	strcpy(disk->serial, serial);
	return 0;
}

int set_disk_direct(struct disk_config *disk, const char *where, const char *mode,
		    struct error *err)
{
	if (strcmp(mode, "auto") == 0)
		disk->direct = DISK_DIRECT_AUTO;
	else if (strcmp(mode, "on") == 0)
		disk->direct = DISK_DIRECT_ON;
	else if (strcmp(mode, "off") == 0)
		disk->direct = DISK_DIRECT_OFF;
	else
		return error_set(err, EINVAL, "%s: \"%s\" is none of on, off and auto", where,
				 word_show(mode).text);
	return 0;
}

int set_disk_queues(struct disk_config *disk, const char *where, int64_t queues, struct error *err)
{
	if (queues < 1 || queues > CONFIG_QUEUES_MAX)
		return error_set(err, EINVAL, "%s: %lld is out of range, a disk has 1 to %d queues",
				 where, (long long)queues, CONFIG_QUEUES_MAX);
	disk->queues = (unsigned int)queues;
	return 0;
}

char *next_piece(char **rest)
{
	char *piece = *rest;
	char *from = piece;
	char *to = piece;

	if (!piece)
		return NULL;
	*rest = NULL;
	while (*from) {
		if (*from == ',') {
			if (from[1] != ',') {
				*rest = from + 1;
				break;
			}
			from++;
		}
		*to++ = *from++;
	}
	*to = '\0';
	return piece;
}
