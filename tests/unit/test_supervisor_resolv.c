// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <string.h>

#include "supervisor/resolv.h"

static const char *servers(const char *text)
{
	static char all[256];
	struct ip_list list;

	resolv_parse(text, &list);
	all[0] = '\0';
	for (unsigned int i = 0; i < list.n; i++) {
		strcat(all, ip_show(&list.ips[i]).text);
		strcat(all, " ");
	}
	return all;
}

Test(supervisor_resolv, files)
{
	static const struct {
		const char *text, *servers;
	} cases[] = {
		{ "", "" },
		{ "\n\n", "" },
		{ "nameserver 192.0.2.1", "192.0.2.1 " },
		{ "# nameserver 1.1.1.1\nnameserver\t192.0.2.1 # x\nsearch a b\nnameserver   ::1\n",
		  "192.0.2.1 ::1 " },
		{ "nameserver\nnameserver \n192.0.2.1\nnameserver 192.0.2.2\n", "192.0.2.2 " },
		{ "nameserver fe80::1%eth0\nnameserver 192.0.2.1\r\nnameserver host\n", "" },
		{ "nameserverx 192.0.2.1\noptions nameserver 192.0.2.1\n", "" },
		{ "nameserver 1.0.0.1\nnameserver 1.0.0.2\nnameserver 1.0.0.3\nnameserver "
		  "1.0.0.4\n",
		  "1.0.0.1 1.0.0.2 1.0.0.3 " },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_str_eq(servers(cases[i].text), cases[i].servers, "%s -> %s",
				 cases[i].text, servers(cases[i].text));
}
