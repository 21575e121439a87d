// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "supervisor/passt.h"

static char line[2048];

static const char *command(bool ipv4, bool ipv6, const struct publish_config *publish, size_t n)
{
	char **args = passt_args(7, ipv4, ipv6, publish, n);
	size_t len = 0;

	cr_assert_not_null(args);
	for (size_t i = 0; args[i]; i++)
		len += (size_t)snprintf(line + len, sizeof(line) - len, "%s%s", i ? " " : "",
					args[i]);
	passt_args_free(args);
	return line;
}

#define IPV4 "--address 10.0.2.15 --netmask 24 --gateway 10.0.2.2 --dns-forward 10.0.2.3"
#define IPV6 "--address fd6b:766d:626f::15 --gateway fd6b:766d:626f::2"

Test(supervisor_passt, plain)
{
	cr_expect_str_eq(command(true, true, NULL, 0),
			 "passt --quiet --fd 7 --no-map-gw " IPV4 " " IPV6 " -t none -u none");
	cr_expect_str_eq(command(true, false, NULL, 0),
			 "passt --quiet --fd 7 --no-map-gw " IPV4 " --ipv4-only -t none -u none");
	cr_expect_str_eq(command(false, true, NULL, 0),
			 "passt --quiet --fd 7 --no-map-gw " IPV6 " --ipv6-only -t none -u none");
}

Test(supervisor_passt, published)
{
	struct publish_config publish[CONFIG_PUBLISH_MAX] = {
		{ .host_port = 8080, .guest_port = 80 },
		{ .host_port = 53, .guest_port = 5353, .udp = true },
		{ .host_port = 81, .guest_port = 81 },
	};

	cr_assert_eq(ip_parse("127.0.0.1", &publish[1].address), 0);
	cr_assert_eq(ip_parse("2001:db8::1", &publish[2].address), 0);
	command(true, true, publish, 3);
	cr_expect(strstr(line, " -t 8080:80 -t 2001:db8::1/81:81 -u 127.0.0.1/53:5353"), "%s",
		  line);
	cr_expect_not(strstr(line, "none"), "%s", line);
	command(true, true, publish, 1);
	cr_expect(strstr(line, " -t 8080:80 -u none"), "%s", line);
	/* As many as there can be. */
	command(true, true, publish, CONFIG_PUBLISH_MAX);
}
