// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "config/config.h"
#include "config/set.h"
#include "config/words.h"

static int bad_forward(const char *where, const char *s, struct error *err)
{
	return error_set(err, EINVAL,
			 "%s: \"%s\" is not SOCKET=unix:PATH or SOCKET=tcp:ADDRESS:PORT", where,
			 word_show(s).text);
}

static bool is_tcp_address(const char *s)
{
	const char *colon = strrchr(s, ':');
	struct ip_addr ip;
	char host[IP_TEXT_MAX];
	int64_t port;
	size_t len;

	if (!colon || parse_integer(colon + 1, &port) || port < 1 || port > UINT16_MAX)
		return false;
	len = (size_t)(colon - s);
	if (len > 2 && s[0] == '[' && s[len - 1] == ']') {
		s++;
		len -= 2;
	}
	if (len >= sizeof(host))
		return false;
	snprintf(host, sizeof(host), "%.*s", (int)len, s);
	return ip_parse(host, &ip) == 0;
}

/* A name for a socket of the VM's own directory; there, others would be in the way. */
static bool is_socket_name(const char *s)
{
	return s[0] == '/' ||
	       (s[0] && s[0] != '.' && !strchr(s, '/') && strncmp(s, "vsock.sock", 10) != 0 &&
		strncmp(s, "control.sock", 12) != 0);
}

int add_forward(struct boot_config *cfg, const char *where, const char *text, struct error *err)
{
	const char *guest = strchr(text, '=');
	struct forward_config *f = &cfg->forwards[cfg->nforwards];
	size_t len;

	if (cfg->nforwards == CONFIG_FORWARDS_MAX)
		return error_set(err, EINVAL, "%s: a VM has at most %d forwarded sockets", where,
				 CONFIG_FORWARDS_MAX);
	if (!guest || strlen(guest + 1) >= CONFIG_FORWARD_MAX ||
	    !((strncmp(guest + 1, "unix:/", 6) == 0 && guest[7]) ||
	      (strncmp(guest + 1, "tcp:", 4) == 0 && is_tcp_address(guest + 5))))
		return bad_forward(where, text, err);
	len = (size_t)(guest - text);
	if (len >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return error_set(err, ENAMETOOLONG,
				 "%s: the path of a socket has at most 107 bytes, \"%s\" has more",
				 where, word_show(text).text);

	char *path = strndup(text, len);
	char *address = strdup(guest + 1);

	if (!path || !address || !is_socket_name(path)) {
		int ret =
			!path || !address
				? error_set(err, ENOMEM, "%s: out of memory", where)
				: error_set(err, EINVAL,
					    "%s: \"%s\" must be an absolute path, or a name for a "
					    "socket in the VM's directory other than its own",
					    where, word_show(path).text);
		free(path);
		free(address);
		return ret;
	}
	for (size_t i = 0; i < cfg->nforwards; i++) {
		if (strcmp(cfg->forwards[i].path, path) != 0)
			continue;
		free(path);
		free(address);
		return error_set(err, EINVAL, "%s: the socket %s is forwarded twice", where,
				 word_show(cfg->forwards[i].path).text);
	}
	*f = (struct forward_config){ path, address };
	cfg->nforwards++;
	return 0;
}
