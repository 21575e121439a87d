// SPDX-License-Identifier: Apache-2.0
#include "init/description.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Far over what execve() takes, far under what hurts. */
#define PROPERTY_MAX (4U << 20)

struct property {
	const char *name;
	char *data; /* owned; NULL if the property is not there */
	size_t len;
};

static int property_read(int dir, const char *name, struct property *p, struct message *why)
{
	size_t room = 0;
	ssize_t n;
	int err = 0;
	int fd;

	*p = (struct property){ .name = name };
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		if (errno == ENOENT)
			return 0;
		return message_set(why, errno, "the machine description's %s cannot be opened",
				   name);
	}
	for (;;) {
		if (p->len == room) {
			size_t more = room ? room * 2 : 4096;
			char *data = more > PROPERTY_MAX ? NULL : realloc(p->data, more);

			if (!data) {
				err = more > PROPERTY_MAX ? E2BIG : ENOMEM;
				break;
			}
			p->data = data;
			room = more;
		}
		n = read(fd, p->data + p->len, room - p->len);
		if (n == 0)
			break;
		if (n > 0)
			p->len += (size_t)n;
		else if (errno != EINTR) {
			err = errno;
			break;
		}
	}
	close(fd);
	if (!err)
		return 0;
	free(p->data);
	p->data = NULL;
	return message_set(why, err, "the machine description's %s cannot be read", name);
}

static int flag_read(int dir, const char *name, bool *flag, struct message *why)
{
	struct property p;
	int ret = property_read(dir, name, &p, why);

	if (ret < 0)
		return ret;
	*flag = p.data != NULL;
	free(p.data);
	return 0;
}

static int string_read(int dir, const char *name, char **string, struct message *why)
{
	struct property p;
	int ret = property_read(dir, name, &p, why);

	if (ret < 0 || !p.data)
		return ret;
	if (p.len < 2 || memchr(p.data, '\0', p.len) != p.data + p.len - 1) {
		free(p.data);
		return message_set(why, 0, "the machine description's %s is not one string", name);
	}
	*string = p.data;
	return 0;
}

static int stringlist_read(int dir, const char *name, char ***list, struct message *why)
{
	struct property p;
	size_t count = 0;
	char **strings;
	char *s;
	int ret = property_read(dir, name, &p, why);

	if (ret < 0)
		return ret;
	if (p.len && p.data[p.len - 1] != '\0') {
		free(p.data);
		return message_set(why, 0, "the machine description's %s does not end in NUL",
				   name);
	}
	for (size_t i = 0; i < p.len; i++)
		count += p.data[i] == '\0';
	strings = calloc(count + 1, sizeof(*strings));
	if (!strings) {
		free(p.data);
		return message_set(why, ENOMEM, "the machine description's %s", name);
	}
	s = p.data;
	for (size_t i = 0; i < count; i++) {
		strings[i] = s;
		s += strlen(s) + 1;
	}
	if (!count)
		free(p.data);
	*list = strings;
	return 0;
}

/* The first string is the start of the allocation that all of them are in. */
static void stringlist_free(char **list)
{
	if (list)
		free(list[0]);
	free(list);
}

