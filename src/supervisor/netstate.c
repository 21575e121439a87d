// SPDX-License-Identifier: Apache-2.0
#include "supervisor/netstate.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/dirs.h"

#define STATE_DIR  "/run/kvmbox/net"
#define STATE_LOCK STATE_DIR "/lock"
#define TEXT_MAX   8192

_Static_assert(TEXT_MAX > (CONFIG_ALLOWS_MAX + 1) * (CONFIG_NAME_MAX + 8) + 512, "it has room");

struct state_path {
	char text[sizeof(STATE_DIR) + 1 + NAME_MAX];
};

static struct state_path state_path(const char *table)
{
	struct state_path path;

	snprintf(path.text, sizeof(path.text), "%s/%s", STATE_DIR, table);
	return path;
}

int netstate_lock(struct error *err)
{
	int ret = dirs_make(STATE_DIR);

	if (ret)
		return error_set(err, -ret, "cannot make the directory %s: %s", STATE_DIR,
				 strerror(-ret));

	AUTO_CLOSE int fd = open(STATE_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return error_set(err, errno, "cannot open %s: %s", STATE_LOCK, strerror(errno));
	while (flock(fd, LOCK_EX))
		if (errno != EINTR)
			return error_set(err, errno, "cannot lock %s: %s", STATE_LOCK,
					 strerror(errno));
	return steal_fd(&fd);
}

bool netstate_exists(const char *table)
{
	return access(state_path(table).text, F_OK) == 0;
}

/* ---- text ---- */

static void write_ip(FILE *f, const struct ip_addr *ip)
{
	if (ip->family)
		fprintf(f, "ip %s\n", ip_show(ip).text);
}

char *netstate_text(const struct netstate *s)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	fprintf(f, "kind %s\nnetns %" PRIu64 "\npid %d\nvm %s\nmac %s\n", s->nat ? "nat" : "tap",
		s->netns, (int)s->pid, s->vm, mac_show(s->mac).text);
	write_ip(f, &s->ip4);
	write_ip(f, &s->ip6);
	for (size_t i = 0; i < s->nallow; i++)
		fprintf(f, "allow %s\n", s->allow[i]);
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}

static int copy_name(char *to, const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > CONFIG_NAME_MAX)
		return -EINVAL;
	memcpy(to, name, len + 1);
	return 0;
}

static int parse_line(struct netstate *s, const char *key, const char *value)
{
	struct ip_addr ip;

	if (strcmp(key, "kind") == 0)
		s->nat = strcmp(value, "nat") == 0;
	else if (strcmp(key, "netns") == 0)
		s->netns = strtoull(value, NULL, 10);
	else if (strcmp(key, "pid") == 0)
		s->pid = (pid_t)strtol(value, NULL, 10);
	else if (strcmp(key, "vm") == 0)
		return copy_name(s->vm, value);
	else if (strcmp(key, "mac") == 0)
		return mac_parse(value, s->mac);
	else if (strcmp(key, "allow") == 0)
		return s->nallow < CONFIG_ALLOWS_MAX ? copy_name(s->allow[s->nallow++], value)
						     : -EINVAL;
	else if (strcmp(key, "ip") != 0 || ip_parse(value, &ip))
		return -EINVAL;
	else if (ip.family == AF_INET)
		s->ip4 = ip;
	else
		s->ip6 = ip;
	return 0;
}

int netstate_parse(struct netstate *s, const char *text)
{
	AUTO_FREE char *copy = strdup(text);
	char *rest = copy;
	char *line;

	if (!copy)
		return -EINVAL;
	while ((line = strsep(&rest, "\n")) && *line) {
		char *value = strchr(line, ' ');

		if (!value)
			return -EINVAL;
		*value++ = '\0';
		if (parse_line(s, line, value))
			return -EINVAL;
	}
	return s->vm[0] ? 0 : -EINVAL;
}

/* ---- files ---- */

static uint64_t own_netns(void)
{
	struct stat st;

	return stat("/proc/self/ns/net", &st) ? 0 : st.st_ino;
}

void netstate_init(struct netstate *s, const struct boot_config *cfg, const uint8_t mac[6])
{
	*s = (struct netstate){ .fd = -1, .netns = own_netns(), .pid = getpid() };
	snprintf(s->vm, sizeof(s->vm), "%s", cfg->name);
	memcpy(s->mac, mac, sizeof(s->mac));
	while (s->nallow < cfg->nallow) {
		snprintf(s->allow[s->nallow], sizeof(s->allow[0]), "%s", cfg->allow[s->nallow]);
		s->nallow++;
	}
}

