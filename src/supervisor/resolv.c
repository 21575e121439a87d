// SPDX-License-Identifier: Apache-2.0
#include "supervisor/resolv.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define STUB   "/etc/resolv.conf"
#define BEHIND "/run/systemd/resolve/resolv.conf"

void resolv_parse(const char *text, struct ip_list *out)
{
	*out = (struct ip_list){ .n = 0 };
	while (*text && out->n < CONFIG_DNS_MAX) {
		char word[16], address[64];

		if (sscanf(text, "%15[^ \t\n]%*[ \t]%63[^ \t\n]", word, address) == 2 &&
		    strcmp(word, "nameserver") == 0 && ip_parse(address, &out->ips[out->n]) == 0)
			out->n++;
		text += strcspn(text, "\n");
		text += *text == '\n';
	}
}

static void read_file(const char *path, struct ip_list *out)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[8192];
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	resolv_parse(text, out);
}

/* Take those out that only the host itself can reach; the first of them goes to *@loopback. */
static void drop_loopback(struct ip_list *list, struct ip_addr *loopback)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < list->n; i++) {
		if (!ip_is_loopback(&list->ips[i]))
			list->ips[kept++] = list->ips[i];
		else if (!loopback->family)
			*loopback = list->ips[i];
	}
	list->n = kept;
}

void resolv_read(struct ip_list *out, struct ip_addr *loopback)
{
	struct ip_addr ignored = { 0 };

	*loopback = (struct ip_addr){ 0 };
	read_file(STUB, out);
	drop_loopback(out, loopback);
	if (out->n == 0 && loopback->family) {
		read_file(BEHIND, out);
		drop_loopback(out, &ignored);
	}
	if (out->n)
		*loopback = (struct ip_addr){ 0 };
	else if (loopback->family == AF_INET6)
		*loopback = ip_v4(INADDR_LOOPBACK, 32); /* which a resolver on ::1 has as well */
}