static uint32_t be32(const char *bytes)
{
	const unsigned char *b = (const unsigned char *)bytes;

	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static int winsize_read(int dir, struct description *d, struct message *why)
{
	struct property p;
	uint32_t rows, cols;
	int ret = property_read(dir, "winsize", &p, why);

	if (ret < 0 || !p.data)
		return ret;
	if (p.len != 8)
		ret = message_set(why, 0, "the machine description's winsize is not two numbers");
	rows = ret ? 0 : be32(p.data);
	cols = ret ? 0 : be32(p.data + 4);
	free(p.data);
	if (ret)
		return ret;
	if (rows > UINT16_MAX || cols > UINT16_MAX)
		return message_set(why, 0, "the machine description's winsize is over %u",
				   UINT16_MAX);
	d->rows = (uint16_t)rows;
	d->cols = (uint16_t)cols;
	return 0;
}

static int mac_read(int dir, const char *name, uint8_t *mac, bool *present, struct message *why)
{
	struct property p;
	int ret = property_read(dir, name, &p, why);

	*present = ret == 0 && p.data;
	if (!*present)
		return ret;
	if (p.len == 6)
		memcpy(mac, p.data, 6);
	else
		ret = message_set(why, 0, "the machine description's %s is not six bytes", name);
	free(p.data);
	return ret;
}

static int mtu_read(int dir, const char *name, uint32_t *mtu, struct message *why)
{
	struct property p;
	int ret = property_read(dir, name, &p, why);

	if (ret < 0 || !p.data)
		return ret;
	if (p.len == 4)
		*mtu = be32(p.data);
	else
		ret = message_set(why, 0, "the machine description's %s is not one number", name);
	free(p.data);
	return ret;
}

/* One network card; *present tells whether there is a card of that number. */
static int net_read(int dir, unsigned int n, struct net_description *net, bool *present,
		    struct message *why)
{
	char name[32];
	int ret;

	snprintf(name, sizeof(name), "net%u/mac", n);
	ret = mac_read(dir, name, net->mac, present, why);
	if (ret < 0 || !*present)
		return ret;
	snprintf(name, sizeof(name), "net%u/mtu", n);
	ret = mtu_read(dir, name, &net->mtu, why);
	if (ret < 0)
		return ret;
	snprintf(name, sizeof(name), "net%u/addresses", n);
	ret = stringlist_read(dir, name, &net->addresses, why);
	if (ret < 0)
		return ret;
	snprintf(name, sizeof(name), "net%u/gateways", n);
	return stringlist_read(dir, name, &net->gateways, why);
}

static int nets_read(int dir, struct description *d, struct message *why)
{
	bool present = true;

	for (unsigned int i = 0; i < DESCRIPTION_NETS_MAX; i++) {
		int ret = net_read(dir, i, &d->nets[i], &present, why);

		if (ret < 0 || !present)
			return ret;
		d->nnets = i + 1;
	}
	return 0;
}

static int description_check(const struct description *d, struct message *why)
{
	if (!d->argv[0] || !d->argv[0][0])
		return message_set(why, 0, "the machine description names no command in argv");
	for (char **e = d->env; *e; e++)
		if (!strchr(*e, '=') || **e == '=')
			return message_set(why, 0, "the environment entry '%s' is not NAME=VALUE",
					   *e);
	if (d->cwd && d->cwd[0] != '/')
		return message_set(why, 0, "the working directory '%s' is not an absolute path",
				   d->cwd);
	if (!d->root.device || !d->root.fstype)
		return message_set(why, 0,
				   "the machine description names no root file system "
				   "(root/device and root/fstype)");
	return 0;
}

int description_init(struct description *d, const char *base, struct message *why)
{
	int dir;
	int ret;

	*d = (struct description){ 0 };
	dir = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return message_set(why, errno, "the machine description %s cannot be opened", base);
	if ((ret = stringlist_read(dir, "argv", &d->argv, why)) < 0 ||
	    (ret = stringlist_read(dir, "env", &d->env, why)) < 0 ||
	    (ret = string_read(dir, "cwd", &d->cwd, why)) < 0 ||
	    (ret = string_read(dir, "hostname", &d->hostname, why)) < 0 ||
	    (ret = flag_read(dir, "init", &d->init, why)) < 0 ||
	    (ret = flag_read(dir, "terminal", &d->terminal, why)) < 0 ||
	    (ret = winsize_read(dir, d, why)) < 0 ||
	    (ret = string_read(dir, "root/device", &d->root.device, why)) < 0 ||
	    (ret = string_read(dir, "root/fstype", &d->root.fstype, why)) < 0 ||
	    (ret = flag_read(dir, "root/read-only", &d->root.read_only, why)) < 0 ||
	    (ret = flag_read(dir, "root/overlay", &d->root.overlay, why)) < 0 ||
	    (ret = stringlist_read(dir, "dns", &d->dns, why)) < 0 ||
	    (ret = nets_read(dir, d, why)) < 0 || (ret = description_check(d, why)) < 0)
		description_deinit(d);
	close(dir);
	return ret;
}

void description_deinit(struct description *d)
{
	stringlist_free(d->argv);
	stringlist_free(d->env);
	free(d->cwd);
	free(d->hostname);
	free(d->root.device);
	free(d->root.fstype);
	stringlist_free(d->dns);
	for (unsigned int i = 0; i < DESCRIPTION_NETS_MAX; i++) {
		stringlist_free(d->nets[i].addresses);
		stringlist_free(d->nets[i].gateways);
	}
	*d = (struct description){ 0 };
}