int netstate_take(struct netstate *s, struct error *err)
{
	s->fd = open(state_path(s->table).text, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
	if (s->fd < 0 || flock(s->fd, LOCK_EX | LOCK_NB))
		return error_set(err, errno, "cannot take %s: %s", state_path(s->table).text,
				 strerror(errno));
	return 0;
}

int netstate_write(const struct netstate *s, struct error *err)
{
	AUTO_FREE char *text = netstate_text(s);
	AUTO_CLOSE int fd = open(state_path(s->table).text, O_WRONLY | O_CLOEXEC);

	if (!text)
		return error_set(err, ENOMEM, "out of memory");
	if (fd < 0 || pwrite(fd, text, strlen(text), 0) != (ssize_t)strlen(text))
		return error_set(err, EIO, "cannot write %s", state_path(s->table).text);
	return 0;
}

/*
 * Read the file @table, from a process in @netns. Returns 0 with *@alive; or negative errno when
 * there is none.
 */
static int read_state(struct netstate *s, const char *table, uint64_t netns, bool *alive)
{
	char text[TEXT_MAX];
	ssize_t n;

	*alive = false;
	*s = (struct netstate){ .fd = open(state_path(table).text, O_RDONLY | O_CLOEXEC) };
	if (s->fd < 0)
		return -errno;
	snprintf(s->table, sizeof(s->table), "%s", table);
	*alive = flock(s->fd, LOCK_EX | LOCK_NB) != 0;
	n = pread(s->fd, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	/* Its VM may have died before it wrote there. */
	if (netstate_parse(s, text)) {
		s->nat = strchr(s->table, '-') == NULL;
		s->netns = netns;
		s->vm[0] = '\0';
	}
	return 0;
}

/* The next file of @dir that is a card's of @netns, in which this process is. */
static bool next_state(DIR *dir, uint64_t netns, struct netstate *s, bool *alive)
{
	const struct dirent *e;

	while (dir && (e = readdir(dir))) {
		if (strncmp(e->d_name, "kvmbox", 6) != 0 || strlen(e->d_name) >= sizeof(s->table) ||
		    read_state(s, e->d_name, netns, alive))
			continue;
		if (s->netns == netns)
			return true;
		close(s->fd);
	}
	return false;
}

long netstate_others(const struct netstate *own, struct netstate **list)
{
	DIR *dir = opendir(STATE_DIR);
	const uint64_t netns = own_netns();
	struct netstate *all = NULL;
	struct netstate s;
	long n = 0;
	bool alive;

	while (n >= 0 && next_state(dir, netns, &s, &alive)) {
		struct netstate *grown = NULL;

		close(s.fd);
		s.fd = -1;
		if (!alive || !s.vm[0] || netstate_same_vm(&s, own))
			continue;
		grown = reallocarray(all, (size_t)n + 1, sizeof(*all));
		if (grown) {
			all = grown;
			all[n++] = s;
		} else {
			n = -ENOMEM;
		}
	}
	if (dir)
		closedir(dir);
	if (n < 0)
		free(all);
	else
		*list = all;
	return n;
}

void netstate_remove_dead(void (*drop)(struct netstate *dead))
{
	DIR *dir = opendir(STATE_DIR);
	const uint64_t netns = own_netns();
	struct netstate s;
	bool alive;

	while (next_state(dir, netns, &s, &alive)) {
		if (alive)
			netstate_leave(&s);
		else
			drop(&s);
	}
	if (dir)
		closedir(dir);
}

void netstate_forget(struct netstate *s)
{
	unlink(state_path(s->table).text);
	netstate_leave(s);
}

void netstate_leave(struct netstate *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

/* ---- who may talk to whom ---- */

bool netstate_same_vm(const struct netstate *a, const struct netstate *b)
{
	return a->pid == b->pid && strcmp(a->vm, b->vm) == 0;
}

static bool allows(const struct netstate *a, const struct netstate *b)
{
	for (size_t i = 0; i < a->nallow; i++) {
		if (strcmp(a->allow[i], "*") == 0 || strcmp(a->allow[i], b->vm) == 0)
			return true;
	}
	return false;
}

bool netstate_allowed(const struct netstate *a, const struct netstate *b)
{
	return allows(a, b) || allows(b, a);
}
